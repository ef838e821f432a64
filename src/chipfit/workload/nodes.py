"""What can be said of one ONNX node and of its values, whatever stands around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from chipfit.errors import NetworkError
from chipfit.workload import operators
from chipfit.workload.steps import Array, Value


def is_alias(node: onnx.NodeProto, inputs: Sequence[Value | None], first: Value, output: Value) -> bool:
    """The output is the first input, seen otherwise."""
    operator = node.op_type
    if domain_of(node.domain) != "":
        return False
    if operator in operators.ALIASES:
        return first.elements == output.elements
    if operator == "Transpose":
        order = attributes_of(node).get("perm", range(len(first.shape) - 1, -1, -1))
        moved = [axis for axis in order if first.shape[axis] > 1]
        return moved == sorted(moved)
    if operator in ("Cast", "CastLike"):
        return first.dtype in operators.FLOATING and output.dtype in operators.FLOATING
    joins = operator in operators.JOINS and len(inputs) > 1
    return operator in operators.TRIVIAL and not joins and first.shape == output.shape


def at_width_of(value: Value, inputs: Sequence[Value | None]) -> Value:
    """What an operator writes that only moves values: as wide as the widest that it reads."""
    moved = [v for v in inputs if v is not None and v.dtype == value.dtype and not v.constant]
    if not moved:
        return value
    return replace(value, bits=max(v.bits for v in moved), floating=any(v.floating for v in moved))


def domain_of(domain: str) -> str:
    """A domain of operators, the standard one as ''."""
    return "" if domain == "ai.onnx" else domain


def label_of(node: onnx.NodeProto) -> str:
    """What to call a node in a message."""
    name = node.name or (node.output[0] if node.output else "")
    return f"node '{name}' ({node.op_type})"


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node, by name."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {key: v.decode() if isinstance(v, bytes) else v for key, v in values.items()}


def unique(name: str, used: set[str]) -> str:
    """The name, with a number if it is used; it is used from now on."""
    found, count = name, 1
    while found in used:
        count += 1
        found = f"{name}_{count}"
    used.add(found)
    return found


def dimensions_of(kind: onnx.TypeProto | None) -> tuple[tuple[int, ...], int] | None:
    """Shape and element type, if all of it is known."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dimensions = kind.tensor_type.shape.dim
    if not kind.tensor_type.elem_type or not all(d.HasField("dim_value") for d in dimensions):
        return None
    return tuple(d.dim_value for d in dimensions), kind.tensor_type.elem_type


def broadcast(inputs: Sequence[Value | None]) -> tuple[int, ...]:
    """The shape of an elementwise result."""
    try:
        return np.broadcast_shapes(*(v.shape for v in inputs if v is not None))
    except ValueError as error:
        raise NetworkError(f"its operands do not fit each other: {error}") from error


def microsoft_types(node: onnx.NodeProto, inputs: Sequence[Value | None]) -> dict[str, onnx.TypeProto]:
    """Shapes of those operators of ONNX Runtime's own that multiply: they have no schema here."""
    present = [v for v in inputs if v is not None]
    if node.domain != "com.microsoft" or not present:
        return {}
    options = attributes_of(node)
    if node.op_type in ("QGemm", "FusedGemm", "FusedMatMul"):
        a, b, _ = operands_of(node, inputs, operators.PRODUCTS[node.op_type])
        left = swapped(a.shape) if options.get("transA") else a.shape
        right = swapped(b.shape) if options.get("transB") else b.shape
        shape = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
        return {node.output[0]: helper.make_tensor_type_proto(a.dtype, shape)}
    if node.op_type == "QLinearAdd" or node.op_type == "QLinearMul":
        a, b, _ = operands_of(node, inputs, (0, 3, None))
        shape = np.broadcast_shapes(a.shape, b.shape)
        return {node.output[0]: helper.make_tensor_type_proto(a.dtype, shape)}
    return {}


def operands_of(
    node: onnx.NodeProto, inputs: Sequence[Value | None], slots: tuple[int, int, int | None]
) -> tuple[Value, Value, Value | None]:
    """Input, weight and bias of a layer that multiplies, from where they stand among its inputs."""
    first, second, third = (inputs[i] if i is not None and i < len(inputs) else None for i in slots)
    if first is None or second is None:
        raise NetworkError(f"{node.op_type} needs an input and a weight")
    return first, second, third


def swapped(sequence: Any) -> Any:
    """A shape, or the letters of one, with the last two dimensions swapped."""
    return (*sequence[:-2], sequence[-1], sequence[-2]) if not isinstance(sequence, str) else (
        sequence[:-2] + sequence[-1] + sequence[-2]
    )  # fmt: skip


def explicit(equation: str) -> str:
    """An Einsum equation with its output: letters that occur once, in order, if it states none."""
    text = equation.replace(" ", "")
    if "->" in text:
        return text
    letters = sorted(letter for letter in set(text) - {",", "."} if text.count(letter) == 1)
    return f"{text}->{''.join(letters)}"


def relaid(value: Value, node: onnx.NodeProto, shape: tuple[int, ...]) -> Value:
    """A constant in another shape or order."""
    array = value.array
    if array is not None and not any(array.strides):
        array = np.broadcast_to(array.reshape(-1)[:1].reshape(()) if array.size else array, shape)
    elif array is not None and node.op_type == "Transpose":
        array = array.transpose(attributes_of(node).get("perm"))
    elif array is not None:
        array = array.reshape(shape)
    return replace(value, shape=shape, array=array)


def along_axis(scale: Value, value: Value, options: Mapping[str, Any]) -> Array:
    """A scale or zero point in a shape that broadcasts against the tensor."""
    array = np.asarray(1.0) if scale.array is None else scale.array.astype(np.float64)
    axis, block = options.get("axis", 1), options.get("block_size", 0)
    if array.ndim == len(value.shape) and block:
        return np.repeat(array, block, axis=axis)[tuple(slice(size) for size in value.shape)]
    if array.size == 1:
        return array.reshape(())
    shape = [1] * len(value.shape)
    shape[axis] = array.size
    return array.reshape(shape)


def largest_sum(codes: Array, scale: Value, options: Mapping[str, Any]) -> int | None:
    """The largest sum of weight codes of one sign that one output adds up.

    Known where the scale tells outputs apart: one for each, along its axis.
    """
    if len(scale.shape) != 1 or scale.elements < 2 or codes.ndim < 2:
        return None
    rows = np.moveaxis(codes, options.get("axis", 1), 0).reshape(scale.elements, -1)
    return int(max(rows.clip(min=0).sum(1).max(), -rows.clip(max=0).sum(1).min()))


def histogram(codes: Array, bits: int) -> tuple[tuple[int, int], ...] | None:
    """How often every code stands in weights of at most 8 bits; biases are not asked."""
    if bits > operators.HISTOGRAM_BITS or codes.ndim < 2:
        return None
    values, counts = np.unique(codes.astype(np.int64), return_counts=True)
    return tuple(zip(values.tolist(), counts.tolist(), strict=True))


def quantizer_clips(graph: onnx.GraphProto) -> set[str]:
    """Outputs of `Clip` nodes that only quantisers with a stated width read: part of these."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for key in node.input:
            readers.setdefault(key, []).append(node)
    outputs = {output.name for output in graph.output}

    def states_width(node: onnx.NodeProto) -> bool:
        return node.op_type == "QuantizeLinear" and any(
            e.key == operators.BITS_PROPERTY for e in node.metadata_props
        )

    return {
        node.output[0]
        for node in graph.node
        if node.op_type == "Clip"
        and node.output[0] not in outputs
        and (found := readers.get(node.output[0], []))
        and all(states_width(reader) for reader in found)
    }

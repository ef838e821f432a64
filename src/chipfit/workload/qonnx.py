"""Quantisers of QONNX written out in standard ONNX operators, so that ONNX Runtime runs them.

`Quant(x, scale, zero point, bits)` is `(round(clip(x / scale + zero point)) - zero point) * scale`, clipped
to the codes of its width, of which one signed bit has two: 1 and -1. `BipolarQuant(x, scale)` is `scale`
where x >= 0 and `-scale` elsewhere.

Source: the specification of the operators in github.com/fastmachinelearning/qonnx (docs/qonnx-custom-ops).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_DOMAINS = re.compile(r"qonnx\..*|onnx\.brevitas|finn\..*")
_ROUNDINGS = {"ROUND": "Round", "CEIL": "Ceil", "FLOOR": "Floor"}
#: Since when there is `Round`.
_ROUND_SINCE = 11
#: Floating-point numbers as large as this are whole (24 bits): adding it rounds to the nearest, ties to even.
_WHOLE = 1.5 * 2**23


def in_standard_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with `Quant`, `IntQuant` and `BipolarQuant` written out; the same object if it has none.

    A quantiser that rounds in a way that no standard operator does stays as it is.
    """
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    written = [_written_out(node, place, version) for place, node in enumerate(model.graph.node)]
    if not any(written):
        return model
    found = onnx.ModelProto()
    found.CopyFrom(model)
    del found.graph.node[:]
    for node, steps in zip(model.graph.node, written, strict=True):
        nodes, constants = steps or ([node], [])
        found.graph.node.extend(nodes)
        found.graph.initializer.extend(constants)
    return found


def _written_out(
    node: onnx.NodeProto, place: int, version: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]] | None:
    """Nodes and constants that do what a quantiser does, or None."""
    if not _DOMAINS.fullmatch(node.domain):
        return None
    steps = _Steps(f"{node.output[0]}.quantised{place}", version)
    if node.op_type == "BipolarQuant":
        _bipolar(steps, node)
    elif node.op_type not in ("Quant", "IntQuant") or not _integer(steps, node):
        return None
    return steps.nodes, steps.constants


class _Steps:
    """Nodes under way, with names that no one else uses."""

    def __init__(self, prefix: str, version: int) -> None:
        self.prefix, self.version = prefix, version
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: float) -> str:
        name = f"{self.prefix}.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def step(self, operator: str, inputs: Sequence[str], output: str = "") -> str:
        name = output or f"{self.prefix}.step{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name))
        return name


def _sign(steps: _Steps, x: str) -> str:
    below = steps.step("Less", [x, steps.constant(0)])
    return steps.step("Where", [below, steps.constant(-1), steps.constant(1)])


def _rounded(steps: _Steps, rounding: str, x: str) -> str:
    if rounding == "Round" and steps.version < _ROUND_SINCE:
        large = steps.constant(_WHOLE)
        return steps.step("Sub", [steps.step("Add", [x, large]), large])
    return steps.step(rounding, [x])


def _bipolar(steps: _Steps, node: onnx.NodeProto) -> None:
    x, scale = node.input[:2]
    steps.step("Mul", [_sign(steps, x), scale], node.output[0])


def _integer(steps: _Steps, node: onnx.NodeProto) -> bool:
    """Whether the quantiser could be written out."""
    options: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rounding = _ROUNDINGS.get(options.get("rounding_mode", b"ROUND").decode().upper())
    signed, narrow = options.get("signed", 1), options.get("narrow", 0)
    if rounding is None or len(node.input) < 4:
        return False
    x, scale, zero, bits = node.input[:4]
    one = steps.constant(1)
    power = steps.step("Pow", [steps.constant(2), steps.step("Sub", [bits, one]) if signed else bits])
    low = steps.step("Sub", [steps.constant(narrow), power]) if signed else steps.constant(0)
    high = steps.step("Sub", [power, one if signed else steps.constant(1 + narrow)])
    codes = steps.step("Add", [steps.step("Div", [x, scale]), zero])
    clipped = steps.step("Max", [steps.step("Min", [codes, high]), low])
    rounded = _rounded(steps, rounding, clipped)
    if signed:
        several = steps.step("Greater", [bits, one])
        rounded = steps.step("Where", [several, rounded, _sign(steps, codes)])
    steps.step("Mul", [steps.step("Sub", [rounded, zero]), scale], node.output[0])
    return True

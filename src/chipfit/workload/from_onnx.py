"""The one importer: an ONNX graph as a `Network`.

The graph is walked once, in its order. Every value has a shape, an element type, a width in bits,
and, if it does not depend on the input of the network, its elements: so shape arithmetic vanishes.

- Layers that multiply: `Conv`, `ConvTranspose`, `Gemm`, `MatMul`, `Einsum` of two operands, their
  integer kin, and `LSTM`, `GRU`, `RNN` as their two matrix products and a cell.
- Free: operators that give another shape to the same data (`Reshape`, `Squeeze`, ...), and those
  that state a width (`QuantizeLinear`, `DequantizeLinear`, QONNX `Quant`): the tensor they stand
  behind is stored at that width. A property `chipfit.bits` on such a node overrides the width of
  the stored type, and a `Clip` before it is part of it.
- All others cost the traffic of their tensors; elementwise ones join the nest before them
  (`steps.py`). `Slice` and `Gather` read only what they return. What only moves values, or selects
  among them, writes them as wide as it reads them.
- `If` with an unknown condition: the branch with more multiplies. `Loop` and `Scan`: unrolled.
- An operator that is not known is counted as traffic and named in `Network.warnings`.

Parameters are the elements of weights, biases, normalisation scales and shifts (not the running
means and variances), embedding tables and all other floating-point constants of more than one
element that take part in arithmetic; shared ones count once, where they are first used.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from chipfit.errors import NetworkError
from chipfit.workload import nests, nodes, onnx_file, operators
from chipfit.workload.network import Loops, Network
from chipfit.workload.onnx_file import Source
from chipfit.workload.steps import Array, Step, Value, assemble

_EVALUATED_ELEMENTS = 1 << 16
_INFERENCE_DATA_ELEMENTS = 64
_UNROLLED_NODES = 20_000


def load_onnx(
    source: Source,
    *,
    name: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    fuse: bool = True,
) -> Network:
    """The network of an ONNX file.

    Args:
        source: the path of a file, its bytes, or a model in memory.
        name: of the network; else that of the file or the graph.
        shapes: of inputs by name, for those that the file leaves open.
        fuse: put elementwise layers into the layers that multiply before them.

    Raises:
        NetworkError: the file cannot be read or is cut off; a dimension of an input is not known; a
            shape does not infer; weights are NaN or infinite; or nothing is left to count.
    """
    model, found = onnx_file.read(source)
    where = str(source) if isinstance(source, (str, onnx_file.Path)) else "the model"
    walk = _Walk(model, where)
    env = {
        key: walk.variable(key, shape, _input_type(model.graph, key))
        for key, shape in onnx_file.input_shapes(model.graph, shapes or {}, where).items()
    }
    with np.errstate(all="ignore"):
        outputs = walk.graph(model.graph, env)
    layers = assemble(walk.steps, [v for v in outputs if not v.constant], fuse=fuse)
    return Network(name=name or found, layers=layers, warnings=tuple(walk.all_warnings()))


def _input_type(graph: onnx.GraphProto, name: str) -> int:
    return next(i.type.tensor_type.elem_type for i in graph.input if i.name == name)


def _width(dtype: int, where: str) -> int:
    if dtype not in operators.BITS:
        kind = {number: name for name, number in TensorProto.DataType.items()}.get(dtype, str(dtype))
        raise NetworkError(f"{where}: elements of type {kind} have no known width")
    return operators.BITS[dtype]


class _Walk:
    """The state of one walk: what has been written down so far."""

    def __init__(self, model: onnx.ModelProto, where: str) -> None:
        self.where = where
        self.opsets = {nodes.domain_of(o.domain): o.version for o in model.opset_import}
        self.ir_version = model.ir_version
        self.steps: list[Step] = []
        self.warnings: list[str] = []
        self.unknown: dict[str, list[str]] = {}
        self.roots: set[str] = set()
        self.names: set[str] = set()
        self.versions: dict[tuple[str, int], str] = {}
        self.sizes: dict[str, int] = {}
        self.infinite: dict[str, int] = {}
        self.counted: set[str] = set()
        self.stated: dict[str, onnx.TypeProto] = {}

    def fork(self) -> _Walk:
        """The same state, to go on with separately."""
        other = copy.copy(self)
        for key, value in vars(self).items():
            if isinstance(value, (list, set, dict)):
                setattr(other, key, copy.copy(value))
        other.unknown = {key: list(found) for key, found in self.unknown.items()}
        return other

    def all_warnings(self) -> list[str]:
        """Every warning once; unknown operators gathered by name."""
        found = list(dict.fromkeys(self.warnings))
        for operator, names in self.unknown.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            count = f"{len(names)} node{'s' if len(names) > 1 else ''}"
            found.append(f"operator {operator} is not known: counted as traffic only ({count}: {shown})")
        return found

    # Values

    def variable(self, name: str, shape: Sequence[int], dtype: int) -> Value:
        """A new tensor that is written while the network runs."""
        root = nodes.unique(name, self.roots)
        bits = _width(dtype, f"{self.where}: tensor '{name}'")
        return Value(
            root=root,
            name=root,
            shape=tuple(shape),
            dtype=dtype,
            bits=bits,
            floating=dtype in operators.FLOATING,
        )

    def constant(self, name: str, array: Array, dtype: int) -> Value:
        """A tensor that is known before the network runs."""
        if dtype in operators.FLOATING:
            self._check_finite(name, array)
        self.sizes[name] = array.size
        return Value(
            root=name, name=name, shape=array.shape, dtype=dtype, array=array, sources=(name,), constant=True,
            bits=operators.BITS.get(dtype, 64), floating=dtype in operators.FLOATING,
        )  # fmt: skip

    def _check_finite(self, name: str, array: Array) -> None:
        if 0 in array.strides and array.size:
            array = array[(slice(0, 1),) * array.ndim]
        values = array.astype(np.float32) if array.dtype.kind not in "f" else array
        if np.isfinite(values).all():
            return
        nans = int(np.isnan(values).sum())
        self.infinite[name] = int(np.isinf(values).sum())
        if nans:
            raise NetworkError(f"{self.where}: initializer '{name}' has {nans} NaN values")

    def parameters(
        self, values: Sequence[Value | None], *, any_type: bool = False, finite: bool = True
    ) -> int:
        """The elements of those constants that are parameters and were not counted before.

        Raises:
            NetworkError: one of them has infinite values and must be `finite`.
        """
        total = 0
        for value in values:
            if value is None or not value.constant or not (any_type or value.dtype in operators.FLOATING):
                continue
            for source in value.sources or (value.name,):
                if finite and self.infinite.get(source):
                    count = self.infinite[source]
                    raise NetworkError(f"{self.where}: initializer '{source}' has {count} infinite values")
                size = self.sizes.get(source, value.elements)
                if source not in self.counted and (size > 1 or (any_type and value.elements == 1)):
                    self.counted.add(source)
                    total += size
        return total

    # Graphs

    def graph(self, graph: onnx.GraphProto, env: dict[str, Value]) -> list[Value]:
        """Walk a graph; returns its outputs. `env` has the values that it may read."""
        for tensor in graph.initializer:
            env[tensor.name] = self.constant(tensor.name, self._array(tensor), tensor.data_type)
        for sparse in graph.sparse_initializer:
            env[sparse.values.name] = self._sparse(sparse)
        for info in [*graph.value_info, *graph.output]:
            self.stated[info.name] = info.type
        clips = nodes.quantizer_clips(graph)
        for node in graph.node:
            if node.output and node.output[0] in clips:
                env[node.output[0]] = self._read(node, node.input[0], env)
            else:
                self._node(node, env)
        missing = [o.name for o in graph.output if o.name not in env]
        if missing:
            raise NetworkError(f"{self.where}: no node writes the output '{missing[0]}'")
        return [env[output.name] for output in graph.output]

    def _array(self, tensor: onnx.TensorProto) -> Array:
        try:
            return numpy_helper.to_array(tensor)
        except Exception as error:  # numpy's and onnx's kinds, by what is wrong with the data
            raise NetworkError(
                f"{self.where}: the data of initializer '{tensor.name}' does not fit its shape "
                f"{tuple(tensor.dims)}"
            ) from error

    def _sparse(self, sparse: onnx.SparseTensorProto) -> Value:
        name, shape = sparse.values.name, tuple(sparse.dims)
        value = self.constant(name, self._array(sparse.values), sparse.values.data_type)
        self.sizes[name] = int(np.prod(shape))
        nonzero = int(np.count_nonzero(value.array)) if value.array is not None else 0
        return replace(value, shape=shape, array=None, zeros=1 - nonzero / max(1, self.sizes[name]))

    def _read(self, node: onnx.NodeProto, name: str, env: Mapping[str, Value]) -> Value:
        if name not in env:
            raise NetworkError(
                f"{self.where}: {nodes.label_of(node)} reads '{name}', which nothing before it writes"
            )
        return env[name]

    def _node(self, node: onnx.NodeProto, env: dict[str, Value]) -> None:
        inputs = [self._read(node, key, env) if key else None for key in node.input]
        try:
            if nodes.domain_of(node.domain) == "" and node.op_type in ("If", "Loop", "Scan"):
                outputs = self._control(node, inputs, env)
            else:
                outputs = self._outputs(node, inputs)
        except NetworkError as error:
            if str(error).startswith(f"{self.where}: "):
                raise
            raise NetworkError(f"{self.where}: {nodes.label_of(node)}: {error}") from error
        except (TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            # A node without the inputs and attributes that its operator must have.
            raise NetworkError(f"{self.where}: {nodes.label_of(node)} is not sound: {error}") from error
        env.update(outputs)

    def _outputs(self, node: onnx.NodeProto, inputs: list[Value | None]) -> dict[str, Value]:
        operator, domain = node.op_type, nodes.domain_of(node.domain)
        if domain == "" and operator == "Constant":
            return {node.output[0]: self._constant_node(node)}
        if domain == "" and operator in ("QuantizeLinear", "DequantizeLinear"):
            return {node.output[0]: self._quantize_linear(node, inputs)}
        if operator in operators.QUANTIZERS and operators.QUANTIZER_DOMAINS.fullmatch(domain):
            return {node.output[0]: self._quant(node, inputs)}
        first = inputs[0] if inputs else None
        if domain == "" and operator in ("Shape", "Size") and first is not None:
            return {node.output[0]: self._shape(node, first)}
        # The second input of CastLike lends its type, not its elements.
        decisive = inputs[:1] if operator == "CastLike" else inputs
        if all(value is None or value.constant for value in decisive) and operator not in operators.RANDOM:
            folded = self._fold(node, inputs)
            if folded is not None:
                return folded
        outputs = self._infer(node, inputs)
        output = outputs.get(node.output[0])
        if first and output and not first.constant and nodes.is_alias(node, inputs, first, output):
            return {**outputs, node.output[0]: replace(first, shape=output.shape, dtype=output.dtype)}
        if node.op_type in operators.PRESERVING and first is not None:
            outputs = {key: nodes.at_width_of(value, inputs) for key, value in outputs.items()}
        self._step(node, inputs, outputs)
        return outputs

    # Shapes

    def _infer(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> dict[str, Value]:
        """The outputs of a node, as variables. Only the first must have a shape."""
        types = self._inferred_types(node, inputs)
        outputs: dict[str, Value] = {}
        for key in filter(None, node.output):
            found = nodes.dimensions_of(types.get(key)) or nodes.dimensions_of(self.stated.get(key))
            if found is None and self._schema(node) is not None:
                if outputs:
                    continue
                raise NetworkError(f"the shape of its output '{key}' does not infer")
            outputs[key] = self.variable(key, *(found or self._guess(node, key, inputs)))
        return outputs

    def _guess(
        self, node: onnx.NodeProto, key: str, inputs: Sequence[Value | None]
    ) -> tuple[tuple[int, ...], int]:
        """Shape and type of an output of an operator without a schema: a warning says so."""
        first = next((v for v in inputs if v is not None), None)
        if first is None:
            raise NetworkError(f"the shape of its output '{key}' is not stated in the file")
        if self._is_known(node):
            elementwise = node.op_type in operators.ELEMENTWISE
            return nodes.broadcast(inputs) if elementwise else first.shape, first.dtype
        self.warnings.append(
            f"{nodes.label_of(node)}: the shape of '{key}' is not stated in the file and is taken to be that "
            f"of its first input, {tuple(first.shape)}"
        )
        return first.shape, first.dtype

    def _schema(self, node: onnx.NodeProto) -> Any:
        domain = nodes.domain_of(node.domain)
        if domain == "" and domain not in self.opsets:
            raise NetworkError("the file states no version of the standard operator set")
        try:
            return onnx.defs.get_schema(node.op_type, self.opsets.get(domain, 1), domain)
        except onnx.defs.SchemaError:
            return None

    def _inferred_types(
        self, node: onnx.NodeProto, inputs: Sequence[Value | None]
    ) -> Mapping[str, onnx.TypeProto]:
        schema = self._schema(node)
        if schema is None:
            return nodes.microsoft_types(node, inputs)
        known = {key: value for key, value in zip(node.input, inputs, strict=True) if value is not None}
        types = {key: helper.make_tensor_type_proto(v.dtype, v.shape) for key, v in known.items()}
        data = {
            key: numpy_helper.from_array(np.ascontiguousarray(value.array))
            for key, value in known.items()
            if value.array is not None and value.elements <= _INFERENCE_DATA_ELEMENTS
        }
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        try:
            return onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, {}, opsets, self.ir_version
            )
        except Exception as error:  # onnx raises InferenceError and built-in kinds
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            output = node.output[0] if node.output else ""
            raise NetworkError(f"the shape of its output '{output}' does not infer: {reason}") from error

    # Constants

    def _constant_node(self, node: onnx.NodeProto) -> Value:
        name = node.output[0]
        for key, value in nodes.attributes_of(node).items():
            match key:
                case "value":
                    return self.constant(name, self._array(value), value.data_type)
                case "sparse_value":
                    return replace(self._sparse(value), name=name, root=name)
                case "value_float" | "value_floats":
                    return self.constant(name, np.asarray(value, np.float32), TensorProto.FLOAT)
                case "value_int" | "value_ints":
                    return self.constant(name, np.asarray(value, np.int64), TensorProto.INT64)
                case "value_string" | "value_strings":
                    return self.constant(name, np.asarray(value, object), TensorProto.STRING)
                case _:
                    continue
        raise NetworkError(f"{nodes.label_of(node)} has no value")

    def _shape(self, node: onnx.NodeProto, value: Value) -> Value:
        options = nodes.attributes_of(node)
        shape = value.shape[options.get("start", 0) : options.get("end", len(value.shape))]
        known = np.asarray(shape if node.op_type == "Shape" else value.elements, np.int64)
        return self.constant(node.output[0], known, TensorProto.INT64)

    def _fold(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> dict[str, Value] | None:
        """The outputs of a node whose inputs are all constant; None if that cannot be told."""
        if node.op_type == "CastLike" and inputs[0] is not None and inputs[1] is not None:
            node = helper.make_node("Cast", node.input[:1], node.output, node.name, to=inputs[1].dtype)
            inputs = inputs[:1]
        known = [value for value in inputs if value is not None]
        first = known[0] if known else None
        if node.op_type == "ConstantOfShape" and first is not None and first.array is not None:
            fill = nodes.attributes_of(node).get("value")
            scalar = np.zeros(1, np.float32) if fill is None else self._array(fill)
            dtype = TensorProto.FLOAT if fill is None else fill.data_type
            filled = np.broadcast_to(scalar.reshape(()), tuple(int(size) for size in first.array))
            return {node.output[0]: self.constant(node.output[0], filled, dtype)}
        if nodes.domain_of(node.domain) == "" and node.op_type in operators.LAYOUT and first is not None:
            key = node.output[0]
            return {key: nodes.relaid(first, node, self._infer(node, inputs)[key].shape)}
        arrays = [value.array for value in known if value.array is not None]
        small = sum(array.size for array in arrays) <= _EVALUATED_ELEMENTS
        results = self._evaluate(node, inputs) if small and len(arrays) == len(known) else None
        if results is None and (not known or self._schema(node) is None):
            return None
        data = [value for value in known if value.dtype in operators.FLOATING] or known
        sources = tuple(dict.fromkeys(source for value in data for source in value.sources))
        if results is None:
            found = self._infer(node, inputs)
        else:
            found = {
                key: self.constant(key, array, helper.np_dtype_to_tensor_dtype(array.dtype))
                for key, array in zip(filter(None, node.output), results, strict=True)
            }
        return {
            key: replace(value, constant=True, sources=sources if value.elements > 1 else (key,))
            for key, value in found.items()
        }

    def _evaluate(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> list[Array] | None:
        from onnx.reference import ReferenceEvaluator

        feeds = {k: v.array for k, v in zip(node.input, inputs, strict=True) if v is not None}
        types = [
            helper.make_tensor_value_info(k, v.dtype, v.shape)
            for k, v in dict(zip(node.input, inputs, strict=True)).items()
            if v is not None
        ]
        outputs = [helper.make_empty_tensor_value_info(key) for key in node.output if key]
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        graph = helper.make_graph([node], "node", types, outputs)
        try:
            model = helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version)
            results = ReferenceEvaluator(model).run(None, feeds)
        except Exception:  # whatever it cannot evaluate stays unknown
            return None
        arrays = [np.asarray(result) for result in results]
        return arrays if all(array.dtype != object for array in arrays) else None

    # Widths

    def _quantized(
        self, value: Value, node: onnx.NodeProto, bits: int, dtype: int, zeros: float | None
    ) -> Value:
        """A value at another width. Equal widths of one activation are one stored tensor."""
        if value.constant:
            array = None if zeros is not None else value.array
            return replace(value, bits=bits, floating=False, dtype=dtype, zeros=zeros, array=array)
        if bits == value.bits and not value.floating:
            return replace(value, dtype=dtype)
        name = self.versions.setdefault((value.root, bits), nodes.unique(node.output[0], self.roots))
        return replace(value, bits=bits, floating=False, dtype=dtype, name=name)

    def _quantize_linear(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> Value:
        value, scale = inputs[0], inputs[1]
        zero = inputs[2] if len(inputs) > 2 else None
        if value is None or scale is None:
            raise NetworkError(f"{node.op_type} needs a tensor and a scale")
        options = nodes.attributes_of(node)
        if node.op_type == "QuantizeLinear":
            dtype = zero.dtype if zero is not None else options.get("output_dtype") or TensorProto.UINT8
            bits = self._stated_bits(node) or _width(dtype, "output")
        else:
            dtype = scale.dtype
            bits = self._stated_bits(node) or value.bits
        zeros = value.zeros
        if value.constant and value.array is not None and value.array.size:
            codes = value.array.astype(np.float64)
            if node.op_type == "QuantizeLinear":
                codes = np.rint(codes / nodes.along_axis(scale, value, options))
            elif zero is not None:
                codes = codes - nodes.along_axis(zero, value, options)
            zeros = 1 - float(np.count_nonzero(codes)) / codes.size
            value = replace(
                value,
                largest_sum=nodes.largest_sum(codes, scale, options),
                values=nodes.histogram(codes, bits),
            )
        return self._quantized(value, node, bits, dtype, zeros)

    def _stated_bits(self, node: onnx.NodeProto) -> int | None:
        for entry in node.metadata_props:
            if entry.key == operators.BITS_PROPERTY:
                if not entry.value.isdecimal() or not 1 <= int(entry.value) <= 64:
                    raise NetworkError(
                        f"{operators.BITS_PROPERTY} must be an integer in 1..64, got '{entry.value}'"
                    )
                return int(entry.value)
        return None

    def _quant(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> Value:
        """A quantiser of QONNX: inputs are the tensor, scale, zero point and width."""
        value = inputs[0]
        if value is None:
            raise NetworkError(f"{node.op_type} needs a tensor")

        def width(index: int) -> int:
            given = inputs[index] if index < len(inputs) else None
            if given is None or given.array is None or given.array.size != 1:
                raise NetworkError(f"the width of {node.op_type} (input {index}) must be one known number")
            number = float(given.array.reshape(()))
            if not 0 < number <= 64:
                raise NetworkError(f"the width of {node.op_type} must be in 1..64 bits, got {number:g}")
            return int(np.ceil(number))

        match node.op_type:
            case "BipolarQuant":
                bits = 1
            case "Trunc":
                bits = width(4)
            case "FloatQuant":
                bits = 1 + width(2) + width(3)
            case _:
                bits = width(3)
        bits = self._stated_bits(node) or bits
        zeros = value.zeros
        scale = inputs[1] if len(inputs) > 1 else None
        if value.constant and value.array is not None and node.op_type == "BipolarQuant":
            zeros = 0.0
        elif value.constant and value.array is not None and scale is not None and scale.array is not None:
            codes = np.rint(value.array.astype(np.float64) / scale.array)
            zeros = 1 - float(np.count_nonzero(codes)) / max(1, codes.size)
            value = replace(value, values=nodes.histogram(codes, bits))
        return self._quantized(value, node, bits, value.dtype, zeros)

    # Steps

    def _is_known(self, node: onnx.NodeProto) -> bool:
        return nodes.domain_of(node.domain) in operators.DOMAINS and node.op_type in (
            operators.ELEMENTWISE
            | operators.MOVING
            | operators.ALIASES
            | operators.CONVOLUTIONS.keys()
            | operators.PRODUCTS.keys()
            | operators.RECURRENT.keys()
        )

    def _step(self, node: onnx.NodeProto, inputs: list[Value | None], outputs: dict[str, Value]) -> None:
        operator = node.op_type
        if nodes.domain_of(node.domain) in operators.DOMAINS:
            if operator in operators.CONVOLUTIONS:
                self._convolution(node, inputs, outputs)
                return
            if operator in operators.PRODUCTS:
                self._product(node, inputs, outputs)
                return
            if operator in operators.RECURRENT:
                self._recurrent(node, inputs, outputs)
                return
        self._traffic(node, inputs, outputs)

    def _traffic(
        self, node: onnx.NodeProto, inputs: Sequence[Value | None], outputs: dict[str, Value]
    ) -> None:
        operator = node.op_type
        name = self._name(node)
        if not self._is_known(node):
            domain = nodes.domain_of(node.domain)
            self.unknown.setdefault(f"{domain}::{operator}" if domain else operator, []).append(name)
        operands = list(inputs[: operators.STEERING.get(operator, len(inputs))])
        reads = [v for v in operands if v is not None and not (v.constant and v.is_vector)]
        written = list(outputs.values())
        tables: list[Value] = []
        if operator in operators.PARTIAL and reads and reads[0].elements > written[0].elements:
            tables = [reads[0]] if reads[0].constant else []
            reads[0] = replace(reads[0], shape=written[0].shape)
        self.steps.append(
            Step(
                name=name,
                operator=operator,
                reads=reads,
                writes=written,
                # Masks may well be infinite.
                parameters=self.parameters(operands, finite="Normalization" in operator),
                elementwise=operator in operators.ELEMENTWISE,
                tables=tables,
            )
        )

    def _nest(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[Value | None],
        outputs: dict[str, Value],
        operands: tuple[Value, Value],
        bias: Value | None,
        loops: Loops,
    ) -> None:
        x, weight = operands
        others = [v for v in inputs if v is not None and not v.constant and v not in (x, weight)]
        if bias is not None and bias.constant and not bias.is_vector:
            others.append(bias)
        self.steps.append(
            Step(
                name=self._name(node, weight),
                operator=node.op_type,
                reads=[x, *others],
                writes=[outputs[node.output[0]]],
                loops=loops,
                weight=weight,
                parameters=self.parameters([weight, bias], any_type=True),
            )
        )

    def _convolution(
        self, node: onnx.NodeProto, inputs: list[Value | None], outputs: dict[str, Value]
    ) -> None:
        x, weight, bias = nodes.operands_of(node, inputs, operators.CONVOLUTIONS[node.op_type])
        options = nodes.attributes_of(node)
        groups, strides = options.get("group", 1), options.get("strides", ())
        dilations = options.get("dilations", ())
        rank = len(x.shape) - 2
        if not 1 <= rank <= 3:
            self.warnings.append(
                f"{nodes.label_of(node)}: {rank} spatial dimensions, counted as traffic only"
            )
            self._traffic(node, inputs, outputs)
            return
        if rank == 3 and node.op_type != "ConvTranspose":
            self.warnings.append(
                f"{nodes.label_of(node)}: depth is taken into batch and channels; input counted once a "
                "kernel slice"
            )
        if node.op_type == "ConvTranspose":
            loops = nests.transposed_convolution(
                x.shape, weight.shape, groups=groups, strides=strides, dilations=dilations
            )
        else:
            loops = nests.convolution(
                x.shape, weight.shape, outputs[node.output[0]].shape, groups=groups, strides=strides,
                dilations=dilations, pads=options.get("pads", ()), auto_pad=options.get("auto_pad", "NOTSET"),
            )  # fmt: skip
        self._nest(node, inputs, outputs, (x, weight), bias, loops)

    def _product(self, node: onnx.NodeProto, inputs: list[Value | None], outputs: dict[str, Value]) -> None:
        options = nodes.attributes_of(node)
        if node.op_type == "Einsum" and len(inputs) != 2:
            self.unknown.setdefault("Einsum of other than two operands", []).append(node.name)
            self._traffic(node, inputs, outputs)
            return
        a, b, bias = nodes.operands_of(node, inputs, operators.PRODUCTS[node.op_type])
        if node.op_type == "Einsum":
            equation = nodes.explicit(options["equation"])
        else:
            equation = nests.matmul_equation(a.shape, b.shape)
            terms, _, result = equation.partition("->")
            left, _, right = terms.partition(",")
            left = nodes.swapped(left) if options.get("transA") else left
            right = nodes.swapped(right) if options.get("transB") else right
            equation = f"{left},{right}->{result}"
        if a.constant and not b.constant:
            terms, _, result = equation.partition("->")
            left, _, right = terms.partition(",")
            a, b, equation = b, a, f"{right},{left}->{result}"
        try:
            loops = nests.contraction(equation, a.shape, b.shape)
        except NetworkError as error:
            if node.op_type != "Einsum":
                raise
            self.warnings.append(f"{nodes.label_of(node)}: {error}: counted as traffic only")
            self._traffic(node, inputs, outputs)
            return
        self._nest(node, inputs, outputs, (a, b), bias, loops)

    def _recurrent(self, node: onnx.NodeProto, inputs: list[Value | None], outputs: dict[str, Value]) -> None:
        x, weight, state_weight = inputs[:3]
        assert x is not None
        assert weight is not None
        assert state_weight is not None
        bias = inputs[3] if len(inputs) > 3 else None
        directions, rows, features = weight.shape
        hidden = state_weight.shape[2]
        steps, batch = (
            x.shape[:2] if not nodes.attributes_of(node).get("layout") else (x.shape[1], x.shape[0])
        )
        of_input, of_state = nests.recurrence(
            steps=steps,
            batch=batch,
            directions=directions,
            inputs=features,
            hidden=hidden,
            gates=rows // hidden,
        )
        name = self._name(node, weight)
        gates = self.variable(f"{name}.gates", (steps, batch, directions * rows), x.dtype)
        state = self.variable(f"{name}.state", (steps, directions, batch, hidden), x.dtype)
        update = self.variable(f"{name}.update", (steps, directions, batch, rows), x.dtype)
        rest = [v for v in inputs[4:] if v is not None and not v.constant]
        parameters = self.parameters([weight], any_type=True) + self.parameters([bias], any_type=True)
        self.steps += [
            Step(
                name=nodes.unique(f"{name}.input", self.names), operator=node.op_type, loops=of_input,
                reads=[x], weight=weight, writes=[gates], parameters=parameters,
            ),
            Step(
                name=nodes.unique(f"{name}.recurrent", self.names), operator=node.op_type, loops=of_state,
                reads=[state], weight=state_weight, writes=[update],
                parameters=self.parameters([state_weight], any_type=True),
            ),
            Step(
                name=nodes.unique(f"{name}.cell", self.names), operator=node.op_type,
                reads=[gates, update, *rest], writes=list(outputs.values()),
                parameters=self.parameters(inputs[7:8]),
            ),
        ]  # fmt: skip

    def _name(self, node: onnx.NodeProto, weight: Value | None = None) -> str:
        """The torch path of the module, else the name of the node, else its operator; unique."""
        origin = weight.sources[0] if weight is not None and weight.sources else ""
        match = operators.MODULE_WEIGHT.fullmatch(origin)
        name = match.group(1) if match else node.name or f"{node.op_type}_{len(self.steps)}"
        return nodes.unique(name, self.names)

    # Control flow

    def _control(
        self, node: onnx.NodeProto, inputs: list[Value | None], env: dict[str, Value]
    ) -> dict[str, Value]:
        options = nodes.attributes_of(node)
        if node.op_type == "If":
            outputs = self._branch(node, inputs, options, env)
        elif node.op_type == "Loop":
            outputs = self._loop(node, inputs, options["body"], env)
        else:
            outputs = self._scan(node, inputs, options, env)
        return {key: value for key, value in zip(node.output, outputs, strict=False) if key}

    def _branch(
        self,
        node: onnx.NodeProto,
        inputs: list[Value | None],
        options: Mapping[str, Any],
        env: dict[str, Value],
    ) -> list[Value]:
        condition = inputs[0].array if inputs and inputs[0] is not None else None
        if condition is not None:
            chosen = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
            return self.graph(options[chosen], dict(env))
        walks = {key: self.fork() for key in ("then_branch", "else_branch")}
        outputs = {key: walk.graph(options[key], dict(env)) for key, walk in walks.items()}

        def work(key: str) -> tuple[int, int]:
            steps = walks[key].steps
            return sum(s.loops.macs for s in steps if s.loops), len(steps)

        chosen = max(walks, key=work)
        vars(self).update(vars(walks[chosen]))
        self.warnings.append(
            f"{nodes.label_of(node)}: its condition depends on the input; counted is {chosen}, which "
            "multiplies more"
        )
        return outputs[chosen]

    def _loop(
        self, node: onnx.NodeProto, inputs: list[Value | None], body: onnx.GraphProto, env: dict[str, Value]
    ) -> list[Value]:
        trips = inputs[0].array if inputs and inputs[0] is not None else None
        count = int(trips.reshape(-1)[0]) if trips is not None else None
        if count is None:
            self.warnings.append(
                f"{nodes.label_of(node)}: its number of iterations is not known; counted once"
            )
        count = self._unrolled(node, body, 1 if count is None else count)
        carried = [v for v in inputs[2:] if v is not None]
        stacked: list[list[Value]] = []
        true = self.constant(f"{node.output[0]}.condition", np.asarray(True), TensorProto.BOOL)
        for step in range(count):
            index = self.constant(
                f"{node.output[0]}.iteration", np.asarray(step, np.int64), TensorProto.INT64
            )
            inner = dict(env) | dict(zip((i.name for i in body.input), (index, true, *carried), strict=True))
            go_on, *results = self.graph(body, inner)
            carried, scanned = results[: len(carried)], results[len(carried) :]
            stacked.append(scanned)
            if go_on.array is None:
                self.warnings.append(
                    f"{nodes.label_of(node)}: it may end early; counted are all {count} iterations"
                )
            elif not go_on.array.reshape(-1)[0]:
                break
        return [*carried, *self._stack(node, len(carried), stacked)]

    def _scan(
        self,
        node: onnx.NodeProto,
        inputs: list[Value | None],
        options: Mapping[str, Any],
        env: dict[str, Value],
    ) -> list[Value]:
        body: onnx.GraphProto = options["body"]
        known = [v for v in inputs if v is not None]
        states = len(known) - options["num_scan_inputs"]
        axes = options.get("scan_input_axes", [0] * (len(known) - states))
        carried, sequences = known[:states], known[states:]
        length = sequences[0].shape[axes[0]]
        parts = [
            replace(v, shape=tuple(np.delete(v.shape, axis).tolist()), array=None)
            for v, axis in zip(sequences, axes, strict=True)
        ]
        stacked: list[list[Value]] = []
        for _ in range(self._unrolled(node, body, length)):
            inner = dict(env) | dict(zip((i.name for i in body.input), (*carried, *parts), strict=True))
            results = self.graph(body, inner)
            carried = results[:states]
            stacked.append(results[states:])
        return [*carried, *self._stack(node, states, stacked)]

    def _unrolled(self, node: onnx.NodeProto, body: onnx.GraphProto, count: int) -> int:
        if count * len(body.node) <= _UNROLLED_NODES:
            return count
        self.warnings.append(
            f"{nodes.label_of(node)}: {count} iterations are too many to unroll; counted once"
        )
        return 1

    def _stack(self, node: onnx.NodeProto, carried: int, stacked: list[list[Value]]) -> list[Value]:
        if not stacked:
            return []
        return [
            self.variable(key, (len(stacked), *value.shape), value.dtype)
            for key, value in zip(list(node.output)[carried:], stacked[0], strict=False)
        ]

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
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from chipfit.errors import NetworkError
from chipfit.workload import nests, onnx_file
from chipfit.workload.network import Loops, Network
from chipfit.workload.onnx_file import Source
from chipfit.workload.steps import Array, Step, Value, assemble

#: Width and kind of each element type. A truth value is stored in a byte.
_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16, TensorProto.DOUBLE: 64,
    TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16, TensorProto.UINT16: 16,
    TensorProto.INT32: 32, TensorProto.UINT32: 32, TensorProto.INT64: 64, TensorProto.UINT64: 64,
    TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4, TensorProto.BOOL: 8,
    TensorProto.FLOAT8E4M3FN: 8, TensorProto.FLOAT8E4M3FNUZ: 8, TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
}  # fmt: skip
_FLOATING: set[int] = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE,
    TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ, TensorProto.FLOAT4E2M1,
}  # fmt: skip

#: Widest weights whose values are counted.
_HISTOGRAM_BITS = 8

#: Where the input, the weight and the bias stand among the inputs of a node.
_CONVOLUTIONS = {
    "Conv": (0, 1, 2), "ConvTranspose": (0, 1, 2), "FusedConv": (0, 1, 2), "ConvInteger": (0, 1, None),
    "QLinearConv": (0, 3, 8),
}  # fmt: skip
_PRODUCTS = {
    "Gemm": (0, 1, 2), "FusedGemm": (0, 1, 2), "QGemm": (0, 3, 6), "MatMul": (0, 1, None),
    "MatMulInteger": (0, 1, None), "QLinearMatMul": (0, 3, None), "FusedMatMul": (0, 1, None),
    "Einsum": (0, 1, None),
}  # fmt: skip
#: Rows of the gates in the weights of a recurrent layer.
_RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}

_ALIASES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Optional"}
#: Free where they change no size.
_JOINS = {"Concat", "Sum", "Max", "Min", "Mean"}
_TRIVIAL = {"Slice", "Expand", "Tile", "Pad", "Resize", "Upsample", *_JOINS}
_LAYOUT = _ALIASES | {"Transpose"}
_PARTIAL = {"Slice", "Gather", "GatherElements", "GatherND"}
_ELEMENTWISE = {
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "Swish", "Sigmoid", "Tanh",
    "HardSigmoid", "HardSwish", "Softplus", "Softsign", "ThresholdedRelu", "Shrink", "Exp", "Log", "Sqrt",
    "Abs", "Neg", "Reciprocal", "Erf", "Floor", "Ceil", "Round", "Sign", "Not", "Sin", "Cos", "Tan", "Sinh",
    "Cosh", "Asin", "Acos", "Atan", "IsNaN", "IsInf", "Cast", "CastLike", "BatchNormalization",
    "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum", "Mod", "And", "Or", "Xor", "BitShift",
    "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Where",
    "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "FastGelu", "BiasGelu", "QuickGelu",
    "MultiThreshold",
}  # fmt: skip
#: Standard operators that only move, select, pool, reduce or normalise.
_MOVING = {
    "Transpose", "Concat", "Slice", "Gather", "GatherElements", "GatherND", "Pad", "Expand", "Tile", "Split",
    "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "ScatterElements", "ScatterND", "Scatter",
    "ReverseSequence", "OneHot", "Trilu", "Compress", "EyeLike", "Unique", "NonZero", "Hardmax", "TopK",
    "ArgMax", "ArgMin", "CumSum", "CumProd", "Softmax", "LogSoftmax", "LpNormalization", "LRN",
    "MeanVarianceNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization",
    "RMSNormalization", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool",
    "GlobalLpPool", "MaxRoiPool", "MaxUnpool", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin",
    "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "Range",
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli",
    "DynamicQuantizeLinear", "NonMaxSuppression", "Shape", "Size", "ConstantOfShape", "Im2Col", "Col2Im",
    "CenterCropPad", "RotaryEmbedding", "QLinearConcat", "QLinearGlobalAveragePool", "QLinearAveragePool",
    "ImageScaler", "Crop", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "Det", "Binarizer",
}  # fmt: skip
#: What these write has the width of what they read.
_PRESERVING = {
    "Slice", "Pad", "Transpose", "Concat", "Split", "Gather", "GatherElements", "GatherND", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "ReverseSequence",
    "Trilu", "Upsample", "QLinearConcat",
}  # fmt: skip
#: Domains whose operators of these names mean what ours of these names do.
_DOMAINS = {"", "com.microsoft"}
#: Inputs that steer an operator and are no parameters.
_STEERING = {
    "Resize": 1,
    "Upsample": 1,
    "Pad": 1,
    "Clip": 1,
    "Dropout": 1,
    "BatchNormalization": 3,
    "OneHot": 1,
}
_RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}

_QUANTIZERS = {"Quant", "IntQuant", "BipolarQuant", "FloatQuant", "Trunc"}
_QUANTIZER_DOMAINS = re.compile(r"qonnx\..*|onnx\.brevitas|finn\..*")
_BITS_PROPERTY = "chipfit.bits"

#: Weights of a torch module, quantised or parametrised or not: what comes before is its path.
_MODULE_WEIGHT = re.compile(r"(.+)\.(?:parametrizations\.weight\.original\d*|weight(?:_\w+)?)")

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
    if dtype not in _BITS:
        kind = {number: name for name, number in TensorProto.DataType.items()}.get(dtype, str(dtype))
        raise NetworkError(f"{where}: elements of type {kind} have no known width")
    return _BITS[dtype]


class _Walk:
    """The state of one walk: what has been written down so far."""

    def __init__(self, model: onnx.ModelProto, where: str) -> None:
        self.where = where
        self.opsets = {_domain(o.domain): o.version for o in model.opset_import}
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
        other.unknown = {key: list(nodes) for key, nodes in self.unknown.items()}
        return other

    def all_warnings(self) -> list[str]:
        """Every warning once; unknown operators gathered by name."""
        found = list(dict.fromkeys(self.warnings))
        for operator, nodes in self.unknown.items():
            shown = ", ".join(nodes[:3]) + (", ..." if len(nodes) > 3 else "")
            count = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"
            found.append(f"operator {operator} is not known: counted as traffic only ({count}: {shown})")
        return found

    # Values

    def variable(self, name: str, shape: Sequence[int], dtype: int) -> Value:
        """A new tensor that is written while the network runs."""
        root = _unique(name, self.roots)
        bits = _width(dtype, f"{self.where}: tensor '{name}'")
        return Value(
            root=root, name=root, shape=tuple(shape), dtype=dtype, bits=bits, floating=dtype in _FLOATING
        )

    def constant(self, name: str, array: Array, dtype: int) -> Value:
        """A tensor that is known before the network runs."""
        if dtype in _FLOATING:
            self._check_finite(name, array)
        self.sizes[name] = array.size
        return Value(
            root=name, name=name, shape=array.shape, dtype=dtype, array=array, sources=(name,), constant=True,
            bits=_BITS.get(dtype, 64), floating=dtype in _FLOATING,
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
            if value is None or not value.constant or not (any_type or value.dtype in _FLOATING):
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
        clips = _quantizer_clips(graph)
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
            raise NetworkError(f"{self.where}: {_label(node)} reads '{name}', which nothing before it writes")
        return env[name]

    def _node(self, node: onnx.NodeProto, env: dict[str, Value]) -> None:
        inputs = [self._read(node, key, env) if key else None for key in node.input]
        try:
            if _domain(node.domain) == "" and node.op_type in ("If", "Loop", "Scan"):
                outputs = self._control(node, inputs, env)
            else:
                outputs = self._outputs(node, inputs)
        except NetworkError as error:
            if str(error).startswith(f"{self.where}: "):
                raise
            raise NetworkError(f"{self.where}: {_label(node)}: {error}") from error
        except (TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            # A node without the inputs and attributes that its operator must have.
            raise NetworkError(f"{self.where}: {_label(node)} is not sound: {error}") from error
        env.update(outputs)

    def _outputs(self, node: onnx.NodeProto, inputs: list[Value | None]) -> dict[str, Value]:
        operator, domain = node.op_type, _domain(node.domain)
        if domain == "" and operator == "Constant":
            return {node.output[0]: self._constant_node(node)}
        if domain == "" and operator in ("QuantizeLinear", "DequantizeLinear"):
            return {node.output[0]: self._quantize_linear(node, inputs)}
        if operator in _QUANTIZERS and _QUANTIZER_DOMAINS.fullmatch(domain):
            return {node.output[0]: self._quant(node, inputs)}
        first = inputs[0] if inputs else None
        if domain == "" and operator in ("Shape", "Size") and first is not None:
            return {node.output[0]: self._shape(node, first)}
        # The second input of CastLike lends its type, not its elements.
        decisive = inputs[:1] if operator == "CastLike" else inputs
        if all(value is None or value.constant for value in decisive) and operator not in _RANDOM:
            folded = self._fold(node, inputs)
            if folded is not None:
                return folded
        outputs = self._infer(node, inputs)
        output = outputs.get(node.output[0])
        if first and output and not first.constant and _is_alias(node, inputs, first, output):
            return {**outputs, node.output[0]: replace(first, shape=output.shape, dtype=output.dtype)}
        if node.op_type in _PRESERVING and first is not None:
            outputs = {key: _at_width_of(value, inputs) for key, value in outputs.items()}
        self._step(node, inputs, outputs)
        return outputs

    # Shapes

    def _infer(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> dict[str, Value]:
        """The outputs of a node, as variables. Only the first must have a shape."""
        types = self._inferred_types(node, inputs)
        outputs: dict[str, Value] = {}
        for key in filter(None, node.output):
            found = _dimensions(types.get(key)) or _dimensions(self.stated.get(key))
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
            return _broadcast(inputs) if node.op_type in _ELEMENTWISE else first.shape, first.dtype
        self.warnings.append(
            f"{_label(node)}: the shape of '{key}' is not stated in the file and is taken to be that of "
            f"its first input, {tuple(first.shape)}"
        )
        return first.shape, first.dtype

    def _schema(self, node: onnx.NodeProto) -> Any:
        domain = _domain(node.domain)
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
            return _microsoft_types(node, inputs)
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
        for key, value in _attributes(node).items():
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
        raise NetworkError(f"{_label(node)} has no value")

    def _shape(self, node: onnx.NodeProto, value: Value) -> Value:
        options = _attributes(node)
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
            fill = _attributes(node).get("value")
            scalar = np.zeros(1, np.float32) if fill is None else self._array(fill)
            dtype = TensorProto.FLOAT if fill is None else fill.data_type
            filled = np.broadcast_to(scalar.reshape(()), tuple(int(size) for size in first.array))
            return {node.output[0]: self.constant(node.output[0], filled, dtype)}
        if _domain(node.domain) == "" and node.op_type in _LAYOUT and first is not None:
            key = node.output[0]
            return {key: _relaid(first, node, self._infer(node, inputs)[key].shape)}
        arrays = [value.array for value in known if value.array is not None]
        small = sum(array.size for array in arrays) <= _EVALUATED_ELEMENTS
        results = self._evaluate(node, inputs) if small and len(arrays) == len(known) else None
        if results is None and (not known or self._schema(node) is None):
            return None
        data = [value for value in known if value.dtype in _FLOATING] or known
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
        name = self.versions.setdefault((value.root, bits), _unique(node.output[0], self.roots))
        return replace(value, bits=bits, floating=False, dtype=dtype, name=name)

    def _quantize_linear(self, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> Value:
        value, scale = inputs[0], inputs[1]
        zero = inputs[2] if len(inputs) > 2 else None
        if value is None or scale is None:
            raise NetworkError(f"{node.op_type} needs a tensor and a scale")
        options = _attributes(node)
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
                codes = np.rint(codes / _along_axis(scale, value, options))
            elif zero is not None:
                codes = codes - _along_axis(zero, value, options)
            zeros = 1 - float(np.count_nonzero(codes)) / codes.size
            value = replace(
                value, largest_sum=_largest_sum(codes, scale, options), values=_values(codes, bits)
            )
        return self._quantized(value, node, bits, dtype, zeros)

    def _stated_bits(self, node: onnx.NodeProto) -> int | None:
        for entry in node.metadata_props:
            if entry.key == _BITS_PROPERTY:
                if not entry.value.isdecimal() or not 1 <= int(entry.value) <= 64:
                    raise NetworkError(f"{_BITS_PROPERTY} must be an integer in 1..64, got '{entry.value}'")
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
            value = replace(value, values=_values(codes, bits))
        return self._quantized(value, node, bits, value.dtype, zeros)

    # Steps

    def _is_known(self, node: onnx.NodeProto) -> bool:
        return _domain(node.domain) in _DOMAINS and node.op_type in (
            _ELEMENTWISE | _MOVING | _ALIASES | _CONVOLUTIONS.keys() | _PRODUCTS.keys() | _RECURRENT.keys()
        )

    def _step(self, node: onnx.NodeProto, inputs: list[Value | None], outputs: dict[str, Value]) -> None:
        operator = node.op_type
        if _domain(node.domain) in _DOMAINS:
            if operator in _CONVOLUTIONS:
                self._convolution(node, inputs, outputs)
                return
            if operator in _PRODUCTS:
                self._product(node, inputs, outputs)
                return
            if operator in _RECURRENT:
                self._recurrent(node, inputs, outputs)
                return
        self._traffic(node, inputs, outputs)

    def _traffic(
        self, node: onnx.NodeProto, inputs: Sequence[Value | None], outputs: dict[str, Value]
    ) -> None:
        operator = node.op_type
        name = self._name(node)
        if not self._is_known(node):
            domain = _domain(node.domain)
            self.unknown.setdefault(f"{domain}::{operator}" if domain else operator, []).append(name)
        operands = list(inputs[: _STEERING.get(operator, len(inputs))])
        reads = [v for v in operands if v is not None and not (v.constant and v.is_vector)]
        written = list(outputs.values())
        tables: list[Value] = []
        if operator in _PARTIAL and reads and reads[0].elements > written[0].elements:
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
                elementwise=operator in _ELEMENTWISE,
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
        x, weight, bias = _operands(node, inputs, _CONVOLUTIONS[node.op_type])
        options = _attributes(node)
        groups, strides = options.get("group", 1), options.get("strides", ())
        dilations = options.get("dilations", ())
        rank = len(x.shape) - 2
        if not 1 <= rank <= 3:
            self.warnings.append(f"{_label(node)}: {rank} spatial dimensions, counted as traffic only")
            self._traffic(node, inputs, outputs)
            return
        if rank == 3 and node.op_type != "ConvTranspose":
            self.warnings.append(
                f"{_label(node)}: depth is taken into batch and channels; input counted once a kernel slice"
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
        options = _attributes(node)
        if node.op_type == "Einsum" and len(inputs) != 2:
            self.unknown.setdefault("Einsum of other than two operands", []).append(node.name)
            self._traffic(node, inputs, outputs)
            return
        a, b, bias = _operands(node, inputs, _PRODUCTS[node.op_type])
        if node.op_type == "Einsum":
            equation = _explicit(options["equation"])
        else:
            equation = nests.matmul_equation(a.shape, b.shape)
            terms, _, result = equation.partition("->")
            left, _, right = terms.partition(",")
            left = _swapped(left) if options.get("transA") else left
            right = _swapped(right) if options.get("transB") else right
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
            self.warnings.append(f"{_label(node)}: {error}: counted as traffic only")
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
        steps, batch = x.shape[:2] if not _attributes(node).get("layout") else (x.shape[1], x.shape[0])
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
                name=_unique(f"{name}.input", self.names), operator=node.op_type, loops=of_input, reads=[x],
                weight=weight, writes=[gates], parameters=parameters,
            ),
            Step(
                name=_unique(f"{name}.recurrent", self.names), operator=node.op_type, loops=of_state,
                reads=[state], weight=state_weight, writes=[update],
                parameters=self.parameters([state_weight], any_type=True),
            ),
            Step(
                name=_unique(f"{name}.cell", self.names), operator=node.op_type, reads=[gates, update, *rest],
                writes=list(outputs.values()), parameters=self.parameters(inputs[7:8]),
            ),
        ]  # fmt: skip

    def _name(self, node: onnx.NodeProto, weight: Value | None = None) -> str:
        """The torch path of the module, else the name of the node, else its operator; unique."""
        origin = weight.sources[0] if weight is not None and weight.sources else ""
        match = _MODULE_WEIGHT.fullmatch(origin)
        name = match.group(1) if match else node.name or f"{node.op_type}_{len(self.steps)}"
        return _unique(name, self.names)

    # Control flow

    def _control(
        self, node: onnx.NodeProto, inputs: list[Value | None], env: dict[str, Value]
    ) -> dict[str, Value]:
        options = _attributes(node)
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
            f"{_label(node)}: its condition depends on the input; counted is {chosen}, which multiplies more"
        )
        return outputs[chosen]

    def _loop(
        self, node: onnx.NodeProto, inputs: list[Value | None], body: onnx.GraphProto, env: dict[str, Value]
    ) -> list[Value]:
        trips = inputs[0].array if inputs and inputs[0] is not None else None
        count = int(trips.reshape(-1)[0]) if trips is not None else None
        if count is None:
            self.warnings.append(f"{_label(node)}: its number of iterations is not known; counted once")
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
                self.warnings.append(f"{_label(node)}: it may end early; counted are all {count} iterations")
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
        self.warnings.append(f"{_label(node)}: {count} iterations are too many to unroll; counted once")
        return 1

    def _stack(self, node: onnx.NodeProto, carried: int, stacked: list[list[Value]]) -> list[Value]:
        if not stacked:
            return []
        return [
            self.variable(key, (len(stacked), *value.shape), value.dtype)
            for key, value in zip(list(node.output)[carried:], stacked[0], strict=False)
        ]


def _is_alias(node: onnx.NodeProto, inputs: Sequence[Value | None], first: Value, output: Value) -> bool:
    """The output is the first input, seen otherwise."""
    operator = node.op_type
    if _domain(node.domain) != "":
        return False
    if operator in _ALIASES:
        return first.elements == output.elements
    if operator == "Transpose":
        order = _attributes(node).get("perm", range(len(first.shape) - 1, -1, -1))
        moved = [axis for axis in order if first.shape[axis] > 1]
        return moved == sorted(moved)
    if operator in ("Cast", "CastLike"):
        return first.dtype in _FLOATING and output.dtype in _FLOATING
    joins = operator in _JOINS and len(inputs) > 1
    return operator in _TRIVIAL and not joins and first.shape == output.shape


def _at_width_of(value: Value, inputs: Sequence[Value | None]) -> Value:
    """What an operator writes that only moves values: as wide as the widest that it reads."""
    moved = [v for v in inputs if v is not None and v.dtype == value.dtype and not v.constant]
    if not moved:
        return value
    return replace(value, bits=max(v.bits for v in moved), floating=any(v.floating for v in moved))


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _label(node: onnx.NodeProto) -> str:
    name = node.name or (node.output[0] if node.output else "")
    return f"node '{name}' ({node.op_type})"


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {key: v.decode() if isinstance(v, bytes) else v for key, v in values.items()}


def _unique(name: str, used: set[str]) -> str:
    found, count = name, 1
    while found in used:
        count += 1
        found = f"{name}_{count}"
    used.add(found)
    return found


def _dimensions(kind: onnx.TypeProto | None) -> tuple[tuple[int, ...], int] | None:
    """Shape and element type, if all of it is known."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dimensions = kind.tensor_type.shape.dim
    if not kind.tensor_type.elem_type or not all(d.HasField("dim_value") for d in dimensions):
        return None
    return tuple(d.dim_value for d in dimensions), kind.tensor_type.elem_type


def _broadcast(inputs: Sequence[Value | None]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(v.shape for v in inputs if v is not None))
    except ValueError as error:
        raise NetworkError(f"its operands do not fit each other: {error}") from error


def _microsoft_types(node: onnx.NodeProto, inputs: Sequence[Value | None]) -> dict[str, onnx.TypeProto]:
    """Shapes of those operators of ONNX Runtime's own that multiply: they have no schema here."""
    present = [v for v in inputs if v is not None]
    if node.domain != "com.microsoft" or not present:
        return {}
    options = _attributes(node)
    if node.op_type in ("QGemm", "FusedGemm", "FusedMatMul"):
        a, b, _ = _operands(node, inputs, _PRODUCTS[node.op_type])
        left = _swapped(a.shape) if options.get("transA") else a.shape
        right = _swapped(b.shape) if options.get("transB") else b.shape
        shape = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
        return {node.output[0]: helper.make_tensor_type_proto(a.dtype, shape)}
    if node.op_type == "QLinearAdd" or node.op_type == "QLinearMul":
        a, b, _ = _operands(node, inputs, (0, 3, None))
        shape = np.broadcast_shapes(a.shape, b.shape)
        return {node.output[0]: helper.make_tensor_type_proto(a.dtype, shape)}
    return {}


def _operands(
    node: onnx.NodeProto, inputs: Sequence[Value | None], slots: tuple[int, int, int | None]
) -> tuple[Value, Value, Value | None]:
    first, second, third = (inputs[i] if i is not None and i < len(inputs) else None for i in slots)
    if first is None or second is None:
        raise NetworkError(f"{node.op_type} needs an input and a weight")
    return first, second, third


def _swapped(sequence: Any) -> Any:
    return (*sequence[:-2], sequence[-1], sequence[-2]) if not isinstance(sequence, str) else (
        sequence[:-2] + sequence[-1] + sequence[-2]
    )  # fmt: skip


def _explicit(equation: str) -> str:
    """An Einsum equation with its output: letters that occur once, in order, if it states none."""
    text = equation.replace(" ", "")
    if "->" in text:
        return text
    letters = sorted(letter for letter in set(text) - {",", "."} if text.count(letter) == 1)
    return f"{text}->{''.join(letters)}"


def _relaid(value: Value, node: onnx.NodeProto, shape: tuple[int, ...]) -> Value:
    """A constant in another shape or order."""
    array = value.array
    if array is not None and not any(array.strides):
        array = np.broadcast_to(array.reshape(-1)[:1].reshape(()) if array.size else array, shape)
    elif array is not None and node.op_type == "Transpose":
        array = array.transpose(_attributes(node).get("perm"))
    elif array is not None:
        array = array.reshape(shape)
    return replace(value, shape=shape, array=array)


def _along_axis(scale: Value, value: Value, options: Mapping[str, Any]) -> Array:
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


def _largest_sum(codes: Array, scale: Value, options: Mapping[str, Any]) -> int | None:
    """The largest sum of weight codes of one sign that one output adds up.

    Known where the scale tells outputs apart: one for each, along its axis.
    """
    if len(scale.shape) != 1 or scale.elements < 2 or codes.ndim < 2:
        return None
    rows = np.moveaxis(codes, options.get("axis", 1), 0).reshape(scale.elements, -1)
    return int(max(rows.clip(min=0).sum(1).max(), -rows.clip(max=0).sum(1).min()))


def _values(codes: Array, bits: int) -> tuple[tuple[int, int], ...] | None:
    """How often every code stands in weights of at most 8 bits; biases are not asked."""
    if bits > _HISTOGRAM_BITS or codes.ndim < 2:
        return None
    values, counts = np.unique(codes.astype(np.int64), return_counts=True)
    return tuple(zip(values.tolist(), counts.tolist(), strict=True))


def _quantizer_clips(graph: onnx.GraphProto) -> set[str]:
    """Outputs of `Clip` nodes that only quantisers with a stated width read: part of these."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for key in node.input:
            readers.setdefault(key, []).append(node)
    outputs = {output.name for output in graph.output}

    def states_width(node: onnx.NodeProto) -> bool:
        return node.op_type == "QuantizeLinear" and any(e.key == _BITS_PROPERTY for e in node.metadata_props)

    return {
        node.output[0]
        for node in graph.node
        if node.op_type == "Clip"
        and node.output[0] not in outputs
        and (found := readers.get(node.output[0], []))
        and all(states_width(reader) for reader in found)
    }

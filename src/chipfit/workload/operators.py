"""What ONNX operators and element types there are, by what the importer does with them."""

from __future__ import annotations

import re

from onnx import TensorProto

#: Width and kind of each element type. A truth value is stored in a byte.
BITS: dict[int, int] = {
    TensorProto.FLOAT: 32, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16, TensorProto.DOUBLE: 64,
    TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16, TensorProto.UINT16: 16,
    TensorProto.INT32: 32, TensorProto.UINT32: 32, TensorProto.INT64: 64, TensorProto.UINT64: 64,
    TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4, TensorProto.BOOL: 8,
    TensorProto.FLOAT8E4M3FN: 8, TensorProto.FLOAT8E4M3FNUZ: 8, TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
}  # fmt: skip
FLOATING: set[int] = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE,
    TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ, TensorProto.FLOAT4E2M1,
}  # fmt: skip

#: Widest weights whose values are counted.
HISTOGRAM_BITS = 8

#: Where the input, the weight and the bias stand among the inputs of a node.
CONVOLUTIONS = {
    "Conv": (0, 1, 2), "ConvTranspose": (0, 1, 2), "FusedConv": (0, 1, 2), "ConvInteger": (0, 1, None),
    "QLinearConv": (0, 3, 8),
}  # fmt: skip
PRODUCTS = {
    "Gemm": (0, 1, 2), "FusedGemm": (0, 1, 2), "QGemm": (0, 3, 6), "MatMul": (0, 1, None),
    "MatMulInteger": (0, 1, None), "QLinearMatMul": (0, 3, None), "FusedMatMul": (0, 1, None),
    "Einsum": (0, 1, None),
}  # fmt: skip
#: Rows of the gates in the weights of a recurrent layer.
RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}

ALIASES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Optional"}
#: Free where they change no size.
JOINS = {"Concat", "Sum", "Max", "Min", "Mean"}
TRIVIAL = {"Slice", "Expand", "Tile", "Pad", "Resize", "Upsample", *JOINS}
LAYOUT = ALIASES | {"Transpose"}
PARTIAL = {"Slice", "Gather", "GatherElements", "GatherND"}
ELEMENTWISE = {
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
MOVING = {
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
PRESERVING = {
    "Slice", "Pad", "Transpose", "Concat", "Split", "Gather", "GatherElements", "GatherND", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "ReverseSequence",
    "Trilu", "Upsample", "QLinearConcat",
}  # fmt: skip
#: Domains whose operators of these names mean what ours of these names do.
DOMAINS = {"", "com.microsoft"}
#: Inputs that steer an operator and are no parameters.
STEERING = {
    "Resize": 1,
    "Upsample": 1,
    "Pad": 1,
    "Clip": 1,
    "Dropout": 1,
    "BatchNormalization": 3,
    "OneHot": 1,
}
RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}

QUANTIZERS = {"Quant", "IntQuant", "BipolarQuant", "FloatQuant", "Trunc"}
QUANTIZER_DOMAINS = re.compile(r"qonnx\..*|onnx\.brevitas|finn\..*")
BITS_PROPERTY = "chipfit.bits"

#: Weights of a torch module, quantised or parametrised or not: what comes before is its path.
MODULE_WEIGHT = re.compile(r"(.+)\.(?:parametrizations\.weight\.original\d*|weight(?:_\w+)?)")

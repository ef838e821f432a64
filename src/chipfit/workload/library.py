"""Reference networks by name, built as the importer would import them, without a framework.

All are for inference of one input, in 32-bit floating point: state widths with `Network.with_bits`.
Layers are named after the modules of the usual torch models. The figures that each network is
checked against, and their sources, are in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from chipfit.errors import NetworkError, nearest
from chipfit.workload import nests
from chipfit.workload.network import Loops, Network
from chipfit.workload.steps import Step, Value, assemble


def names() -> list[str]:
    """The names that `load` knows.

    >>> names()[:3]
    ['alexnet', 'bert_base', 'deit_tiny']
    """
    return sorted(_NETWORKS)


def load(name: str) -> Network:
    """A reference network.

    Raises:
        NetworkError: there is none of this name.

    >>> load("lenet5").macs
    416520
    """
    if name not in _NETWORKS:
        raise NetworkError(f"no reference network '{name}'{nearest(name, _NETWORKS)}")
    builder = _Builder()
    output = _NETWORKS[name](builder)
    return Network(name=name, layers=assemble(builder.steps, [output]))


def resolve(text: str, shapes: Mapping[str, Sequence[int]] | None = None) -> Network:
    """The network that a user names: a reference network, or the path of an ONNX file.

    Args:
        text: a name of `names()`, or a path.
        shapes: of inputs by name, for those that an ONNX file leaves open.

    Raises:
        NetworkError: it is neither, or the file cannot be read.
    """
    if text in _NETWORKS:
        if shapes:
            raise NetworkError(
                f"'{text}' is a reference network: its shapes are fixed, --shape is for ONNX files"
            )
        return load(text)
    if Path(text).suffix == ".onnx" or Path(text).exists():
        from chipfit.workload.from_onnx import load_onnx

        return load_onnx(text, shapes=shapes)
    raise NetworkError(f"'{text}' is neither an ONNX file nor a reference network{nearest(text, _NETWORKS)}")


class _Builder:
    """Writes down steps as an importer does, one method an operator."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def input(self, *shape: int, name: str = "input") -> Value:
        return Value(root=name, name=name, shape=shape)

    def conv(
        self,
        x: Value,
        name: str,
        channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        pad: int | tuple[int, int, int, int] | None = None,
        groups: int = 1,
        bias: bool = False,
        norm: bool = True,
        activation: str | None = "Relu",
    ) -> Value:
        """A convolution with 'same' padding unless stated, its normalisation and activation."""
        rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        if pad is None:
            pad = (rows // 2, columns // 2, rows // 2, columns // 2)
        pads = pad if isinstance(pad, tuple) else (pad,) * 4
        weight = (channels, x.shape[1] // groups, rows, columns)
        height = (x.shape[2] + pads[0] + pads[2] - rows) // stride + 1
        width = (x.shape[3] + pads[1] + pads[3] - columns) // stride + 1
        shape = (x.shape[0], channels, height, width)
        loops = nests.convolution(x.shape, weight, shape, groups=groups, strides=(stride, stride), pads=pads)
        y = self._nest(x, name, "Conv", shape, loops, weight, bias=channels if bias else 0)
        if norm:
            y = self.elementwise("BatchNormalization", y, parameters=2 * channels)
        return self.elementwise(activation, y) if activation else y

    def gemm(
        self, x: Value, name: str, columns: int, *, bias: bool = True, operator: str = "Gemm",
        activation: str | None = None, weight: str | None = None, parameters: int | None = None,
    ) -> Value:  # fmt: skip
        """A matrix product with constant weights, its bias and activation.

        `weight` and `parameters` are for weights that another layer has too and counts.
        """
        shape = (*x.shape[:-1], columns)
        loops = Loops(P=math.prod(x.shape[:-1]), C=x.shape[-1], K=columns)
        y = self._nest(
            x, name, operator, shape, loops, (x.shape[-1], columns), bias=columns if bias else 0,
            weight_name=weight, parameters=parameters,
        )  # fmt: skip
        return self.elementwise(activation, y) if activation else y

    def matmul(self, a: Value, b: Value, name: str) -> Value:
        """A product of two activations."""
        loops = nests.contraction(nests.matmul_equation(a.shape, b.shape), a.shape, b.shape)
        y = self._variable(name, (*a.shape[:-1], b.shape[-1]))
        self.steps.append(Step(name=name, operator="MatMul", reads=[a], weight=b, writes=[y], loops=loops))
        return y

    def _nest(
        self, x: Value, name: str, operator: str, shape: tuple[int, ...], loops: Loops,
        weight: tuple[int, ...], *, bias: int, weight_name: str | None = None, parameters: int | None = None,
    ) -> Value:  # fmt: skip
        y = self._variable(name, shape)
        label = weight_name or f"{name}.weight"
        operand = Value(root=label, name=label, shape=weight, constant=True)
        count = operand.elements + bias if parameters is None else parameters
        self.steps.append(
            Step(
                name=name, operator=operator, reads=[x], weight=operand, writes=[y], loops=loops,
                parameters=count,
            )
        )  # fmt: skip
        return y

    def elementwise(self, operator: str, *operands: Value, parameters: int = 0, name: str = "") -> Value:
        """An elementwise layer: fused where that can be."""
        name = name or f"{operands[0].root}.{operator}"
        return self._traffic(name, operator, operands, operands[0].shape, parameters, elementwise=True)

    def traffic(
        self, name: str, operator: str, operands: Sequence[Value], shape: tuple[int, ...], parameters: int = 0
    ) -> Value:
        """A layer that costs the traffic of its tensors."""
        return self._traffic(name, operator, operands, shape, parameters, elementwise=False)

    def _traffic(
        self, name: str, operator: str, operands: Sequence[Value], shape: tuple[int, ...], parameters: int,
        *, elementwise: bool,
    ) -> Value:  # fmt: skip
        y = self._variable(name, shape)
        self.steps.append(
            Step(
                name=name, operator=operator, reads=list(operands), writes=[y], parameters=parameters,
                elementwise=elementwise,
            )
        )  # fmt: skip
        return y

    def pool(
        self, x: Value, name: str, kernel: int, stride: int, *, pad: int = 0, ceil: bool = False,
        operator: str = "MaxPool",
    ) -> Value:  # fmt: skip
        """Pooling over square windows."""
        spare = stride - 1 if ceil else 0
        height, width = ((size + 2 * pad - kernel + spare) // stride + 1 for size in x.shape[2:])
        return self.traffic(name, operator, [x], (*x.shape[:2], height, width))

    def average(self, x: Value, name: str) -> Value:
        """Global average pooling, as a vector a batch element."""
        return self.reshape(self.traffic(name, "GlobalAveragePool", [x], (*x.shape[:2], 1, 1)), x.shape[:2])

    def norm(self, x: Value, name: str) -> Value:
        """Layer normalisation over the last axis."""
        return self.traffic(name, "LayerNormalization", [x], x.shape, 2 * x.shape[-1])

    def gather(self, indices: Value, name: str, rows: int, columns: int) -> Value:
        """A look-up in a table of embeddings, of which only the rows returned are read."""
        shape = (*indices.shape, columns)
        table = Value(root=f"{name}.weight", name=f"{name}.weight", shape=(rows, columns), constant=True)
        y = self.traffic(name, "Gather", [replace(table, shape=shape), indices], shape, table.elements)
        self.steps[-1].tables.append(table)
        return y

    def transpose(self, x: Value, name: str, order: Sequence[int]) -> Value:
        """Another order of the axes; free if it moves nothing."""
        shape = tuple(x.shape[axis] for axis in order)
        moved = [axis for axis in order if x.shape[axis] > 1]
        return (
            self.reshape(x, shape) if moved == sorted(moved) else self.traffic(name, "Transpose", [x], shape)
        )

    def split(self, x: Value, name: str, parts: int) -> list[Value]:
        """Equal parts along the last axis."""
        shape = (*x.shape[:-1], x.shape[-1] // parts)
        ys = [self._variable(f"{name}.{part}", shape) for part in range(parts)]
        self.steps.append(Step(name=name, operator="Split", reads=[x], writes=ys))
        return ys

    @staticmethod
    def reshape(x: Value, shape: tuple[int, ...]) -> Value:
        """The same data in another shape: free."""
        return replace(x, shape=shape)

    @staticmethod
    def _variable(name: str, shape: tuple[int, ...]) -> Value:
        return Value(root=name, name=name, shape=shape)


def _lenet5(b: _Builder) -> Value:
    """LeNet-5 with full connections and ReLU, 1 × 28 × 28 padded to 32 (LeCun 1998)."""
    x = b.conv(b.input(1, 1, 28, 28), "conv1", 6, 5, bias=True, norm=False)
    x = b.pool(x, "pool1", 2, 2)
    x = b.conv(x, "conv2", 16, 5, pad=0, bias=True, norm=False)
    x = b.pool(x, "pool2", 2, 2)
    x = b.gemm(b.reshape(x, (1, 400)), "fc1", 120, activation="Relu")
    x = b.gemm(x, "fc2", 84, activation="Relu")
    return b.gemm(x, "fc3", 10)


def _resnet8(b: _Builder) -> Value:
    """ResNet-8 of MLPerf Tiny (image classification, CIFAR-10), normalisation folded."""

    def conv(x: Value, name: str, channels: int, kernel: int, stride: int = 1, relu: bool = True) -> Value:
        # TensorFlow's 'same': at stride 2, the odd padded row is the last.
        pads = (0, 0, 1, 1) if stride == 2 and kernel == 3 else None
        activation = "Relu" if relu else None
        return b.conv(
            x, name, channels, kernel, stride=stride, pad=pads, bias=True, norm=False, activation=activation
        )

    x = conv(b.input(1, 3, 32, 32), "conv2d", 16, 3)
    for stage, channels in enumerate((16, 32, 64)):
        stride = 1 if stage == 0 else 2
        name = f"stack{stage + 1}"
        y = conv(x, f"{name}.conv1", channels, 3, stride)
        y = conv(y, f"{name}.conv2", channels, 3, relu=False)
        if stage:
            x = conv(x, f"{name}.shortcut", channels, 1, 2, relu=False)
        x = b.elementwise("Relu", b.elementwise("Add", y, x), name=f"{name}.relu")
    x = b.gemm(b.reshape(b.pool(x, "pool", 8, 8, operator="AveragePool"), (1, 64)), "dense", 10)
    return b.traffic("softmax", "Softmax", [x], x.shape)


def _resnet20(b: _Builder) -> Value:
    """ResNet-20 for CIFAR-10, shortcuts without parameters (He 2016, option A)."""
    x = b.conv(b.input(1, 3, 32, 32), "conv1", 16, 3)
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(3):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            y = b.conv(x, f"{name}.conv1", channels, 3, stride=stride)
            y = b.conv(y, f"{name}.conv2", channels, 3, activation=None)
            if stride == 2:
                half = (1, x.shape[1], y.shape[2], y.shape[3])
                part = b.traffic(f"{name}.shortcut.slice", "Slice", [replace(x, shape=half)], half)
                x = b.traffic(f"{name}.shortcut.pad", "Pad", [part], y.shape)
            x = b.elementwise("Relu", b.elementwise("Add", y, x), name=f"{name}.relu")
    return b.gemm(b.average(x, "avgpool"), "linear", 10)


def _resnet18(b: _Builder) -> Value:
    """ResNet-18 for ImageNet (He 2016)."""
    return _resnet(b, (2, 2, 2, 2), bottleneck=False)


def _resnet50(b: _Builder) -> Value:
    """ResNet-50 for ImageNet (He 2016), stride in the 3 × 3 convolution as in torchvision."""
    return _resnet(b, (3, 4, 6, 3), bottleneck=True)


def _resnet(b: _Builder, blocks: tuple[int, ...], *, bottleneck: bool) -> Value:
    x = b.conv(b.input(1, 3, 224, 224), "conv1", 64, 7, stride=2)
    x = b.pool(x, "maxpool", 3, 2, pad=1)
    for stage, count in enumerate(blocks):
        inner = 64 << stage
        outer = inner * 4 if bottleneck else inner
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            if bottleneck:
                y = b.conv(x, f"{name}.conv1", inner, 1)
                y = b.conv(y, f"{name}.conv2", inner, 3, stride=stride)
                y = b.conv(y, f"{name}.conv3", outer, 1, activation=None)
            else:
                y = b.conv(x, f"{name}.conv1", inner, 3, stride=stride)
                y = b.conv(y, f"{name}.conv2", outer, 3, activation=None)
            if x.shape != y.shape:
                x = b.conv(x, f"{name}.downsample.0", outer, 1, stride=stride, activation=None)
            x = b.elementwise("Relu", b.elementwise("Add", y, x), name=f"{name}.relu")
    return b.gemm(b.average(x, "avgpool"), "fc", 1000)


def _mobilenetv1(b: _Builder) -> Value:
    """MobileNet v1, width 1.0, 224 × 224 (Howard 2017)."""
    x = b.conv(b.input(1, 3, 224, 224), "conv0", 32, 3, stride=2)
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for index, (channels, stride) in enumerate(plan, 1):
        x = b.conv(x, f"conv{index}.depthwise", x.shape[1], 3, stride=stride, groups=x.shape[1])
        x = b.conv(x, f"conv{index}.pointwise", channels, 1)
    return b.gemm(b.average(x, "avgpool"), "fc", 1000)


def _mobilenetv2(b: _Builder) -> Value:
    """MobileNet v2, width 1.0, 224 × 224 (Sandler 2018)."""
    x = b.conv(b.input(1, 3, 224, 224), "features.0.0", 32, 3, stride=2, activation="Clip")
    plan = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    index = 0
    for expansion, channels, count, first_stride in plan:
        for block in range(count):
            index += 1
            name, stride = f"features.{index}.conv", 1 if block else first_stride
            y, part, inner = x, 0, x.shape[1] * expansion
            if expansion > 1:
                y, part = b.conv(x, f"{name}.0.0", inner, 1, activation="Clip"), 1
            y = b.conv(y, f"{name}.{part}.0", inner, 3, stride=stride, groups=inner, activation="Clip")
            y = b.conv(y, f"{name}.{part + 1}", channels, 1, activation=None)
            x = b.elementwise("Add", y, x) if x.shape == y.shape else y
    x = b.conv(x, "features.18.0", 1280, 1, activation="Clip")
    return b.gemm(b.average(x, "avgpool"), "classifier.1", 1000)


def _vgg16(b: _Builder) -> Value:
    """VGG-16 without normalisation (Simonyan 2015, configuration D)."""
    x, index = b.input(1, 3, 224, 224), 0
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = b.conv(x, f"features.{index}", channels, 3, bias=True, norm=False)
            index += 2
        x = b.pool(x, f"features.{index}", 2, 2)
        index += 1
    x = b.gemm(b.reshape(x, (1, 25088)), "classifier.0", 4096, activation="Relu")
    x = b.gemm(x, "classifier.3", 4096, activation="Relu")
    return b.gemm(x, "classifier.6", 1000)


def _alexnet(b: _Builder) -> Value:
    """AlexNet with its two groups, 227 × 227 (Krizhevsky 2012; the network of the Eyeriss papers)."""

    def conv(
        x: Value,
        name: str,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int | None = None,
        groups: int = 1,
    ) -> Value:
        return b.conv(x, name, channels, kernel, stride=stride, pad=pad, groups=groups, bias=True, norm=False)

    x = conv(b.input(1, 3, 227, 227), "conv1", 96, 11, stride=4, pad=0)
    x = b.pool(b.traffic("norm1", "LRN", [x], x.shape), "pool1", 3, 2)
    x = conv(x, "conv2", 256, 5, groups=2)
    x = b.pool(b.traffic("norm2", "LRN", [x], x.shape), "pool2", 3, 2)
    x = conv(x, "conv3", 384, 3)
    x = conv(x, "conv4", 384, 3, groups=2)
    x = conv(x, "conv5", 256, 3, groups=2)
    x = b.pool(x, "pool5", 3, 2)
    x = b.gemm(b.reshape(x, (1, 9216)), "fc6", 4096, activation="Relu")
    x = b.gemm(x, "fc7", 4096, activation="Relu")
    x = b.gemm(x, "fc8", 1000)
    return b.traffic("softmax", "Softmax", [x], x.shape)


def _googlenet(b: _Builder) -> Value:
    """GoogLeNet (Inception v1) without auxiliary classifiers, as in Caffe (Szegedy 2015)."""

    def conv(x: Value, name: str, channels: int, kernel: int, stride: int = 1) -> Value:
        return b.conv(x, name, channels, kernel, stride=stride, bias=True, norm=False)

    def inception(x: Value, name: str, sizes: tuple[int, int, int, int, int, int]) -> Value:
        one, reduce3, three, reduce5, five, pooled = sizes
        branches = [
            conv(x, f"{name}.1x1", one, 1),
            conv(conv(x, f"{name}.3x3_reduce", reduce3, 1), f"{name}.3x3", three, 3),
            conv(conv(x, f"{name}.5x5_reduce", reduce5, 1), f"{name}.5x5", five, 5),
            conv(b.pool(x, f"{name}.pool", 3, 1, pad=1), f"{name}.pool_proj", pooled, 1),
        ]
        return b.traffic(f"{name}.output", "Concat", branches, (1, one + three + five + pooled, *x.shape[2:]))

    x = conv(b.input(1, 3, 224, 224), "conv1", 64, 7, 2)
    x = b.pool(x, "pool1", 3, 2, ceil=True)
    x = b.traffic("norm1", "LRN", [x], x.shape)
    x = conv(conv(x, "conv2.reduce", 64, 1), "conv2", 192, 3)
    x = b.traffic("norm2", "LRN", [x], x.shape)
    x = b.pool(x, "pool2", 3, 2, ceil=True)
    x = inception(x, "3a", (64, 96, 128, 16, 32, 32))
    x = inception(x, "3b", (128, 128, 192, 32, 96, 64))
    x = b.pool(x, "pool3", 3, 2, ceil=True)
    x = inception(x, "4a", (192, 96, 208, 16, 48, 64))
    x = inception(x, "4b", (160, 112, 224, 24, 64, 64))
    x = inception(x, "4c", (128, 128, 256, 24, 64, 64))
    x = inception(x, "4d", (112, 144, 288, 32, 64, 64))
    x = inception(x, "4e", (256, 160, 320, 32, 128, 128))
    x = b.pool(x, "pool4", 3, 2, ceil=True)
    x = inception(x, "5a", (256, 160, 320, 32, 128, 128))
    x = inception(x, "5b", (384, 192, 384, 48, 128, 128))
    x = b.gemm(b.average(x, "pool5"), "fc", 1000)
    return b.traffic("softmax", "Softmax", [x], x.shape)


def _ds_cnn(b: _Builder) -> Value:
    """DS-CNN of MLPerf Tiny (keyword spotting, 49 × 10 features), normalisation folded."""
    # TensorFlow's 'same' padding of 49 x 10 at stride 2: 4 and 5 rows, 1 column each side.
    x = b.conv(b.input(1, 1, 49, 10), "conv", 64, (10, 4), stride=2, pad=(4, 1, 5, 1), bias=True, norm=False)
    for index in range(1, 5):
        x = b.conv(x, f"depthwise{index}", 64, 3, groups=64, bias=True, norm=False)
        x = b.conv(x, f"pointwise{index}", 64, 1, bias=True, norm=False)
    x = b.gemm(b.average(x, "pool"), "dense", 12)
    return b.traffic("softmax", "Softmax", [x], x.shape)


def _heads(b: _Builder, x: Value, name: str, heads: int, *, transposed: bool = False) -> Value:
    """(1, tokens, width) as (heads, tokens, width of a head), or with the last two exchanged."""
    _, tokens, width = x.shape
    split = b.reshape(x, (tokens, heads, width // heads))
    return b.transpose(split, name, (1, 2, 0) if transposed else (1, 0, 2))


def _attention(b: _Builder, name: str, query: Value, keys: Value, values: Value, *, masked: bool) -> Value:
    """Attention of (heads, tokens, width) over (heads, width, context) and (heads, context, width)."""
    scores = b.elementwise("Mul", b.matmul(query, keys, f"{name}.scores"))
    if masked:
        scores = b.elementwise("Add", scores, name=f"{name}.mask")
    weights = b.traffic(f"{name}.softmax", "Softmax", [scores], scores.shape)
    mixed = b.matmul(weights, values, f"{name}.mix")
    heads, tokens, width = mixed.shape
    return b.reshape(b.transpose(mixed, f"{name}.join", (1, 0, 2)), (1, tokens, heads * width))


def _deit_tiny(b: _Builder) -> Value:
    """DeiT-Tiny, patches of 16, 224 × 224, without distillation token (Touvron 2021)."""
    x = b.conv(
        b.input(1, 3, 224, 224), "patch_embed.proj", 192, 16, stride=16, pad=0, bias=True, norm=False,
        activation=None,
    )  # fmt: skip
    x = b.transpose(b.reshape(x, (1, 192, 196)), "patch_embed.transpose", (0, 2, 1))
    x = b.traffic("cls_token", "Concat", [x], (1, 197, 192), parameters=192)
    positions = Value(root="pos_embed", name="pos_embed", shape=(1, 197, 192), constant=True)
    x = b.elementwise("Add", x, positions, parameters=197 * 192, name="pos_embed")
    for block in range(12):
        name = f"blocks.{block}"
        y = b.gemm(b.norm(x, f"{name}.norm1"), f"{name}.attn.qkv", 576, operator="MatMul")
        query, key, value = b.split(y, f"{name}.attn.split", 3)
        y = _attention(
            b,
            f"{name}.attn",
            _heads(b, query, f"{name}.attn.query", 3),
            _heads(b, key, f"{name}.attn.key", 3, transposed=True),
            _heads(b, value, f"{name}.attn.value", 3),
            masked=False,
        )
        x = b.elementwise("Add", b.gemm(y, f"{name}.attn.proj", 192, operator="MatMul"), x)
        y = b.gemm(b.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1", 768, operator="MatMul", activation="Gelu")
        x = b.elementwise("Add", b.gemm(y, f"{name}.mlp.fc2", 192, operator="MatMul"), x)
    x = b.norm(x, "norm")
    x = b.traffic("token", "Gather", [replace(x, shape=(1, 192))], (1, 192))
    return b.gemm(x, "head", 1000)


def _bert_base(b: _Builder) -> Value:
    """BERT base, uncased, with pooler, 128 tokens (Devlin 2019)."""
    tokens, width, heads = 128, 768, 12
    ids = replace(b.input(1, tokens, name="input_ids"), bits=64, floating=False)
    kinds = replace(b.input(1, tokens, name="token_type_ids"), bits=64, floating=False)
    x = b.gather(ids, "embeddings.word_embeddings", 30522, width)
    x = b.elementwise("Add", x, b.gather(kinds, "embeddings.token_type_embeddings", 2, width))
    rows = Value(root="position", name="position", shape=(1, tokens, width), constant=True)
    x = b.elementwise("Add", x, rows, parameters=512 * width, name="embeddings.position_embeddings")
    x = b.norm(x, "embeddings.LayerNorm")
    for index in range(12):
        name = f"encoder.layer.{index}"
        query, key, value = (
            b.gemm(x, f"{name}.attention.self.{part}", width, operator="MatMul")
            for part in ("query", "key", "value")
        )
        y = _attention(
            b,
            f"{name}.attention.self",
            _heads(b, query, f"{name}.attention.self.query.heads", heads),
            _heads(b, key, f"{name}.attention.self.key.heads", heads, transposed=True),
            _heads(b, value, f"{name}.attention.self.value.heads", heads),
            masked=True,
        )
        y = b.gemm(y, f"{name}.attention.output.dense", width, operator="MatMul")
        x = b.norm(b.elementwise("Add", y, x), f"{name}.attention.output.LayerNorm")
        y = b.gemm(x, f"{name}.intermediate.dense", 3072, operator="MatMul", activation="Gelu")
        y = b.gemm(y, f"{name}.output.dense", width, operator="MatMul")
        x = b.norm(b.elementwise("Add", y, x), f"{name}.output.LayerNorm")
    first = b.traffic("pooler.token", "Gather", [replace(x, shape=(1, width))], (1, width))
    return b.gemm(first, "pooler.dense", width, activation="Tanh")


def _gpt2_prefill(b: _Builder) -> Value:
    """GPT-2 small reading a prompt of 1024 tokens; logits of the last only (Radford 2019)."""
    return _gpt2(b, tokens=1024, cached=0)


def _gpt2_decode(b: _Builder) -> Value:
    """GPT-2 small writing the token after 1023 others, keys and values cached (Radford 2019)."""
    return _gpt2(b, tokens=1, cached=1023)


def _gpt2(b: _Builder, *, tokens: int, cached: int) -> Value:
    width, heads, vocabulary, context = 768, 12, 50257, tokens + cached
    ids = replace(b.input(1, tokens, name="input_ids"), bits=64, floating=False)
    x = b.gather(ids, "transformer.wte", vocabulary, width)
    place = replace(b.input(1, tokens, name="position_ids"), bits=64, floating=False)
    x = b.elementwise("Add", x, b.gather(place, "transformer.wpe", 1024, width))
    for index in range(12):
        name = f"transformer.h.{index}"
        y = b.gemm(b.norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn", 3 * width)
        query, key, value = b.split(y, f"{name}.attn.split", 3)
        if cached:
            # The new row is written into the cache, which stays where it is.
            b.traffic(f"{name}.attn.key.append", "ScatterND", [key], key.shape)
            b.traffic(f"{name}.attn.value.append", "ScatterND", [value], value.shape)
            keys = b.input(heads, width // heads, context, name=f"{name}.attn.keys")
            values = b.input(heads, context, width // heads, name=f"{name}.attn.values")
        else:
            keys = _heads(b, key, f"{name}.attn.key", heads, transposed=True)
            values = _heads(b, value, f"{name}.attn.value", heads)
        query = _heads(b, query, f"{name}.attn.query", heads)
        y = _attention(b, f"{name}.attn", query, keys, values, masked=not cached)
        x = b.elementwise("Add", b.gemm(y, f"{name}.attn.c_proj", width), x)
        y = b.gemm(b.norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc", 4 * width, activation="Gelu")
        x = b.elementwise("Add", b.gemm(y, f"{name}.mlp.c_proj", width), x)
    if tokens > 1:
        x = b.traffic("last", "Gather", [replace(x, shape=(1, 1, width))], (1, 1, width))
    x = b.norm(x, "transformer.ln_f")
    return b.gemm(
        x, "lm_head", vocabulary, bias=False, operator="MatMul", weight="transformer.wte.weight", parameters=0
    )


_NETWORKS: dict[str, Callable[[_Builder], Value]] = {
    "alexnet": _alexnet,
    "bert_base": _bert_base,
    "deit_tiny": _deit_tiny,
    "ds_cnn": _ds_cnn,
    "googlenet": _googlenet,
    "gpt2_decode": _gpt2_decode,
    "gpt2_prefill": _gpt2_prefill,
    "lenet5": _lenet5,
    "mobilenetv1": _mobilenetv1,
    "mobilenetv2": _mobilenetv2,
    "resnet18": _resnet18,
    "resnet20": _resnet20,
    "resnet50": _resnet50,
    "resnet8": _resnet8,
    "vgg16": _vgg16,
}

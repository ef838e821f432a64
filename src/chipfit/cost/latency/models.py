"""Networks of the known spaces as ONNX models with random weights, to be put under a stopwatch.

Normalisation is folded into the convolutions, as every exporter for inference does. With 8 bits,
activations and weights carry QuantizeLinear and DequantizeLinear, which ONNX Runtime fuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from chipfit.cost.latency import fbnet, nb201

#: Step of quantised activations and weights: any does, since only time matters.
_STEP = 0.05


@dataclass
class _Builder:
    """Writes down nodes; methods take and give names of tensors."""

    rng: np.random.Generator
    quantized: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One node, and the name of its output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        """A constant, and its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def coded(self, x: str, *, signed: bool = True) -> str:
        """The tensor after a round trip through 8 bits, if that is what the model is for."""
        if not self.quantized:
            return x
        step = [
            self.constant(np.array(_STEP, np.float32)),
            self.constant(np.array(128 if signed else 0, np.uint8)),
        ]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *step]), *step])

    def decoded(self, codes: np.ndarray, step: float) -> str:
        """Constants that are stored as whole numbers."""
        zero = np.zeros((), codes.dtype)
        inputs = [self.constant(array) for array in (codes, np.array(step, np.float32), zero)]
        return self.node("DequantizeLinear", inputs)

    def convolution(
        self, x: str, channels: int, filters: int, window: int = 1, stride: int = 1, groups: int = 1
    ) -> str:
        """A convolution with a bias, padded to keep the size."""
        shape = (filters, channels // groups, window, window)
        weights = self.rng.standard_normal(shape, dtype=np.float32) / np.sqrt(
            np.prod(shape[1:]), dtype=np.float32
        )
        if self.quantized:
            kernel = self.decoded(np.clip(np.round(weights / _STEP), -127, 127).astype(np.int8), _STEP)
            bias = self.decoded(np.zeros(filters, dtype=np.int32), _STEP * _STEP)
        else:
            kernel, bias = self.constant(weights), self.constant(np.zeros(filters, dtype=np.float32))
        return self.node(
            "Conv",
            [x, kernel, bias],
            kernel_shape=[window] * 2,
            strides=[stride] * 2,
            pads=[window // 2] * 4,
            group=groups,
        )

    def relu(self, x: str) -> str:
        """The activation, in 8 bits if that is what the model is for."""
        return self.coded(self.node("Relu", [x]), signed=False)

    def classifier(self, x: str, channels: int, classes: int) -> str:
        """Mean over the image and a linear layer."""
        flat = self.node("Flatten", [self.node("GlobalAveragePool", [x])])
        weights = self.rng.standard_normal((channels, classes), dtype=np.float32)
        return self.node("MatMul", [flat, self.constant(weights)])

    def model(self, name: str, output: str, shape: Sequence[int], classes: int) -> onnx.ModelProto:
        """The model from the input 'x' to an output."""
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [shape[0], classes])]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(made)
        return made


def nb201_model(
    cell: Sequence[int], *, rng: np.random.Generator, batch: int = 1, quantized: bool = False
) -> onnx.ModelProto:
    """A NAS-Bench-201 network for images of 3 x 32 x 32.

    Edges that no path from input to output uses are left out, as exporters do.
    """
    b = _Builder(rng, quantized)
    x = b.coded(b.convolution(b.coded("x"), 3, 16, 3))
    before = 16
    for channels, _ in nb201.STAGES:
        if channels != before:
            inner = b.relu(b.convolution(b.relu(x), before, channels, 3, 2))
            main = b.coded(b.convolution(inner, channels, channels, 3))
            small = b.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
            x = b.coded(b.node("Add", [main, b.coded(b.convolution(b.coded(small), before, channels))]))
        for _ in range(nb201.CELLS):
            x = _cell(b, x, cell, channels)
        before = channels
    name = "nb201_" + "".join(map(str, cell))
    return b.model(name, b.classifier(b.relu(x), before, 10), (batch, 3, 32, 32), 10)


def _cell(b: _Builder, x: str, cell: Sequence[int], channels: int) -> str:
    alive = nb201.alive(np.array([cell], dtype=np.uint8))[0]
    nodes: list[str | None] = [x, None, None, None]
    for end in (1, 2, 3):
        terms: list[str] = []
        for edge, (start, to) in enumerate(nb201.EDGES):
            source = nodes[start]
            if to == end and alive[edge] and source is not None:
                terms.append(_operation(b, source, cell[edge], channels))
        for term in terms:
            known = nodes[end]
            nodes[end] = term if known is None else b.coded(b.node("Add", [known, term]))
    # A cell in which nothing arrives gives zeros.
    return nodes[3] or b.node("Mul", [x, b.constant(np.array(0, np.float32))])


def _operation(b: _Builder, x: str, operation: int, channels: int) -> str:
    if operation == 1:
        return x
    if operation == 4:
        return b.coded(b.node("AveragePool", [x], kernel_shape=[3, 3], pads=[1] * 4))
    return b.coded(b.convolution(b.relu(x), channels, channels, 1 if operation == 2 else 3))


def fbnet_model(
    blocks: Sequence[int], *, rng: np.random.Generator, batch: int = 1, quantized: bool = False
) -> onnx.ModelProto:
    """A network of FBNet blocks for images of 3 x 32 x 32."""
    b = _Builder(rng, quantized)
    x = b.relu(b.convolution(b.coded("x"), 3, fbnet.STEM, 3))
    channels = fbnet.STEM
    for operation, (channels, filters, stride, _) in zip(blocks, fbnet.places(), strict=True):
        x = _block(b, x, operation, channels, filters, stride)
        channels = filters
    x = b.relu(b.convolution(x, channels, fbnet.HEAD))
    name = "fbnet_" + "".join(map(str, blocks))
    return b.model(name, b.classifier(x, fbnet.HEAD, 100), (batch, 3, fbnet.SIZE, fbnet.SIZE), 100)


def _block(b: _Builder, x: str, operation: int, channels: int, filters: int, stride: int) -> str:
    same = stride == 1 and channels == filters
    if fbnet.OPERATIONS[operation] == "skip":
        return x if same else b.relu(b.convolution(x, channels, filters, 1, stride))
    window, expansion, groups = fbnet.BLOCKS[operation]
    middle = channels * expansion
    y = b.relu(b.convolution(x, channels, middle, groups=groups))
    y = b.relu(b.convolution(y, middle, middle, window, stride, middle))
    y = b.coded(b.convolution(y, middle, filters, groups=groups))
    return b.coded(b.node("Add", [x, y])) if same else y

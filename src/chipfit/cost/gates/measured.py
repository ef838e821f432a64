"""Operand statistics of a real network: its layers, run on calibration inputs.

A weight-stationary unit holds one weight; its activation goes through the output positions of an
image row by row (the rows of the input, for products of matrices), and its partial sum is that of
the products before it in the order channel, kernel row, kernel column. Activations are quantised
layer by layer from the least to the largest value seen, weights kernel by kernel, symmetrically.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from chipfit.cost.gates.statistics import OperandStatistics
from chipfit.errors import NetworkError
from chipfit.workload import onnx_file

#: Pairs of output positions looked at in each layer, and places in each pair's sums.
PAIRS, PLACES = 2048, 16
_AT_ONCE = 128
_PRODUCTS = ("Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One layer: what its operands do, and its share of the multiplications of a run."""

    layer: str
    macs: int
    statistics: OperandStatistics


def measure_operands(
    source: onnx_file.Source,
    runs: Sequence[Mapping[str, NDArray[Any]]],
    *,
    weight_bits: int,
    activation_bits: int,
    activation_signed: bool,
    rng: np.random.Generator,
) -> list[Measured]:
    """Statistics of every convolution and matrix product with constant weights.

    Args:
        source: an ONNX file.
        runs: inputs of each run by name.
        weight_bits: codes of weights, in two's complement.
        activation_bits: codes of activations.
        activation_signed: in two's complement, or unsigned with a zero point.
        rng: which positions are looked at.

    Raises:
        NetworkError: no runs, no such layers, or ONNX Runtime does not run the file on these inputs.
    """
    model, name = onnx_file.read(source)
    layers = [node for node in model.graph.node if node.op_type in ("Conv", *_PRODUCTS)]
    values = _values(model, layers, runs)
    found: list[Measured] = []
    for node in layers:
        activations, weights = values.get(node.input[0]), values.get(node.input[1])
        if activations is None or weights is None or any(not np.array_equal(weights[0], w) for w in weights):
            continue  # a product of two activations
        made = _layer(node, activations, weights[0])
        if made is None:
            continue
        codes, zero = _activation_codes(made.inputs, activation_bits, activation_signed)
        transitions, sums = _walk(
            made, codes, zero, _weight_codes(made.weights, weight_bits), activation_bits, rng
        )
        statistics = OperandStatistics(
            source=f"measured on {name}, {len(runs)} inputs",
            activation_bits=activation_bits,
            activations=transitions / transitions.sum(),
            partial_sums=sums,
        )
        found.append(Measured(layer=node.name or node.output[0], macs=made.macs, statistics=statistics))
    if not found:
        raise NetworkError(f"'{name}' has no convolution or matrix product with constant weights")
    return found


def _values(
    model: onnx.ModelProto, layers: Sequence[onnx.NodeProto], runs: Sequence[Mapping[str, NDArray[Any]]]
) -> dict[str, list[NDArray[Any]]]:
    """What stands on both inputs of every layer, in every run."""
    import onnxruntime

    if not runs:
        raise NetworkError("calibration needs at least one input")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    inputs = {i.name for i in model.graph.input}
    wanted = dict.fromkeys(name for node in layers for name in node.input[:2] if name not in constants)
    fetched = [name for name in wanted if name not in inputs]
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    stated = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in fetched if name not in stated)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised below, not printed
    found = {name: [value] for name, value in constants.items()}
    try:
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for run in runs:
            outputs = dict(zip(fetched, session.run(fetched, dict(run)), strict=True)) if fetched else {}
            for name in wanted:
                found.setdefault(name, []).append(np.asarray(outputs[name] if name in outputs else run[name]))
    except Exception as error:  # ONNX Runtime's own classes share no base below Exception
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(f"calibration: ONNX Runtime does not run the network: {reason}") from error
    return found


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer as a convolution: inputs (N, C, H, W), not padded; weights (K, C / groups, R, S)."""

    inputs: NDArray[Any]
    weights: NDArray[Any]
    groups: int
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, ...]

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        sizes = []
        for axis in (0, 1):
            hull = self.dilations[axis] * (self.weights.shape[2 + axis] - 1) + 1
            whole = self.inputs.shape[2 + axis] + self.pads[axis] + self.pads[axis + 2]
            sizes.append(max(0, (whole - hull) // self.strides[axis] + 1))
        return sizes[0], sizes[1]

    @property
    def macs(self) -> int:
        """Multiplications of all runs."""
        return self.inputs.shape[0] * math.prod(self.positions) * self.weights.size


def _layer(node: onnx.NodeProto, runs: Sequence[NDArray[Any]], weights: NDArray[Any]) -> _Layer | None:
    options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type in _PRODUCTS:
        matrix = weights if options.get("transB") else np.swapaxes(weights, -1, -2)
        inputs = [run.T if options.get("transA") else run for run in runs]
        if matrix.ndim != 2 or any(run.shape[-1] != matrix.shape[1] for run in inputs):
            return None
        # Rows of the matrix are the positions of one image, with a kernel of one element.
        rows = np.concatenate([run.reshape(-1, run.shape[-1]) for run in inputs])
        image, kernel = rows.T[None, :, :, None], matrix[:, :, None, None]
        return _Layer(
            inputs=image, weights=kernel, groups=1, strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0)
        )
    rank = weights.ndim - 2
    if rank not in (1, 2) or len({run.shape[1:] for run in runs}) != 1:
        return None
    inputs = np.concatenate(list(runs))
    strides, dilations = (tuple(options.get(key, [1] * rank)) for key in ("strides", "dilations"))
    pads = _pads(options, inputs.shape[2:], weights.shape[2:], strides, dilations)
    if rank == 1:
        inputs, weights = inputs[..., None], weights[..., None]
        strides, dilations, pads = (*strides, 1), (*dilations, 1), (pads[0], 0, pads[1], 0)
    groups = int(options.get("group", 1))
    return _Layer(
        inputs=inputs, weights=weights, groups=groups, strides=strides, dilations=dilations, pads=pads
    )


def _pads(
    options: Mapping[str, Any], sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[int, ...]:  # fmt: skip
    """Padding before every axis, then after."""
    auto = options.get("auto_pad", b"NOTSET").decode()
    if auto in ("NOTSET", "VALID"):
        given = options.get("pads") if auto == "NOTSET" else None
        return tuple(given or [0] * (2 * len(sizes)))
    begin, end = list[int](), list[int]()
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        needed = max(0, (-(-size // stride) - 1) * stride + dilation * (taps - 1) + 1 - size)
        small, large = needed // 2, needed - needed // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return (*begin, *end)


def _activation_codes(values: NDArray[Any], bits: int, signed: bool) -> tuple[NDArray[np.int64], int]:
    """Values as integers, and the integer that stands for zero."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if signed:
        most = (1 << bits - 1) - 1
        scale = max(-low, high) / most or 1.0
        return np.clip(np.rint(values / scale), -most, most).astype(np.int64), 0
    most = (1 << bits) - 1
    scale = (high - low) / most or 1.0
    zero = round(-low / scale)
    return np.clip(np.rint(values / scale) + zero, 0, most).astype(np.int64), zero


def _weight_codes(weights: NDArray[Any], bits: int) -> NDArray[np.int64]:
    most = (1 << bits - 1) - 1
    scale = np.abs(weights).reshape(len(weights), -1).max(axis=1) / most
    scale[scale == 0] = 1.0
    return np.rint(weights / scale[:, None, None, None]).astype(np.int64)


def _walk(
    layer: _Layer, codes: NDArray[np.int64], zero: int, weights: NDArray[np.int64], bits: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Activation transitions, counted [from, to], and partial-sum transitions, of random positions."""
    top, left, bottom, right = layer.pads
    padded = np.pad(codes, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=zero)
    counts, sums = np.zeros(1 << 2 * bits, dtype=np.int64), list[NDArray[np.int64]]()
    for patches, kernels in _patches(layer, padded, weights, rng):
        seen = patches & ((1 << bits) - 1)
        counts += np.bincount((seen[:, 0] << bits | seen[:, 1]).ravel(), minlength=len(counts))
        before = np.cumsum(patches * kernels[:, None], axis=2) - patches * kernels[:, None]
        places = rng.integers(0, before.shape[2], (len(before), 1, PLACES))
        sums.append(np.take_along_axis(before, places, axis=2).transpose(0, 2, 1).reshape(-1, 2))
    if not sums:  # a single position: nothing follows it
        return np.eye(1 << bits, dtype=np.int64), np.zeros((1, 2), dtype=np.int64)
    return counts.reshape(1 << bits, 1 << bits), np.concatenate(sums)


def _patches(
    layer: _Layer, padded: NDArray[np.int64], weights: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Inputs of pairs of successive positions [pair, 2, product], and a kernel for each pair."""
    rows, columns = layer.positions
    kernels, channels, high, wide = weights.shape
    if rows * columns < 2:
        return
    for begin in range(0, PAIRS, _AT_ONCE):
        count = min(_AT_ONCE, PAIRS - begin)
        image = rng.integers(0, len(padded), count)
        place = rng.integers(0, rows * columns - 1, count)
        kernel = rng.integers(0, kernels, count)
        channel = (kernel // (kernels // layer.groups))[:, None] * channels + np.arange(channels)
        pair: list[NDArray[np.int64]] = []
        for position in (place, place + 1):
            row = (position // columns * layer.strides[0])[:, None] + np.arange(high) * layer.dilations[0]
            column = (position % columns * layer.strides[1])[:, None] + np.arange(wide) * layer.dilations[1]
            at = (image[:, None, None, None], channel[:, :, None, None], row[:, None, :, None])
            picked = padded[(*at, column[:, None, None])]
            pair.append(picked.reshape(count, -1))
        yield np.stack(pair, axis=1), weights[kernel].reshape(count, -1)

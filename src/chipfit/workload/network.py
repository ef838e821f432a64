"""What runs: a network as layers over tensors, without weights and without a framework.

A layer that multiplies is a dense loop nest over the eight dimensions of `DIMENSIONS`:

    for n in N: for g in G: for k in K: for c in C: for p in P: for q in Q: for r in R: for s in S:
        output[n, g, k, p, q] += input[n, g, c, p*stride + r*dilation, q*...] * weight[g, k, c, r, s]

`N` batch · `G` groups · `K` output channels a group · `C` input channels a group · `P`, `Q` output
height and width · `R`, `S` kernel height and width. A depthwise convolution has `K = C = 1` and
`G` channels; a matrix product `(m, c) x (c, k)` has `P = m`, and a batch of them has `G`.
A layer without a nest (pooling, softmax, ...) costs the traffic of its tensors only.

Elementwise layers that follow a nest with no other reader of the tensor in between are fused into
it by the importer: `Layer.fused` names them, and `Layer.inputs[1:]` holds what they read besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from chipfit.errors import NetworkError, nearest

DIMENSIONS = ("N", "G", "K", "C", "P", "Q", "R", "S")

#: Dimensions that each tensor of a nest depends on.
RELEVANT: Mapping[str, frozenset[str]] = {
    "input": frozenset("NGCPQRS"),
    "weight": frozenset("GKCRS"),
    "output": frozenset("NGKPQ"),
}


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor between layers, or the weights of one.

    `bits` is the width of one element as the network states it. `floating` says that the network
    states no fixed-point width: a fixed-point target then runs it at its own `native_bits`.
    `zeros` is the fraction of elements that are zero, if known, and `zeros_by_channel` that of each
    channel (the second axis). Of constant weights stored as whole numbers, `largest_sum` is the largest
    sum of the codes of one sign that one output adds up. `stored_bits` is the mean bits of an element of
    constants whose codes are known, entropy coded at this width (see `coded`). `values` has (code, how many)
    of constant weights stored as whole numbers of at most 8 bits, in increasing order.
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    floating: bool = False
    constant: bool = False
    zeros: float | None = None
    largest_sum: int | None = None
    stored_bits: float | None = None
    zeros_by_channel: tuple[float, ...] | None = None
    values: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        if any(size < 1 for size in self.shape):
            raise NetworkError(f"tensor '{self.name}': every size must be at least 1, got {self.shape}")
        if not 1 <= self.bits <= 64:
            raise NetworkError(f"tensor '{self.name}': bits must be in 1..64, got {self.bits}")
        if self.zeros is not None and not 0 <= self.zeros <= 1:
            raise NetworkError(f"tensor '{self.name}': zeros must be in 0..1, got {self.zeros}")
        if self.stored_bits is not None and not 0 <= self.stored_bits <= 64:
            raise NetworkError(f"tensor '{self.name}': stored_bits must be in 0..64, got {self.stored_bits}")
        channels = self.zeros_by_channel
        if channels is not None and not all(0 <= zeros <= 1 for zeros in channels):
            raise NetworkError(f"tensor '{self.name}': zeros_by_channel must be in 0..1")
        if self.values is not None and (not self.values or any(count < 1 for _, count in self.values)):
            raise NetworkError(f"tensor '{self.name}': values must be (code, how many), each at least once")

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bits(self) -> int:
        """Storage, unpacked (bits)."""
        return self.elements * self.bits


@dataclass(frozen=True, kw_only=True)
class Loops:
    """The bounds of a loop nest, with strides, dilations and the padding that is not read.

    `padding` is the total number of padded rows and columns that the nest touches: they are
    computed on, but not fetched.
    """

    N: int = 1
    G: int = 1
    K: int = 1
    C: int = 1
    P: int = 1
    Q: int = 1
    R: int = 1
    S: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        wrong = [f"{d}={getattr(self, d)}" for d in DIMENSIONS if getattr(self, d) < 1]
        wrong += [f"stride={self.stride}"] if min(self.stride) < 1 else []
        wrong += [f"dilation={self.dilation}"] if min(self.dilation) < 1 else []
        wrong += [f"padding={self.padding}"] if min(self.padding) < 0 else []
        if wrong:
            raise NetworkError(f"loop bounds out of range: {', '.join(wrong)}")

    @property
    def bounds(self) -> tuple[int, ...]:
        """The eight bounds in the order of `DIMENSIONS`."""
        return (self.N, self.G, self.K, self.C, self.P, self.Q, self.R, self.S)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return math.prod(self.bounds)

    @property
    def input_rows(self) -> int:
        """Rows of the input that are really fetched (the hull without padding)."""
        hull = (self.P - 1) * self.stride[0] + (self.R - 1) * self.dilation[0] + 1
        return max(1, hull - self.padding[0])

    @property
    def input_columns(self) -> int:
        """Columns of the input that are really fetched (the hull without padding)."""
        hull = (self.Q - 1) * self.stride[1] + (self.S - 1) * self.dilation[1] + 1
        return max(1, hull - self.padding[1])

    @property
    def input_elements(self) -> int:
        """Elements of the input that the nest reads at least once."""
        return self.N * self.G * self.C * self.input_rows * self.input_columns

    @property
    def weight_elements(self) -> int:
        """Elements of the weights."""
        return self.G * self.K * self.C * self.R * self.S

    @property
    def output_elements(self) -> int:
        """Elements of the output."""
        return self.N * self.G * self.K * self.P * self.Q


def sum_bits(largest_sum: int, input_bits: int) -> int:
    """Width of a signed sum of inputs times weights whose codes of one sign add up to `largest_sum`.

    >>> sum_bits(2184, 4), sum_bits(2185, 4)
    (16, 17)
    """
    # 2184 * 15 = 32760 is below 2^15; 2185 * 15 = 32775 is not.
    return (largest_sum * (2**input_bits - 1)).bit_length() + 1


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step of a network.

    `operator` is the ONNX name. `loops` is None for a layer that costs traffic only. In a nest,
    `inputs[0]` is the input and `outputs[0]` the output; further inputs are what fused layers read,
    further outputs are the same values kept at another width for another reader. `weight` is the
    second operand: constant weights, or an activation in attention (`weight.constant` tells).
    `parameters` counts weights, biases and normalisation constants, each in the first layer that uses
    it. Constants of one value a channel (biases, normalisation) are counted there only: they are not
    among `inputs`. `tables` are constants stored whole and read in part (embeddings): what is read
    of them is among `inputs`, under the same name.
    """

    name: str
    operator: str
    loops: Loops | None = None
    inputs: tuple[Tensor, ...] = ()
    weight: Tensor | None = None
    outputs: tuple[Tensor, ...] = ()
    parameters: int = 0
    fused: tuple[str, ...] = ()
    tables: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if self.loops is not None and not (self.inputs and self.weight and self.outputs):
            raise NetworkError(f"layer '{self.name}': a loop nest needs an input, a weight and an output")

    @property
    def macs(self) -> int:
        """Multiply-accumulates (0 for a layer that costs traffic only)."""
        return self.loops.macs if self.loops else 0

    @property
    def weight_bits(self) -> int:
        """Width of the second operand (bits)."""
        return self.weight.bits if self.weight else 0

    @property
    def input_bits(self) -> int:
        """Width of the first operand (bits)."""
        return self.inputs[0].bits if self.inputs else 0

    @property
    def output_bits(self) -> int:
        """Width of the first output (bits)."""
        return self.outputs[0].bits if self.outputs else 0

    @property
    def exact_sum_bits(self) -> int:
        """Width that no partial sum of this nest can overflow, in whatever order it is added up.

        Both operand widths and the growth of the sum; less, if the codes of the weights are known to
        add up to less: with L the largest sum of codes of one sign, no sum exceeds L times the
        largest input code (the bound of Colbert et al., "A2Q", ICCV 2023, by signs).

        >>> x = Tensor(name="x", shape=(1, 16, 32, 32), bits=4)
        >>> w = Tensor(name="w", shape=(16, 16, 3, 3), bits=4, constant=True)
        >>> loops = Loops(K=16, C=16, P=32, Q=32, R=3, S=3, padding=(2, 2))
        >>> Layer(name="l", operator="Conv", loops=loops, inputs=(x,), weight=w, outputs=(x,)).exact_sum_bits
        16
        >>> w = replace(w, largest_sum=200)
        >>> Layer(name="l", operator="Conv", loops=loops, inputs=(x,), weight=w, outputs=(x,)).exact_sum_bits
        13
        """
        # 4 + 4 + ceil(log2(16*3*3)) = 4 + 4 + 8 = 16; 200 * 15 = 3000 needs 12 bits and a sign
        if self.loops is None:
            return 0
        terms = self.loops.C * self.loops.R * self.loops.S
        widest = self.input_bits + self.weight_bits + (terms - 1).bit_length()
        largest = self.weight.largest_sum if self.weight else None
        return widest if largest is None else min(widest, sum_bits(largest, self.input_bits))


@dataclass(frozen=True, kw_only=True)
class Network:
    """Layers in the order in which they run, and what the importer has to say about them."""

    name: str
    layers: tuple[Layer, ...]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise NetworkError(f"network '{self.name}' has no layers")
        names = [layer.name for layer in self.layers]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise NetworkError(f"network '{self.name}': layer names are not unique: {', '.join(double)}")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Weights, biases and normalisation constants of all layers (count)."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def weight_memory_bits(self) -> int:
        """Storage of all constant operands, each counted once (bits)."""
        seen: dict[str, int] = {}
        for tensor in (t for layer in self.layers for t in _constants(layer)):
            seen[tensor.name] = max(seen.get(tensor.name, 0), tensor.size_bits)
        return sum(seen.values())

    @property
    def peak_activation_bits(self) -> int:
        """Largest total of activations alive at once when layers run in order (bits).

        A tensor lives from the layer that writes it to the last that reads it.
        """
        last: dict[str, int] = {}
        for step, layer in enumerate(self.layers):
            for tensor in _activations(layer):
                last[tensor.name] = step
        alive: dict[str, int] = {}
        peak = 0
        for step, layer in enumerate(self.layers):
            for tensor in _activations(layer):
                # A layer that reads only a part of a tensor does not shrink it.
                alive[tensor.name] = max(alive.get(tensor.name, 0), tensor.size_bits)
            peak = max(peak, sum(alive.values()))
            alive = {name: size for name, size in alive.items() if last[name] > step}
        return peak

    def with_bits(self, weights: int, activations: int) -> Network:
        """The same network with every constant at `weights` bits and every activation at
        `activations` bits.
        """

        def change(tensor: Tensor) -> Tensor:
            bits = weights if tensor.constant else activations
            return replace(tensor, bits=bits, floating=False, largest_sum=None, stored_bits=None, values=None)

        return self.map_tensors(change)

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Network:
        """The same network with `change(tensor)` in place of every tensor."""
        layers = tuple(
            replace(
                layer,
                inputs=tuple(change(t) for t in layer.inputs),
                weight=change(layer.weight) if layer.weight else None,
                outputs=tuple(change(t) for t in layer.outputs),
                tables=tuple(change(t) for t in layer.tables),
            )
            for layer in self.layers
        )
        return replace(self, layers=layers)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back equal."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Network:
        """The network that `to_json` wrote.

        Raises:
            NetworkError: a key is missing, unknown, or has a value of the wrong type.
        """
        try:
            return cls(
                name=_read(data, "name", str),
                layers=tuple(_layer_from_json(layer) for layer in data["layers"]),
                warnings=tuple(str(warning) for warning in data.get("warnings", ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise NetworkError(f"not a network in JSON: {reason}") from error


def _constants(layer: Layer) -> list[Tensor]:
    operands = [*layer.inputs, *([layer.weight] if layer.weight else []), *layer.tables]
    return [tensor for tensor in operands if tensor.constant]


def _activations(layer: Layer) -> list[Tensor]:
    operands = [*layer.inputs, *([layer.weight] if layer.weight else []), *layer.outputs]
    return [tensor for tensor in operands if not tensor.constant]


_T = TypeVar("_T")


def _read(data: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    value = data[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"'{key}' must be {kind.__name__}, got {value!r}")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    sizes: tuple[Any, ...] = tuple(values)
    if not all(type(size) is int for size in sizes):
        raise TypeError(f"sizes must be int, got {sizes!r}")
    return sizes


def _pair(values: Any) -> tuple[int, int]:
    first, second = _sizes(values)
    return first, second


def _only(data: Mapping[str, Any], kind: type) -> None:
    valid = [f.name for f in fields(kind)]
    for key in data:
        if key not in valid:
            raise TypeError(f"unknown key '{key}'{nearest(key, valid)}")


def _tensor_from_json(data: Mapping[str, Any]) -> Tensor:
    _only(data, Tensor)
    zeros, by_channel, values = (data.get(key) for key in ("zeros", "zeros_by_channel", "values"))
    return Tensor(
        name=_read(data, "name", str),
        shape=_sizes(data["shape"]),
        bits=_read(data, "bits", int),
        floating=bool(data.get("floating", False)),
        constant=bool(data.get("constant", False)),
        zeros=None if zeros is None else float(zeros),
        largest_sum=None if data.get("largest_sum") is None else _read(data, "largest_sum", int),
        stored_bits=None if data.get("stored_bits") is None else float(data["stored_bits"]),
        zeros_by_channel=None if by_channel is None else tuple(float(zeros) for zeros in by_channel),
        values=None if values is None else tuple(_pair(entry) for entry in values),
    )


def _loops_from_json(data: Mapping[str, Any]) -> Loops:
    _only(data, Loops)
    bounds = {key: _read(data, key, int) for key in DIMENSIONS if key in data}

    def pair(key: str, default: int) -> tuple[int, int]:
        rows, columns = _sizes(data.get(key, (default, default)))
        return rows, columns

    return replace(
        Loops(stride=pair("stride", 1), dilation=pair("dilation", 1), padding=pair("padding", 0)), **bounds
    )


def _layer_from_json(data: Mapping[str, Any]) -> Layer:
    _only(data, Layer)
    loops = data.get("loops")
    weight = data.get("weight")
    return Layer(
        name=_read(data, "name", str),
        operator=_read(data, "operator", str),
        loops=None if loops is None else _loops_from_json(loops),
        inputs=tuple(_tensor_from_json(t) for t in data.get("inputs", ())),
        weight=None if weight is None else _tensor_from_json(weight),
        outputs=tuple(_tensor_from_json(t) for t in data.get("outputs", ())),
        parameters=_read({"parameters": 0, **data}, "parameters", int),
        fused=tuple(str(name) for name in data.get("fused", ())),
        tables=tuple(_tensor_from_json(t) for t in data.get("tables", ())),
    )

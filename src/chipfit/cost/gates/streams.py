"""What a multiply-accumulate unit sees while it holds a weight of a layer given in whole numbers.

A weight-stationary unit holds one weight. Its activation goes through the output positions of an image
row by row; its partial sum is that of the products before it in the order channel, kernel row, kernel
column. Positions whose activation is zero can be **gated**: both operands and the sum are held, the
unit does not switch, and the next activation follows the last one that was not zero. (The multiplexer
that lets the partial sum pass a gated unit by is not counted.)

Units here have unsigned activations. Codes below zero (the input image) get a zero point: the sums
change by a constant for each kernel, which goes into the bias.

Axes: `image channel row column` of inputs, `kernel channel row column` of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.cells import CellLibrary
from chipfit.cost.gates.characterise import TRANSITIONS, read_unit
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.simulate import on_grid, pack, simulate
from chipfit.cost.gates.statistics import OperandStatistics, stratified
from chipfit.errors import NetlistError

#: Transitions that are sampled of each layer, and places (image, kernel, product) at least.
SAMPLES, PLACES = 1 << 14, 64


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCodes:
    """A convolution in whole numbers; a linear layer has its images as rows of one image.

    Attributes:
        inputs: codes of activations.
        weights: codes of weights.
        bits: width of the activations.
        stride, padding, dilation: by rows and columns; `padding` on both sides.
        groups: of channels.
        images: inputs of the network that `inputs` are of; 0 for as many as the first axis has.

    Raises:
        NetlistError: shapes that do not fit one another, or codes that do not fit the width.
    """

    inputs: Int64[np.ndarray, "image channel row column"]
    weights: Int64[np.ndarray, "kernel channel row column"]
    bits: int = 8
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    images: int = 0

    def __post_init__(self) -> None:
        if self.inputs.ndim != 4 or self.weights.ndim != 4:
            raise NetlistError(f"codes have four axes, got {self.inputs.shape} and {self.weights.shape}")
        if self.inputs.shape[1] != self.groups * self.weights.shape[1]:
            raise NetlistError(
                f"inputs have {self.inputs.shape[1]} channels, {self.groups} groups of weights need "
                f"{self.groups * self.weights.shape[1]}"
            )
        low, high = int(self.inputs.min()), int(self.inputs.max())
        if high - min(low, 0) >= 1 << self.bits:
            raise NetlistError(f"activation codes {low} to {high} do not fit {self.bits} bits")

    @property
    def zero_point(self) -> int:
        """What is added to activations so that none is below zero."""
        return 1 << self.bits - 1 if self.inputs.min() < 0 else 0

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        found = [
            (size + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
            for size, pad, dilation, taps, stride in zip(
                self.inputs.shape[2:], self.padding, self.dilation, self.weights.shape[2:], self.stride,
                strict=True,
            )
        ]  # fmt: skip
        return found[0], found[1]

    @property
    def macs_per_weight(self) -> float:
        """Multiplications with each weight, for one input of the network."""
        rows, columns = self.positions
        return len(self.inputs) * rows * columns / (self.images or len(self.inputs))


def linear_codes(inputs: np.ndarray, weights: np.ndarray, *, bits: int = 8) -> LayerCodes:
    """The codes of a linear layer: inputs (image, feature), weights (output, feature)."""
    return LayerCodes(
        inputs=inputs.T[None, :, :, None],
        weights=weights[:, :, None, None],
        bits=bits,
        images=len(inputs),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Streams:
    """What the operands of a layer do, and what they do where zero activations are gated.

    `active` is the share of activations that are not zero; `gated` is None where too few follow one another.
    """

    plain: OperandStatistics
    gated: OperandStatistics | None
    active: float


def streams(layer: LayerCodes, source: str, *, rng: np.random.Generator) -> Streams:
    """Statistics of both operands in a layer, of random images, kernels and products.

    Raises:
        NetlistError: the layer has a single position: nothing follows it.
    """
    rows, columns = layer.positions
    if rows * columns < 2:
        raise NetlistError(f"{source}: a layer with a single output position has no transitions")
    places = max(PLACES, -(-SAMPLES // (rows * columns)))
    walks = [_walk(layer, rng) for _ in range(places)]
    steps = [_pairs(walk) for walk in walks]
    dense = [_pairs(walk[:, walk[0] != 0]) for walk in walks]
    plain = _statistics(np.concatenate(steps, axis=1), layer.bits, source)
    switching = np.concatenate(dense, axis=1)
    active = sum(int((walk[0] != 0).sum()) for walk in walks) / sum(walk.shape[1] for walk in walks)
    gated = _statistics(switching, layer.bits, f"{source}, without zeros") if switching.size else None
    return Streams(plain=plain, gated=gated, active=active)


def _walk(layer: LayerCodes, rng: np.random.Generator) -> Int64[np.ndarray, "2 position"]:
    """Activations and partial sums of one unit, position after position of one image."""
    kernels, channels, high, wide = layer.weights.shape
    rows, columns = layer.positions
    image, kernel = int(rng.integers(len(layer.inputs))), int(rng.integers(kernels))
    product = int(rng.integers(channels * high * wide))
    first = kernel // (kernels // layer.groups) * channels
    (top, left), zero = layer.padding, layer.zero_point
    padded = np.pad(layer.inputs[image], ((0, 0), (top, top), (left, left))) + zero
    taken = np.empty((product + 1, rows * columns), dtype=np.int64)
    for place in range(product + 1):
        channel, tap = divmod(place, high * wide)
        y, x = (step * rate for step, rate in zip(divmod(tap, wide), layer.dilation, strict=True))
        view = padded[first + channel, y :: layer.stride[0], x :: layer.stride[1]][:rows, :columns]
        taken[place] = view.reshape(-1)
    sums = layer.weights[kernel].reshape(-1)[:product] @ taken[:product]
    return np.stack([taken[product], sums])


def _pairs(walk: np.ndarray) -> np.ndarray:
    """Transitions (from, to) of a walk: shape (operand, step, 2)."""
    return np.stack([walk[:, :-1], walk[:, 1:]], axis=2)


def _statistics(steps: np.ndarray, bits: int, source: str) -> OperandStatistics:
    codes = 1 << bits
    counts = np.bincount((steps[0, :, 0] << bits) | steps[0, :, 1], minlength=codes * codes)
    return OperandStatistics(
        source=source,
        activation_bits=bits,
        activations=(counts / counts.sum()).reshape(codes, codes),
        partial_sums=np.ascontiguousarray(steps[1]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerEnergy:
    """Mean energy of a multiplication by weight value in one layer, on plain and on zero-gated hardware.

    `weights` are the values, increasing. `gated_j` is over all positions, those that are gated with them.
    """

    weights: tuple[int, ...]
    plain_j: Float64[np.ndarray, " weight"]
    gated_j: Float64[np.ndarray, " weight"]


def layer_energies(
    netlist: Netlist,
    library: CellLibrary,
    layers: Mapping[str, Streams],
    *,
    mode: str = "inertial",
    grid_ps: float = 10.0,
    transitions: int = TRANSITIONS,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, LayerEnergy]:
    """Energy of every weight value under the operands of each layer.

    Args:
        netlist: a multiply-accumulate unit with unsigned activations.
        library: which its cells are of.
        layers: what their operands do.
        mode: 'inertial', 'transport' or 'zero'.
        grid_ps: step of time.
        transitions: for each energy.
        seed: of the choice of transitions.
        advance: called after every layer.

    Raises:
        NetlistError: the netlist is no such unit, or the statistics are of another width.
        LibraryError: the library lacks a cell.
    """
    unit = read_unit(netlist)
    if unit.activation_signed:
        raise NetlistError(f"netlist '{netlist.name}' has signed activations, layers have unsigned ones")
    annotated = annotate(netlist, library)
    timed = on_grid(annotated, grid_ps=grid_ps, mode=mode)
    gate_energy_j = annotated.energy_j[netlist.output] / transitions

    def energies(operands: OperandStatistics) -> Float64[np.ndarray, " weight"]:
        if operands.activation_bits != unit.activation_bits:
            raise NetlistError(
                f"netlist '{netlist.name}' has activations of {unit.activation_bits} bits, the statistics "
                f"are of {operands.activation_bits}"
            )
        rng = np.random.default_rng(seed)
        stimulus = pack(netlist, *stratified(operands, transitions, unit.sum_bits, rng=rng))
        toggles = [simulate(timed, stimulus, {"weight": weight}).toggles for weight in unit.weights]
        return np.array([float(one @ gate_energy_j) for one in toggles])

    zero = np.array([weight == 0 for weight in unit.weights])
    found: dict[str, LayerEnergy] = {}
    for name, stream in layers.items():
        plain_j = energies(stream.plain)
        gated_j = plain_j * 0 if stream.gated is None else stream.active * energies(stream.gated)
        gated_j = np.where(zero, 0.0, gated_j)
        found[name] = LayerEnergy(weights=tuple(unit.weights), plain_j=plain_j, gated_j=gated_j)
        advance()
    return found

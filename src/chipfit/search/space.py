"""What can be chosen for a network, and what each choice costs on the target.

A choice is a weight and an activation width for each layer, and how many channels each group
keeps. Costs come from the target's estimator and nowhere else: a table for each layer over
(weight bits, activation bits, channels in, channels out), of which the totals are sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from chipfit.cost.base import AbstractEstimator, CostReport
from chipfit.hardware.target import Target
from chipfit.workload.network import Layer, Network, Tensor

QUANTITY_ORDER = ("energy", "latency", "dram", "memory")


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """Widths of one layer."""

    weight_bits: int
    activation_bits: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One point of the space: widths by layer, channels kept by group, and the width of what is
    stored for other readers than nests.
    """

    widths: Mapping[str, LayerChoice]
    channels: Mapping[str, int]
    stored_bits: int = 8
    sum_bits: Mapping[str, int] = field(default_factory=dict[str, int])

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back equal."""
        widths = {name: [c.weight_bits, c.activation_bits] for name, c in self.widths.items()}
        return {
            "widths": widths,
            "channels": dict(self.channels),
            "stored_bits": self.stored_bits,
            "sum_bits": dict(self.sum_bits),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choice:
        """The choice that `to_json` wrote."""
        return cls(
            widths={n: LayerChoice(weight_bits=w, activation_bits=a) for n, (w, a) in data["widths"].items()},
            channels=dict(data["channels"]),
            stored_bits=data["stored_bits"],
            sum_bits=data["sum_bits"],
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Channels that are kept or cut together: what a search needs to know of them.

    `levels` are the numbers of channels that may be kept, the whole group first.
    """

    name: str
    levels: tuple[int, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Channels of the whole group."""
        return self.levels[0]


@dataclass(frozen=True, kw_only=True)
class Codes:
    """Weights of a layer at one width: the largest sum of codes of one sign, and (code, how many)."""

    largest_sum: int
    values: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Space:
    """All choices for a network.

    `template` is the quantised network, of which the named layers can change; `widths` are the
    (weight, activation) widths allowed for each. `codes` has what is known of the weights of (layer,
    weight bits): it bounds partial sums, and prices multiplications by value. `stored` names the tensors that
    something other than a nest reads, and whose width is one choice for all.
    """

    template: Network
    widths: Mapping[str, tuple[LayerChoice, ...]]
    groups: tuple[Group, ...]
    codes: Mapping[tuple[str, int], Codes] = field(default_factory=dict[tuple[str, int], Codes])
    stored: frozenset[str] = frozenset()

    def group_of(self, layer: str, *, output: bool) -> Group | None:
        """The group of a layer's output channels, or of its input channels."""
        for group in self.groups:
            if layer in (group.producers if output else group.consumers):
                return group
        return None

    def network(self, choice: Choice) -> Network:
        """The network after a choice, for estimators."""
        bits = self._tensor_bits(choice)
        layers = tuple(self._layer(layer, choice, bits) for layer in self.template.layers)
        return replace(self.template, layers=layers)

    def _tensor_bits(self, choice: Choice) -> dict[str, int]:
        bits = dict.fromkeys(self.stored, choice.stored_bits)
        for layer in self.template.layers:
            if layer.name in choice.widths and layer.weight is not None:
                bits[layer.inputs[0].name] = choice.widths[layer.name].activation_bits
                bits[layer.weight.name] = choice.widths[layer.name].weight_bits
        return bits

    def _layer(self, layer: Layer, choice: Choice, bits: Mapping[str, int]) -> Layer:
        def change(tensor: Tensor) -> Tensor:
            return replace(tensor, bits=bits.get(tensor.name, tensor.bits))

        weight = change(layer.weight) if layer.weight else None
        if weight is not None and layer.name in choice.widths:
            weight = self.known(layer.name, weight)
        layer = replace(
            layer,
            inputs=tuple(change(t) for t in layer.inputs),
            weight=weight,
            outputs=_distinct(tuple(change(t) for t in layer.outputs)),
        )
        kept_in, kept_out = (self._kept(layer.name, choice, output=o) for o in (False, True))
        return with_channels(layer, kept_in, kept_out)

    def known(self, layer: str, weight: Tensor) -> Tensor:
        """The weights of a layer with what is known of their codes at this width."""
        codes = self.codes.get((layer, weight.bits))
        if codes is None:
            return replace(weight, largest_sum=None, values=None)
        return replace(weight, largest_sum=codes.largest_sum, values=codes.values)

    def _kept(self, layer: str, choice: Choice, *, output: bool) -> float:
        group = self.group_of(layer, output=output)
        return choice.channels.get(group.name, group.channels) / group.channels if group else 1.0


def _distinct(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One copy for each width: readers at the same width share it."""
    by_bits: dict[tuple[int, bool], Tensor] = {}
    for tensor in outputs:
        by_bits.setdefault((tensor.bits, tensor.floating), tensor)
    return tuple(by_bits.values())


def with_channels(layer: Layer, kept_in: float, kept_out: float) -> Layer:
    """The layer with these fractions of its input and output channels."""
    if layer.loops is None or (kept_in == 1 and kept_out == 1):
        return layer
    loops = layer.loops
    if loops.G > 1 and loops.C == 1:
        # Depthwise: input and output channels are the same ones.
        loops = replace(loops, G=_part(loops.G, min(kept_in, kept_out)))
    else:
        loops = replace(loops, C=_part(loops.C, kept_in), K=_part(loops.K, kept_out))
    weight, ratio = layer.weight, loops.weight_elements / layer.loops.weight_elements
    if weight is not None and weight.constant:
        sums = weight.largest_sum
        weight = replace(
            weight,
            shape=(loops.G * loops.K, loops.C, loops.R, loops.S),
            largest_sum=None if sums is None else math.ceil(sums * loops.C / layer.loops.C),
        )
    inputs, outputs = layer.inputs, layer.outputs
    return replace(
        layer,
        loops=loops,
        weight=weight,
        inputs=(_narrow(inputs[0], kept_in), *inputs[1:]),
        outputs=tuple(_narrow(t, kept_out) for t in outputs),
        parameters=round(layer.parameters * ratio),
    )


def _part(channels: int, fraction: float) -> int:
    return max(1, round(channels * fraction))


def _narrow(tensor: Tensor, fraction: float) -> Tensor:
    if fraction == 1 or len(tensor.shape) < 2:
        return tensor
    return replace(tensor, shape=(tensor.shape[0], _part(tensor.shape[1], fraction), *tensor.shape[2:]))


@dataclass(frozen=True, kw_only=True)
class LayerTable:
    """What one layer costs for every choice that concerns it.

    Axes: `option` = (widths, channels in, channels out) as in `options`; `quantity` =
    `QUANTITY_ORDER`, in base units.
    """

    layer: str
    options: tuple[tuple[LayerChoice, int | None, int | None], ...]
    costs: Float[np.ndarray, "option quantity"]
    group_in: str | None
    group_out: str | None

    def only(self, widths: LayerChoice) -> LayerTable:
        """The options with these widths."""
        rows = [row for row, (found, _, _) in enumerate(self.options) if found == widths]
        return replace(self, options=tuple(self.options[row] for row in rows), costs=self.costs[rows])


def cost_tables(
    space: Space,
    target: Target,
    estimator: AbstractEstimator,
    advance: Callable[[int], None] = lambda n: None,
) -> tuple[list[LayerTable], Float[np.ndarray, " quantity"]]:
    """Cost tables of all layers that can change, and the fixed cost of the others.

    What a layer writes is written at the width that its reader chooses, so the table of the reader
    holds the difference that its width makes to the writer.
    """
    template = space.template
    variable = [layer for layer in template.layers if layer.name in space.widths]
    fixed = [layer for layer in template.layers if layer.name not in space.widths]
    writer = {t.name: layer for layer in template.layers for t in layer.outputs}
    choices = [_variants(space, layer, writer) for layer in variable]
    every = [variant for choice in choices for variant in (*choice.layers, *choice.writers)]
    costs = _table(every, target, estimator)
    tables: list[LayerTable] = []
    for layer, choice in zip(variable, choices, strict=True):
        own, writers, costs = np.split(costs, np.cumsum([len(choice.layers), len(choice.writers)]))
        if choice.writers:
            difference = writers[0::2] - writers[1::2]
            difference[:, 3] = 0.0
            own = own + difference
        group_in, group_out = (space.group_of(layer.name, output=o) for o in (False, True))
        tables.append(
            LayerTable(
                layer=layer.name,
                options=choice.options,
                costs=own,
                group_in=group_in.name if group_in else None,
                group_out=group_out.name if group_out else None,
            )
        )
        advance(1)
    rest = _table(fixed, target, estimator).sum(axis=0)
    rest[3] += template.peak_activation_bits
    return tables, rest


@dataclass(frozen=True, kw_only=True)
class _Variants:
    """A layer at each option; `writers`: who writes its input, at its width and at 8 bits by turns."""

    options: tuple[tuple[LayerChoice, int | None, int | None], ...]
    layers: list[Layer]
    writers: list[Layer]


def _variants(space: Space, layer: Layer, writer: Mapping[str, Layer]) -> _Variants:
    group_in, group_out = (space.group_of(layer.name, output=o) for o in (False, True))
    options = tuple(
        (widths, kept_in, kept_out)
        for kept_in in (group_in.levels if group_in else (None,))
        for kept_out in (group_out.levels if group_out else (None,))
        for widths in space.widths[layer.name]
    )
    source = writer.get(layer.inputs[0].name)
    layers: list[Layer] = []
    writers: list[Layer] = []
    for widths, kept_in, kept_out in options:
        part_in = kept_in / group_in.channels if group_in and kept_in else 1.0
        part_out = kept_out / group_out.channels if group_out and kept_out else 1.0
        layers.append(with_channels(_with_widths(space, layer, widths), part_in, part_out))
        if source is not None:
            bits = widths.activation_bits
            writers.append(with_channels(_writing(source, layer.inputs[0].name, bits), 1.0, part_in))
            reference = _writing(source, layer.inputs[0].name, 8)
            writers.append(with_channels(reference, 1.0, part_in))
    return _Variants(options=options, layers=layers, writers=writers)


def _table(
    layers: list[Layer], target: Target, estimator: AbstractEstimator
) -> Float[np.ndarray, "layer quantity"]:
    """Costs of layers, and the memory of their weights."""
    weights = [
        layer.weight.size_bits if layer.weight is not None and layer.weight.constant else 0
        for layer in layers
    ]
    return np.column_stack([estimator.table(layers, target), np.array(weights, np.float64)])


def _with_widths(space: Space, layer: Layer, widths: LayerChoice) -> Layer:
    """The layer at these widths, with its outputs at 8 bits (readers' tables correct for theirs)."""
    assert layer.weight is not None
    return replace(
        layer,
        inputs=(replace(layer.inputs[0], bits=widths.activation_bits, floating=False), *layer.inputs[1:]),
        weight=space.known(layer.name, replace(layer.weight, bits=widths.weight_bits, floating=False)),
        outputs=_distinct(tuple(replace(t, bits=8, floating=False) for t in layer.outputs)),
    )


def _writing(layer: Layer, tensor: str, bits: int) -> Layer:
    """The layer with one of its outputs at `bits`, and the rest at 8."""
    outputs = tuple(replace(t, bits=bits if t.name == tensor else 8, floating=False) for t in layer.outputs)
    return replace(layer, outputs=_distinct(outputs))


def stored_tensors(template: Network, widths: Iterable[str]) -> frozenset[str]:
    """The fixed-point activations of a network that no nest layer of `widths` reads as its input."""
    inputs = {layer.inputs[0].name for layer in template.layers if layer.name in set(widths)}
    return frozenset(
        tensor.name
        for layer in template.layers
        for tensor in layer.outputs
        if not tensor.floating and tensor.name not in inputs
    )


def stored_difference(
    space: Space, stored_bits: int, target: Target, estimator: AbstractEstimator
) -> Float[np.ndarray, " quantity"]:
    """What another width than 8 bits of all stored tensors changes, with every layer at 4 bits."""
    four = LayerChoice(weight_bits=4, activation_bits=4)
    choice = Choice(widths=dict.fromkeys(space.widths, four), channels={}, stored_bits=stored_bits)
    other = true_cost(space, choice, target, estimator).total
    usual = true_cost(space, replace(choice, stored_bits=8), target, estimator).total
    return np.array(
        [
            other.energy_j - usual.energy_j,
            other.latency_s - usual.latency_s,
            other.dram_bits - usual.dram_bits,
            0.0,
        ]
    )


def true_cost(space: Space, choice: Choice, target: Target, estimator: AbstractEstimator) -> CostReport:
    """What the estimator says of the whole network after a choice."""
    return estimator.estimate(space.network(choice), target)

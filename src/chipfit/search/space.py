"""What can be chosen for a network, and what each choice costs on the target.

A choice is a weight and an activation width for each layer, and how many channels each group
keeps. Costs come from the target's estimator and nowhere else: a table for each layer over
(weight bits, activation bits, channels in, channels out), of which the totals are sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from chipfit.cost.base import AbstractEstimator, CostReport, LayerCost
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
    """One point of the space: widths by layer, and channels kept by group."""

    widths: Mapping[str, LayerChoice]
    channels: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back equal."""
        widths = {name: [c.weight_bits, c.activation_bits] for name, c in self.widths.items()}
        return {"widths": widths, "channels": dict(self.channels)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choice:
        """The choice that `to_json` wrote."""
        return cls(
            widths={n: LayerChoice(weight_bits=w, activation_bits=a) for n, (w, a) in data["widths"].items()},
            channels=dict(data["channels"]),
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
class Space:
    """All choices for a network.

    `template` is the quantised network, of which the named layers can change; `widths` are the
    (weight, activation) widths allowed for each.
    """

    template: Network
    widths: Mapping[str, tuple[LayerChoice, ...]]
    groups: tuple[Group, ...]

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
        bits: dict[str, int] = {}
        for layer in self.template.layers:
            if layer.name in choice.widths and layer.weight is not None:
                bits[layer.inputs[0].name] = choice.widths[layer.name].activation_bits
                bits[layer.weight.name] = choice.widths[layer.name].weight_bits
        return bits

    def _layer(self, layer: Layer, choice: Choice, bits: Mapping[str, int]) -> Layer:
        def change(tensor: Tensor) -> Tensor:
            return replace(tensor, bits=bits.get(tensor.name, tensor.bits))

        layer = replace(
            layer,
            inputs=tuple(change(t) for t in layer.inputs),
            weight=change(layer.weight) if layer.weight else None,
            outputs=_distinct(tuple(change(t) for t in layer.outputs)),
        )
        kept_in, kept_out = (self._kept(layer.name, choice, output=o) for o in (False, True))
        return with_channels(layer, kept_in, kept_out)

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
        weight = replace(weight, shape=(loops.G * loops.K, loops.C, loops.R, loops.S))
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
    tables: list[LayerTable] = []
    for layer in variable:
        tables.append(_table(space, layer, writer, target, estimator))
        advance(1)
    rest = np.zeros(len(QUANTITY_ORDER))
    for layer in fixed:
        rest += _quantities(layer, estimator.layer(layer, target))
    rest[3] += template.peak_activation_bits
    return tables, rest


def _table(
    space: Space, layer: Layer, writer: Mapping[str, Layer], target: Target, estimator: AbstractEstimator
) -> LayerTable:
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
        layers.append(with_channels(_with_widths(layer, widths), part_in, part_out))
        if source is not None:
            bits = widths.activation_bits
            writers.append(with_channels(_writing(source, layer.inputs[0].name, bits), 1.0, part_in))
            reference = _writing(source, layer.inputs[0].name, 8)
            writers.append(with_channels(reference, 1.0, part_in))
    costs = np.array(
        [_quantities(a, c) for a, c in zip(layers, _costs(layers, target, estimator), strict=True)]
    )
    if source is not None:
        found = _costs(writers, target, estimator)
        written = np.array([_quantities(a, c) for a, c in zip(writers, found, strict=True)])
        difference = written[0::2] - written[1::2]
        difference[:, 3] = 0.0
        costs = costs + difference
    return LayerTable(
        layer=layer.name,
        options=options,
        costs=costs,
        group_in=group_in.name if group_in else None,
        group_out=group_out.name if group_out else None,
    )


def _costs(layers: Sequence[Layer], target: Target, estimator: AbstractEstimator) -> list[LayerCost]:
    return estimator.layers(layers, target)


def _with_widths(layer: Layer, widths: LayerChoice) -> Layer:
    """The layer at these widths, with its outputs at 8 bits (readers' tables correct for theirs)."""
    assert layer.weight is not None
    return replace(
        layer,
        inputs=(replace(layer.inputs[0], bits=widths.activation_bits, floating=False), *layer.inputs[1:]),
        weight=replace(layer.weight, bits=widths.weight_bits, floating=False),
        outputs=_distinct(tuple(replace(t, bits=8, floating=False) for t in layer.outputs)),
    )


def _writing(layer: Layer, tensor: str, bits: int) -> Layer:
    """The layer with one of its outputs at `bits`, and the rest at 8."""
    outputs = tuple(replace(t, bits=bits if t.name == tensor else 8, floating=False) for t in layer.outputs)
    return replace(layer, outputs=_distinct(outputs))


def _quantities(layer: Layer, cost: LayerCost) -> Float[np.ndarray, " quantity"]:
    weight = layer.weight.size_bits if layer.weight is not None and layer.weight.constant else 0
    return np.array([cost.cost.energy_j, cost.cost.latency_s, cost.cost.dram_bits, float(weight)])


def true_cost(space: Space, choice: Choice, target: Target, estimator: AbstractEstimator) -> CostReport:
    """What the estimator says of the whole network after a choice."""
    return estimator.estimate(space.network(choice), target)

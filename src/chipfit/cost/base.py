"""What a network costs on a target, and the one interface that every estimator has.

`Estimator.layer(layer, target)` prices one layer; `Estimator.estimate(network, target)` is final:
it puts the network into the target's number format, prices each layer, and adds up. Layers run one
after the other; totals are sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from chipfit.cost.mac import Multiplier, settled, unknown_weights
from chipfit.cost.residence import (
    Extra,
    constants,
    fetched,
    inner_target,
    stored_activations_bits,
    vector_work,
)
from chipfit.hardware.target import Target
from chipfit.units import binary
from chipfit.workload.network import Layer, Network, Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    from chipfit.cost.mapping import model
    from chipfit.cost.sparse.detail import SparseDetail


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Energy, time and main-memory traffic: the quantities that add up."""

    latency_s: float = 0.0
    energy_j: float = 0.0
    dram_bits: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            latency_s=self.latency_s + other.latency_s,
            energy_j=self.energy_j + other.energy_j,
            dram_bits=self.dram_bits + other.dram_bits,
        )

    @property
    def edp(self) -> float:
        """Energy-delay product (J·s)."""
        return self.energy_j * self.latency_s


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one layer takes, where it goes, and how that was found.

    `utilization` is useful multiply-accumulates (where zeros are skipped, those that are done) over what
    all processing elements could do in the time. `energy_by_component_j` sums to `energy_j`;
    `latency_by_component_s` has the time each part alone would need, of which the largest is `latency_s`.
    `mapping` is a printable loop nest, `plan` the same in plain data, where the estimator has one
    (`mapping.explain` says what it does). It is one of `mappings`: `priced` were worked out, bounds decided
    on the others; `gap` is how far it may lie above the best of them, as a fraction. `sparse` is what an
    array that skips zeros did. `input_bits`, `weight_bits` and `accumulator_bits` are the widths that were
    priced.
    """

    name: str
    operator: str
    cost: Cost
    macs: int
    utilization: float
    energy_by_component_j: Mapping[str, float] = field(default_factory=dict[str, float])
    latency_by_component_s: Mapping[str, float] = field(default_factory=dict[str, float])
    input_bits: int = 0
    weight_bits: int = 0
    accumulator_bits: int = 0
    mapping: str = ""
    gap: float = 0.0
    mappings: int = 0
    priced: int = 0
    plan: model.Mapping | None = None
    sparse: SparseDetail | None = None

    def to_json(self) -> dict[str, Any]:
        """The row of this layer in the document of `chipfit cost --json`."""
        return {
            "name": self.name,
            "operator": self.operator,
            "latency_s": self.cost.latency_s,
            "energy_j": self.cost.energy_j,
            "dram_bits": self.cost.dram_bits,
            "macs": self.macs,
            "utilization": self.utilization,
            "weight_bits": self.weight_bits,
            "input_bits": self.input_bits,
            "accumulator_bits": self.accumulator_bits,
            "energy_by_component_j": dict(self.energy_by_component_j),
            "latency_by_component_s": dict(self.latency_by_component_s),
            "mapping": self.mapping,
            "gap": self.gap,
            "mappings": self.mappings,
            "pruned": max(0, self.mappings - self.priced),
            **({} if self.sparse is None else {"sparse": self.sparse.to_json()}),
        }


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """What a network takes on a target, layer by layer.

    `weight_memory_bits` and `peak_activation_bits` are storage; `memory_bits` is their sum. `multiplier` says
    which of the target's prices weight values, where one does.
    """

    network: str
    target: str
    method: str
    error: str
    layers: tuple[LayerCost, ...]
    parameters: int
    weight_memory_bits: int
    peak_activation_bits: int
    processing_elements: int
    clock_hz: float
    warnings: tuple[str, ...] = ()
    multiplier: Multiplier | None = None

    @property
    def total(self) -> Cost:
        """Sum over the layers."""
        return sum((layer.cost for layer in self.layers), start=Cost())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def memory_bits(self) -> int:
        """Weights and the largest set of activations alive at once (bits)."""
        return self.weight_memory_bits + self.peak_activation_bits

    @property
    def utilization(self) -> float:
        """Useful multiply-accumulates over what the array could do in the total time."""
        latency_s = self.total.latency_s
        done_s = sum(layer.utilization * layer.cost.latency_s for layer in self.layers)
        return done_s / latency_s if latency_s else 0.0

    @property
    def energy_by_component_j(self) -> dict[str, float]:
        """Energy of each component, summed over the layers (J)."""
        total: dict[str, float] = {}
        for layer in self.layers:
            for name, energy_j in layer.energy_by_component_j.items():
                total[name] = total.get(name, 0.0) + energy_j
        return total

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit cost --json`."""
        total = self.total
        power_w = total.energy_j / total.latency_s if total.latency_s else 0.0
        return {
            "network": self.network,
            "target": self.target,
            "method": self.method,
            "error": self.error,
            "totals": {
                "latency_s": total.latency_s,
                "energy_j": total.energy_j,
                "power_w": power_w,
                "dram_bits": total.dram_bits,
                "macs": self.macs,
                "parameters": self.parameters,
                "utilization": self.utilization,
                "memory_bits": self.memory_bits,
                "weight_memory_bits": self.weight_memory_bits,
                "peak_activation_bits": self.peak_activation_bits,
                "energy_by_component_j": self.energy_by_component_j,
            },
            "layers": [layer.to_json() for layer in self.layers],
            "warnings": list(self.warnings),
            **({} if self.multiplier is None else {"multiplier": self.multiplier.to_json()}),
        }


class AbstractEstimator(ABC):
    """Prices layers on targets. Implementations are frozen dataclasses; their fields are their
    options, and `method` and `error` are what a reader must know to trust the number.
    """

    @property
    @abstractmethod
    def method(self) -> str:
        """How the numbers come about, in a few words."""

    @property
    @abstractmethod
    def error(self) -> str:
        """The known error of the method, and against what it was measured."""

    @abstractmethod
    def layer(self, layer: Layer, target: Target) -> LayerCost:
        """The cost of one layer at the bit widths that its tensors state.

        Raises:
            MappingError: the layer cannot run on the target.
        """

    def layers(self, layers: Sequence[Layer], target: Target) -> list[LayerCost]:
        """The costs of several layers, in their order; estimators may share work between them.

        Raises:
            MappingError: a layer cannot run on the target.
        """
        return [self.layer(layer, target) for layer in layers]

    def remarks(self, layers: Sequence[Layer], target: Target) -> tuple[str, ...]:
        """What a reader of the costs of these layers should know besides `method` and `error`."""
        return ()

    @final
    def costs(self, layers: Sequence[Layer], target: Target, *, resident: bool = True) -> list[LayerCost]:
        """The costs of layers as parts of a network, in their order.

        What `layers` says, on a target whose activations stay on the chip between layers (unless
        `resident` is false: they do not fit), and with the work of `Target.vector_cycles`. They share one
        multiplier and its voltage (`mac.settled`).

        Raises:
            MappingError: a layer cannot run on the target.
            TableError: no multiplier of the target can do it.
        """
        target, _ = settled(layers, target)
        if target.activations is None:
            found = self.layers(layers, target)
        elif not resident:
            target = replace(target, activations=None, coded_weights=False)
            found = self.layers(layers, target)
        else:
            inside = self.layers(layers, inner_target(target))
            # Of the main memory, there is only what constants take.
            found = [
                _with(replace(cost, cost=replace(cost.cost, dram_bits=0.0)), fetched(layer, target), target)
                for cost, layer in zip(inside, layers, strict=True)
            ]
        if not target.vector_cycles:
            return found
        extras = [vector_work(layer, target) for layer in layers]
        return [_with(c, e, target) if e is not None else c for c, e in zip(found, extras, strict=True)]

    @final
    def table(self, layers: Sequence[Layer], target: Target) -> Float[np.ndarray, "layer quantity"]:
        """The costs of layers in one array: energy (J), latency (s), main-memory traffic (bits).

        What `costs` says, for layers that may be variants of each other.

        Raises:
            MappingError: a layer cannot run on the target.
        """
        found = [cost.cost for cost in self.costs(layers, target)]
        rows = [(cost.energy_j, cost.latency_s, cost.dram_bits) for cost in found]
        return np.array(rows, np.float64).reshape(len(rows), 3)

    @final
    def estimate(self, network: Network, target: Target) -> CostReport:
        """The cost of a network: every layer once, one after the other.

        Raises:
            MappingError: a layer cannot run on the target.
        """
        placed, notes = in_target_format(network, target)
        peak_bits = stored_activations_bits(placed, target)
        resident = True
        if target.activations is not None:
            inside = target.level(target.activations.level)
            resident = inside.size_bits is None or peak_bits <= inside.size_bits
            if not resident:
                notes += (
                    f"{binary(peak_bits)} of activations are alive at once, more than the "
                    f"{binary(inside.size_bits or 0)} of {inside.name}: all of them pass through "
                    f"{target.main_memory.name}, and weights are priced as they are",
                )
        if target.coded_weights and resident:
            known = [t.stored_bits is not None for layer in placed.layers for t in constants(layer)]
            if not all(known):
                notes += (
                    f"{target.name} stores weights coded, but the codes of {known.count(False)} of "
                    f"{len(known)} are not known: priced as they are",
                )
        target, multiplier = settled(placed.layers, target)
        if multiplier is not None:
            notes += tuple(f"{Path(multiplier.table).name}: {text}" for text in multiplier.warnings)
        notes += unknown_weights(placed.layers, target) + self.remarks(placed.layers, target)
        layers = tuple(self.costs(placed.layers, target, resident=resident))
        if unproven := [layer.gap for layer in layers if layer.gap > 0]:
            notes += (
                f"{len(unproven)} of {len(layers)} mappings are not proven to be the best: by their bounds "
                f"they may lie up to {max(unproven):.1%} above it",
            )
        return CostReport(
            network=network.name,
            target=target.name,
            method=self.method,
            error=self.error,
            layers=layers,
            parameters=network.parameters,
            weight_memory_bits=placed.weight_memory_bits,
            peak_activation_bits=peak_bits,
            processing_elements=target.processing_elements,
            clock_hz=target.clock_hz,
            warnings=(*network.warnings, *notes),
            multiplier=multiplier,
        )


def _with(cost: LayerCost, extra: Extra, target: Target) -> LayerCost:
    """The cost with more energy and more time of each component; the slowest decides the latency."""
    energy, time = dict(cost.energy_by_component_j), dict(cost.latency_by_component_s)
    # What an estimator adds to its slowest component (filling and draining) stays.
    beside_s = max(0.0, cost.cost.latency_s - max(time.values(), default=0.0))
    for found, more in ((energy, extra.energy_j), (time, extra.time_s)):
        for name, value in more.items():
            found[name] = found.get(name, 0.0) + value
    latency_s = max(time.values(), default=0.0) + beside_s
    if target.static_power_w:
        energy["static"] = target.static_power_w * latency_s
    done_s = cost.utilization * cost.cost.latency_s
    return replace(
        cost,
        cost=Cost(
            latency_s=latency_s,
            energy_j=sum(energy.values()),
            dram_bits=cost.cost.dram_bits + extra.dram_bits,
        ),
        utilization=done_s / latency_s if latency_s else 0.0,
        energy_by_component_j=energy,
        latency_by_component_s=time,
    )


def in_target_format(network: Network, target: Target) -> tuple[Network, tuple[str, ...]]:
    """The network with its floating-point tensors at the target's own width, and a note on it."""
    floating = {t.name for layer in network.layers for t in _tensors(layer) if t.floating}
    if not floating:
        return network, ()

    def change(tensor: Tensor) -> Tensor:
        if not tensor.floating:
            return tensor
        return replace(tensor, bits=target.native_bits, floating=False)

    count = "1 tensor states" if len(floating) == 1 else f"{len(floating)} tensors state"
    note = (
        f"{count} no fixed-point width: priced at the {target.native_bits} bits of {target.name}; "
        f"--bits W,A states one for all"
    )
    return network.map_tensors(change), (note,)


def _tensors(layer: Layer) -> tuple[Tensor, ...]:
    return (*layer.inputs, *((layer.weight,) if layer.weight else ()), *layer.outputs)

"""Words in main memory, and what a layer streams to and from it beside its loop nest.

A word of a memory holds `word_bits // bits` whole elements; an element wider than a word takes
`ceil(bits / word_bits)` words. Biases are not charged anywhere: one word an output channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chipfit.cost.base import Cost, LayerCost
from chipfit.hardware.target import Target, words
from chipfit.workload.network import Layer, Tensor


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Accesses of the main memory (words)."""

    read_words: int = 0
    write_words: int = 0

    @property
    def words(self) -> int:
        """Reads and writes together (words)."""
        return self.read_words + self.write_words

    def bits(self, target: Target) -> int:
        """Reads and writes together (bits)."""
        return self.words * target.main_memory.word_bits

    def energy_j(self, target: Target) -> float:
        """Energy of the accesses (J)."""
        memory = target.main_memory
        return self.read_words * memory.read_energy_j + self.write_words * memory.write_energy_j

    def latency_s(self, target: Target) -> float:
        """Time that the accesses take at the full bandwidth of the main memory (s)."""
        bandwidth = target.main_memory.bandwidth_bits_per_cycle
        return self.bits(target) / bandwidth / target.clock_hz if bandwidth else 0.0


def streamed(layer: Layer, target: Target) -> Traffic:
    """What a layer reads and writes once in main memory, beside the tensors of its nest.

    For a nest: the further inputs and outputs of the layers fused into it. For a layer without a
    nest: everything it touches. Nothing of it is charged in a memory on the chip, a lower bound.
    """
    first = 1 if layer.loops else 0
    inputs = list(layer.inputs[first:])
    if layer.weight and not layer.loops:
        inputs.append(layer.weight)
    return Traffic(
        read_words=_total(inputs, target),
        write_words=_total(layer.outputs[first:], target),
    )


def traffic_cost(layer: Layer, target: Target) -> LayerCost:
    """The cost of a layer without a nest: its tensors once through main memory."""
    traffic = streamed(layer, target)
    memory = target.main_memory.name
    return slowest_part(
        layer,
        target,
        energy={memory: traffic.energy_j(target)},
        time={memory: traffic.latency_s(target)},
        dram_bits=traffic.bits(target),
    )


def slowest_part(
    layer: Layer,
    target: Target,
    *,
    energy: Mapping[str, float],
    time: Mapping[str, float],
    dram_bits: float,
    accumulator_bits: int = 0,
    mapping: str = "",
) -> LayerCost:
    """The cost of a layer that takes as long as its slowest part, with the static energy of that time.

    Args:
        layer: the layer.
        target: the chip.
        energy: energy of each component (J), less the static one.
        time: time that each part alone needs (s).
        dram_bits: traffic of the main memory (bits).
        accumulator_bits: width of its partial sums.
        mapping: how it runs, as people read it.
    """
    latency_s = max(time.values())
    parts = dict(energy)
    if target.static_power_w:
        parts["static"] = target.static_power_w * latency_s
    most = latency_s * target.clock_hz * target.processing_elements
    return LayerCost(
        name=layer.name,
        operator=layer.operator,
        cost=Cost(latency_s=latency_s, energy_j=sum(parts.values()), dram_bits=dram_bits),
        macs=layer.macs,
        utilization=layer.macs / most if layer.macs else 0.0,
        energy_by_component_j=parts,
        latency_by_component_s=time,
        input_bits=layer.input_bits,
        weight_bits=layer.weight_bits,
        accumulator_bits=accumulator_bits,
        mapping=mapping,
    )


def _total(tensors: Iterable[Tensor], target: Target) -> int:
    word_bits = target.main_memory.word_bits
    return sum(words(t.elements, t.bits, word_bits) for t in tensors)

"""Dense layers on a target: the loop nest counted exactly, under the best mapping of the map space."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chipfit.cost.base import AbstractEstimator, Cost, LayerCost
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.mapping import cache
from chipfit.cost.mapping.mapper import (
    OBJECTIVES,
    RULES,
    Answer,
    Counts,
    Mapping,
    MapSpace,
    Rules,
    Stage,
    Widths,
    check_fits,
    evaluate,
    find,
    stages,
)
from chipfit.cost.mapping.nest import ORDER
from chipfit.cost.traffic import streamed, traffic_cost
from chipfit.errors import MappingError, nearest
from chipfit.hardware.target import TENSORS, Target
from chipfit.workload.network import DIMENSIONS, Layer, Loops


@dataclass(frozen=True, kw_only=True)
class Analytical(AbstractEstimator):
    """Exact access counts of a loop nest, under the best mapping for an objective.

    `objective` is 'energy', 'latency', 'edp' (energy times latency) or 'dram' (traffic); `space`
    says which mappings are looked at, `rules` what is counted. No layer takes more than `slower` times its
    least latency: the least energy alone leaves most of an array idle. Layers without a nest, and what fused
    layers read besides, pass through the main memory once.
    """

    objective: str = "edp"
    space: MapSpace = field(default_factory=MapSpace)
    rules: Rules = RULES["chipfit"]
    slower: float = math.inf

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise MappingError(f"unknown objective '{self.objective}'{nearest(self.objective, OBJECTIVES)}")
        if not self.slower >= 1:
            raise MappingError(f"slower is {self.slower:g}: a layer takes at least 1 times its least latency")

    @property
    def method(self) -> str:
        """How the numbers come about."""
        within = f" within {self.slower:g} times the least latency" if math.isfinite(self.slower) else ""
        names = [name for name, rules in RULES.items() if rules == self.rules]
        counted = (
            "" if self.rules == RULES["chipfit"] else f", counted as {names[0] if names else self.rules}"
        )
        return f"analytical loop nest, exact mapper for {self.objective}{within}{counted}"

    @property
    def error(self) -> str:
        """The known error of the method."""
        return (
            "accesses are exact for the mapping shown (equal to a step-by-step walk); the mapping is the "
            f"best of its space ({self.space}), proven by bounds unless a warning says otherwise"
        )

    def layer(self, layer: Layer, target: Target) -> LayerCost:
        """The cost of one layer at the bit widths that its tensors state.

        Raises:
            MappingError: not even single elements fit the memories of the target.
        """
        if layer.loops is None:
            return traffic_cost(layer, target)
        job = _job(layer, layer.loops, target)
        how = _How(objective=self.objective, space=self.space, rules=self.rules)
        try:
            if math.isfinite(self.slower):
                fastest = _search_for(job, target, replace(how, objective="latency"))
                counts = _count(job, fastest.mapping, target, self.rules)
                assert counts is not None, "the mapper returned a mapping that does not fit"
                how = replace(how, most_cycles=self.slower * counts.cycles)
            answer = _search_for(job, target, how)
        except MappingError:
            # Searches are shared and know no names; whoever asked is told with them.
            _find(job, target, how, layer.name)
            raise
        return replace(_priced(layer, job, answer.mapping, target, self.rules), gap=answer.gap)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """All of a layer that its mapping depends on."""

    loops: Loops
    widths: Widths
    mac_energy_j: float
    streamed_words: int
    streamed_energy_j: float


@dataclass(frozen=True, kw_only=True)
class _How:
    """What is searched for, and how it is counted."""

    objective: str
    space: MapSpace
    rules: Rules
    most_cycles: float = math.inf


def _job(layer: Layer, loops: Loops, target: Target) -> _Job:
    accumulator_bits = target.accumulator_bits(layer.weight_bits, layer.input_bits, layer.exact_sum_bits)
    beside = streamed(layer, target)
    widths = Widths(
        input=layer.input_bits,
        weight=layer.weight_bits,
        output=layer.output_bits,
        partial_sum=accumulator_bits,
    )
    check_fits(layer.name, target, widths)
    return _Job(
        loops=loops,
        widths=widths,
        mac_energy_j=loops.macs * mac_energy_j(layer, target, accumulator_bits),
        streamed_words=beside.words,
        streamed_energy_j=beside.energy_j(target),
    )


def _bare(target: Target) -> Target:
    """The target less what no number depends on; hashable."""
    return replace(target, name="", description="", source="", sources=None)


def _search_for(job: _Job, target: Target, how: _How) -> Answer:
    """The mapping of a job, searched once for all jobs that differ in nothing that matters to it."""
    word_bits = tuple({level.word_bits for level in target.levels})
    widths = job.widths
    alike = Widths(
        input=_widest_alike(widths.input, word_bits),
        weight=_widest_alike(widths.weight, word_bits),
        output=_widest_alike(widths.output, word_bits),
        partial_sum=_widest_alike(widths.partial_sum, word_bits),
    )
    job = replace(job, widths=alike)
    if how.objective != "edp":
        # What every mapping takes alike decides nothing.
        job = replace(job, mac_energy_j=0.0, streamed_energy_j=0.0)
    return _map(job, _bare(target), how)


#: Wider elements than any (bits).
_WIDEST = 128


def _widest_alike(bits: int, word_bits: tuple[int, ...]) -> int:
    """The widest element of which as many fit a word of every memory.

    >>> _widest_alike(6, (16, 64))  # two in 16 bits, ten in 64 bits
    6
    >>> _widest_alike(6, (16,))
    8
    >>> _widest_alike(20, (16,))  # two words
    32
    """

    def fitting(width: int) -> list[int]:
        return [word // width if width <= word else -(-width // word) for word in word_bits]

    while fitting(bits + 1) == fitting(bits) and bits < _WIDEST:
        bits += 1
    return bits


@functools.lru_cache(maxsize=65536)
def _map(job: _Job, bare: Target, how: _How) -> Answer:
    return cache.remembered(repr((job, bare, how)), lambda: _find(job, bare, how, ""))


def _find(job: _Job, target: Target, how: _How, label: str) -> Answer:
    return find(
        job.loops,
        target,
        job.widths,
        objective=how.objective,
        mac_energy_j=job.mac_energy_j,
        streamed_words=job.streamed_words,
        streamed_energy_j=job.streamed_energy_j,
        label=label,
        space=how.space,
        most_cycles=how.most_cycles,
        rules=how.rules,
    )


def _count(job: _Job, mapping: Mapping, target: Target, rules: Rules) -> Counts | None:
    return evaluate(
        mapping,
        job.loops,
        target,
        job.widths,
        mac_energy_j=job.mac_energy_j,
        streamed_words=job.streamed_words,
        streamed_energy_j=job.streamed_energy_j,
        rules=rules,
    )


def _priced(layer: Layer, job: _Job, mapping: Mapping, target: Target, rules: Rules) -> LayerCost:
    counts = _count(job, mapping, target, rules)
    assert counts is not None, "the mapper returned a mapping that does not fit"
    parts = stages(target)
    memory = target.main_memory
    energy = {"MAC": job.mac_energy_j}
    latency = {"compute": counts.compute_cycles / target.clock_hz}
    for i, (stage, level) in enumerate(zip(parts, target.levels, strict=True)):
        reads, writes = float(counts.reads[i].sum()), float(counts.writes[i].sum())
        energy[level.name] = reads * level.read_energy_j + writes * level.write_energy_j
        if level.bandwidth_bits_per_cycle is not None:
            latency[level.name] = float(counts.stage_cycles[i]) / target.clock_hz
        if stage.array is not None and stage.array.hop_energy_j:
            energy[stage.array.name] = float(counts.hops[i].sum()) * stage.array.hop_energy_j
    energy[memory.name] += job.streamed_energy_j
    latency_s = max(latency.values())
    if target.static_power_w:
        energy["static"] = target.static_power_w * latency_s
    return LayerCost(
        name=layer.name,
        operator=layer.operator,
        cost=Cost(
            latency_s=latency_s,
            energy_j=sum(energy.values()),
            dram_bits=counts.dram_words * memory.word_bits,
        ),
        macs=layer.macs,
        utilization=layer.macs / (latency_s * target.clock_hz * target.processing_elements),
        energy_by_component_j=energy,
        latency_by_component_s=latency,
        input_bits=job.widths.input,
        weight_bits=job.widths.weight,
        accumulator_bits=job.widths.partial_sum,
        mapping=describe(mapping, parts),
        plan=mapping,
    )


def describe(mapping: Mapping, parts: Sequence[Stage]) -> str:
    """A mapping as people read it, outermost first: loops of each memory, then what runs in parallel."""
    lines: list[str] = []
    for i, stage in enumerate(parts):
        loops = [
            f"{DIMENSIONS[d]} in 0..{count - 1}"
            for d in ORDER[TENSORS.index(mapping.stationary[i])]
            if (count := mapping.iterations(i, int(d))) > 1
        ]
        lines.append(f"{stage.name}: " + (f"for {', '.join(loops)}" if loops else "one tile"))
        if stage.array is not None:
            sides = [
                f"{DIMENSIONS[d]}={factor} on {side}"
                for side, factors in (("rows", mapping.rows[i]), ("columns", mapping.columns[i]))
                for d, factor in enumerate(factors)
                if factor > 1
            ]
            lines.append(
                f"{stage.array.name}: " + (f"parallel {', '.join(sides)}" if sides else "one element")
            )
    return " | ".join(lines)

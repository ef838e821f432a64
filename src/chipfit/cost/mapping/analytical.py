"""Dense layers on a target: the loop nest counted exactly, under the best mapping of the map space."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from chipfit.cost.base import AbstractEstimator, Cost, LayerCost
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.mapping import model
from chipfit.cost.mapping.answers import How, Job, answers
from chipfit.cost.mapping.cache import Known
from chipfit.cost.mapping.model import (
    OBJECTIVES,
    ORDER,
    RULES,
    MapSpace,
    Rules,
    Widths,
)
from chipfit.cost.mapping.parts import divided
from chipfit.cost.mapping.plan import Stage, stages
from chipfit.cost.mapping.room import check_fits
from chipfit.cost.traffic import streamed, traffic_cost
from chipfit.errors import MappingError, nearest
from chipfit.hardware.target import TENSORS, Target
from chipfit.workload.network import DIMENSIONS, Layer, Loops


@dataclass(frozen=True, kw_only=True)
class Analytical(AbstractEstimator):
    """Exact access counts of a loop nest, under the best mapping for an objective.

    `objective` is 'energy', 'latency', 'edp' (energy times latency) or 'dram' (traffic); `space`
    says which mappings are looked at, `rules` what is counted. No layer takes more than `slower` times its
    least latency: the least energy alone leaves most of an array idle. A score may lie above the best by a
    fraction of `tolerance`, which takes less time to prove; the `gap` of a cost says how far. Layers
    without a nest, and what fused layers read besides, pass through the main memory once. `progress` is told
    how many of how many searches are done.
    """

    objective: str = "edp"
    space: MapSpace = field(default_factory=MapSpace)
    rules: Rules = RULES["chipfit"]
    slower: float = math.inf
    tolerance: float = 0.0
    progress: Callable[[int, int], None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise MappingError(f"unknown objective '{self.objective}'{nearest(self.objective, OBJECTIVES)}")
        if not self.slower >= 1:
            raise MappingError(f"slower is {self.slower:g}: a layer takes at least 1 times its least latency")
        if not self.tolerance >= 0:
            raise MappingError(f"tolerance is {self.tolerance:g}: a fraction of the best score, at least 0")

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
        return self.layers((layer,), target)[0]

    def layers(self, layers: Sequence[Layer], target: Target) -> list[LayerCost]:
        """The costs of several layers, in their order; layers that differ only in names are priced once.

        Raises:
            MappingError: of a layer not even single elements fit the memories of the target.
        """
        jobs = [_job(layer, layer.loops, target) if layer.loops is not None else None for layer in layers]
        first = {job: layer for job, layer in zip(reversed(jobs), reversed(layers), strict=True) if job}
        how = How(objective=self.objective, space=self.space, rules=self.rules, tolerance=self.tolerance)
        names = {job: layer.name for job, layer in first.items()}
        known = answers(names, target, how, self.slower, self.progress)
        found = {job: self._priced(first[job], job, one, target) for job, one in known.items()}
        return [
            traffic_cost(layer, target)
            if job is None
            else replace(found[job], name=layer.name, operator=layer.operator)
            for layer, job in zip(layers, jobs, strict=True)
        ]

    def _priced(self, layer: Layer, job: Job, known: Known, target: Target) -> LayerCost:
        return replace(
            _cost_of(layer, job, known, target),
            gap=known.answer.gap,
            mappings=known.answer.mappings,
            priced=known.answer.priced,
        )


def _job(layer: Layer, loops: Loops, target: Target) -> Job:
    accumulator_bits = target.accumulator_bits(layer.weight_bits, layer.input_bits, layer.exact_sum_bits)
    beside = streamed(layer, target)
    widths = Widths(
        input=layer.input_bits,
        weight=layer.weight_bits,
        output=layer.output_bits,
        partial_sum=accumulator_bits,
    )
    check_fits(layer.name, target, widths)
    return Job(
        loops=loops,
        widths=widths,
        mac_energy_j=loops.macs * mac_energy_j(layer, target, accumulator_bits),
        streamed_words=beside.words,
        streamed_energy_j=beside.energy_j(target),
    )


def _cost_of(layer: Layer, job: Job, known: Known, target: Target) -> LayerCost:
    counts, mapping = known.counts, known.answer.mapping
    arranged = divided(target, mapping.parts)
    parts, memory = stages(arranged), target.main_memory
    names = [name for name, _, _ in mapping.parts] or [level.name for level in target.levels]
    energy = {"MAC": job.mac_energy_j}
    latency = {"compute": counts.compute_cycles / target.clock_hz}
    for i, (stage, level, name) in enumerate(zip(parts, arranged.levels, names, strict=True)):
        reads, writes = float(counts.reads[i].sum()), float(counts.writes[i].sum())
        taken = reads * level.read_energy_j + writes * level.write_energy_j
        energy[name] = energy.get(name, 0.0) + taken  # of all its parts
        if level.bandwidth_bits_per_cycle is not None:
            latency[name] = float(counts.stage_cycles[i]) / target.clock_hz
        if stage.array is not None and stage.array.hop_energy_j:
            energy[stage.array.name] = float(counts.hops[i].sum()) * stage.array.hop_energy_j
    energy[memory.name] += job.streamed_energy_j
    latency_s = counts.cycles / target.clock_hz
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


def describe(mapping: model.Mapping, parts: Sequence[Stage]) -> str:
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

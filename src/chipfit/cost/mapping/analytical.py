"""Dense layers on a target: the loop nest counted exactly, under the best mapping that was found."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chipfit.cost.base import AbstractEstimator, Cost, LayerCost
from chipfit.cost.mapping.mapper import (
    OBJECTIVES,
    Counts,
    Mapping,
    Stage,
    Widths,
    check_fits,
    chip,
    evaluate,
    find,
    stages,
)
from chipfit.cost.mapping.nest import ORDER
from chipfit.cost.traffic import streamed, traffic_cost
from chipfit.errors import MappingError, nearest
from chipfit.hardware.target import TENSORS, Target
from chipfit.workload.network import DIMENSIONS, Layer, Loops

#: Starts of each unrolling, and how many unrollings are polished.
FULL_EFFORT = (3, 4)
SEEDED_EFFORT = (0, 2)


@dataclass(frozen=True, kw_only=True)
class Analytical(AbstractEstimator):
    """Exact access counts of a loop nest, under a mapping chosen for an objective.

    `objective` is 'energy', 'latency', 'edp' (energy times latency) or 'dram' (traffic). Layers
    without a nest, and what fused layers read besides, pass through the main memory once.
    """

    objective: str = "energy"

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise MappingError(f"unknown objective '{self.objective}'{nearest(self.objective, OBJECTIVES)}")

    @property
    def method(self) -> str:
        """How the numbers come about."""
        return f"analytical loop nest, plain mapper for {self.objective}"

    @property
    def error(self) -> str:
        """The known error of the method."""
        return (
            "access counts are exact for the mapping shown (checked step by step); the mapping is the best "
            "that a local search found, not proven best"
        )

    def layer(self, layer: Layer, target: Target) -> LayerCost:
        """The cost of one layer at the bit widths that its tensors state.

        Raises:
            MappingError: not even single elements fit the memories of the target.
        """
        if layer.loops is None:
            return traffic_cost(layer, target)
        job = _job(layer, layer.loops, target)
        return _priced(layer, job, _map(job, _bare(target), self.objective), target)

    def costs(self, layers: Sequence[Layer], target: Target) -> list[LayerCost]:
        """The costs of many variants of a few layers (other widths, other channel counts), fast.

        Layers that differ in their widths alone share their mappings: each gets the best of all that
        were found, so narrower operands never cost more of the objective. The search starts from the
        mapping of the neighbour in channels. Results depend on the set of layers, not on their order.

        Raises:
            MappingError: as for `layer`.
        """
        jobs = [_job(layer, layer.loops, target) if layer.loops else None for layer in layers]
        best = _map_all([job for job in jobs if job], target, self.objective)
        return [
            _priced(layer, job, best[job], target) if job else traffic_cost(layer, target)
            for layer, job in zip(layers, jobs, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """All of a layer that its mapping depends on."""

    loops: Loops
    widths: Widths
    mac_energy_j: float
    streamed_words: int
    streamed_energy_j: float


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
        mac_energy_j=loops.macs
        * target.arithmetic.energy_j(layer.weight_bits, layer.input_bits, accumulator_bits),
        streamed_words=beside.words,
        streamed_energy_j=beside.energy_j(target),
    )


def _bare(target: Target) -> Target:
    """The target less what no number depends on; hashable."""
    return replace(target, name="", description="", source="", sources=None)


@functools.lru_cache(maxsize=65536)
def _map(job: _Job, bare: Target, objective: str) -> Mapping:
    return _search(job, bare, objective, (), FULL_EFFORT)


def _search(
    job: _Job, target: Target, objective: str, seeds: Sequence[Mapping], effort: tuple[int, int]
) -> Mapping:
    return find(
        job.loops,
        target,
        job.widths,
        objective=objective,
        mac_energy_j=job.mac_energy_j,
        streamed_words=job.streamed_words,
        streamed_energy_j=job.streamed_energy_j,
        seeds=seeds,
        effort=effort,
    )


def _count(job: _Job, mapping: Mapping, target: Target) -> Counts | None:
    return evaluate(
        mapping,
        job.loops,
        target,
        job.widths,
        mac_energy_j=job.mac_energy_j,
        streamed_words=job.streamed_words,
        streamed_energy_j=job.streamed_energy_j,
    )


def _map_all(jobs: Sequence[_Job], target: Target, objective: str) -> dict[_Job, Mapping]:
    """The best mapping of each job, of all that were found for the same loops."""
    groups: dict[Loops, list[_Job]] = {}
    for job in sorted(set(jobs), key=_rank):
        groups.setdefault(job.loops, []).append(job)
    best: dict[_Job, Mapping] = {}
    neighbour: tuple[Loops, Mapping] | None = None
    for loops, group in groups.items():
        pool: dict[Mapping, None] = {}
        # Jobs whose elements pack alike share a search: only the prices of a multiply differ.
        alike: dict[bytes, _Job] = {}
        for job in group:
            alike.setdefault(chip(target, job.widths).per_word.tobytes(), job)
        for number, job in enumerate(alike.values()):
            seeds = [*pool]
            if neighbour and _family(neighbour[0]) == _family(loops):
                seeds.append(neighbour[1])
            effort = FULL_EFFORT if number == 0 else SEEDED_EFFORT
            pool[_search(job, target, objective, seeds, effort)] = None
        for job in group:
            scored = [
                (_score(objective, found), i) for i, m in enumerate(pool) if (found := _count(job, m, target))
            ]
            best[job] = [*pool][min(scored)[1]]
        neighbour = (loops, best[group[0]])
    return best


def _rank(job: _Job) -> tuple[object, ...]:
    """Like nests together, many channels first, wide operands first."""
    widths = job.widths
    order = (-job.loops.K, -job.loops.C, -widths.weight, -widths.input, -widths.output, -widths.partial_sum)
    return (_family(job.loops), *order, job.streamed_words, job.mac_energy_j, job.streamed_energy_j)


def _family(loops: Loops) -> tuple[object, ...]:
    bounds = (loops.N, loops.G, loops.P, loops.Q, loops.R, loops.S)
    return (*bounds, loops.stride, loops.dilation, loops.padding)


def _score(objective: str, counts: Counts) -> tuple[float, float]:
    energy, cycles = counts.energy_j, counts.cycles
    by_objective = {
        "energy": (energy, cycles),
        "latency": (cycles, energy),
        "edp": (energy * cycles, energy),
        "dram": (counts.dram_words, energy),
    }
    return by_objective[objective]


def _priced(layer: Layer, job: _Job, mapping: Mapping, target: Target) -> LayerCost:
    counts = _count(job, mapping, target)
    assert counts is not None, "the mapper returned a mapping that does not fit"
    parts = stages(target)
    memory = target.main_memory
    energy = {"MAC": job.mac_energy_j}
    latency = {"compute": counts.compute_cycles / target.clock_hz}
    for i, stage in enumerate(parts):
        reads, writes = float(counts.reads[i].sum()), float(counts.writes[i].sum())
        if stage.memory is not None:
            level = target.levels[stage.memory]
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
        if stage.memory is not None:
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

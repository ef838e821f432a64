"""Dense layers on a target: the loop nest counted exactly, under the best mapping of the map space."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from chipfit.cost.base import AbstractEstimator, Cost, LayerCost
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.mapping import cache, model
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

_T = TypeVar("_T")


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
        how = _How(objective=self.objective, space=self.space, rules=self.rules, tolerance=self.tolerance)
        answers = _answers(first, target, how, self.slower, self.progress)
        found = {job: self._priced(first[job], job, known, target) for job, known in answers.items()}
        return [
            traffic_cost(layer, target)
            if job is None
            else replace(found[job], name=layer.name, operator=layer.operator)
            for layer, job in zip(layers, jobs, strict=True)
        ]

    def _priced(self, layer: Layer, job: _Job, known: Known, target: Target) -> LayerCost:
        return replace(
            _cost_of(layer, job, known, target),
            gap=known.answer.gap,
            mappings=known.answer.mappings,
            priced=known.answer.priced,
        )


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
    tolerance: float
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
    return replace(target, name="", description="", source="", sources=None, mac_tables=(), mac_supply=None)


def _answers(
    jobs: Mapping[_Job, Layer],
    target: Target,
    how: _How,
    slower: float,
    progress: Callable[[int, int], None] | None,
) -> dict[_Job, Known]:
    """The mapping of each job, searched once for all that differ in nothing that matters to it."""
    bare, word_bits = _bare(target), tuple({level.word_bits for level in target.levels})
    alike: dict[_Job, dict[_Job, float]] = {}  # by what is left: energy that every mapping takes
    for job in jobs:
        widths = Widths(**{name: _widest_alike(bits, word_bits) for name, bits in vars(job.widths).items()})
        rest = replace(job, widths=widths, mac_energy_j=0.0, streamed_energy_j=0.0)
        alike.setdefault(rest, {})[job] = job.mac_energy_j + job.streamed_energy_j

    def answer(rest: _Job) -> dict[float, Known]:
        energies, wanted = alike[rest], how
        try:
            if math.isfinite(slower):
                fastest = _map(rest, bare, replace(how, objective="latency"))
                wanted = replace(how, most_cycles=slower * fastest.counts.cycles)
            return _shared(rest, energies.values(), bare, wanted)
        except MappingError:
            # Searches are shared and know no names; whoever asked is told with them.
            _find(rest, target, wanted, jobs[next(iter(energies))].name)
            raise

    done = itertools.count(1)

    def counted(rest: _Job) -> dict[float, Known]:
        found = answer(rest)
        if progress is not None:
            progress(next(done), len(alike))
        return found

    answers = _in_threads(counted, list(alike))
    return {
        job: known[energy]
        for energies, known in zip(alike.values(), answers, strict=True)
        for job, energy in energies.items()
    }


def _in_threads(answer: Callable[[_Job], _T], jobs: Sequence[_Job]) -> list[_T]:
    """The answers in order, worked out on all processors that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(cores, len(jobs))
    if threads < 2:
        return [answer(job) for job in jobs]
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(answer, jobs))
    finally:
        pool.shutdown(cancel_futures=True)


def _shared(rest: _Job, energies: Iterable[float], bare: Target, how: _How) -> dict[float, Known]:
    """Answers by the energy that every mapping takes (J), which decides nothing but for 'edp'.

    There, the least of (fixed + e) * t over mappings is concave in what is fixed. So between two energies
    it is at least what lies on the straight line, and a mapping that reaches the line needs no search.
    """
    order = sorted(set(energies))
    if how.objective != "edp":
        return dict.fromkeys(order, _map(rest, bare, how))
    found = {e: _map(replace(rest, mac_energy_j=e), bare, how) for e in {order[0], order[-1]}}

    def between(low: int, high: int) -> None:
        if high - low < 2:
            return
        middle = (low + high) // 2
        energy, ends = order[middle], (found[order[low]], found[order[high]])
        part = (energy - order[low]) / (order[high] - order[low])
        bounds = [known.answer.score / (1 + known.answer.gap) for known in ends]
        least = bounds[0] + part * (bounds[1] - bounds[0])
        scores = [(known.counts.energy_j + energy) * known.counts.cycles for known in ends]
        better = ends[scores[1] < scores[0]]
        gap = max(0.0, min(scores) / least - 1)
        if gap > max(_ROUNDING, how.tolerance):
            found[energy] = _map(replace(rest, mac_energy_j=energy), bare, how)
        else:
            gap = 0.0 if gap < _ROUNDING else gap
            found[energy] = replace(better, answer=replace(better.answer, score=min(scores), gap=gap))
        between(low, middle)
        between(middle, high)

    between(0, len(order) - 1)
    return found


#: Scores that differ by less are equal, as for the search.
_ROUNDING = 1e-9


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
def _map(job: _Job, bare: Target, how: _How) -> Known:
    return cache.remembered(repr((job, bare, how)), lambda: _find(job, bare, how, ""))


def _find(job: _Job, target: Target, how: _How, label: str) -> Known:
    from chipfit.cost.mapping.evaluate import evaluate
    from chipfit.cost.mapping.mapper import find  # slow to import, and not needed for known answers

    answer = find(
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
        tolerance=how.tolerance,
    )
    counts = evaluate(
        answer.mapping,
        job.loops,
        target,
        job.widths,
        streamed_words=job.streamed_words,
        rules=how.rules,
    )
    assert counts is not None, "the mapper returned a mapping that does not fit"
    return Known(answer=answer, counts=counts)


def _cost_of(layer: Layer, job: _Job, known: Known, target: Target) -> LayerCost:
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

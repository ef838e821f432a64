"""Answers to all that a network asks: known ones from memory and disk, and one search for each nest."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from chipfit.cost.mapping import cache
from chipfit.cost.mapping.cache import Known
from chipfit.cost.mapping.model import Case, MapSpace, Rules, Widths
from chipfit.errors import MappingError
from chipfit.hardware.target import Target
from chipfit.workload.network import Loops


@dataclass(frozen=True, kw_only=True)
class Job:
    """All of a layer that its mapping depends on."""

    loops: Loops
    widths: Widths
    mac_energy_j: float
    streamed_words: int
    streamed_energy_j: float
    most_cycles: float = math.inf


@dataclass(frozen=True, kw_only=True)
class How:
    """What is searched for, and how it is counted."""

    objective: str
    space: MapSpace
    rules: Rules
    tolerance: float


def answers(
    jobs: Mapping[Job, str],
    target: Target,
    how: How,
    slower: float,
    progress: Callable[[int, int], None] | None,
) -> dict[Job, Known]:
    """The mapping of each job, searched once for all that differ in nothing that matters to it.

    Args:
        jobs: with the names of their layers.
        target: the chip.
        how: what is searched for.
        slower: no mapping takes more than so many times its least latency.
        progress: told how many of how many searches are done.

    Raises:
        MappingError: a job has no mapping.
    """
    word_bits = tuple({level.word_bits for level in target.levels})
    alike: dict[Job, dict[Job, float]] = {}  # by what is left: energy that every mapping takes
    names: dict[Job, str] = {}
    for job, name in jobs.items():
        widths = Widths(**{kind: _widest_alike(bits, word_bits) for kind, bits in vars(job.widths).items()})
        rest = replace(job, widths=widths, mac_energy_j=0.0, streamed_energy_j=0.0)
        alike.setdefault(rest, {})[job] = job.mac_energy_j + job.streamed_energy_j
        names.setdefault(rest, name)
    searches = _Searches(target=target, how=how)
    capped = dict(zip(alike, alike, strict=True))
    if math.isfinite(slower):
        fastest = replace(searches, how=replace(how, objective="latency")).all(names)
        capped = {rest: replace(rest, most_cycles=slower * fastest[rest].counts.cycles) for rest in alike}
    wanted = {capped[rest]: sorted(set(energies.values())) for rest, energies in alike.items()}
    named = {capped[rest]: name for rest, name in names.items()}
    found = searches.by_energy(wanted, named, progress)
    return {
        job: found[capped[rest], energy if how.objective == "edp" else 0.0]
        for rest, energies in alike.items()
        for job, energy in energies.items()
    }


#: Scores that differ by less are equal, as for the search.
_ROUNDING = 1e-9

#: Answers that are kept in memory.
_MOST = 65536

_memory: dict[tuple[Job, str, How], Known] = {}


def forget() -> None:
    """Keep no answer in memory; those on the disk stay."""
    _memory.clear()


@dataclass(frozen=True, kw_only=True)
class _Searches:
    """Searches on one target."""

    target: Target
    how: How

    def by_energy(
        self,
        wanted: Mapping[Job, Sequence[float]],
        names: Mapping[Job, str],
        progress: Callable[[int, int], None] | None,
    ) -> dict[tuple[Job, float], Known]:
        """Answers by the energy that every mapping takes (J), which decides nothing but for 'edp' (there 0).

        For 'edp', the least of (fixed + e) * t over mappings is concave in what is fixed. So between two
        energies it is at least what lies on the straight line, and a mapping that reaches the line needs no
        search.
        """
        if self.how.objective != "edp":
            return {(job, 0.0): known for job, known in self.all(names, progress).items()}
        ends = {(job, e) for job, energies in wanted.items() for e in (energies[0], energies[-1])}
        found = self._at(ends, names, progress)
        # Parts of the energies of a job between two that are known.
        parts = [(job, 0, len(energies) - 1) for job, energies in wanted.items()]
        while parts := [part for part in parts if part[2] - part[1] > 1]:
            unsure: set[tuple[Job, float]] = set()
            halves: list[tuple[Job, int, int]] = []
            for job, low, high in parts:
                middle = (low + high) // 2
                e, least, most = (wanted[job][i] for i in (middle, low, high))
                known = self._between(e, (least, found[job, least]), (most, found[job, most]))
                if known is None:
                    unsure.add((job, e))
                else:
                    found[job, e] = known
                halves += [(job, low, middle), (job, middle, high)]
            found |= self._at(unsure, names, None)
            parts = halves
        return found

    def _at(
        self,
        asked: set[tuple[Job, float]],
        names: Mapping[Job, str],
        progress: Callable[[int, int], None] | None,
    ) -> dict[tuple[Job, float], Known]:
        """Answers with all of so much energy (J) counted as that of multiply-accumulates."""
        jobs = {(job, e): replace(job, mac_energy_j=e) for job, e in sorted(asked, key=repr)}
        found = self.all({jobs[job, e]: names[job] for job, e in jobs}, progress)
        return {key: found[job] for key, job in jobs.items()}

    def _between(self, energy: float, low: tuple[float, Known], high: tuple[float, Known]) -> Known | None:
        """The answer at an energy, from those at two others if they say it; or None."""
        part = (energy - low[0]) / (high[0] - low[0])
        bounds = [known.answer.score / (1 + known.answer.gap) for _, known in (low, high)]
        least = bounds[0] + part * (bounds[1] - bounds[0])
        ends = (low[1], high[1])
        scores = [(known.counts.energy_j + energy) * known.counts.cycles for known in ends]
        better = ends[scores[1] < scores[0]]
        gap = max(0.0, min(scores) / least - 1)
        if gap > max(_ROUNDING, self.how.tolerance):
            return None
        gap = 0.0 if gap < _ROUNDING else gap
        return replace(better, answer=replace(better.answer, score=min(scores), gap=gap))

    def all(
        self, jobs: Mapping[Job, str], progress: Callable[[int, int], None] | None = None
    ) -> dict[Job, Known]:
        """The answers to jobs, given with their layers' names; those of one nest are searched at once."""
        # No number depends on what is left out of the target.
        bare = replace(
            self.target, name="", description="", source="", sources=None, mac_tables=(), mac_supply=None
        )
        chip = repr(bare)
        nests: dict[tuple[Loops, int], list[Job]] = {}
        for job in jobs:
            if (job, chip, self.how) not in _memory:
                nests.setdefault((job.loops, job.streamed_words), []).append(job)
        done = itertools.count(1)
        count = len(jobs)

        def told(many: int) -> None:
            for _ in range(many):
                number = next(done)
                if progress is not None:
                    progress(number, count)

        def answer(nest: list[Job]) -> None:
            questions = [repr((job, chip, self.how)) for job in nest]
            try:
                found = cache.remembered(
                    questions, lambda missing: self._find(bare, [nest[i] for i in missing])
                )
            except MappingError:
                # Searches are shared and know no names; whoever asked is told with them.
                for job in nest:
                    self._find(self.target, [job], jobs[job])
                raise
            if len(_memory) > _MOST:
                forget()
            kept.update(zip(nest, found, strict=True))
            _memory.update(zip(((job, chip, self.how) for job in nest), found, strict=True))
            told(len(nest))

        kept = {job: _memory[job, chip, self.how] for job in jobs if (job, chip, self.how) in _memory}
        told(len(kept))
        _in_threads(answer, list(nests.values()))
        return kept

    def _find(self, target: Target, jobs: Sequence[Job], label: str = "") -> list[Known]:
        """The answers to jobs of one nest, and what their mappings take."""
        from chipfit.cost.mapping.evaluate import evaluate
        from chipfit.cost.mapping.mapper import find_all  # slow to import, and not needed for known answers

        cases = [
            Case(
                widths=job.widths, mac_energy_j=job.mac_energy_j, streamed_words=job.streamed_words,
                streamed_energy_j=job.streamed_energy_j, most_cycles=job.most_cycles, label=label,
            )
            for job in jobs
        ]  # fmt: skip
        how = self.how
        found = find_all(
            jobs[0].loops, target, cases,
            objective=how.objective, space=how.space, rules=how.rules, tolerance=how.tolerance,
        )  # fmt: skip
        known: list[Known] = []
        for job, answer in zip(jobs, found, strict=True):
            counts = evaluate(
                answer.mapping,
                job.loops,
                target,
                job.widths,
                streamed_words=job.streamed_words,
                rules=how.rules,
            )
            assert counts is not None, "the mapper returned a mapping that does not fit"
            known.append(Known(answer=answer, counts=counts))
        return known


def _in_threads(answer: Callable[[list[Job]], None], nests: Sequence[list[Job]]) -> None:
    """Answer all, on all processors that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(cores, len(nests))
    if threads < 2:
        for nest in nests:
            answer(nest)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        list(pool.map(answer, nests))
    finally:
        pool.shutdown(cancel_futures=True)


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

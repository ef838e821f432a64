"""How a loop nest runs on a target: mappings, their exact counts, and the search for the best one."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chipfit.cost.mapping import bound, labels, pricing, search
from chipfit.cost.mapping.bound import Inner, Work
from chipfit.cost.mapping.evaluate import chip, geometry, scratch
from chipfit.cost.mapping.labels import Found
from chipfit.cost.mapping.lattice import Lattice, lattice_of
from chipfit.cost.mapping.model import (
    EVEN,
    OBJECTIVES,
    RULES,
    SPACES,
    Answer,
    Floats,
    Holds,
    Ints,
    Mapping,
    MapSpace,
    Outcome,
    Parts,
    Rules,
    Widths,
)
from chipfit.cost.mapping.nest import Chip, Tables, count, prepare
from chipfit.cost.mapping.parts import divided, sharing
from chipfit.cost.mapping.plan import Plan, Stage, per_element, plan_of, stages, ways_to_hold
from chipfit.cost.mapping.pricing import Goal
from chipfit.cost.mapping.room import check_fits, elements_of, mappings, why_none
from chipfit.cost.mapping.uneven import improved
from chipfit.errors import MappingError, nearest
from chipfit.hardware.target import TENSORS, Array, Target, words
from chipfit.workload.network import DIMENSIONS, Loops

#: Candidates after which a search gives up and says how far it may be from the best.
EFFORT = 5e6


#: Blocks of each way to hold tensors that are looked at before the proof.
_PROBES = 4


#: Of this, what a search may take before it begins again from a better mapping.
_GLANCE = 0.2


def find(
    loops: Loops,
    target: Target,
    widths: Widths,
    *,
    objective: str = "energy",
    mac_energy_j: float = 0.0,
    streamed_words: float = 0.0,
    streamed_energy_j: float = 0.0,
    label: str = "layer",
    space: MapSpace = SPACES["ragged"],
    most_cycles: float = math.inf,
    hint: Mapping | None = None,
    rules: Rules = RULES["chipfit"],
    effort: float | None = None,
    tolerance: float = 0.0,
) -> Answer:
    """The best mapping of a nest onto a target.

    Args:
        loops: the nest.
        target: the chip.
        widths: bits of the tensors.
        objective: 'energy', 'latency', 'edp' (energy times latency) or 'dram' (traffic). Among equals the
            faster one, or the one of less energy, is taken.
        mac_energy_j: energy of all multiply-accumulates (J); counts for 'edp'.
        streamed_words: words that cross the main memory besides.
        streamed_energy_j: their energy (J).
        label: what to call the nest in an error message.
        space: which mappings are looked at.
        most_cycles: no mapping that takes longer.
        hint: a mapping that may be good: it speeds up the search and never changes the score.
        rules: what is counted.
        effort: candidates looked at for each way to hold tensors, after which the best so far is taken
            (default: EFFORT).
        tolerance: how far the score may lie above the best, as a fraction; `gap` says so.

    Raises:
        MappingError: an unknown objective, or even the smallest tiles do not fit, or nothing is as fast as
            asked.
    """
    if objective not in OBJECTIVES:
        raise MappingError(f"unknown objective '{objective}'{nearest(objective, OBJECTIVES)}")
    check_fits(label, target, widths)
    effort = EFFORT if effort is None else effort
    problem = _Problem(
        loops=loops,
        target=target,
        widths=widths,
        objective=objective,
        extra=(mac_energy_j, target.static_power_w / target.clock_hz, streamed_words, streamed_energy_j),
        label=label,
        most_cycles=most_cycles,
        rules=rules,
        tolerance=tolerance,
    )
    hint = None if hint is None or hint.parts else hint  # that of parts is for another target
    even = replace(space, uneven=False)
    found = problem.best(even, hint, effort)
    if space.uneven:
        found = improved(
            found,
            target,
            search=lambda parts, below: problem.divided(parts).search(even, None, effort, below),
            least=lambda parts, below: problem.least(parts, even, effort, below),
            taken=problem.words_of,
        )
    assert found.mapping is not None
    return Answer(
        mapping=found.mapping,
        score=found.score,
        gap=found.gap,
        cuts=found.cuts,
        priced=found.priced,
        mappings=mappings(loops, target, space),
    )


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """What is asked of every search for a nest; fields as the arguments of `find`.

    `extra` is what comes on top of the nest: energy of all multiply-accumulates (J), static energy of a
    cycle (J), words that cross the main memory besides, and their energy (J).
    """

    loops: Loops
    target: Target
    widths: Widths
    objective: str
    extra: tuple[float, float, float, float]
    label: str
    most_cycles: float
    rules: Rules
    tolerance: float

    def divided(self, parts: Parts) -> _Problem:
        """The same with memories in parts."""
        return replace(self, target=divided(self.target, parts))

    def least(self, parts: Parts, space: MapSpace, effort: float, below: float) -> float:
        """What no mapping with memories in parts is below, or the given score if that is less."""
        shared = sharing(self.target, parts)
        if shared is None or self.rules.fills or self.rules.slides:  # small tiles are there sooner
            return 0.0
        # Strides leave gaps in a tile that several smaller ones do not fetch: bounds count none.
        rules = replace(self.rules, skips=True)
        return replace(self, target=shared, rules=rules).search(space, None, effort, below).low

    def words_of(self, mapping: Mapping, stage: int) -> int:
        """Words that the tiles of a stage take in one instance."""
        level = divided(self.target, mapping.parts).levels[stage]
        elements = elements_of(self.loops, mapping.tiles[stage], geometry(self.loops, self.rules))
        bits = {"input": self.widths.input, "weight": self.widths.weight, "output": self.widths.partial_sum}
        return sum(words(elements[t], bits[t], level.word_bits) for t in mapping.holds[stage])

    def best(self, space: MapSpace, hint: Mapping | None, effort: float) -> Outcome:
        """The best mapping of a space, from a hint if there is one."""
        if hint is not None or space == EVEN:
            return self.search(space, hint, effort)
        found = [self.search(space, None, _GLANCE * effort)]
        if found[0].gap <= self.tolerance:
            return found[0]
        # It takes long: begin again from the best mapping at hand, of these or of those whose factors divide.
        with suppress(MappingError):
            found.append(self.search(EVEN, None, _GLANCE * effort))
        hint = min(found, key=lambda outcome: outcome.score).mapping
        found.append(self.search(space, hint, effort))
        return replace(
            found[-1],
            cuts=sum(outcome.cuts for outcome in found),
            priced=sum(outcome.priced for outcome in found),
        )

    def search(
        self, space: MapSpace, hint: Mapping | None, effort: float, below: float = math.inf
    ) -> Outcome:
        """The best mapping below a score, from a hint if there is one.

        Raises:
            MappingError: there is no mapping of any score.
        """
        loops, rules, parts = self.loops, self.rules, stages(self.target)
        shape = geometry(loops, rules)
        most = max(part.array.elements if part.array else 1 for part in parts)
        lattice = lattice_of(loops, shape, most, space, union=rules.union, slides=rules.slides)
        # Tiles fetched whole.
        whole = lattice_of(loops, shape, most, space) if rules.slides else lattice
        settings = settings_of(self.target, self.widths, rules, self._traffic_alone)
        goal = self._goal(settings[0].chip, lattice)
        exact = not rules.slides and not (rules.fills and goal.timed)
        settings = [setting.comparing(exact, goal.timed) for setting in settings]
        inner = _inner(settings, lattice)
        questions = [
            _Question(
                setting=setting,
                inner=inner[number],
                goal=goal,
                ways=_ways(setting.plan, lattice),
                effort=effort,
                slack=1 / (1 + self.tolerance),
                chip=setting.chip._replace(scalars=self._scalars),
                lattice=lattice,
                work=_work(number, len(setting.plan.last_stage), lattice.hull.shape[0]),
                found=_found(len(parts)),
                tables=scratch(len(parts), 1, shape)._replace(rows=whole.rows, columns=whole.columns),
            )
            for number, setting in enumerate(settings)
        ]
        best, score = self._best(questions, hint, below)
        if best is None and below == math.inf:
            raise self._none(space, shape)
        return Outcome(
            mapping=best,
            score=score,
            low=min(score * questions[0].slack, *(float(q.found.numbers[7]) for q in questions)),
            cuts=sum(int(q.found.numbers[1]) for q in questions),
            priced=sum(int(q.found.numbers[3]) for q in questions),
        )

    @property
    def _traffic_alone(self) -> bool:
        return self.objective == "dram"

    @property
    def _scalars(self) -> Floats:
        return np.array([0.0, 0.0, self.extra[2], 0.0] if self._traffic_alone else self.extra)

    def _goal(self, made: Chip, lattice: Lattice) -> Goal:
        # Rows that no product needs may be skipped where they lie between tiles.
        least_input = (
            lattice.bounds[[0, 1, 3]].prod() * lattice.rows[..., 0].min() * lattice.columns[..., 0].min()
        )
        amounts = (least_input, lattice.elements[1, -1], lattice.elements[2, -1])
        compulsory = sum(amount * per_element(made.per_word[0, t]) for t, amount in enumerate(amounts))
        kind, static_j = OBJECTIVES[self.objective], self.extra[1]
        return Goal(
            kind=kind,
            cap=float(self.most_cycles),
            static=0.0 if self._traffic_alone else float(static_j),
            streamed=float(self.extra[2]),
            bandwidth=float(made.price[3, 0]),
            tie=pricing.TIE / _unit(made) if self.objective == "latency" else 0.1 * pricing.TIE * _unit(made),
            words=float(compulsory),
            timed=kind != pricing.ENERGY or math.isfinite(self.most_cycles) or static_j > 0,
        )

    def _best(
        self, questions: Sequence[_Question], hint: Mapping | None, below: float
    ) -> tuple[Mapping | None, float]:
        """The best mapping below a score and its score, or none and that score.

        First the most promising mapping of each way to hold tensors, so that the proof is short.
        """
        best, score = hint, below
        if hint is not None:
            score = min(q.score_of(hint) for q in questions if hint.holds in ((), q.setting.holds))
        for exactly in (False, True):
            if exactly and best is not None and questions[0].goal.timed and _waits(best, questions):
                for question in questions:
                    question.fill_floor(self.target)
            for question in questions:
                reached = question.search(score, exactly=exactly)
                if reached < score:
                    best, score = question.mapping(stages(self.target)), reached
        return best, score

    def _none(self, space: MapSpace, shape: Ints) -> MappingError:
        if math.isfinite(self.most_cycles):
            return MappingError(
                f"layer '{self.label}': no mapping on {self.target.name} takes at most "
                f"{self.most_cycles:g} cycles"
            )
        return MappingError(why_none(self.label, self.loops, self.target, self.widths, space, shape))


def _waits(mapping: Mapping, questions: Sequence[_Question]) -> bool:
    """Whether a memory takes longer than the multiplications."""
    for question in questions:
        if mapping.holds in ((), question.setting.holds):
            question.score_of(mapping)
            out = question.found.out
            return bool(out[1] > out[3])
    return False


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """A target at given widths with tensors held in one way."""

    holds: Holds
    chip: Chip
    plan: Plan

    def comparing(self, exact: bool, timed: bool) -> _Setting:
        """The same for a search in which the costs of partial mappings are exact, or bounds."""
        complete = exact and (self.plan.complete or not timed)
        return replace(self, plan=self.plan._replace(complete=complete))

    @property
    def held_inside(self) -> tuple[bool, ...]:
        """Which tensors the memories of the innermost group hold."""
        inside = self.plan.stage_group == len(self.plan.last_stage) - 1
        return tuple(bool(held) for held in self.chip.holds[inside].ravel())


def _inner(settings: Sequence[_Setting], lattice: Lattice) -> list[Inner]:
    """What `bound.fill_inner` fills, for each setting; settings that hold the same inside share it."""
    known: dict[tuple[Any, ...], Inner] = {}
    found: list[Inner] = []
    for setting in settings:
        slopes, spared = np.zeros((3, 2)), np.zeros(2)
        groups = len(setting.plan.last_stage)
        if groups > 1:
            bound.fill_slopes(groups - 2, setting.plan, lattice, slopes, spared)
        key = (setting.held_inside, slopes[:, 1].tobytes(), float(spared[1]))
        if key not in known:
            known[key] = bound.inner_of(lattice)
            if groups > 1:
                bound.fill_inner(setting.plan, lattice, setting.chip, slopes, spared, known[key])
        found.append(known[key])
    return found


@functools.lru_cache(maxsize=1024)
def settings_of(target: Target, widths: Widths, rules: Rules, only_main_memory: bool) -> tuple[_Setting, ...]:
    """All ways to hold tensors; priced by traffic, with energy deciding among equals, if so asked."""
    found: list[_Setting] = []
    for holds in ways_to_hold(target):
        made = chip(target, widths, holds=holds, rules=rules)
        if only_main_memory:
            price = made.price.copy()
            price[:3] *= 0.1 * pricing.TIE / _unit(made)
            price[:2, 0] += 1.0
            made = made._replace(price=price)
        found.append(_Setting(holds=holds, chip=made, plan=plan_of(target, made, holds)))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A search with tensors held in one way."""

    setting: _Setting
    goal: Goal
    chip: Chip
    lattice: Lattice
    inner: Inner
    ways: tuple[Ints, Ints]
    effort: float
    slack: float
    work: Work
    found: Found
    tables: Tables

    def score_of(self, mapping: Mapping) -> float:
        """The score of a mapping; infinite if it does not fit."""
        order = np.array([TENSORS.index(t) for t in mapping.stationary], np.int64)
        return self._score(np.array(mapping.tiles, np.int64), mapping.factors, order)

    def _score(self, tiles: Ints, factors: Ints, order: Ints) -> float:
        tables, found = scratch(len(factors), 1, self.tables.shape), self.found
        tables.tiles[:, 0, :] = tiles.T
        tables.factors[:] = factors
        prepare(self.lattice.bounds, np.ones(8, np.int64), tables)
        if not count(np.zeros(8, np.int64), order, tables, self.chip, found.accesses, found.out):
            return math.inf
        return float(pricing.score(found.out[0], found.out[1], self.goal))

    def fill_floor(self, target: Target) -> None:
        """What memories need at the least for each block of the innermost array.

        Their words are bounded as energy is, with cycles for prices.
        """
        lattice, plan, made = self.lattice, self.setting.plan, self.setting.chip
        groups, tiles = len(plan.last_stage), len(lattice.hull)
        if groups == 1:
            return
        work, inner = _work(-1, groups, tiles), bound.inner_of(lattice)
        slopes, spared = np.zeros((3, 2)), np.zeros(2)
        for stage in np.flatnonzero(made.price[3]):
            price = np.zeros_like(made.price)
            instances = plan.sides[: plan.stage_group[stage]].prod()
            price[:2, stage] = 1 / (made.price[3, stage] * instances)
            price[3] = made.price[3]
            timed = plan_of(target, made._replace(price=price), self.setting.holds)
            bound.fill_slopes(groups - 2, timed, lattice, slopes, spared)
            bound.fill_inner(timed, lattice, self.chip, slopes, spared, inner)
            bound.prepare_bounds(timed, lattice, self.chip, *self.ways, inner, False, work)
            beside = self.goal.streamed * price[0, 0]
            np.maximum(self.work.floor, work.least[groups - 2] + beside, out=self.work.floor)

    def search(self, limit: float, *, exactly: bool) -> float:
        """The least score below a limit, or the limit; if not exactly, after the first few blocks."""
        plan, lattice, work = self.setting.plan, self.lattice, self.work
        ways, many = self.ways
        if len(plan.last_stage) == 1:
            return self._only_main_memory(ways[0, : many[0]], limit)
        if not exactly:
            work.floor[:] = 0.0
            bound.prepare_bounds(plan, lattice, self.chip, ways, many, self.inner, self.goal.timed, work)
        elif self.found.numbers[4] >= limit * self.slack:
            return limit
        groups = len(plan.last_stage)
        inside = ways[groups - 1, : many[groups - 1]]
        cost, pending = np.zeros((len(inside), 2)), np.zeros((len(inside), pricing.WAITING))
        pricing.price_inside(plan, lattice, inside, pricing.cut(), cost, pending)
        base = float(self.chip.scalars[0] + self.chip.scalars[3])
        return float(
            search.best_first(
                plan, lattice, self.chip, self.tables, self.goal, base, inside, cost,
                pending, ways, many, limit, self.slack, 0 if exactly else _PROBES, self.effort, self.found,
                work, pricing.cut(), labels.steps_of(groups, int(plan.sides[groups - 2, 0])),
            )
        )  # fmt: skip

    def _only_main_memory(self, ways: Ints, limit: float) -> float:
        """The same where nothing but the array is to be chosen."""
        best, found, bounds = limit, self.found, self.lattice.bounds
        found.tiles[:] = 1
        found.tiles[0] = bounds
        for way in ways:
            if (self.setting.plan.loopable[0] | (way >= bounds)).all():
                value = self._score(found.tiles, way[None], found.order)
                if value < best:
                    best, found.factors[0] = value, way
        return best

    def mapping(self, parts: tuple[Stage, ...]) -> Mapping:
        """What the last search found."""
        sides = [
            split(tuple(int(f) for f in row), part.array)
            for row, part in zip(self.found.factors, parts, strict=True)
        ]
        return Mapping(
            tiles=tuple(tuple(int(v) for v in row) for row in self.found.tiles),
            rows=tuple(rows for rows, _ in sides),
            columns=tuple(columns for _, columns in sides),
            stationary=tuple(TENSORS[t] for t in self.found.stationary),
            holds=self.setting.holds,
        )


def _unit(made: Chip) -> float:
    """The energy of a read of the main memory (J), or of the dearest access: what ties are scaled by."""
    return float(made.price[0, 0] or made.price.max() or 1.0)


_ONES = (1,) * len(DIMENSIONS)


def split(factors: tuple[int, ...], array: Array | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Processing elements along rows and along columns that multiply to `factors`."""
    if array is None:
        return _ONES, _ONES
    choices: list[list[tuple[int, int]]] = []
    for name, factor in zip(DIMENSIONS, factors, strict=True):
        cuts = [(r, factor // r) for r in range(1, factor + 1) if factor % r == 0]
        choices.append(
            [
                (r, c)
                for r, c in cuts
                if (r == 1 or name in array.row_dimensions) and (c == 1 or name in array.column_dimensions)
            ]
        )
    for choice in itertools.product(*choices):
        rows, columns = tuple(r for r, _ in choice), tuple(c for _, c in choice)
        if math.prod(rows) <= array.rows and math.prod(columns) <= array.columns:
            return rows, columns
    raise AssertionError(f"{factors} do not fit {array}")


_MOST_WAYS = 20_000


def _ways(plan: Plan, lattice: Lattice) -> tuple[Ints, Ints]:
    """Ways to unroll over the array of each group (but the one that is searched), and how many."""
    groups = len(plan.last_stage)
    many = np.ones(groups, np.int64)
    listed: dict[int, Ints] = {}
    for g in range(groups):
        if g == groups - 2 or plan.sides[g].prod() == 1:
            continue
        ways = np.ones((_MOST_WAYS, 8), np.int64)
        reach = np.zeros((2, int(plan.sides[g, 0]) + 1), np.bool_)
        many[g] = pricing.list_ways(g, plan, lattice, np.ones(8, np.int64), reach, ways)
        if many[g] < 0:
            raise MappingError(
                f"an array of {plan.sides[g].prod()} elements may be unrolled in more than {_MOST_WAYS} "
                "ways: say along which dimensions"
            )
        listed[g] = ways[: many[g]]
    ways = np.ones((groups, int(many.max()), 8), np.int64)
    for g, found in listed.items():
        ways[g, : len(found)] = found
    return ways, many


_LISTED, _LABELS = 4096, 16384


_scratch = threading.local()


def _work(number: int, groups: int, tiles: int) -> Work:
    """Scratch for one of several searches, which is used again for the next nest."""
    pool: dict[tuple[str, int], np.ndarray] = _scratch.__dict__.setdefault("pool", {})

    def taken(name: str, shape: tuple[int, ...], kind: type = float, own: bool = True) -> np.ndarray:
        size, key = math.prod(shape), (name, number if own else 0)
        if key not in pool or pool[key].size < size:
            pool[key] = np.zeros(size, kind)
        return pool[key][:size].reshape(shape)

    return Work(
        least=taken("least", (groups, tiles)),
        within=taken("within", (groups, bound.CLASSES, tiles)),
        rest=taken("rest", (groups, tiles)),
        first=taken("first", (3, tiles)),
        words=taken("words", (tiles,)),
        slices=taken("slices", (tiles,), own=False),
        heap=taken("heap", (tiles,), np.int64, own=False),
        keys=taken("keys", (tiles,), own=False),
        labels=taken("labels", (groups, _LABELS, labels.LABEL), own=False),
        label_at=taken("label_at", (groups, _LABELS, 12), np.int64, own=False),
        listed=taken("listed", (bound.CLASSES, _LISTED, 16), own=False),
        listed_at=taken("listed_at", (bound.CLASSES, _LISTED, 11), np.int64, own=False),
        seen=taken("seen", (groups, tiles if groups > 3 else 1, 8, 9), own=False),
        values=np.zeros(9),
        slopes=np.zeros((3, 2)),
        spared=np.zeros(2),
        fans=taken("fans", (groups, tiles)),
        floor=taken("floor", (tiles,)),
    )


def _found(stages: int) -> Found:
    return Found(
        tiles=np.ones((stages + 1, 8), np.int64),
        factors=np.ones((stages, 8), np.int64),
        stationary=np.zeros(stages, np.int64),
        numbers=np.array([0.0] * 7 + [np.inf]),
        chains=np.zeros(8, np.int64),
        order=np.zeros(stages, np.int64),
        accesses=np.zeros((3, stages, 3)),
        out=np.zeros(4 + stages),
        indices=np.zeros((8, stages + 1), np.int64),
    )

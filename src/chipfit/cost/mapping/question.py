"""One search: the best mapping of a nest with tensors held in one way."""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import dataclass

import numpy as np

from chipfit.cost.mapping import bound, labels, pricing, search
from chipfit.cost.mapping.bound import Inner, Work
from chipfit.cost.mapping.evaluate import scratch
from chipfit.cost.mapping.labels import Found
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import Ints, Mapping
from chipfit.cost.mapping.nest import Chip, Tables, count, prepare
from chipfit.cost.mapping.plan import Stage, plan_of
from chipfit.cost.mapping.pricing import Goal
from chipfit.cost.mapping.setting import Setting
from chipfit.hardware.target import TENSORS, Array, Target
from chipfit.workload.network import DIMENSIONS

#: Blocks of each way to hold tensors that are looked at before the proof.
_PROBES = 4


@dataclass(frozen=True, kw_only=True)
class Question:
    """A search with tensors held in one way."""

    setting: Setting
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
        work, inner = work_of(-1, groups, tiles), bound.inner_of(lattice)
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


_LISTED, _LABELS = 4096, 16384


_scratch = threading.local()


def work_of(number: int, groups: int, tiles: int) -> Work:
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


def found_of(stages: int) -> Found:
    """Room for what a search finds on a target of so many stages."""
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

"""All that is asked of one nest at once: the best mapping of each case, with tensors held in every way."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chipfit.cost.mapping import bound, labels, pricing, search, walk
from chipfit.cost.mapping.bound import Inner, Work
from chipfit.cost.mapping.evaluate import scratch
from chipfit.cost.mapping.labels import Found
from chipfit.cost.mapping.lanes import Lanes, fill_inside
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import OUTPUT, Floats, Ints, Mapping
from chipfit.cost.mapping.nest import Tables, count, prepare
from chipfit.cost.mapping.plan import Stage, plan_of
from chipfit.cost.mapping.pricing import Goal
from chipfit.cost.mapping.setting import Setting
from chipfit.hardware.target import TENSORS, Array, Target
from chipfit.workload.network import DIMENSIONS

#: Blocks of each way to hold tensors that are looked at before the proof.
_PROBES = 4


@dataclass(frozen=True, kw_only=True)
class Question:
    """A lane for every case and every way to hold tensors.

    `settings` are those of each case, `scalars` as `Chip.scalars`. `lanes` and `work` are for groups of
    memories; where there is only the main memory, they are not used.
    """

    settings: Sequence[Sequence[Setting]]
    goals: Sequence[Goal]
    scalars: Sequence[Floats]
    lattice: Lattice
    ways: tuple[Ints, Ints]
    tables: Tables
    effort: float
    slack: float
    lanes: Lanes
    inner: Inner | None
    work: Work
    found: Found

    @property
    def groups(self) -> int:
        """Groups of memories."""
        return len(self.settings[0][0].plan.last_stage)

    def score_of(self, case: int, mapping: Mapping) -> float:
        """The score of a mapping in a case; infinite if it does not fit."""
        order = np.array([TENSORS.index(t) for t in mapping.stationary], np.int64)
        settings = [s for s in self.settings[case] if mapping.holds in ((), s.holds)]
        tiles = np.array(mapping.tiles, np.int64)
        return min(self._score(case, setting, tiles, mapping.factors, order) for setting in settings)

    def _score(self, case: int, setting: Setting, tiles: Ints, factors: Ints, order: Ints) -> float:
        tables, found = scratch(len(factors), 1, self.tables.shape), self.found
        chip = setting.chip._replace(scalars=self.scalars[case])
        tables.tiles[:, 0, :] = tiles.T
        tables.factors[:] = factors
        prepare(self.lattice.bounds, np.ones(8, np.int64), tables)
        if not count(np.zeros(8, np.int64), order, tables, chip, found.accesses, found.out):
            return math.inf
        return float(pricing.score(found.out[0], found.out[1], self.goals[case]))

    def waits(self, case: int, mapping: Mapping) -> bool:
        """Whether in a mapping a memory takes longer than the multiplications."""
        self.score_of(case, mapping)
        return bool(self.found.out[1] > self.found.out[3])

    def search(self, target: Target) -> None:
        """Fill `found`: first the most promising mappings, so that the proof is short."""
        if self.groups == 1:
            self._only_main_memory()
            return
        lanes, found = self.lanes, self.found
        on = np.ones(len(lanes.case), np.bool_)
        self._best_first(on, _PROBES)
        if lanes.timed:
            known = [case for case, lane in enumerate(found.lane) if lane >= 0]
            if any(self.waits(case, self.mapping(case, None)) for case in known):
                self._fill_floor(target)
        if self.groups > 3 and lanes.complete.any():  # what is seen of a lane is kept for it alone
            for lane in range(len(on)):
                self._best_first(np.arange(len(on)) == lane, 0)
        else:
            self._best_first(on, 0)

    def _best_first(self, on: np.ndarray, probes: int) -> None:
        lanes, plan, work = self.lanes, self.settings[0][0].plan, self.work
        assert self.inner is not None, "there are groups of memories"
        ways, many = self.ways
        search.best_first(
            lanes, self.lattice, self.inner, self.tables, ways[-1, : many[-1]], ways, many, on, self.slack,
            probes, self.effort, self.found, work, walk.walk_of(len(lanes.case)), pricing.cut(),
            labels.steps_of(self.groups, int(plan.sides[self.groups - 2, 0])),
            np.zeros((3, 2)), np.zeros(3), np.zeros(len(self.found.reached)),
        )  # fmt: skip

    def _fill_floor(self, target: Target) -> None:
        """What memories need at the least for each block of the innermost array.

        Their words are bounded as energy is, with cycles for prices.
        """
        lattice, groups, made = self.lattice, self.groups, self.settings[0][0]
        work = work_of("floor", groups, lattice, len(self.lanes.case))
        for stage in np.flatnonzero(made.chip.price[3]):
            price = np.zeros_like(made.chip.price)
            instances = made.plan.sides[: made.plan.stage_group[stage]].prod()
            price[:2, stage] = 1 / (made.chip.price[3, stage] * instances)
            price[3] = made.chip.price[3]
            timed = [
                [
                    Setting(
                        holds=one.holds,
                        chip=one.chip,
                        plan=plan_of(target, one.chip._replace(price=price), one.holds),
                    )
                    for one in settings
                ]
                for settings in self.settings
            ]
            lanes = lanes_of(timed, self.goals, self.scalars, self.ways, lattice)
            prepared(lanes, lattice, self.ways, False, work)
            always = lanes.streamed * price[0, 0] + lanes.whole
            floor = (work.least + always[:, None]) * (1 - walk.LOOSE)
            np.maximum(self.work.floor, floor, out=self.work.floor)

    def _only_main_memory(self) -> None:
        """The same where nothing but the array is to be chosen."""
        found, bounds, (ways, many) = self.found, self.lattice.bounds, self.ways
        tiles = np.ones((2, 8), np.int64)
        tiles[0] = bounds
        for case, (setting, *_) in enumerate(self.settings):
            for way in ways[0, : many[0]]:
                if (setting.plan.loopable[0] | (way >= bounds)).all():
                    value = self._score(case, setting, tiles, way[None], found.order)
                    if value < found.reached[case]:
                        found.reached[case], found.lane[case] = value, case
                        found.tiles[case], found.factors[case, 0] = tiles, way

    def mapping(self, case: int, parts: Sequence[Stage] | None) -> Mapping:
        """What the search found for a case; without stages, elements are not split among rows and columns."""
        found, cases = self.found, len(self.settings)
        sides = [
            (tuple(int(f) for f in row), _ONES)
            if parts is None
            else split(tuple(int(f) for f in row), parts[i].array)
            for i, row in enumerate(found.factors[case])
        ]
        return Mapping(
            tiles=tuple(tuple(int(v) for v in row) for row in found.tiles[case]),
            rows=tuple(rows for rows, _ in sides),
            columns=tuple(columns for _, columns in sides),
            stationary=tuple(TENSORS[t] for t in found.stationary[case]),
            holds=self.settings[case][int(found.lane[case]) // cases].holds,
        )


def ask(
    settings: Sequence[Sequence[Setting]],
    goals: Sequence[Goal],
    scalars: Sequence[Floats],
    lattice: Lattice,
    ways: tuple[Ints, Ints],
    tables: Tables,
    *,
    effort: float,
    slack: float,
    limits: Sequence[float],
) -> Question:
    """A question with its bounds worked out; only scores below the limit of a case are of interest."""
    groups, stages = len(settings[0][0].plan.last_stage), len(tables.factors)
    lanes = lanes_of(settings, goals, scalars, ways, lattice)
    work = work_of("work", groups, lattice, len(lanes.case))
    inner = None
    if groups > 1:
        lanes, inner = prepared(lanes, lattice, ways, lanes.timed, work)
        if lanes.timed:
            work.floor[:] = 0.0
    found = found_of(len(settings), len(lanes.case), stages)
    found.reached[:] = limits
    found.best[:] = found.reached * slack
    return Question(
        settings=settings, goals=goals, scalars=scalars, lattice=lattice, ways=ways, tables=tables,
        effort=effort, slack=slack, lanes=lanes, inner=inner, work=work, found=found,
    )  # fmt: skip


def lanes_of(
    settings: Sequence[Sequence[Setting]],
    goals: Sequence[Goal],
    scalars: Sequence[Floats],
    ways: tuple[Ints, Ints],
    lattice: Lattice,
) -> Lanes:
    """Lanes: all cases with tensors held in the first way, then in the second, and so on."""
    order = [settings[case][way] for way in range(len(settings[0])) for case in range(len(settings))]
    plan, chip, goal = order[0].plan, order[0].chip, goals[0]
    links = max(len(one.plan.link) for one in order)

    def plans(name: str, fill: float = 0) -> np.ndarray:
        arrays: list[np.ndarray] = [getattr(one.plan, name) for one in order]
        table = np.full((len(order), links, *arrays[0].shape[1:]), fill, arrays[0].dtype)
        for row, array in zip(table, arrays, strict=True):
            row[: len(array)] = array
        return table

    per_case = np.arange(len(order)) % len(settings)
    kept = np.array(scalars)[per_case]
    many, lanes = ways[1], len(order)
    made = Lanes(
        stage_group=plan.stage_group,
        last_stage=plan.last_stage,
        sides=plan.sides,
        may=plan.may,
        loopable=plan.loopable,
        allowed=plan.allowed,
        stays=plan.stays,
        most_copies=plan.most_copies,
        drains=plan.drains,
        link=plans("link", -1),
        price=plans("price"),
        main_words=plans("main_words"),
        fans=plans("fans", 1),
        pending=np.array([one.plan.pending for one in order]),
        discount=plans("discount", 1),
        hops=np.array([one.plan.hops for one in order]),
        speed=plans("speed"),
        complete=np.array([one.plan.complete for one in order]),
        tied=chip.tied,
        capacity=chip.capacity,
        access=chip.price,
        union=chip.union,
        draining=chip.drains,
        slides=chip.slides,
        fills=chip.fills,
        holds=np.array([one.chip.holds for one in order]),
        holders=np.array([one.chip.holders for one in order]),
        per_word=np.array([one.chip.per_word for one in order]),
        scalars=kept,
        kind=goal.kind,
        static=goal.static,
        bandwidth=goal.bandwidth,
        tie=goal.tie,
        timed=any(one.timed for one in goals),
        cap=np.array([one.cap for one in goals])[per_case],
        streamed=np.array([one.streamed for one in goals])[per_case],
        words=np.array([one.words for one in goals])[per_case],
        case=per_case,
        base=kept[:, 0] + kept[:, 3],
        inside=np.zeros((lanes, int(many[-1]), 2)),
        waiting=np.zeros((lanes, int(many[-1]), pricing.WAITING)),
        least=np.zeros(lanes),
        whole=np.zeros(lanes),
        saved=np.zeros(lanes),
        fastest=1.0,
        even=even(lattice),
        steady=False,
    )
    if len(plan.last_stage) == 1:
        return made
    return made._replace(fastest=fill_inside(made, lattice, ways[0][-1, : many[-1]], pricing.cut()))


def even(lattice: Lattice) -> bool:
    """Whether all tiles divide their bounds."""
    return all(
        (lattice.rounds[d, :many] * lattice.size[d, :many] == lattice.bounds[d]).all()
        for d, many in enumerate(lattice.many)
    )


def prepared(
    lanes: Lanes, lattice: Lattice, ways: tuple[Ints, Ints], timed: bool, work: Work
) -> tuple[Lanes, Inner]:
    """Work out all bounds; returns the lanes, which say now whether they are steady."""
    bound.fill_slopes(lanes, lattice, work)
    taken, saved = work.slopes[-1, :, OUTPUT, 1], work.spared[-1, :, 1] + lanes.saved
    lanes = lanes._replace(steady=lanes.even and bool((taken >= (1 - 1e-9) * saved).all()))
    inner = inner_of(lanes, lattice, work)
    bound.fill_inner(lanes, lattice, work, inner)
    bound.prepare_bounds(lanes, lattice, *ways, inner, timed, work)
    return lanes, inner


def inner_of(lanes: Lanes, lattice: Lattice, work: Work) -> Inner:
    """Room for what depends on the innermost memory: one row for lanes that are alike in it."""
    tiles, count = len(lattice.hull), len(lanes.case)
    inside = lanes.stage_group == len(lanes.last_stage) - 1
    kinds = (0, 1, 3)
    rooms = np.where(lanes.holds[:, inside], lanes.per_word[:, inside][..., kinds], 0.0).reshape(count, -1)
    saved = (work.spared[-1, :, 1] + lanes.saved)[:, None]
    alike = np.hstack([rooms, work.slopes[-1, :, :, 1], saved])
    _, lane, of_lane = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    rows = len(lane)
    return Inner(
        of_lane=of_lane.ravel().astype(np.int64),
        lane=lane.astype(np.int64),
        fits=np.empty((rows, tiles)),
        takes=np.empty((3, rows, tiles)),
        most=np.empty(tiles),
        part=np.empty(tiles),
        least=np.empty(lattice.size.shape),
        prices=np.empty(4),
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


_LISTED, _LABELS, _PAST = 4096, 16384, 16384


_scratch = threading.local()


def work_of(number: str, groups: int, lattice: Lattice, lanes: int) -> Work:
    """Scratch for so many lanes, which is used again for the next nest."""
    pool: dict[tuple[str, str], np.ndarray] = _scratch.__dict__.setdefault("pool", {})
    tiles = lattice.hull.shape[0]
    steps, further = max(groups - 1, 1), max(groups - 2, 1)

    def taken(name: str, shape: tuple[int, ...], kind: type = float, own: bool = False) -> np.ndarray:
        size, key = math.prod(shape), (name, number if own else "")
        if key not in pool or pool[key].size < size:
            pool[key] = np.zeros(size, kind)
        return pool[key][:size].reshape(shape)

    def own(name: str, *shape: int) -> np.ndarray:
        return taken(name, shape, own=True)

    return Work(
        least=own("least", lanes, tiles),
        lowest=np.zeros(lanes),
        within=own("within", further, bound.CLASSES, lanes, tiles),
        rest=own("rest", further, lanes, tiles),
        roomy=taken("roomy", (tiles,), np.bool_, own=True),
        first=own("first", 3, lanes, tiles),
        words=own("words", lanes, tiles),
        floor=own("floor", lanes, tiles),
        slopes=np.zeros((steps, lanes, 3, 2)),
        spared=np.zeros((steps, lanes, 2)),
        fans=taken("fans", (groups, tiles), own=True),
        alone=own("alone", 3, tiles),
        each=own("each", 3, tiles),
        sums=own("sums", tiles),
        across=own("across", tiles, lanes),
        best=own("best", lanes),
        step=own("step", lanes, tiles),
        slices=own("slices", tiles),
        cycles=taken("cycles", (tiles,)),
        heap=taken("heap", (tiles,), np.int64),
        keys=taken("keys", (tiles,)),
        labels=taken("labels", (groups, _LABELS, labels.LABEL)),
        label_at=taken("label_at", (groups, _LABELS, 12), np.int64),
        order=taken("order", (groups, _LABELS), np.int64),
        listed=taken("listed", (bound.CLASSES, _LISTED, 16)),
        listed_at=taken("listed_at", (bound.CLASSES, _LISTED, 11), np.int64),
        seen=taken("seen", (groups, tiles if groups > 3 else 1, 8, 9)),
        values=np.zeros(9),
        past=taken("past", (groups, _PAST if groups > 3 else 1, labels.LABEL + 2)),
    )


def found_of(cases: int, lanes: int, stages: int) -> Found:
    """Room for what a search finds on a target of so many stages."""
    return Found(
        tiles=np.ones((cases, stages + 1, 8), np.int64),
        factors=np.ones((cases, stages, 8), np.int64),
        stationary=np.zeros((cases, stages), np.int64),
        indices=np.zeros((cases, 8, stages + 1), np.int64),
        lane=np.full(cases, -1, np.int64),
        reached=np.full(cases, np.inf),
        best=np.full(cases, np.inf),
        numbers=np.array([[0.0] * 7 + [np.inf]] * lanes),
        chains=np.zeros(8, np.int64),
        order=np.zeros(stages, np.int64),
        accesses=np.zeros((3, stages, 3)),
        out=np.zeros(4 + stages),
        picks=np.zeros((8, stages + 1), np.int64),
    )

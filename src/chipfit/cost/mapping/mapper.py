"""How a loop nest runs on a target: mappings, their exact counts, and the search for a good one."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chipfit.cost.mapping.nest import (
    DRAM,
    EDP,
    ENERGY,
    LATENCY,
    MAX_CHAINS,
    MAX_SIZES,
    Chip,
    Ints,
    Tables,
    better,
    count,
    cut_all,
    descend,
    prepare,
)
from chipfit.errors import MappingError, nearest
from chipfit.hardware.target import TENSORS, Array, Target
from chipfit.workload.network import DIMENSIONS, Loops

#: Dimensions in the order in which a search changes them.
_TURNS = (2, 3, 4, 5, 6, 7, 1, 0)
_ALL = np.arange(8)

OBJECTIVES = {"energy": ENERGY, "latency": LATENCY, "edp": EDP, "dram": DRAM}


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Bits of one element of each tensor of a nest."""

    input: int
    weight: int
    output: int
    partial_sum: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A memory and the array below it. One that is tied has no loops of its own."""

    name: str
    array: Array | None
    tied: bool


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """How a nest runs on the stages of a target.

    `tiles[stage][d]` is the extent along dimension d that one instance holds, the datapath's ones
    last; `rows[stage][d]` and `columns[stage][d]` are the processing elements along d below it;
    `stationary[stage]` is the tensor whose tile stays longest there. See `nest` for the rules.
    """

    tiles: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...]
    stationary: tuple[str, ...]

    @property
    def factors(self) -> Ints:
        """Processing elements by stage and dimension."""
        return np.array(self.rows, np.int64) * np.array(self.columns, np.int64)

    def iterations(self, stage: int, dimension: int) -> int:
        """Iterations of a loop of a stage in a full tile."""
        side = self.rows[stage][dimension] * self.columns[stage][dimension]
        return -(-self.tiles[stage][dimension] // (self.tiles[stage + 1][dimension] * side))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a mapping takes. Accesses are words by stage and tensor (input, weight, output)."""

    reads: np.ndarray
    writes: np.ndarray
    hops: np.ndarray
    stage_cycles: np.ndarray
    energy_j: float
    cycles: float
    compute_cycles: float
    dram_words: float


def stages(target: Target) -> tuple[Stage, ...]:
    """The stages of a target, from the main memory inwards.

    Memories side by side, of different tensors with nothing between them, share one tile: all but the
    last are tied.
    """
    arrays = {array.below: array for array in target.arrays}
    found: list[Stage] = []
    for index, level in enumerate(target.levels):
        array = arrays.get(level.name)
        last = index == len(target.levels) - 1
        tied = index > 0 and array is None and not last
        tied = tied and not set(level.holds) & set(target.levels[index + 1].holds)
        found.append(Stage(name=level.name, array=array, tied=tied))
    return tuple(found)


def chip(
    target: Target,
    widths: Widths,
    mac_energy_j: float = 0.0,
    streamed_words: float = 0.0,
    streamed_energy_j: float = 0.0,
) -> Chip:
    """A target for operands of these widths, in the arrays of the compiled functions."""
    parts = stages(target)
    n = len(parts)
    holds = np.zeros((n, 3), np.bool_)
    per_word = np.ones((n, 4))
    capacity = np.full(n, np.inf)
    price = np.zeros((4, n))
    bits = (widths.input, widths.weight, widths.output, widths.partial_sum)
    for i, (stage, level) in enumerate(zip(parts, target.levels, strict=True)):
        if stage.array is not None:
            price[2, i] = stage.array.hop_energy_j
        holds[i] = [i == 0 or tensor in level.holds for tensor in TENSORS]
        word = level.word_bits
        per_word[i] = [word // b if b <= word else -math.ceil(b / word) for b in bits]
        if level.size_bits is not None:
            capacity[i] = level.size_bits // word
        price[0, i] = level.read_energy_j
        price[1, i] = level.write_energy_j
        if level.bandwidth_bits_per_cycle is not None:
            price[3, i] = level.bandwidth_bits_per_cycle / word
    holders = np.full((3, n + 2), -1, np.int64)
    for t in range(3):
        chain = np.flatnonzero(holds[:, t])
        holders[t, : len(chain)] = chain
    return Chip(
        tied=np.array([stage.tied for stage in parts]),
        holds=holds,
        holders=holders,
        per_word=per_word,
        capacity=capacity,
        price=price,
        scalars=np.array(
            [mac_energy_j, target.static_power_w / target.clock_hz, streamed_words, streamed_energy_j]
        ),
    )


def scratch(stages: int, chains: int) -> Tables:
    """Empty tables for so many chains a dimension."""
    sizes = min(MAX_SIZES, chains * (2 * stages + 1))
    return Tables(
        tiles=np.ones((8, chains, stages + 1), np.int64),
        factors=np.ones((stages, 8), np.int64),
        iterations=np.ones((8, chains, stages), np.int64),
        counts=np.ones((8, chains, stages + 1, stages + 1)),
        spans=np.zeros((8, chains, stages + 1, 2), np.int64),
        rows=np.zeros((sizes, sizes, 2)),
        columns=np.zeros((sizes, sizes, 2)),
        sizes=np.zeros((4, sizes), np.int64),
        used=np.zeros(4, np.int64),
        work=np.zeros((chains, stages + 1), np.int64),
        split=np.zeros(8, np.int64),
    )


def evaluate(
    mapping: Mapping,
    loops: Loops,
    target: Target,
    widths: Widths,
    *,
    mac_energy_j: float = 0.0,
    streamed_words: float = 0.0,
    streamed_energy_j: float = 0.0,
) -> Counts | None:
    """Exact accesses, energy and cycles of a mapping; None if a tile does not fit its memory.

    Args:
        mapping: tiles, unrolling and loop orders.
        loops: the nest.
        target: the chip.
        widths: bits of the tensors.
        mac_energy_j: energy of all multiply-accumulates (J).
        streamed_words: words that cross the main memory besides.
        streamed_energy_j: their energy (J).
    """
    made = chip(target, widths, mac_energy_j, streamed_words, streamed_energy_j)
    n = len(made.capacity)
    tables = scratch(n, 1)
    tables.tiles[:, 0, :] = np.array(mapping.tiles, np.int64).T
    tables.factors[:] = mapping.factors
    prepare(np.array(loops.bounds, np.int64), geometry(loops), np.ones(8, np.int64), tables)
    accesses = np.zeros((3, n, 3))
    out = np.zeros(4 + n)
    order = np.array([TENSORS.index(t) for t in mapping.stationary], np.int64)
    fits = count(np.zeros(8, np.int64), order, tables, made, accesses, out)
    if not fits:
        return None
    return Counts(
        reads=accesses[0],
        writes=accesses[1],
        hops=accesses[2],
        stage_cycles=out[4:],
        energy_j=float(out[0]),
        cycles=float(out[1]),
        dram_words=float(out[2]),
        compute_cycles=float(out[3]),
    )


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
    starts: int = 3,
    polished: int = 8,
    budget: int = 60_000,
) -> Mapping:
    """A good mapping of a nest onto a target.

    Args:
        loops: the nest.
        target: the chip.
        widths: bits of the tensors.
        objective: 'energy', 'latency', 'edp' (energy times latency) or 'dram' (traffic).
        mac_energy_j: energy of all multiply-accumulates (J); counts for 'edp'.
        streamed_words: words that cross the main memory besides.
        streamed_energy_j: their energy (J).
        label: what to call the nest in an error message.
        starts: starts of each unrolling.
        polished: unrollings that are improved by changing two dimensions at once.
        budget: mappings evaluated after which no further one is.

    Raises:
        MappingError: an unknown objective, or even the smallest tiles do not fit.
    """
    if objective not in OBJECTIVES:
        raise MappingError(f"unknown objective '{objective}'{nearest(objective, OBJECTIVES)}")
    check_fits(label, target, widths)
    parts = stages(target)
    options = unrollings(loops.bounds, tuple(part.array for part in parts))
    place, best = _search(
        np.array(loops.bounds, np.int64),
        geometry(loops),
        [np.array(o.rows, np.int64) * np.array(o.columns, np.int64) for o in options],
        chip(target, widths, mac_energy_j, streamed_words, streamed_energy_j),
        OBJECTIVES[objective],
        starts=starts,
        polished=polished,
        budget=budget,
    )
    return Mapping(
        tiles=tuple(tuple(int(v) for v in row) for row in best.tiles.T),
        rows=options[place].rows,
        columns=options[place].columns,
        stationary=tuple(TENSORS[i] for i in best.order),
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A mapping of one unrolling, and two numbers of which less is better, the first above all.

    pick: chain of each dimension (8). order: stationary tensor by stage (stages). tiles: extents of the
    chains (8, stages + 1).
    """

    score: tuple[float, float]
    pick: Ints
    order: Ints
    tiles: Ints


def _search(
    bounds: Ints,
    shape: Ints,
    factors: Sequence[Ints],
    made: Chip,
    objective: int,
    *,
    starts: int,
    polished: int,
    budget: int,
) -> tuple[int, _Found]:
    """The best unrolling, by its place in `factors`, and the best mapping found for it.

    From the smallest tiles in several loop orders, change what helps. Then improve the best `polished`
    unrollings by changing two dimensions at once, while the budget lasts.

    Args:
        bounds: of the eight dimensions.
        shape: [row | column, stride | dilation | padding] (2, 3).
        factors: processing elements of each unrolling, by stage and dimension (stages, 8).
        made: the target.
        objective: ENERGY, LATENCY, EDP or DRAM.
        starts: starts of each unrolling.
        polished: how many unrollings are improved further.
        budget: mappings evaluated after which no further unrolling is improved.
    """
    n = len(made.capacity)
    tables, chains = scratch(n, MAX_CHAINS), np.zeros(8, np.int64)
    accesses, out, score, reached = np.zeros((3, n, 3)), np.zeros(4 + n), np.zeros(2), np.zeros(2)
    turns = np.array([d for d in _TURNS if bounds[d] > 1], np.int64)
    found: dict[int, _Found] = {}
    evaluations = 0

    def cut(place: int) -> bool:
        tables.factors[:] = factors[place]
        if not cut_all(bounds, made.tied, chains, tables):
            return False
        prepare(bounds, shape, chains, tables)
        return True

    def improve(place: int, pick: Ints, order: Ints, *, pairs: bool) -> int:
        tried = descend(
            pick, order, reached, chains, turns, pairs, objective, tables, made, accesses, out, score
        )
        if reached[0] < np.inf and (place not in found or better(reached, found[place].score)):
            tiles = tables.tiles[_ALL, pick]
            found[place] = _Found(score=(reached[0], reached[1]), pick=pick, order=order, tiles=tiles)
        return tried

    for place in range(len(factors)):
        if not cut(place):
            continue
        for start in range(starts):
            # Starts differ in the tensor that is stationary, output first, and in the dimension that is
            # changed first.
            order = np.full(n, (start + 2) % 3)
            evaluations += improve(place, np.zeros(8, np.int64), order, pairs=False)
            turns = np.roll(turns, -1)
    waiting = sorted(found)
    for _ in range(polished):
        if not waiting or evaluations > budget:
            break
        place = _best(found, waiting)
        waiting.remove(place)
        cut(place)
        evaluations += improve(place, found[place].pick.copy(), found[place].order.copy(), pairs=True)
        turns = np.roll(turns, -1)
    assert found, "single elements fit, so there is a mapping"
    place = _best(found, sorted(found))
    return place, found[place]


def _best(found: dict[int, _Found], places: Sequence[int]) -> int:
    best = places[0]
    for place in places:
        if better(found[place].score, found[best].score):
            best = place
    return best


@dataclass(frozen=True, kw_only=True)
class Unrolling:
    """Processing elements along each dimension, by stage, on the rows and on the columns."""

    rows: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...]


#: Share of the elements at work, rows and columns by stage, and the bounds that remain.
_Sides = tuple[tuple[int, ...], ...]
_Way = tuple[float, _Sides, _Sides, tuple[int, ...]]

_ONES = (1,) * len(DIMENSIONS)


@functools.lru_cache(maxsize=1024)
def unrollings(
    bounds: tuple[int, ...], arrays: tuple[Array | None, ...], limit: int = 60
) -> tuple[Unrolling, ...]:
    """Ways to unroll a nest over the arrays of a target, the fullest first, then none at all.

    Up to two dimensions along each side. Of those that unroll the same dimensions at most two are
    kept, so that the list is diverse.
    """
    found: list[_Way] = [(1.0, (), (), bounds)]
    # From the innermost array outwards: the innermost one is used by every multiply.
    for array in reversed(arrays):
        grown: list[_Way] = []
        for share, rows, columns, left in found:
            if array is None:
                grown.append((share, (_ONES, *rows), (_ONES, *columns), left))
                continue
            for row in _side(left, array.row_dimensions, array.rows):
                rest = _after(left, row)
                for column in _side(rest, array.column_dimensions, array.columns):
                    after = _after(rest, column)
                    filled = share * math.prod(left) / math.prod(after) / array.elements
                    grown.append((filled, (row, *rows), (column, *columns), after))
        grown.sort(key=lambda item: (-item[0], item[1], item[2]))
        found = _diverse(grown, limit)
    none = Unrolling(rows=(_ONES,) * len(arrays), columns=(_ONES,) * len(arrays))
    ways = [Unrolling(rows=rows, columns=columns) for _, rows, columns, _ in found]
    return (*(way for way in ways if way != none), none)


def _diverse(sorted_ways: list[_Way], limit: int) -> list[_Way]:
    kept: list[_Way] = []
    seen: set[tuple[int, ...]] = set()
    families: dict[tuple[bool, ...], int] = {}
    for way in sorted_ways:
        factors = tuple(int(v) for v in np.prod(np.array(way[1] + way[2], np.int64), axis=0))
        per_stage = tuple(
            a * b
            for row, column in zip(way[1], way[2], strict=True)
            for a, b in zip(row, column, strict=True)
        )
        family = tuple(factor > 1 for factor in factors)
        if per_stage in seen or families.get(family, 0) >= 2:
            continue
        seen.add(per_stage)
        families[family] = families.get(family, 0) + 1
        kept.append(way)
        if len(kept) == limit:
            break
    return kept


def _after(bounds: tuple[int, ...], factors: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-bound // factor) for bound, factor in zip(bounds, factors, strict=True))


@functools.lru_cache(maxsize=4096)
def _side(
    bounds: tuple[int, ...], dimensions: tuple[str, ...], size: int, limit: int = 20
) -> tuple[tuple[int, ...], ...]:
    """Ways to unroll along one side of an array, the fullest first."""
    allowed = [d for d, name in enumerate(DIMENSIONS) if name in dimensions and bounds[d] > 1]
    ways: set[tuple[int, ...]] = {_ONES}
    for d in allowed:
        ways |= {_with(_ONES, d, factor) for factor in _factors(bounds[d], size)}
    for first, second in itertools.permutations(allowed, 2):
        for factor in _factors(bounds[first], size // 2):
            for other in _factors(bounds[second], size // factor):
                ways.add(_with(_with(_ONES, first, factor), second, other))

    def speed(way: tuple[int, ...]) -> float:
        return math.prod(bounds) / math.prod(_after(bounds, way))

    return tuple(sorted(ways, key=lambda way: (-speed(way), way))[:limit])


def _factors(bound: int, size: int) -> set[int]:
    """The fewest elements that are as fast as `size`, and the most that divide the bound."""
    most = min(bound, size)
    if most < 2:
        return set()
    rounds = -(-bound // most)
    even = max(factor for factor in range(1, most + 1) if bound % factor == 0)
    return {factor for factor in (-(-bound // rounds), even) if factor > 1}


def _with(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])


def geometry(loops: Loops) -> Ints:
    """[row | column, stride | dilation | padding]."""
    return np.array([loops.stride, loops.dilation, loops.padding], np.int64).T.copy()


def check_fits(label: str, target: Target, widths: Widths) -> None:
    """Nothing, if single elements fit every memory, so that there is a mapping.

    Raises:
        MappingError: they do not; the message names the layer, the memory and the words.
    """
    for level in target.levels[1:]:
        if level.size_bits is None:
            continue
        bits = {"input": widths.input, "weight": widths.weight, "output": widths.partial_sum}
        needed = {tensor: -(-bits[tensor] // level.word_bits) for tensor in TENSORS if tensor in level.holds}
        available = level.size_bits // level.word_bits
        if sum(needed.values()) > available:
            parts = ", ".join(f"{tensor} {count}" for tensor, count in needed.items())
            raise MappingError(
                f"layer '{label}' does not fit {target.name}: memory '{level.name}' has {available} words of "
                f"{level.word_bits} bits, but one element of each tensor that it holds takes "
                f"{sum(needed.values())} ({parts})"
            )

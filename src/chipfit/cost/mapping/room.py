"""How many mappings there are, and what fits the memories: the map space before anything is searched."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chipfit.cost.mapping.model import Ints, MapSpace, Widths
from chipfit.cost.mapping.parts import arrangements, divided
from chipfit.cost.mapping.plan import skeleton, ways_to_hold
from chipfit.cost.mapping.sizes import Sizes, sizes_of
from chipfit.errors import MappingError
from chipfit.hardware.target import TENSORS, MemoryLevel, Target, words
from chipfit.workload.network import DIMENSIONS, Loops


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A group of memories with one tile, along one dimension.

    `loops`: whether it may loop over the dimension. `rows`, `columns`: most processing elements of the array
    below along either side, 1 if it may not unroll the dimension there.
    """

    loops: bool
    rows: int
    columns: int

    def takes(self, factor: int) -> bool:
        """Whether the array can have this many processing elements along the dimension."""
        return any(
            factor % r == 0 and factor // r <= self.columns for r in range(1, min(factor, self.rows) + 1)
        )


def _steps(target: Target, d: int) -> tuple[_Step, ...]:
    base = skeleton(target).shared
    sides, may = base["sides"], base["may"]
    return tuple(
        _Step(
            loops=bool(base["loopable"][g, d]),
            rows=int(sides[g, 0]) if may[g, 0, d] else 1,
            columns=int(sides[g, 1]) if may[g, 1, d] else 1,
        )
        for g in range(len(sides))
    )


def _most_elements(target: Target) -> int:
    return max((array.elements for array in target.arrays), default=1)


def mappings(loops: Loops, target: Target, space: MapSpace) -> int:
    """The size of a map space: the product of what can be chosen.

    Ways to hold tensors, times the ways to cut each dimension into tiles and processing elements, times the
    tensors that may be stationary in each memory with loops outside others. It counts what is too large for
    a memory, and combinations of dimensions that are too large for an array together.

    >>> from chipfit.hardware.load import load_target
    >>> mappings(Loops(K=4), load_target("eye3"), MapSpace())  # 8 ways to hold, 10 to cut, 3 x 3 orders
    720
    """
    if space.uneven:
        even, ways = replace(space, uneven=False), ((), *arrangements(target))
        return sum(mappings(loops, divided(target, parts), even) for parts in ways)
    allowed = skeleton(target).shared["allowed"]
    orders = math.prod(int(row.sum()) for row in allowed[:-1])
    most = _most_elements(target)
    cuts = math.prod(_cuts(b, most, space, _steps(target, d)) for d, b in enumerate(loops.bounds))
    return len(ways_to_hold(target)) * orders * cuts


@functools.lru_cache(maxsize=4096)
def _cuts(bound: int, most: int, space: MapSpace, steps: tuple[_Step, ...]) -> int:
    """Ways to cut one dimension."""
    sizes = sizes_of(bound, most, space)
    ways = [1] + [0] * (len(sizes.size) - 1)
    for g in range(len(steps) - 1, -1, -1):
        ways = _cut_from(_unrolled(ways, sizes, steps[g]), sizes, steps[g].loops)
    return ways[-1]


def _unrolled(ways: Sequence[int], sizes: Sizes, step: _Step) -> list[int]:
    """Ways to each block, from those to each tile."""
    if step.rows == step.columns == 1:
        return list(ways)
    found = [0] * len(ways)
    for j in range(len(ways)):
        for pair in range(sizes.by_block[j], sizes.by_block[j + 1]):
            tile, factor = int(sizes.pairs[0, pair]), int(sizes.pairs[1, pair])
            # A ragged array does not take the whole bound at once.
            whole = sizes.size[tile] * factor >= sizes.size[j]
            if ways[tile] and (whole or step.loops) and step.takes(factor):
                found[j] += ways[tile]
    return found


def _cut_from(ways: list[int], sizes: Sizes, loops: bool) -> list[int]:
    """Ways to each tile further out, from those to each block."""
    if not loops:
        return ways
    found = [0] * len(ways)
    for j, count in enumerate(ways):
        if count:
            for k in sizes.ups[j, : sizes.upping[j]]:
                found[k] += count
    return found


def _smallest(bound: int, most: int, space: MapSpace, steps: tuple[_Step, ...]) -> tuple[int, ...]:
    """The smallest tile of each group along a dimension, of all ways to cut it; none if there is no way."""
    sizes = sizes_of(bound, most, space)
    n = len(sizes.size)
    inner = [[1] + [0] * (n - 1)]  # of each group, from the innermost: ways to its tile from further in
    for g in range(len(steps) - 1, 0, -1):
        inner.insert(0, _cut_from(_unrolled(inner[0], sizes, steps[g]), sizes, steps[g].loops))
    # inner[g] is now that of group g + 1; from the outermost, which tiles lead to the whole bound.
    leads = [k == n - 1 for k in range(n)]
    found: list[int] = [bound]
    for g in range(len(steps) - 1):
        step = steps[g]
        reached = [False] * n
        for i in range(n):
            unit = _unrolled([int(k == i) for k in range(n)], sizes, step)
            out = _cut_from(unit, sizes, step.loops)
            reached[i] = any(ways and lead for ways, lead in zip(out, leads, strict=True))
        possible = [i for i in range(n) if reached[i] and inner[g][i]]
        if not possible:
            return ()
        found.append(int(sizes.size[possible[0]]))
        leads = reached
    return tuple(found)


def check_fits(label: str, target: Target, widths: Widths) -> None:
    """Nothing, if single elements of what may not pass by fit every memory.

    Raises:
        MappingError: they do not; the message names the layer, the memories, the tensors and the words.
    """
    one = {"input": 1, "weight": 1, "output": 1}
    problems = [text for level in target.levels[1:] if (text := _too_small(level, widths, one, _ONE_OF_EACH))]
    if problems:
        raise MappingError(f"layer '{label}' does not fit {target.name}: {'; '.join(problems)}")


_ONE_OF_EACH = "one element of each tensor that it must hold"


def why_none(
    label: str, loops: Loops, target: Target, widths: Widths, space: MapSpace, geometry: Ints
) -> str:
    """Why a nest whose single elements fit has no mapping: which tensor does not fit where, if that is it.

    `geometry`: as `nest.prepare` takes it.
    """
    most, groups = _most_elements(target), skeleton(target).shared["stage_group"]
    along = [_smallest(b, most, space, _steps(target, d)) for d, b in enumerate(loops.bounds)]
    if stuck := [name for name, sizes in zip(DIMENSIONS, along, strict=True) if not sizes]:
        return (
            f"layer '{label}': no mapping on {target.name}: no level loops over {', '.join(stuck)}, and no "
            "array takes all of it"
        )
    problems: list[str] = []
    for level, g in zip(target.levels[1:], groups[1:], strict=True):
        tile = tuple(sizes[g] for sizes in along)
        named = ", ".join(f"{d} {size}" for d, size in zip(DIMENSIONS, tile, strict=True) if size > 1)
        what = f"the smallest tile for its place ({named})" if named else _ONE_OF_EACH
        if text := _too_small(level, widths, elements_of(loops, tile, geometry), what):
            problems.append(text)
    if problems:
        return f"layer '{label}' does not fit {target.name}: {'; '.join(problems)}"
    return (
        f"layer '{label}': no mapping on {target.name} keeps to the dimensions over which its levels may "
        "loop and its arrays may unroll; each memory has room for its smallest tile, but not all at once"
    )


def elements_of(loops: Loops, tiles: Sequence[int], geometry: Ints) -> dict[str, int]:
    """Elements of each tensor in a tile."""
    from chipfit.cost.mapping.rows import covered

    n, g, k, c, p, q, r, s = tiles
    high, wide = np.zeros(2), np.zeros(2)
    for bound, kernel, tile, part, shape, out in (
        (loops.P, loops.R, p, r, geometry[0], high),
        (loops.Q, loops.S, q, s, geometry[1], wide),
    ):
        stride, dilation, padding, skips = (int(v) for v in shape)
        covered(bound, kernel, tile, part, stride, dilation, padding, skips, 0, out)
    return {
        "input": n * g * c * int(high[1]) * int(wide[1]),
        "weight": g * k * c * r * s,
        "output": n * g * k * p * q,
    }


def _too_small(level: MemoryLevel, widths: Widths, elements: Mapping[str, int], what: str) -> str:
    """By how much a memory is too small for what it must hold of a tile; empty if it is not."""
    room = level.room_words
    bits = {"input": widths.input, "weight": widths.weight, "output": widths.partial_sum}
    needed = {
        tensor: words(elements[tensor], bits[tensor], level.word_bits)
        for tensor in TENSORS
        if tensor in level.holds and tensor not in level.may_bypass
    }
    total = sum(needed.values())
    if room is None or total <= room:
        return ""
    parts = ", ".join(f"{tensor} {count}" for tensor, count in needed.items())
    half = " for tiles in use" if level.double_buffered else ""
    alone = [tensor for tensor, count in needed.items() if count > room]
    return (
        f"memory '{level.name}' has {room} words of {level.word_bits} bits{half}, but {what} takes {total} "
        f"({parts}), {total - room} more"
    ) + (f"; {' and '.join(alone)} alone would not fit" if alone and len(needed) > 1 else "")

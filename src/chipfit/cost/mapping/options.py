"""What options of counting add: rows that stay while a tile moves on, and the time to fill and to drain."""

from __future__ import annotations

from typing import Any

from chipfit.cost.mapping.model import INPUT, OUTPUT, RELEVANT, Ints
from chipfit.cost.mapping.rows import covered, rows_of, words
from chipfit.jit import inner

# As `nest` has them, which imports this module.
Tables = Any
Chip = Any


@inner
def moving_rows(level: int, child: int, d: int, pick: Ints, tables: Tables) -> float:
    """Rows (d = 4) or columns (5) fetched in all if a tile of a memory leaves its own to the next; -1 if not.

    It does where the innermost loop, along `d` at stage `level`, moves along outputs, and no array in
    between has its elements side by side along these rows.
    """
    if d != 4 and d != 5:
        return -1.0
    kernel = d + 2
    for stage in range(level, child):
        if tables.factors[stage, d] > 1 or tables.factors[stage, kernel] > 1:
            return -1.0
    tiles, parts, shape = tables.tiles[d, pick[d]], tables.tiles[kernel, pick[kernel]], tables.shape[d - 4]
    covered(
        tiles[0], parts[0], tiles[child], parts[child], shape[0], shape[1], shape[2], shape[3], tiles[level],
        tables.fresh,
    )  # fmt: skip
    return tables.fresh[0]


@inner
def _first(d: int, parent: int, child: int, pick: Ints, tables: Tables) -> float:
    """Extent along `d` of what all elements between two stages work on at first."""
    tiles = tables.tiles[d, pick[d]]
    full, rest = 1, 0  # tiles of the stage, and a shorter one
    for stage in range(parent, child):
        tile = tiles[stage + 1]
        block = min(tile * tables.factors[stage, d], tiles[stage])
        last = min(rest, tile * tables.factors[stage, d])
        rest = block % tile + last % tile  # only one of them can be
        full = full * (block // tile) + last // tile
    return 1.0 * full * tiles[child] + rest


@inner
def _place(
    element: int, d: int, parent: int, stop: int, child: int, pick: Ints, tables: Tables, at: Ints
) -> None:
    """Where an element of the arrays from `parent` to `stop` begins along `d` at first, and where it ends."""
    tiles = tables.tiles[d, pick[d]]
    low, high = 0, tiles[parent]
    for stage in range(parent, stop):
        f = tables.factors[stage, d]
        digit = element % f
        element //= f
        high = min(high, low + tiles[stage + 1] * f)
        low += digit * tiles[stage + 1]
        high = min(high, low + tiles[stage + 1])
    if stop < child:
        high = min(high, low + tiles[child] * tables.factors[stop, d])
    at[0], at[1] = low, high


@inner
def _first_rows(d: int, parent: int, child: int, union: bool, pick: Ints, tables: Tables) -> float:
    """Rows (d = 4) or columns (5) that leave a memory when the first tiles of a further one are fetched."""
    kernel = d + 2
    stop = child - 1 if union else child  # elements of the last array share what they have in common
    shape = tables.shape[d - 4]
    stride, dilation, padding = shape[0], shape[1], shape[2]
    outputs, weights = tables.tiles[d, pick[d], 0], tables.tiles[kernel, pick[kernel], 0]
    first = (padding + 1) // 2
    end = first + max((outputs - 1) * stride + (weights - 1) * dilation + 1 - padding, 1)
    across, along = 1, 1
    for stage in range(parent, stop):
        across *= tables.factors[stage, d]
        along *= tables.factors[stage, kernel]
    total = 0
    p, r = tables.place[0], tables.place[1]
    for i in range(across):
        _place(i, d, parent, stop, child, pick, tables, p)
        for j in range(along):
            _place(j, kernel, parent, stop, child, pick, tables, r)
            if p[0] < p[1] and r[0] < r[1]:
                total += rows_of(p[0], p[0], p[1], r[0], r[1], first, end, stride, dilation, shape[3])
    return 1.0 * total


@inner
def filling(pick: Ints, tables: Tables, chip: Chip) -> float:
    """Cycles in which the first tiles come in, memory after memory, and outputs of as large a block leave."""
    cycles = 0.0
    for h in range(chip.capacity.shape[0]):
        if chip.price[3, h] == 0:
            continue
        moved = 0.0
        for t in range(3):
            c = -1
            for i in range(chip.holders.shape[1] - 1):
                if chip.holders[t, i] == h:
                    c = chip.holders[t, i + 1]
            if c < 0:
                continue
            amount = 1.0
            for d in range(4 if t == INPUT else 8):
                if RELEVANT[t, d] == 1:
                    amount *= _first(d, h, c, pick, tables)
            if t == INPUT:
                for d in range(4, 6):  # constants would compile it once for each
                    amount *= _first_rows(d, h, c, chip.union, pick, tables)
            moved += words(amount, chip.per_word[h, t if t < OUTPUT or h == 0 else 3])
        cycles += moved / chip.price[3, h]
    return cycles

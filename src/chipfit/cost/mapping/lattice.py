"""All tiles of a nest in one table, and how they are cut from each other."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chipfit.cost.mapping.model import INPUT, RELEVANT, Flags, Floats, Ints, MapSpace
from chipfit.cost.mapping.rows import covered
from chipfit.cost.mapping.sizes import sizes_of
from chipfit.errors import MappingError
from chipfit.jit import inner, lean, tight
from chipfit.workload.network import Loops

#: Dimensions from that whose sizes run fastest to the slowest: those of few cuts first, so that sweeps along
#: the others have long runs.
FASTEST = (6, 7, 3, 2, 4, 5, 1, 0)


#: Runs that are shorter are not worth a loop of their own.
SHORT = 8


class Lattice(NamedTuple):
    """Tiles of a nest.

    bounds: of the dimensions (8).
    many: sizes of each dimension (8). step: what one size more adds to the index of a tile (8).
    size: [d, i] extents, ascending. rounds: [d, i] how many there are along the bound.
    covers: [d, i, :] the next multiples of a size; covering: how many.
    ups: [d, i, :] all multiples, itself first; upping: how many.
    pair_tile, pair_factor, pair_block, pair_blocks, pair_extent: [d, :] all cuts of a block into
        tiles, by block: index of the tile, processing elements, index of the block (of the whole bound if it
        is ragged), how many blocks there are, index of its extent in `rows` and `columns`.
        by_block: [d, j] where those of block j start.
    block_of, extent_of: [d, i, f] the same for tile i and f processing elements, or -1.
    short: [tile | its multiple, :] all pairs along dimensions of steps below SHORT, of the largest tiles
        first; short_from: [d] where those of a dimension start (9).
    at: [d, i] index of the size of tile i (8, tiles).
    visits: [t, i] how often loops outside tile i that tensor t does not depend on step (3, tiles).
    elements: [input | weight | output, i] in tile i (3, tiles).
    hull: the least input fetched when every block of this extent is fetched once (tiles).
    rows: [P extent, R extent, 0 sum | 1 most] as `nest.covered`; columns: [Q extent, S extent, ...].
    """

    bounds: Ints
    many: Ints
    step: Ints
    size: Ints
    rounds: Floats
    covers: Ints
    covering: Ints
    ups: Ints
    upping: Ints
    pair_tile: Ints
    pair_factor: Ints
    pair_blocks: Floats
    pair_extent: Ints
    by_block: Ints
    block_of: Ints
    extent_of: Ints
    short: NDArray[np.uint32]
    short_from: Ints
    at: Ints
    visits: Floats
    elements: Floats
    hull: Floats
    rows: Floats
    columns: Floats


@inner
def sweep(values: Floats, d: int, lattice: Lattice) -> None:
    """Each value becomes the least among the multiples of its tile along one dimension."""
    step, many = lattice.step[d], lattice.many[d]
    if many == 1:
        return
    for j in range(lattice.short_from[d], lattice.short_from[d + 1]):
        low, high = lattice.short[0, j], lattice.short[1, j]
        values[low] = values[high] if values[high] < values[low] else values[low]
    if step < SHORT:
        return
    for base in range(0, values.shape[0], step * many):
        for i in range(many - 2, -1, -1):
            low = base + i * step
            for c in range(lattice.covering[d, i]):
                high = base + lattice.covers[d, i, c] * step
                least, other = values[low : low + step], values[high : high + step]
                for r in range(step):
                    least[r] = other[r] if other[r] < least[r] else least[r]


@inner
def sweep_down(values: Floats, d: int, lattice: Lattice) -> None:
    """Each value becomes the least among the tiles that may be cut from its tile along one dimension."""
    step, many = lattice.step[d], lattice.many[d]
    if many == 1:
        return
    for j in range(lattice.short_from[d + 1] - 1, lattice.short_from[d] - 1, -1):
        low, high = lattice.short[0, j], lattice.short[1, j]
        values[high] = values[low] if values[low] < values[high] else values[high]
    if step < SHORT:
        return
    for base in range(0, values.shape[0], step * many):
        for i in range(many - 1):
            low = base + i * step
            for c in range(lattice.covering[d, i]):
                high = base + lattice.covers[d, i, c] * step
                least, other = values[high : high + step], values[low : low + step]
                for r in range(step):
                    least[r] = other[r] if other[r] < least[r] else least[r]


@tight
def multiple(at: int, vary: Flags, digits: Ints, turns: Ints, lattice: Lattice) -> int:
    """The tile after `at` of all that a tile may be cut from, or -1 after the last.

    They vary along the dimensions of `vary`. `digits`: sizes of the tile, by dimension. `turns`: which
    multiple each is at, zeros at first.
    """
    for d in range(8):
        if not vary[d]:
            continue
        low = digits[d]
        turns[d] += 1
        was = lattice.ups[d, low, turns[d] - 1]
        if turns[d] < lattice.upping[d, low]:
            return at + (lattice.ups[d, low, turns[d]] - was) * lattice.step[d]
        at += (low - was) * lattice.step[d]
        turns[d] = 0
    return -1


@lean
def fill_lattice(lattice: Lattice, index: Ints) -> None:
    """Fill what has an entry per tile: `at`, `visits`, `elements`, `hull`; the rest is there.

    `index`: zeros (8).
    """
    bounds, size, many = lattice.bounds, lattice.size, lattice.many
    base = 1.0 * bounds[0] * bounds[1] * bounds[3]
    for i in range(lattice.hull.shape[0]):
        for t in range(3):
            visits = 1.0
            elements = 1.0
            for d in range(8):
                if RELEVANT[t, d] == 0:
                    visits *= lattice.rounds[d, index[d]]
                elif t != INPUT or d < 4:
                    elements *= size[d, index[d]]
            lattice.visits[t, i] = visits
            lattice.elements[t, i] = elements
        p, q, r, s = index[4], index[5], index[6], index[7]
        lattice.elements[INPUT, i] *= lattice.rows[p, r, 1] * lattice.columns[q, s, 1]
        lattice.hull[i] = base * lattice.rows[p, r, 0] * lattice.columns[q, s, 0]
        for d in range(8):
            lattice.at[d, i] = index[d]
        for d in FASTEST:
            index[d] += 1
            if index[d] < many[d]:
                break
            index[d] = 0


_MOST_TILES = 4_000_000


#: Lattices of no more tiles are kept for the next search of the same nest.
_KEPT_TILES = 100_000


@functools.lru_cache(maxsize=4096)
def _hulls(
    size: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: int,
    skips: int,
    run: int,
    most: int,
    space: MapSpace,
) -> Floats:
    """[output extent, kernel extent, sum | most] rows of the input, as `nest.covered`."""
    across, along = sizes_of(size, most, space).extents, sizes_of(kernel, most, space).extents
    table = np.zeros((len(across), len(along), 2))
    for i, extent in enumerate(across):
        for j, part in enumerate(along):
            covered(size, kernel, int(extent), int(part), stride, dilation, padding, skips, run, table[i, j])
    return table


def lattice_of(
    loops: Loops, shape: Ints, most: int, space: MapSpace, *, union: bool = True, slides: bool = False
) -> Lattice:
    """The tiles of a nest for arrays of at most `most` processing elements; not to be written to.

    If tiles slide, `rows` and `columns` have the least that they fetch: each row once for each cut of the
    kernel. `union`: whether elements share what their tiles have in common, or only identical tiles.

    Raises:
        MappingError: there are too many.
    """
    tiles = math.prod(len(sizes_of(b, most, space).size) for b in loops.bounds)
    made = _lattice_of if tiles <= _KEPT_TILES else _lattice_of.__wrapped__
    return made(loops, tuple(int(v) for v in shape.ravel()), most, space, union, slides)


@functools.lru_cache(maxsize=8)
def _lattice_of(
    loops: Loops, shape: tuple[int, ...], most: int, space: MapSpace, union: bool, slides: bool
) -> Lattice:
    axes = [sizes_of(b, most, space) for b in loops.bounds]
    many = np.array([len(axis.size) for axis in axes], np.int64)
    tiles = int(many.prod())
    if tiles > _MOST_TILES:
        raise MappingError(
            f"a nest of {' x '.join(map(str, loops.bounds))} has {tiles} tiles, more than {_MOST_TILES}: "
            "without imperfect factors there are fewer"
        )

    step = np.empty(8, np.int64)
    step[list(FASTEST)] = np.concatenate([[1], np.cumprod(many[list(FASTEST)])[:-1]])

    def stacked(name: str, fill: int = 0) -> np.ndarray:
        parts: list[np.ndarray] = [getattr(axis, name) for axis in axes]
        extents = tuple(max(part.shape[k] for part in parts) for k in range(parts[0].ndim))
        table = np.full((8, *extents), fill, parts[0].dtype)
        for d, part in enumerate(parts):
            table[(d, *(slice(n) for n in part.shape))] = part
        return table

    short = [_short(d, axis.covers, axis.covering, step, many) for d, axis in enumerate(axes)]
    pairs = stacked("pairs")
    both = (
        _hulls(loops.P, loops.R, *shape[:4], loops.P * slides, most, space),
        _hulls(loops.Q, loops.S, *shape[4:], loops.Q * slides, most, space),
    )
    lattice = Lattice(
        bounds=np.array(loops.bounds, np.int64),
        many=many,
        step=step,
        size=stacked("size", 1),
        rounds=stacked("rounds", 1),
        covers=stacked("covers"),
        covering=stacked("covering"),
        ups=stacked("ups"),
        upping=stacked("upping"),
        pair_tile=pairs[:, 0].copy(),
        pair_factor=pairs[:, 1].copy(),
        pair_extent=pairs[:, 2].copy(),
        pair_blocks=stacked("blocks", 1),
        by_block=stacked("by_block"),
        block_of=stacked("block_of", -1),
        extent_of=stacked("extent_of"),
        short=np.concatenate(short, axis=1).astype(np.uint32),
        short_from=np.cumsum([0, *(pairs_of.shape[1] for pairs_of in short)]),
        at=np.empty((8, tiles), np.int64),
        visits=np.empty((3, tiles)),
        elements=np.empty((3, tiles)),
        hull=np.empty(tiles),
        rows=both[0],
        columns=both[1],
    )
    fill_lattice(lattice, np.zeros(8, np.int64))
    rows, columns = (_least(part, many[k], many[k + 2], union) for k, part in enumerate(both, 4))
    base, at = loops.N * loops.G * loops.C, lattice.at
    return lattice._replace(hull=1.0 * base * rows[at[4], at[6]] * columns[at[5], at[7]])


def _short(d: int, covers: Ints, covering: Ints, step: Ints, many: Ints) -> Ints:
    """[tile | its multiple, :] all pairs along a dimension if its step is short."""
    if step[d] >= SHORT:
        return np.zeros((2, 0), np.int64)
    starts = np.arange(0, int(many.prod()), int(step[d] * many[d]))[:, None] + np.arange(int(step[d]))
    lows = [
        np.stack([starts + i * step[d], starts + cover * step[d]]).reshape(2, -1)
        for i in range(len(covering) - 1, -1, -1)
        for cover in covers[i, : covering[i]]
    ]
    return np.concatenate([np.zeros((2, 0), np.int64), *lows], axis=1)


def _least(rows: Floats, outputs: int, kernel: int, union: bool) -> Floats:
    """The least rows that blocks fetch whose tiles are at most so large, by sizes of outputs and kernel.

    Between tiles, rows that a stride skips are not fetched: tiles may take less than their block. And a
    ragged block goes by the whole bound, but may take less.
    """
    least = rows[:, :, 0].copy()
    least[outputs - 1] = np.minimum(least[outputs - 1], least[outputs - 1 :].min(axis=0))
    least[:, kernel - 1] = np.minimum(least[:, kernel - 1], least[:, kernel - 1 :].min(axis=1))
    least = least[:outputs, :kernel]
    return least if union else np.minimum.accumulate(np.minimum.accumulate(least, axis=0), axis=1)

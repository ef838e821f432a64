"""Sizes that tiles may have along one dimension, and how blocks are cut into them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from chipfit.cost.mapping.model import Floats, Ints, MapSpace


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of tiles along one dimension, as in `Lattice`; `extents` of blocks, sizes first."""

    size: Ints
    rounds: Floats
    covers: Ints
    covering: Ints
    ups: Ints
    upping: Ints
    pairs: Ints  # [tile, processing elements, extent] by block
    blocks: Floats
    by_block: Ints
    block_of: Ints
    extent_of: Ints
    extents: Ints


@functools.lru_cache(maxsize=4096)
def sizes_of(size: int, most: int, space: MapSpace) -> Sizes:
    """Sizes of tiles along a dimension, for at most `most` processing elements along it."""
    sizes = _divisors(size)
    if space.imperfect:
        sizes = sorted({*sizes, *_rounds(size)})
    index = {s: i for i, s in enumerate(sizes)}
    n, last = len(sizes), len(sizes) - 1
    ups = [[i, *(j for j in range(i + 1, n) if sizes[j] % s == 0 or j == last)] for i, s in enumerate(sizes)]
    covers = [[j for j in up[1:] if not any(j in ups[k][1:] for k in up[1:] if k != j)] for up in ups]
    extents = list(sizes)
    block_of = np.full((n, min(most, size) + 1), -1, np.int64)
    extent_of = np.zeros((n, min(most, size) + 1), np.int64)
    pairs: list[tuple[int, int, int, int]] = []
    for i, s in enumerate(sizes):
        tiles = -(-size // s)
        factors = {1, *(other // s for other in sizes if other % s == 0)}
        if space.imperfect:
            factors.add(tiles)
        if space.ragged:
            factors.update(_rounds(tiles))
        for f in sorted(factors):
            extent = min(s * f, size)
            if f > most:
                continue
            block = index.get(extent, last)
            if extent not in index:
                index_of_extent = extents.index(extent) if extent in extents[n:] else len(extents)
                if index_of_extent == len(extents):
                    extents.append(extent)
            else:
                index_of_extent = index[extent]
            pairs.append((block, i, f, index_of_extent))
            block_of[i, f], extent_of[i, f] = block, index_of_extent
    pairs.sort()
    table = np.array(pairs, np.int64)
    sides = [-(-size // (sizes[i] * f)) for _, i, f, _ in pairs]
    return Sizes(
        size=np.array(sizes, np.int64),
        rounds=np.array([-(-size // s) for s in sizes], np.float64),
        covers=_padded(covers),
        covering=np.array([len(c) for c in covers], np.int64),
        ups=_padded(ups),
        upping=np.array([len(u) for u in ups], np.int64),
        pairs=table[:, 1:].T.copy(),
        blocks=np.array(sides, np.float64),
        by_block=np.searchsorted(table[:, 0], np.arange(n + 1)),
        block_of=block_of,
        extent_of=extent_of,
        extents=np.array(extents, np.int64),
    )


def _padded(rows: list[list[int]]) -> Ints:
    width = max(1, *(len(row) for row in rows))
    return np.array([[*row, *[0] * (width - len(row))] for row in rows], np.int64)


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def _rounds(number: int) -> list[int]:
    """The fewest to take in each round, for any number of rounds."""
    found: list[int] = []
    value = number
    while value >= 1:
        found.append(value)
        if value == 1:
            break
        rounds = -(-number // (value - 1))
        value = -(-number // rounds)
    return found

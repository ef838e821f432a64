"""Rows and words of tiles, as compiled functions."""

from __future__ import annotations

import numpy as np

from chipfit.cost.mapping.model import Floats
from chipfit.jit import inner, lean


@inner
def words(elements: float, per_word: float) -> float:
    """Words of so many elements; `per_word` < 0: words of one element, negated."""
    return np.ceil(elements / per_word) if per_word > 0 else -per_word * elements


@inner
def rows_of(
    before: int,
    p: int,
    p_end: int,
    r: int,
    r_end: int,
    first: int,
    end: int,
    stride: int,
    dilation: int,
    skips: int,
) -> int:
    """Rows that outputs `p` to `p_end` need under kernel rows `r` to `r_end`, less those of the outputs from
    `before`. There are rows `first` to `end`; all ends are excluded.
    """
    low = max(p * stride + r * dilation, first)
    high = min((p_end - 1) * stride + (r_end - 1) * dilation + 1, end)
    if before < p:
        low = max(low, (p - 1) * stride + (r_end - 1) * dilation + 1)
    if skips == 0 or (stride == 1 and dilation == 1):
        return max(high - low, 0)
    rows = 0
    for p_here in range(p, p_end):
        for r_here in range(r, r_end):
            row = p_here * stride + r_here * dilation
            fresh = first <= row < end
            for r_before in range(r, r_end):  # an earlier output may need it already
                ahead = (row - r_before * dilation) - before * stride
                if ahead >= 0 and ahead % stride == 0 and ahead // stride < p_here - before:
                    fresh = False
                    break  # a loop with two ends is not vectorised, which would take seconds to compile
            if fresh:
                rows += 1
    return rows


@lean
def covered(
    bound: int,
    kernel: int,
    tile: int,
    kernel_tile: int,
    stride: int,
    dilation: int,
    padding: int,
    skips: int,
    run: int,
    out: Floats,
) -> None:
    """Rows fetched when outputs and kernel are cut into tiles: out[0] their sum, out[1] the most.

    With `skips`, rows that no product of a tile needs are left out where they lie between others. Of tiles
    in one `run` of outputs each leaves its rows to the next, which fetches only what is new; 0: none does.
    """
    first = (padding + 1) // 2
    end = first + max((bound - 1) * stride + (kernel - 1) * dilation + 1 - padding, 1)
    total = 0
    most = 0
    for p in range(0, bound, tile):
        p_end = min(p + tile, bound)
        before = p - tile if run > 0 and p % run > 0 else p
        for r in range(0, kernel, kernel_tile):
            r_end = min(r + kernel_tile, kernel)
            needed = rows_of(p, p, p_end, r, r_end, first, end, stride, dilation, skips)
            most = max(most, needed)
            if before < p:
                needed = rows_of(before, p, p_end, r, r_end, first, end, stride, dilation, skips)
            total += needed
    out[0] = total
    out[1] = most

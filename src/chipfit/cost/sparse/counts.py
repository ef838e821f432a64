"""Pairs of non-zero activations and weights on an array, counted without walking through them.

A 2-D kernel meets an activation at (h, w) through its weight at (r, s) if h = p·stride + r·dilation −
begin for an output row p, and w alike. How often each weight does is the same for all kernels of a channel:
its *taps*, the non-zero activations that it meets. So the pairs of a kernel are the taps of its non-zero
weights, added up: exact, and linear in activations plus weights.

Axes, everywhere in this module: `image`, `channel` = input channels of all groups, `strip` = strips of
output rows, `tap` = kernel elements, row by row. A *slot* is what a row of the array works on in one
pass: the channels `first .. first + size - 1` of a group, and one strip.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chipfit.jit import lean
from chipfit.workload.network import Loops

#: Whole numbers where masks are known; else what is expected of densities, in floating point.
Counts = NDArray[Any]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Slots(NamedTuple):
    """What rows of the array work on, pass by pass: slots `starts[i] .. starts[i + 1] - 1` in pass i.

    `group` is the group of a slot, `first` its first input channel within the group, `size` how many.
    """

    group: Ints
    first: Ints
    size: Ints
    strip: Ints
    starts: Ints


def tap_counts(mask: Flags, loops: Loops, begin: tuple[int, int], strips: int) -> Ints:
    """Non-zero activations that each kernel element meets; shape (image, channel, strip, tap).

    Args:
        mask: where activations are not zero, shape (image, channel, height, width).
        loops: the nest.
        begin: padded rows and columns before the first.
        strips: parts that the output rows are cut into, of which the last may be smaller.

    >>> loops = Loops(P=2, Q=2, R=3, S=3, padding=(2, 2))
    >>> tap_counts(np.ones((1, 1, 2, 2), bool), loops, (1, 1), 1)[0, 0, 0].reshape(3, 3)
    array([[1, 2, 1],
           [2, 4, 2],
           [1, 2, 1]])
    """
    images, channels = mask.shape[:2]
    found = np.zeros((images * channels, strips, loops.R * loops.S), np.int64)
    rows = np.zeros((mask.shape[2], loops.S), np.int64)
    flat = np.ascontiguousarray(mask).reshape(images * channels, *mask.shape[2:]).view(np.uint8)
    _taps(flat, (loops.P, loops.Q, loops.R, loops.S), loops.stride, loops.dilation, begin, rows, found)
    return found.reshape(images, channels, strips, -1)


def strip_rows(rows: int, strips: int) -> int:
    """Output rows of a strip (the last may have fewer)."""
    return -(-rows // strips)


def run_passes(weights: NDArray[np.uint8], taps: Counts, slots: Slots, columns: int) -> tuple[Counts, Counts]:
    """How long each pass of one image lasts, and what each element does over all of them.

    Args:
        weights: shape (group, kernel, channel of the group, tap): how often a weight counts, 0 or 1.
        taps: shape (channel, strip, tap).
        slots: what rows work on.
        columns: kernels at once.

    Returns:
        The work of the slowest element, shape (passes, groups of kernels), and the work of all, shape
        (rows in use, columns).
    """
    kernels = weights.shape[1]
    rows = int(np.diff(slots.starts).max())
    slowest = np.zeros((len(slots.starts) - 1, -(-kernels // columns)), taps.dtype)
    work = np.zeros((rows, columns), taps.dtype)
    _passes(weights, np.ascontiguousarray(taps), slots, slowest, work)
    return slowest, work


def run_alike(per_slot: Counts, kernels: int, slots: Slots, columns: int) -> tuple[Counts, Counts]:
    """What `run_passes` says where all kernels have as much work: `per_slot`, shape (slot,)."""
    folds = -(-kernels // columns)
    starts = slots.starts[:-1]
    slowest = np.repeat(np.maximum.reduceat(per_slot, starts)[:, None], folds, axis=1)
    row = np.arange(len(per_slot)) - np.repeat(starts, np.diff(slots.starts))
    by_row = np.zeros(int(np.diff(slots.starts).max()), per_slot.dtype)
    np.add.at(by_row, row, per_slot)
    busy = folds - (np.arange(columns) >= (kernels - 1) % columns + 1)
    return slowest, by_row[:, None] * busy[None]


def make_slots(loops: Loops, rows: int, channels: int, strips: int, order: Ints, group_order: Ints) -> Slots:
    """Which slots a pass has on so many rows: whole groups side by side if they fit.

    Args:
        loops: the nest.
        rows: rows of the array.
        channels: input channels that a row holds.
        strips: strips of output rows that run side by side.
        order: the order of the blocks of `channels` channels of each group, shape (group, block).
        group_order: the order of the groups.
    """
    blocks = order.shape[1]
    shape = (loops.G, blocks, strips)
    group = np.broadcast_to(group_order[:, None, None], shape).reshape(-1)
    first = np.broadcast_to(order[group_order][:, :, None] * channels, shape).reshape(-1)
    strip = np.broadcast_to(np.arange(strips), shape).reshape(-1)
    in_group = blocks * strips
    if in_group <= rows:
        starts = list(range(0, len(group), rows // in_group * in_group))
    else:
        assert strips == 1, "strips are for rows to spare"
        starts = [g * blocks + b for g in range(loops.G) for b in range(0, blocks, rows)]
    return Slots(
        group=group.astype(np.int64),
        first=first.astype(np.int64),
        size=np.minimum(channels, loops.C - first).astype(np.int64),
        strip=strip.astype(np.int64),
        starts=np.array([*starts, len(group)], np.int64),
    )


@lean
def _taps(
    mask: NDArray[np.uint8],
    bounds: tuple[int, int, int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    begin: tuple[int, int],
    rows: Ints,
    found: Ints,
) -> None:
    P, Q, R, S = bounds
    channels, height, width = mask.shape
    each = -(-P // found.shape[1])
    for i in range(channels):
        for h in range(height):
            for s in range(S):
                # Columns of the input that meet column s of the kernel: q from low to high.
                shift = s * dilation[1] - begin[1]
                low = max(0, -(shift // stride[1]))
                high = min(Q, (width - 1 - shift) // stride[1] + 1)
                total = 0
                for q in range(low, high):
                    total += mask[i, h, q * stride[1] + shift]
                rows[h, s] = total
        for p in range(P):
            for r in range(R):
                h = p * stride[0] + r * dilation[0] - begin[0]
                if 0 <= h < height:
                    for s in range(S):
                        found[i, p // each, r * S + s] += rows[h, s]


@lean
def _passes(weights: NDArray[np.uint8], taps: Counts, slots: Slots, slowest: Counts, work: Counts) -> None:
    kernels, in_group, size = weights.shape[1], weights.shape[2], weights.shape[3]
    columns = work.shape[1]
    for i in range(slowest.shape[0]):
        start, end = slots.starts[i], slots.starts[i + 1]
        for j in range(start, end):
            g, first, strip = slots.group[j], slots.first[j], slots.strip[j]
            for k in range(kernels):
                total = taps[0, 0, 0] * 0
                for c in range(first, first + slots.size[j]):
                    channel = g * in_group + c
                    for t in range(size):
                        total += weights[g, k, c, t] * taps[channel, strip, t]
                work[j - start, k % columns] += total
                fold = k // columns
                slowest[i, fold] = max(slowest[i, fold], total)

"""What the elements of an array do on a layer, pass by pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipfit.cost.sparse.clustering import cluster
from chipfit.cost.sparse.counts import (
    Counts,
    Ints,
    Slots,
    make_slots,
    run_alike,
    run_passes,
    strip_rows,
)
from chipfit.cost.sparse.operands import Operands, nonzeros_of, taps_of
from chipfit.hardware.sparse import OPERANDS, SparseArray, Structure
from chipfit.workload.network import Loops

Weights = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of all elements, the mean over images, times the batch of the layer.

    `pairs` are the pairs that take a cycle, `multiplications` those that take energy; `row_folds` how often
    a partial sum is added to. The others as in `SparseDetail`.
    """

    cycles: float
    pairs: float
    multiplications: float
    passes: int
    row_folds: int
    imbalance: float
    cartesian_cycles: float | None
    loads: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """What rows hold and how much each weight counts.

    `taps` has shape (image, channel, strip, tap), `weights` (group, kernel, channel, tap); None where all
    kernels are alike, of the density `alike`.
    """

    loops: Loops
    taps: Counts
    weights: Weights | None
    alike: float
    slots: Slots


def work_of(known: Operands, options: SparseArray, rows: int, columns: int) -> Work:
    """What an array of `rows` x `columns` elements does on a layer."""
    run = _run(known, options, rows)
    cycles, pairs, slowest, loads = _cycles(run, options, rows, columns)
    batch = known.loops.N
    in_use = np.diff(run.slots.starts)[:, None] * _kernels_in_use(known.loops.K, columns)[None]
    both = set(options.skip) == set(OPERANDS) and options.structure is None
    cartesian = None
    if both and options.pairs == "matched":
        cartesian = _cycles(_run(known, replace(options, pairs="cartesian"), rows), options, rows, columns)[0]
    padded = np.zeros((rows, columns))
    padded[: loads.shape[0]] = loads * batch
    return Work(
        cycles=cycles * batch,
        pairs=pairs * batch,
        multiplications=_multiplications(known, options, pairs) * batch,
        passes=slowest.size,
        row_folds=-(-(len(run.slots.group) // known.loops.G) // rows),
        imbalance=float((slowest * in_use).sum()) / pairs if pairs else 1.0,
        cartesian_cycles=None if cartesian is None else cartesian * batch,
        loads=tuple(tuple(row) for row in padded.tolist()),
    )


def _run(known: Operands, options: SparseArray, rows: int) -> _Run:
    loops = known.loops
    if options.structure is not None:
        return _structured(known, options, options.structure, rows)
    channels = channels_per_row(loops, options, rows)
    strips = _strips(loops, -(-loops.C // channels), rows) if options.strips else 1
    weights = known.weights if "weight" in options.skip else None
    alike = 1.0 if weights is not None or "weight" not in options.skip else known.weight_density
    taps = taps_of(known, skipped="input" in options.skip, strips=strips)
    if options.pairs == "cartesian" and set(options.skip) == set(OPERANDS):
        # Each non-zero activation meets each non-zero weight: all taps of a channel are alike.
        taps = np.repeat(nonzeros_of(known)[:, :, None, None], strips, axis=2) / strips
        size = loops.R * loops.S
        kind = np.uint8 if size < 256 else np.int64
        weights = None if weights is None else weights.sum(axis=3, dtype=kind)[..., None]
        alike = (1.0 if alike is None else alike) * size
    return _with_slots(loops, taps, weights, 1.0 if alike is None else alike, channels, options, rows)


def channels_per_row(loops: Loops, options: SparseArray, rows: int) -> int:
    """Input channels that a row of the array holds in one pass: those of 1 x 1 kernels share rows if need be.

    >>> channels_per_row(Loops(K=64, C=256), SparseArray(consecutive=16), 32)
    8
    >>> channels_per_row(Loops(K=64, C=256, R=3, S=3), SparseArray(consecutive=16), 32)
    1
    """
    return min(options.consecutive, -(-loops.C // rows)) if loops.R * loops.S == 1 else 1


def _strips(loops: Loops, blocks: int, rows: int) -> int:
    """Strips of output rows for rows of the array that would stand idle; none is empty."""
    wanted = min(loops.P, max(1, rows // (loops.G * blocks)))
    return -(-loops.P // strip_rows(loops.P, wanted))


def _structured(known: Operands, options: SparseArray, structure: Structure, rows: int) -> _Run:
    """N:M: a block of `of` channels takes as many cycles a place as weights of it are kept."""
    loops = known.loops
    blocks = -(-loops.C // structure.of)
    inner = replace(loops, C=blocks)
    taps = np.full((1, loops.G * blocks, 1, loops.R * loops.S), loops.P * loops.Q, np.int64)
    sizes = np.minimum(structure.of, loops.C - structure.of * np.arange(blocks))
    kept = kept_weights(known, structure)
    if kept is None:
        taps = taps * np.tile(sizes, loops.G)[None, :, None, None]
        return _with_slots(inner, taps, None, 1.0, 1, options, rows)
    times = np.minimum(kept[:, :, None], sizes).astype(np.uint8)
    weights = np.repeat(times[..., None], loops.R * loops.S, axis=3)
    return _with_slots(inner, taps, weights, 1.0, 1, options, rows)


def kept_weights(known: Operands, structure: Structure) -> Ints | None:
    """Weights kept of every `of`, shape (group, kernel); None where no mask is known.

    Where a whole layer must keep to it and does not, all are kept.
    """
    if known.weights is None:
        return None
    groups, kernels, channels, taps = known.weights.shape
    blocks = -(-channels // structure.of)
    padded = np.zeros((groups, kernels, blocks * structure.of, taps), np.uint8)
    padded[:, :, :channels] = known.weights
    most = padded.reshape(groups, kernels, blocks, structure.of, taps).sum(axis=3).max(axis=(2, 3))
    if structure.scope == "layer":
        most[:] = structure.keep if most.max() <= structure.keep else structure.of
    return most.astype(np.int64)


def _with_slots(
    loops: Loops,
    taps: Counts,
    weights: Weights | None,
    alike: float,
    channels: int,
    options: SparseArray,
    rows: int,
) -> _Run:
    blocks, strips = -(-loops.C // channels), taps.shape[2]
    order = np.tile(np.arange(blocks), (loops.G, 1))
    group_order = np.arange(loops.G)
    if options.clustering:
        by_channel = taps.sum(axis=(2, 3)).mean(axis=0).reshape(loops.G, loops.C)
        firsts = np.arange(0, loops.C, channels)
        by_block = np.add.reduceat(by_channel, firsts, axis=1)
        order = np.stack([cluster(row) for row in by_block])
        group_order = cluster(by_block.max(axis=1))
    slots = make_slots(loops, rows, channels, strips, order, group_order)
    return _Run(loops=loops, taps=taps, weights=weights, alike=alike, slots=slots)


def _cycles(run: _Run, options: SparseArray, rows: int, columns: int) -> tuple[float, float, Counts, Counts]:
    """Cycles and pairs, the slowest element of each pass, and the work of all; means over images."""
    images = len(run.taps)
    found = [_image(run, taps, columns) for taps in run.taps]
    fill = rows + columns - 2
    cycles = 0.0
    for slowest, work in found:
        synchronous = options.passes == "synchronous"
        fills = {"pass": slowest.size if synchronous else 1, "layer": 1, "none": 0}[options.fill]
        cycles += float(slowest.sum() if synchronous else work.max()) + fill * fills
    slowest = np.mean([one for one, _ in found], axis=0)
    loads = np.mean([work for _, work in found], axis=0)
    return cycles / images, float(loads.sum()), slowest, loads


def _image(run: _Run, taps: Counts, columns: int) -> tuple[Counts, Counts]:
    slots, loops = run.slots, run.loops
    if run.weights is not None:
        return run_passes(run.weights, taps, slots, columns)
    # Work of each slot: sums over its channels, which follow each other.
    by_channel = taps.sum(axis=2)
    upto = np.vstack([np.zeros((1, taps.shape[1]), taps.dtype), by_channel.cumsum(axis=0)])
    start = slots.group * loops.C + slots.first
    per_slot = upto[start + slots.size, slots.strip] - upto[start, slots.strip]
    return run_alike(per_slot * run.alike, loops.K, slots, columns)


def _kernels_in_use(kernels: int, columns: int) -> Ints:
    """Kernels of each fold of columns."""
    return np.minimum(columns, kernels - columns * np.arange(-(-kernels // columns)))


def _multiplications(known: Operands, options: SparseArray, pairs: float) -> float:
    """Pairs that take energy: all that take time, but those whose zeros are gated."""
    if set(options.gate) <= set(options.skip):
        return pairs
    counted = {*options.skip, *options.gate}
    taps = taps_of(known, skipped="input" in counted, strips=1).mean(axis=0)[:, 0]
    if "weight" not in counted or (known.weights is None and known.weight_density is None):
        return float(taps.sum()) * known.loops.K
    if known.weights is None:
        return float(taps.sum()) * known.loops.K * (known.weight_density or 0.0)
    by_channel = known.weights.sum(axis=1, dtype=np.int64).reshape(taps.shape)
    return float((by_channel * taps).sum())

"""Accesses of a mapped loop nest, counted exactly in closed form.

Conventions of this package (`stage`, `d`, `t` index everything):
- `stage` = memories from the outermost (0) inwards, with the array of processing elements below
  each; the datapath follows the last. `d` = dimensions N G K C P Q R S. `t` = input, weight, output.
- A *chain* says how one dimension is cut: `tiles[stage]`, the extent along d that one instance of a
  stage holds (`tiles[0]` = the bound, datapath: 1), and `factors[stage]`, the processing elements
  along d below it. A *block* is what they work on at once: `tiles[stage+1] * factors[stage]`. A
  block divides the tile it is cut from, except that a tile of the whole bound may have a ragged last
  block. So every cut lies at a multiple of the tile size, whatever the bound.
- `order[stage]` = the tensor that is stationary there: the loops that it does not depend on are
  innermost. A tile is fetched anew whenever a loop steps at or outside the innermost loop that the
  tensor depends on and that has more than one iteration (in full tiles). So reuse runs on outwards
  through stages where all of the tensor's own loops have one iteration. A tile is fetched whole: no
  rows are kept from the tile before.
- An input tile is the hull of the rows and columns that it needs, less the padding (half of which
  lies before the input, and the odd row if there is one). What several processing elements need at
  once leaves the parent once: the hull of the block. Each writes its own.
- Partial sums are added up on the way out of an array, so the parent sees one; each element reads out
  its own. A tile that is visited again is read back from the parent and written into every element
  that works on it (all but one hold zero, as Timeloop and AccelForge count it). Sums travel and rest
  at the accumulator's width, and at the output's once they are finished.
- Next to the datapath a multiply reads its weight, its input and its partial sum, and writes the
  sum; the first of each element's sums in a run is not read. Nothing is kept in the datapath.
- A transfer passes stages that do not hold the tensor by. Hops are counted per processing element
  reached, in words of the memory that the data comes from.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INPUT, WEIGHT, OUTPUT = 0, 1, 2

#: Tensor x dimension (N G K C P Q R S): 1 where the tensor depends on the dimension.
RELEVANT = np.array(
    [
        [1, 1, 0, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 0, 0, 1, 1],
        [1, 1, 1, 0, 1, 1, 0, 0],
    ],
    dtype=np.int64,
)

#: Loop order, outermost first, by the stationary tensor.
ORDER = np.array(
    [
        [1, 0, 4, 5, 3, 6, 7, 2],  # input: K innermost
        [1, 2, 3, 6, 7, 0, 4, 5],  # weight: N P Q innermost
        [1, 2, 0, 4, 5, 3, 6, 7],  # output: C R S innermost
    ],
    dtype=np.int64,
)
POSITION = np.argsort(ORDER, axis=1).astype(np.int64)


@numba.njit(cache=True)
def chain_counts(tiles, factors, counts):  # noqa: ANN001, ANN201 - compiled
    """Counts of one chain, ragged ends included.

    Args:
        tiles: extents by stage, the datapath's 1 last (stages + 1).
        factors: processing elements below each stage (stages).
        counts: filled with [e, a] = iterations of the loops of stages before `e`, times the
            processing elements of arrays before `a` that work in each (stages + 1, stages + 1).
    """
    stages = len(factors)
    ragged = False
    for stage in range(stages):
        if tiles[stage] % (tiles[stage + 1] * factors[stage]) != 0:
            ragged = True
    if not ragged:
        loops = 1.0
        for e in range(stages + 1):
            elements = 1.0
            for a in range(stages + 1):
                counts[e, a] = loops * elements
                if a < stages:
                    elements *= factors[a]
            if e < stages:
                loops *= tiles[e] // (tiles[e + 1] * factors[e])
        return
    for e in range(stages + 1):
        for a in range(stages + 1):
            # `full` tiles of the stage's own extent and, if `rest` > 0, one shorter one.
            full = 1.0
            rest = 0
            for stage in range(stages):
                block = tiles[stage + 1] * factors[stage]
                per_tile = tiles[stage] // block
                tail = tiles[stage] % block  # > 0 only where the tile is the whole bound
                if stage < e:
                    blocks = full * per_tile + rest // block
                    last = rest % block if rest > 0 else (tail if full > 0 else 0)
                else:  # the first block stands for all
                    blocks = 0.0
                    last = 0
                    if full > 0:
                        if per_tile > 0:
                            blocks = full
                        else:
                            last = tail
                    if rest > 0:
                        if rest >= block:
                            blocks += 1.0
                        else:
                            last = rest
                tile = tiles[stage + 1]
                if stage < a:
                    full = blocks * factors[stage] + last // tile
                    rest = last % tile
                elif last >= tile:  # the first element stands for all
                    full = blocks + 1.0
                    rest = 0
                else:
                    full = blocks
                    rest = last
            counts[e, a] = full + (1.0 if rest > 0 else 0.0)


@numba.njit(cache=True)
def covered(bound, kernel, tile, kernel_tile, stride, dilation, padding, out):  # noqa: ANN001, ANN201
    """Rows fetched when outputs and kernel are cut into tiles: out[0] their sum, out[1] the most."""
    first = (padding + 1) // 2
    rows = (bound - 1) * stride + (kernel - 1) * dilation + 1 - padding
    end = first + max(rows, 1)
    total = 0
    most = 0
    for p in range(0, bound, tile):
        p_last = min(p + tile, bound) - 1
        for r in range(0, kernel, kernel_tile):
            r_last = min(r + kernel_tile, kernel) - 1
            low = max(p * stride + r * dilation, first)
            high = min(p_last * stride + r_last * dilation + 1, end)
            if high > low:
                total += high - low
                most = max(most, high - low)
    out[0] = total
    out[1] = most


@numba.njit(cache=True)
def _words(elements, per_word):  # noqa: ANN001, ANN202
    # per_word < 0: so many words an element
    return np.ceil(elements / per_word) if per_word > 0 else -per_word * elements


@numba.njit(cache=True)
def evaluate(  # noqa: ANN201
    pick,  # noqa: ANN001
    tiles,  # noqa: ANN001
    factors,  # noqa: ANN001
    iterations,  # noqa: ANN001
    counts,  # noqa: ANN001
    spans,  # noqa: ANN001
    rows,  # noqa: ANN001
    columns,  # noqa: ANN001
    order,  # noqa: ANN001
    holds,  # noqa: ANN001
    holders,  # noqa: ANN001
    per_word,  # noqa: ANN001
    capacity,  # noqa: ANN001
    price,  # noqa: ANN001
    scalars,  # noqa: ANN001
    accesses,  # noqa: ANN001
    out,  # noqa: ANN001
):
    """Accesses, energy and cycles of one mapping; False if a tile does not fit its memory.

    Args:
        pick: chain of each dimension (8).
        tiles: [d, chain, stage] extents (8, chains, stages + 1).
        factors: [d, chain, stage] processing elements below the stage (8, chains, stages).
        iterations: [d, chain, stage] loop iterations in a full tile (8, chains, stages).
        counts: [d, chain, e, a] of `chain_counts`.
        spans: [d, chain, stage, 0 tile | 1 block] index into `rows` (P, R) or `columns` (Q, S);
            the datapath's tile last (8, chains, stages + 1, 2).
        rows: [P size, R size, 0 sum | 1 most] of `covered`.
        columns: the same for Q and S.
        order: stationary tensor by stage (stages).
        holds: [stage, t] whether a stage holds a tensor (stages, 3).
        holders: [t, i] stages that hold a tensor, outermost first, then -1 (3, stages + 2).
        per_word: [stage, input | weight | output | partial sum] elements in a word, or minus the
            words of an element (stages, 4).
        capacity: words by stage (stages).
        price: [read | write | hop | words per cycle, stage] (4, stages).
        scalars: energy of all multiply-accumulates (J), static energy a cycle (J), words streamed
            through the outermost memory besides, their energy (J).
        accesses: filled with [read | write | hop, stage, t] in words (3, stages, 3).
        out: filled with energy (J), cycles, words of the outermost memory, compute cycles, and the
            cycles that each stage needs for its accesses (4 + stages).
    """
    stages = capacity.shape[0]
    n0, g0, k0, c0 = tiles[0, pick[0], 0], tiles[1, pick[1], 0], tiles[2, pick[2], 0], tiles[3, pick[3], 0]
    p0, q0, r0, s0 = tiles[4, pick[4], 0], tiles[5, pick[5], 0], tiles[6, pick[6], 0], tiles[7, pick[7], 0]
    unique = 1.0 * n0 * g0 * k0 * p0 * q0

    # Capacity: the tiles of all tensors that a memory holds share it.
    for stage in range(1, stages):
        used = 0.0
        n, g, k, c = (
            1.0 * tiles[0, pick[0], stage],
            1.0 * tiles[1, pick[1], stage],
            1.0 * tiles[2, pick[2], stage],
            1.0 * tiles[3, pick[3], stage],
        )
        if holds[stage, INPUT]:
            high = rows[spans[4, pick[4], stage, 0], spans[6, pick[6], stage, 0], 1]
            wide = columns[spans[5, pick[5], stage, 0], spans[7, pick[7], stage, 0], 1]
            used += _words(n * g * c * high * wide, per_word[stage, 0])
        if holds[stage, WEIGHT]:
            kernel = tiles[6, pick[6], stage] * tiles[7, pick[7], stage]
            used += _words(g * k * c * kernel, per_word[stage, 1])
        if holds[stage, OUTPUT]:
            area = tiles[4, pick[4], stage] * tiles[5, pick[5], stage]
            used += _words(n * g * k * area, per_word[stage, 3])
        if used > capacity[stage]:
            return False

    accesses[:] = 0.0
    split = np.empty(8, np.int64)
    for t in range(3):
        for i in range(stages):
            h = holders[t, i]
            if h < 0:
                break
            c = holders[t, i + 1]
            datapath = c < 0
            if datapath:
                c = stages
                for d in range(8):
                    split[d] = stages
            else:
                # The innermost loop of more than one iteration that the tensor depends on.
                level = -1
                place = -1
                for stage in range(c - 1, -1, -1):
                    for j in range(7, -1, -1):
                        d = ORDER[order[stage], j]
                        if RELEVANT[t, d] == 1 and iterations[d, pick[d], stage] > 1:
                            level = stage
                            place = j
                            break
                    if level >= 0:
                        break
                for d in range(8):
                    if level >= 0 and POSITION[order[level], d] < place:
                        split[d] = level + 1
                    else:
                        split[d] = max(level, 0)
            if t == INPUT:
                base = 1.0 * n0 * g0 * c0
                at_parent = (
                    base
                    * rows[spans[4, pick[4], c - 1, 1], spans[6, pick[6], c - 1, 1], 0]
                    * columns[spans[5, pick[5], c - 1, 1], spans[7, pick[7], c - 1, 1], 0]
                )
                # The datapath's tile is one product.
                at_child = (
                    base
                    * rows[spans[4, pick[4], c, 0], spans[6, pick[6], c, 0], 0]
                    * columns[spans[5, pick[5], c, 0], spans[7, pick[7], c, 0], 0]
                )
                kk = pick[2]
                accesses[0, h, t] += _words(at_parent * counts[2, kk, split[2], h], per_word[h, t])
                if not datapath:
                    accesses[1, c, t] += _words(at_child * counts[2, kk, split[2], c], per_word[c, t])
                for a in range(h, c):
                    reached = at_child if a == c - 1 else at_parent
                    accesses[2, a, t] += _words(reached * counts[2, kk, split[2], a + 1], per_word[h, t])
            elif t == WEIGHT:
                base = 1.0 * g0 * k0 * c0 * r0 * s0
                a0, a1, a2 = pick[0], pick[4], pick[5]
                e0, e1, e2 = split[0], split[4], split[5]
                f = counts[0, a0, e0, h] * counts[4, a1, e1, h] * counts[5, a2, e2, h]
                accesses[0, h, t] += _words(base * f, per_word[h, t])
                for a in range(h, c):
                    f = counts[0, a0, e0, a + 1] * counts[4, a1, e1, a + 1] * counts[5, a2, e2, a + 1]
                    accesses[2, a, t] += _words(base * f, per_word[h, t])
                if not datapath:
                    accesses[1, c, t] += _words(base * f, per_word[c, t])
            else:
                a0, a1, a2 = pick[3], pick[6], pick[7]
                e0, e1, e2 = split[3], split[6], split[7]
                copies = counts[3, a0, 0, h] * counts[6, a1, 0, h] * counts[7, a2, 0, h]
                visits = unique * counts[3, a0, e0, h] * counts[6, a1, e1, h] * counts[7, a2, e2, h]
                finished = unique if copies == 1.0 and (not datapath or h == 0) else 0.0
                accesses[1, h, t] += _words(visits - finished, per_word[h, 3])
                accesses[1, h, t] += _words(finished, per_word[h, 2])
                accesses[0, h, t] += _words(visits - unique * copies, per_word[h, 3])
                for a in range(h, c):
                    copies = counts[3, a0, 0, a + 1] * counts[6, a1, 0, a + 1] * counts[7, a2, 0, a + 1]
                    visits = (
                        unique
                        * counts[3, a0, e0, a + 1]
                        * counts[6, a1, e1, a + 1]
                        * counts[7, a2, e2, a + 1]
                    )
                    # Sums were finished below if a further memory inside `c` did the adding.
                    whole = 0.0
                    if not datapath and copies == 1.0 and holders[t, i + 2] >= 0:
                        whole = unique
                    accesses[2, a, t] += _words(visits - whole, per_word[h, 3]) + _words(
                        whole, per_word[h, 2]
                    )
                    if not datapath:
                        accesses[2, a, t] += _words(visits - unique * copies, per_word[h, 3])
                        if a == c - 1:
                            accesses[0, c, t] += _words(visits - whole, per_word[c, 3])
                            accesses[0, c, t] += _words(whole, per_word[c, 2])
                            accesses[1, c, t] += _words(visits - unique * copies, per_word[c, 3])

    cycles = 1.0
    for d in range(8):
        cycles *= counts[d, pick[d], stages, 0]
    out[3] = cycles
    energy = scalars[0] + scalars[3]
    instances = 1.0
    for stage in range(stages):
        read = 0.0
        written = 0.0
        hops = 0.0
        for t in range(3):
            read += accesses[0, stage, t]
            written += accesses[1, stage, t]
            hops += accesses[2, stage, t]
        energy += read * price[0, stage] + written * price[1, stage] + hops * price[2, stage]
        if stage == 0:
            out[2] = read + written + scalars[2]
        if price[3, stage] > 0:
            instances = 1.0
            for d in range(8):
                instances *= counts[d, pick[d], 0, stage]
            moved = out[2] if stage == 0 else read + written
            out[4 + stage] = moved / (instances * price[3, stage])
            cycles = max(cycles, out[4 + stage])
    out[0] = energy + scalars[1] * cycles
    out[1] = cycles
    return True

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
  through stages where all of the tensor's own loops have one iteration. A tile is fetched whole.
- If tiles slide, an input tile whose innermost such loop is along P or Q keeps the rows (or columns) that it
  has in common with the one before, unless an array between has elements side by side along them.
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

from typing import NamedTuple

from chipfit.cost.mapping.model import INPUT, ORDER, OUTPUT, POSITION, RELEVANT, WEIGHT, Flags, Floats, Ints
from chipfit.cost.mapping.options import filling, moving_rows
from chipfit.cost.mapping.rows import covered, words
from chipfit.jit import inner, lean


class Tables(NamedTuple):
    """The chains of each dimension, and what follows from them.

    tiles: [d, chain, stage] extents (8, chains, stages + 1).
    factors: [stage, d] processing elements below the stage (stages, 8).
    iterations: [d, chain, stage] loop iterations in a full tile (8, chains, stages).
    counts: [d, chain, e, a] of `chain_counts`.
    spans: [d, chain, stage, 0 tile | 1 block] index into `rows` (P, R) or `columns` (Q, S); the
        datapath's tile last (8, chains, stages + 1, 2).
    rows: [P size, R size, 0 sum | 1 most] of `covered`.
    columns: the same for Q and S.
    sizes: tiles and blocks along P Q R S (4, sizes), and how many they are: used (4).
    split: scratch of `count` (8). fresh, place: scratch (2), (2, 2).
    shape: [row | column, stride | dilation | padding | whether rows are skipped] of the input (2, 4).
    """

    tiles: Ints
    factors: Ints
    iterations: Ints
    counts: Floats
    spans: Ints
    rows: Floats
    columns: Floats
    sizes: Ints
    used: Ints
    split: Ints
    fresh: Floats
    place: Ints
    shape: Ints


class Chip(NamedTuple):
    """A target at given widths.

    tied: stages without loops of their own (stages).
    holds: [stage, t] whether a stage holds a tensor (stages, 3).
    holders: [t, i] stages that hold a tensor, outermost first, then -1 (3, stages + 2).
    per_word: [stage, input | weight | output | partial sum] elements in a word, or minus the words of
        an element (stages, 4).
    capacity: words by stage (stages).
    price: [read | write | hop | words per cycle, stage] (4, stages).
    scalars: energy of all multiply-accumulates (J), static energy a cycle (J), words streamed through
        the outermost memory besides, their energy (J).
    slides: whether rows and columns of the input stay while their tile moves on. fills: whether the time
        counts in which the first tiles come in and the last outputs leave.
    union: whether processing elements share the rows that their input tiles have in common, or only
        identical tiles. drains: whether reading sums on their way out is counted.
    """

    tied: Flags
    holds: Flags
    holders: Ints
    per_word: Floats
    capacity: Floats
    price: Floats
    scalars: Floats
    union: bool
    drains: bool
    slides: bool
    fills: bool


@lean
def chain_counts(
    tiles: Ints,
    factors: Ints,
    counts: Floats,
) -> None:
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


@inner
def _hull(stage: int, kind: int, what: int, pick: Ints, spans: Ints, rows: Floats, columns: Floats) -> float:
    """Rows times columns of the input under a cut.

    `kind`: 0 into the tiles of a stage, 1 into its blocks. `what`: 0 of all together, 1 of the largest.
    """
    high = rows[spans[4, pick[4], stage, kind], spans[6, pick[6], stage, kind], what]
    return high * columns[spans[5, pick[5], stage, kind], spans[7, pick[7], stage, kind], what]


@inner
def _visits(first: int, second: int, third: int, a: int, pick: Ints, split: Ints, counts: Floats) -> float:
    """How often the tiles of a tensor that lacks three dimensions are visited, in all elements before `a`."""
    visits = counts[first, pick[first], split[first], a] * counts[second, pick[second], split[second], a]
    return visits * counts[third, pick[third], split[third], a]


@inner
def _copies(a: int, pick: Ints, counts: Floats) -> float:
    """Elements before `a` that add to the same partial sum at once."""
    return counts[3, pick[3], 0, a] * counts[6, pick[6], 0, a] * counts[7, pick[7], 0, a]


@lean
def count(pick: Ints, order: Ints, tables: Tables, chip: Chip, accesses: Floats, out: Floats) -> bool:
    """Accesses, energy and cycles of one mapping; False if a tile does not fit its memory.

    Args:
        pick: chain of each dimension (8).
        order: stationary tensor by stage (stages).
        tables: the chains.
        chip: the target.
        accesses: filled with [read | write | hop, stage, t] in words (3, stages, 3).
        out: filled with energy (J), cycles, words of the outermost memory, compute cycles, and the
            cycles that each stage needs for its accesses (4 + stages).
    """
    tiles, iterations, counts, spans = tables.tiles, tables.iterations, tables.counts, tables.spans
    rows, columns = tables.rows, tables.columns
    holds, holders, per_word, price = chip.holds, chip.holders, chip.per_word, chip.price
    capacity, scalars = chip.capacity, chip.scalars
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
            hull = _hull(stage, 0, 1, pick, spans, rows, columns)
            used += words(n * g * c * hull, per_word[stage, 0])
        if holds[stage, WEIGHT]:
            kernel = tiles[6, pick[6], stage] * tiles[7, pick[7], stage]
            used += words(g * k * c * kernel, per_word[stage, 1])
        if holds[stage, OUTPUT]:
            area = tiles[4, pick[4], stage] * tiles[5, pick[5], stage]
            used += words(n * g * k * area, per_word[stage, 3])
        if used > capacity[stage]:
            return False

    for kind in range(3):
        for stage in range(stages):
            for t in range(3):
                accesses[kind, stage, t] = 0.0
    split = tables.split
    for t in range(3):
        for i in range(stages):
            h = holders[t, i]
            if h < 0:
                break
            c = holders[t, i + 1]
            datapath = c < 0
            level = -1
            place = -1
            along = -1
            if datapath:
                c = stages
                for d in range(8):
                    split[d] = stages
            else:
                # The innermost loop of more than one iteration that the tensor depends on.
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
                # The datapath's tile is one product.
                passing = base * _hull(c - 1, 1, 0, pick, spans, rows, columns)
                at_child = base * _hull(c, 0, 0, pick, spans, rows, columns)
                moving = -1.0
                if chip.slides and not datapath and level >= 0:
                    along = ORDER[order[level], place]
                    moving = moving_rows(level, c, along, pick, tables)
                if moving >= 0 and along == 4:
                    passing = (
                        base * moving * columns[spans[5, pick[5], c - 1, 1], spans[7, pick[7], c - 1, 1], 0]
                    )
                    at_child = base * moving * columns[spans[5, pick[5], c, 0], spans[7, pick[7], c, 0], 0]
                elif moving >= 0:
                    passing = (
                        base * moving * rows[spans[4, pick[4], c - 1, 1], spans[6, pick[6], c - 1, 1], 0]
                    )
                    at_child = base * moving * rows[spans[4, pick[4], c, 0], spans[6, pick[6], c, 0], 0]
                # What the elements need together leaves once, or what each needs.
                at_parent = passing if chip.union else at_child
                kk = pick[2]
                accesses[0, h, t] += words(at_parent * counts[2, kk, split[2], h], per_word[h, t])
                if not datapath:
                    accesses[1, c, t] += words(at_child * counts[2, kk, split[2], c], per_word[c, t])
                for a in range(h, c):
                    reached = at_child if a == c - 1 else passing
                    accesses[2, a, t] += words(reached * counts[2, kk, split[2], a + 1], per_word[h, t])
            elif t == WEIGHT:
                base = 1.0 * g0 * k0 * c0 * r0 * s0
                visits = base * _visits(0, 4, 5, h, pick, split, counts)
                accesses[0, h, t] += words(visits, per_word[h, t])
                for a in range(h, c):
                    visits = base * _visits(0, 4, 5, a + 1, pick, split, counts)
                    accesses[2, a, t] += words(visits, per_word[h, t])
                if not datapath:
                    accesses[1, c, t] += words(visits, per_word[c, t])
            else:
                known = unique * _copies(h, pick, counts)
                visits = unique * _visits(3, 6, 7, h, pick, split, counts)
                finished = unique if known == unique and (not datapath or h == 0) else 0.0
                accesses[1, h, t] += words(visits - finished, per_word[h, 3])
                accesses[1, h, t] += words(finished, per_word[h, 2])
                accesses[0, h, t] += words(visits - known, per_word[h, 3])
                for a in range(h, c):
                    known = unique * _copies(a + 1, pick, counts)
                    visits = unique * _visits(3, 6, 7, a + 1, pick, split, counts)
                    # Sums were finished below if a further memory inside `c` did the adding.
                    finished = 0.0
                    if not datapath and known == unique and holders[t, i + 2] >= 0:
                        finished = unique
                    accesses[2, a, t] += words(visits - finished, per_word[h, 3])
                    accesses[2, a, t] += words(finished, per_word[h, 2])
                    if not datapath:
                        accesses[2, a, t] += words(visits - known, per_word[h, 3])
                if not datapath:
                    if chip.drains:
                        accesses[0, c, t] += words(visits - finished, per_word[c, 3])
                        accesses[0, c, t] += words(finished, per_word[c, 2])
                    accesses[1, c, t] += words(visits - known, per_word[c, 3])

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
    if chip.fills:
        cycles += filling(pick, tables, chip)
    out[0] = energy + scalars[1] * cycles
    out[1] = cycles
    return True


@lean
def prepare(bounds: Ints, chains: Ints, tables: Tables) -> None:
    """Fill the tables of the first chains[d] chains in `tables.tiles`."""
    tiles, factors, iterations = tables.tiles, tables.factors, tables.iterations
    counts, spans, sizes, used, shape = tables.counts, tables.spans, tables.sizes, tables.used, tables.shape
    stages = factors.shape[0]
    for d in range(8):
        if d >= 4:
            used[d - 4] = 0
        for i in range(chains[d]):
            for stage in range(stages):
                block = tiles[d, i, stage + 1] * factors[stage, d]
                iterations[d, i, stage] = (tiles[d, i, stage] + block - 1) // block
            chain_counts(tiles[d, i], factors[:, d], counts[d, i])
            if d < 4:
                continue
            for stage in range(stages + 1):
                for kind in range(2):
                    value = tiles[d, i, stage]
                    if kind == 1:
                        if stage == stages:
                            continue
                        value = min(tiles[d, i, stage + 1] * factors[stage, d], bounds[d])
                    index = 0
                    while index < used[d - 4] and sizes[d - 4, index] != value:
                        index += 1
                    if index == used[d - 4]:
                        sizes[d - 4, index] = value
                        used[d - 4] += 1
                    spans[d, i, stage, kind] = index
    for i in range(used[0]):
        for j in range(used[2]):
            stride, dilation, padding, skips = shape[0, 0], shape[0, 1], shape[0, 2], shape[0, 3]
            covered(
                bounds[4],
                bounds[6],
                sizes[0, i],
                sizes[2, j],
                stride,
                dilation,
                padding,
                skips,
                0,
                tables.rows[i, j],
            )
    for i in range(used[1]):
        for j in range(used[3]):
            stride, dilation, padding, skips = shape[1, 0], shape[1, 1], shape[1, 2], shape[1, 3]
            covered(
                bounds[5],
                bounds[7],
                sizes[1, i],
                sizes[3, j],
                stride,
                dilation,
                padding,
                skips,
                0,
                tables.columns[i, j],
            )

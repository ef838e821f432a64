"""The least cost of a nest on a target: bounds on lattices of tiles, and a best-first search that they prune.

Terms, besides those of `nest`:
- A *group* is memories that share one tile (all but the last are tied) with the array below the last. Group
  0 is the main memory; group `groups` stands for the datapath, whose tile is one. *Step* g chooses what lies
  between the tile of group g + 1 and the tile of group g: the array (so the block), the tensor that is
  stationary, and the loops.
- The *lattice* of a nest is all tiles whose extent along each dimension is one of its `size`s; a tile may be
  cut from another if it divides it, or if the other is the whole bound.
- For every step, `least[B]` is a lower bound of all links that cross this step or one further out, given
  the block: links are priced as if nothing were copied among processing elements, and the loops of each step
  are chosen for the best. What is stationary in step g depends on the loops only through one factor of the
  tile further out (`visits`), so the bound is a minimum over multiples of the block, which a sweep along each
  dimension finds for all blocks at once.
- The search takes the innermost array step first (blocks in the order of their bound), adds exact costs from
  the inside out, and drops what cannot beat the best so far. Complete mappings are priced by `nest.count`.

Pruning loses nothing because (1) of all loop orders of a step only three matter: the innermost loop of more
than one iteration is irrelevant to at most one tensor, and placing all loops that are irrelevant to it
innermost hurts no other; (2) every bound is at most the true cost; (3) of candidates for one block and one
stationary tensor, one that is no better in fixed cost, in price per visit, and in cycles can be left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from chipfit.cost.mapping.nest import (
    INPUT,
    OUTPUT,
    RELEVANT,
    WEIGHT,
    Chip,
    Flags,
    Floats,
    Ints,
    Tables,
    chain_counts,
    count,
)

ENERGY, LATENCY, EDP = 0, 1, 2

#: Of equal energy the faster mapping is taken, and the other way round.
TIE = 1e-9

PRICED = 15  # columns that `_price` fills
LEAF = 400  # candidates that take as long as one whole mapping
WAITING = 9  # what waits for steps further out: see `_resolve`
LABEL = 13  # columns of a label: bound, energy, cycles, what waits, price of a visit that runs on outwards
CLASSES = 6  # stationary: input, weight, output; the same with reuse that runs on outwards
#: Dimensions in the order in which cuts are made: those of the rows and of the columns of the input first.
INPUT_FIRST = (4, 6, 5, 7, 0, 1, 2, 3)
COMPARED = 64  # candidates of one block and one stationary tensor that are compared with each other


_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "no_cfunc_wrapper": True}
fast = numba.njit(**_OPTIONS)


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
    at: [d, i] index of the size of tile i (8, tiles).
    visits: [t, i] how often loops outside tile i that tensor t does not depend on step (3, tiles).
    elements: [input | weight | output, i] in tile i (3, tiles).
    hull: input fetched when every block of this extent is fetched once (tiles).
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
    at: Ints
    visits: Floats
    elements: Floats
    hull: Floats
    rows: Floats
    columns: Floats


class Plan(NamedTuple):
    """A target at given widths, in groups.

    stage_group: group of each stage (stages). last_stage: of each group (groups).
    sides: [group, rows | columns] of the array below, (1, 1) if none. may: [group, row | column, d]
        whether a side may unroll a dimension.
    loopable: [group, d] whether a memory may loop over it. allowed: [group, t] stationary tensors.
    link: [l, tensor | step | parent group | to the datapath | hull of the block | whether its parent's words
        wait for an array further out] (links, 6).
    price: [l, parent write (operands: read) | parent read (operands: 0) | child read | child write | hop
        at the step's array] of an element (J), then what a finished output takes less: [parent, child and
        hop] (links, 7).
    main_words: words of the main memory an element takes, where that is the parent, else 0 (links).
    fans: [l, parent | child] most copies that arrays further out make of a partial sum (links, 2).
    pending: [step, t] link whose parent lies further out behind an array, or -1 (groups, 3).
    discount: [l, g] most elements that read one word of it at once, in arrays from its parent down to
        group g, which is excluded (links, groups + 1).
    hops: [step, t] price of an element of a pending link at the array of the step (J) (groups, 3).
    most_copies: most copies of a partial sum in arrays of groups before (groups + 1).
    speed: [l, parent | child | main memory] cycles that an element takes there, then what a finished output
        takes less in each (links, 6).
    complete: whether `speed` has all cycles of memories of finite bandwidth. drains: 1 if sums are read on
        their way out, else 0.
    """

    stage_group: Ints
    last_stage: Ints
    sides: Ints
    may: Flags
    loopable: Flags
    allowed: Flags
    link: Ints
    price: Floats
    main_words: Floats
    fans: Floats
    pending: Ints
    discount: Floats
    hops: Floats
    most_copies: Floats
    speed: Floats
    complete: bool
    drains: float


class Work(NamedTuple):
    """Scratch of a search; `tiles` as in `Lattice`.

    least: [step, i] bound of this step and those further out (groups, tiles).
    within: [step, class, i] the same with this tensor stationary: its own links and those further out.
    rest: [group, i] bound of all links with a child up to this group, given its tile; inf if it does not
        fit (of the innermost group only that).
    first: [t, i] links with a child in group 1 when t is stationary in step 0 (3, tiles).
    words: [i] least words of the main memory for links with a child in group 1 (tiles).
    slices: scratch (tiles). heap: [i] block indices (tiles). keys: their bounds (tiles).
    labels: [step, i, :] bound, energy, cycles, then what waits, as in `_resolve`, and the price of a visit of
        a tensor whose reuse runs on outwards, counted for one visit (LABEL).
        label_at: tile, class, factors (8), tile of the innermost memory, way inside it.
    listed: [class, i, :] fixed cost, price of a visit, cycles, pending words (3), savings, whether anything
        waits; cycles of the memory further in, of this one, of the main memory, each fixed and for a visit;
        of those still further in. seen: [step, tile, steps without adding up, :] energy,
        cycles and what waits, of the best label; values: scratch (9). fans: [group, i]
        most processing elements that arrays of groups before can have at work on tile i.
        listed_at: factors (8), tile, (of the first entry) how many, way inside.
    """

    least: Floats
    within: Floats
    rest: Floats
    first: Floats
    words: Floats
    slices: Floats
    heap: Ints
    keys: Floats
    labels: Floats
    label_at: Ints
    listed: Floats
    listed_at: Ints
    seen: Floats
    values: Floats
    fans: Floats


@fast
def _sweep(values: Floats, d: int, lattice: Lattice) -> None:
    """Each value becomes the least among the multiples of its tile along one dimension."""
    step, many = lattice.step[d], lattice.many[d]
    if many == 1:
        return
    for base in range(0, values.shape[0], step * many):
        for i in range(many - 2, -1, -1):
            low = base + i * step
            for c in range(lattice.covering[d, i]):
                high = base + lattice.covers[d, i, c] * step
                for r in range(step):
                    if values[high + r] < values[low + r]:
                        values[low + r] = values[high + r]


@fast
def _sweep_down(values: Floats, d: int, lattice: Lattice) -> None:
    """Each value becomes the least among the tiles that may be cut from its tile along one dimension."""
    step, many = lattice.step[d], lattice.many[d]
    if many == 1:
        return
    for base in range(0, values.shape[0], step * many):
        for i in range(many - 1):
            low = base + i * step
            for c in range(lattice.covering[d, i]):
                high = base + lattice.covers[d, i, c] * step
                for r in range(step):
                    if values[low + r] < values[high + r]:
                        values[high + r] = values[low + r]


@fast
def fill_lattice(lattice: Lattice) -> None:
    """Fill what has an entry per tile: `at`, `visits`, `elements`, `hull`; the rest is there."""
    bounds, size, many = lattice.bounds, lattice.size, lattice.many
    base = 1.0 * bounds[0] * bounds[1] * bounds[3]
    index = np.zeros(8, np.int64)
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
        d = 0
        while d < 8:  # the first dimension runs fastest
            index[d] += 1
            if index[d] < many[d]:
                break
            index[d] = 0
            d += 1


@fast
def _words(elements: float, per_word: float) -> float:
    return np.ceil(elements / per_word) if per_word > 0 else -per_word * elements


@fast
def _fit(group: int, plan: Plan, lattice: Lattice, chip: Chip, out: Floats) -> None:
    """out[i] = 0 where tile i fits all memories of a group, else infinite."""
    for i in range(out.shape[0]):
        out[i] = 0.0
        for stage in range(plan.stage_group.shape[0]):
            if plan.stage_group[stage] != group:
                continue
            used = 0.0
            for t in range(3):
                if chip.holds[stage, t]:
                    used += _words(lattice.elements[t, i], chip.per_word[stage, t if t < 2 else 3])
            if used > chip.capacity[stage]:
                out[i] = np.inf


@fast
def fill_slopes(g: int, plan: Plan, lattice: Lattice, slopes: Floats, spared: Floats) -> None:
    """Prices of visits at step g: [tensor, of blocks | of tiles]; what partial sums save [once | a copy]."""
    whole = lattice.hull.shape[0] - 1
    slopes[:, :] = 0.0
    spared[:] = 0.0
    for link in range(plan.link.shape[0]):
        if plan.link[link, 1] != g:
            continue
        t = plan.link[link, 0]
        datapath = plan.link[link, 3] == 1
        unit = 1.0 if t == INPUT else lattice.elements[t, whole]
        slopes[t, 0] += unit * (plan.price[link, 0] + plan.price[link, 1]) / plan.discount[link, g]
        slopes[t, 1] += unit * (plan.price[link, 2] + plan.price[link, 3])
        slopes[t, 1] += unit * plan.price[link, 4] * (2.0 if t == OUTPUT and not datapath else 1.0)
        if t == OUTPUT:
            finish = max(plan.price[link, 5], 0.0) + max(plan.price[link, 6], 0.0)
            spared[0] += unit * (plan.price[link, 1] * plan.fans[link, 0] + finish)
            again = plan.price[link, 3] + (0.0 if datapath else plan.price[link, 4])
            spared[1] += unit * plan.fans[link, 1] * again


class Inner(NamedTuple):
    """What depends on the innermost memory and its array alone.

    fits: 0 for tiles that fit the memory, else infinity (tiles).
    takes: [t, i] least of what tiles that may be cut from block i take in the memory if tensor t is
        stationary (J); infinite if they do not reach it with all processing elements (3, tiles).
    """

    fits: Floats
    takes: Floats


@fast
def _reached(elements: int, lattice: Lattice, inner: Inner) -> Flags:
    """Whether a tile that fits reaches block i with all processing elements: by its iterations."""
    least_extent = np.ones((8, lattice.size.shape[1]))
    for d in range(8):
        for j in range(lattice.many[d]):
            least_extent[d, j] = lattice.size[d, j]
            for pair in range(lattice.by_block[d, j], lattice.by_block[d, j + 1]):
                extent = lattice.size[d, lattice.pair_tile[d, pair]] * lattice.pair_factor[d, pair]
                least_extent[d, j] = min(least_extent[d, j], extent)
    most, reached = np.zeros(inner.fits.shape[0]), np.zeros(inner.fits.shape[0], np.bool_)
    for i in range(most.shape[0]):
        iterations = -1.0 if inner.fits[i] < np.inf else 0.0
        for d in range(8):
            iterations *= lattice.size[d, lattice.at[d, i]]
        most[i] = iterations
    for d in range(8):
        _sweep_down(most, d, lattice)
    for i in range(most.shape[0]):
        needed = 1.0
        for d in range(8):
            needed *= least_extent[d, lattice.at[d, i]]
        reached[i] = needed <= -most[i] * elements
    return reached


@fast
def fill_inner(
    plan: Plan, lattice: Lattice, chip: Chip, slopes: Floats, spared: Floats, inner: Inner
) -> None:
    """Fill `inner`; `slopes` and `spared` are those of the step of the innermost array."""
    g = plan.last_stage.shape[0] - 2
    elements = plan.sides[g, 0] * plan.sides[g, 1]
    _fit(g + 1, plan, lattice, chip, inner.fits)
    reached = _reached(elements, lattice, inner)
    visits = lattice.visits
    for o in range(3):
        takes = inner.takes[o]
        for i in range(takes.shape[0]):
            total = inner.fits[i]
            if o != INPUT:
                total += lattice.hull[i] * visits[INPUT, i] * slopes[INPUT, 1]
            if o != WEIGHT:
                total += visits[WEIGHT, i] * slopes[WEIGHT, 1]
            if o != OUTPUT:
                total += visits[OUTPUT, i] * slopes[OUTPUT, 1]
                total -= spared[1] * min(visits[OUTPUT, i], float(elements))
            takes[i] = total
        for d in range(8):
            _sweep_down(takes, d, lattice)
        for i in range(takes.shape[0]):
            if not reached[i]:
                takes[i] = np.inf


@fast
def _reach_of_main(o: int, slope: float, plan: Plan, lattice: Lattice, values: Floats) -> None:
    """values[i]: what tensor o costs if it is stationary in the main memory, for block i."""
    free = plan.loopable[0].all() and plan.allowed[0, o]
    for i in range(values.shape[0]):
        values[i] = (lattice.hull[i] if o == INPUT else 1.0) * slope
        if free:
            continue
        for d in range(8):
            loop = lattice.at[d, i] < lattice.many[d] - 1
            if loop and (not plan.loopable[0, d] or (not plan.allowed[0, o] and RELEVANT[o, d] == 1)):
                values[i] = np.inf


@fast
def _reach_beyond(g: int, o: int, slope: float, plan: Plan, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o and of all further out, if its reuse runs on outwards."""
    values = work.within[g, o + 3]
    values[:] = work.first[o] if g == 1 else work.rest[g]
    for d in range(8):
        if plan.loopable[g, d] and RELEVANT[o, d] == 0:
            _sweep(values, d, lattice)
    for i in range(values.shape[0]):
        values[i] += (lattice.hull[i] if o == INPUT else 1.0) * slope


@fast
def _reach(g: int, o: int, slope: float, plan: Plan, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o, stationary here, and of all further out."""
    values, visits = work.within[g, o], lattice.visits[o]
    values[:] = work.rest[g]
    if o != INPUT:
        for i in range(values.shape[0]):
            values[i] += slope * visits[i]
    for d in range(8):
        outside = o == INPUT and d == 2
        if plan.loopable[g, d] and not outside and (plan.allowed[g, o] or RELEVANT[o, d] == 0):
            _sweep(values, d, lattice)
    if o != INPUT:
        return
    step = lattice.step[2]
    work.slices[:] = values
    for i in range(values.shape[0]):
        k = lattice.at[2, i]
        price = slope * lattice.hull[i]
        best = np.inf
        for u in range(lattice.upping[2, k] if plan.loopable[g, 2] else 1):
            other = lattice.ups[2, k, u]
            best = min(best, work.slices[i + (other - k) * step] + price * lattice.rounds[2, other])
        values[i] = best


@fast
def _bound_step(g: int, plan: Plan, lattice: Lattice, inner: Inner, work: Work) -> None:
    """Fill `within[g]` and `least[g]` from `rest[g]`."""
    slopes, spared = np.zeros((3, 2)), np.zeros(2)
    fill_slopes(g, plan, lattice, slopes, spared)
    innermost = g == plan.last_stage.shape[0] - 2
    least = work.least[g]
    least[:] = np.inf
    for o in range(3):
        slope = slopes[o, 0] + slopes[o, 1]
        if g == 0:
            _reach_of_main(o, slope, plan, lattice, work.within[0, o])
            work.within[0, o + 3, :] = np.inf
        else:
            _reach(g, o, slope, plan, lattice, work)
            _reach_beyond(g, o, slope, plan, lattice, work)
        a, b = (o + 1) % 3, (o + 2) % 3
        price_a, price_b, saved = slopes[a, 0], slopes[b, 0], spared[0]
        if not innermost:
            price_a, price_b, saved = price_a + slopes[a, 1], price_b + slopes[b, 1], saved + spared[1]
        elif o == OUTPUT:
            saved += spared[1]
        for i in range(least.shape[0]):
            total = min(work.within[g, o, i], work.within[g, o + 3, i]) - saved
            total += (lattice.hull[i] if a == INPUT else 1.0) * price_a * lattice.visits[a, i]
            total += (lattice.hull[i] if b == INPUT else 1.0) * price_b * lattice.visits[b, i]
            if innermost:
                total += inner.takes[o, i]
            least[i] = min(least[i], total)
            if g == 0:
                work.first[o, i] = total


@fast
def _bound_tiles(g: int, plan: Plan, lattice: Lattice, ways: Ints, many: int, work: Work) -> None:
    """Fill `rest[g + 1]`, which says already what fits, from `least[g]`, over all ways to unroll."""
    rest = work.rest[g + 1]
    for i in range(rest.shape[0]):
        if rest[i] == np.inf:
            continue
        best = np.inf
        for w in range(many):
            index = 0
            for d in range(8):
                j = lattice.block_of[d, lattice.at[d, i], ways[w, d]]
                if j < 0:
                    index = -1
                    break
                index += j * lattice.step[d]
            if index >= 0:
                best = min(best, work.least[g, index])
        rest[i] = best


@fast
def _packs(factors: Ints, g: int, plan: Plan, reach: Flags) -> bool:
    """Whether factors fit the two sides of an array. `reach`: scratch (2, rows + 1)."""
    rows, columns = plan.sides[g, 0], plan.sides[g, 1]
    total = 1
    for d in range(8):
        total *= factors[d]
    if total > rows * columns:
        return False
    if total == 1:
        return True
    now = 0
    for x in range(rows + 1):
        reach[now, x] = x == 1
    columns_only = 1
    for d in range(8):
        f = factors[d]
        if f == 1:
            continue
        on_rows, on_columns = plan.may[g, 0, d], plan.may[g, 1, d]
        if not on_rows:
            if not on_columns:
                return False
            columns_only *= f
            continue
        for x in range(rows + 1):
            reach[1 - now, x] = False
        for r in range(1, min(f, rows) + 1):
            if f % r != 0 or (r < f and not on_columns):
                continue
            for x in range(1, rows // r + 1):
                if reach[now, x]:
                    reach[1 - now, x * r] = True
        now = 1 - now
    fits = False
    for x in range(1, rows + 1):
        fits = fits or (reach[now, x] and total // x <= columns)
    return fits


@fast
def list_ways(g: int, plan: Plan, lattice: Lattice, ways: Ints) -> int:
    """All factors that fit an array and may occur, into `ways` (n, 8); how many, or -1 if too many."""
    elements = plan.sides[g, 0] * plan.sides[g, 1]
    reach = np.zeros((2, plan.sides[g, 0] + 1), np.bool_)
    current = np.ones(8, np.int64)
    found = 0
    d = 0
    # An odometer over factors that some cut of the dimension has.
    while True:
        if _packs(current, g, plan, reach):
            if found == ways.shape[0]:
                return -1
            ways[found] = current
            found += 1
        d = 0
        while d < 8:
            advanced = False
            if plan.may[g, 0, d] or plan.may[g, 1, d]:
                f = current[d] + 1
                others = 1
                for e in range(d + 1, 8):
                    others *= current[e]
                while f * others <= elements and f < lattice.block_of.shape[2]:
                    used = False
                    for i in range(lattice.many[d]):
                        used = used or lattice.block_of[d, i, f] >= 0
                    if used:
                        current[d] = f
                        advanced = True
                        break
                    f += 1
            if advanced:
                break
            current[d] = 1
            d += 1
        if d == 8:
            return found


@fast
def _price(
    g: int, tile: Ints, factors: Ints, extent: Ints, blocks: Floats, plan: Plan, lattice: Lattice, out: Floats
) -> None:
    """Links with a child in group g + 1, for one cut of a block.

    Args:
        g: the step.
        tile: index of the size of the tile of group g + 1 along each dimension (8).
        factors: processing elements (8).
        extent: index of the extent of the block in `rows` and `columns` (8).
        blocks: how many blocks there are along each dimension (8).
        plan: the target.
        lattice: the nest.
        out: filled with [tensor, cost | price of a visit if stationary | what does not change | words
            that wait for an array further out | the same for a visit | what is saved for each copy that
            arrays further out make, since the first of the sums of an element is not read | then cycles of
            memories, times the processing elements above: of the parent: in all, for a visit, what does not
            change; of the child: the same; of the main memory: in all, for a
            visit, what does not change] (3, PRICED).
    """
    whole = lattice.hull.shape[0] - 1
    for t in range(3):
        for k in range(PRICED):
            out[t, k] = 0.0
    base = 1.0 * lattice.bounds[0] * lattice.bounds[1] * lattice.bounds[3]
    for link in range(plan.link.shape[0]):
        if plan.link[link, 1] != g:
            continue
        t = plan.link[link, 0]
        datapath = plan.link[link, 3] == 1
        away = plan.discount[link, g]
        at_blocks = 1.0
        at_tiles = 1.0
        copies = 1.0
        for d in range(8):
            if RELEVANT[t, d] == 0:
                at_blocks *= blocks[d]
                at_tiles *= lattice.rounds[d, tile[d]]
                copies *= factors[d]
        parent = (plan.price[link, 0] + plan.price[link, 1]) / away
        child = plan.price[link, 2] + plan.price[link, 3]
        child += plan.price[link, 4] * (2.0 if t == OUTPUT and not datapath else 1.0)
        if t == INPUT:
            own = base * lattice.rows[tile[4], tile[6], 0] * lattice.columns[tile[5], tile[7], 0]
            sent = own
            if plan.link[link, 4] == 1:
                sent = base * lattice.rows[extent[4], extent[6], 0] * lattice.columns[extent[5], extent[7], 0]
        else:
            own = lattice.elements[t, whole]
            sent = own
        out[t, 0] += sent * at_blocks * parent + own * at_tiles * child
        out[t, 1] += sent * parent + own * copies * child
        if t == OUTPUT:
            credit = plan.price[link, 5]
            if plan.link[link, 2] == g:
                out[t, 5] += own * plan.price[link, 1]
            else:
                credit += plan.fans[link, 0] * plan.price[link, 1]
            out[t, 5] += own * copies * (plan.price[link, 3] + (0.0 if datapath else plan.price[link, 4]))
            if copies == 1.0:
                credit += plan.price[link, 6]
            out[t, 0] -= own * credit
            out[t, 2] -= own * credit
        times = 1.0
        drained = 1.0
        spared = 0.0
        finished = 0.0
        if t == OUTPUT:
            times, drained = 2.0, 1.0 + plan.drains
            spared = own * plan.fans[link, 0]
            finished = own
        parent, child, main = plan.speed[link, 0], plan.speed[link, 1], plan.speed[link, 2]
        once = plan.speed[link, 3] * finished
        if plan.link[link, 5] == 1:
            parent, once = 0.0, 0.0
            out[t, 3] = sent * at_blocks
            out[t, 4] = sent
        parent_once = parent * spared + once
        out[t, 6] += parent * times * sent * at_blocks - parent_once
        out[t, 7] += parent * times * sent
        out[t, 8] -= parent_once
        child_once = 0.0
        if t == OUTPUT:
            child_once = child * own * plan.fans[link, 1] * copies
            if copies == 1.0:
                child_once += plan.speed[link, 4] * finished
        out[t, 9] += child * drained * own * at_tiles - child_once
        out[t, 10] += child * drained * own * copies
        out[t, 11] -= child_once
        main_once = main * spared + plan.speed[link, 5] * finished
        out[t, 12] += main * times * sent * at_blocks / away - main_once
        out[t, 13] += main * times * sent / away
        out[t, 14] -= main_once


@fast
def _resolve(g: int, factors: Ints, plan: Plan, priced: Floats, outputs: float, pending: Floats) -> float:
    """What waits costs more, now that the array of step g is chosen; updates `pending`.

    `pending`: words of each tensor, what is saved for each copy of a partial sum, and cycles times
    the processing elements above: of memories further in, of the memory of the step further in as far as it
    is known, and of the main memory for what passes by others; then for each step whether it adds up no
    partial sums, as bits; last, as a result, cycles of the memory of this step for what waited (WAITING).
    """
    more = pending[3] * plan.most_copies[g + 1]
    copies = 1.0
    for d in range(8):
        if RELEVANT[OUTPUT, d] == 0:
            copies *= factors[d]
    pending[3] = pending[3] * copies + priced[OUTPUT, 5]
    pending[8] = 0.0
    pending[7] = 2.0 * pending[7] + (1.0 if copies == 1.0 else 0.0)
    more -= pending[3] * plan.most_copies[g]
    for t in range(3):
        link = plan.pending[g, t]
        if link < 0 or pending[t] == 0.0:
            continue
        price = plan.price[link, 0] + plan.price[link, 1]
        copies = 1.0
        for d in range(8):
            if RELEVANT[t, d] == 0:
                copies *= factors[d]
        more += pending[t] * plan.hops[g, t]
        more -= pending[t] * price / plan.discount[link, g + 1]
        pending[t] /= copies
        more += pending[t] * price / plan.discount[link, g]
        if plan.link[link, 2] == g:
            pending[8] += plan.speed[link, 0] * pending[t]
            if t == OUTPUT:
                pending[8] += plan.speed[link, 0] * (pending[t] - outputs * plan.fans[link, 0])
                pending[8] -= plan.speed[link, 3] * outputs
            pending[t] = 0.0
    return more


class Goal(NamedTuple):
    """What is least.

    kind: ENERGY, LATENCY or EDP. cap: most cycles. static: energy a cycle (J). streamed: words of
    the main memory besides. bandwidth: its words a cycle (0: no limit). tie: worth of a cycle (J) or of
    energy (cycles) among equals. words: least words of the main memory in all. timed: whether
    cycles count.
    """

    kind: int
    cap: float
    static: float
    streamed: float
    bandwidth: float
    tie: float
    words: float
    timed: bool


@fast
def score(energy: float, cycles: float, goal: Goal) -> float:
    """The objective; static energy is in `energy` already."""
    if cycles > goal.cap:
        return np.inf
    if goal.kind == ENERGY:
        return energy + goal.tie * cycles
    if goal.kind == LATENCY:
        return cycles + goal.tie * energy
    return energy * cycles


@fast
def _bound(energy: float, cycles: float, words: float, goal: Goal) -> float:
    if goal.bandwidth > 0:
        cycles = max(cycles, (max(words, goal.words) + goal.streamed) / goal.bandwidth)
    return score(energy + goal.static * cycles, cycles, goal)


@fast
def _loops_here(o: int, block: int, blocks: Floats, lattice: Lattice) -> bool:
    """Whether a step must loop along a dimension of tensor o: the block does not divide the bound."""
    loops = False
    for d in range(8):
        loops = loops or (RELEVANT[o, d] == 1 and blocks[d] > lattice.rounds[d, lattice.at[d, block]])
    return loops


@fast
def _consider(
    g: int,
    block: int,
    energy: float,
    cycles: float,
    pending: Floats,
    factors: Ints,
    tile: int,
    inside: int,
    blocks: Floats,
    runs: int,
    run: float,
    priced: Floats,
    plan: Plan,
    lattice: Lattice,
    goal: Goal,
    best: float,
    work: Work,
) -> None:
    """List a cut of a block for every stationary tensor with which it may beat the best.

    `runs` is the tensor whose reuse runs on from the step further in, or -1, and `run` its price of a visit.
    If it stays no longer here, its reuse did not run on.
    """
    for c in range(CLASSES):
        o = c % 3
        if runs >= 0 and o != runs and plan.allowed[g, runs]:
            continue
        reach = work.within[g, c, block]
        if reach == np.inf or (c >= 3 and _loops_here(o, block, blocks, lattice)):
            continue
        fixed, price = energy + priced[o, 2], priced[o, 1]
        if o == runs:
            fixed, price, reach = fixed - run, price + run, reach + run
        for t in range(3):
            if t != o:
                fixed += priced[t, 0]
        elements = 1.0
        for d in range(8):
            elements *= factors[d]
        within = pending[4] / elements
        if _bound(fixed + reach, max(cycles, within) / work.fans[g, block], 0.0, goal) >= best:
            continue
        used = work.listed_at[c, 0, 9]
        if used == work.listed.shape[1]:
            continue  # the caller makes room in time
        entry = work.listed[c, used]
        entry[0], entry[1], entry[2] = fixed, price, cycles
        waits = pending[3] > 0 and plan.most_copies[g] > 1
        for t in range(3):
            waits = waits or pending[t] > 0 or priced[t, 3] > 0
            entry[3 + t] = priced[t, 4] if t == o and priced[t, 4] > 0 else priced[t, 3]
            if pending[t] > 0:
                entry[3 + t] = pending[t]
        entry[6] = pending[3]
        entry[7] = 1.0 if waits else 0.0
        a, b = (o + 1) % 3, (o + 2) % 3
        entry[8], entry[9] = pending[5] + priced[a, 9] + priced[b, 9] + priced[o, 11], priced[o, 10]
        entry[8], entry[9] = entry[8] / elements, entry[9] / elements
        entry[10], entry[11] = priced[a, 6] + priced[b, 6] + priced[o, 8] + pending[8], priced[o, 7]
        entry[12], entry[13] = pending[6] + priced[a, 12] + priced[b, 12] + priced[o, 14], priced[o, 13]
        entry[14], entry[15] = within, pending[7]
        dominated = False
        if not waits and (plan.complete or not goal.timed):
            for i in range(min(used, COMPARED)):
                other = work.listed[c, i]
                if (
                    other[15] == entry[15]
                    and other[0] <= fixed
                    and other[1] <= price
                    and other[2] <= cycles
                    and other[7] == 0.0
                ):
                    dominated = True
                    if goal.timed:
                        for k in range(8, 15):
                            dominated = dominated and other[k] <= entry[k]
                    if dominated:
                        break
        if dominated:
            continue
        work.listed_at[c, used, 8] = tile
        work.listed_at[c, used, 10] = inside
        for d in range(8):
            work.listed_at[c, used, d] = factors[d]
        work.listed_at[c, 0, 9] = used + 1


@fast
def _known(g: int, i: int, plan: Plan, goal: Goal, work: Work) -> bool:
    """Whether a label is no better in anything than one seen for its tile; notes it otherwise."""
    label, where = work.labels[g, i], work.label_at[g, i]
    if label[10] >= work.seen.shape[2]:
        return False
    best = work.seen[g, where[0], int(label[10])]
    energy = label[1] + label[6] * plan.most_copies[g]
    for t in range(3):
        link = plan.pending[g - 1, t]
        if link >= 0:
            energy -= label[3 + t] * (plan.price[link, 0] + plan.price[link, 1]) / plan.discount[link, g]
    worse, better = True, True
    for k in range(9):
        if not goal.timed and k > 5:
            continue
        if k == 0:
            value = energy
        elif k == 1:
            value = label[2]
        elif k < 5:
            value = label[1 + k]  # what waits
        elif k == 5:
            value = -label[6]
        else:
            value = label[1 + k]
        worse = worse and value >= best[k]
        better = better and value <= best[k]
        work.values[k] = value
    if worse:
        return True
    # Reuse that runs on outwards makes a label look better than it is.
    if better and where[1] < 3 and label[12] >= 0:
        for k in range(9):
            best[k] = work.values[k]
    return False


@fast
def _better_half(g: int, have: int, work: Work) -> int:
    """Keep up to half of the labels of a step, with less than the mean bound; how many are left."""
    middle = 0.0
    for i in range(have):
        middle += work.labels[g, i, 0] / have
    kept = 0
    for i in range(have):
        if work.labels[g, i, 0] < middle and kept < have // 2:
            for k in range(work.labels.shape[2]):
                work.labels[g, kept, k] = work.labels[g, i, k]
            for k in range(work.label_at.shape[2]):
                work.label_at[g, kept, k] = work.label_at[g, i, k]
            kept += 1
    return kept if kept > 0 else have // 2


@fast
def _spread(
    g: int,
    block: int,
    plan: Plan,
    lattice: Lattice,
    goal: Goal,
    best: float,
    work: Work,
    have: int,
    dive: bool,
    memory: bool,
    unsure: bool,
    found: Found,
) -> int:
    """Labels of group g for everything listed for a block; how many there are now.

    A dive keeps only the label of the least bound, and that of the least bound among those whose reuse runs
    on outwards, which are too good to be compared with others. If there are too many, a better half stays,
    and how many went is counted. `unsure`: the labels may look better than they are.
    """
    room = work.labels.shape[1]
    if dive and have == 0:
        work.labels[g, :2, 0] = np.inf
        have = 2
    digits, chosen = np.zeros(8, np.int64), np.zeros(8, np.int64)
    for c in range(CLASSES):
        o = c % 3
        for i in range(work.listed_at[c, 0, 9]):
            entry = work.listed[c, i]
            fixed, price = entry[0], entry[1]
            at = block
            for d in range(8):
                digits[d] = lattice.at[d, block]
                chosen[d] = 0
            if g == 0:
                at = lattice.hull.shape[0] - 1
            while True:
                if g == 0:
                    further = 0.0
                elif c >= 3 and g == 1:
                    further = work.first[o, at]
                else:
                    further = work.rest[g, at]
                found.numbers[6] += 1
                if further < np.inf:
                    visits = lattice.visits[o, at] if c < 3 else 1.0
                    energy = fixed + price * visits
                    inner = max(entry[14], entry[8] + entry[9] * visits)
                    here = entry[10] + entry[11] * visits
                    away = entry[12] + entry[13] * visits
                    words = away * goal.bandwidth + (work.words[at] if g == 1 else 0.0)
                    reached = max(entry[2], max(inner, here)) / work.fans[g, at]
                    bound = _bound(energy + further, reached, words, goal)
                    if bound < best:
                        place = have
                        if dive:
                            place = 1 if c >= 3 and g >= 2 else 0
                            if work.labels[g, place, 0] <= bound:
                                place = -1
                        if place == room:
                            have = _better_half(g, have, work)
                            found.numbers[5] += place - have
                            place = have
                        if place >= 0:
                            label = work.labels[g, place]
                            label[0], label[1], label[2] = bound, energy, entry[2]
                            for t in range(3):
                                per_visit = t == o and plan.pending[g, t] < 0
                                label[3 + t] = entry[3 + t] * (visits if per_visit else 1.0)
                            label[6], label[7], label[8], label[9] = entry[6], inner, here, away
                            label[10], label[11] = entry[15], 0.0
                            label[12] = -1.0 if unsure else (price if c >= 3 else 0.0)
                            where = work.label_at[g, place]
                            where[0], where[1] = at, c
                            where[10], where[11] = work.listed_at[c, i, 8], work.listed_at[c, i, 10]
                            for d in range(8):
                                where[2 + d] = work.listed_at[c, i, d]
                            if not dive and not (memory and g > 0 and _known(g, place, plan, goal, work)):
                                have += 1
                if g == 0:
                    break
                d = 0
                while d < 8:
                    vary = plan.loopable[g, d] and lattice.many[d] > 1
                    if RELEVANT[o, d] == 1 and (c >= 3 or not plan.allowed[g, o]):
                        vary = False
                    if vary:
                        low = digits[d]
                        chosen[d] += 1
                        if chosen[d] < lattice.upping[d, low]:
                            was = lattice.ups[d, low, chosen[d] - 1]
                            at += (lattice.ups[d, low, chosen[d]] - was) * lattice.step[d]
                            break
                        at += (low - lattice.ups[d, low, chosen[d] - 1]) * lattice.step[d]
                        chosen[d] = 0
                    d += 1
                if d == 8:
                    break
    return have


class Found(NamedTuple):
    """The best mapping, and scratch.

    tiles: [stage, d], the datapath's last (stages + 1, 8). factors: [stage, d]. stationary: by stage.
    numbers: [blocks opened, cuts priced, labels, mappings priced, least bound, labels dropped,
        candidates] (7).
    chains, order, accesses, out: scratch of `nest.count`; indices: of sizes, by dimension and stage.
    """

    tiles: Ints
    factors: Ints
    stationary: Ints
    numbers: Floats
    chains: Ints
    order: Ints
    accesses: Floats
    out: Floats
    indices: Ints


@fast
def _leaf(
    plan: Plan,
    lattice: Lattice,
    chip: Chip,
    tables: Tables,
    goal: Goal,
    inside: Ints,
    position: Ints,
    found: Found,
    work: Work,
) -> float:
    """The true score of a complete mapping, left in `tables.tiles`, `tables.factors`, `found.order`."""
    groups = plan.last_stage.shape[0]
    stages = plan.stage_group.shape[0]
    big = groups - 2
    innermost = work.label_at[big, position[big]]
    for stage in range(stages):
        g = plan.stage_group[stage]
        found.order[stage] = OUTPUT
        for d in range(8):
            if g == 0:
                index = lattice.many[d] - 1
            elif g == groups - 1:
                index = lattice.at[d, innermost[10]]
            else:
                index = lattice.at[d, work.label_at[g, position[g], 0]]
            found.indices[d, stage] = index
            tables.tiles[d, 0, stage] = lattice.size[d, index]
            tables.factors[stage, d] = 1
            if plan.last_stage[g] == stage:
                if g == groups - 1:
                    tables.factors[stage, d] = inside[innermost[11], d]
                else:
                    tables.factors[stage, d] = work.label_at[g, position[g], 2 + d]
        if g < groups - 1:
            o = work.label_at[g, position[g], 1] % 3
            if not plan.allowed[g, o]:
                o = WEIGHT if plan.allowed[g, WEIGHT] else (OUTPUT if plan.allowed[g, OUTPUT] else INPUT)
            found.order[stage] = o
    # What `nest.prepare` would fill, from the tables of the lattice.
    for d in range(8):
        tables.tiles[d, 0, stages] = 1
        found.indices[d, stages] = 0
        for stage in range(stages):
            f = tables.factors[stage, d]
            block = tables.tiles[d, 0, stage + 1] * f
            tables.iterations[d, 0, stage] = (tables.tiles[d, 0, stage] + block - 1) // block
            tables.spans[d, 0, stage, 0] = found.indices[d, stage]
            tables.spans[d, 0, stage, 1] = lattice.extent_of[d, found.indices[d, stage + 1], f]
        tables.spans[d, 0, stages, 0] = 0
        chain_counts(tables.tiles[d, 0], tables.factors[:, d], tables.counts[d, 0])
    if not count(found.chains, found.order, tables, chip, found.accesses, found.out):
        return np.inf
    return score(found.out[0], found.out[1], goal)


@fast
def _sift(heap: Ints, keys: Floats, start: int, size: int) -> None:
    root = start
    while True:
        child = 2 * root + 1
        if child >= size:
            return
        if child + 1 < size and keys[heap[child + 1]] < keys[heap[child]]:
            child += 1
        if keys[heap[root]] <= keys[heap[child]]:
            return
        swap = heap[root]
        heap[root] = heap[child]
        heap[child] = swap
        root = child


@fast
def _fans(group: int, plan: Plan, lattice: Lattice, out: Floats) -> None:
    """out[i]: most processing elements that arrays of groups before can have at work on tile i."""
    out[:] = 1.0
    for g in range(group):
        for side in range(2):
            if plan.sides[g, side] == 1:
                continue
            for i in range(out.shape[0]):
                rounds = 1.0
                for d in range(8):
                    if plan.may[g, side, d]:
                        rounds *= lattice.rounds[d, lattice.at[d, i]]
                out[i] *= min(rounds, plan.sides[g, side])


@fast
def _main_words(plan: Plan, lattice: Lattice, work: Work) -> None:
    """Fill `words`, for a main memory without an array below."""
    whole = lattice.hull.shape[0] - 1
    work.words[:] = np.inf
    for o in range(3):
        for i in range(whole + 1):
            if work.first[o, i] == np.inf:
                continue
            total = 0.0
            for link in range(plan.link.shape[0]):
                if plan.link[link, 1] != 0 or plan.link[link, 2] != 0:
                    continue
                t = plan.link[link, 0]
                amount = lattice.hull[i] if t == INPUT else lattice.elements[t, whole]
                visits = 1.0 if t == o else lattice.visits[t, i]
                total += amount * plan.main_words[link] * (2 * visits - 1 if t == OUTPUT else visits)
            work.words[i] = min(work.words[i], total)


@fast
def prepare_bounds(
    plan: Plan,
    lattice: Lattice,
    chip: Chip,
    ways: Ints,
    many: Ints,
    inner: Inner,
    timed: bool,
    work: Work,
) -> None:
    """Fill the bounds of all steps outside the innermost memory.

    Args:
        plan: the target in groups.
        lattice: the tiles.
        chip: the target.
        ways: ways to unroll by group, as `list_ways`.
        many: how many.
        inner: as `fill_inner`.
        timed: whether cycles count.
        work: filled.
    """
    groups = plan.last_stage.shape[0]
    for g in range(groups - 1):
        _fans(g, plan, lattice, work.fans[g])
        if g > 0:
            _fit(g, plan, lattice, chip, work.rest[g])
    work.rest[groups - 1] = inner.fits
    for g in range(groups - 1):
        _bound_step(g, plan, lattice, inner, work)
        array = plan.sides[g, 0] * plan.sides[g, 1] > 1
        if g == 0:
            work.words[:] = 0.0
            if timed and not array:
                _main_words(plan, lattice, work)
        if g + 1 == groups - 1:
            break
        rest = work.rest[g + 1]
        if array:
            _bound_tiles(g, plan, lattice, ways[g], many[g], work)
        else:
            rest += work.least[g]
        if g == 0:
            for o in range(3):
                for i in range(rest.shape[0]):
                    if rest[i] == np.inf or array:
                        work.first[o, i] = rest[i]


@fast
def price_inside(plan: Plan, lattice: Lattice, inside: Ints, cost: Floats, pending: Floats) -> None:
    """The links to the datapath, for every way to unroll below the innermost memory.

    `cost`: filled with [way, energy | cycles]; `pending`: with [way, t].
    """
    g = plan.last_stage.shape[0] - 1
    tile, extent, blocks, priced = (
        np.zeros(8, np.int64),
        np.zeros(8, np.int64),
        np.zeros(8),
        np.zeros((3, PRICED)),
    )
    for w in range(inside.shape[0]):
        cost[w, 1] = 1.0
        for d in range(8):
            j = lattice.block_of[d, 0, inside[w, d]]
            extent[d] = lattice.extent_of[d, 0, inside[w, d]]
            blocks[d] = (lattice.bounds[d] + inside[w, d] - 1) // inside[w, d]
            cost[w, 1] *= blocks[d]
            if j < 0:
                cost[w, 1] = np.inf
        _price(g, tile, inside[w], extent, blocks, plan, lattice, priced)
        cost[w, 0] = priced[0, 0] + priced[1, 0] + priced[2, 0] - priced[2, 5] * plan.most_copies[g]
        for t in range(3):
            pending[w, t] = priced[t, 3]
        pending[w, 3] = priced[2, 5]
        pending[w, 4] = 0.0
        pending[w, 7] = 0.0
        pending[w, 8] = 0.0
        pending[w, 5] = priced[0, 6] + priced[1, 6] + priced[2, 6]
        pending[w, 6] = priced[0, 12] + priced[1, 12] + priced[2, 12]


@fast
def best_first(
    plan: Plan,
    lattice: Lattice,
    chip: Chip,
    tables: Tables,
    goal: Goal,
    base: float,
    inside: Ints,
    inside_cost: Floats,
    inside_pending: Floats,
    ways: Ints,
    many: Ints,
    limit: float,
    probes: int,
    effort: float,
    found: Found,
    work: Work,
) -> float:
    """The least score below `limit` (or `limit`), and its mapping in `found`.

    Args:
        plan: the target in groups.
        lattice: the tiles.
        chip: the target as `nest.count` reads it.
        tables: scratch of `nest.count` for one mapping, with the rows and columns of the lattice.
        goal: what is least.
        base: energy that every mapping takes (J).
        inside: ways to unroll below the innermost memory.
        inside_cost: their costs, as `price_inside`.
        inside_pending: what waits, as `price_inside`.
        ways: ways to unroll by group, as `list_ways`.
        many: how many.
        limit: a score that is to be beaten.
        effort: candidates looked at after which the search gives up; a whole mapping counts as LEAF.
        probes: if not 0, only the most promising mapping of so many blocks is looked at.
        found: filled.
        work: bounds, as `prepare_bounds` left them.
    """
    groups = plan.last_stage.shape[0]
    big = groups - 2
    tiles = lattice.hull.shape[0]
    stages = plan.stage_group.shape[0]
    elements = plan.sides[big, 0] * plan.sides[big, 1]
    reach = np.zeros((2, plan.sides[big, 0] + 1), np.bool_)
    outputs = float(lattice.elements[OUTPUT, tiles - 1])
    factors, tile, extent = np.ones(8, np.int64), np.zeros(8, np.int64), np.zeros(8, np.int64)
    blocks, priced, pending = np.zeros(8), np.zeros((3, PRICED)), np.zeros(WAITING)
    position, have = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    dims, active = np.zeros(8, np.int64), 0
    rows_from, columns_from = -1, -1
    for d in INPUT_FIRST:
        if lattice.many[d] > 1:
            dims[active] = d
            if d == 4 or d == 6:
                rows_from = active
            elif d == 5 or d == 7:
                columns_from = active
            active += 1
    active = max(active, 1)
    input_base = 1.0 * lattice.bounds[0] * lattice.bounds[1] * lattice.bounds[3]
    least_rows, least_columns = lattice.rows[:, :, 0].min(), lattice.columns[:, :, 0].min()
    first, last, place = np.zeros(9, np.int64), np.zeros(9, np.int64), np.zeros(9, np.int64)
    products, indices = np.ones(9, np.int64), np.zeros(9, np.int64)
    reach_of, slopes, spared, copies = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(2), np.ones(9)
    loops_here = np.zeros((3, 9), np.int64)
    of_tiles, of_blocks, rest_of = np.ones((3, 9)), np.ones((3, 9)), np.ones((3, 9))
    fill_slopes(big, plan, lattice, slopes, spared)
    best = limit
    least_inside, whole_inside, saved_inside, fastest_inside = np.inf, np.inf, 0.0, np.inf
    for w in range(inside.shape[0]):
        least_inside = min(least_inside, inside_cost[w, 0])
        fastest_inside = min(fastest_inside, inside_cost[w, 1])
        whole_inside = min(whole_inside, inside_cost[w, 0] + inside_pending[w, 3] * plan.most_copies[big + 1])
        saved_inside = max(saved_inside, inside_pending[w, 3] * plan.most_copies[big])
    for d in range(8):
        blocks[d] = 1.0
    size = 0
    found.numbers[4] = np.inf
    for i in range(tiles):
        if work.least[big, i] == np.inf:
            continue
        most, sums = 1.0, 1.0
        for d in range(8):
            wide = lattice.size[d, lattice.at[d, i]]
            most *= wide
            if RELEVANT[OUTPUT, d] == 0:
                sums *= wide
        cycles = float(fastest_inside / (min(most, elements) * work.fans[big, i]))
        within = max(least_inside, whole_inside - saved_inside * min(sums, float(elements)))
        work.keys[i] = _bound(base + within + work.least[big, i], cycles, 0.0, goal)
        found.numbers[4] = min(found.numbers[4], work.keys[i])
        if work.keys[i] < best:
            work.heap[size] = i
            size += 1
    all_blocks = size
    opened = 0
    for i in range(size // 2 - 1, -1, -1):
        _sift(work.heap, work.keys, i, size)
    # Under a cap on cycles a dive may end above it, and then says nothing.
    dive = probes > 0 or (best == np.inf and goal.cap == np.inf)
    # With several steps to go, labels that reach the same tile are compared.
    memory = big > 1 and (plan.complete or not goal.timed)
    if memory:
        work.seen[:, :, :, :] = np.inf
    while size > 0:
        block = work.heap[0]
        if work.keys[block] >= best:
            break
        size -= 1
        work.heap[0] = work.heap[size]
        work.heap[size] = block  # kept behind the heap, for a second round after the dive
        _sift(work.heap, work.keys, 0, size)
        found.numbers[0] += 1
        opened += 1
        if found.numbers[6] > effort and best < np.inf:
            found.numbers[5] += 1
            break
        if probes > 0 and opened > probes and best < np.inf:
            break
        # All cuts of the block into tiles of the innermost memory and processing elements, dimension by
        # dimension. Within one, tiles grow from cut to cut.
        for c in range(CLASSES):
            work.listed_at[c, 0, 9] = 0
        for o in range(3):
            reach_of[o, 0] = min(work.within[big, o, block], work.within[big, o + 3, block])
            reach_of[o, 1] = work.within[big, o, block]
        have[big] = 0
        for t in range(3):
            rest_of[t, active] = 1.0
        for k in range(active - 1, -1, -1):
            d = dims[k]
            j = lattice.at[d, block]
            first[k], last[k] = lattice.by_block[d, j], lattice.by_block[d, j + 1]
            for t in range(3):
                rest_of[t, k] = rest_of[t, k + 1] * (lattice.rounds[d, j] if RELEVANT[t, d] == 0 else 1.0)
        depth = 0
        place[0] = first[0]
        while depth >= 0:
            if place[depth] == last[depth]:
                depth -= 1
                if depth >= 0:
                    place[depth] += 1
                continue
            d = dims[depth]
            pair = place[depth]
            product = products[depth] * lattice.pair_factor[d, pair]
            if product > elements:
                place[depth] += 1
                continue
            index = indices[depth] + lattice.pair_tile[d, pair] * lattice.step[d]
            if work.rest[groups - 1, index] == np.inf:
                place[depth] = last[depth]
                continue
            # A bound from tables, before anything is worked out; dimensions to come are taken for the best.
            tile[d], extent[d] = lattice.pair_tile[d, pair], lattice.pair_extent[d, pair]
            rounds, sides = lattice.rounds[d, tile[d]], lattice.pair_blocks[d, pair]
            many_sums = copies[depth]
            for t in range(3):
                other = RELEVANT[t, d] == 0
                of_tiles[t, depth + 1] = of_tiles[t, depth] * (rounds if other else 1.0)
                of_blocks[t, depth + 1] = of_blocks[t, depth] * (sides if other else 1.0)
                loops = not other and sides > lattice.rounds[d, lattice.at[d, block]]
                loops_here[t, depth + 1] = 1 if loops else loops_here[t, depth]
            if RELEVANT[OUTPUT, d] == 0:
                many_sums *= lattice.pair_factor[d, pair]
            hull, hull_of_tiles = input_base, input_base
            if depth >= rows_from:
                hull *= lattice.rows[extent[4], extent[6], 0]
                hull_of_tiles *= lattice.rows[tile[4], tile[6], 0]
            else:
                hull *= least_rows
                hull_of_tiles *= least_rows
            if depth >= columns_from:
                hull *= lattice.columns[extent[5], extent[7], 0]
                hull_of_tiles *= lattice.columns[tile[5], tile[7], 0]
            else:
                hull *= least_columns
                hull_of_tiles *= least_columns
            n = depth + 1
            c0 = hull * of_blocks[0, n] * rest_of[0, n] * slopes[0, 0]
            c0 += hull_of_tiles * of_tiles[0, n] * rest_of[0, n] * slopes[0, 1]
            c1 = (of_blocks[1, n] * slopes[1, 0] + of_tiles[1, n] * slopes[1, 1]) * rest_of[1, n]
            c2 = (of_blocks[2, n] * slopes[2, 0] + of_tiles[2, n] * slopes[2, 1]) * rest_of[2, n]
            low = min(c1 + c2 + reach_of[0, loops_here[0, n]], c0 + c2 + reach_of[1, loops_here[1, n]])
            low = min(low, c0 + c1 + reach_of[2, loops_here[2, n]])
            most_sums = many_sums if n == active else many_sums * (elements // product)
            low += base + whole_inside - spared[0] - (spared[1] + saved_inside) * most_sums
            at_work = product if n == active else elements
            cycles = fastest_inside / (at_work * work.fans[big, block])
            if _bound(low, float(cycles), 0.0, goal) >= best:
                place[depth] += 1
                continue
            if n < active:
                depth = n
                products[depth] = product
                indices[depth] = index
                copies[depth] = many_sums
                place[depth] = first[depth]
                continue
            place[depth] += 1
            for k in range(active):
                e = dims[k]
                factors[e] = lattice.pair_factor[e, place[k] if k < depth else pair]
            if not _packs(factors, big, plan, reach):
                continue
            for k in range(active):
                e = dims[k]
                which = place[k] if k < depth else pair
                tile[e] = lattice.pair_tile[e, which]
                extent[e] = lattice.pair_extent[e, which]
                blocks[e] = lattice.pair_blocks[e, which]
            _price(big, tile, factors, extent, blocks, plan, lattice, priced)
            found.numbers[1] += 1
            full = False
            for w in range(inside.shape[0]):
                good = inside_cost[w, 1] < np.inf
                cycles = inside_cost[w, 1]
                for e in range(8):
                    size_here = lattice.size[e, tile[e]]
                    if size_here % inside[w, e] != 0 and size_here != lattice.bounds[e]:
                        good = False
                    if not plan.loopable[groups - 1, e] and size_here > inside[w, e]:
                        good = False
                    cycles *= blocks[e] / lattice.rounds[e, tile[e]]
                if not good:
                    continue
                for t in range(WAITING):
                    pending[t] = inside_pending[w, t]
                energy = base + inside_cost[w, 0] + _resolve(big, factors, plan, priced, outputs, pending)
                _consider(
                    big,
                    block,
                    energy,
                    cycles,
                    pending,
                    factors,
                    index,
                    w,
                    blocks,
                    -1,
                    0.0,
                    priced,
                    plan,
                    lattice,
                    goal,
                    best,
                    work,
                )
                for c in range(CLASSES):
                    full = full or work.listed_at[c, 0, 9] == work.listed.shape[1]
                if full:
                    have[big] = _spread(
                        big,
                        block,
                        plan,
                        lattice,
                        goal,
                        best,
                        work,
                        int(have[big]),
                        dive,
                        memory,
                        False,
                        found,
                    )
                    full = False
                    for c in range(CLASSES):
                        work.listed_at[c, 0, 9] = 0
        have[big] = _spread(
            big, block, plan, lattice, goal, best, work, int(have[big]), dive, memory, False, found
        )
        # Depth first through the steps further out.
        g = big
        position[g] = -1
        while g <= big:
            position[g] += 1
            if position[g] >= have[g]:
                g += 1
                continue
            label = work.labels[g, position[g]]
            if label[0] >= best:
                continue
            if found.numbers[6] > effort and best < np.inf:
                found.numbers[5] += 1
                break
            found.numbers[2] += 1
            if g == 0:
                found.numbers[3] += 1
                found.numbers[6] += LEAF
                value = _leaf(plan, lattice, chip, tables, goal, inside, position, found, work)
                if value < best:
                    best = value
                    for stage in range(stages + 1):
                        for d in range(8):
                            found.tiles[stage, d] = tables.tiles[d, 0, stage]
                            if stage < stages:
                                found.factors[stage, d] = tables.factors[stage, d]
                    found.stationary[:] = found.order
                continue
            where = work.label_at[g, position[g]]
            runs = where[1] - 3 if where[1] >= 3 else -1
            g -= 1
            unsure = label[12] < 0 or (runs >= 0 and not plan.allowed[g, runs])
            position[g] = -1
            have[g] = 0
            for w in range(many[g]):
                index = 0
                cycles = label[2]
                for d in range(8):
                    tile[d] = lattice.at[d, where[0]]
                    factors[d] = ways[g, w, d]
                    j = lattice.block_of[d, tile[d], factors[d]]
                    if j < 0:
                        index = -1
                        break
                    index += j * lattice.step[d]
                    extent[d] = lattice.extent_of[d, tile[d], factors[d]]
                    wide = lattice.size[d, tile[d]] * factors[d]
                    blocks[d] = (lattice.bounds[d] + wide - 1) // wide
                    cycles *= blocks[d] / lattice.rounds[d, tile[d]]
                if index < 0:
                    continue
                for c in range(CLASSES):
                    work.listed_at[c, 0, 9] = 0
                for t in range(WAITING):
                    pending[t] = label[3 + t]
                _price(g, tile, factors, extent, blocks, plan, lattice, priced)
                energy = label[1] + _resolve(g, factors, plan, priced, outputs, pending)
                _consider(
                    g,
                    index,
                    energy,
                    cycles,
                    pending,
                    factors,
                    0,
                    0,
                    blocks,
                    runs,
                    label[12],
                    priced,
                    plan,
                    lattice,
                    goal,
                    best,
                    work,
                )
                have[g] = _spread(
                    g, index, plan, lattice, goal, best, work, int(have[g]), dive, memory, unsure, found
                )
        if dive and best < np.inf and probes == 0:
            dive = False
            size = all_blocks
            for i in range(size // 2 - 1, -1, -1):
                _sift(work.heap, work.keys, i, size)
    return best

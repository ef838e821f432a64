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

from typing import NamedTuple

import numpy as np

from chipfit.cost.mapping.lattice import Lattice, sweep, sweep_down
from chipfit.cost.mapping.model import INPUT, OUTPUT, RELEVANT, WEIGHT, Floats, Ints
from chipfit.cost.mapping.nest import Chip
from chipfit.cost.mapping.plan import Plan
from chipfit.cost.mapping.rows import words
from chipfit.jit import inner as only_compiled
from chipfit.jit import lean

CLASSES = 6  # stationary: input, weight, output; the same with reuse that runs on outwards


class Work(NamedTuple):
    """Scratch of a search; `tiles` as in `Lattice`.

    least: [step, i] bound of this step and those further out (groups, tiles).
    within: [step, class, i] the same with this tensor stationary: its own links and those further out.
    rest: [group, i] bound of all links with a child up to this group, given its tile; inf if it does not
        fit (of the innermost group only that).
    first: [t, i] links with a child in group 1 when t is stationary in step 0 (3, tiles).
    words: [i] least words of the main memory for links with a child in group 1 (tiles).
    slices: scratch (tiles). heap: [i] block indices (tiles). keys: their bounds (tiles).
    labels: [step, i, :] bound, energy, cycles, then what waits, as in `pricing.resolve`, and the price of a
        visit of a tensor whose reuse runs on outwards, counted for one visit (LABEL).
        label_at: tile, class, factors (8), tile of the innermost memory, way inside it.
    listed: [class, i, :] fixed cost, price of a visit, cycles, pending words (3), savings, whether anything
        waits; cycles of the memory further in, of this one, of the main memory, each fixed and for a visit;
        of those still further in. seen: [step, tile, steps without adding up, :] energy,
        cycles and what waits, of the best label; values: scratch (9). fans: [group, i]
        most processing elements that arrays of groups before can have at work on tile i. floor: [i] least
        cycles that memories need where i is the block of the innermost array (tiles).
        slopes, spared: scratch (3, 2), (2).
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
    floor: Floats
    slopes: Floats
    spared: Floats


@only_compiled
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
                    used += words(lattice.elements[t, i], chip.per_word[stage, t if t < 2 else 3])
            if used > chip.capacity[stage]:
                out[i] = np.inf


@lean
def fill_slopes(g: int, plan: Plan, lattice: Lattice, slopes: Floats, spared: Floats) -> None:
    """Prices of visits at step g: [tensor, of blocks | of tiles]; what partial sums save [once | a copy]."""
    whole = lattice.hull.shape[0] - 1
    for t in range(3):
        slopes[t, 0], slopes[t, 1] = 0.0, 0.0
    spared[0], spared[1] = 0.0, 0.0
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
    least: scratch (8, sizes). most: scratch (tiles).
    """

    fits: Floats
    takes: Floats
    least: Floats
    most: Floats


def inner_of(lattice: Lattice) -> Inner:
    """Room for what depends on the innermost memory."""
    tiles = lattice.hull.shape[0]
    return Inner(
        fits=np.empty(tiles),
        takes=np.empty((3, tiles)),
        least=np.empty(lattice.size.shape),
        most=np.empty(tiles),
    )


@only_compiled
def _reached(elements: int, lattice: Lattice, inner: Inner) -> None:
    """Mark with 1 in `most` where a tile that fits reaches block i with all processing elements, else 0.

    It goes by iterations.
    """
    least_extent = inner.least
    for d in range(8):
        for j in range(lattice.many[d]):
            least_extent[d, j] = lattice.size[d, j]
            for pair in range(lattice.by_block[d, j], lattice.by_block[d, j + 1]):
                extent = lattice.size[d, lattice.pair_tile[d, pair]] * lattice.pair_factor[d, pair]
                least_extent[d, j] = min(least_extent[d, j], extent)
    most = inner.most
    for i in range(most.shape[0]):
        iterations = -1.0 if inner.fits[i] < np.inf else 0.0
        for d in range(8):
            iterations *= lattice.size[d, lattice.at[d, i]]
        most[i] = iterations
    for d in range(8):
        sweep_down(most, d, lattice)
    for i in range(most.shape[0]):
        needed = 1.0
        for d in range(8):
            needed *= least_extent[d, lattice.at[d, i]]
        most[i] = 1.0 if needed <= -most[i] * elements else 0.0


@lean
def fill_inner(
    plan: Plan, lattice: Lattice, chip: Chip, slopes: Floats, spared: Floats, inner: Inner
) -> None:
    """Fill `inner`; `slopes` and `spared` are those of the step of the innermost array."""
    g = plan.last_stage.shape[0] - 2
    elements = plan.sides[g, 0] * plan.sides[g, 1]
    _fit(g + 1, plan, lattice, chip, inner.fits)
    _reached(elements, lattice, inner)
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
            sweep_down(takes, d, lattice)
        for i in range(takes.shape[0]):
            if inner.most[i] == 0.0:
                takes[i] = np.inf


@only_compiled
def _reach_of_main(o: int, slope: float, plan: Plan, lattice: Lattice, values: Floats) -> None:
    """values[i]: what tensor o costs if it is stationary in the main memory, for block i."""
    free = plan.allowed[0, o]
    for d in range(8):
        free = free and plan.loopable[0, d]
    for i in range(values.shape[0]):
        values[i] = (lattice.hull[i] if o == INPUT else 1.0) * slope
        if free:
            continue
        for d in range(8):
            loop = lattice.at[d, i] < lattice.many[d] - 1
            if loop and (not plan.loopable[0, d] or (not plan.allowed[0, o] and RELEVANT[o, d] == 1)):
                values[i] = np.inf


@only_compiled
def _reach_beyond(g: int, o: int, slope: float, plan: Plan, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o and of all further out, if its reuse runs on outwards."""
    values = work.within[g, o + 3]
    for i in range(values.shape[0]):
        values[i] = work.first[o, i] if g == 1 else work.rest[g, i]
    for d in range(8):
        if plan.loopable[g, d] and RELEVANT[o, d] == 0:
            sweep(values, d, lattice)
    for i in range(values.shape[0]):
        values[i] += (lattice.hull[i] if o == INPUT else 1.0) * slope


@only_compiled
def _reach(g: int, o: int, slope: float, plan: Plan, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o, stationary here, and of all further out."""
    values, visits = work.within[g, o], lattice.visits[o]
    for i in range(values.shape[0]):
        values[i] = work.rest[g, i]
        if o != INPUT:
            values[i] += slope * visits[i]
    for d in range(8):
        outside = o == INPUT and d == 2
        if plan.loopable[g, d] and not outside and (plan.allowed[g, o] or RELEVANT[o, d] == 0):
            sweep(values, d, lattice)
    if o != INPUT:
        return
    step = lattice.step[2]
    for i in range(values.shape[0]):
        work.slices[i] = values[i]
    for i in range(values.shape[0]):
        k = lattice.at[2, i]
        price = slope * lattice.hull[i]
        best = np.inf
        for u in range(lattice.upping[2, k] if plan.loopable[g, 2] else 1):
            other = lattice.ups[2, k, u]
            best = min(best, work.slices[i + (other - k) * step] + price * lattice.rounds[2, other])
        values[i] = best


@only_compiled
def _bound_step(g: int, plan: Plan, lattice: Lattice, inner: Inner, work: Work) -> None:
    """Fill `within[g]` and `least[g]` from `rest[g]`."""
    slopes, spared = work.slopes, work.spared
    fill_slopes(g, plan, lattice, slopes, spared)
    innermost = g == plan.last_stage.shape[0] - 2
    least = work.least[g]
    for i in range(least.shape[0]):
        least[i] = np.inf
    for o in range(3):
        slope = slopes[o, 0] + slopes[o, 1]
        if g == 0:
            _reach_of_main(o, slope, plan, lattice, work.within[0, o])
            for i in range(least.shape[0]):
                work.within[0, o + 3, i] = np.inf
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


@only_compiled
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


@only_compiled
def _fans(group: int, plan: Plan, lattice: Lattice, out: Floats) -> None:
    """out[i]: most processing elements that arrays of groups before can have at work on tile i."""
    for i in range(out.shape[0]):
        out[i] = 1.0
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


@only_compiled
def _main_words(plan: Plan, lattice: Lattice, work: Work) -> None:
    """Fill `words`, for a main memory without an array below."""
    whole = lattice.hull.shape[0] - 1
    for i in range(whole + 1):
        work.words[i] = np.inf
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


@lean
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
    for i in range(inner.fits.shape[0]):
        work.rest[groups - 1, i] = inner.fits[i]
    for g in range(groups - 1):
        _bound_step(g, plan, lattice, inner, work)
        array = plan.sides[g, 0] * plan.sides[g, 1] > 1
        if g == 0:
            for i in range(work.words.shape[0]):
                work.words[i] = 0.0
            if timed and not array:
                _main_words(plan, lattice, work)
        if g + 1 == groups - 1:
            break
        rest = work.rest[g + 1]
        if array:
            _bound_tiles(g, plan, lattice, ways[g], many[g], work)
        else:
            for i in range(rest.shape[0]):
                rest[i] += work.least[g, i]
        if g == 0:
            for o in range(3):
                for i in range(rest.shape[0]):
                    if rest[i] == np.inf or array:
                        work.first[o, i] = rest[i]

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
- *Lanes* are searches side by side: the nest with tensors held in one way, for one *case*, which is what is
  asked (widths, energies, a cap on cycles). They share the lattice, the ways to unroll and the walk over cuts;
  prices, room and bounds are a lane's own. Tables have lanes last, a few to a *part*, so that one instruction
  works on several, and numbers of 32 bits: what they rule out is above the best by more than rounding, see
  `search.LOOSE`.
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

from chipfit.cost.mapping.lanes import WIDTH, Lanes, lane_plan
from chipfit.cost.mapping.lattice import Lattice, sweep, sweep_down
from chipfit.cost.mapping.model import INPUT, OUTPUT, RELEVANT, WEIGHT, Flags, Floats, Ints, Singles
from chipfit.cost.mapping.plan import Plan
from chipfit.jit import inner as only_compiled
from chipfit.jit import lean

CLASSES = 6  # stationary: input, weight, output; the same with reuse that runs on outwards

#: How often blocks are visited by loops that sums are added up in, rounded down: told apart where sums save.
VISITED = (1, 2, 4, 16)


class Inner(NamedTuple):
    """What depends on the innermost memory and its array alone; lanes that are alike in it share a column.

    of_lane: column of each lane. lane: one lane of each column. fits: 0 for tiles that fit the memory, else
    infinity (tiles, columns). takes: [t, VISITED, i, column] least of what tiles that may be cut from block i take
    in the memory if tensor t is stationary, less what copies of sums save (J); infinite if they do not reach it
    with all processing elements. (Of the output only the first of VISITED.)
    most: scratch (tiles, columns). least: scratch (8, sizes). prices: scratch (4, columns).
    """

    of_lane: Ints
    lane: Ints
    fits: Singles
    takes: Singles
    most: Singles
    least: Floats
    prices: Singles


class Work(NamedTuple):
    """Bounds, and scratch of a search; tiles as in `Lattice`, a lane by its part and its place there.

    least: [part, i, lane] bound of the innermost array step and those further out, given its block.
    within: [step - 1, class, part, i, lane] with this tensor stationary: its own links and those further out
        (of the main memory it follows from `slopes`: see `main_reach`).
    rest: [group - 1, part, i, lane] bound of all links with a child up to this group, given its tile; infinite
        if it does not fit (of the innermost group only that). roomy: tiles that fit it in any lane.
    first: [t, part, i, lane] links with a child in group 1 when t is stationary in step 0.
    words: [part, i, lane] least words of the main memory for links with a child in group 1.
    floor: [part, i, lane] least cycles that memories need where i is the block of the innermost array.
    slopes: [step, part, t, of blocks | of tiles, lane] prices of visits. spared: [step, part, once | a copy,
        lane] what partial sums save. fans: [group, i] most processing elements that arrays of groups before can
        have at work on tile i.
    slices, step: scratch (tiles, lanes). prices: scratch (6, lanes). room: scratch (6, lanes or columns).
    slope, spare: scratch (3, 2), (2). heap: [i] blocks. keys: their bounds, over the best.
    labels: [step, i, :] bound, energy, cycles, then what waits, as in `pricing.resolve`, and the price of a
        visit of a tensor whose reuse runs on outwards, counted for one visit (LABEL).
        label_at: tile, class, factors (8), tile of the innermost memory, way inside it.
    listed: [class, i, :] fixed cost, price of a visit, cycles, pending words (3), savings, whether anything
        waits; cycles of the memory further in, of this one, of the main memory, each fixed and for a visit;
        of those still further in. listed_at: factors (8), tile, (of the first entry) how many, way inside.
    seen: [step, tile, steps without adding up, :] energy, cycles and what waits, of the best label; values:
        scratch (9).
    """

    least: Singles
    within: Singles
    rest: Singles
    roomy: Flags
    first: Singles
    words: Singles
    floor: Singles
    slopes: Singles
    spared: Singles
    saved: Singles
    fans: Floats
    slices: Singles
    step: Singles
    prices: Singles
    room: Floats
    slope: Floats
    spare: Floats
    heap: Ints
    keys: Floats
    labels: Floats
    label_at: Ints
    listed: Floats
    listed_at: Ints
    seen: Floats
    values: Floats


@lean
def slopes_of(g: int, plan: Plan, lattice: Lattice, slopes: Floats, spared: Floats) -> None:
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


@lean
def fill_slopes(lanes: Lanes, lattice: Lattice, work: Work) -> None:
    """Fill `slopes` and `spared` of all steps and lanes."""
    for g in range(work.slopes.shape[0]):
        for lane in range(lanes.case.shape[0]):
            slopes_of(g, lane_plan(lanes, lane), lattice, work.slope, work.spare)
            part, place = lane // WIDTH, lane % WIDTH
            for t in range(3):
                for k in range(2):
                    work.slopes[g, part, t, k, place] = work.slope[t, k]
            for k in range(2):
                work.spared[g, part, k, place] = work.spare[k]
            work.saved[part, place] = lanes.saved[lane]


@only_compiled
def _fit(group: int, which: Ints, lanes: Lanes, lattice: Lattice, room: Floats, out: Singles) -> None:
    """out[i, k] = 0 where tile i fits all memories of a group in lane which[k], else infinite."""
    many = out.shape[1]
    for i in range(out.shape[0]):
        for k in range(many):
            out[i, k] = 0.0
    for stage in range(lanes.stage_group.shape[0]):
        if lanes.stage_group[stage] != group:
            continue
        capacity = lanes.capacity[stage]
        for k in range(many):
            lane = which[k]
            for t in range(3):
                per_word = lanes.per_word[lane, stage, t if t < 2 else 3]
                room[2 * t, k] = per_word if per_word > 0 else 1.0
                room[2 * t + 1, k] = 1.0 if per_word > 0 else -per_word
                if not lanes.holds[lane, stage, t]:
                    room[2 * t + 1, k] = 0.0
        for i in range(out.shape[0]):
            inputs, weights, outputs = lattice.elements[0, i], lattice.elements[1, i], lattice.elements[2, i]
            for k in range(many):
                used = np.ceil(inputs / room[0, k]) * room[1, k]
                used += np.ceil(weights / room[2, k]) * room[3, k]
                used += np.ceil(outputs / room[4, k]) * room[5, k]
                out[i, k] = np.inf if used > capacity else out[i, k]


@only_compiled
def _reached(elements: int, lattice: Lattice, inner: Inner) -> None:
    """Mark with 1 in `most` where a tile that fits reaches block i with all processing elements, else 0.

    It goes by iterations.
    """
    least_extent, most = inner.least, inner.most
    for d in range(8):
        for j in range(lattice.many[d]):
            least_extent[d, j] = lattice.size[d, j]
            for pair in range(lattice.by_block[d, j], lattice.by_block[d, j + 1]):
                extent = lattice.size[d, lattice.pair_tile[d, pair]] * lattice.pair_factor[d, pair]
                least_extent[d, j] = min(least_extent[d, j], extent)
    for i in range(most.shape[0]):
        iterations = -1.0
        for d in range(8):
            iterations *= lattice.size[d, lattice.at[d, i]]
        for k in range(most.shape[1]):
            most[i, k] = iterations if inner.fits[i, k] < np.inf else 0.0
    for d in range(8):
        sweep_down(most, d, lattice)
    for i in range(most.shape[0]):
        needed = 1.0
        for d in range(8):
            needed *= least_extent[d, lattice.at[d, i]]
        needed *= 1 - 1e-6  # numbers of 32 bits
        for k in range(most.shape[1]):
            most[i, k] = 1.0 if needed <= -most[i, k] * elements else 0.0


@lean
def fill_inner(lanes: Lanes, lattice: Lattice, work: Work, inner: Inner) -> None:
    """Fill `inner`, but for which lanes share a column."""
    g = lanes.last_stage.shape[0] - 2
    elements = lanes.sides[g, 0] * lanes.sides[g, 1]
    for k in range(inner.lane.shape[0]):
        lane = inner.lane[k]
        part, place = lane // WIDTH, lane % WIDTH
        for t in range(3):
            inner.prices[t, k] = work.slopes[g, part, t, 1, place]
        inner.prices[3, k] = work.spared[g, part, 1, place] + lanes.saved[lane]
    _fit(g + 1, inner.lane, lanes, lattice, work.room, inner.fits)
    _reached(elements, lattice, inner)
    for o in range(3):
        for v in range(1 if o == OUTPUT or not lanes.even else len(VISITED)):
            takes = inner.takes[o, v]
            for i in range(takes.shape[0]):
                ins = np.float32(lattice.hull[i] * lattice.visits[INPUT, i] if o != INPUT else 0.0)
                weights = np.float32(lattice.visits[WEIGHT, i] if o != WEIGHT else 0.0)
                outs = np.float32(lattice.visits[OUTPUT, i] if o != OUTPUT else 0.0)
                # There are no more copies than visits of tiles to one of the block.
                saved = np.float32(min(lattice.visits[OUTPUT, i] / VISITED[v], 1.0 * elements))
                saved = saved if o != OUTPUT else np.float32(0.0)
                for k in range(takes.shape[1]):
                    total = inner.fits[i, k] + ins * inner.prices[0, k] + weights * inner.prices[1, k]
                    takes[i, k] = total + outs * inner.prices[2, k] - saved * inner.prices[3, k]
            for d in range(8):
                sweep_down(takes, d, lattice)
            for i in range(takes.shape[0]):
                for k in range(takes.shape[1]):
                    takes[i, k] = np.inf if inner.most[i, k] == 0.0 else takes[i, k]


@only_compiled
def stays_in_main(o: int, i: int, lanes: Lanes, lattice: Lattice) -> bool:
    """Whether tensor o may be stationary in the main memory for block i."""
    for d in range(8):
        loop = lattice.at[d, i] < lattice.many[d] - 1
        if loop and (not lanes.loopable[0, d] or (not lanes.allowed[0, o] and RELEVANT[o, d] == 1)):
            return False
    return True


@only_compiled
def main_reach(c: int, i: int, part: int, place: int, lanes: Lanes, lattice: Lattice, work: Work) -> float:
    """What tensor c costs if it is stationary in the main memory, for block i: `within` of step 0."""
    if c >= 3 or not stays_in_main(c, i, lanes, lattice):
        return np.inf
    slope = work.slopes[0, part, c, 0, place] + work.slopes[0, part, c, 1, place]
    return (lattice.hull[i] if c == INPUT else 1.0) * slope


@only_compiled
def _reach_beyond(g: int, o: int, part: int, lanes: Lanes, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o and of all further out, if its reuse runs on outwards."""
    values, prices = work.within[g - 1, o + 3, part], work.prices
    source = work.first[o, part] if g == 1 else work.rest[g - 1, part]
    for i in range(values.shape[0]):
        for k in range(WIDTH):
            values[i, k] = source[i, k]
    for d in range(8):
        if lanes.loopable[g, d] and RELEVANT[o, d] == 0:
            sweep(values, d, lattice)
    for i in range(values.shape[0]):
        amount = np.float32(lattice.hull[i] if o == INPUT else 1.0)
        for k in range(WIDTH):
            values[i, k] += amount * prices[0, k]


@only_compiled
def _reach(g: int, o: int, part: int, lanes: Lanes, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o, stationary here, and of all further out."""
    values, prices, rest = work.within[g - 1, o, part], work.prices, work.rest[g - 1, part]
    for i in range(values.shape[0]):
        visits = np.float32(lattice.visits[o, i] if o != INPUT else 0.0)
        for k in range(WIDTH):
            values[i, k] = rest[i, k] + visits * prices[0, k]
    for d in range(8):
        outside = o == INPUT and d == 2
        if lanes.loopable[g, d] and not outside and (lanes.allowed[g, o] or RELEVANT[o, d] == 0):
            sweep(values, d, lattice)
    if o != INPUT:
        return
    step = lattice.step[2]
    slices = work.slices
    for i in range(values.shape[0]):
        for k in range(WIDTH):
            slices[i, k] = values[i, k]
    for i in range(values.shape[0]):
        at = lattice.at[2, i]
        own = values[i]
        for u in range(lattice.upping[2, at] if lanes.loopable[g, 2] else 1):
            other = lattice.ups[2, at, u]
            above = slices[i + (other - at) * step]
            amount = np.float32(lattice.hull[i] * lattice.rounds[2, other])
            for k in range(WIDTH):
                value = above[k] + amount * prices[0, k]
                own[k] = value if u == 0 or value < own[k] else own[k]


@only_compiled
def _bound_step(g: int, part: int, lanes: Lanes, lattice: Lattice, inner: Inner, work: Work) -> None:
    """Fill `within` of step g, and `step` (or `least`) with its bound, from `rest`."""
    innermost = g == lanes.last_stage.shape[0] - 2
    least = work.least[part] if innermost else work.step
    slopes, spared, prices = work.slopes[g, part], work.spared[g, part], work.prices
    elements = 1.0 * lanes.sides[g, 0] * lanes.sides[g, 1]
    for i in range(least.shape[0]):
        for k in range(WIDTH):
            least[i, k] = np.inf
    for o in range(3):
        a, b = (o + 1) % 3, (o + 2) % 3
        for k in range(WIDTH):
            prices[0, k] = slopes[o, 0, k] + slopes[o, 1, k]
            prices[1, k], prices[2, k], prices[3, k] = slopes[a, 0, k], slopes[b, 0, k], spared[0, k]
            if not innermost:
                prices[1, k] += slopes[a, 1, k]
                prices[2, k] += slopes[b, 1, k]
            if not innermost or o == OUTPUT:
                prices[3, k] += spared[1, k]
        if g > 0:
            _reach(g, o, part, lanes, lattice, work)
            _reach_beyond(g, o, part, lanes, lattice, work)
        for i in range(least.shape[0]):
            if g > 0:
                staying, beyond = work.within[g - 1, o, part, i], work.within[g - 1, o + 3, part, i]
                for k in range(WIDTH):
                    prices[4, k] = staying[k] if staying[k] < beyond[k] else beyond[k]
            else:
                alone = np.float32(lattice.hull[i] if o == INPUT else 1.0)
                if not stays_in_main(o, i, lanes, lattice):
                    alone = np.float32(np.inf)
                for k in range(WIDTH):
                    prices[4, k] = alone * prices[0, k] if alone < np.inf else alone
            if innermost:
                visited, copies = 0, 1.0
                if o != OUTPUT and lanes.even:
                    while visited + 1 < len(VISITED) and lattice.visits[OUTPUT, i] >= VISITED[visited + 1]:
                        visited += 1
                elif o == OUTPUT and not lanes.steady:
                    for d in range(8):
                        copies *= 1 if RELEVANT[OUTPUT, d] == 1 else lattice.size[d, lattice.at[d, i]]
                takes, copies = inner.takes[o, visited, i], np.float32(min(copies, elements))
                for k in range(WIDTH):
                    prices[4, k] += takes[inner.of_lane[part * WIDTH + k]]
                    if o == OUTPUT:
                        prices[4, k] -= copies * work.saved[part, k]
            amount_a = np.float32((lattice.hull[i] if a == INPUT else 1.0) * lattice.visits[a, i])
            amount_b = np.float32((lattice.hull[i] if b == INPUT else 1.0) * lattice.visits[b, i])
            for k in range(WIDTH):
                total = prices[4, k] - prices[3, k] + amount_a * prices[1, k] + amount_b * prices[2, k]
                least[i, k] = total if total < least[i, k] else least[i, k]
                prices[5, k] = total
            if g == 0:
                first = work.first[o, part, i]
                for k in range(WIDTH):
                    first[k] = prices[5, k]


@only_compiled
def _bound_tiles(g: int, part: int, lanes: Lanes, lattice: Lattice, ways: Ints, many: int, work: Work) -> None:
    """Fill `rest` of group g + 1, which says already what fits, from `step`, over all ways to unroll."""
    rest, best = work.rest[g, part], work.prices[0]
    for i in range(rest.shape[0]):
        fitting = False
        for k in range(WIDTH):
            best[k] = np.inf
            fitting = fitting or rest[i, k] < np.inf
        if not fitting:
            continue
        for way in range(many):
            index = 0
            for d in range(8):
                j = lattice.block_of[d, lattice.at[d, i], ways[way, d]]
                if j < 0:
                    index = -1
                    break
                index += j * lattice.step[d]
            if index >= 0:
                found = work.step[index]
                for k in range(WIDTH):
                    best[k] = found[k] if found[k] < best[k] else best[k]
        for k in range(WIDTH):
            rest[i, k] = best[k] if rest[i, k] < np.inf else rest[i, k]


@only_compiled
def _fans(group: int, lanes: Lanes, lattice: Lattice, out: Floats) -> None:
    """out[i]: most processing elements that arrays of groups before can have at work on tile i."""
    for i in range(out.shape[0]):
        out[i] = 1.0
    for g in range(group):
        for side in range(2):
            if lanes.sides[g, side] == 1:
                continue
            for i in range(out.shape[0]):
                rounds = 1.0
                for d in range(8):
                    if lanes.may[g, side, d]:
                        rounds *= lattice.rounds[d, lattice.at[d, i]]
                out[i] *= min(rounds, lanes.sides[g, side])


@only_compiled
def _main_words(part: int, lanes: Lanes, lattice: Lattice, work: Work) -> None:
    """Fill `words`, for a main memory without an array below."""
    whole = lattice.hull.shape[0] - 1
    words, per_element = work.words[part], work.prices
    for k in range(WIDTH):
        lane = part * WIDTH + k
        for t in range(3):
            per_element[t, k] = 0.0
        for link in range(lanes.link.shape[1]):
            if lane < lanes.case.shape[0] and lanes.link[lane, link, 1] == 0 == lanes.link[lane, link, 2]:
                per_element[lanes.link[lane, link, 0], k] += lanes.main_words[lane, link]
    for i in range(whole + 1):
        for o in range(3):
            visits = lattice.visits[:, i]
            ins = np.float32(lattice.hull[i] * (1.0 if o == INPUT else visits[INPUT]))
            weights = np.float32(lattice.elements[WEIGHT, whole] * (1.0 if o == WEIGHT else visits[WEIGHT]))
            outs = 1.0 if o == OUTPUT else 2 * visits[OUTPUT] - 1
            outs = np.float32(lattice.elements[OUTPUT, whole] * outs)
            first = work.first[o, part, i]
            for k in range(WIDTH):
                total = ins * per_element[0, k] + weights * per_element[1, k] + outs * per_element[2, k]
                total = total if first[k] < np.inf else np.float32(np.inf)
                words[i, k] = total if o == 0 or total < words[i, k] else words[i, k]


@lean
def prepare_bounds(
    lanes: Lanes, lattice: Lattice, ways: Ints, many: Ints, inner: Inner, timed: bool, which: Ints, work: Work
) -> None:
    """Fill the bounds of all steps outside the innermost memory.

    Args:
        lanes: the target in groups.
        lattice: the tiles.
        ways: ways to unroll by group, as `pricing.list_ways`.
        many: how many.
        inner: as `fill_inner`.
        timed: whether cycles count.
        which: scratch (lanes of a part).
        work: filled; `slopes` and `spared` are there.
    """
    groups = lanes.last_stage.shape[0]
    count = lanes.case.shape[0]
    for g in range(groups - 1):
        _fans(g, lanes, lattice, work.fans[g])
    for i in range(work.roomy.shape[0]):
        work.roomy[i] = False
        for k in range(inner.fits.shape[1]):
            work.roomy[i] |= inner.fits[i, k] < np.inf
    for part in range(work.least.shape[0]):
        for k in range(WIDTH):
            which[k] = min(part * WIDTH + k, count - 1)
        for g in range(1, groups - 1):
            _fit(g, which, lanes, lattice, work.room, work.rest[g - 1, part])
        for i in range(work.roomy.shape[0]):
            own = work.rest[groups - 2, part, i]
            for k in range(WIDTH):
                own[k] = inner.fits[i, inner.of_lane[which[k]]]
        for g in range(groups - 1):
            _bound_step(g, part, lanes, lattice, inner, work)
            array = lanes.sides[g, 0] * lanes.sides[g, 1] > 1
            if g == 0 and timed:
                if array:
                    for i in range(work.roomy.shape[0]):
                        for k in range(WIDTH):
                            work.words[part, i, k] = 0.0
                else:
                    _main_words(part, lanes, lattice, work)
            if g + 1 == groups - 1:
                break
            rest = work.rest[g, part]
            if array:
                _bound_tiles(g, part, lanes, lattice, ways[g], many[g], work)
            else:
                for i in range(rest.shape[0]):
                    for k in range(WIDTH):
                        rest[i, k] += work.step[i, k]
            if g == 0:
                for o in range(3):
                    first = work.first[o, part]
                    for i in range(rest.shape[0]):
                        for k in range(WIDTH):
                            first[i, k] = rest[i, k] if array or rest[i, k] == np.inf else first[i, k]

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
  asked (widths, energies, a cap on cycles). They share the lattice, the ways to unroll and the walk over
  cuts; prices, room and bounds are a lane's own.
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

from chipfit.cost.mapping.lanes import Lanes, lane_plan
from chipfit.cost.mapping.lattice import Lattice, sweep, sweep_down
from chipfit.cost.mapping.model import INPUT, OUTPUT, RELEVANT, WEIGHT, Flags, Floats, Ints
from chipfit.cost.mapping.plan import Plan
from chipfit.jit import inner, lean

CLASSES = 6  # stationary: input, weight, output; the same with reuse that runs on outwards

#: How often blocks are visited by loops that sums are added up in, rounded down: told apart where sums save.
VISITED = (1, 2, 4, 16)


class Inner(NamedTuple):
    """What depends on the innermost memory and its array alone; lanes that are alike in it share a row.

    of_lane: row of each lane. lane: one lane of each row. fits: [row, i] 0 for tiles that fit the memory,
    else infinity. takes: [t, row, i] least of what tiles that may be cut from block i take in the memory if
    tensor t is stationary, less what copies of sums save (J); infinite if they do not reach it with all
    processing elements. most, part: scratch (tiles). least: scratch (8, sizes). prices: scratch (4).
    """

    of_lane: Ints
    lane: Ints
    fits: Floats
    takes: Floats
    most: Floats
    part: Floats
    least: Floats
    prices: Floats


class Work(NamedTuple):
    """Bounds, and scratch of a search; tiles as in `Lattice`.

    least: [lane, i] bound of the innermost array step and those further out, given its block; lowest: of all.
    within: [step - 1, class, lane, i] with this tensor stationary: its own links and those further out
        (of the main memory it follows from `slopes`: see `main_reach`).
    rest: [group - 1, lane, i] bound of all links with a child up to this group, given its tile; infinite if
        it does not fit. Not of the innermost group. roomy: tiles that fit that in any lane.
    first: [t, lane, i] links with a child in group 1 when t is stationary in step 0.
    words: [lane, i] least words of the main memory for links with a child in group 1.
    floor: [lane, i] least cycles that memories need where i is the block of the innermost array.
    slopes: [step, lane, t, of blocks | of tiles] prices of visits. spared: [step, lane, once | a copy] what
        partial sums save. fans: [group, i] most processing elements that arrays of groups before can have
        at work on tile i.
    alone: [t, i] the input's hull, else 1; each: times its visits. sums: [i] most copies of sums. across,
        best: scratch [i, lane], [lane]. step: scratch [lane, i]. slices: scratch (tiles). cycles: [i] of a
        block at the least. heap: [i] blocks. keys: their bounds, over the best.
    labels: [step, i, :] bound, energy, cycles, then what waits, as in `pricing.resolve`, and the price of a
        visit of a tensor whose reuse runs on outwards, counted for one visit (LABEL). label_at: tile,
        class, factors (8), tile of the innermost memory, way inside it. order: [step, :] a heap.
    listed: [class, i, :] fixed cost, price of a visit, cycles, pending words (3), savings, whether anything
        waits; cycles of the memory further in, of this one, of the main memory, each fixed and for a visit;
        of those still further in. listed_at: factors (8), tile, (of the first entry) how many, way inside.
    seen: [step, tile, steps without adding up, :] energy, cycles and what waits, of the best label; values:
        scratch (9). past: [step, :] labels that were listed before, with their tile and class.
    """

    least: Floats
    lowest: Floats
    within: Floats
    rest: Floats
    roomy: Flags
    first: Floats
    words: Floats
    floor: Floats
    slopes: Floats
    spared: Floats
    fans: Floats
    alone: Floats
    each: Floats
    sums: Floats
    across: Floats
    best: Floats
    step: Floats
    slices: Floats
    cycles: Floats
    heap: Ints
    keys: Floats
    labels: Floats
    label_at: Ints
    order: Ints
    listed: Floats
    listed_at: Ints
    seen: Floats
    values: Floats
    past: Floats


@inner
def _slopes(g: int, plan: Plan, lattice: Lattice, slopes: Floats, spared: Floats) -> None:
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
    """Fill `slopes`, `spared`, `alone`, `each`, `sums` and `fans`."""
    groups = lanes.last_stage.shape[0]
    for g in range(groups - 1):
        for lane in range(lanes.case.shape[0]):
            _slopes(g, lane_plan(lanes, lane), lattice, work.slopes[g, lane], work.spared[g, lane])
        _fans(g, lanes, lattice, work.fans[g])
    elements = 1.0 * lanes.sides[groups - 2, 0] * lanes.sides[groups - 2, 1]
    for i in range(work.sums.shape[0]):
        for t in range(3):
            alone = lattice.hull[i] if t == INPUT else 1.0
            work.alone[t, i], work.each[t, i] = alone, alone * lattice.visits[t, i]
        sums = 1.0
        for d in range(8):
            sums *= 1 if RELEVANT[OUTPUT, d] == 1 else lattice.size[d, lattice.at[d, i]]
        work.sums[i] = min(sums, elements)


@inner
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


@inner
def _fit(group: int, lane: int, lanes: Lanes, lattice: Lattice, out: Floats) -> None:
    """out[i] = 0 where tile i fits all memories of a group, else infinite."""
    for i in range(out.shape[0]):
        out[i] = 0.0
    ins, weights, outs = lattice.elements[0], lattice.elements[1], lattice.elements[2]
    for stage in range(lanes.stage_group.shape[0]):
        if lanes.stage_group[stage] != group:
            continue
        capacity, per_word = lanes.capacity[stage], lanes.per_word[lane, stage]
        # Elements in a word, and words of so many; nothing if they are not held.
        a = per_word[0] if per_word[0] > 0 else 1.0
        b = per_word[1] if per_word[1] > 0 else 1.0
        c = per_word[3] if per_word[3] > 0 else 1.0
        u = (1.0 if per_word[0] > 0 else -per_word[0]) if lanes.holds[lane, stage, 0] else 0.0
        v = (1.0 if per_word[1] > 0 else -per_word[1]) if lanes.holds[lane, stage, 1] else 0.0
        w = (1.0 if per_word[3] > 0 else -per_word[3]) if lanes.holds[lane, stage, 2] else 0.0
        for i in range(out.shape[0]):
            used = np.ceil(ins[i] / a) * u + np.ceil(weights[i] / b) * v + np.ceil(outs[i] / c) * w
            out[i] = np.inf if used > capacity else out[i]


@inner
def _reached(elements: int, lattice: Lattice, inner: Inner, fits: Floats) -> None:
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
        iterations = -1.0 if fits[i] < np.inf else 0.0
        for d in range(8):
            iterations *= lattice.size[d, lattice.at[d, i]]
        most[i] = iterations
    for d in range(8):
        sweep_down(most, d, lattice)
    for i in range(most.shape[0]):
        needed = 1 - 1e-12
        for d in range(8):
            needed *= least_extent[d, lattice.at[d, i]]
        most[i] = 1.0 if needed <= -most[i] * elements else 0.0


@lean
def fill_inner(lanes: Lanes, lattice: Lattice, work: Work, inner: Inner) -> None:
    """Fill `inner`, but for which lanes share a row."""
    g = lanes.last_stage.shape[0] - 2
    elements = lanes.sides[g, 0] * lanes.sides[g, 1]
    part, most, prices = inner.part, inner.most, inner.prices
    visits = lattice.visits[OUTPUT]
    for row in range(inner.lane.shape[0]):
        lane, fits = inner.lane[row], inner.fits[row]
        _fit(g + 1, lane, lanes, lattice, fits)
        _reached(elements, lattice, inner, fits)
        for t in range(3):
            prices[t] = work.slopes[g, lane, t, 1]
        prices[3] = work.spared[g, lane, 1] + lanes.saved[lane]
        for o in range(3):
            a, b = (o + 1) % 3, (o + 2) % 3
            price_a, price_b = prices[a], prices[b]
            each_a, each_b, takes = work.each[a], work.each[b], inner.takes[o, row]
            # Where loops that sums are added up in visit a block often, its tiles have fewer copies.
            for v in range(1 if o == OUTPUT or not lanes.even else len(VISITED)):
                for i in range(part.shape[0]):
                    part[i] = fits[i] + each_a[i] * price_a + each_b[i] * price_b
                if o != OUTPUT:
                    times, most_copies = 1 / VISITED[v], 1.0 * elements
                    outs, saved = work.each[OUTPUT], prices[3]
                    for i in range(part.shape[0]):
                        copies = outs[i] * times
                        part[i] -= saved * (copies if copies < most_copies else most_copies)
                for d in range(8):
                    sweep_down(part, d, lattice)
                for i in range(part.shape[0]):
                    takes[i] = part[i] if v == 0 or visits[i] >= VISITED[v] else takes[i]
            for i in range(part.shape[0]):
                takes[i] = np.inf if most[i] == 0.0 else takes[i]


@inner
def both_orders(g: int, o: int, allowed: Flags) -> bool:
    """Whether the output may stay in either of two orders, with loops along K or along N P Q, not both."""
    return o == OUTPUT and not allowed[g, OUTPUT] and allowed[g, INPUT] and allowed[g, WEIGHT]


@inner
def stays_in_main(o: int, i: int, loopable: Flags, allowed: Flags, stays: Flags, lattice: Lattice) -> bool:
    """Whether tensor o may be stationary in the main memory for block i."""
    filters, positions = False, False
    for d in range(8):
        if lattice.at[d, i] < lattice.many[d] - 1:
            if not loopable[0, d] or not stays[0, o, d]:
                return False
            filters = filters or d == 2
            positions = positions or d == 0 or d == 4 or d == 5
    return not (both_orders(0, o, allowed) and filters and positions)


@inner
def main_reach(
    c: int,
    i: int,
    lane: int,
    loopable: Flags,
    allowed: Flags,
    stays: Flags,
    slopes: Floats,
    lattice: Lattice,
) -> float:
    """What tensor c costs if it is stationary in the main memory, for block i: `within` of step 0."""
    if c >= 3 or not stays_in_main(c, i, loopable, allowed, stays, lattice):
        return np.inf
    return (lattice.hull[i] if c == INPUT else 1.0) * (slopes[0, lane, c, 0] + slopes[0, lane, c, 1])


@inner
def _reach_beyond(g: int, o: int, lane: int, lanes: Lanes, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o and of all further out, if its reuse runs on outwards."""
    values, alone = work.within[g - 1, o + 3, lane], work.alone[o]
    source = work.first[o, lane] if g == 1 else work.rest[g - 1, lane]
    price = work.slopes[g, lane, o, 0] + work.slopes[g, lane, o, 1]
    for i in range(values.shape[0]):
        values[i] = source[i]
    for d in range(8):
        if lanes.loopable[g, d] and RELEVANT[o, d] == 0:
            sweep(values, d, lattice)
    for i in range(values.shape[0]):
        values[i] += alone[i] * price


@inner
def _reach(g: int, o: int, lane: int, lanes: Lanes, lattice: Lattice, work: Work) -> None:
    """Into `within`: the least of tensor o, stationary here, and of all further out."""
    values, rest, each = work.within[g - 1, o, lane], work.rest[g - 1, lane], work.each[o]
    price = work.slopes[g, lane, o, 0] + work.slopes[g, lane, o, 1]
    for i in range(values.shape[0]):
        values[i] = rest[i]
    if o != INPUT:
        for i in range(values.shape[0]):
            values[i] += each[i] * price
    for d in range(8):
        outside = o == INPUT and d == 2
        if lanes.loopable[g, d] and not outside and lanes.stays[g, o, d]:
            sweep(values, d, lattice)
    if o != INPUT:
        return
    step, many, slices, alone = lattice.step[2], lattice.many[2], work.slices, work.alone[INPUT]
    for i in range(values.shape[0]):
        slices[i] = values[i]
    for base in range(0, values.shape[0], step * many):
        for k in range(many):
            low = base + k * step
            own, least = alone[low : low + step], values[low : low + step]
            for u in range(lattice.upping[2, k] if lanes.loopable[g, 2] else 1):
                other = lattice.ups[2, k, u]
                above = slices[base + other * step : base + other * step + step]
                visits = price * lattice.rounds[2, other]
                for r in range(step):
                    value = above[r] + own[r] * visits
                    least[r] = value if u == 0 or value < least[r] else least[r]


@inner
def _bound_step(g: int, lane: int, lanes: Lanes, lattice: Lattice, inner: Inner, work: Work) -> None:
    """Fill `within` of step g, and `step` (or `least`) with its bound, from `rest`."""
    innermost = g == lanes.last_stage.shape[0] - 2
    least = work.least[lane] if innermost else work.step[lane]
    slopes, spared, total = work.slopes[g, lane], work.spared[g, lane], work.slices
    for o in range(3):
        a, b = (o + 1) % 3, (o + 2) % 3
        price_a, price_b, saved = slopes[a, 0], slopes[b, 0], spared[0]
        if not innermost:
            price_a += slopes[a, 1]
            price_b += slopes[b, 1]
        if not innermost or o == OUTPUT:
            saved += spared[1]
        if g > 0:
            _reach(g, o, lane, lanes, lattice, work)
            _reach_beyond(g, o, lane, lanes, lattice, work)
            staying, beyond = work.within[g - 1, o, lane], work.within[g - 1, o + 3, lane]
            for i in range(total.shape[0]):
                total[i] = staying[i] if staying[i] < beyond[i] else beyond[i]
        else:
            alone = work.alone[o]
            price = slopes[o, 0] + slopes[o, 1]
            free = lanes.allowed[0, o]
            for d in range(8):
                free = free and lanes.loopable[0, d]
            for i in range(total.shape[0]):
                total[i] = alone[i] * price
            if not free:
                for i in range(total.shape[0]):
                    if not stays_in_main(o, i, lanes.loopable, lanes.allowed, lanes.stays, lattice):
                        total[i] = np.inf
        each_a, each_b = work.each[a], work.each[b]
        for i in range(total.shape[0]):
            total[i] += each_a[i] * price_a + each_b[i] * price_b - saved
        if innermost:
            takes = inner.takes[o, inner.of_lane[lane]]
            for i in range(total.shape[0]):
                total[i] += takes[i]
            if o == OUTPUT:
                price = lanes.saved[lane]
                for i in range(total.shape[0]):
                    total[i] -= price * (1.0 if lanes.steady else work.sums[i])
        for i in range(total.shape[0]):
            least[i] = total[i] if o == 0 or total[i] < least[i] else least[i]
        if g == 0:
            first = work.first[o, lane]
            for i in range(total.shape[0]):
                first[i] = total[i]
    if innermost:
        lowest = np.inf
        for i in range(least.shape[0]):
            lowest = least[i] if least[i] < lowest else lowest
        work.lowest[lane] = lowest


@inner
def _bound_tiles(g: int, lanes: Lanes, lattice: Lattice, ways: Ints, many: int, work: Work) -> None:
    """Fill `rest` of group g + 1, which says already what fits, from `step`, over all ways to unroll."""
    across, best, count = work.across, work.best, lanes.case.shape[0]
    for lane in range(count):
        for i in range(across.shape[0]):
            across[i, lane] = work.step[lane, i]
    for i in range(across.shape[0]):
        fitting = False
        for lane in range(count):
            best[lane] = np.inf
            fitting = fitting or work.rest[g, lane, i] < np.inf
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
                found = across[index]
                for lane in range(count):
                    best[lane] = found[lane] if found[lane] < best[lane] else best[lane]
        for lane in range(count):
            if work.rest[g, lane, i] < np.inf:
                work.rest[g, lane, i] = best[lane]


@inner
def _main_words(lane: int, lanes: Lanes, lattice: Lattice, work: Work) -> None:
    """Fill `words`, for a main memory without an array below."""
    whole = lattice.hull.shape[0] - 1
    words = work.words[lane]
    inputs, weights, outputs = 0.0, 0.0, 0.0
    for link in range(lanes.link.shape[1]):
        if lanes.link[lane, link, 1] == 0 and lanes.link[lane, link, 2] == 0:
            t, each = lanes.link[lane, link, 0], lanes.main_words[lane, link]
            inputs += each if t == INPUT else 0.0
            weights += each * lattice.elements[WEIGHT, whole] if t == WEIGHT else 0.0
            outputs += each * lattice.elements[OUTPUT, whole] if t == OUTPUT else 0.0
    for o in range(3):
        first = work.first[o, lane]
        ins = work.alone[INPUT] if o == INPUT else work.each[INPUT]
        weights_each = work.alone[WEIGHT] if o == WEIGHT else work.each[WEIGHT]
        outs = work.alone[OUTPUT] if o == OUTPUT else work.each[OUTPUT]
        for i in range(words.shape[0]):
            total = ins[i] * inputs + weights_each[i] * weights + (2.0 * outs[i] - 1.0) * outputs
            total = total if first[i] < np.inf else np.inf
            words[i] = total if o == 0 or total < words[i] else words[i]


@lean
def prepare_bounds(
    lanes: Lanes, lattice: Lattice, ways: Ints, many: Ints, inner: Inner, timed: bool, work: Work
) -> None:
    """Fill the bounds of all steps outside the innermost memory.

    Args:
        lanes: the target in groups.
        lattice: the tiles.
        ways: ways to unroll by group, as `pricing.list_ways`.
        many: how many.
        inner: as `fill_inner`.
        timed: whether cycles count.
        work: filled; what `fill_slopes` fills is there.
    """
    groups, count = lanes.last_stage.shape[0], lanes.case.shape[0]
    for i in range(work.roomy.shape[0]):
        work.roomy[i] = False
    for row in range(inner.lane.shape[0]):
        for i in range(work.roomy.shape[0]):
            work.roomy[i] |= inner.fits[row, i] < np.inf
    for g in range(groups - 1):
        array = lanes.sides[g, 0] * lanes.sides[g, 1] > 1
        further = g + 1 < groups - 1
        for lane in range(count):
            _bound_step(g, lane, lanes, lattice, inner, work)
            if g == 0 and timed:
                if array:
                    for i in range(work.words.shape[1]):
                        work.words[lane, i] = 0.0
                else:
                    _main_words(lane, lanes, lattice, work)
            if further:
                rest, step = work.rest[g, lane], work.step[lane]
                _fit(g + 1, lane, lanes, lattice, rest)
                if not array:
                    for i in range(rest.shape[0]):
                        rest[i] += step[i]
        if further and array:
            _bound_tiles(g, lanes, lattice, ways[g], many[g], work)
        if further and g == 0:
            for o in range(3):
                for lane in range(count):
                    first, rest = work.first[o, lane], work.rest[0, lane]
                    for i in range(rest.shape[0]):
                        first[i] = rest[i] if array or rest[i] == np.inf else first[i]

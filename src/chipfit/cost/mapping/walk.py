"""The walk over cuts of a block, which lanes share: which of them a cut may be of use to; see `bound`.

Lanes that look at a block have a place each, and places stand in parts of `WIDTH`: loops over a part that
write nothing are made into instructions that work on several lanes at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chipfit.cost.mapping.bound import Inner, Work, main_reach
from chipfit.cost.mapping.lanes import Lanes, lane_goal
from chipfit.cost.mapping.lattice import Lattice, multiple
from chipfit.cost.mapping.model import EDP, ENERGY, INPUT, LATENCY, Flags, Floats, Ints
from chipfit.cost.mapping.pricing import Goal
from chipfit.jit import inner

#: What bounds may be too large by as they are rounded, as a part of what goes into them.
LOOSE = 1e-13

#: Places of a part.
WIDTH = 8

#: Cuts of a block that wait to be worked out, and for how many lanes.
_CUTS, _USES = 2048, 16384

#: Prices of a visit that are told apart: over that without copies, so many to each doubling, rounded down.
_FINE, _PRICES = 4, 80


class Walk(NamedTuple):
    """Scratch of the walk, and what lanes have of their own at a block.

    lane: of each place. slopes: [part, t, of blocks | of tiles, place] as in `Work`. reach: [part, t,
    whether loops must step here, place] `Work.within`, the better of both; beyond: [part, t, place] that of
    reuse that runs on outwards. limit: [part, place] what a cut must stay below, less what all cuts take;
    spared: [part, place] what it may be more for each copy of sums. within: `limit` at the processing
    elements of a whole cut. hit: [part, place] whether a cut stays below it. better, prices: scratch [part,
    place]. alive: [dimensions that are cut, :] parts that have a lane which the cut so far may be of use
    to; many: how many.
    staying: [t, price, part, place] the least of tensor t, stationary here, and of all further out, by the
        price of a visit in steps of `_FINE`; stamp: [t, price, part] of which block. fresh, turns, digits:
        scratch.
    cuts: [cut, pair of each dimension | index of the tile]. uses: [use, cut | next use of the lane].
    head, tail: [place] first and last use, or -1. counts: cuts, uses, blocks.
    near: [lane] the best with what rounding may add, infinite below where a lane is not looked at; credit:
        [lane] all that bounds may subtract (J), margin: what that is worth in a score; always: [lane] what
        every mapping takes (J).
    """

    lane: Ints
    slopes: Floats
    reach: Floats
    beyond: Floats
    limit: Floats
    spared: Floats
    within: Floats
    hit: Flags
    better: Flags
    prices: Floats
    alive: Ints
    many: Ints
    staying: Floats
    stamp: Ints
    fresh: Ints
    turns: Ints
    digits: Ints
    vary: Flags
    cuts: Ints
    uses: Ints
    head: Ints
    tail: Ints
    counts: Ints
    near: Floats
    credit: Floats
    margin: Floats
    always: Floats


def walk_of(lanes: int) -> Walk:
    """Scratch for so many lanes."""
    parts = -(-lanes // WIDTH)

    def places(*shape: int) -> Floats:
        return np.zeros((*shape, WIDTH))

    return Walk(
        lane=np.zeros(parts * WIDTH, np.int64),
        slopes=places(parts, 3, 2),
        reach=places(parts, 3, 2),
        beyond=places(parts, 3),
        limit=places(parts),
        spared=places(parts),
        within=places(parts),
        hit=np.zeros((parts, WIDTH), np.bool_),
        better=np.zeros((parts, WIDTH), np.bool_),
        prices=places(parts),
        alive=np.zeros((9, parts), np.int64),
        many=np.zeros(9, np.int64),
        staying=places(3, _PRICES, parts),
        stamp=np.full((3, _PRICES, parts), -1, np.int64),
        fresh=np.zeros(parts, np.int64),
        turns=np.zeros(8, np.int64),
        digits=np.zeros(8, np.int64),
        vary=np.zeros(8, np.bool_),
        cuts=np.zeros((_CUTS, 9), np.int64),
        uses=np.zeros((_USES, 2), np.int64),
        head=np.full(parts * WIDTH, -1, np.int64),
        tail=np.full(parts * WIDTH, -1, np.int64),
        counts=np.zeros(3, np.int64),
        near=np.zeros(lanes),
        credit=np.zeros(lanes),
        margin=np.zeros(lanes),
        always=np.zeros(lanes),
    )


@inner
def rounded(best: float, margin: float) -> float:
    """What a bound must be below to be worth a look: the best, and what rounding may add."""
    return best * (1.0 + LOOSE) + LOOSE * margin


@inner
def energy_room(best: float, cycles: float, goal: Goal) -> float:
    """Energy (J, static energy left out) below which so many cycles beat a score."""
    if goal.bandwidth > 0:
        cycles = max(cycles, (goal.words + goal.streamed) / goal.bandwidth)
    if cycles > goal.cap:
        return -np.inf
    if best == np.inf:
        return np.inf
    static = goal.static * cycles
    if goal.kind == ENERGY:
        return best - goal.tie * cycles - static
    if goal.kind == LATENCY:
        return (best - cycles) / goal.tie - static
    return best / cycles - static


@inner
def fill_near(only: int, on: Flags, best: Floats, lanes: Lanes, work: Work, walk: Walk) -> None:
    """Fill `near`, `credit` and `always` for all lanes that are on, or only one if it is not -1."""
    for lane in range(lanes.case.shape[0]):
        always = lanes.base[lane] + lanes.whole[lane]
        credit = abs(lanes.base[lane]) + abs(lanes.whole[lane])
        for g in range(work.spared.shape[0]):
            credit += work.spared[g, lane, 0] + work.spared[g, lane, 1]
        score = float(best[int(lanes.case[lane])])
        margin = credit
        if lanes.kind == LATENCY:
            margin = lanes.tie * credit
        elif lanes.kind == EDP:  # times the most cycles that are of interest
            energy = max(always + work.lowest[lane], 1e-3 * credit)
            margin = score / energy * credit if energy > 0 and score < np.inf else 0.0
        walk.credit[lane], walk.margin[lane] = credit, margin
        walk.always[lane], walk.near[lane] = always, -np.inf
        if on[lane] and (only < 0 or only == lane):
            near = rounded(score, margin)
            if lanes.kind != ENERGY or always + work.lowest[lane] < near:
                walk.near[lane] = near


@inner
def iterations_of(i: int, lattice: Lattice) -> float:
    """How many multiplications tile i has."""
    found = 1.0
    for d in range(8):
        found *= lattice.size[d, lattice.at[d, i]]
    return found


@inner
def limit_of(lane: int, best: float, cycles: float, lanes: Lanes, work: Work, walk: Walk) -> float:
    """`Walk.limit` of a lane for cuts of so many cycles at the least."""
    room = energy_room(best, cycles, lane_goal(lanes, lane))
    room += LOOSE * (abs(room) + walk.credit[lane])
    return room - walk.always[lane] + work.spared[work.spared.shape[0] - 1, lane, 0]


@inner
def take_place(
    place: int, lane: int, block: int, limit: float, lanes: Lanes, lattice: Lattice, work: Work, walk: Walk
) -> None:
    """Give a lane a place at a block."""
    g = work.spared.shape[0] - 1
    p, k = place // WIDTH, place % WIDTH
    walk.lane[place], walk.head[place] = lane, -1
    walk.limit[p, k] = limit
    walk.spared[p, k] = work.spared[g, lane, 1] + lanes.saved[lane]
    for t in range(3):
        walk.slopes[p, t, 0, k] = work.slopes[g, lane, t, 0]
        walk.slopes[p, t, 1, k] = work.slopes[g, lane, t, 1]
        if g > 0:
            here, beyond = work.within[g - 1, t, lane, block], work.within[g - 1, t + 3, lane, block]
            walk.reach[p, t, 0, k], walk.reach[p, t, 1, k] = min(here, beyond), here
            walk.beyond[p, t, k] = beyond
        else:
            walk.reach[p, t, 0, k] = main_reach(
                t, block, lane, lanes.loopable, lanes.allowed, lanes.stays, work.slopes, lattice
            )
            walk.reach[p, t, 1, k] = walk.reach[p, t, 0, k]


@inner
def survivors(
    depth: int,
    amounts: Floats,
    sums: float,
    staying_sums: float,
    loops_here: Ints,
    slopes: Floats,
    reach: Floats,
    limit: Floats,
    spared: Floats,
    alive: Ints,
    many: Ints,
) -> int:
    """How many parts have a lane that a cut may be of use to, as far as it is known; lists them in `alive`.

    `depth` dimensions were cut before. `amounts`: [t, of blocks | of tiles] visits times elements; `sums`:
    most copies of sums, `staying_sums`: if the output is stationary; `loops_here`: [t, depth + 1] whether
    loops must step here. The rest is of `Walk`, one by one, because handing it on takes time.
    """
    # Of a length that is not known beforehand, or it would not be made into such instructions.
    width = limit.shape[1]
    a0, a1, b0, b1 = amounts[0, 0], amounts[0, 1], amounts[1, 0], amounts[1, 1]
    c0, c1 = amounts[2, 0], amounts[2, 1]
    x, y, z = loops_here[0, depth + 1], loops_here[1, depth + 1], loops_here[2, depth + 1]
    before, after = alive[depth], alive[depth + 1]
    count = 0
    for q in range(many[depth]):
        p = before[q]
        price, room, saved = slopes[p], limit[p], spared[p]
        first, second, third = reach[p, 0, x], reach[p, 1, y], reach[p, 2, z]
        hits = 0
        for k in range(width):
            ins = a0 * price[0, 0, k] + a1 * price[0, 1, k]
            weights = b0 * price[1, 0, k] + b1 * price[1, 1, k]
            outs = c0 * price[2, 0, k] + c1 * price[2, 1, k]
            most = room[k] + saved[k] * sums
            good = (weights + outs + first[k] < most) | (ins + outs + second[k] < most)
            hits += good | (ins + weights + third[k] < room[k] + saved[k] * staying_sums)
        if hits > 0:
            after[count] = p
            count += 1
    many[depth + 1] = count
    return count


@inner
def marked(
    index: int,
    amounts: Floats,
    sums: float,
    staying_sums: float,
    loops_here: Ints,
    n: int,
    limit: Floats,
    inside: Inner,
    walk: Walk,
) -> int:
    """How many lanes a whole cut of n dimensions may be of use to, with a limit; marks them in `hit`.

    `index`: of its tile, which must fit; the rest as `survivors`.
    """
    a0, a1, b0, b1 = amounts[0, 0], amounts[0, 1], amounts[1, 0], amounts[1, 1]
    c0, c1 = amounts[2, 0], amounts[2, 1]
    hits = 0
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        slopes, reach = walk.slopes[p], walk.reach[p]
        for k in range(WIDTH):
            ins = a0 * slopes[0, 0, k] + a1 * slopes[0, 1, k]
            weights = b0 * slopes[1, 0, k] + b1 * slopes[1, 1, k]
            outs = c0 * slopes[2, 0, k] + c1 * slopes[2, 1, k]
            most = limit[p, k] + walk.spared[p, k] * sums
            good = weights + outs + reach[0, loops_here[0, n], k] < most
            good = good or ins + outs + reach[1, loops_here[1, n], k] < most
            most = limit[p, k] + walk.spared[p, k] * staying_sums
            good = good or ins + weights + reach[2, loops_here[2, n], k] < most
            row = inside.of_lane[walk.lane[p * WIDTH + k]]
            walk.hit[p, k] = good and inside.fits[row, index] < np.inf
            hits += walk.hit[p, k]
    return hits


@inner
def _fill_staying(
    o: int, price: int, block: int, n: int, lanes: Lanes, lattice: Lattice, work: Work, walk: Walk
) -> None:
    """Fill `staying` for a tensor and a price: the best among all tiles that a block may be cut from.

    Of parts in which a cut of n dimensions may be of use; others wait until it is.
    """
    fresh, many = walk.fresh, 0
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        if walk.stamp[o, price, p] != walk.counts[2]:
            walk.stamp[o, price, p] = walk.counts[2]
            fresh[many] = p
            many += 1
    if many == 0:
        return
    g = work.spared.shape[0] - 1
    amount = lattice.hull[block] if o == INPUT else 1.0
    times = 2.0 ** (price / _FINE)
    found, digits, turns = walk.staying[o, price], walk.digits, walk.turns
    for q in range(many):
        p = fresh[q]
        for k in range(WIDTH):
            found[p, k] = np.inf
            walk.prices[p, k] = amount * (walk.slopes[p, o, 0, k] + times * walk.slopes[p, o, 1, k])
    for d in range(8):
        digits[d], turns[d] = lattice.at[d, block], 0
        walk.vary[d] = lanes.loopable[g, d] and lattice.many[d] > 1 and lanes.stays[g, o, d]
    at = block
    while at >= 0:
        visits = lattice.visits[o, at]
        for q in range(many):
            p = fresh[q]
            for k in range(WIDTH):
                value = work.rest[g - 1, walk.lane[p * WIDTH + k], at] + visits * walk.prices[p, k]
                found[p, k] = value if value < found[p, k] else found[p, k]
        at = multiple(at, walk.vary, digits, turns, lattice)


@inner
def refined(
    block: int,
    amounts: Floats,
    sums: float,
    loops_here: Ints,
    n: int,
    times: Floats,
    limit: Floats,
    lanes: Lanes,
    lattice: Lattice,
    work: Work,
    walk: Walk,
) -> int:
    """As `marked`, of those that are, with the true price of a visit.

    `times`: what tiles of each tensor take in a visit, over what they take without copies; the rest as
    `marked`.
    """
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        for k in range(WIDTH):
            walk.better[p, k] = False
    for o in range(3):
        a, b = (o + 1) % 3, (o + 2) % 3
        a0, a1, b0, b1 = amounts[a, 0], amounts[a, 1], amounts[b, 0], amounts[b, 1]
        stays = loops_here[o, n] == 0
        price = min(int(_FINE * np.log2(max(times[o], 1.0)) + 1e-9), _PRICES - 1)
        near = 0
        for q in range(walk.many[n]):
            p = walk.alive[n, q]
            slopes, reach = walk.slopes[p], walk.reach[p, o, loops_here[o, n]]
            for k in range(WIDTH):
                low = a0 * slopes[a, 0, k] + a1 * slopes[a, 1, k]
                low += b0 * slopes[b, 0, k] + b1 * slopes[b, 1, k]
                good = low + reach[k] < limit[p, k] + walk.spared[p, k] * sums
                near += walk.hit[p, k] & good
                walk.better[p, k] |= walk.hit[p, k] & good & (price == 0)
        if near == 0 or price == 0:  # without copies, nothing more is known
            continue
        _fill_staying(o, price, block, n, lanes, lattice, work, walk)
        more = (2.0 ** (price / _FINE) - 1.0) * (lattice.hull[block] if o == INPUT else 1.0)
        for q in range(walk.many[n]):
            p = walk.alive[n, q]
            slopes, found, beyond = walk.slopes[p], walk.staying[o, price, p], walk.beyond[p, o]
            for k in range(WIDTH):
                low = a0 * slopes[a, 0, k] + a1 * slopes[a, 1, k]
                low += b0 * slopes[b, 0, k] + b1 * slopes[b, 1, k]
                outside = beyond[k] + more * slopes[o, 1, k]
                outside = outside if stays and outside < found[k] else found[k]
                good = low + outside < limit[p, k] + walk.spared[p, k] * sums
                walk.better[p, k] |= good & walk.hit[p, k]
    hits = 0
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        for k in range(WIDTH):
            walk.hit[p, k] = walk.better[p, k]
            hits += walk.better[p, k]
    return hits

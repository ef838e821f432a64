"""The walk over cuts of a block, which lanes share: which of them a cut may be of use to; see `bound`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chipfit.cost.mapping.bound import Work
from chipfit.cost.mapping.lanes import WIDTH, Lanes, lane_goal
from chipfit.cost.mapping.model import ENERGY, INPUT, LATENCY, OUTPUT, RELEVANT, Flags, Floats, Ints, Singles
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.pricing import Goal
from chipfit.jit import inner

#: What bounds of 32 bits may be too large by, as a part of what goes into them.
LOOSE = 2e-6

#: Cuts of a block that wait to be worked out, and for how many lanes.
_CUTS, _USES = 2048, 16384

#: Prices of a visit that are told apart: over that without copies, so many to each doubling, rounded down.
_FINE, _PRICES = 4, 80


class Walk(NamedTuple):
    """Scratch of the walk; lanes by their part (of those that are at it) and their place there.

    parts: which parts are at it. slopes: [part, t, of blocks | of tiles, lane] as in `Work`. reach: [part, t,
    whether loops must step here, lane] as `Work.within`, the better of both. limit: [part, lane] what a cut must
    stay below, less what all cuts take; spared: [part, lane] what it may be more for each copy of sums.
    within: `limit` at the processing elements of a whole cut. hit: [part, lane] whether a cut does.
    staying: [t, price, part, lane] the least of tensor t, stationary here, and of all further out, by the price
        of a visit in steps of `_FINE`; stamp: [t, price, part] of which block. beyond: [part, t, lane] `Work.within` of
        reuse that runs on outwards. better, prices: scratch [part, lane]. fresh: scratch [part]. turns, digits: scratch (8).
    alive: [dimensions that are cut, :] parts that have a lane which the cut so far may be of use to; many: how
        many.
    cuts: [cut, pair of each dimension | index of the tile]. uses: [use, cut | next use of the lane].
    near: [part, lane] the best with what rounding may add, infinite below where a lane is not looked at; always:
        [part, lane] what every mapping takes.
    head, tail: [lane] first and last use, or -1. counts: cuts, uses, blocks.
    """

    parts: Ints
    slopes: Singles
    reach: Singles
    limit: Singles
    spared: Singles
    within: Singles
    hit: Flags
    staying: Singles
    stamp: Ints
    beyond: Singles
    better: Flags
    prices: Singles
    fresh: Ints
    turns: Ints
    digits: Ints
    alive: Ints
    many: Ints
    cuts: Ints
    uses: Ints
    head: Ints
    tail: Ints
    counts: Ints
    near: Singles
    always: Singles


def walk_of(parts: int) -> Walk:
    """Scratch for so many parts."""
    return Walk(
        parts=np.zeros(parts, np.int64),
        slopes=np.zeros((parts, 3, 2, WIDTH), np.float32),
        reach=np.zeros((parts, 3, 2, WIDTH), np.float32),
        limit=np.zeros((parts, WIDTH), np.float32),
        spared=np.zeros((parts, WIDTH), np.float32),
        within=np.zeros((parts, WIDTH), np.float32),
        hit=np.zeros((parts, WIDTH), np.bool_),
        staying=np.zeros((3, _PRICES, parts, WIDTH), np.float32),
        stamp=np.full((3, _PRICES, parts), -1, np.int64),
        beyond=np.zeros((parts, 3, WIDTH), np.float32),
        better=np.zeros((parts, WIDTH), np.bool_),
        prices=np.zeros((parts, WIDTH), np.float32),
        fresh=np.zeros(parts, np.int64),
        turns=np.zeros(8, np.int64),
        digits=np.zeros(8, np.int64),
        alive=np.zeros((9, parts), np.int64),
        many=np.zeros(9, np.int64),
        cuts=np.zeros((_CUTS, 9), np.int64),
        uses=np.zeros((_USES, 2), np.int64),
        head=np.full(parts * WIDTH, -1, np.int64),
        tail=np.full(parts * WIDTH, -1, np.int64),
        counts=np.zeros(3, np.int64),
        near=np.full((parts, WIDTH), -np.inf, np.float32),
        always=np.zeros((parts, WIDTH), np.float32),
    )


@inner
def rounded(best: float, credit: float) -> float:
    """What a bound must be below to be worth a look: the best, and what rounding may add."""
    return best * (1.0 + LOOSE) + LOOSE * credit


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
def credit_of(lane: int, part: int, place: int, lanes: Lanes, work: Work) -> float:
    """All that bounds of a lane may subtract (J)."""
    credit = lanes.base[lane] + lanes.whole[lane]
    for g in range(work.spared.shape[0]):
        credit += work.spared[g, part, 0, place] + work.spared[g, part, 1, place]
    return credit


@inner
def fill_near(only: int, on: Flags, best: Floats, lanes: Lanes, work: Work, walk: Walk) -> None:
    """Fill `near` and `always` for all lanes that are on, or only one if it is not -1."""
    for lane in range(lanes.case.shape[0]):
        part, place = lane // WIDTH, lane % WIDTH
        walk.near[part, place] = -np.inf
        if on[lane] and (only < 0 or only == lane):
            credit = credit_of(lane, part, place, lanes, work)
            walk.near[part, place] = rounded(rounded(best[lanes.case[lane]], credit), credit)
        walk.always[part, place] = lanes.base[lane] + lanes.whole[lane]


@inner
def worth(part: int, i: int, times: float, less: float, work: Work, walk: Walk) -> int:
    """How many lanes of a part block i may be of use to: a quick look, which leaves out none that it is.

    `times` and `less`: the energy that beats a score is so many times that, and so much less.
    """
    width = walk.near.shape[1]
    near, always, least = walk.near[part], walk.always[part], work.least[part, i]
    u, v = np.float32(times * (1 + LOOSE)), np.float32(less * (1 - LOOSE))
    hits = 0
    for k in range(width):
        hits += least[k] + always[k] < near[k] * u - v
    return hits


@inner
def room_of(cycles: float, lanes: Lanes) -> tuple[float, float]:
    """`times` and `less` of `worth` for so many cycles at the least."""
    static = lanes.static * cycles
    if lanes.kind == ENERGY:
        return 1.0, lanes.tie * cycles + static
    if lanes.kind == LATENCY:
        return 1.0 / lanes.tie, cycles / lanes.tie + static
    return 1.0 / cycles, static


@inner
def iterations_of(i: int, lattice: Lattice) -> float:
    """How many multiplications tile i has."""
    found = 1.0
    for d in range(8):
        found *= lattice.size[d, lattice.at[d, i]]
    return found


@inner
def limit_of(lane: int, part: int, place: int, best: float, cycles: float, lanes: Lanes, work: Work) -> float:
    """`Walk.limit` of a lane for cuts of so many cycles at the least."""
    g = work.spared.shape[0] - 1
    room = energy_room(best, cycles, lane_goal(lanes, lane))
    credit = credit_of(lane, part, place, lanes, work)
    room += LOOSE * (abs(room) + credit)
    return room - lanes.base[lane] - lanes.whole[lane] + work.spared[g, part, 0, place]


@inner
def survivors(
    depth: int,
    index: int,
    amounts: Singles,
    sums: float,
    staying_sums: float,
    loops_here: Ints,
    work: Work,
    walk: Walk,
) -> int:
    """How many parts have a lane that a cut may be of use to, as far as it is known; lists them in `alive`.

    Args:
        depth: dimensions that were cut before.
        index: of the tile, dimensions to come at their smallest.
        amounts: [t, of blocks | of tiles] visits times elements.
        sums: most copies of sums; staying_sums: if the output is stationary.
        loops_here: [t, depth + 1] whether loops must step here.
        work: bounds.
        walk: scratch.
    """
    # A loop that writes nothing, of a length that is not known beforehand, works on several lanes at once.
    width = walk.limit.shape[1]
    group = work.rest.shape[0] - 1
    a0, a1, b0, b1 = amounts[0, 0], amounts[0, 1], amounts[1, 0], amounts[1, 1]
    c0, c1, copies, staying = amounts[2, 0], amounts[2, 1], np.float32(sums), np.float32(staying_sums)
    x, y, z = loops_here[0, depth + 1], loops_here[1, depth + 1], loops_here[2, depth + 1]
    before, after = walk.alive[depth], walk.alive[depth + 1]
    count = 0
    for q in range(walk.many[depth]):
        p = before[q]
        slopes, reach, limit, spared = walk.slopes[p], walk.reach[p], walk.limit[p], walk.spared[p]
        fits = work.rest[group, walk.parts[p], index]
        first, second, third = reach[0, x], reach[1, y], reach[2, z]
        hits = 0
        for k in range(width):
            ins = a0 * slopes[0, 0, k] + a1 * slopes[0, 1, k]
            weights = b0 * slopes[1, 0, k] + b1 * slopes[1, 1, k]
            outs = c0 * slopes[2, 0, k] + c1 * slopes[2, 1, k]
            room = limit[k] - fits[k]
            most = room + spared[k] * copies
            good = (weights + outs + first[k] < most) | (ins + outs + second[k] < most)
            hits += good | (ins + weights + third[k] < room + spared[k] * staying)
        if hits > 0:
            after[count] = p
            count += 1
    walk.many[depth + 1] = count
    return count


@inner
def marked(
    index: int,
    amounts: Singles,
    sums: float,
    staying_sums: float,
    loops_here: Ints,
    n: int,
    limit: Singles,
    work: Work,
    walk: Walk,
) -> int:
    """How many lanes a whole cut of n dimensions may be of use to, with a limit; marks them in `hit`."""
    group = work.rest.shape[0] - 1
    a0, a1, b0, b1 = amounts[0, 0], amounts[0, 1], amounts[1, 0], amounts[1, 1]
    c0, c1, copies, staying = amounts[2, 0], amounts[2, 1], np.float32(sums), np.float32(staying_sums)
    hits = 0
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        slopes, reach, part = walk.slopes[p], walk.reach[p], walk.parts[p]
        for k in range(WIDTH):
            ins = a0 * slopes[0, 0, k] + a1 * slopes[0, 1, k]
            weights = b0 * slopes[1, 0, k] + b1 * slopes[1, 1, k]
            outs = c0 * slopes[2, 0, k] + c1 * slopes[2, 1, k]
            room = limit[p, k] - work.rest[group, part, index, k]
            most = room + walk.spared[p, k] * copies
            good = weights + outs + reach[0, loops_here[0, n], k] < most
            good = good or ins + outs + reach[1, loops_here[1, n], k] < most
            most = room + walk.spared[p, k] * staying
            good = good or ins + weights + reach[2, loops_here[2, n], k] < most
            walk.hit[p, k] = good
            hits += good
    return hits


@inner
def _fill_staying(
    o: int, price: int, serial: int, block: int, n: int, lanes: Lanes, lattice: Lattice, work: Work, walk: Walk
) -> None:
    """Fill `staying` for a tensor and a price: the best among all tiles that a block may be cut from.

    Of parts in which a cut of n dimensions may be of use; others wait until it is.
    """
    fresh = walk.fresh
    many = 0
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        if walk.stamp[o, price, p] != serial:
            walk.stamp[o, price, p] = serial
            fresh[many] = p
            many += 1
    if many == 0:
        return
    g, width = work.spared.shape[0] - 1, walk.limit.shape[1]
    amount = np.float32(lattice.hull[block] if o == INPUT else 1.0)
    times = np.float32(2.0 ** (price / _FINE))
    found, digits, turns = walk.staying[o, price], walk.digits, walk.turns
    for q in range(many):
        p = fresh[q]
        for k in range(WIDTH):
            found[p, k] = np.inf
            walk.prices[p, k] = amount * (walk.slopes[p, o, 0, k] + times * walk.slopes[p, o, 1, k])
    for d in range(8):
        digits[d], turns[d] = lattice.at[d, block], 0
    at = block
    while True:
        visits = np.float32(lattice.visits[o, at])
        for q in range(many):
            p = fresh[q]
            rest, prices, least = work.rest[g - 1, walk.parts[p], at], walk.prices[p], found[p]
            for k in range(width):
                value = rest[k] + visits * prices[k]
                least[k] = value if value < least[k] else least[k]
        d = 0
        while d < 8:
            vary = lanes.loopable[g, d] and lattice.many[d] > 1
            if RELEVANT[o, d] == 1 and not lanes.allowed[g, o]:
                vary = False
            if vary:
                low = digits[d]
                turns[d] += 1
                if turns[d] < lattice.upping[d, low]:
                    was = lattice.ups[d, low, turns[d] - 1]
                    at += (lattice.ups[d, low, turns[d]] - was) * lattice.step[d]
                    break
                at += (low - lattice.ups[d, low, turns[d] - 1]) * lattice.step[d]
                turns[d] = 0
            d += 1
        if d == 8:
            return


@inner
def refined(
    serial: int,
    block: int,
    amounts: Singles,
    sums: float,
    loops_here: Ints,
    n: int,
    times: Floats,
    limit: Singles,
    lanes: Lanes,
    lattice: Lattice,
    work: Work,
    walk: Walk,
) -> int:
    """As `marked`, of those that are, with the true price of a visit.

    Args:
        serial: number of the block among those that are opened. block: what is cut.
        amounts, sums, loops_here, n, limit, work, walk: as `marked`.
        times: what tiles of each tensor take in a visit, over what they take without copies.
        lanes: the target.
        lattice: the tiles.
    """
    copies = np.float32(sums)
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        for k in range(WIDTH):
            walk.better[p, k] = False
    for o in range(3):
        a, b = (o + 1) % 3, (o + 2) % 3
        a0, a1, b0, b1 = amounts[a, 0], amounts[a, 1], amounts[b, 0], amounts[b, 1]
        stays = loops_here[o, n] == 0
        near = 0
        for q in range(walk.many[n]):
            p = walk.alive[n, q]
            slopes, reach = walk.slopes[p], walk.reach[p, o, loops_here[o, n]]
            for k in range(WIDTH):
                low = a0 * slopes[a, 0, k] + a1 * slopes[a, 1, k]
                low += b0 * slopes[b, 0, k] + b1 * slopes[b, 1, k]
                near += walk.hit[p, k] & (low + reach[k] < limit[p, k] + walk.spared[p, k] * copies)
        if near == 0:
            continue
        price = min(int(_FINE * np.log2(max(times[o], 1.0)) + 1e-9), _PRICES - 1)
        _fill_staying(o, price, serial, block, n, lanes, lattice, work, walk)
        more = np.float32((2.0 ** (price / _FINE) - 1.0) * (lattice.hull[block] if o == INPUT else 1.0))
        for q in range(walk.many[n]):
            p = walk.alive[n, q]
            slopes, found, beyond = walk.slopes[p], walk.staying[o, price, p], walk.beyond[p, o]
            for k in range(WIDTH):
                low = a0 * slopes[a, 0, k] + a1 * slopes[a, 1, k]
                low += b0 * slopes[b, 0, k] + b1 * slopes[b, 1, k]
                outside = beyond[k] + more * slopes[o, 1, k]
                outside = outside if stays and outside < found[k] else found[k]
                good = low + outside < limit[p, k] + walk.spared[p, k] * copies
                walk.better[p, k] |= good & walk.hit[p, k]
    hits = 0
    for q in range(walk.many[n]):
        p = walk.alive[n, q]
        for k in range(WIDTH):
            walk.hit[p, k] = walk.better[p, k]
            hits += walk.better[p, k]
    return hits

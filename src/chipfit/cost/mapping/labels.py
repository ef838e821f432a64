"""Labels, the partial mappings of the search: how they are listed for a block, and which go; see `bound`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chipfit.cost.mapping.bound import CLASSES, Work, both_orders, main_reach
from chipfit.cost.mapping.lattice import Lattice, multiple
from chipfit.cost.mapping.model import RELEVANT, Flags, Floats, Ints
from chipfit.cost.mapping.plan import Plan
from chipfit.cost.mapping.pricing import WAITING, Goal, score
from chipfit.jit import inner, tight

LABEL = 13  # columns of a label: bound, energy, cycles, what waits, price of a visit that runs on outwards


COMPARED = 64  # candidates of one block and one stationary tensor that are compared with each other


class Found(NamedTuple):
    """The best mapping of each case, and scratch.

    tiles: [case, stage, d], the datapath's last (cases, stages + 1, 8). factors: [case, stage, d].
    stationary: [case, stage]. indices: [case, d, stage] of the sizes of tiles. lane: that it is of, or -1.
    reached: score of the best mapping, or the one that is to be beaten (cases). best: what is worth a look.
    numbers: [lane, blocks opened | cuts priced | labels | mappings priced | least bound | labels dropped |
        candidates | least bound of what was dropped].
    chains, order, accesses, out: scratch of `nest.count`; picks: of sizes, by dimension and stage.
    """

    tiles: Ints
    factors: Ints
    stationary: Ints
    indices: Ints
    lane: Ints
    reached: Floats
    best: Floats
    numbers: Floats
    chains: Ints
    order: Ints
    accesses: Floats
    out: Floats
    picks: Ints


class Steps(NamedTuple):
    """Scratch of `best_first`: where it is among the cuts of a block, and what each cut has so far."""

    pending: Floats
    position: Ints
    have: Ints
    ranked: Flags
    dims: Ints
    first: Ints
    last: Ints
    place: Ints
    products: Ints
    indices: Ints
    copies: Floats
    loops_here: Ints
    of_tiles: Floats
    of_blocks: Floats
    rest_of: Floats
    reach: Flags
    digits: Ints
    chosen: Ints
    vary: Flags


def steps_of(groups: int, rows: int) -> Steps:
    """Scratch for a target of so many groups whose innermost array but one has so many rows."""
    return Steps(
        pending=np.zeros(WAITING),
        position=np.zeros(groups, np.int64),
        have=np.zeros(groups, np.int64),
        ranked=np.zeros(groups, np.bool_),
        dims=np.zeros(8, np.int64),
        first=np.zeros(9, np.int64),
        last=np.zeros(9, np.int64),
        place=np.zeros(9, np.int64),
        products=np.ones(9, np.int64),
        indices=np.zeros(9, np.int64),
        copies=np.ones(9),
        loops_here=np.zeros((3, 9), np.int64),
        of_tiles=np.ones((3, 9)),
        of_blocks=np.ones((3, 9)),
        rest_of=np.ones((3, 9)),
        reach=np.zeros((2, rows + 1), np.bool_),
        digits=np.zeros(8, np.int64),
        chosen=np.zeros(8, np.int64),
        vary=np.zeros(8, np.bool_),
    )


@tight
def bound_of(energy: float, cycles: float, words: float, goal: Goal) -> float:
    """The least score with at least so much energy (J), cycles and words of the main memory."""
    if goal.bandwidth > 0:
        cycles = max(cycles, (max(words, goal.words) + goal.streamed) / goal.bandwidth)
    return score(energy + goal.static * cycles, cycles, goal)


@tight
def _loops_here(o: int, block: int, blocks: Floats, lattice: Lattice) -> bool:
    """Whether a step must loop along a dimension of tensor o: the block does not divide the bound."""
    loops = False
    for d in range(8):
        loops = loops or (RELEVANT[o, d] == 1 and blocks[d] > lattice.rounds[d, lattice.at[d, block]])
    return loops


@tight
def consider(
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
    lane: int,
    plan: Plan,
    lattice: Lattice,
    goal: Goal,
    best: float,
    work: Work,
) -> None:
    """List a cut of a block for every stationary tensor with which it may beat the best.

    `plan` and `goal` are those of the lane; `best` allows for rounding.

    `runs` is the tensor whose reuse runs on from the step further in, or -1, and `run` its price of a visit.
    If it stays no longer here, its reuse did not run on.
    """
    innermost = g == plan.last_stage.shape[0] - 2
    for c in range(CLASSES):
        o = c % 3
        if runs >= 0 and o != runs and plan.allowed[g, runs]:
            continue
        if g == 0:
            reach = main_reach(c, block, lane, plan.loopable, plan.allowed, plan.stays, work.slopes, lattice)
        else:
            reach = work.within[g - 1, c, lane, block]
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
        reached = max(cycles, within) / work.fans[g, block]
        if innermost and goal.timed:
            reached = max(reached, work.floor[lane, block])
        if bound_of(fixed + reach, reached, 0.0, goal) >= best:
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
        if not waits and plan.complete:
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


@tight
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


@tight
def _again(g: int, i: int, scale: float, work: Work) -> bool:
    """Whether a label is the same in all that is to come as one that was listed before; notes it otherwise.

    Of those before, some are forgotten. `scale`: of bounds.
    """
    label, tile, runs = work.labels[g, i], work.label_at[g, i, 0], work.label_at[g, i, 1]
    if label[12] < 0:  # may look better than it is
        return False
    runs = runs if runs >= 3 else 0
    near = int(label[0] / scale * 2.0**30) if scale < np.inf else 0
    place = (near ^ (tile * 40503 + runs)) & (work.past.shape[1] - 1)
    past = work.past[g, place]
    same = past[LABEL] == tile and past[LABEL + 1] == runs
    for k in range(LABEL):
        same = same and past[k] == label[k]
        past[k] = label[k]
    past[LABEL], past[LABEL + 1] = tile, runs
    return same


@inner
def _better_half(g: int, have: int, work: Work, numbers: Floats) -> int:
    """Keep up to half of the labels of a step, with less than the mean bound; how many are left.

    Notes how many went, and the least of their bounds.
    """
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
        else:
            numbers[7] = min(numbers[7], work.labels[g, i, 0])
    kept = kept if kept > 0 else have // 2
    numbers[5] += have - kept
    return kept


@tight
def spread(
    g: int,
    block: int,
    lane: int,
    plan: Plan,
    lattice: Lattice,
    goal: Goal,
    best: float,
    rounded: float,
    work: Work,
    have: int,
    dive: bool,
    memory: bool,
    unsure: bool,
    numbers: Floats,
    steps: Steps,
) -> int:
    """Labels of group g for everything listed for a block; how many there are now.

    `plan`, `goal` and `numbers` are those of the lane. `rounded` is the best with what rounding may add.

    A dive keeps only the label of the least bound, and that of the least bound among those whose reuse runs
    on outwards, which are too good to be compared with others. If there are too many, a better half stays,
    and how many went is counted. `unsure`: the labels may look better than they are.
    """
    room = work.labels.shape[1]
    floor = 0.0
    if goal.timed and g == plan.last_stage.shape[0] - 2:
        floor = work.floor[lane, block]
    if dive and have == 0:
        work.labels[g, 0, 0], work.labels[g, 1, 0] = np.inf, np.inf
        have = 2
    digits, chosen = steps.digits, steps.chosen
    rest, words_of, fans = work.rest[g - 1, lane], work.words[lane], work.fans[g]
    for c in range(CLASSES):
        o = c % 3
        first, visits_of = work.first[o, lane], lattice.visits[o]
        either = both_orders(g, o, plan.allowed)
        for i in range(work.listed_at[c, 0, 9]):
            entry = work.listed[c, i]
            fixed, price = entry[0], entry[1]
            at = block
            for d in range(8):
                digits[d] = lattice.at[d, block]
                chosen[d] = 0
                steps.vary[d] = plan.loopable[g, d] and lattice.many[d] > 1 and plan.stays[g, o, d] and g > 0
                if c >= 3 and RELEVANT[o, d] == 1:
                    steps.vary[d] = False
            if g == 0:
                at = lattice.hull.shape[0] - 1
            while at >= 0:
                if g == 0:
                    further = 0.0
                elif c >= 3 and g == 1:
                    further = 1.0 * first[at]
                else:
                    further = 1.0 * rest[at]
                numbers[6] += 1
                if either and c < 3 and chosen[2] > 0 and chosen[0] + chosen[4] + chosen[5] > 0:
                    further = np.inf
                if further < np.inf:
                    visits = visits_of[at] if c < 3 else 1.0
                    energy = fixed + price * visits
                    inner = max(entry[14], entry[8] + entry[9] * visits)
                    here = entry[10] + entry[11] * visits
                    away = entry[12] + entry[13] * visits
                    words = away * goal.bandwidth
                    if g == 1 and goal.timed:
                        words += words_of[at]
                    reached = max(max(entry[2], max(inner, here)) / fans[at], floor)
                    bound = bound_of(energy + further, reached, words, goal)
                    if bound < (best if g == 0 else rounded):
                        slot = have
                        if dive:
                            slot = 1 if c >= 3 and g >= 2 else 0
                            if work.labels[g, slot, 0] <= bound:
                                slot = -1
                        if slot == room:
                            have = _better_half(g, have, work, numbers)
                            slot = have
                        if slot >= 0:
                            label = work.labels[g, slot]
                            label[0], label[1], label[2] = bound, energy, entry[2]
                            for t in range(3):
                                per_visit = t == o and plan.pending[g, t] < 0
                                label[3 + t] = entry[3 + t] * (visits if per_visit else 1.0)
                            label[6], label[7], label[8], label[9] = entry[6], inner, here, away
                            label[10], label[11] = entry[15], 0.0
                            label[12] = -1.0 if unsure else (price if c >= 3 else 0.0)
                            where = work.label_at[g, slot]
                            where[0], where[1] = at, c
                            where[10], where[11] = work.listed_at[c, i, 8], work.listed_at[c, i, 10]
                            for d in range(8):
                                where[2 + d] = work.listed_at[c, i, d]
                            old = memory and g > 0 and not dive
                            old = old and (
                                _known(g, slot, plan, goal, work) or _again(g, slot, rounded, work)
                            )
                            if not dive and not old:
                                have += 1
                at = multiple(at, steps.vary, digits, chosen, lattice)
    return have

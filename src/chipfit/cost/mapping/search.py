"""The best-first search; terms and why it loses nothing: see `bound`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chipfit.cost.mapping.bound import CLASSES, Work, fill_slopes
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import INPUT, OUTPUT, RELEVANT, WEIGHT, Flags, Floats, Ints
from chipfit.cost.mapping.nest import Chip, Tables, chain_counts, count
from chipfit.cost.mapping.plan import Plan
from chipfit.cost.mapping.pricing import WAITING, Cut, Goal, packs, price_cut, resolve, score
from chipfit.jit import inner, lean

LEAF = 400  # candidates that take as long as one whole mapping


LABEL = 13  # columns of a label: bound, energy, cycles, what waits, price of a visit that runs on outwards


#: Dimensions in the order in which cuts are made: those of the rows and of the columns of the input first.
INPUT_FIRST = (4, 6, 5, 7, 0, 1, 2, 3)


COMPARED = 64  # candidates of one block and one stationary tensor that are compared with each other


@inner
def _bound(energy: float, cycles: float, words: float, goal: Goal) -> float:
    if goal.bandwidth > 0:
        cycles = max(cycles, (max(words, goal.words) + goal.streamed) / goal.bandwidth)
    return score(energy + goal.static * cycles, cycles, goal)


@inner
def _loops_here(o: int, block: int, blocks: Floats, lattice: Lattice) -> bool:
    """Whether a step must loop along a dimension of tensor o: the block does not divide the bound."""
    loops = False
    for d in range(8):
        loops = loops or (RELEVANT[o, d] == 1 and blocks[d] > lattice.rounds[d, lattice.at[d, block]])
    return loops


@inner
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
    innermost = g == plan.last_stage.shape[0] - 2
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
        reached = max(max(cycles, within) / work.fans[g, block], work.floor[block] if innermost else 0.0)
        if _bound(fixed + reach, reached, 0.0, goal) >= best:
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


@inner
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


@inner
def _better_half(g: int, have: int, work: Work, found: Found) -> int:
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
            found.numbers[7] = min(found.numbers[7], work.labels[g, i, 0])
    kept = kept if kept > 0 else have // 2
    found.numbers[5] += have - kept
    return kept


class Steps(NamedTuple):
    """Scratch of `best_first`: where it is among the cuts of a block, and what each cut has so far."""

    pending: Floats
    position: Ints
    have: Ints
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
    reach_of: Floats
    reach: Flags
    digits: Ints
    chosen: Ints


def steps_of(groups: int, rows: int) -> Steps:
    """Scratch for a target of so many groups whose innermost array but one has so many rows."""
    return Steps(
        pending=np.zeros(WAITING),
        position=np.zeros(groups, np.int64),
        have=np.zeros(groups, np.int64),
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
        reach_of=np.zeros((3, 2)),
        reach=np.zeros((2, rows + 1), np.bool_),
        digits=np.zeros(8, np.int64),
        chosen=np.zeros(8, np.int64),
    )


@inner
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
    steps: Steps,
) -> int:
    """Labels of group g for everything listed for a block; how many there are now.

    A dive keeps only the label of the least bound, and that of the least bound among those whose reuse runs
    on outwards, which are too good to be compared with others. If there are too many, a better half stays,
    and how many went is counted. `unsure`: the labels may look better than they are.
    """
    room = work.labels.shape[1]
    floor = work.floor[block] if g == plan.last_stage.shape[0] - 2 else 0.0
    if dive and have == 0:
        work.labels[g, 0, 0], work.labels[g, 1, 0] = np.inf, np.inf
        have = 2
    digits, chosen = steps.digits, steps.chosen
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
                    reached = max(max(entry[2], max(inner, here)) / work.fans[g, at], floor)
                    bound = _bound(energy + further, reached, words, goal)
                    if bound < best:
                        place = have
                        if dive:
                            place = 1 if c >= 3 and g >= 2 else 0
                            if work.labels[g, place, 0] <= bound:
                                place = -1
                        if place == room:
                            have = _better_half(g, have, work, found)
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
        candidates, least bound of what was dropped] (8).
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


@inner
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


@inner
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


@lean
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
    slack: float,
    probes: int,
    effort: float,
    found: Found,
    work: Work,
    cut: Cut,
    steps: Steps,
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
        slack: what cannot be less than this part of the best is left out; 1 to leave out nothing better.
        effort: candidates looked at after which the search gives up; a whole mapping counts as LEAF.
        probes: if not 0, only the most promising mapping of so many blocks is looked at.
        found: filled.
        work: bounds, as `prepare_bounds` left them.
        cut: scratch, new for each search.
        steps: likewise.
    """
    groups = plan.last_stage.shape[0]
    big = groups - 2
    tiles = lattice.hull.shape[0]
    stages = plan.stage_group.shape[0]
    elements = plan.sides[big, 0] * plan.sides[big, 1]
    outputs = float(lattice.elements[OUTPUT, tiles - 1])
    tile, factors, extent, blocks, priced = cut
    pending, position, have, dims = steps.pending, steps.position, steps.have, steps.dims
    first, last, place, products, indices = (
        steps.first,
        steps.last,
        steps.place,
        steps.products,
        steps.indices,
    )
    copies, loops_here, of_tiles, of_blocks = steps.copies, steps.loops_here, steps.of_tiles, steps.of_blocks
    rest_of, reach_of, reach = steps.rest_of, steps.reach_of, steps.reach
    slopes, spared = work.slopes, work.spared
    nothing = int(have[0])  # handing on constants would compile what takes them once more
    active = 0
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
    least_rows, least_columns = np.inf, np.inf
    for i in range(lattice.rows.shape[0]):
        for j in range(lattice.rows.shape[1]):
            least_rows = min(least_rows, lattice.rows[i, j, 0])
    for i in range(lattice.columns.shape[0]):
        for j in range(lattice.columns.shape[1]):
            least_columns = min(least_columns, lattice.columns[i, j, 0])
    fill_slopes(big, plan, lattice, slopes, spared)
    reached, best = limit, limit * slack
    least_inside, whole_inside, saved_inside, fastest_inside = np.inf, np.inf, 0.0, np.inf
    for w in range(inside.shape[0]):
        least_inside = min(least_inside, inside_cost[w, 0])
        fastest_inside = min(fastest_inside, inside_cost[w, 1])
        whole_inside = min(whole_inside, inside_cost[w, 0] + inside_pending[w, 3] * plan.most_copies[big + 1])
        saved_inside = max(saved_inside, inside_pending[w, 3] * plan.most_copies[big])
    size = 0
    found.numbers[4], found.numbers[7] = np.inf, np.inf
    for i in range(tiles):
        if work.least[big, i] == np.inf:
            continue
        most, sums = 1.0, 1.0
        for d in range(8):
            wide = lattice.size[d, lattice.at[d, i]]
            most *= wide
            if RELEVANT[OUTPUT, d] == 0:
                sums *= wide
        cycles = max(fastest_inside / (min(most, elements) * work.fans[big, i]), work.floor[i])
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
    unsure = nothing > 0
    memory = big > 1 and plan.complete
    if memory:
        seen = work.seen.reshape(work.seen.size)
        for i in range(seen.shape[0]):
            seen[i] = np.inf
    while size > 0:
        block = work.heap[0]
        if work.keys[block] >= best:
            break
        size -= 1
        work.heap[0] = work.heap[size]
        work.heap[size] = block  # kept behind the heap, for a second round after the dive
        _sift(work.heap, work.keys, nothing, size)
        found.numbers[0] += 1
        opened += 1
        if found.numbers[6] > effort and best < np.inf:
            found.numbers[5] += 1
            found.numbers[7] = min(found.numbers[7], work.keys[block])
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
            if not plan.loopable[big, d] and sides > lattice.rounds[d, lattice.at[d, block]]:
                place[depth] += 1  # more rounds than one, in a memory that may not loop
                continue
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
            if not chip.union:
                hull = min(hull, hull_of_tiles)  # identical tiles are sent; rows between them are not
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
            cycles = max(fastest_inside / (at_work * work.fans[big, block]), work.floor[block])
            if _bound(low, cycles, 0.0, goal) >= best:
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
            if not packs(factors, big, plan, reach):
                continue
            for k in range(active):
                e = dims[k]
                which = place[k] if k < depth else pair
                tile[e] = lattice.pair_tile[e, which]
                extent[e] = lattice.pair_extent[e, which]
                blocks[e] = lattice.pair_blocks[e, which]
            price_cut(big, tile, factors, extent, blocks, plan, lattice, priced)
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
                energy = base + inside_cost[w, 0] + resolve(big, factors, plan, priced, outputs, pending)
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
                    nothing - 1,
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
                        unsure,
                        found,
                        steps,
                    )
                    full = False
                    for c in range(CLASSES):
                        work.listed_at[c, 0, 9] = 0
        have[big] = _spread(
            big, block, plan, lattice, goal, best, work, int(have[big]), dive, memory, unsure, found, steps
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
                found.numbers[7] = min(found.numbers[7], work.keys[block])
                break
            found.numbers[2] += 1
            if g == 0:
                found.numbers[3] += 1
                found.numbers[6] += LEAF
                value = _leaf(plan, lattice, chip, tables, goal, inside, position, found, work)
                if value < reached:
                    reached, best = value, min(best, value * slack)
                    for stage in range(stages + 1):
                        for d in range(8):
                            found.tiles[stage, d] = tables.tiles[d, 0, stage]
                            if stage < stages:
                                found.factors[stage, d] = tables.factors[stage, d]
                        if stage < stages:
                            found.stationary[stage] = found.order[stage]
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
                    if not plan.loopable[g, d] and blocks[d] > lattice.rounds[d, j]:
                        index = -1
                        break
                    cycles *= blocks[d] / lattice.rounds[d, tile[d]]
                if index < 0:
                    continue
                for c in range(CLASSES):
                    work.listed_at[c, 0, 9] = 0
                for t in range(WAITING):
                    pending[t] = label[3 + t]
                price_cut(g, tile, factors, extent, blocks, plan, lattice, priced)
                energy = label[1] + resolve(g, factors, plan, priced, outputs, pending)
                _consider(
                    g,
                    index,
                    energy,
                    cycles,
                    pending,
                    factors,
                    nothing,
                    nothing,
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
                    g,
                    index,
                    plan,
                    lattice,
                    goal,
                    best,
                    work,
                    int(have[g]),
                    dive,
                    memory,
                    unsure,
                    found,
                    steps,
                )
        if dive and best < np.inf and probes == 0:
            dive = False
            size = all_blocks
            for i in range(size // 2 - 1, -1, -1):
                _sift(work.heap, work.keys, i, size)
    return reached

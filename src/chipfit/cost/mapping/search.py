"""The best-first search; terms and why it loses nothing: see `bound`."""

from __future__ import annotations

import numpy as np

from chipfit.cost.mapping.bound import Inner, Work
from chipfit.cost.mapping.descend import bound_of_block, close, descend, lend, sift
from chipfit.cost.mapping.labels import Found, Steps
from chipfit.cost.mapping.lanes import Lanes, lane_plan
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import ENERGY, INPUT, OUTPUT, RELEVANT, Flags, Floats, Ints
from chipfit.cost.mapping.nest import Tables
from chipfit.cost.mapping.pricing import Cut, packs
from chipfit.cost.mapping.walk import (
    WIDTH,
    Walk,
    fill_near,
    iterations_of,
    limit_of,
    marked,
    refined,
    survivors,
    take_place,
)
from chipfit.jit import lean

#: Dimensions in the order in which cuts are made: those of the rows and of the columns of the input first.
INPUT_FIRST = (4, 6, 5, 7, 0, 1, 2, 3)


@lean
def best_first(
    lanes: Lanes,
    lattice: Lattice,
    inner_part: Inner,
    tables: Tables,
    inside: Ints,
    ways: Ints,
    many: Ints,
    on: Flags,
    slack: float,
    probes: int,
    effort: float,
    found: Found,
    work: Work,
    walk: Walk,
    cut: Cut,
    steps: Steps,
    amounts: Floats,
    times: Floats,
    filled: Floats,
) -> None:
    """Better mappings of all cases than those in `found`, if there are any.

    Args:
        lanes: the target in groups, for all ways to hold tensors and all cases.
        lattice: the tiles.
        inner_part: as `bound.fill_inner`.
        tables: scratch of `nest.count` for one mapping, with the rows and columns of the lattice.
        inside: ways to unroll below the innermost memory.
        ways: ways to unroll by group, as `list_ways`.
        many: how many.
        on: lanes that are searched; those whose effort is used up are off afterwards.
        slack: what cannot be less than this part of the best is left out; 1 to leave out nothing better.
        probes: if not 0, only the most promising mapping of so many blocks of a lane is looked at, and lanes
            take turns.
        effort: candidates looked at after which a lane gives up; a whole mapping counts as `descend.LEAF`.
        found: the scores that are to be beaten; filled.
        work: bounds, as `prepare_bounds` left them.
        walk: scratch.
        cut: scratch, new for each search.
        steps: likewise.
        amounts: scratch (3, 2).
        times: scratch (3).
        filled: scratch (cases).
    """
    groups = lanes.last_stage.shape[0]
    big = groups - 2
    tiles = lattice.hull.shape[0]
    elements = lanes.sides[big, 0] * lanes.sides[big, 1]
    count_lanes, cases = lanes.case.shape[0], found.reached.shape[0]
    tile, factors, extent = cut.tile, cut.factors, cut.extent
    have, dims = steps.have, steps.dims
    first, last, place, products, indices = (
        steps.first,
        steps.last,
        steps.place,
        steps.products,
        steps.indices,
    )
    copies, loops_here, of_tiles, of_blocks = steps.copies, steps.loops_here, steps.of_tiles, steps.of_blocks
    rest_of, reach = steps.rest_of, steps.reach
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
    dive = probes > 0
    # With several steps to go, labels that reach the same tile are compared.
    memory = False
    for lane in range(count_lanes):
        if on[lane]:
            found.numbers[lane, 4], found.numbers[lane, 7] = np.inf, np.inf
            memory = big > 1 and lanes.complete[lane]
    for i in range(tiles):
        at_work = min(iterations_of(i, lattice), 1.0 * elements) * work.fans[big, i]
        work.cycles[i] = lanes.fastest / at_work
    turn, likely = -1, -1
    while True:
        # What is looked at: one lane after the other, case by case, or all at once.
        turn += 1
        only = -1
        if dive:
            if turn == count_lanes:
                break
            holds = count_lanes // cases
            case = turn // holds
            only = turn % holds * cases + case
            if turn % holds == 0:
                for lender in range(case):
                    lend(lender, case, slack, lanes, lattice, tables, found)
                # Of a case for which others have found something, the likeliest lane will do.
                likely, least = only, np.inf
                for lane in range(case, count_lanes, cases):
                    if lanes.base[lane] + lanes.whole[lane] + work.lowest[lane] < least:
                        likely, least = lane, lanes.base[lane] + lanes.whole[lane] + work.lowest[lane]
            borrowed = case > 0 and found.lane[case] >= 0
            if not on[only] or (borrowed and only != likely):
                continue
        elif turn == 1:
            break
        for case in range(cases):
            filled[case] = found.best[case]
        fill_near(only, on, found.best, lanes, work, walk)
        low = only if only >= 0 else 0
        high = only + 1 if only >= 0 else count_lanes
        if only >= 0 and walk.near[only] == -np.inf:
            continue
        for i in range(tiles):
            work.keys[i] = np.inf
        for lane in range(low, high):
            best, near = float(found.best[int(lanes.case[lane])]), walk.near[lane]
            if near == -np.inf:
                continue
            # A quick look at what is less than the best even without the cycles.
            least = float(near - walk.always[lane]) if lanes.kind == ENERGY else np.inf
            for i in range(tiles):
                if work.least[lane, i] < least:
                    value = bound_of_block(i, lane, float(work.cycles[i]), lanes, work, walk)
                    if value < near:
                        key = value / best if best < np.inf else value / (1 + abs(value)) - 2
                        work.keys[i] = min(work.keys[i], key)
        size = 0
        for i in range(tiles):
            if work.keys[i] < np.inf:
                work.heap[size] = i
                size += 1
        opened = 0
        for i in range(size // 2 - 1, -1, -1):
            sift(work.heap, work.keys, i, size)
        if memory:
            seen = work.seen.reshape(work.seen.size)
            for i in range(seen.shape[0]):
                seen[i] = np.inf
            for g in range(groups):
                for i in range(work.past.shape[1]):
                    work.past[g, i, work.past.shape[2] - 2] = -1.0  # of no tile
        while size > 0:
            block = work.heap[0]
            # Keys are parts of the best at first.
            better = 0.0
            for case in range(cases):
                better = max(better, found.best[case] / filled[case] if filled[case] < np.inf else 2.0)
            if work.keys[block] > 1.01 * better:
                break
            size -= 1
            work.heap[0] = work.heap[size]
            sift(work.heap, work.keys, nothing, size)
            # The lanes that it may be of use to.
            walk.counts[0], walk.counts[1], here = 0, 0, 0
            for lane in range(low, high):
                if walk.near[lane] == -np.inf or work.least[lane, block] == np.inf:
                    continue
                if (
                    bound_of_block(block, lane, float(work.cycles[block]), lanes, work, walk)
                    >= walk.near[lane]
                ):
                    continue
                best, numbers = float(found.best[int(lanes.case[lane])]), found.numbers[lane]
                if numbers[6] > effort and best < np.inf:
                    close(lane, block, size, on, lanes, work, walk, numbers)
                    walk.near[lane] = -np.inf
                    continue
                cycles = lanes.fastest / (1.0 * elements * work.fans[big, block])
                if lanes.timed:
                    cycles = max(cycles, work.floor[lane, block])
                limit = limit_of(lane, best, cycles, lanes, work, walk)
                take_place(here, lane, block, limit, lanes, lattice, work, walk)
                numbers[0] += 1
                here += 1
            parts = (here + WIDTH - 1) // WIDTH
            for place_left in range(here, parts * WIDTH):
                walk.limit[place_left // WIDTH, place_left % WIDTH] = -np.inf
                walk.head[place_left] = -1
            for p in range(parts):
                walk.alive[0, p] = p
            if parts == 0:
                continue
            walk.many[0] = parts
            walk.counts[2] += 1
            opened += 1
            if only >= 0 and opened > probes and found.best[lanes.case[only]] < np.inf:
                break
            # All cuts of the block into tiles of the innermost memory and processing elements, dimension by
            # dimension. Within one, tiles grow from cut to cut.
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
            while True:
                finished = depth < 0
                if not finished:
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
                    if not work.roomy[index]:
                        place[depth] = last[depth]
                        continue
                    # A bound from tables, before anything is worked out; dimensions to come are taken for the
                    # best.
                    tile[d], extent[d] = lattice.pair_tile[d, pair], lattice.pair_extent[d, pair]
                    rounds, sides = lattice.rounds[d, tile[d]], lattice.pair_blocks[d, pair]
                    if not lanes.loopable[big, d] and sides > lattice.rounds[d, lattice.at[d, block]]:
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
                    if not lanes.union:
                        hull = min(hull, hull_of_tiles)  # identical tiles are sent; rows between them are not
                    n = depth + 1
                    amounts[0, 0] = hull * of_blocks[0, n] * rest_of[0, n]
                    amounts[0, 1] = hull_of_tiles * of_tiles[0, n] * rest_of[0, n]
                    for t in range(1, 3):
                        amounts[t, 0] = of_blocks[t, n] * rest_of[t, n]
                        amounts[t, 1] = of_tiles[t, n] * rest_of[t, n]
                    # Of dimensions to come, copies take more than they save, or may be as many as there are.
                    steady = n == active or lanes.steady
                    most_sums = many_sums if steady else many_sums * (elements // product)
                    staying_sums = 1.0 if lanes.steady else most_sums
                    left = survivors(
                        depth, amounts, most_sums, staying_sums, loops_here, walk.slopes, walk.reach,
                        walk.limit, walk.spared, walk.alive, walk.many,
                    )  # fmt: skip
                    if left == 0:
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
                    made = walk.counts[0]
                    for k in range(active):
                        e = dims[k]
                        walk.cuts[made, e] = place[k] if k < depth else pair
                        factors[e] = lattice.pair_factor[e, walk.cuts[made, e]]
                    if not packs(factors, big, lane_plan(lanes, nothing), reach):
                        continue
                    limit = walk.limit
                    if lanes.timed and product < elements:
                        limit = walk.within
                        for q in range(walk.many[n]):
                            p = walk.alive[n, q]
                            for k in range(WIDTH):
                                limit[p, k] = -np.inf
                                if walk.limit[p, k] > -np.inf:
                                    lane = int(walk.lane[p * WIDTH + k])
                                    cycles = lanes.fastest / (1.0 * product * work.fans[big, block])
                                    cycles = max(cycles, work.floor[lane, block])
                                    best = float(found.best[int(lanes.case[lane])])
                                    limit[p, k] = limit_of(lane, best, cycles, lanes, work, walk)
                    hits = marked(
                        index, amounts, most_sums, staying_sums, loops_here, n, limit, inner_part, walk
                    )
                    if hits > 0 and big > 0:
                        for t in range(3):
                            times[t] = hull_of_tiles / lattice.hull[block] if t == INPUT else 1.0
                            for e in range(8):
                                if RELEVANT[t, e] == 0:
                                    times[t] *= factors[e]
                        hits = refined(
                            block, amounts, most_sums, loops_here, n, times, limit, lanes, lattice, work, walk
                        )
                    if hits == 0:
                        continue
                    walk.cuts[made, 8] = index
                    walk.counts[0] += 1
                    for q in range(walk.many[n]):
                        p = walk.alive[n, q]
                        for k in range(WIDTH):
                            if walk.hit[p, k]:
                                use, one = walk.counts[1], p * WIDTH + k
                                walk.uses[use, 0], walk.uses[use, 1] = made, -1
                                if walk.head[one] < 0:
                                    walk.head[one] = use
                                else:
                                    walk.uses[walk.tail[one], 1] = use
                                walk.tail[one] = use
                                walk.counts[1] += 1
                    room = walk.uses.shape[0] - walk.counts[1]
                    if walk.counts[0] < walk.cuts.shape[0] and room > count_lanes:
                        continue
                # What waits is worked out, lane by lane.
                walk.counts[0], walk.counts[1] = 0, 0
                for one in range(here):
                    use = walk.head[one]
                    walk.head[one] = -1
                    lane = int(walk.lane[one])
                    if not (use >= 0 and on[lane]) and not (dive and finished):
                        continue
                    before = found.reached[lanes.case[lane]]
                    descend(
                        lane, use, block, size, active, inside, ways, many, slack, effort, dive, finished,
                        memory, on, lanes, lattice, tables, found, work, walk, cut, steps,
                    )  # fmt: skip
                    if found.reached[lanes.case[lane]] < before:
                        fill_near(only, on, found.best, lanes, work, walk)
                if finished:
                    break
                for k in range(depth):  # the walk goes on where it was
                    d = dims[k]
                    tile[d], extent[d] = lattice.pair_tile[d, place[k]], lattice.pair_extent[d, place[k]]

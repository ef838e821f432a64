"""The best-first search; terms and why it loses nothing: see `bound`."""

from __future__ import annotations

import numpy as np

from chipfit.cost.mapping.bound import CLASSES, Work, fill_slopes
from chipfit.cost.mapping.labels import Found, Steps, bound_of, consider, spread
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import INPUT, OUTPUT, RELEVANT, WEIGHT, Floats, Ints
from chipfit.cost.mapping.nest import Chip, Tables, chain_counts, count
from chipfit.cost.mapping.plan import Plan
from chipfit.cost.mapping.pricing import WAITING, Cut, Goal, packs, price_cut, resolve, score
from chipfit.jit import inner, lean

LEAF = 400  # candidates that take as long as one whole mapping


#: Dimensions in the order in which cuts are made: those of the rows and of the columns of the input first.
INPUT_FIRST = (4, 6, 5, 7, 0, 1, 2, 3)


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
        work.keys[i] = bound_of(base + within + work.least[big, i], cycles, 0.0, goal)
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
            if bound_of(low, cycles, 0.0, goal) >= best:
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
                consider(
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
                    have[big] = spread(
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
        have[big] = spread(
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
                consider(
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
                have[g] = spread(
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

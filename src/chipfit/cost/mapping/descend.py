"""From the cuts of a block to whole mappings, in one lane; see `bound`."""

from __future__ import annotations

import numpy as np

from chipfit.cost.mapping.bound import CLASSES, Work, both_orders
from chipfit.cost.mapping.labels import Found, Steps, bound_of, consider, spread
from chipfit.cost.mapping.lanes import Lanes, lane_chip, lane_goal, lane_plan
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import INPUT, OUTPUT, WEIGHT, Flags, Floats, Ints
from chipfit.cost.mapping.nest import Tables, chain_counts, count
from chipfit.cost.mapping.pricing import WAITING, Cut, price_cut, resolve, score
from chipfit.cost.mapping.walk import Walk, rounded
from chipfit.jit import inner

LEAF = 400  # candidates that take as long as one whole mapping


@inner
def _complete(lane: int, lanes: Lanes, lattice: Lattice, tables: Tables, found: Found) -> float:
    """The true score of a mapping in a lane: sizes in `found.picks`, `tables.factors`, `found.order`."""
    stages = lanes.stage_group.shape[0]
    # What `nest.prepare` would fill, from the tables of the lattice.
    for d in range(8):
        for stage in range(stages):
            tables.tiles[d, 0, stage] = lattice.size[d, found.picks[d, stage]]
        tables.tiles[d, 0, stages] = 1
        found.picks[d, stages] = 0
        for stage in range(stages):
            f = tables.factors[stage, d]
            block = tables.tiles[d, 0, stage + 1] * f
            tables.iterations[d, 0, stage] = (tables.tiles[d, 0, stage] + block - 1) // block
            tables.spans[d, 0, stage, 0] = found.picks[d, stage]
            tables.spans[d, 0, stage, 1] = lattice.extent_of[d, found.picks[d, stage + 1], f]
        tables.spans[d, 0, stages, 0] = 0
        chain_counts(tables.tiles[d, 0], tables.factors[:, d], tables.counts[d, 0])
    if not count(found.chains, found.order, tables, lane_chip(lanes, lane), found.accesses, found.out):
        return np.inf
    return score(found.out[0], found.out[1], lane_goal(lanes, lane))


@inner
def _leaf(
    lane: int,
    lanes: Lanes,
    lattice: Lattice,
    tables: Tables,
    inside: Ints,
    position: Ints,
    found: Found,
    work: Work,
) -> float:
    """The true score of a complete mapping, left in `tables.factors`, `found.picks` and `found.order`."""
    groups = lanes.last_stage.shape[0]
    big = groups - 2
    innermost = work.label_at[big, position[big]]
    for stage in range(lanes.stage_group.shape[0]):
        g = lanes.stage_group[stage]
        found.order[stage] = OUTPUT
        for d in range(8):
            if g == 0:
                index = lattice.many[d] - 1
            elif g == groups - 1:
                index = lattice.at[d, innermost[10]]
            else:
                index = lattice.at[d, work.label_at[g, position[g], 0]]
            found.picks[d, stage] = index
            tables.factors[stage, d] = 1
            if lanes.last_stage[g] == stage:
                if g == groups - 1:
                    tables.factors[stage, d] = inside[innermost[11], d]
                else:
                    tables.factors[stage, d] = work.label_at[g, position[g], 2 + d]
    for stage in range(lanes.stage_group.shape[0]):
        g = lanes.stage_group[stage]
        if g == groups - 1:
            continue
        o = work.label_at[g, position[g], 1] % 3
        if not lanes.allowed[g, o]:
            # Of the orders that there are, one in which it stays.
            below = lattice.size[2, found.picks[2, stage + 1]] * tables.factors[stage, 2]
            filters = lattice.size[2, found.picks[2, stage]] > below
            if both_orders(g, o, lanes.allowed):
                o = WEIGHT if filters else INPUT
            else:
                o = WEIGHT if lanes.allowed[g, WEIGHT] else (OUTPUT if lanes.allowed[g, OUTPUT] else INPUT)
        found.order[stage] = o
    return _complete(lane, lanes, lattice, tables, found)


@inner
def _keep(value: float, lane: int, slack: float, lanes: Lanes, tables: Tables, found: Found) -> None:
    """The mapping at hand is the best of its case so far."""
    case = lanes.case[lane]
    found.reached[case] = value
    found.best[case] = min(found.best[case], value * slack)
    found.lane[case] = lane
    stages = found.stationary.shape[1]
    for stage in range(stages + 1):
        for d in range(8):
            found.tiles[case, stage, d] = tables.tiles[d, 0, stage]
            found.indices[case, d, stage] = found.picks[d, stage]
            if stage < stages:
                found.factors[case, stage, d] = tables.factors[stage, d]
        if stage < stages:
            found.stationary[case, stage] = found.order[stage]


@inner
def lend(
    lender: int, case: int, slack: float, lanes: Lanes, lattice: Lattice, tables: Tables, found: Found
) -> None:
    """Try the best mapping of one case in another."""
    if found.lane[lender] < 0 or lender == case:
        return
    cases = found.reached.shape[0]
    lane = found.lane[lender] // cases * cases + case
    for stage in range(found.stationary.shape[1]):
        found.order[stage] = found.stationary[lender, stage]
        for d in range(8):
            found.picks[d, stage] = found.indices[lender, d, stage]
            tables.factors[stage, d] = found.factors[lender, stage, d]
    value = _complete(lane, lanes, lattice, tables, found)
    if value < found.reached[case]:
        _keep(value, lane, slack, lanes, tables, found)


@inner
def bound_of_block(i: int, lane: int, cycles: float, lanes: Lanes, work: Work, walk: Walk) -> float:
    """The least score of a block in a lane, of so many cycles at the least."""
    if lanes.timed:
        cycles = max(cycles, work.floor[lane, i])
    return bound_of(walk.always[lane] + work.least[lane, i], cycles, 0.0, lane_goal(lanes, lane))


@inner
def close(
    lane: int, block: int, size: int, on: Flags, lanes: Lanes, work: Work, walk: Walk, numbers: Floats
) -> None:
    """A lane has had its effort: note the least bound of the block at hand and of all that wait."""
    on[lane] = False
    numbers[5] += 1
    for h in range(-1, size):
        i = block if h < 0 else work.heap[h]
        numbers[7] = min(numbers[7], bound_of_block(i, lane, float(work.cycles[i]), lanes, work, walk))


@inner
def sift(heap: Ints, keys: Floats, start: int, size: int) -> None:
    """Make a heap, the least key first, of places whose order is one but for that at `start`."""
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


@inner
def _same(label: Floats, other: Floats, where: Ints, elsewhere: Ints) -> bool:
    """Whether two labels are as good as each other in all that is still to come."""
    if label[12] < 0 or where[0] != elsewhere[0]:  # the first: may look better than it is
        return False
    if where[1] != elsewhere[1] and (where[1] >= 3 or elsewhere[1] >= 3):
        return False
    same = True
    for k in range(label.shape[0]):
        same = same and label[k] == other[k]
    return same


@inner
def descend(
    lane: int,
    use: int,
    block: int,
    size: int,
    active: int,
    inside: Ints,
    ways: Ints,
    many: Ints,
    slack: float,
    effort: float,
    dive: bool,
    finished: bool,
    memory: bool,
    on: Flags,
    lanes: Lanes,
    lattice: Lattice,
    tables: Tables,
    found: Found,
    work: Work,
    walk: Walk,
    cut: Cut,
    steps: Steps,
) -> None:
    """Work out cuts of a block, and all that may be better further out.

    They are those of `lane`, the first of them `use` in `walk.uses` (-1: there are none). `size` is that of
    the heap of blocks that wait, `active` dimensions are cut. In a `dive` only the most promising mapping
    is looked at, once all cuts are known (`finished`). With a `memory`, labels that reach the same tile are
    compared. All else is as in `search.best_first`.
    """
    groups = lanes.last_stage.shape[0]
    big = groups - 2
    outputs = float(lattice.elements[OUTPUT, lattice.hull.shape[0] - 1])
    tile, factors, extent, blocks, priced = cut
    pending, position, have, dims = steps.pending, steps.position, steps.have, steps.dims
    ranked = steps.ranked
    ranked[big] = False
    plan, goal, numbers = lane_plan(lanes, lane), lane_goal(lanes, lane), found.numbers[lane]
    case, margin = int(lanes.case[lane]), float(walk.margin[lane])
    before = found.reached[case]
    most_listed = work.listed.shape[1] - inside.shape[0]
    if not dive:
        have[big] = 0
    for c in range(CLASSES):
        work.listed_at[c, 0, 9] = 0
    # Depth first, the least bound first: labels of step g, from cuts of a block, then of the tile of a label.
    g, way, runs, opened, at = big, 0, -1, block, 0
    label, where = work.labels[big, 0], work.label_at[big, 0]
    unsure, filling = False, True
    while True:
        if filling:
            index, ways_inside, cycles = 0, 1, 0.0
            if g == big:
                if use < 0:
                    filling = False
                    if dive and not finished:
                        return
                    continue
                made = walk.uses[use, 0]
                use = walk.uses[use, 1]
                at, opened, ways_inside = walk.cuts[made, 8], block, inside.shape[0]
                for d in range(8):
                    tile[d], extent[d], factors[d], blocks[d] = 0, 0, 1, 1.0
                for j in range(active):
                    d = dims[j]
                    pair = walk.cuts[made, d]
                    factors[d] = lattice.pair_factor[d, pair]
                    tile[d] = lattice.pair_tile[d, pair]
                    extent[d] = lattice.pair_extent[d, pair]
                    blocks[d] = lattice.pair_blocks[d, pair]
                numbers[1] += 1
            else:
                if way == many[g]:
                    filling = False
                    continue
                cycles = label[2]
                for d in range(8):
                    tile[d] = lattice.at[d, where[0]]
                    factors[d] = ways[g, way, d]
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
                way += 1
                if index < 0:
                    continue
                opened, at = index, 0
            price_cut(g, tile, factors, extent, blocks, plan, lattice, priced)
            near = rounded(float(found.best[case]), margin)
            for w in range(ways_inside):
                if g == big:
                    good = lanes.inside[lane, w, 1] < np.inf
                    cycles = lanes.inside[lane, w, 1]
                    for d in range(8):
                        size_here = lattice.size[d, tile[d]]
                        if size_here % inside[w, d] != 0 and size_here != lattice.bounds[d]:
                            good = False
                        if not plan.loopable[groups - 1, d] and size_here > inside[w, d]:
                            good = False
                        cycles *= blocks[d] / lattice.rounds[d, tile[d]]
                    if not good:
                        continue
                    for t in range(WAITING):
                        pending[t] = lanes.waiting[lane, w, t]
                    energy = lanes.base[lane] + lanes.inside[lane, w, 0]
                else:
                    for t in range(WAITING):
                        pending[t] = label[3 + t]
                    energy = label[1]
                energy += resolve(g, factors, plan, priced, outputs, pending)
                consider(
                    g, opened, energy, cycles, pending, factors, at, w, blocks, runs, label[12], priced, lane,
                    plan, lattice, goal, near, work,
                )  # fmt: skip
            full = g < big or use < 0
            for c in range(CLASSES):
                full = full or work.listed_at[c, 0, 9] > most_listed
            if full:
                have[g] = spread(
                    g, opened, lane, plan, lattice, goal, float(found.best[case]), near, work, int(have[g]),
                    dive, memory, unsure, numbers, steps,
                )  # fmt: skip
                for c in range(CLASSES):
                    work.listed_at[c, 0, 9] = 0
            continue
        # The label of the least bound; `have` are those that wait, in a heap once they are all known.
        order = work.order[g]
        if not ranked[g]:
            ranked[g], position[g] = True, -1
            for i in range(have[g]):
                order[i] = i
            for i in range(have[g] // 2 - 1, -1, -1):
                sift(order, work.labels[g, :, 0], i, have[g])
        near = float(found.best[case])
        near = near if g == 0 else rounded(near, margin)
        if have[g] == 0 or work.labels[g, order[0], 0] >= near:
            have[g] = 0
            if g == big:
                break
            g += 1
            continue
        last = position[g]
        position[g] = order[0]
        have[g] -= 1
        order[0] = order[have[g]]
        sift(order, work.labels[g, :, 0], 0, have[g])
        label = work.labels[g, position[g]]
        if last >= 0 and _same(
            work.labels[g, last], label, work.label_at[g, last], work.label_at[g, position[g]]
        ):
            continue
        if numbers[6] > effort and found.best[case] < np.inf:
            close(lane, block, size, on, lanes, work, walk, numbers)
            break
        numbers[2] += 1
        if g == 0:
            numbers[3] += 1
            numbers[6] += LEAF
            value = _leaf(lane, lanes, lattice, tables, inside, position, found, work)
            if value < found.reached[case]:
                _keep(value, lane, slack, lanes, tables, found)
            continue
        where = work.label_at[g, position[g]]
        runs = where[1] - 3 if where[1] >= 3 else -1
        unsure = label[12] < 0 or (runs >= 0 and not plan.allowed[g - 1, runs])
        g, way, filling = g - 1, 0, True
        have[g], ranked[g] = 0, False
    have[big] = 0
    if found.reached[case] < before and not dive:
        for other in range(found.reached.shape[0]):
            lend(case, other, slack, lanes, lattice, tables, found)

"""A plain, deterministic search for a good mapping, compiled.

For each way to unroll loops over the processing elements: start from the smallest tiles, and change
one dimension's whole chain of tiles at a time, then the loop orders, as long as that helps; from
several starts. The best few unrollings are then polished by changing two dimensions at once.
"""

from __future__ import annotations

import numba
import numpy as np

from chipfit.cost.mapping.nest import chain_counts, covered, evaluate

MAX_CHAINS = 96
MAX_SIZES = 160

ENERGY, LATENCY, EDP, DRAM = 0, 1, 2, 3


@numba.njit(cache=True)
def _chains(bound, factors, tied, tiles):  # noqa: ANN001, ANN202
    """Fill tiles[chain, stage] with the ways to cut a dimension; return how many."""
    stages = len(factors)
    free = 0
    for stage in range(1, stages):
        if not tied[stage]:
            free += 1
    grow = np.zeros((2, MAX_CHAINS, stages + 1), np.int64)
    count = 1
    grow[0, 0, stages] = 1
    side = 0
    for stage in range(stages - 1, -1, -1):
        new = 0
        for i in range(count):
            block = grow[side, i, stage + 1] * factors[stage]
            idle = grow[side, i, stage + 1] * (factors[stage] - 1)  # extent before the last element
            if idle >= bound:
                continue
            if stage == 0 or tied[stage] or block >= bound:
                if new < MAX_CHAINS:
                    grow[1 - side, new] = grow[side, i]
                    grow[1 - side, new, stage] = bound if stage == 0 else min(block, bound)
                    new += 1
                continue
            rounds = (bound + block - 1) // block
            multiple = 1
            while multiple < rounds:
                even = rounds % multiple == 0 and (multiple <= 16 or free <= 1 or rounds <= 64)
                power = multiple & (multiple - 1) == 0
                if (even or power) and new < MAX_CHAINS - 1:
                    grow[1 - side, new] = grow[side, i]
                    grow[1 - side, new, stage] = block * multiple
                    new += 1
                multiple += 1
            if new < MAX_CHAINS:
                grow[1 - side, new] = grow[side, i]
                grow[1 - side, new, stage] = bound
                new += 1
        side = 1 - side
        count = new
    tiles[:count] = grow[side, :count]
    return count


@numba.njit(cache=True)
def _size_index(value, sizes, count):  # noqa: ANN001, ANN202
    for i in range(count):
        if sizes[i] == value:
            return i
    return -1


@numba.njit(cache=True)
def prepare(bounds, factors, tiles, chains, iterations, counts, spans):  # noqa: ANN001, ANN201
    """Fill the tables of `evaluate` for the chains in `tiles`; return the sizes along P Q R S."""
    stages = factors.shape[0]
    sizes = np.zeros((4, MAX_SIZES), np.int64)
    used = np.zeros(4, np.int64)
    for d in range(8):
        for i in range(chains[d]):
            for stage in range(stages):
                block = tiles[d, i, stage + 1] * factors[stage, d]
                iterations[d, i, stage] = (tiles[d, i, stage] + block - 1) // block
            chain_counts(tiles[d, i], factors[:, d], counts[d, i])
            if d >= 4:
                for stage in range(stages + 1):
                    for kind in range(2):
                        value = tiles[d, i, stage]
                        if kind == 1:
                            if stage == stages:
                                continue
                            value = min(tiles[d, i, stage + 1] * factors[stage, d], bounds[d])
                        index = _size_index(value, sizes[d - 4], used[d - 4])
                        if index < 0:
                            index = used[d - 4]
                            sizes[d - 4, index] = value
                            used[d - 4] += 1
                        spans[d, i, stage, kind] = index
    return sizes, used


@numba.njit(cache=True)
def hulls(bound, kernel, stride, dilation, padding, sizes, used, kernel_sizes, kernel_used):  # noqa: ANN001, ANN201
    """Table of `covered` for all pairs of sizes."""
    table = np.empty((used, kernel_used, 2))
    for i in range(used):
        for j in range(kernel_used):
            covered(bound, kernel, sizes[i], kernel_sizes[j], stride, dilation, padding, table[i, j])
    return table


@numba.njit(cache=True)
def _score(objective, out, score):  # noqa: ANN001, ANN202
    score[1] = out[0]
    if objective == ENERGY:
        score[0] = out[0]
        score[1] = out[1]
    elif objective == LATENCY:
        score[0] = out[1]
    elif objective == EDP:
        score[0] = out[0] * out[1]
    else:
        score[0] = out[2]


@numba.njit(cache=True)
def _better(score, best):  # noqa: ANN001, ANN202
    if score[0] < best[0] * (1 - 1e-12):
        return True
    return score[0] <= best[0] * (1 + 1e-12) and score[1] < best[1] * (1 - 1e-12)


@numba.njit(cache=True)
def search(  # noqa: ANN201
    bounds,  # noqa: ANN001
    shape,  # noqa: ANN001
    unrollings,  # noqa: ANN001
    seeds,  # noqa: ANN001
    seed_unrolling,  # noqa: ANN001
    seed_order,  # noqa: ANN001
    tied,  # noqa: ANN001
    holds,  # noqa: ANN001
    holders,  # noqa: ANN001
    per_word,  # noqa: ANN001
    capacity,  # noqa: ANN001
    price,  # noqa: ANN001
    scalars,  # noqa: ANN001
    objective,  # noqa: ANN001
    effort,  # noqa: ANN001
):
    """The best mapping found.

    Args:
        bounds: of the eight dimensions.
        shape: [row | column, stride | dilation | padding] (2, 3).
        unrollings: processing elements by stage and dimension (candidates, stages, 8).
        seeds: tiles of known mappings, [seed, d, stage] (seeds, 8, stages + 1), to start from.
        seed_unrolling: the unrolling of each seed, a row of `unrollings` (seeds).
        seed_order: stationary tensors of each seed (seeds, stages).
        tied: stages without loops of their own (stages).
        holds: as in `nest.evaluate`, and so are `holders`, `per_word`, `capacity`, `price`, `scalars`.
        holders: see there.
        per_word: see there.
        capacity: see there.
        price: see there.
        scalars: see there.
        objective: ENERGY, LATENCY, EDP or DRAM.
        effort: [starts of each unrolling, unrollings polished].

    Returns:
        found, unrolling (a row of `unrollings`), tiles (8, stages + 1), order (stages), evaluations.
    """
    stages = capacity.shape[0]
    candidates = unrollings.shape[0]
    tiles = np.ones((8, MAX_CHAINS, stages + 1), np.int64)
    factors = np.ones((8, MAX_CHAINS, stages), np.int64)
    iterations = np.ones((8, MAX_CHAINS, stages), np.int64)
    counts = np.ones((8, MAX_CHAINS, stages + 1, stages + 1))
    spans = np.zeros((8, MAX_CHAINS, stages + 1, 2), np.int64)
    chains = np.ones(8, np.int64)
    accesses = np.zeros((3, stages, 3))
    out = np.zeros(4 + stages)
    score = np.zeros(2)
    local = np.zeros(2)
    pick = np.zeros(8, np.int64)
    order = np.zeros(stages, np.int64)
    scores = np.full((candidates, 2), np.inf)
    kept_tiles = np.ones((candidates, 8, stages + 1), np.int64)
    kept_order = np.zeros((candidates, stages), np.int64)
    evaluations = 0
    loops = np.zeros(8, np.int64)
    active = 0
    for d in (2, 3, 4, 5, 6, 7, 1, 0):
        if bounds[d] > 1:
            loops[active] = d
            active += 1

    for step in range(2 * candidates):
        # First every unrolling from the smallest tiles, then the best ones again, more carefully.
        polish = step >= candidates
        if not polish:
            candidate = step
            starts = effort[0]
            if starts == 0 and not (seed_unrolling == candidate).any():
                continue
        else:
            if step - candidates >= effort[1]:
                break
            candidate = -1
            for i in range(candidates):
                if kept_order[i, 0] >= 0 and (candidate < 0 or _better(scores[i], scores[candidate])):
                    candidate = i
            if candidate < 0 or scores[candidate, 0] == np.inf:
                break
            starts = 1
        unrolling = unrollings[candidate]
        fits = True
        for d in range(8):
            chains[d] = _chains(bounds[d], unrolling[:, d], tied, tiles[d])
            if chains[d] == 0:
                fits = False
        if not fits:
            continue
        if polish or seeds.shape[0] > 0:
            for seed in range(-1, seeds.shape[0]):
                if seed >= 0 and seed_unrolling[seed] != candidate:
                    continue
                for d in range(8):
                    known = False
                    wanted = kept_tiles[candidate, d] if seed < 0 else seeds[seed, d]
                    if seed < 0 and not polish:
                        continue
                    for i in range(chains[d]):
                        if (tiles[d, i] == wanted).all():
                            known = True
                    if not known and chains[d] < MAX_CHAINS:
                        tiles[d, chains[d]] = wanted
                        chains[d] += 1
        sizes, used = prepare(bounds, unrolling, tiles, chains, iterations, counts, spans)
        rows = hulls(
            bounds[4], bounds[6], shape[0, 0], shape[0, 1], shape[0, 2], sizes[0], used[0], sizes[2], used[2]
        )
        columns = hulls(
            bounds[5], bounds[7], shape[1, 0], shape[1, 1], shape[1, 2], sizes[1], used[1], sizes[3], used[3]
        )
        extra = 0
        if not polish:
            extra = seeds.shape[0]
        for start in range(starts + extra):
            if start >= starts:
                seed = start - starts
                if seed_unrolling[seed] != candidate:
                    continue
                order[:] = seed_order[seed]
                wanted_tiles = seeds[seed]
            else:
                order[:] = (start + 2) % 3
                order[0] = ((start + 2) // 3 + start + 2) % 3
                wanted_tiles = kept_tiles[candidate]
                if polish:
                    order[:] = kept_order[candidate]
            if polish or start >= starts:
                for d in range(8):
                    pick[d] = -1
                    for i in range(chains[d]):
                        if (tiles[d, i] == wanted_tiles[d]).all():
                            pick[d] = i
                if pick.min() < 0:
                    continue
            else:
                pick[:] = 0
            local[:] = np.inf
            while True:
                improved = False
                # mode 0: one dimension at a time; 1: orders; 2: two dimensions at a time.
                for mode in range(3 if polish else 2):
                    if mode == 2 and improved:
                        break
                    pairs = active if mode == 0 else (stages if mode == 1 else active * active)
                    for pair in range(max(pairs, 1)):
                        if mode == 1:
                            if tied[pair]:
                                continue
                            tries = 3
                            kept = order[pair]
                            first = 0
                            second = 0
                            kept_second = 0
                        else:
                            x = pair % max(active, 1) if mode == 2 else pair
                            y = pair // max(active, 1) if mode == 2 else pair
                            if mode == 2 and x <= y:
                                continue
                            # A different first dimension at each start, so that starts differ.
                            first = loops[(x + start) % max(active, 1)]
                            second = loops[(y + start) % max(active, 1)]
                            kept = pick[first]
                            kept_second = pick[second]
                            tries = chains[first] * (chains[second] if mode == 2 else 1)
                        for i in range(tries):
                            if mode == 1:
                                order[pair] = i
                            else:
                                pick[first] = i % chains[first]
                                if mode == 2:
                                    pick[second] = i // chains[first]
                            evaluations += 1
                            if evaluate(
                                pick, tiles, factors, iterations, counts, spans, rows, columns, order,
                                holds, holders, per_word, capacity, price, scalars, accesses, out,
                            ):  # fmt: skip
                                _score(objective, out, score)
                                if _better(score, local):
                                    local[:] = score
                                    improved = True
                                    if mode == 1:
                                        kept = i
                                    else:
                                        kept = pick[first]
                                        kept_second = pick[second]
                        if mode == 1:
                            order[pair] = kept
                        else:
                            pick[first] = kept
                            pick[second] = kept_second
                if not improved:
                    break
            if _better(local, scores[candidate]) or (polish and local[0] <= scores[candidate, 0]):
                scores[candidate] = local
                kept_order[candidate] = order
                for d in range(8):
                    kept_tiles[candidate, d] = tiles[d, pick[d]]
        if polish:
            # Done with this one: mark it, keeping its score and order (shifted below zero).
            kept_order[candidate, 0] -= 3

    best = 0
    for i in range(candidates):
        if _better(scores[i], scores[best]):
            best = i
    if kept_order[best, 0] < 0:
        kept_order[best, 0] += 3
    return scores[best, 0] < np.inf, best, kept_tiles[best], kept_order[best], evaluations

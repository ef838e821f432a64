"""What one step of a mapping takes exactly: its links, cut by cut; and the objective."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import ENERGY, INPUT, LATENCY, OUTPUT, RELEVANT, Flags, Floats, Ints
from chipfit.cost.mapping.plan import Plan
from chipfit.jit import inner, lean, tight

#: Of equal energy the faster mapping is taken, and the other way round.
TIE = 1e-9


PRICED = 15  # columns that `price_cut` fills


WAITING = 9  # what waits for steps further out: see `resolve`


@inner
def packs(factors: Ints, g: int, plan: Plan, reach: Flags) -> bool:
    """Whether factors fit the two sides of an array. `reach`: scratch (2, rows + 1)."""
    rows, columns = plan.sides[g, 0], plan.sides[g, 1]
    total = 1
    for d in range(8):
        total *= factors[d]
    if total > rows * columns:
        return False
    if total == 1:
        return True
    now = 0
    for x in range(rows + 1):
        reach[now, x] = x == 1
    columns_only = 1
    for d in range(8):
        f = factors[d]
        if f == 1:
            continue
        on_rows, on_columns = plan.may[g, 0, d], plan.may[g, 1, d]
        if not on_rows:
            if not on_columns:
                return False
            columns_only *= f
            continue
        for x in range(rows + 1):
            reach[1 - now, x] = False
        for r in range(1, min(f, rows) + 1):
            if f % r != 0 or (r < f and not on_columns):
                continue
            for x in range(1, rows // r + 1):
                if reach[now, x]:
                    reach[1 - now, x * r] = True
        now = 1 - now
    fits = False
    for x in range(1, rows + 1):
        fits = fits or (reach[now, x] and total // x <= columns)
    return fits


@lean
def list_ways(g: int, plan: Plan, lattice: Lattice, current: Ints, reach: Flags, ways: Ints) -> int:
    """All factors that fit an array and may occur, into `ways` (n, 8); how many, or -1 if too many.

    `current`: ones (8). `reach`: as `packs`.
    """
    elements = plan.sides[g, 0] * plan.sides[g, 1]
    found = 0
    d = 0
    # An odometer over factors that some cut of the dimension has.
    while True:
        if packs(current, g, plan, reach):
            if found == ways.shape[0]:
                return -1
            for e in range(8):
                ways[found, e] = current[e]
            found += 1
        d = 0
        while d < 8:
            advanced = False
            if plan.may[g, 0, d] or plan.may[g, 1, d]:
                f = current[d] + 1
                others = 1
                for e in range(d + 1, 8):
                    others *= current[e]
                while f * others <= elements and f < lattice.block_of.shape[2]:
                    used = False
                    for i in range(lattice.many[d]):
                        used = used or lattice.block_of[d, i, f] >= 0
                    if used:
                        current[d] = f
                        advanced = True
                        break
                    f += 1
            if advanced:
                break
            current[d] = 1
            d += 1
        if d == 8:
            return found


@tight
def price_cut(
    g: int, tile: Ints, factors: Ints, extent: Ints, blocks: Floats, plan: Plan, lattice: Lattice, out: Floats
) -> None:
    """Links with a child in group g + 1, for one cut of a block.

    Args:
        g: the step.
        tile: index of the size of the tile of group g + 1 along each dimension (8).
        factors: processing elements (8).
        extent: index of the extent of the block in `rows` and `columns` (8).
        blocks: how many blocks there are along each dimension (8).
        plan: the target.
        lattice: the nest.
        out: filled with [tensor, cost | price of a visit if stationary | what does not change | words
            that wait for an array further out | the same for a visit | what is saved for each copy that
            arrays further out make, since the first of the sums of an element is not read | then cycles of
            memories, times the processing elements above: of the parent: in all, for a visit, what does not
            change; of the child: the same; of the main memory: in all, for a
            visit, what does not change] (3, PRICED).
    """
    whole = lattice.hull.shape[0] - 1
    for t in range(3):
        for k in range(PRICED):
            out[t, k] = 0.0
    base = 1.0 * lattice.bounds[0] * lattice.bounds[1] * lattice.bounds[3]
    for link in range(plan.link.shape[0]):
        if plan.link[link, 1] != g:
            continue
        t = plan.link[link, 0]
        datapath = plan.link[link, 3] == 1
        away = plan.discount[link, g]
        at_blocks = 1.0
        at_tiles = 1.0
        copies = 1.0
        for d in range(8):
            if RELEVANT[t, d] == 0:
                at_blocks *= blocks[d]
                at_tiles *= lattice.rounds[d, tile[d]]
                copies *= factors[d]
        parent = (plan.price[link, 0] + plan.price[link, 1]) / away
        child = plan.price[link, 2] + plan.price[link, 3]
        child += plan.price[link, 4] * (2.0 if t == OUTPUT and not datapath else 1.0)
        if t == INPUT:
            own = base * lattice.rows[tile[4], tile[6], 0] * lattice.columns[tile[5], tile[7], 0]
            sent = own
            if plan.link[link, 4] == 1:
                sent = base * lattice.rows[extent[4], extent[6], 0] * lattice.columns[extent[5], extent[7], 0]
        else:
            own = lattice.elements[t, whole]
            sent = own
        out[t, 0] += sent * at_blocks * parent + own * at_tiles * child
        out[t, 1] += sent * parent + own * copies * child
        if t == OUTPUT:
            credit = plan.price[link, 5]
            if plan.link[link, 2] == g:
                out[t, 5] += own * plan.price[link, 1]
            else:
                credit += plan.fans[link, 0] * plan.price[link, 1]
            out[t, 5] += own * copies * (plan.price[link, 3] + (0.0 if datapath else plan.price[link, 4]))
            if copies == 1.0:
                credit += plan.price[link, 6]
            out[t, 0] -= own * credit
            out[t, 2] -= own * credit
        times = 1.0
        drained = 1.0
        spared = 0.0
        finished = 0.0
        if t == OUTPUT:
            times, drained = 2.0, 1.0 + plan.drains
            spared = own * plan.fans[link, 0]
            finished = own
        parent, child, main = plan.speed[link, 0], plan.speed[link, 1], plan.speed[link, 2]
        once = plan.speed[link, 3] * finished
        if plan.link[link, 5] == 1:
            parent, once = 0.0, 0.0
            out[t, 3] = sent * at_blocks
            out[t, 4] = sent
        parent_once = parent * spared + once
        out[t, 6] += parent * times * sent * at_blocks - parent_once
        out[t, 7] += parent * times * sent
        out[t, 8] -= parent_once
        child_once = 0.0
        if t == OUTPUT:
            child_once = child * own * plan.fans[link, 1] * copies
            if copies == 1.0:
                child_once += plan.speed[link, 4] * finished
        out[t, 9] += child * drained * own * at_tiles - child_once
        out[t, 10] += child * drained * own * copies
        out[t, 11] -= child_once
        main_once = main * spared + plan.speed[link, 5] * finished
        out[t, 12] += main * times * sent * at_blocks / away - main_once
        out[t, 13] += main * times * sent / away
        out[t, 14] -= main_once


@tight
def resolve(g: int, factors: Ints, plan: Plan, priced: Floats, outputs: float, pending: Floats) -> float:
    """What waits costs more, now that the array of step g is chosen; updates `pending`.

    `pending`: words of each tensor, what is saved for each copy of a partial sum, and cycles times
    the processing elements above: of memories further in, of the memory of the step further in as far as it
    is known, and of the main memory for what passes by others; then for each step whether it adds up no
    partial sums, as bits; last, as a result, cycles of the memory of this step for what waited (WAITING).
    """
    more = pending[3] * plan.most_copies[g + 1]
    copies = 1.0
    for d in range(8):
        if RELEVANT[OUTPUT, d] == 0:
            copies *= factors[d]
    pending[3] = pending[3] * copies + priced[OUTPUT, 5]
    pending[8] = 0.0
    pending[7] = 2.0 * pending[7] + (1.0 if copies == 1.0 else 0.0)
    more -= pending[3] * plan.most_copies[g]
    for t in range(3):
        link = plan.pending[g, t]
        if link < 0 or pending[t] == 0.0:
            continue
        price = plan.price[link, 0] + plan.price[link, 1]
        copies = 1.0
        for d in range(8):
            if RELEVANT[t, d] == 0:
                copies *= factors[d]
        more += pending[t] * plan.hops[g, t]
        more -= pending[t] * price / plan.discount[link, g + 1]
        pending[t] /= copies
        more += pending[t] * price / plan.discount[link, g]
        if plan.link[link, 2] == g:
            pending[8] += plan.speed[link, 0] * pending[t]
            if t == OUTPUT:
                pending[8] += plan.speed[link, 0] * (pending[t] - outputs * plan.fans[link, 0])
                pending[8] -= plan.speed[link, 3] * outputs
            pending[t] = 0.0
    return more


class Goal(NamedTuple):
    """What is least.

    kind: ENERGY, LATENCY or EDP. cap: most cycles. static: energy a cycle (J). streamed: words of
    the main memory besides. bandwidth: its words a cycle (0: no limit). tie: worth of a cycle (J) or of
    energy (cycles) among equals. words: least words of the main memory in all. timed: whether
    cycles count.
    """

    kind: int
    cap: float
    static: float
    streamed: float
    bandwidth: float
    tie: float
    words: float
    timed: bool


@lean
def score(energy: float, cycles: float, goal: Goal) -> float:
    """The objective; static energy is in `energy` already."""
    if cycles > goal.cap:
        return np.inf
    if goal.kind == ENERGY:
        return energy + goal.tie * cycles
    if goal.kind == LATENCY:
        return cycles + goal.tie * energy
    return energy * cycles


class Cut(NamedTuple):
    """Scratch for one cut of a block; as the arguments of `price_cut`."""

    tile: Ints
    factors: Ints
    extent: Ints
    blocks: Floats
    priced: Floats


def cut() -> Cut:
    """Scratch for one cut of a block."""
    return Cut(
        tile=np.zeros(8, np.int64),
        factors=np.ones(8, np.int64),
        extent=np.zeros(8, np.int64),
        blocks=np.ones(8),
        priced=np.zeros((3, PRICED)),
    )


@inner
def price_inside(plan: Plan, lattice: Lattice, inside: Ints, cut: Cut, cost: Floats, waiting: Floats) -> None:
    """The links to the datapath, for every way to unroll below the innermost memory.

    `cost`: filled with [way, energy | cycles]; `waiting`: with what `resolve` updates, [way, :]. `cut`:
    scratch.
    """
    g = plan.last_stage.shape[0] - 1
    tile, extent, blocks, priced = cut.tile, cut.extent, cut.blocks, cut.priced
    for w in range(inside.shape[0]):
        cost[w, 1] = 1.0
        for d in range(8):
            j = lattice.block_of[d, 0, inside[w, d]]
            extent[d] = lattice.extent_of[d, 0, inside[w, d]]
            blocks[d] = (lattice.bounds[d] + inside[w, d] - 1) // inside[w, d]
            cost[w, 1] *= blocks[d]
            if j < 0:
                cost[w, 1] = np.inf
        price_cut(g, tile, inside[w], extent, blocks, plan, lattice, priced)
        cost[w, 0] = priced[0, 0] + priced[1, 0] + priced[2, 0] - priced[2, 5] * plan.most_copies[g]
        for t in range(3):
            waiting[w, t] = priced[t, 3]
        waiting[w, 3] = priced[2, 5]
        waiting[w, 4] = 0.0
        waiting[w, 7] = 0.0
        waiting[w, 8] = 0.0
        waiting[w, 5] = priced[0, 6] + priced[1, 6] + priced[2, 6]
        waiting[w, 6] = priced[0, 12] + priced[1, 12] + priced[2, 12]

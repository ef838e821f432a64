"""Searches of one nest side by side: what they share, and what each has of its own; see `bound`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import Flags, Floats, Ints
from chipfit.cost.mapping.nest import Chip
from chipfit.cost.mapping.plan import Plan
from chipfit.cost.mapping.pricing import Cut, Goal, price_inside
from chipfit.jit import inner, lean


class Lanes(NamedTuple):
    """Lanes in arrays.

    The fields of `plan.Plan`, `nest.Chip` and `pricing.Goal`, those that differ among lanes with an axis
    more, which is the first: `link` to `complete` of plans, `holds` to `scalars` of chips, `cap` to `words`
    of goals. `access` is `Chip.price`. Then what is a lane's own:

    case: its case (lanes). base: energy that every mapping takes (J) (lanes). inside: links to the
    datapath, as `pricing.price_inside`: [lane, way, energy | cycles]; waiting: [lane, way, :].
    least, whole, saved: of these links the least energy of all ways, the least without what copies save, and
        the most that they save for each copy (lanes). fastest: least cycles of all ways.
    even: whether all tiles divide their bounds. steady: whether, besides, one more copy of a sum never
        takes less than it saves.
    """

    stage_group: Ints
    last_stage: Ints
    sides: Ints
    may: Flags
    loopable: Flags
    allowed: Flags
    stays: Flags
    most_copies: Floats
    drains: float
    link: Ints
    price: Floats
    main_words: Floats
    fans: Floats
    pending: Ints
    discount: Floats
    hops: Floats
    speed: Floats
    complete: Flags
    tied: Flags
    capacity: Floats
    access: Floats
    union: bool
    draining: bool
    slides: bool
    fills: bool
    holds: Flags
    holders: Ints
    per_word: Floats
    scalars: Floats
    kind: int
    static: float
    bandwidth: float
    tie: float
    timed: bool
    cap: Floats
    streamed: Floats
    words: Floats
    case: Ints
    base: Floats
    inside: Floats
    waiting: Floats
    least: Floats
    whole: Floats
    saved: Floats
    fastest: float
    even: bool
    steady: bool


@inner
def lane_plan(lanes: Lanes, lane: int) -> Plan:
    """The plan of a lane."""
    return Plan(
        lanes.stage_group,
        lanes.last_stage,
        lanes.sides,
        lanes.may,
        lanes.loopable,
        lanes.allowed,
        lanes.stays,
        lanes.link[lane],
        lanes.price[lane],
        lanes.main_words[lane],
        lanes.fans[lane],
        lanes.pending[lane],
        lanes.discount[lane],
        lanes.hops[lane],
        lanes.most_copies,
        lanes.speed[lane],
        lanes.complete[lane],
        lanes.drains,
    )


@inner
def lane_chip(lanes: Lanes, lane: int) -> Chip:
    """The target of a lane."""
    return Chip(
        lanes.tied,
        lanes.holds[lane],
        lanes.holders[lane],
        lanes.per_word[lane],
        lanes.capacity,
        lanes.access,
        lanes.scalars[lane],
        lanes.union,
        lanes.draining,
        lanes.slides,
        lanes.fills,
    )


@inner
def lane_goal(lanes: Lanes, lane: int) -> Goal:
    """What is least in a lane."""
    return Goal(
        lanes.kind,
        lanes.cap[lane],
        lanes.static,
        lanes.streamed[lane],
        lanes.bandwidth,
        lanes.tie,
        lanes.words[lane],
        lanes.timed,
    )


@lean
def fill_inside(lanes: Lanes, lattice: Lattice, ways: Ints, cut: Cut) -> float:
    """Fill `inside`, `waiting`, `least`, `whole` and `saved`; returns `fastest`. `cut`: scratch."""
    g = lanes.last_stage.shape[0] - 1
    fastest = np.inf
    for lane in range(lanes.case.shape[0]):
        cost, waiting = lanes.inside[lane], lanes.waiting[lane]
        price_inside(lane_plan(lanes, lane), lattice, ways, cut, cost, waiting)
        lanes.least[lane], lanes.whole[lane], lanes.saved[lane] = np.inf, np.inf, 0.0
        for w in range(ways.shape[0]):
            fastest = min(fastest, cost[w, 1])
            whole = cost[w, 0] + waiting[w, 3] * lanes.most_copies[g]
            lanes.least[lane] = min(lanes.least[lane], cost[w, 0])
            lanes.whole[lane] = min(lanes.whole[lane], whole)
            lanes.saved[lane] = max(lanes.saved[lane], waiting[w, 3] * lanes.most_copies[g - 1])
    return fastest

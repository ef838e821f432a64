"""A target at given widths with tensors held in one way, and what all ways share."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from chipfit.cost.mapping import pricing
from chipfit.cost.mapping.evaluate import chip, held
from chipfit.cost.mapping.lattice import Lattice
from chipfit.cost.mapping.model import Holds, Ints, Rules, Widths
from chipfit.cost.mapping.nest import Chip
from chipfit.cost.mapping.plan import Plan, plan_of, ways_to_hold
from chipfit.errors import MappingError
from chipfit.hardware.target import Target


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A target at given widths with tensors held in one way."""

    holds: Holds
    chip: Chip
    plan: Plan

    def comparing(self, exact: bool, timed: bool) -> Setting:
        """The same for a search in which the costs of partial mappings are exact, or bounds."""
        complete = exact and (self.plan.complete or not timed)
        return replace(self, plan=self.plan._replace(complete=complete))


@functools.lru_cache(maxsize=1024)
def settings_of(target: Target, widths: Widths, rules: Rules, only_main_memory: bool) -> tuple[Setting, ...]:
    """All ways to hold tensors; priced by traffic, with energy deciding among equals, if so asked."""
    made = chip(target, widths, rules=rules)
    if only_main_memory:
        price = made.price.copy()
        price[:3] *= 0.1 * pricing.TIE / unit_of(made)
        price[:2, 0] += 1.0
        made = made._replace(price=price)
    found: list[Setting] = []
    for holds in ways_to_hold(target):
        kept, holders = held(holds)
        one = made._replace(holds=kept, holders=holders)
        found.append(Setting(holds=holds, chip=one, plan=plan_of(target, one, holds)))
    return tuple(found)


def unit_of(made: Chip) -> float:
    """The energy of a read of the main memory (J), or of the dearest access: what ties are scaled by."""
    return float(made.price[0, 0] or made.price.max() or 1.0)


#: Ways to unroll over one array that are looked at.
_MOST_WAYS = 20_000


def ways_of(plan: Plan, lattice: Lattice) -> tuple[Ints, Ints]:
    """Ways to unroll over the array of each group (but the one that is searched), and how many.

    They are the same however tensors are held.

    Raises:
        MappingError: there are too many to look at.
    """
    groups = len(plan.last_stage)
    many = np.ones(groups, np.int64)
    listed: dict[int, Ints] = {}
    for g in range(groups):
        if g == groups - 2 or plan.sides[g].prod() == 1:
            continue
        ways = np.empty((_MOST_WAYS, 8), np.int64)
        reach = np.zeros((2, int(plan.sides[g, 0]) + 1), np.bool_)
        many[g] = pricing.list_ways(g, plan, lattice, np.ones(8, np.int64), reach, ways)
        if many[g] < 0:
            raise MappingError(
                f"an array of {plan.sides[g].prod()} elements may be unrolled in more than {_MOST_WAYS} "
                "ways: say along which dimensions"
            )
        listed[g] = ways[: many[g]]
    ways = np.ones((groups, int(many.max()), 8), np.int64)
    for g, found in listed.items():
        ways[g, : len(found)] = found
    return ways, many

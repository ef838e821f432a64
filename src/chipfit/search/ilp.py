"""The best choice inside a budget, as an integer program.

    minimise    sum of the losses of the chosen options
    subject to  one option for each layer, one level for each group, one width of stored activations,
                a layer's channels equal to its groups' levels,
                cost of the chosen options at most the budget, for each limited quantity

A layer's option is its widths together with its channel counts, so that costs need not be
separable in them. Solved by HiGHS.

Source: the formulation of widths by layer is that of Yao et al., "HAWQ-V3", ICML 2021; channels as
a multiple-choice knapsack are those of Humble et al., "Soft masking for cost-constrained channel
pruning", ECCV 2022. Differs: both at once, with costs from the target.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import coo_array

from chipfit.milp import milp
from chipfit.search.space import QUANTITY_ORDER, Choice, Group, LayerTable

Losses = Mapping[tuple[str, str, int], float]


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A choice, what the tables say it costs by quantity, and whether that keeps the limits."""

    choice: Choice
    loss: float
    cost: Mapping[str, float]
    feasible: bool


def solve(
    tables: Sequence[LayerTable],
    groups: Sequence[Group],
    losses: Losses,
    fixed: Float[np.ndarray, " quantity"],
    limits: Mapping[str, float],
    *,
    stored: Mapping[int, Float[np.ndarray, " quantity"]] | None = None,
    seconds: float = 20.0,
) -> Solution:
    """The choice of least loss within the limits; if there is none, the one nearest to them.

    Args:
        tables: cost of each layer's options.
        groups: channels that go together.
        losses: loss of each single choice, by (layer, kind, value); what is missing costs nothing.
        fixed: cost of what cannot change.
        limits: the most of each quantity, in base units.
        stored: what each width of stored activations adds to the cost (default: 8 bits and nothing); its
            loss is that of ('*', 'stored', bits).
        seconds: how long HiGHS may look for a better choice.
    """
    program = _Program(tables, groups, losses, stored or {8: np.zeros(len(QUANTITY_ORDER))})
    chosen = program.minimise(program.loss, fixed, limits, seconds)
    feasible = chosen is not None
    if chosen is None:
        # No choice keeps the limits: take the one whose worst excess is least.
        chosen = program.nearest(fixed, limits, seconds)
    return program.solution(chosen, fixed, feasible=feasible)


class _Program:
    """The matrices of the program. Variables: all options of all layers, all levels, all stored widths."""

    def __init__(
        self,
        tables: Sequence[LayerTable],
        groups: Sequence[Group],
        losses: Losses,
        stored: Mapping[int, Float[np.ndarray, " quantity"]],
    ) -> None:
        self.tables, self.groups, self.stored = tables, groups, tuple(stored)
        sizes = [*(len(t.options) for t in tables), *(len(g.levels) for g in groups), len(stored)]
        self.starts = [0, *itertools.accumulate(sizes)]
        self.variables = self.starts[-1]
        self.loss = np.zeros(self.variables)
        self.costs = np.zeros((len(QUANTITY_ORDER), self.variables))
        for index, table in enumerate(tables):
            start = self.starts[index]
            for place, (widths, _, _) in enumerate(table.options):
                self.loss[start + place] = losses.get(
                    (table.layer, "weights", widths.weight_bits), 0.0
                ) + losses.get((table.layer, "activations", widths.activation_bits), 0.0)
            self.costs[:, start : start + len(table.options)] = table.costs.T
        for index, group in enumerate(groups):
            start = self.starts[len(tables) + index]
            for place, level in enumerate(group.levels):
                self.loss[start + place] = losses.get((group.name, "channels", level), 0.0)
        for place, (bits, difference) in enumerate(stored.items(), self.starts[-2]):
            self.loss[place] = losses.get(("*", "stored", bits), 0.0)
            self.costs[:, place] = difference
        self.equal, self.right = self._structure()

    def _structure(self) -> tuple[coo_array, Float[np.ndarray, " row"]]:
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        right: list[float] = []

        def entry(column: int, value: float) -> None:
            rows.append(len(right))
            columns.append(column)
            values.append(value)

        for index in range(len(self.starts) - 1):
            for column in range(self.starts[index], self.starts[index + 1]):
                entry(column, 1.0)
            right.append(1.0)
        for index, table in enumerate(self.tables):
            for side, name in enumerate((table.group_in, table.group_out)):
                for group_index, group in enumerate(self.groups):
                    if group.name != name:
                        continue
                    for place, level in enumerate(group.levels):
                        for number, option in enumerate(table.options):
                            if option[1 + side] == level:
                                entry(self.starts[index] + number, 1.0)
                        entry(self.starts[len(self.tables) + group_index] + place, -1.0)
                        right.append(0.0)
        shape = (len(right), self.variables)
        return coo_array((values, (rows, columns)), shape=shape), np.array(right)

    def minimise(
        self,
        objective: Float[np.ndarray, " variable"],
        fixed: Float[np.ndarray, " quantity"],
        limits: Mapping[str, float],
        seconds: float,
    ) -> Float[np.ndarray, " variable"] | None:
        """The variables of the best choice, or None where no choice keeps the limits."""
        constraints = [LinearConstraint(self.equal.tocsr(), self.right, self.right)]  # pyright: ignore[reportArgumentType]
        for quantity, limit in limits.items():
            place = QUANTITY_ORDER.index(quantity)
            room = (limit - fixed[place]) / limit
            constraints.append(LinearConstraint(self.costs[place][None] / limit, -np.inf, room))
        result = milp(
            objective,
            integrality=np.ones(self.variables),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"time_limit": seconds, "mip_rel_gap": 1e-3},
        )
        return None if result.x is None else np.round(result.x)

    def nearest(
        self, fixed: Float[np.ndarray, " quantity"], limits: Mapping[str, float], seconds: float
    ) -> Float[np.ndarray, " variable"]:
        """The variables of the choice with the least sum of limited costs, in units of the limits."""
        places = [(QUANTITY_ORDER.index(q), limit) for q, limit in limits.items()]
        objective = sum((self.costs[p] / limit for p, limit in places), start=np.zeros(self.variables))
        chosen = self.minimise(objective + 1e-9 * self.loss, fixed, {}, seconds)
        assert chosen is not None, "without limits there is always a choice"
        return chosen

    def solution(
        self, chosen: Float[np.ndarray, " variable"], fixed: Float[np.ndarray, " quantity"], *, feasible: bool
    ) -> Solution:
        """What the variables stand for."""
        picks = [
            int(np.argmax(chosen[self.starts[i] : self.starts[i + 1]])) for i in range(len(self.starts) - 1)
        ]
        widths = {t.layer: t.options[picks[i]][0] for i, t in enumerate(self.tables)}
        channels = {g.name: g.levels[picks[len(self.tables) + i]] for i, g in enumerate(self.groups)}
        cost = self.costs @ chosen + fixed
        return Solution(
            choice=Choice(widths=widths, channels=channels, stored_bits=self.stored[picks[-1]]),
            loss=float(self.loss @ chosen),
            cost=dict(zip(QUANTITY_ORDER, cost.tolist(), strict=True)),
            feasible=feasible,
        )

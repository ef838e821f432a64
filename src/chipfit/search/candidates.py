"""Which choices are worth training: asked of the integer program, beside uniform ones.

The program knows losses before retraining. Retraining mends some kinds of loss better than others,
and by how much is not known beforehand, so the program is asked under several beliefs, and training
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from chipfit.compress.base import AbstractPass
from chipfit.compress.prune import PruneChannels, keep_best
from chipfit.compress.quantize import Quantize
from chipfit.compress.weights import RestrictWeights
from chipfit.hardware.target import Target
from chipfit.search.ilp import Losses, solve
from chipfit.search.space import QUANTITY_ORDER, Choice, Group, LayerChoice, LayerTable, Space

#: Widths that are tried, where the target has them.
WIDTHS = (2, 3, 4, 5, 6, 8)
#: Fractions of a group's channels that may be kept.
FRACTIONS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
#: How much of the measured loss is thought to stay after retraining, by kind of choice (ours).
BELIEFS: Mapping[str, Mapping[str, float]] = {
    "as measured": {"weights": 1.0, "activations": 1.0, "stored": 1.0, "channels": 1.0},
    "narrow widths mend": {"weights": 0.25, "activations": 0.5, "stored": 0.5, "channels": 1.0},
    "missing channels mend": {"weights": 1.0, "activations": 1.0, "stored": 1.0, "channels": 0.25},
}
#: Widths tried for activations that something other than a nest layer reads.
STORED = (8, 6, 5, 4)
ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A choice worth training. `keep` has the channels that stay in each group that loses some; `values`
    the values of each layer whose weights are restricted, and the bounds between them (`RestrictWeights`).
    """

    name: str
    origin: str
    choice: Choice
    keep: tuple[tuple[str, tuple[int, ...]], ...]
    channels_before: Mapping[str, int]
    cost: Mapping[str, float]
    values: tuple[tuple[str, tuple[int, ...], tuple[float, ...]], ...] = ()

    @property
    def steps(self) -> tuple[AbstractPass, ...]:
        """The passes that make it."""
        found = steps(self.choice, self.keep)
        return (*found, RestrictWeights(values=self.values)) if self.values else found

    @property
    def recipe(self) -> str:
        """The passes, as text that evaluates to them."""
        return repr(list(self.steps))

    @property
    def choices(self) -> list[dict[str, Any]]:
        """What was chosen for each layer, as the records hold it."""
        values = {name: list(own) for name, own, _ in self.values}
        return [
            {
                "layer": name,
                "weight_bits": widths.weight_bits,
                "activation_bits": widths.activation_bits,
                "channels": self.choice.channels.get(name),
                "channels_before": self.channels_before.get(name),
                "values": values.get(name),
            }
            for name, widths in self.choice.widths.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back equal."""
        return {
            "name": self.name,
            "origin": self.origin,
            "choice": self.choice.to_json(),
            "keep": [[name, list(kept)] for name, kept in self.keep],
            "channels_before": dict(self.channels_before),
            "cost": dict(self.cost),
            "values": [[name, list(values), list(bounds)] for name, values, bounds in self.values],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Candidate:
        """The candidate that `to_json` wrote."""
        return cls(
            name=data["name"],
            origin=data["origin"],
            choice=Choice.from_json(data["choice"]),
            keep=tuple((name, tuple(kept)) for name, kept in data["keep"]),
            channels_before=data["channels_before"],
            cost=data["cost"],
            values=tuple((n, tuple(v), tuple(b)) for n, v, b in data.get("values", ())),
        )


def steps(choice: Choice, keep: tuple[tuple[str, tuple[int, ...]], ...]) -> tuple[AbstractPass, ...]:
    """The passes that make a choice: cut channels first, then set widths."""
    bits = tuple((n, w.weight_bits, w.activation_bits) for n, w in choice.widths.items())
    quantize = Quantize(bits=bits, stored_bits=choice.stored_bits, sum_bits=tuple(choice.sum_bits.items()))
    return (PruneChannels(keep=keep), quantize) if keep else (quantize,)


def recipe(choice: Choice, scores: Mapping[str, torch.Tensor]) -> tuple[AbstractPass, ...]:
    """The passes that make a choice, keeping the channels of the highest scores."""
    return steps(choice, keep_best(scores, choice.channels).keep)


def uniform(bits: int) -> LayerChoice:
    """Weights and activations at the same width."""
    return LayerChoice(weight_bits=bits, activation_bits=bits)


def widths_for(layers: Sequence[str], target: Target) -> dict[str, tuple[LayerChoice, ...]]:
    """The widths that each layer may have on a target.

    The first layer reads the 8-bit input as it is; it and the last keep at least 4 bits, as is usual.
    """
    bits = [b for b in WIDTHS if b in target.operand_bits] or [max(target.operand_bits)]
    wide = [b for b in bits if b >= 4] or bits

    def pairs(weights: Sequence[int], activations: Sequence[int]) -> tuple[LayerChoice, ...]:
        return tuple(LayerChoice(weight_bits=w, activation_bits=a) for w in weights for a in activations)

    found = {name: pairs(bits, bits) for name in layers}
    found[layers[-1]] = pairs(wide, wide)
    found[layers[0]] = pairs(wide, wide[-1:])
    return found


def levels(channels: int, scores: torch.Tensor) -> tuple[int, ...]:
    """Numbers of channels that a group may keep: fractions, and those that do anything at all."""
    alive = int((scores > 1e-6 * scores.max()).sum())
    counts = {max(1, round(channels * fraction)) for fraction in FRACTIONS} | {channels, max(1, alive)}
    return tuple(sorted(counts, reverse=True))


@dataclass(frozen=True, kw_only=True)
class Question:
    """What candidates are asked of: the tables, the losses, and the limits in base units.

    `stored` has the difference that each width of stored activations makes to the cost.
    """

    space: Space
    tables: Sequence[LayerTable]
    fixed: Float[np.ndarray, " quantity"]
    stored: Mapping[int, Float[np.ndarray, " quantity"]]
    losses: Losses
    limits: Mapping[str, float]
    sum_word_bits: int

    def best(self, factors: Mapping[str, float], scale: float) -> Choice:
        """The choice of the integer program under a belief, with scaled limits."""
        believed = {key: factors[key[1]] * loss for key, loss in self.losses.items()}
        scaled = {quantity: limit * scale for quantity, limit in self.limits.items()}
        solution = solve(self.tables, self.space.groups, believed, self.fixed, scaled, stored=self.stored)
        return self.with_sums(solution.choice)

    def even(self, scale: float) -> Choice:
        """The best choice with one width for all inner layers.

        The integer program chooses channels, and widths of the first and the last layer.
        """
        inner = list(self.space.widths)[1:-1]
        scaled = {quantity: limit * scale for quantity, limit in self.limits.items()}
        found: list[tuple[bool, float, Choice]] = []
        for bits in sorted({w.weight_bits for n in inner for w in self.space.widths[n]}) or [8]:
            tables = [t.only(uniform(bits)) if t.layer in inner else t for t in self.tables]
            solution = solve(tables, self.space.groups, self.losses, self.fixed, scaled, stored=self.stored)
            excess = max(solution.cost[q] / scaled[q] for q in scaled)
            found.append(
                (not solution.feasible, solution.loss if solution.feasible else excess, solution.choice)
            )
        return self.with_sums(min(found, key=lambda f: f[:2])[2])

    def with_sums(self, choice: Choice) -> Choice:
        """The choice with a limit on the sums of each layer that the tables counted on.

        Sums are limited to the words that they were priced at, where the widths alone would need more.
        """
        limits: dict[str, int] = {}
        for layer in self.space.network(choice).layers:
            if layer.weight is None or layer.name not in choice.widths:
                continue
            room = -(-layer.exact_sum_bits // self.sum_word_bits) * self.sum_word_bits
            unknown = replace(layer, weight=replace(layer.weight, largest_sum=None))
            if unknown.exact_sum_bits > room:
                limits[layer.name] = room
        return replace(choice, sum_bits=limits)


def candidates(
    question: Question, scores: Mapping[str, torch.Tensor], price: Callable[[Choice, str], dict[str, float]]
) -> list[Candidate]:
    """Distinct choices inside the limits as `price` measures them, or the nearest to them.

    `price(choice, name)` prices the built and exported model; the tables only lead there.
    """
    asks: dict[str, tuple[str, Callable[[float], Choice]]] = {
        f"program, {belief}": ("ilp", partial(question.best, factors)) for belief, factors in BELIEFS.items()
    }
    asks["program, one width"] = ("ilp", question.even)
    asks["uniform widths"] = ("uniform", _uniform(question))
    made: list[Candidate] = []
    for name, (origin, ask) in asks.items():
        choice, cost = _inside(ask, question.limits, price, name)
        if any(c.choice == choice for c in made):
            continue
        made.append(
            Candidate(
                name=name,
                origin=origin,
                choice=choice,
                keep=keep_best(scores, choice.channels).keep,
                channels_before={g.name: g.channels for g in question.space.groups},
                cost=cost,
            )
        )
    return made


def _inside(
    ask: Callable[[float], Choice],
    limits: Mapping[str, float],
    price: Callable[[Choice, str], dict[str, float]],
    name: str,
) -> tuple[Choice, dict[str, float]]:
    """Ask with ever tighter limits until the price of the built model keeps the real ones."""
    scale = 1.0
    best: tuple[float, Choice, dict[str, float]] | None = None
    for _ in range(ROUNDS):
        choice = ask(scale)
        cost = price(choice, name)
        excess = max(cost[quantity] / limit for quantity, limit in limits.items())
        if best is None or excess < best[0]:
            best = (excess, choice, cost)
        if excess <= 1:
            break
        scale *= min(0.995, 1 / excess)
    assert best is not None
    return best[1], best[2]


def _uniform(question: Question) -> Callable[[float], Choice]:
    """Asks for one width for all inner layers and one fraction of all groups' channels."""
    space = question.space
    inner = list(space.widths)[1:-1]
    bits = sorted({w.weight_bits for n in inner for w in space.widths[n]}) or [8]
    widest = {name: options[-1] for name, options in space.widths.items()}
    choices = [
        Choice(
            widths={**widest, **{n: uniform(b) for n in inner}},
            channels={g.name: g.levels[min(place, len(g.levels) - 1)] for g in space.groups},
        )
        for b in bits
        for place in range(max((len(g.levels) for g in space.groups), default=1))
    ]
    costs = [table_cost(question.tables, question.fixed, choice) for choice in choices]
    hurts = [table_loss(space.groups, question.losses, choice) for choice in choices]

    def ask(scale: float) -> Choice:
        excess = [max(cost[q] / (limit * scale) for q, limit in question.limits.items()) for cost in costs]
        order = sorted(range(len(choices)), key=lambda i: (max(excess[i], 1.0), hurts[i]))
        return question.with_sums(choices[order[0]])

    return ask


def table_cost(
    tables: Sequence[LayerTable], fixed: Float[np.ndarray, " quantity"], choice: Choice
) -> dict[str, float]:
    """What the tables say a choice costs, by quantity in base units."""
    total = fixed.copy()
    for table in tables:
        kept = tuple(choice.channels.get(g) if g else None for g in (table.group_in, table.group_out))
        total += table.costs[table.options.index((choice.widths[table.layer], *kept))]
    return dict(zip(QUANTITY_ORDER, total.tolist(), strict=True))


def table_loss(groups: Sequence[Group], losses: Losses, choice: Choice) -> float:
    """The sum of the measured losses of a choice."""
    total = sum(losses.get((g.name, "channels", choice.channels[g.name]), 0.0) for g in groups)
    for name, widths in choice.widths.items():
        total += losses.get((name, "weights", widths.weight_bits), 0.0)
        total += losses.get((name, "activations", widths.activation_bits), 0.0)
    return total

"""Which weight values a layer may have: chosen together, on what they cost and on what they cover.

A layer has weights w (codes of a width) with counts. A set of values v_1 < ... < v_K takes each weight
to a neighbour in the set, and is worth

    sum over w of  damage(w) · ((w − v(w))² + pull · energy(v(w)))

where `damage` is what a squared error of one code does to the network. With one `pull` for all
layers of a network in units of damage a joule, sets share the energy out among layers. A weight goes to the
neighbour for which its term is less: between v_i and v_j, where w is below

    t = (v_i + v_j) / 2 + pull · (energy(v_j) − energy(v_i)) / (2 (v_j − v_i))

The best set is found exactly, by dynamic programming over the values in order: the terms of the weights
between two successive values depend on these two only. As in quantisation under a bound on entropy (Chou,
Lookabaugh, Gray, 1989), with energy in place of code length; the programme is that of 1-D k-medians.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from chipfit.errors import PassError
from chipfit.jit import njit
from chipfit.units import si

#: Part of a budget that values are chosen for: retraining moves weights to dearer values, too (ours).
HEADROOM = 0.96
#: Most that a layer may lose of what its weights do (`LayerWeights.lost_with`): damage says too little of a
#: layer that has nearly nothing left (ours).
MOST_LOST = 0.5
#: Rounds of the search for the worth of a joule that meets a budget, and for the most pull of a layer.
_ROUNDS, _HALVINGS = 40, 20


@dataclass(frozen=True, kw_only=True)
class ValueSet:
    """Values that weights may have, and the bounds between them: a weight below `bounds[i]` and not
    below `bounds[i - 1]` becomes `values[i]`.

    Raises:
        PassError: no values, values out of order, or bounds that are not between them in number and order.
    """

    values: tuple[int, ...]
    bounds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise PassError("the value set is empty: a layer needs at least one weight value")
        if any(a >= b for a, b in itertools.pairwise(self.values)):
            raise PassError(f"weight values must increase, got {', '.join(map(str, self.values))}")
        if len(self.bounds) != len(self.values) - 1:
            raise PassError(
                f"{len(self.values)} values have {len(self.values) - 1} bounds, got {len(self.bounds)}"
            )
        if any(a > b for a, b in itertools.pairwise(self.bounds)):
            raise PassError("bounds between weight values must not fall")

    @classmethod
    def nearest(cls, values: Sequence[int]) -> ValueSet:
        """The set in which every weight goes to the nearest value.

        >>> ValueSet.nearest([4, 0, -1]).bounds
        (-0.5, 2.0)
        """
        ordered = tuple(sorted(set(values)))
        return cls(values=ordered, bounds=tuple((a + b) / 2 for a, b in itertools.pairwise(ordered)))

    def of(self, codes: np.ndarray) -> np.ndarray:
        """The value of each code.

        >>> ValueSet.nearest([-1, 0, 4]).of(np.array([-9, 1, 2, 3])).tolist()
        [-1, 0, 4, 4]
        """
        return np.array(self.values)[np.searchsorted(np.array(self.bounds), codes, side="right")]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerWeights:
    """What choosing values for a layer needs to know. Axis `value`: all values of the width, increasing.

    Attributes:
        values: the codes that there are, one after the other.
        counts: weights with each code.
        damage: of a squared error of one code, summed over the weights with each code.
        energy_j: of one multiplication with each value.
        macs_per_weight: multiplications with each weight, for one input of the network.
        allowed: which values may be chosen.

    Raises:
        PassError: lengths that differ, numbers that are not finite, or no value allowed.
    """

    values: range
    counts: Float64[np.ndarray, " value"]
    damage: Float64[np.ndarray, " value"]
    energy_j: Float64[np.ndarray, " value"]
    macs_per_weight: float
    allowed: Bool[np.ndarray, " value"]

    def __post_init__(self) -> None:
        for name in ("counts", "damage", "energy_j", "allowed"):
            given = getattr(self, name)
            if given.shape != (len(self.values),):
                raise PassError(f"{name} has {len(given)} entries for {len(self.values)} weight values")
            if not np.isfinite(given).all() or (given < 0).any():
                raise PassError(f"{name} must be finite and at least 0")
        if not self.allowed.any():
            raise PassError("the value set is empty: a layer needs at least one weight value")

    @property
    def total_j(self) -> float:
        """Energy of all multiplications with the weights as they are, for one input of the network."""
        return float(self.counts @ self.energy_j) * self.macs_per_weight

    def energy_with(self, chosen: ValueSet) -> float:
        """Energy of all multiplications (J) with weights restricted to a set."""
        places = chosen.of(np.array(self.values)) - self.values[0]
        return float(self.counts @ self.energy_j[places]) * self.macs_per_weight

    def damage_with(self, chosen: ValueSet) -> float:
        """Damage of restricting the weights to a set."""
        codes = np.array(self.values)
        return float(self.damage @ (codes - chosen.of(codes)) ** 2.0)

    def lost_with(self, chosen: ValueSet) -> float:
        """Damage of restricting the weights to a set, of that of leaving them all out."""
        whole = float(self.damage @ np.array(self.values) ** 2.0)
        return self.damage_with(chosen) / whole if whole else 0.0


@njit
def _programme(
    codes: np.ndarray, damage: np.ndarray, energy: np.ndarray, places: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Least cost of sets of 1..size values that end with each place, and the place before it.

    `energy` is in squared codes; `places` are those that may be chosen, in order.
    """
    count = len(places)
    # between[i, j]: cost of the codes from place i (not with it) to place j (with it).
    between = np.full((count, count), np.inf)
    before, after = np.zeros(count), np.zeros(count)
    for j in range(count):
        own = codes[places[j]]
        for w in range(len(codes)):
            term = damage[w] * ((codes[w] - own) ** 2 + energy[places[j]])
            if w <= places[j]:
                before[j] += term
            if w > places[j]:
                after[j] += term
    for i in range(count):
        low = codes[places[i]]
        for j in range(i + 1, count):
            high = codes[places[j]]
            total = 0.0
            for w in range(places[i] + 1, places[j] + 1):
                left = (codes[w] - low) ** 2 + energy[places[i]]
                right = (codes[w] - high) ** 2 + energy[places[j]]
                total += damage[w] * min(left, right)
            between[i, j] = total
    best = np.full((size, count), np.inf)
    origin = np.full((size, count), -1, dtype=np.int64)
    best[0] = before
    for k in range(1, size):
        for j in range(count):
            for i in range(j):
                total = best[k - 1, i] + between[i, j]
                if total < best[k, j]:
                    best[k, j] = total
                    origin[k, j] = i
    for k in range(size):
        for j in range(count):
            best[k, j] += after[j]
    return best, origin


def choose(layer: LayerWeights, *, size: int, pull: float) -> ValueSet:
    """The best set of at most `size` values for a layer.

    Args:
        layer: its weights and the cost of every value.
        size: values at most.
        pull: what a joule of one multiplication is worth in squared codes.

    Raises:
        PassError: no values at all are asked for.
    """
    if size < 1:
        raise PassError(f"the value set is empty: {size} weight values were asked for")
    places = np.flatnonzero(layer.allowed)
    codes = np.array(layer.values, dtype=np.float64)
    # A code that no weight has still costs a little, so that sets stay sensible around it.
    damage = layer.damage + 1e-9 * max(float(layer.damage.sum()), 1e-300)
    size = min(size, len(places))
    best, origin = _programme(codes, damage, pull * layer.energy_j, places, size)
    k, j = np.unravel_index(int(np.argmin(best)), best.shape)
    picked = list[int]()
    while j >= 0:
        picked.append(int(places[j]))
        j = origin[k, j]
        k -= 1
    return _bounded(layer, picked[::-1], pull)


def _bounded(layer: LayerWeights, places: Sequence[int], pull: float) -> ValueSet:
    """The set of these places, each bound where the cost is least; values without weights are left out."""
    values = [layer.values[place] for place in places]
    energy = [float(layer.energy_j[place]) for place in places]
    kept, bounds = [0], list[float]()
    for i in range(1, len(values)):
        while True:
            low = kept[-1]
            middle = (values[low] + values[i]) / 2
            bound = middle + pull * (energy[i] - energy[low]) / (2 * (values[i] - values[low]))
            if not bounds or bound > bounds[-1]:
                break
            kept.pop()
            bounds.pop()
        kept.append(i)
        bounds.append(bound)
    return ValueSet(values=tuple(values[i] for i in kept), bounds=tuple(bounds))


def cheapest(layer: LayerWeights, *, size: int) -> ValueSet:
    """The `size` cheapest values, the nearest one for every weight: what to compare with."""
    if size < 1:
        raise PassError(f"the value set is empty: {size} weight values were asked for")
    order = np.argsort(np.where(layer.allowed, layer.energy_j, np.inf), kind="stable")
    chosen = order[: min(size, int(layer.allowed.sum()))]
    return ValueSet.nearest([layer.values[int(place)] for place in chosen])


def merged(layers: Mapping[str, LayerWeights]) -> LayerWeights:
    """One layer that stands for all: for one set of values for a network.

    Its damage is the sum; its energy is the mean over all multiplications.
    """
    parts = list(layers.values())
    macs = [part.macs_per_weight * float(part.counts.sum()) for part in parts]
    weights = sum(float(part.counts.sum()) for part in parts)
    return LayerWeights(
        values=parts[0].values,
        counts=np.sum([part.counts for part in parts], axis=0),
        damage=np.sum([part.damage for part in parts], axis=0),
        energy_j=np.average([part.energy_j for part in parts], axis=0, weights=macs),
        macs_per_weight=sum(macs) / weights,
        allowed=np.logical_and.reduce([part.allowed for part in parts]),
    )


class _Chooser:
    """Sets for layers by what a joule for one input of the network is worth in damage.

    A layer whose set would lose more than `MOST_LOST` gets the largest pull with which it does not.
    """

    def __init__(self, layers: Mapping[str, LayerWeights], *, size: int, one_set: bool) -> None:
        self.layers, self.size, self.one_set = layers, size, one_set
        self._parts = {"": merged(layers)} if one_set else layers
        self._most_pull: dict[str, float] = {}

    def total_j(self, sets: Mapping[str, ValueSet]) -> float:
        """Energy of all multiplications (J) with these sets."""
        return sum(layer.energy_with(sets[name]) for name, layer in self.layers.items())

    def at(self, worth: float) -> dict[str, ValueSet]:
        """The sets when a joule is worth so much damage."""
        found = {name: self._set(name, layer, worth) for name, layer in self._parts.items()}
        return dict.fromkeys(self.layers, found[""]) if self.one_set else found

    def _set(self, name: str, layer: LayerWeights, worth: float) -> ValueSet:
        damage = float(layer.damage.sum())
        pull = worth * layer.macs_per_weight * float(layer.counts.sum()) / damage if damage else 0.0
        found = choose(layer, size=self.size, pull=min(pull, self._most_pull.get(name, math.inf)))
        if name in self._most_pull or layer.lost_with(found) <= MOST_LOST:
            return found
        low, high = 0.0, pull
        found = choose(layer, size=self.size, pull=0.0)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            tried = choose(layer, size=self.size, pull=middle)
            if layer.lost_with(tried) <= MOST_LOST:
                low, found = middle, tried
            else:
                high = middle
        self._most_pull[name] = low
        return found


def choose_within(
    layers: Mapping[str, LayerWeights],
    budget_j: float,
    *,
    size: int,
    one_set: bool = False,
) -> dict[str, ValueSet]:
    """Sets of least damage found whose energy for one input of the network is inside a budget.

    Args:
        layers: by name.
        budget_j: most energy of all multiplications.
        size: values of a layer at most.
        one_set: the same values for all layers.

    Raises:
        PassError: the budget is below what the cheapest sets take that leave something of each layer.
    """
    chooser = _Chooser(layers, size=size, one_set=one_set)
    inside = chooser.at(0.0)
    if chooser.total_j(inside) <= budget_j:
        return inside
    damage = sum(float(layer.damage.sum()) for layer in layers.values())
    low = high = damage / sum(layer.total_j for layer in layers.values())
    least_j = math.inf
    for _ in range(_ROUNDS):
        inside = chooser.at(high)
        least_j = min(least_j, chooser.total_j(inside))
        if least_j <= budget_j:
            break
        low, high = high, 8 * high
    else:
        raise PassError(
            f"no value set takes at most {si(budget_j, 'J')}: the cheapest that leave at least "
            f"{1 - MOST_LOST:.0%} of each layer take {si(least_j, 'J')}"
        )
    low = min(low, high / 64)
    outside = chooser.at(low)
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        sets = chooser.at(middle)
        if chooser.total_j(sets) <= budget_j:
            high, inside = middle, sets
        else:
            low, outside = middle, sets
    return inside if one_set else _filled(layers, inside, outside, budget_j)


def _filled(
    layers: Mapping[str, LayerWeights],
    inside: dict[str, ValueSet],
    outside: Mapping[str, ValueSet],
    budget_j: float,
) -> dict[str, ValueSet]:
    """Sets inside a budget, with those of a choice outside it for layers where that fits and saves damage.

    Weights of few bits move all at once: choices that differ by nothing in worth may lie far apart.
    """
    room = budget_j - sum(layer.energy_with(inside[name]) for name, layer in layers.items())
    saved = {n: x.damage_with(inside[n]) - x.damage_with(outside[n]) for n, x in layers.items()}
    needed = {n: x.energy_with(outside[n]) - x.energy_with(inside[n]) for n, x in layers.items()}
    found = dict(inside)
    for name in sorted(layers, key=lambda n: -saved[n] / max(needed[n], 1e-30)):
        if saved[name] > 0 and needed[name] <= room:
            room -= needed[name]
            found[name] = outside[name]
    return found


def within_delay(layer: LayerWeights, delay_s: np.ndarray, limit_s: float) -> LayerWeights:
    """The layer with only those values allowed that settle in time.

    Raises:
        PassError: no value does.
    """
    in_time = layer.allowed & (delay_s <= limit_s)
    if not in_time.any():
        place = int(np.argmin(np.where(layer.allowed, delay_s, np.inf)))
        raise PassError(
            f"no weight value settles within {si(limit_s, 's')}: the fastest, {layer.values[place]}, takes "
            f"{si(float(delay_s[place]), 's')}"
        )
    return replace(layer, allowed=in_time)

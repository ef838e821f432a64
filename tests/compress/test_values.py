import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from chipfit.compress import values
from chipfit.compress.values import (
    MOST_LOST,
    LayerWeights,
    ValueSet,
    cheapest,
    choose,
    choose_within,
    merged,
    within_delay,
)
from chipfit.errors import PassError


def a_layer(seed=0, *, macs=10.0, values=range(-8, 8)):
    rng = np.random.default_rng(seed)
    size = len(values)
    counts = rng.integers(0, 20, size).astype(float)
    energy = rng.random(size) + 0.1
    energy[-values[0]] = 0.0
    return LayerWeights(
        values=values,
        counts=counts,
        damage=counts * 0.5,
        energy_j=energy,
        macs_per_weight=macs,
        allowed=np.ones(size, dtype=bool),
    )


def cost(layer, chosen, pull):
    """The sum that sets are chosen by, term by term."""
    total = 0.0
    for code, damage in zip(layer.values, layer.damage, strict=True):
        value = int(chosen.of(np.array([code]))[0])
        total += damage * ((code - value) ** 2 + pull * layer.energy_j[value - layer.values[0]])
    return total


def everything(layer, size, pull, neighbours):
    """The least cost over all sets, each weight at the best value (of those around it)."""
    best = np.inf
    for count in range(1, size + 1):
        for chosen in itertools.combinations(layer.values, count):
            total = 0.0
            for code, damage in zip(layer.values, layer.damage, strict=True):
                near = chosen
                if neighbours:
                    near = [v for v in chosen if v <= code][-1:] + [v for v in chosen if v >= code][:1]
                total += damage * min(
                    (code - v) ** 2 + pull * layer.energy_j[v - layer.values[0]] for v in near
                )
            best = min(best, total)
    return best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1, 2, 3])
def test_without_a_price_of_energy_it_is_the_least_squared_error_of_all_sets(seed, size):
    layer = a_layer(seed)
    assert cost(layer, choose(layer, size=size, pull=0.0), 0.0) == pytest.approx(
        everything(layer, size, 0.0, neighbours=True), rel=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pull", [0.5, 3.0, 20.0])
def test_with_a_price_it_is_no_worse_than_all_sets_whose_weights_go_to_a_value_beside_them(seed, pull):
    layer = a_layer(seed)
    found = cost(layer, choose(layer, size=3, pull=pull), pull)
    assert found <= everything(layer, 3, pull, neighbours=True) * (1 + 1e-6)
    assert found >= everything(layer, 3, pull, neighbours=False) * (1 - 1e-6)


def test_a_bound_is_where_both_values_cost_the_same():
    layer = a_layer(values=range(-2, 2))
    energy = np.array([0.0, 0.0, 0.0, 0.3])
    layer = LayerWeights(
        values=layer.values,
        counts=np.array([0.0, 0.0, 5.0, 5.0]),
        damage=np.array([0.0, 0.0, 5.0, 5.0]),
        energy_j=energy,
        macs_per_weight=1.0,
        allowed=np.array([False, False, True, True]),
    )
    # (t - 0)² = (t - 1)² + 1 * 0.3  =>  2t = 1.3
    assert choose(layer, size=2, pull=1.0) == ValueSet(values=(0, 1), bounds=(0.65,))


def test_no_price_beats_an_error_of_one_code_only_below_it():
    # One weight at 1: keeping it costs pull * 0.3, moving it to 0 costs 1.
    layer = LayerWeights(
        values=range(-2, 2),
        counts=np.array([0.0, 0.0, 0.0, 1.0]),
        damage=np.array([0.0, 0.0, 0.0, 1.0]),
        energy_j=np.array([0.0, 0.0, 0.0, 0.3]),
        macs_per_weight=1.0,
        allowed=np.ones(4, dtype=bool),
    )
    assert choose(layer, size=1, pull=3.0).values == (1,)
    assert choose(layer, size=1, pull=4.0).values == (0,)


def test_a_budget_is_kept_and_less_of_it_hurts_more():
    layers = {"a": a_layer(1, macs=100.0), "b": a_layer(2, macs=1.0)}
    before = sum(layer.total_j for layer in layers.values())
    damages = []
    for share in (0.9, 0.5, 0.2):
        sets = choose_within(layers, share * before, size=6)
        assert sum(layer.energy_with(sets[n]) for n, layer in layers.items()) <= share * before
        damages.append(sum(layer.damage_with(sets[n]) for n, layer in layers.items()))
    assert damages == sorted(damages)
    assert damages[0] < damages[-1]


def test_chosen_together_they_hurt_less_than_the_cheapest_ones():
    layer = a_layer(3)
    few = cheapest(layer, size=4)
    sets = choose_within({"a": layer}, layer.energy_with(few), size=4)
    assert layer.damage_with(sets["a"]) <= layer.damage_with(few)


def test_one_set_for_all_layers():
    layers = {"a": a_layer(1), "b": a_layer(2)}
    sets = choose_within(layers, 0.5 * sum(x.total_j for x in layers.values()), size=5, one_set=True)
    assert sets["a"] == sets["b"]


def test_the_layer_that_stands_for_all_takes_what_they_take():
    layers = {"a": a_layer(1, macs=3.0), "b": a_layer(1, macs=1.0)}
    # The same counts and energies: 4 multiplications where each layer has 3 and 1.
    assert merged(layers).total_j == pytest.approx(sum(x.total_j for x in layers.values()))


def test_values_that_settle_late_are_not_chosen():
    layer = a_layer(0)
    delays = np.linspace(1e-9, 2e-9, 16)
    fast = within_delay(layer, delays, 1.2e-9)
    # 1 ns + 1 ns * k / 15 <= 1.2 ns for k = 0..3
    assert set(choose(fast, size=8, pull=0.0).values) <= {-8, -7, -6, -5}


def test_a_delay_that_no_value_meets():
    with pytest.raises(PassError) as raised:
        within_delay(a_layer(0), np.linspace(1e-9, 2e-9, 16), 0.5e-9)
    assert str(raised.value) == "no weight value settles within 500 ps: the fastest, -8, takes 1.00 ns"


def test_a_budget_that_no_values_meet():
    layer = a_layer(0)
    dear = LayerWeights(**{**layer.__dict__, "energy_j": layer.energy_j + 1})
    with pytest.raises(PassError) as raised:
        choose_within({"a": dear}, 1.0, size=4)
    least = re.fullmatch(
        r"no value set takes at most 1\.00 J: the cheapest that leave at least 50% of each layer take "
        r"([\d.]+) kJ",
        str(raised.value),
    )
    least_j = 1e3 * float(least[1])
    assert choose_within({"a": dear}, 1.01 * least_j, size=4)
    with pytest.raises(PassError):
        choose_within({"a": dear}, 0.99 * least_j, size=4)


def test_no_layer_is_left_with_nearly_nothing():
    # 'b' does little damage and takes most of the energy: left out, it would meet any budget alone.
    keen, idle = a_layer(1), a_layer(2, macs=1000.0)
    layers = {"a": keen, "b": replace(idle, damage=1e-6 * idle.damage)}
    least = choose(layers["b"], size=6, pull=1e12)
    assert layers["b"].lost_with(least) > MOST_LOST
    sets = choose_within(layers, 0.3 * sum(x.total_j for x in layers.values()), size=6)
    assert all(layer.lost_with(sets[name]) <= MOST_LOST for name, layer in layers.items())


def test_values_that_lose_too_much_anyway_are_looked_at_once(monkeypatch):
    layer = a_layer(0)
    slow = within_delay(layer, np.linspace(1e-9, 2e-9, 16), 1.2e-9)  # -8 to -5 for weights up to 7
    calls = []
    monkeypatch.setattr(values, "choose", lambda *a, **k: calls.append(1) or choose(*a, **k))
    with pytest.raises(PassError):
        choose_within({"a": slow}, 1e-9, size=4)
    assert len(calls) < 100


def test_what_is_left_of_a_budget_is_used():
    """Two layers that are alike: both move at one worth, though one would be enough."""

    def alike(macs):
        counts = np.zeros(16)
        counts[8 + 2], counts[8 + 7] = 100.0, 100.0
        energy = np.abs(np.arange(-8.0, 8.0))
        return replace(a_layer(0, macs=macs), counts=counts, damage=0.1 * counts, energy_j=energy)

    layers = {"a": alike(1.0), "b": alike(1.0 + 1e-9)}
    whole = sum(x.total_j for x in layers.values())
    spent = {}
    for share in (1.0, 0.95):
        sets = choose_within(layers, share * whole, size=2)
        spent[share] = sum(layer.energy_with(sets[n]) for n, layer in layers.items())
    assert spent[1.0] == pytest.approx(whole)
    changed = [name for name, layer in layers.items() if layer.damage_with(sets[name]) > 0]
    assert len(changed) == 1
    assert spent[0.95] <= 0.95 * whole


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ValueSet(values=(), bounds=()),
            "the value set is empty: a layer needs at least one weight value",
        ),
        (lambda: ValueSet(values=(2, 1), bounds=(1.5,)), "weight values must increase, got 2, 1"),
        (lambda: ValueSet(values=(1, 2), bounds=()), "2 values have 1 bounds, got 0"),
        (lambda: ValueSet(values=(1, 2, 3), bounds=(2.0, 1.0)), "bounds between weight values must not fall"),
        (
            lambda: choose(a_layer(), size=0, pull=0.0),
            "the value set is empty: 0 weight values were asked for",
        ),
        (
            lambda: cheapest(a_layer(), size=0),
            "the value set is empty: 0 weight values were asked for",
        ),
        (
            lambda: LayerWeights(**{**a_layer().__dict__, "energy_j": np.full(16, np.nan)}),
            "energy_j must be finite and at least 0",
        ),
        (
            lambda: LayerWeights(**{**a_layer().__dict__, "energy_j": np.zeros(8)}),
            "energy_j has 8 entries for 16 weight values",
        ),
        (
            lambda: LayerWeights(**{**a_layer().__dict__, "allowed": np.zeros(16, dtype=bool)}),
            "the value set is empty: a layer needs at least one weight value",
        ),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(PassError) as raised:
        make()
    assert str(raised.value) == message

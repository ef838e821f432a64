import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.search.ilp import solve
from chipfit.search.space import QUANTITY_ORDER, Choice, Group, LayerChoice, LayerTable


def pair(bits: int) -> LayerChoice:
    return LayerChoice(weight_bits=bits, activation_bits=bits)


def table(name: str, energy: dict[tuple[int, int | None], float], group: str | None = None) -> LayerTable:
    """A layer whose energy depends on (bits, channels out)."""
    options = tuple((pair(bits), None, channels) for bits, channels in energy)
    costs = np.zeros((len(options), len(QUANTITY_ORDER)))
    costs[:, 0] = list(energy.values())
    return LayerTable(layer=name, options=options, costs=costs, group_in=None, group_out=group)


def reader(name: str, energy: dict[tuple[int, int], float], group: str) -> LayerTable:
    """A layer whose energy depends on (bits, channels in)."""
    found = table(name, {(b, c): e for (b, c), e in energy.items()})
    options = tuple((widths, channels, None) for widths, _, channels in found.options)
    return LayerTable(layer=name, options=options, costs=found.costs, group_in=group, group_out=None)


NOTHING = np.zeros(len(QUANTITY_ORDER))


def test_without_pressure_the_least_loss_is_chosen() -> None:
    tables = [table("a", {(8, None): 10.0, (4, None): 4.0})]
    found = solve(tables, [], {("a", "weights", 4): 1.0}, NOTHING, {"energy": 100.0})
    assert found.choice.widths == {"a": pair(8)}
    assert (found.feasible, found.loss, found.cost["energy"]) == (True, 0.0, 10.0)


def test_under_pressure_the_layer_that_hurts_less_gives_way() -> None:
    energy = {(8, None): 10.0, (4, None): 4.0}
    losses = {("a", "weights", 4): 1.0, ("b", "weights", 4): 0.5}
    found = solve([table("a", energy), table("b", energy)], [], losses, NOTHING, {"energy": 14.0})
    assert found.choice.widths == {"a": pair(8), "b": pair(4)}


def test_both_sides_of_a_group_keep_the_same_channels() -> None:
    group = Group(name="a", levels=(16, 8), producers=("a",), consumers=("b",))
    a = table("a", {(8, 16): 10.0, (8, 8): 5.0}, group="a")
    b = reader("b", {(8, 16): 10.0, (8, 8): 9.0}, group="a")
    found = solve([a, b], [group], {("a", "channels", 8): 1.0}, NOTHING, {"energy": 15.0})
    assert found.choice.channels == {"a": 8}
    assert found.cost["energy"] == 14.0


def test_what_cannot_be_met_is_approached() -> None:
    found = solve([table("a", {(8, None): 10.0, (4, None): 4.0})], [], {}, NOTHING, {"energy": 3.0})
    assert not found.feasible
    assert found.choice.widths == {"a": pair(4)}


def test_the_fixed_part_uses_up_budget() -> None:
    fixed = np.array([8.0, 0.0, 0.0, 0.0])
    found = solve([table("a", {(8, None): 10.0, (4, None): 4.0})], [], {}, fixed, {"energy": 12.0})
    assert found.choice.widths == {"a": pair(4)}
    assert found.cost["energy"] == 12.0


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_program_finds_what_trying_everything_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = (8, 4, 2)
    tables = [table(n, {(b, None): float(rng.integers(1, 50)) for b in bits}) for n in "abcd"]
    losses = {(n, "weights", b): float(rng.integers(0, 50)) for n in "abcd" for b in bits}
    limit = float(rng.integers(40, 120))
    stored = {b: rng.integers(-20, 20) * np.array([1.0, 0.0, 0.0, 0.0]) for b in (8, 4)}
    losses |= {("*", "stored", b): float(rng.integers(0, 50)) for b in stored}
    every = [
        sum(losses[n, "weights", b] for n, b in zip("abcd", chosen, strict=True)) + losses["*", "stored", s]
        for chosen in itertools.product(bits, repeat=4)
        for s, difference in stored.items()
        if sum(t.costs[bits.index(b), 0] for t, b in zip(tables, chosen, strict=True)) + difference[0]
        <= limit
    ]
    found = solve(tables, [], losses, NOTHING, {"energy": limit}, stored=stored)
    assert found.feasible == bool(every)
    if every:
        assert found.loss == pytest.approx(min(every), rel=2e-3)


@pytest.mark.data
def test_published_integer_programs_give_the_published_widths(shared_data: Path) -> None:
    # HAWQ-V3 (Yao et al., ICML 2021), ResNet-18: inputs and the nine solutions the authors ship.
    data = json.loads((shared_data / "hawqv3" / "resnet18_ilp.json").read_text())
    layers = range(len(data["parameters"]))
    trace, delta = data["normalised_hessian_trace"], {8: data["delta8_sq"], 4: data["delta4_sq"]}
    # Layers that must share a width hang on a group whose "channels" are the width.
    group_of = {layer: f"g{pair[0]}" for pair in data["equal"] for layer in pair}
    groups = [
        Group(name=n, levels=(8, 4), producers=(), consumers=()) for n in sorted(set(group_of.values()))
    ]
    losses = {(str(i), "weights", b): trace[i] * delta[b][i] for i in layers for b in (8, 4)}
    for case, solution in data["solutions"].items():
        kind, fraction = case.split("_")
        cost = {
            b: [
                {
                    "size": b * data["parameters"][i],
                    "bops": data["macs"][i] * b * b,
                    "latency": data[f"latency{b}_ms"][i],
                }[kind]
                for i in layers
            ]
            for b in (8, 4)
        }
        limit = sum(cost[4]) + float(fraction) * (sum(cost[8]) - sum(cost[4]))
        tables = [
            table(str(i), {(b, b if i in group_of else None): cost[b][i] for b in (8, 4)}, group_of.get(i))
            for i in layers
        ]
        found = solve(tables, groups, losses, NOTHING, {"energy": limit})
        widths = "".join(str(found.choice.widths[str(i)].weight_bits) for i in layers)
        assert widths == solution, case


def test_a_choice_survives_json() -> None:
    choice = Choice(widths={"a": LayerChoice(weight_bits=4, activation_bits=3)}, channels={"a": 7})
    assert Choice.from_json(json.loads(json.dumps(choice.to_json()))) == choice

import itertools

import numpy as np
import pytest
from small_models import images, residual

import chipfit
from chipfit.compress.balance import BalancedPrune
from chipfit.compress.base import PassContext
from chipfit.compress.graph import traced
from chipfit.compress.ratios import KeepOption, choose_keep, keep_options
from chipfit.errors import PassError
from chipfit.workload.from_torch import load_torch
from chipfit.workload.zeros import Zeros


def option(layer, kept, loss, cost):
    return KeepOption(
        layer=layer, kept=kept, of=9, loss=loss, latency_s=cost, energy_j=2 * cost, dram_bits=3 * cost
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    table = {
        name: [option(name, k, float(rng.integers(0, 50)), float(rng.integers(1, 50))) for k in (3, 4, 9)]
        for name in "abcd"
    }
    every = list(itertools.product(*table.values()))
    limit = float(np.median([sum(o.latency_s for o in choice) for choice in every]))
    allowed = [choice for choice in every if sum(o.latency_s for o in choice) <= limit]
    best = min(sum(o.loss for o in choice) for choice in allowed)
    chosen = choose_keep([o for row in table.values() for o in row], {"latency_s": limit})
    picked = [o for row in table.values() for o in row if (o.layer, o.kept, 9) in chosen]
    assert [o.layer for o in picked] == list("abcd")
    assert sum(o.loss for o in picked) == best
    assert sum(o.latency_s for o in picked) <= limit


def test_a_limit_that_nothing_keeps_is_told_with_the_least():
    options = [option("a", 3, 1.0, 2.0), option("a", 9, 0.0, 5.0)]
    with pytest.raises(PassError) as error:
        choose_keep(options, {"latency_s": 1.0})
    assert str(error.value) == "keep options: no choice keeps latency_s 1 (at least 2)"


def test_an_unknown_quantity_is_named():
    with pytest.raises(PassError) as error:
        choose_keep([option("a", 3, 1.0, 2.0)], {"latency": 1.0})
    assert str(error.value) == "keep options: unknown quantity 'latency', did you mean 'latency_s'?"


def test_options_cost_less_and_lose_more_the_less_they_keep():
    model, context = traced(residual()), PassContext(calibration=images())
    network = load_torch(model, images(1), name="small").with_bits(8, 8)
    target = chipfit.load_target("sense_zcu102")
    levels = {"conv1": [(9, 9), (4, 9), (2, 9)], "conv2": [(9, 9), (3, 9)]}
    found = keep_options(
        model,
        network,
        target,
        context,
        levels,
        zeros=Zeros(),
        prune=BalancedPrune(keep=(), criterion="magnitude"),
    )
    assert [(o.layer, o.kept) for o in found] == [
        ("conv1", 9), ("conv1", 4), ("conv1", 2), ("conv2", 9), ("conv2", 3)
    ]  # fmt: skip
    first = found[:3]
    assert [o.loss for o in first] == sorted(o.loss for o in first)
    assert [o.energy_j for o in first] == sorted((o.energy_j for o in first), reverse=True)
    half = 0.9 * (found[0].energy_j + found[3].energy_j)
    assert choose_keep(found, {"energy_j": half}) != (("conv1", 9, 9), ("conv2", 9, 9))


def test_a_layer_that_is_not_there_is_named():
    model = traced(residual())
    network = load_torch(model, images(1), name="small")
    with pytest.raises(PassError) as error:
        keep_options(
            model, network, chipfit.load_target("sense_zcu102"), PassContext(calibration=images(2)),
            {"conv9": [(3, 9)]}, zeros=Zeros(), prune=BalancedPrune(keep=()),
        )  # fmt: skip
    assert str(error.value) == "keep options: no layer 'conv9', did you mean 'conv2'?"

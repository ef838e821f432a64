"""Costs of layers at all settings of bits, against the same layers one by one."""

from dataclasses import replace

import numpy as np
import pytest

from chipfit.cost.mapping import answers, mapper
from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.mapping.grid import grid
from chipfit.cost.roofline import Roofline
from chipfit.errors import MappingError
from chipfit.hardware.load import load_target
from chipfit.testing import nest_layer
from chipfit.workload.network import Loops

NESTS = (Loops(K=16, C=12, P=7, Q=7, R=3, S=3, padding=(2, 2)), Loops(K=10, C=64))
BITS = (2, 3, 6, 8)


def at(layer, weight, inputs):
    return replace(
        layer,
        weight=replace(layer.weight, bits=weight),
        inputs=(replace(layer.inputs[0], bits=inputs), *layer.inputs[1:]),
    )


@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_each_point_is_what_the_layer_costs_by_itself(objective):
    layers, target = [nest_layer(loops) for loops in NESTS], load_target("eyeriss")
    table = grid(
        layers, target, weight_bits=BITS, activation_bits=BITS, estimator=Analytical(objective=objective)
    )
    assert table.shape == (2, 4, 4, 3)
    assert table.flags.c_contiguous
    for i, layer in enumerate(layers):
        for j, weight in enumerate(BITS):
            for k, inputs in enumerate(BITS):
                answers.forget()
                alone = Analytical(objective=objective).layer(at(layer, weight, inputs), target)
                assert alone.gap == 0
                energy, latency, dram = table[i, j, k]
                if objective == "energy":
                    assert energy == pytest.approx(alone.cost.energy_j, rel=1e-9)
                assert energy * latency == pytest.approx(alone.cost.edp, rel=1e-6) or objective == "energy"
                assert dram > 0


def test_settings_that_pack_alike_are_searched_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answers.forget()
    asked = []
    find = mapper.find_all

    def noted(loops, target, cases, **how):
        asked.extend(cases)
        return find(loops, target, cases, **how)

    monkeypatch.setattr(mapper, "find_all", noted)
    layers = [nest_layer(NESTS[1]), replace(nest_layer(NESTS[1]), name="again")]
    # 16-bit words: three, two, two, two values of 5, 6, 7, 8 bits; the sum of 64 products takes two words
    # (5 + 5 + 6 bits take one).
    grid(layers, load_target("eye3"), weight_bits=(5, 6, 7, 8), activation_bits=(6, 7, 8),
         estimator=Analytical(objective="energy"))  # fmt: skip
    assert len(asked) == 2
    asked.clear()
    # For energy x latency, of settings between the least and the most energy of multiplying only those
    # are searched that may differ.
    grid(layers, load_target("eye3"), weight_bits=(6, 7, 8), activation_bits=(6, 7, 8))
    assert 2 <= len(asked) < 6  # six products of the widths
    answers.forget()


def test_other_estimators_have_grids_too():
    table = grid([nest_layer(NESTS[0])], load_target("eyeriss"), weight_bits=(8,), estimator=Roofline())
    assert table.shape == (1, 1, 7, 3)
    assert (np.diff(table[0, 0, :, 0]) >= 0).all()


def test_a_layer_that_cannot_run_is_named():
    layer = replace(nest_layer(NESTS[0]), name="conv7")
    with pytest.raises(MappingError) as caught:
        grid([layer], load_target("edge_npu"), weight_bits=(8, 9), activation_bits=(8,))
    assert str(caught.value) == (
        "layer 'conv7' does not fit edge_npu: memory 'weight_register' has 1 words of 8 bits, but one "
        "element of each tensor that it must hold takes 2 (weight 2), 1 more"
    )

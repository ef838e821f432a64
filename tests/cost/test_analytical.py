"""The analytical estimator: laws, costs worked by hand, messages."""

from dataclasses import replace

import pytest

from chipfit.cost.mapping import answers, mapper
from chipfit.cost.mapping.analytical import Analytical, describe
from chipfit.cost.mapping.model import Mapping, MapSpace
from chipfit.cost.mapping.plan import stages
from chipfit.errors import MappingError
from chipfit.hardware.load import load_target
from chipfit.hardware.target import Array
from chipfit.testing import EstimatorSuite, eye16, nest_layer, toy_level, toy_systolic
from chipfit.workload.library import resolve
from chipfit.workload.network import Loops, Tensor


class TestAnalytical(EstimatorSuite):
    estimator = Analytical()
    # What this objective does not minimise may fall when work grows.
    quantities = ("energy_j",)


class TestAnalyticalLatency(EstimatorSuite):
    estimator = Analytical(objective="latency")
    quantities = ("latency_s",)


def test_a_matrix_product_by_hand():
    # Everything fits the shared file of the one element that is used, so every word moves once.
    target = replace(eye16(shared_file=True), arrays=())
    layer = nest_layer(Loops(K=4, C=8), weight_bits=16, input_bits=16)
    found = Analytical().layer(layer, target)
    # DRAM: 32 weights + 8 inputs in, 4 outputs out. Buffer: those in, and out again to the file; the
    # outputs in and out. File: 40 in, 4 out; a multiply reads three and writes one, less 4 first sums.
    assert found.energy_by_component_j == {
        "MAC": 32.0,
        "DRAM": 44 * 200.0,
        "GLB": (44 + 44) * 6.0,
        "RF": 44 + 4 * 32 - 4.0,
    }
    assert found.cost.dram_bits == 44 * 16
    assert found.latency_by_component_s == {"compute": 32.0, "DRAM": 11.0, "GLB": 88 / 32}
    assert found.cost.latency_s == 32.0
    assert found.utilization == 1.0
    assert found.accumulator_bits == 16


def test_narrow_operands_share_words():
    target = replace(eye16(shared_file=True), arrays=())
    wide = Analytical().layer(nest_layer(Loops(K=4, C=8), weight_bits=16, input_bits=16), target)
    narrow = Analytical().layer(nest_layer(Loops(K=4, C=8), weight_bits=4, input_bits=4), target)
    assert wide.cost.dram_bits == 44 * 16
    assert narrow.cost.dram_bits == (8 + 2 + 1) * 16  # four in a word
    assert narrow.accumulator_bits == 4 + 4 + 3


def test_hops_are_counted_by_element_reached():
    array = Array(
        name="row", below="GLB", rows=1, columns=4, row_dimensions=(), column_dimensions=("K",),
        hop_energy_j=1000.0,
    )  # fmt: skip
    target = replace(eye16(shared_file=True), arrays=(array,))
    layer = nest_layer(Loops(K=4, C=8), weight_bits=16, input_bits=16)
    found = Analytical(objective="latency").layer(layer, target)
    # The eight inputs go to all four elements, each weight to one; four finished sums come back.
    assert found.energy_by_component_j["row"] == (8 * 4 + 32 + 4) * 1000.0
    assert found.latency_by_component_s["compute"] == 8.0


def test_a_mapping_is_printed_as_loops():
    one = (1,) * 8  # N G K C P Q R S
    mapping = Mapping(
        tiles=((1, 1, 64, 8, 1, 1, 1, 1), (1, 1, 16, 8, 1, 1, 1, 1), (1, 1, 2, 8, 1, 1, 1, 1), one),
        rows=(one, (1, 1, 4, 1, 1, 1, 1, 1), one),
        columns=(one, (1, 1, 2, 1, 1, 1, 1, 1), one),
        stationary=("input", "output", "output"),
    )
    assert describe(mapping, stages(eye16(shared_file=True))) == (
        "DRAM: for K in 0..3 | GLB: one tile | PE: parallel K=4 on rows, K=2 on columns | "
        "RF: for K in 0..1, C in 0..7"
    )


def test_what_fused_layers_read_passes_main_memory_once():
    shortcut = Tensor(name="s", shape=(1, 8, 7, 7), bits=16)
    loops = Loops(K=8, C=6, P=7, Q=7, R=3, S=3, padding=(2, 2))
    estimator = Analytical(objective="energy")
    plain = estimator.layer(nest_layer(loops), eye16())
    fused = estimator.layer(nest_layer(loops, beside=(shortcut,)), eye16())
    assert fused.cost.dram_bits - plain.cost.dram_bits == 8 * 49 * 16
    assert fused.cost.energy_j - plain.cost.energy_j == pytest.approx(8 * 49 * 200.0)


def test_static_power_is_its_own_component():
    found = Analytical().layer(nest_layer(Loops(K=16, C=16)), toy_systolic())
    assert found.energy_by_component_j["static"] == pytest.approx(1e-3 * found.cost.latency_s)


def test_a_layer_that_does_not_fit_is_named():
    target = replace(eye16(), levels=(*eye16().levels[:4], toy_level("RF_O", 1, 1.0, holds=("output",))))
    with pytest.raises(MappingError, match="layer 'conv1' does not fit eye16: memory 'RF_O' has 1 words"):
        Analytical().layer(nest_layer(Loops(K=4, C=8), name="conv1"), target)


def test_an_unknown_objective_names_the_nearest():
    with pytest.raises(MappingError) as caught:
        Analytical(objective="enrgy")
    assert str(caught.value) == "unknown objective 'enrgy', did you mean 'energy'?"


def test_equal_packing_has_equal_mappings():
    # Five bits and a word of 16: three a word, as for no other width; 6, 7 and 8 bits are two a word.
    loops = Loops(K=16, C=12, P=7, Q=7, R=3, S=3, padding=(2, 2))
    texts = {
        bits: Analytical().layer(nest_layer(loops, weight_bits=bits, input_bits=8), eye16()).mapping
        for bits in (6, 7, 8)
    }
    assert len(set(texts.values())) == 1


def test_a_search_that_gives_up_says_how_far_the_best_may_be(monkeypatch, tmp_path):
    network, target = resolve("lenet5"), load_target("edge_npu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # such answers are not for others
    answers.forget()
    monkeypatch.setattr(mapper, "EFFORT", 1.0)
    estimator = Analytical(space=MapSpace(ragged=False))
    report = estimator.estimate(network, target)
    gaps = [layer.gap for layer in report.layers if layer.gap > 0]
    assert gaps
    assert report.to_json()["layers"][0]["gap"] == report.layers[0].gap
    assert report.warnings[-1] == (
        f"{len(gaps)} of {len(report.layers)} mappings are not proven to be the best: by their bounds they "
        f"may lie up to {max(gaps):.1%} above it"
    )
    # The bounds hold: what a whole search of the same space finds is not below them.
    monkeypatch.undo()
    answers.forget()
    whole = estimator
    for quick, best in zip(report.layers, whole.estimate(network, target).layers, strict=True):
        if best.gap == 0 and quick.macs:
            assert quick.cost.edp / (1 + quick.gap) <= best.cost.edp * (1 + 1e-9)


def test_a_chip_of_one_memory_unrolls_what_its_array_can():
    base = eye16(shared_file=True)
    one = replace(base, levels=base.levels[:1], arrays=(replace(base.arrays[0], below=base.levels[0].name),))
    found = Analytical().layer(nest_layer(Loops(K=4, C=3, P=5), weight_bits=16, input_bits=16), one)
    # All 60 multiply at once: 12 weights and 15 inputs in, 20 sums out.
    assert found.cost.dram_bits == (12 + 15 + 20) * 16
    assert found.latency_by_component_s["compute"] == 1


def test_half_of_a_double_buffered_memory_is_for_tiles_to_come():
    layer, target = nest_layer(Loops(K=4, C=4, P=4)), eye16(shared_file=True)
    inner = target.levels[-1]
    assert inner.size_bits is not None
    whole = replace(target, levels=(*target.levels[:-1], replace(inner, double_buffered=True)))
    half = replace(target, levels=(*target.levels[:-1], replace(inner, size_bits=inner.size_bits // 2)))
    assert Analytical().layer(layer, whole) == Analytical().layer(layer, half)
    assert whole.levels[-1].room_words == inner.size_bits // inner.word_bits // 2

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_walk import all_products, element_cycles, walk

from chipfit.cost.sparse.operands import operands
from chipfit.cost.sparse.work import Work, work_of
from chipfit.hardware.sparse import SparseArray, Structure
from chipfit.testing import nest_layer
from chipfit.workload.network import Loops
from chipfit.workload.zeros import Zeros, weight_shape


@st.composite
def nests(draw):
    """A small nest with strides, dilation, padding and groups, and the padding before it."""
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    outputs = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    hull = [
        (o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(outputs, stride, kernel, dilation, strict=True)
    ]
    padding = tuple(draw(st.integers(0, h - 1)) for h in hull)
    begin = tuple(draw(st.integers(0, p)) for p in padding)
    loops = Loops(
        N=draw(st.integers(1, 2)), G=draw(st.integers(1, 3)), K=draw(st.integers(1, 5)),
        C=draw(st.integers(1, 5)), P=outputs[0], Q=outputs[1], R=kernel[0], S=kernel[1],
        stride=stride, dilation=dilation, padding=padding,
    )  # fmt: skip
    return loops, begin


def drawn(loops, rng, runs=1, density=0.5, begin=None):
    """A layer of random masks: the layer, its zeros."""
    layer = nest_layer(loops)
    mask = rng.random((runs, *layer.inputs[0].shape)) < density
    weights = rng.random(weight_shape(layer)) < density
    begins = {} if begin is None else {layer.name: begin}
    return layer, Zeros(activations={layer.inputs[0].name: mask}, weights={layer.name: weights}, begin=begins)


def work(layer, zeros, rows=4, columns=3, **options) -> Work:
    assert layer.loops is not None
    return work_of(operands(layer, layer.loops, zeros), SparseArray(**options), rows, columns)


@settings(deadline=None)
@given(nests(), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_matched_pairs_equal_a_step_by_step_walk(nest, rows, columns, seed):
    loops, begin = nest
    layer, zeros = drawn(loops, np.random.default_rng(seed), runs=2, begin=begin)
    found = work(layer, zeros, rows, columns)
    mask = zeros.activations["layer.x"].reshape(-1, *zeros.activations["layer.x"].shape[2:])
    images = walk(mask, zeros.weights["layer"], loops, begin, rows, columns, fill=rows + columns - 2)
    # Runs are averaged, images of a batch follow each other.
    assert found.cycles == pytest.approx(sum(cycles for cycles, _ in images) / 2, rel=1e-12)
    expected = sum(elements for _, elements in images) / 2
    assert np.allclose(found.loads, expected, rtol=1e-12, atol=0)
    assert found.pairs == pytest.approx(expected.sum(), rel=1e-12)


@settings(deadline=None)
@given(nests(), st.integers(0, 2**32 - 1))
def test_cartesian_products_equal_a_walk_over_all_non_zeros(nest, seed):
    loops, begin = nest
    layer, zeros = drawn(loops, np.random.default_rng(seed), begin=begin)
    found = work(layer, zeros, pairs="cartesian")
    mask = zeros.activations["layer.x"][0]
    images = walk(mask, zeros.weights["layer"], loops, begin, 4, 3, fill=5, cycles_of=all_products)
    assert found.cycles == pytest.approx(sum(cycles for cycles, _ in images), rel=1e-12)
    assert work(layer, zeros).cartesian_cycles == pytest.approx(found.cycles, rel=1e-12)


@settings(deadline=None)
@given(nests(), st.integers(0, 2**32 - 1))
def test_cartesian_is_never_below_matched(nest, seed):
    layer, zeros = drawn(nest[0], np.random.default_rng(seed), begin=nest[1])
    found = work(layer, zeros)
    assert found.cartesian_cycles is not None
    assert found.cartesian_cycles >= found.cycles * (1 - 1e-12)


@pytest.mark.parametrize("rows", [8, 16])
def test_strips_add_up_to_the_whole(rows):
    loops = Loops(K=3, C=2, P=7, Q=5, R=3, S=3, padding=(2, 2))
    layer, zeros = drawn(loops, np.random.default_rng(1))
    cut, whole = work(layer, zeros, rows=rows, strips=True), work(layer, zeros, rows=rows)
    assert cut.pairs == whole.pairs
    assert cut.cycles < whole.cycles


def test_strips_are_what_each_walks_over_alone():
    # One channel, 4 rows of the array: output rows 0-1, 2-3, 4-5 and 6.
    loops = Loops(P=7, Q=5, R=3, S=3, padding=(2, 2))
    layer, zeros = drawn(loops, np.random.default_rng(1))
    plane, kernel = zeros.activations["layer.x"][0, 0, 0], zeros.weights["layer"][0, 0, 0]
    parts = [element_cycles(plane, kernel, loops, (1, 1), range(i, min(7, i + 2))) for i in (0, 2, 4, 6)]
    found = work(layer, zeros, strips=True, fill="none")
    assert [row[0] for row in found.loads] == parts
    assert found.cycles == max(parts)


def test_dense_layers_take_every_multiplication():
    loops = Loops(K=3, C=4, P=5, Q=5, R=3, S=3, padding=(2, 2))
    found = work(nest_layer(loops), Zeros(), fill="none")
    assert found.pairs == found.multiplications == loops.macs
    assert found.cycles == 25 * 9
    assert found.imbalance == 1.0


def test_all_zero_kernels_and_channels_take_no_time_but_filling():
    loops = Loops(K=3, C=4, P=5, Q=5, R=3, S=3, padding=(2, 2))
    layer = nest_layer(loops)
    nothing = Zeros(
        activations={"layer.x": np.zeros((1, 1, 4, 5, 5), bool)},
        weights={"layer": np.zeros((1, 3, 4, 3, 3), bool)},
    )
    found = work(layer, nothing)
    assert (found.cycles, found.pairs, found.imbalance) == (4 + 3 - 2, 0.0, 1.0)


def test_one_dead_channel_leaves_the_others_as_they_are():
    loops = Loops(K=2, C=3, P=4, Q=4)
    layer, zeros = drawn(loops, np.random.default_rng(2), density=0.9)
    before = np.array(work(layer, zeros).loads)
    zeros.activations["layer.x"][:, :, 1] = False
    after = np.array(work(layer, zeros).loads)
    assert (after[1] == 0).all()
    assert (after[[0, 2]] == before[[0, 2]]).all()


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        ((), 16 * 9),  # every place, every weight
        (("weight",), 16 * 2),  # two weights of nine
        (("input",), (3 + 4 + 3) ** 2),  # what meets the nine weights: three or four rows, and columns
    ],
)
def test_only_zeros_of_skipped_operands_save_time(skip, expected):
    loops = Loops(P=4, Q=4, R=3, S=3, padding=(2, 2))
    kernel = np.zeros((1, 1, 1, 3, 3), bool)
    kernel[..., 1, :2] = True
    zeros = Zeros(activations={"layer.x": np.ones((1, 1, 1, 4, 4), bool)}, weights={"layer": kernel})
    assert work(nest_layer(loops), zeros, skip=skip, fill="none").cycles == expected


def test_gating_saves_multiplications_but_no_time():
    loops = Loops(K=2, C=3, P=4, Q=4, R=3, S=3, padding=(2, 2))
    layer, zeros = drawn(loops, np.random.default_rng(4))
    gated = work(layer, zeros, skip=("weight",), gate=("input",))
    weights_only, both = work(layer, zeros, skip=("weight",)), work(layer, zeros)
    assert gated.cycles == weights_only.cycles
    assert gated.multiplications == pytest.approx(both.pairs)
    assert weights_only.multiplications == weights_only.pairs > both.pairs


def test_gating_of_fractions_is_expected_of_them():
    layer = nest_layer(Loops(K=2, C=3, P=4, Q=4))
    assert layer.weight is not None
    layer = replace(
        layer, inputs=(replace(layer.inputs[0], zeros=0.5),), weight=replace(layer.weight, zeros=0.75)
    )
    found = work(layer, Zeros(), skip=(), gate=("input", "weight"))
    assert found.multiplications == pytest.approx(96 / 8)
    assert found.pairs == 96


def test_elements_that_wait_for_nobody_take_as_long_as_the_busiest():
    loops = Loops(K=12, C=32, P=4, Q=4)
    layer, zeros = drawn(loops, np.random.default_rng(5))
    free = work(layer, zeros, passes="independent", fill="layer")
    assert free.cycles == np.array(free.loads).max() + 5
    assert free.cycles < work(layer, zeros, fill="layer").cycles


@pytest.mark.parametrize(("fill", "times"), [("pass", 4), ("layer", 1), ("none", 0)])
def test_filling_takes_time_as_often_as_is_said(fill, times):
    loops = Loops(K=6, C=8)  # 2 x 2 passes of 4 x 3 elements, one cycle each
    assert work(nest_layer(loops), Zeros(), fill=fill).cycles == 4 + times * 5


def test_clustering_shortens_passes_and_changes_no_pair():
    loops = Loops(K=3, C=8, P=4, Q=4)
    layer = nest_layer(loops)
    mask = np.zeros((1, 1, 8, 16), bool)
    for channel, count in enumerate((16, 1, 16, 1, 16, 1, 16, 1)):
        mask[0, 0, channel, :count] = True
    zeros = Zeros(activations={"layer.x": mask.reshape(1, 1, 8, 4, 4)})
    assert work(layer, zeros, fill="none").cycles == 16 + 16
    assert work(layer, zeros, fill="none", clustering=True).cycles == 16 + 1
    assert work(layer, zeros, clustering=True).pairs == work(layer, zeros).pairs


def test_a_row_of_several_channels_has_the_work_of_all():
    loops = Loops(K=2, C=6, P=2, Q=2)
    layer, zeros = drawn(loops, np.random.default_rng(6))
    single = np.array(work(layer, zeros, rows=6, columns=2).loads)
    three = np.array(work(layer, zeros, rows=2, columns=2, consecutive=3).loads)
    assert (three == single.reshape(2, 3, 2).sum(axis=1)).all()


class TestStructured:
    loops = Loops(K=2, C=8, P=4, Q=4)

    def cycles(self, weights, scope="layer", keep=2, rows=2, columns=2):
        layer = nest_layer(self.loops)
        structure = Structure(keep=keep, of=4, scope=scope)
        zeros = Zeros(weights={"layer": np.array(weights, bool).reshape(1, 2, 8, 1, 1)})
        found = work(layer, zeros, rows, columns, skip=("weight",), structure=structure, fill="none")
        return found.cycles

    def test_weights_that_keep_to_it_take_half_the_time(self):
        assert self.cycles([[1, 1, 0, 0, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0, 0, 0]]) == 16 * 2

    def test_a_layer_that_does_not_runs_dense(self):
        assert self.cycles([[1, 1, 1, 0, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0, 0, 0]]) == 16 * 4

    def test_each_output_may_have_its_own_count(self):
        weights = [[1, 1, 1, 0, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0, 0, 1]]
        assert self.cycles(weights, scope="output", keep=4) == 16 * 3  # the slowest of two columns
        assert self.cycles(weights, scope="output", keep=4, columns=1) == 16 * 3 + 16 * 1

    def test_unknown_weights_run_dense(self):
        structure = Structure(keep=2, of=4)
        found = work(
            nest_layer(self.loops), Zeros(), 2, 2, skip=("weight",), structure=structure, fill="none"
        )
        assert (found.cycles, found.pairs) == (16 * 4, self.loops.macs)


def test_random_half_sparse_kernels_keep_an_array_busy_for_three_fifths_of_the_time():
    # E[max of 32 binomials (9, 1/2)] = sum over j of 1 - F(j)^32 = 7.49; 4.5 / 7.49 = 0.60
    rng = np.random.default_rng(7)
    loops = Loops(K=32, C=3200, R=3, S=3)
    layer = nest_layer(loops)
    weights = rng.random((1, 32, 3200, 3, 3)) < 0.5
    found = work(layer, Zeros(weights={"layer": weights}), rows=1, columns=32, skip=("weight",), fill="none")
    assert found.pairs / (32 * found.cycles) == pytest.approx(4.5 / 7.49, abs=0.005)


def test_balanced_kernels_keep_it_busy_all_the_time():
    rng = np.random.default_rng(7)
    loops = Loops(K=32, C=32, R=3, S=3)
    weights = (rng.random((1024, 9)).argsort(axis=1) < 4).reshape(1, 32, 32, 3, 3)
    zeros = Zeros(weights={"layer": weights})
    found = work(nest_layer(loops), zeros, rows=32, columns=32, skip=("weight",), fill="none")
    assert found.pairs / (32 * 32 * found.cycles) == 1.0
    assert found.imbalance == 1.0

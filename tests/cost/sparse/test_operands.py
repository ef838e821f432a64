from dataclasses import replace

import numpy as np
import pytest

from chipfit.cost.sparse.operands import density_of, nonzeros_of, operands, taps_of
from chipfit.testing import nest_layer
from chipfit.workload.network import Layer, Loops, Tensor
from chipfit.workload.zeros import Zeros


def known(loops=None, tensor=None, zeros=None):
    layer = nest_layer(loops or Loops(C=2, P=2, Q=2))
    if tensor is not None:
        layer = replace(layer, inputs=(replace(layer.inputs[0], **tensor),))
    assert layer.loops is not None
    return operands(layer, layer.loops, zeros or Zeros())


def test_counts_come_before_fractions_and_channels_before_their_mean():
    tensor = {"zeros": 0.5, "zeros_by_channel": (0.25, 0.75)}
    assert nonzeros_of(known()).tolist() == [[4, 4]]
    assert nonzeros_of(known(tensor={"zeros": 0.5})).tolist() == [[2, 2]]
    assert nonzeros_of(known(tensor=tensor)).tolist() == [[3, 1]]
    counts = Zeros(channels={"layer.x": np.array([[1, 2], [4, 4]])})
    assert nonzeros_of(known(tensor=tensor, zeros=counts)).tolist() == [[1, 2], [4, 4]]


def test_fractions_do_not_count_padding_and_nothing_known_counts_all():
    loops = Loops(P=2, Q=2, R=3, S=3, padding=(2, 2))
    everything = taps_of(known(loops), skipped=True, strips=1)
    assert everything.sum() == 4 * 9
    # The four inputs meet nine taps 1 2 1 / 2 4 2 / 1 2 1 times.
    dense = taps_of(known(loops, {"zeros": 0.0}), skipped=True, strips=1)
    assert dense.sum() == 16
    assert taps_of(known(loops, {"zeros": 0.0}), skipped=False, strips=1).sum() == 36


def test_a_flattened_channel_is_as_many_inputs_as_it_has_elements():
    x = Tensor(name="x", shape=(1, 6), bits=8)
    w = Tensor(name="w", shape=(6, 1), bits=8, constant=True)
    y = Tensor(name="y", shape=(1, 1), bits=8)
    layer = Layer(name="fc", operator="Gemm", loops=Loops(C=6), inputs=(x,), weight=w, outputs=(y,))
    assert layer.loops is not None
    counts = Zeros(channels={"x": np.array([[3, 0]])})  # two channels of three elements
    assert nonzeros_of(operands(layer, layer.loops, counts)).tolist() == [[1, 1, 1, 0, 0, 0]]


def test_masks_in_an_order_that_is_not_known_count_by_their_mean():
    # A batched product: six inputs a row, of which the nest does not tell rows from terms.
    x = Tensor(name="x", shape=(2, 3, 4), bits=8)
    w = Tensor(name="w", shape=(2, 4, 5), bits=8)
    y = Tensor(name="y", shape=(2, 3, 5), bits=8)
    layer = Layer(
        name="qk", operator="MatMul", loops=Loops(G=2, P=3, C=4, K=5), inputs=(x,), weight=w, outputs=(y,)
    )
    assert layer.loops is not None
    mask = np.zeros((1, 2, 3, 4), bool)
    mask[0, 0] = True
    found = operands(layer, layer.loops, Zeros(activations={"x": mask}))
    assert found.mask is None
    assert found.density is not None
    assert found.density.tolist() == [[0.5] * 8]


@pytest.mark.parametrize(
    ("zeros", "expected"),
    [
        (Zeros(), 0.75),
        (Zeros(channels={"layer.x": np.array([[4, 0]])}), 0.5),
        (Zeros(activations={"layer.x": np.zeros((1, 1, 2, 2, 2), bool)}), 0.0),
    ],
)
def test_the_density_is_of_the_best_that_is_known(zeros, expected):
    layer = nest_layer(Loops(C=2, P=2, Q=2))
    assert density_of(replace(layer.inputs[0], zeros=0.25), zeros) == expected
    assert density_of(layer.inputs[0], Zeros()) is None

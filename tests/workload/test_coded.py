"""Weights as a lossless coder stores them."""

import json

import numpy as np
import pytest

from chipfit.testing import nest_layer
from chipfit.workload.coded import entropy_bits, rounded, with_coded_weights
from chipfit.workload.network import Loops, Network


def test_codes_of_one_value_take_nothing():
    assert entropy_bits(np.zeros(100, np.int64)) == 0.0


def test_all_codes_alike_take_their_whole_width():
    assert entropy_bits(np.arange(256)) == pytest.approx(8.0)


def test_each_output_channel_of_a_convolution_has_its_own_scale_and_a_matrix_one():
    values = np.array([[[[1.0, 0.5]]], [[[0.02, -0.01]]]])
    # 127 and 63.5, which rounds to even, in both channels
    assert rounded(values, 8).ravel().tolist() == [127, 64, 127, -64]
    # 0.02 * 127 = 2.54, 0.01 * 127 = 1.27
    assert rounded(values.reshape(2, 2), 8).ravel().tolist() == [127, 64, 3, -1]


def test_a_dead_channel_is_zero_and_whole_numbers_are_codes_already():
    values = np.array([[[[1.0, -1.0]]], [[[1e-30, -1e-30]]], [[[0.0, 0.0]]]])
    assert rounded(values, 4).ravel().tolist() == [7, -7, 0, 0, 0, 0]
    assert rounded(np.array([[3, -128]], np.int8), 8).tolist() == [[3, -128]]


def test_only_constants_whose_elements_are_given_get_stored_bits():
    network = Network(name="one", layers=(nest_layer(Loops(K=2, C=2, P=4, Q=4)),))
    weight = network.layers[0].weight
    assert weight is not None
    coded = with_coded_weights(network, {weight.name: np.array([[1.0, 1.0], [0.0, -1.0]])})
    # codes 127, 127, 0, -127: 1/2 * 1 + 1/4 * 2 + 1/4 * 2
    assert coded.layers[0].weight.stored_bits == 1.5
    assert coded.layers[0].inputs[0].stored_bits is None
    assert with_coded_weights(network, {}) == network
    assert Network.from_json(json.loads(json.dumps(coded.to_json()))) == coded
    # Another width has other codes.
    assert coded.with_bits(4, 8).layers[0].weight.stored_bits is None


def test_floating_point_weights_have_no_codes_until_a_width_is_stated():
    network = Network(name="one", layers=(nest_layer(Loops(K=2, C=2)),))
    floating = network.map_tensors(
        lambda t: type(t)(name=t.name, shape=t.shape, bits=32, floating=True, constant=t.constant)
    )
    weight = floating.layers[0].weight
    assert weight is not None
    assert with_coded_weights(floating, {weight.name: np.ones((2, 2))}) == floating

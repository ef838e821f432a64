"""Operand statistics of networks against a walk through every position."""

import itertools
import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from chipfit.cost.gates.measured import measure_operands
from chipfit.errors import NetworkError
from chipfit.workload.calibrate import network_inputs

BITS = 3


def model(nodes, shape, weights):
    """An ONNX model with one input x, output y."""
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def measured(proto, runs, *, signed=False):
    return measure_operands(
        proto, runs, weight_bits=BITS, activation_bits=BITS, activation_signed=signed,
        rng=np.random.default_rng(0),
    )  # fmt: skip


def walked(codes, kernel, positions):
    """Activation transitions and partial-sum transitions of every pair of successive positions.

    Args:
        codes: activations at (channel, row, column), padded.
        kernel: all weights at (kernel, channel, row, column); channels of one group.
        positions: first row and column of every output position in order.
    """
    counts, sums = np.zeros((1 << BITS, 1 << BITS)), set()
    kernels, channels, high, wide = kernel.shape
    per_group = kernels // (codes.shape[0] // channels)
    for (p0, q0), (p1, q1) in itertools.pairwise(positions):
        for k in range(kernels):
            before = after = 0
            for c in range(channels):
                for r in range(high):
                    for s in range(wide):
                        channel = k // per_group * channels + c
                        one, other = codes[channel, p0 + r, q0 + s], codes[channel, p1 + r, q1 + s]
                        counts[one, other] += 1
                        sums.add((before, after))
                        before += one * kernel[k, c, r, s]
                        after += other * kernel[k, c, r, s]
    return counts / counts.sum(), sums


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_is_walked_row_by_row(groups):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 8, (1, 2, 4, 3)).astype(np.float32)
    x[0, 0, 0, 0] = 7  # all eight codes: the scale is 1
    w = rng.integers(-3, 4, (2, 2 // groups, 2, 3)).astype(np.float32)
    w[:, 0, 0, 0] = 3
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], "conv", pads=[1, 0, 0, 1], strides=[1, 1], group=groups
    )
    (layer,) = measured(model([node], [1, 2, 4, 3], {"w": w}), [{"x": x}])
    padded = np.pad(x[0].astype(int), ((0, 0), (1, 0), (0, 1)))
    positions = [(p, q) for p in range(4) for q in range(2)]  # 5 - 2 + 1 rows, 4 - 3 + 1 columns
    activations, sums = walked(padded, w.astype(int), positions)
    assert layer.layer == "conv"
    assert layer.macs == 4 * 2 * w.size
    assert layer.statistics.activations == pytest.approx(activations, abs=0.01)
    assert set(map(tuple, layer.statistics.partial_sums.tolist())) == sums


def test_rows_of_a_matrix_follow_one_another():
    x = np.array([[0, 7], [1, 2], [3, 0]], np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    (layer,) = measured(model([node], [3, 2], {"w": np.array([[3.0], [1.0]], np.float32)}), [{"x": x}])
    expected = np.zeros((8, 8))
    for one, other in ((0, 1), (7, 2), (1, 3), (2, 0)):
        expected[one, other] = 0.25
    assert layer.statistics.activations == pytest.approx(expected, abs=0.03)
    sums = set(map(tuple, layer.statistics.partial_sums.tolist()))
    assert sums == {(0, 0), (0, 3), (3, 9)}  # before the first product, and after it with weight 3
    assert layer.layer == "y"
    assert layer.macs == 6


def test_negative_activations_get_a_zero_point_or_a_sign():
    x = np.array([[-2.0], [5.0], [0.0]], np.float32)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], "fc", transB=1)
    proto = model([node], [3, 1], {"w": np.array([[1.0]], np.float32)})
    # from -2 to 5 in steps of 1: codes 0, 7, 2
    found = measured(proto, [{"x": x}])[0].statistics.activations
    assert {tuple(pair) for pair in np.argwhere(found > 0).tolist()} == {(0, 7), (7, 2)}
    # 5 is 3: -2 is -1.2, rounded -1, which is 7 in three bits
    found = measured(proto, [{"x": x}], signed=True)[0].statistics.activations
    assert {tuple(pair) for pair in np.argwhere(found > 0).tolist()} == {(7, 3), (3, 0)}


def test_products_of_two_activations_are_left_out():
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"], "both")]
    runs = [{"x": np.full((2, 2), value, np.float32)} for value in (1, 2)]
    with pytest.raises(
        NetworkError, match=r"^'net' has no convolution or matrix product with constant weights$"
    ):
        measured(model(nodes, [2, 2], {}), runs)


def test_inputs_that_do_not_fit_are_refused():
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in (("x", "h"), ("h", "y"))]
    proto = model(nodes, [2, 2], {"w": np.ones((2, 2), np.float32)})
    with pytest.raises(NetworkError, match=r"^calibration needs at least one input$"):
        measured(proto, [])
    with pytest.raises(NetworkError, match=r"^calibration: ONNX Runtime does not run the network: "):
        measured(proto, [{"x": np.ones((3, 3), np.float32)}])


@pytest.mark.data
def test_a_real_network_is_measured_layer_by_layer(shared_data):
    path = shared_data / "onnx" / "mlperf_resnet8_cifar10.onnx"
    ((name, shape),) = network_inputs(path).items()
    rng = np.random.default_rng(0)
    runs = [{name: rng.uniform(0, 255, shape).astype(np.float32)} for _ in range(2)]
    found = measure_operands(path, runs, weight_bits=8, activation_bits=8, activation_signed=False, rng=rng)
    assert len(found) == 10  # 9 convolutions and the classifier
    assert sum(layer.macs for layer in found) == pytest.approx(2 * 12.5e6, rel=0.01)  # published: 12.5 M
    assert all(math.isclose(layer.statistics.activations.sum(), 1) for layer in found)

import itertools
import math

import numpy as np
import onnxruntime
import pytest
from graphs import model, node

from chipfit.workload.calibrate import calibrate, network_inputs, weight_masks
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.qonnx import in_standard_operators

DOMAIN = "qonnx.custom_op.general"
ROUND = {"ROUND": round, "CEIL": math.ceil, "FLOOR": math.floor}


def run(proto, **feeds):
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, feeds
    )[0]


def quantised(x, scale, zero, bits, signed, narrow, rounding):
    """One number after another, codes listed."""
    codes = range(-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1)) if signed else range(2**bits - narrow)
    found = []
    for value in x:
        scaled = value / scale + zero
        code = ROUND[rounding](min(max(scaled, codes[0]), codes[-1]))
        if bits == 1 and signed:
            code = 1 if scaled >= 0 else -1
        found.append((code - zero) * scale)
    return found


@pytest.mark.parametrize(
    ("signed", "narrow", "bits", "rounding", "opset"),
    [
        *itertools.product((0, 1), (0, 1), (2, 3, 8), ("ROUND",), (9, 18)),
        (1, 0, 4, "CEIL", 9),
        (0, 1, 4, "FLOOR", 18),
        (1, 0, 1, "ROUND", 18),
        (0, 0, 1, "ROUND", 18),
    ],
)
def test_a_quantiser_does_what_it_does_number_by_number(signed, narrow, bits, rounding, opset):
    # Multiples of a quarter of the scale: ties, and both ends of the codes, are among them.
    x = np.arange(-600, 601, dtype=np.float32) * np.float32(0.125)
    zero = 0 if signed else 2
    constants = {"s": np.float32(0.5), "z": np.float32(zero), "b": np.float32(bits)}
    quant = node("Quant", "x s z b", "y", domain=DOMAIN, signed=signed, narrow=narrow, rounding_mode=rounding)
    proto = model([quant], {"x": x.shape}, {"y": x.shape}, constants, opset=opset, domains=[DOMAIN])
    expected = quantised(x.tolist(), 0.5, zero, bits, signed, narrow, rounding)
    assert run(in_standard_operators(proto), x=x).tolist() == expected


def test_two_values_are_the_scale_and_its_negative():
    quant = node("BipolarQuant", "x s", "y", domain=DOMAIN)
    proto = model([quant], {"x": (3,)}, {"y": (3,)}, {"s": np.float32(0.5)}, domains=[DOMAIN])
    x = np.array([-2, 0, 3], np.float32)
    assert run(in_standard_operators(proto), x=x).tolist() == [-0.5, 0.5, 0.5]


def test_a_model_without_quantisers_is_returned_as_it_is():
    proto = model([node("Relu", "x", "y")], {"x": (3,)}, {"y": (3,)})
    assert in_standard_operators(proto) is proto


def test_a_way_to_round_that_is_not_known_leaves_the_quantiser():
    quant = node("Quant", "x s z b", "y", domain=DOMAIN, rounding_mode="STOCHASTIC")
    constants = {"s": np.float32(1), "z": np.float32(0), "b": np.float32(2)}
    proto = model([quant], {"x": (3,)}, {"y": (3,)}, constants, domains=[DOMAIN])
    assert in_standard_operators(proto) is proto


def product():
    """Two 2-bit weights of four round to zero; the activation is quantised as well."""
    nodes = [
        node("Quant", "x s zero bits", "a", domain=DOMAIN, signed=0),
        node("Quant", "w s zero bits", "v", domain=DOMAIN),
        node("MatMul", "a v", "y", "m"),
    ]
    constants = {
        "s": np.float32(1), "zero": np.float32(0), "bits": np.float32(2),
        "w": np.array([[0.4, 0.6], [-0.5, -3.0]], np.float32),
    }  # fmt: skip
    return model(nodes, {"x": (1, 2)}, {"y": (1, 2)}, constants, domains=[DOMAIN])


def test_quantised_weights_have_masks_of_what_is_left_of_them():
    proto = product()
    network = load_onnx(proto)
    # codes [[0, 1], [0, -2]] of inputs x outputs; masks lie as outputs x inputs
    assert weight_masks(proto, network).weights["m"][0, :, :, 0, 0].tolist() == [[False, False], [True, True]]


def test_quantised_activations_are_counted():
    proto = product()
    network = load_onnx(proto)
    runs = [{"x": np.array([[0.4, 2.0]], np.float32)}, {"x": np.array([[1.0, 2.0]], np.float32)}]
    assert calibrate(proto, network, runs).channels["a"].tolist() == [[0, 1], [1, 1]]


@pytest.mark.data
@pytest.mark.parametrize("name", ["TFC_2W2A", "kwsmlp_w3a3"])
def test_masks_of_trained_networks_have_the_zeros_that_the_importer_counts(name, shared_data):
    path = shared_data / "onnx" / f"{name}.onnx"
    network = load_onnx(path)
    masks = weight_masks(path, network).weights
    nests = [layer for layer in network.layers if layer.loops is not None]
    assert [1 - masks[layer.name].mean() for layer in nests] == [layer.weight.zeros for layer in nests]
    rng = np.random.default_rng(0)
    runs = [{key: rng.random(shape, np.float32) for key, shape in network_inputs(path).items()}]
    counts = calibrate(path, network, runs).channels
    assert all(counts[layer.inputs[0].name].sum() > 0 for layer in nests[1:])

"""The importer, operator by operator with numbers worked by hand, and on whole graphs."""

import re
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import model, node, ones
from independent_count import count
from onnx import TensorProto, helper

from chipfit.errors import NetworkError
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.network import Network

QDQ = {"s": np.float32(0.1), "z": np.int8(0)}
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def layer(network, name=None):
    nests = [found for found in network.layers if found.loops]
    return next(found for found in nests if found.name == name) if name else nests[0]


def bounds(network, name=None):
    return layer(network, name).loops.bounds


# Whole graphs, against an independent count


@pytest.mark.parametrize("path", sorted(LIGHT.glob("light_*.onnx")), ids=lambda path: path.stem)
def test_counts_of_graphs_in_the_onnx_wheel_equal_an_independent_count(path):
    network = load_onnx(path)
    assert (network.macs, network.parameters) == count(onnx.load(path))
    assert network.warnings == ()


SHARED = {
    "TFC_2W2A": ({}, {"run": True}),
    "basic_pitch_nmp": ({"serving_default_input_2:0": (1, 43844, 1)}, {}),
    "ch_ppocr_mobile_v2.0_cls_mobile": ({"x": (1, 3, 48, 192)}, {"run": True}),
    "kwsmlp_w3a3": ({}, {}),
    "mlperf_autoencoder_ad": ({}, {}),
    "mlperf_mobilenetv1_025_vww": ({}, {}),
    "mlperf_resnet8_cifar10": ({}, {}),
    "silero_vad_op18_ifless": ({"input": (1, 576)}, {"run": True, "branch": "then_branch"}),
}


@pytest.mark.data
@pytest.mark.parametrize("name", SHARED)
def test_counts_of_trained_graphs_equal_an_independent_count(shared_data, name):
    shapes, how = SHARED[name]
    path = shared_data / "onnx" / f"{name}.onnx"
    network = load_onnx(path, shapes=shapes)
    if "state" in {i.name for i in onnx.load(path).graph.input}:
        shapes = {**shapes, "state": (2, 1, 128)}
    assert (network.macs, network.parameters) == count(onnx.load(path), shapes, **how)


#: Published (macs, parameters), rounded as published; ours must round to the same.
PUBLISHED = {
    "light_bvlc_alexnet": (None, 61.0e6),  # Krizhevsky 2012: 60 million; Sze 2017, table II: 61M
    "light_resnet50": (4.09e9, 25.6e6),  # torchvision, ResNet50_Weights: 4.09 GFLOPS, 25557032
    "light_squeezenet": (0.35e9, 1.24e6),  # torchvision, SqueezeNet1_1: 0.35 GFLOPS, 1235496
    "light_vgg19": (19.6e9, 143.7e6),  # torchvision, VGG19_Weights: 19.63 GFLOPS, 143667240
    "light_densenet121": (2.83e9, None),  # torchvision, DenseNet121_Weights: 2.83 GFLOPS
    "light_inception_v1": (1.43e9, 7.0e6),  # Sze 2017, table II: GoogLeNet v1, 1.43G MACs, 7M weights
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_of_graphs_equal_published_figures(name):
    network = load_onnx(LIGHT / f"{name}.onnx")
    macs, parameters = PUBLISHED[name]
    if macs:
        assert network.macs == pytest.approx(macs, rel=5e-3)
    if parameters:
        assert network.parameters == pytest.approx(parameters, rel=5e-3)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        # facts table: 12.5 M MAC, 77.7 k; 7.49 M, 211 k; 0.264 M, 266 k
        ("mlperf_resnet8_cifar10", 12.5e6, 77.7e3),
        ("mlperf_mobilenetv1_025_vww", 7.49e6, 211e3),
        ("mlperf_autoencoder_ad", 0.264e6, 266e3),
    ],
)
def test_counts_of_trained_graphs_equal_published_figures(shared_data, name, macs, parameters):
    network = load_onnx(shared_data / "onnx" / f"{name}.onnx")
    assert network.macs == pytest.approx(macs, rel=2e-3)
    assert network.parameters == pytest.approx(parameters, rel=1e-3)


@pytest.mark.parametrize("path", sorted(LIGHT.glob("light_*.onnx")), ids=lambda path: path.stem)
def test_every_nest_agrees_with_its_tensors(path):
    for found in load_onnx(path).layers:
        if found.loops:
            assert found.loops.output_elements == found.outputs[0].elements
            assert found.loops.weight_elements == found.weight.elements
            assert found.loops.input_elements <= found.inputs[0].elements


def test_fusing_changes_neither_multiplies_nor_parameters():
    path = LIGHT / "light_shufflenet.onnx"
    fused, plain = load_onnx(path), load_onnx(path, fuse=False)
    assert (fused.macs, fused.parameters) == (plain.macs, plain.parameters)
    assert len(fused.layers) < len(plain.layers)
    assert not any(found.fused for found in plain.layers)


def test_a_graph_of_a_hundred_nodes_takes_less_than_a_second():
    path = LIGHT / "light_resnet50.onnx"  # 415 nodes
    begin = time.process_time()
    load_onnx(path)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("path", sorted(LIGHT.glob("light_*.onnx"))[:3], ids=lambda path: path.stem)
def test_imported_networks_survive_json(path):
    network = load_onnx(path)
    assert Network.from_json(network.to_json()) == network


# Convolutions


def conv(x, w, y, **attributes):
    return model([node("Conv", "x w", "y", "n", **attributes)], {"x": x}, {"y": y}, {"w": ones(*w)})


def test_a_strided_padded_convolution():
    network = load_onnx(conv((1, 3, 32, 32), (16, 3, 3, 3), (1, 16, 16, 16), strides=[2, 2], pads=[1] * 4))
    loops = layer(network).loops
    assert loops.bounds == (1, 1, 16, 3, 16, 16, 3, 3)
    assert loops.padding == (1, 1)  # rows -1, 1, ... 29 and two more: -1 .. 31; row 32 is not touched
    assert (loops.input_rows, loops.input_columns) == (32, 32)


def test_padding_of_same_upper_lies_at_the_end():
    network = load_onnx(
        conv((1, 3, 32, 32), (16, 3, 3, 3), (1, 16, 16, 16), strides=[2, 2], auto_pad="SAME_UPPER")
    )
    assert layer(network).loops.padding == (1, 1)  # 15*2 + 3 = 33 rows of 32


def test_a_depthwise_convolution_with_multiplier_has_its_channels_as_groups():
    network = load_onnx(conv((1, 8, 10, 10), (16, 1, 3, 3), (1, 16, 8, 8), group=8))
    assert bounds(network) == (1, 8, 2, 1, 8, 8, 3, 3)


def test_a_grouped_dilated_convolution():
    network = load_onnx(conv((2, 8, 9, 9), (4, 4, 3, 3), (2, 4, 5, 5), group=2, dilations=[2, 2]))
    assert bounds(network) == (2, 2, 2, 4, 5, 5, 3, 3)
    assert layer(network).loops.input_rows == 9


def test_a_convolution_of_one_dimension_runs_along_rows():
    network = load_onnx(conv((1, 4, 100), (8, 4, 5), (1, 8, 48), strides=[2]))
    assert bounds(network) == (1, 1, 8, 4, 48, 1, 5, 1)
    assert layer(network).loops.stride == (2, 1)


def test_a_convolution_of_three_dimensions_is_counted_with_a_warning():
    network = load_onnx(conv((1, 2, 8, 8, 8), (4, 2, 3, 3, 3), (1, 4, 6, 6, 6)))
    assert network.macs == 4 * 6**3 * 2 * 3**3
    assert bounds(network) == (6, 1, 4, 6, 6, 6, 3, 3)
    assert network.warnings == (
        "node 'n' (Conv): depth is taken into batch and channels; input counted once a kernel slice",
    )


def test_channels_that_do_not_fit_are_named():
    with pytest.raises(NetworkError) as error:
        load_onnx(conv((1, 3, 32, 32), (16, 4, 3, 3), (1, 16, 30, 30)))
    assert str(error.value) == (
        "the model: node 'n' (Conv): 3 input channels and 16 output channels do not fit weights of "
        "4 channels in 1 groups"
    )


def transposed(w, strides, y, **attributes):
    nodes = [node("ConvTranspose", "x w", "y", "n", strides=strides, **attributes)]
    return model(nodes, {"x": (1, 8, 5, 5)}, {"y": y}, {"w": ones(*w)})


def test_a_transposed_convolution_in_sub_pixel_form():
    network = load_onnx(transposed((8, 3, 4, 4), [2, 2], (1, 3, 10, 10), pads=[1] * 4))
    assert bounds(network) == (1, 1, 3 * 4, 8, 5, 5, 2, 2)
    assert network.macs == 5 * 5 * 8 * 3 * 4 * 4
    assert layer(network).loops.input_rows == 5


def test_a_transposed_convolution_with_an_odd_kernel_is_a_matrix_product():
    network = load_onnx(transposed((8, 3, 3, 3), [2, 2], (1, 3, 11, 11)))
    assert bounds(network) == (1, 1, 3 * 9, 8, 5, 5, 1, 1)
    assert network.macs == 5 * 5 * 8 * 3 * 3 * 3


# Matrix products


def product(a, b, y, constant="b", operator="MatMul", **attributes):
    shapes = {"a": a, "b": b}
    inputs = {key: shape for key, shape in shapes.items() if key not in constant}
    constants = {key: ones(*shapes[key]) for key in constant}
    return model([node(operator, "a b", "y", "n", **attributes)], inputs, {"y": y}, constants)


@pytest.mark.parametrize(
    ("a", "b", "y", "constant", "expected"),
    [
        ((2, 5, 8), (8, 4), (2, 5, 4), "b", (1, 1, 4, 8, 10, 1, 1, 1)),  # batch becomes rows
        ((2, 5, 8), (8, 4), (2, 5, 4), "", (1, 1, 4, 8, 10, 1, 1, 1)),
        ((2, 3, 5, 8), (2, 3, 8, 4), (2, 3, 5, 4), "", (1, 6, 4, 8, 5, 1, 1, 1)),  # attention
        ((2, 3, 5, 8), (1, 3, 8, 4), (2, 3, 5, 4), "", (1, 3, 4, 8, 10, 1, 1, 1)),
        ((5, 8), (3, 8, 4), (3, 5, 4), "", (1, 1, 12, 8, 5, 1, 1, 1)),  # batch of weights: columns
        ((6, 8), (8, 4), (6, 4), "a", (1, 1, 6, 8, 4, 1, 1, 1)),  # the constant is the weight
        ((8,), (8, 4), (4,), "b", (1, 1, 4, 8, 1, 1, 1, 1)),
        ((5, 8), (8,), (5,), "b", (1, 1, 1, 8, 5, 1, 1, 1)),
    ],
)
def test_matrix_products(a, b, y, constant, expected):
    network = load_onnx(product(a, b, y, constant))
    assert bounds(network) == expected
    assert layer(network).weight.constant == bool(constant)
    assert layer(network).weight.name == ("a" if constant == "a" else "b")


def test_gemm_transposes_and_counts_its_bias():
    nodes = [node("Gemm", "x w c", "y", "n", transB=1)]
    network = load_onnx(
        model(nodes, {"x": (3, 8)}, {"y": (3, 5)}, {"w": ones(5, 8), "c": ones(5)}),
    )
    assert bounds(network) == (1, 1, 5, 8, 3, 1, 1, 1)
    assert network.parameters == 5 * 8 + 5


def test_einsum_of_two_operands_is_a_product():
    network = load_onnx(
        product((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 5, 7), "", "Einsum", equation="bhqd,bhkd->bhqk")
    )
    assert bounds(network) == (1, 6, 7, 8, 5, 1, 1, 1)


def test_einsum_that_is_no_product_is_traffic_with_a_warning():
    network = load_onnx(product((4, 4), (4,), (4,), "", "Einsum", equation="ii,i->i"))
    assert network.macs == 0
    assert network.warnings == (
        "node 'n' (Einsum): 'ii,i->i' does not fit operands of shapes (4, 4) and (4,): "
        "counted as traffic only",
    )


def test_integer_operators_state_their_widths():
    nodes = [
        node("QLinearConv", "x s z w s z s z", "y", "n"),
        node("MatMulInteger", "a v", "b", "m"),
    ]
    constants = {
        **QDQ, "w": ones(4, 3, 1, 1, dtype=np.int8), "v": ones(8, 2, dtype=np.int8),
    }  # fmt: skip
    inputs, outputs = {"x": (1, 3, 2, 2), "a": (5, 8)}, {"y": (1, 4, 2, 2), "b": (5, 2)}
    types = dict.fromkeys("xya", TensorProto.INT8) | {"b": TensorProto.INT32}
    network = load_onnx(model(nodes, inputs, outputs, constants, types=types))
    first, second = network.layers
    assert (first.input_bits, first.weight_bits, first.output_bits) == (8, 8, 8)
    assert (second.input_bits, second.weight_bits, second.output_bits) == (8, 8, 32)
    assert network.macs == 4 * 4 * 3 + 5 * 8 * 2
    assert network.parameters == 12 + 16


def test_products_of_onnx_runtime_are_known():
    nodes = [
        node("FusedMatMul", "a w", "b", "f", domain="com.microsoft", transB=1),
        node("FusedConv", "x v", "y", "c", domain="com.microsoft", kernel_shape=[3, 3]),
    ]
    info = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6))]
    network = load_onnx(
        model(
            nodes, {"a": (5, 8), "x": (1, 3, 8, 8)}, {"b": (5, 2), "y": (1, 4, 6, 6)},
            {"w": ones(2, 8), "v": ones(4, 3, 3, 3)}, value_info=info, domains=["com.microsoft"],
        )
    )  # fmt: skip
    assert [found.macs for found in network.layers] == [5 * 8 * 2, 4 * 36 * 27]
    assert network.warnings == ()


# Recurrent layers


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_recurrent_layer_is_its_two_products_and_a_cell(operator, gates):
    # 7 steps, batch 2, 5 features, 3 hidden, both directions
    nodes = [node(operator, "x w r b", "y", "n", hidden_size=3, direction="bidirectional")]
    constants = {"w": ones(2, 3 * gates, 5), "r": ones(2, 3 * gates, 3), "b": ones(2, 6 * gates)}
    network = load_onnx(model(nodes, {"x": (7, 2, 5)}, {"y": (7, 2, 2, 3)}, constants))
    assert [found.name for found in network.layers] == ["n.input", "n.recurrent", "n.cell"]
    assert bounds(network, "n.input") == (1, 1, 2 * 3 * gates, 5, 14, 1, 1, 1)
    assert bounds(network, "n.recurrent") == (7, 2, 3 * gates, 3, 2, 1, 1, 1)
    assert network.macs == 7 * 2 * 2 * gates * 3 * (5 + 3)
    assert network.parameters == 2 * gates * 3 * (5 + 3 + 2)


# Free layers, traffic and fusion


def test_reshapes_and_trivial_transposes_are_free():
    nodes = [
        node("Reshape", "x s", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1]),  # (1, 8, 1) -> (1, 1, 8)
        node("Squeeze", "b", "c"),
        node("Relu", "c", "y", "r"),
    ]
    network = load_onnx(model(nodes, {"x": (2, 4)}, {"y": (8,)}, {"s": np.array([1, 8, 1])}))
    assert [found.name for found in network.layers] == ["r"]
    assert network.layers[0].inputs[0].name == "x"


def test_shape_arithmetic_vanishes():
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s i", "n"),
        node("Unsqueeze", "n z", "u"),
        node("Concat", "u m", "t", axis=0),
        node("Reshape", "x t", "f"),
        node("MatMul", "f w", "y", "n"),
    ]
    constants = {"i": np.int64(0), "z": np.array([0]), "m": np.array([-1]), "w": ones(48, 10)}
    network = load_onnx(
        model(nodes, {"x": ("batch", 3, 4, 4)}, {"y": ("batch", 10)}, constants), shapes={"x": (2, 3, 4, 4)}
    )
    assert len(network.layers) == 1
    assert bounds(network) == (1, 1, 10, 48, 2, 1, 1, 1)


def test_slices_and_gathers_read_what_they_return():
    nodes = [node("Slice", "x b e a", "s", "slice"), node("Gather", "s i", "y", "gather", axis=1)]
    constants = {"b": np.array([0]), "e": np.array([4]), "a": np.array([1]), "i": np.array([1, 3])}
    network = load_onnx(model(nodes, {"x": (2, 10)}, {"y": (2, 2)}, constants))
    assert [found.inputs[0].elements for found in network.layers] == [8, 4]
    assert network.peak_activation_bits == (8 + 8) * 32  # during the slice: what it reads and returns


def test_an_embedding_is_stored_whole_and_read_in_part():
    nodes = [node("Gather", "t i", "y", "g")]
    network = load_onnx(
        model(nodes, {"i": (1, 6)}, {"y": (1, 6, 16)}, {"t": ones(1000, 16)}, types={"i": TensorProto.INT64})
    )
    (found,) = network.layers
    assert [(t.name, t.elements) for t in found.inputs] == [("t", 96), ("i", 6)]
    assert network.parameters == 16000
    assert network.weight_memory_bits == 16000 * 32


def residual(*extra, outputs=None):
    """conv - relu - conv - add with the input of the first, then what is given."""
    nodes = [
        node("Conv", "x w1", "a", "c1", pads=[1] * 4),
        node("Relu", "a", "b"),
        node("Conv", "b w2", "c", "c2", pads=[1] * 4),
        node("Add", "c x", "d"),
        node("Relu", "d", "y"),
        *extra,
    ]
    shape = (1, 4, 8, 8)
    return model(
        nodes, {"x": shape}, outputs or {"y": shape}, {"w1": ones(4, 4, 3, 3), "w2": ones(4, 4, 3, 3)}
    )


def test_elementwise_layers_join_the_nest_before_them():
    first, second = load_onnx(residual()).layers
    assert first.fused == ("Relu",)
    assert second.fused == ("Add", "Relu")
    assert [t.name for t in second.inputs] == ["b", "x"]
    assert [t.name for t in second.outputs] == ["y"]


def test_the_peak_of_a_residual_block_has_its_shortcut():
    # During c2: b (read), x (read by the addition) and y: 3 tensors of 4*8*8 elements of 32 bits.
    assert load_onnx(residual()).peak_activation_bits == 3 * 256 * 32


def test_an_addition_waits_in_the_nest_for_its_other_operand():
    nodes = [
        node("Conv", "x w1", "a", "c1"),
        node("MaxPool", "x", "b", "p", kernel_shape=[1, 1]),
        node("Add", "a b", "y", "add"),
    ]
    shape = (1, 4, 8, 8)
    network = load_onnx(model(nodes, {"x": shape}, {"y": shape}, {"w1": ones(4, 4, 1, 1)}))
    assert [found.name for found in network.layers] == ["p", "c1"]
    assert [t.name for t in network.layers[1].inputs] == ["x", "b"]


def test_a_tensor_with_another_reader_is_not_fused_away():
    extra = node("MaxPool", "c", "z", "p", kernel_shape=[1, 1])
    shape = (1, 4, 8, 8)
    network = load_onnx(residual(extra, outputs={"y": shape, "z": shape}))
    assert [found.operator for found in network.layers] == ["Conv", "Conv", "Add", "Relu", "MaxPool"]


def test_an_output_of_the_network_is_not_fused_away():
    shape = (1, 4, 8, 8)
    network = load_onnx(residual(outputs={"y": shape, "c": shape}))
    assert [found.operator for found in network.layers] == ["Conv", "Conv", "Add", "Relu"]


def test_an_operand_that_is_broadcast_is_not_the_nest_that_takes_in_the_product():
    nodes = [
        node("GlobalAveragePool", "x", "g", "pool"),
        node("Conv", "g w", "s", "gate"),
        node("Mul", "x s", "y", "mul"),
    ]
    network = load_onnx(model(nodes, {"x": (1, 4, 8, 8)}, {"y": (1, 4, 8, 8)}, {"w": ones(4, 4, 1, 1)}))
    assert [found.operator for found in network.layers] == ["GlobalAveragePool", "Conv", "Mul"]


def test_normalisation_counts_scale_and_shift_but_no_running_statistics():
    nodes = [node("Conv", "x w", "a", "c"), node("BatchNormalization", "a g b m v", "y")]
    constants = {"w": ones(8, 3, 1, 1), **{key: ones(8) for key in "gbmv"}}
    network = load_onnx(model(nodes, {"x": (1, 3, 2, 2)}, {"y": (1, 8, 2, 2)}, constants))
    assert network.layers[0].fused == ("BatchNormalization",)
    assert network.parameters == 24 + 16


def test_shared_weights_count_once():
    nodes = [node("MatMul", "x w", "a", "m1"), node("MatMul", "a w", "y", "m2")]
    network = load_onnx(model(nodes, {"x": (1, 8)}, {"y": (1, 8)}, {"w": ones(8, 8)}))
    assert [found.parameters for found in network.layers] == [64, 0]
    assert network.weight_memory_bits == 64 * 32


def test_weights_name_layers_after_torch_modules():
    nodes = [
        node("Conv", "x layer1.0.conv.weight", "a", "node_1"),
        node("Transpose", "head.parametrizations.weight.original", "t", perm=[1, 0]),
        node("Reshape", "a s", "f"),
        node("MatMul", "f t", "y", "node_2"),
    ]
    constants = {
        "layer1.0.conv.weight": ones(4, 3, 1, 1),
        "head.parametrizations.weight.original": ones(10, 16),
        "s": np.array([1, 16]),
    }
    network = load_onnx(model(nodes, {"x": (1, 3, 2, 2)}, {"y": (1, 10)}, constants))
    assert [found.name for found in network.layers] == ["layer1.0.conv", "head"]


def test_unknown_operators_are_traffic_and_named():
    nodes = [
        node("Magic", "x", "a", "m1", domain="my.domain"),
        node("Magic", "a", "y", "m2", domain="my.domain"),
    ]
    network = load_onnx(model(nodes, {"x": (1, 8)}, {"y": (1, 8)}, domains=["my.domain"]))
    assert len(network.layers) == 2
    assert network.warnings == (
        "node 'm1' (Magic): the shape of 'a' is not stated in the file and is taken to be that of its first "
        "input, (1, 8)",
        "operator my.domain::Magic is not known: counted as traffic only (2 nodes: m1, m2)",
    )


def test_standard_operators_that_multiply_unseen_are_named():
    nodes = [node("GridSample", "x g", "y", "n")]
    network = load_onnx(model(nodes, {"x": (1, 2, 4, 4), "g": (1, 4, 4, 2)}, {"y": (1, 2, 4, 4)}))
    assert network.warnings == ("operator GridSample is not known: counted as traffic only (1 node: n)",)


# Widths


def test_a_quantised_convolution_states_eight_bits():
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "w s z", "wd"),
        node("Conv", "xd wd", "a", "c"),
        node("Relu", "a", "b"),
        node("QuantizeLinear", "b s z", "bq"),
        node("DequantizeLinear", "bq s z", "y"),
    ]
    codes = np.array([0, 1, 0, 2] * 3, np.int8).reshape(4, 3, 1, 1)
    (found,) = load_onnx(model(nodes, {"x": (1, 3, 2, 2)}, {"y": (1, 4, 2, 2)}, {**QDQ, "w": codes})).layers
    assert (found.input_bits, found.weight_bits, found.output_bits) == (8, 8, 8)
    assert (found.inputs[0].name, found.weight.name, found.outputs[0].name) == ("xq", "w", "bq")
    assert not found.inputs[0].floating
    assert found.weight.zeros == 0.5
    assert found.fused == ("Relu",)


def test_the_property_on_a_quantiser_overrides_its_type_and_takes_in_the_clip():
    four = {"chipfit.bits": "4"}
    nodes = [
        node("Relu", "x", "a", "r"),
        node("Clip", "a low high", "b"),
        node("QuantizeLinear", "b s z", "q", metadata=four),
        node("DequantizeLinear", "q s z", "d", metadata=four),
        node("DequantizeLinear", "w s z", "v", metadata={"chipfit.bits": "3"}),
        node("MatMul", "d v", "y", "m"),
    ]
    constants = {**QDQ, "low": np.float32(0), "high": np.float32(1.5), "w": ones(8, 2, dtype=np.int8)}
    first, second = load_onnx(model(nodes, {"x": (1, 8)}, {"y": (1, 2)}, constants)).layers
    assert [(t.name, t.bits) for t in first.outputs] == [("q", 4)]
    assert (second.input_bits, second.weight_bits) == (4, 3)


def test_each_width_that_somebody_reads_is_stored_once():
    nodes = [
        node("Relu", "x", "a", "r"),
        *(
            n
            for key in ("1", "2")
            for n in (
                node("QuantizeLinear", "a s z", f"q{key}"),
                node("DequantizeLinear", f"q{key} s z", f"d{key}"),
                node("MatMul", f"d{key} w", f"y{key}", f"m{key}"),
            )
        ),
        node("MatMul", "a w", "y3", "m3"),
    ]
    outputs = {f"y{key}": (1, 2) for key in "123"}
    network = load_onnx(model(nodes, {"x": (1, 8)}, outputs, {**QDQ, "w": ones(8, 2)}))
    first, one, two, three = network.layers
    assert [(t.name, t.bits, t.floating) for t in first.outputs] == [("q1", 8, False), ("a", 32, True)]
    assert (one.inputs, two.inputs[0].name, three.inputs[0].name) == (two.inputs, "q1", "a")


def test_what_only_moves_values_keeps_their_width():
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("MaxPool", "d", "a", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "a", "b", "move", perm=[0, 2, 3, 1]),
        node("QuantizeLinear", "b s z", "r"),
        node("DequantizeLinear", "r s z", "e"),
        node("Softmax", "e", "y", "soft"),
    ]
    network = load_onnx(model(nodes, {"x": (1, 2, 4, 4)}, {"y": (1, 2, 2, 2)}, QDQ))
    assert [found.input_bits for found in network.layers] == [8, 8, 8]
    assert [(t.name, t.bits) for found in network.layers for t in found.outputs] == [
        ("a", 8), ("b", 8), ("y", 32),
    ]  # fmt: skip


def test_weights_quantised_in_the_graph_state_their_zeros():
    nodes = [
        node("QuantizeLinear", "w s z", "q", axis=0),
        node("DequantizeLinear", "q s z", "v", axis=0),
        node("MatMul", "x v", "y", "m"),
    ]
    w = np.array([[0.4, 0.6], [4.0, 6.0]], np.float32)  # / [1, 10] rounds to 0 1 / 0 1
    constants = {"w": w, "s": np.array([1, 10], np.float32), "z": np.zeros(2, np.int8)}
    (found,) = load_onnx(model(nodes, {"x": (1, 2)}, {"y": (1, 2)}, constants)).layers
    assert (found.weight.bits, found.weight.zeros) == (8, 0.5)


@pytest.mark.parametrize("domain", ["qonnx.custom_op.general", "onnx.brevitas"])
def test_qonnx_quantisers_state_any_width(domain):
    nodes = [
        node("Quant", "x s zero three", "a", domain=domain),
        node("BipolarQuant", "w s", "v", domain=domain),
        node("MatMul", "a v", "b", "m"),
        node("Quant", "b s zero bits", "y", domain=domain),
    ]
    constants = {
        "s": np.float32(1), "zero": np.float32(0), "three": np.float32(3), "bits": np.float32(4.5),
        "w": ones(8, 2),
    }  # fmt: skip
    (found,) = load_onnx(model(nodes, {"x": (1, 8)}, {"y": (1, 2)}, constants, domains=[domain])).layers
    assert (found.input_bits, found.weight_bits, found.output_bits) == (3, 1, 5)


def test_a_width_that_is_no_number_is_named():
    nodes = [
        node("QuantizeLinear", "x s z", "q", "quantize", metadata={"chipfit.bits": "four"}),
        node("DequantizeLinear", "q s z", "y"),
    ]
    with pytest.raises(NetworkError) as error:
        load_onnx(model(nodes, {"x": (1, 8)}, {"y": (1, 8)}, QDQ))
    assert str(error.value) == (
        "the model: node 'quantize' (QuantizeLinear): chipfit.bits must be an integer in 1..64, got 'four'"
    )


@pytest.mark.data
def test_trained_qonnx_graphs_have_their_published_widths(shared_data):
    network = load_onnx(shared_data / "onnx" / "kwsmlp_w3a3.onnx")  # 3-bit weights, 3-bit activations
    assert [found.weight_bits for found in network.layers] == [3, 3, 3, 3]
    assert [found.input_bits for found in network.layers][1:] == [3, 3, 3]
    network = load_onnx(shared_data / "onnx" / "TFC_2W2A.onnx")  # 2 and 2
    nests = [found for found in network.layers if found.loops]
    assert [found.weight_bits for found in nests] == [2, 2, 2, 2]
    assert [found.input_bits for found in nests] == [2, 2, 2, 2]


# Control flow


def branches(condition_constant):
    def branch(name, weight):
        return helper.make_graph(
            [node("MatMul", f"x {weight}", f"{name}_y", f"{name}_m")],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)],
        )

    nodes = [
        node("If", "c", "t", "if", then_branch=branch("small", "w"), else_branch=branch("large", "v")),
        node("Relu", "t", "y"),
    ]
    inputs = {"x": (1, 8)} | ({} if condition_constant else {"c": ()})
    constants = {"w": ones(8, 2), "v": ones(8, 20)} | ({"c": np.array(True)} if condition_constant else {})
    return model(nodes, inputs, {"y": ("n", "m")}, constants, types={"c": TensorProto.BOOL})


def test_a_branch_that_is_known_is_taken():
    network = load_onnx(branches(True))
    assert (network.macs, network.warnings) == (16, ())


def test_of_unknown_branches_the_larger_is_counted_with_a_warning():
    network = load_onnx(branches(False))
    assert network.macs == 160
    assert network.parameters == 160
    assert network.warnings == (
        "node 'if' (If): its condition depends on the input; counted is else_branch, which multiplies more",
    )


def loop(trips):
    body = helper.make_graph(
        [node("MatMul", "h w", "g", "m"), node("Identity", "go", "on")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("g", TensorProto.FLOAT, None),
        ],
    )
    constants = {"w": ones(8, 8), "true": np.array(True)} | ({"n": np.int64(trips)} if trips else {})
    inputs = {"x": (1, 8)} | ({} if trips else {"n": ()})
    nodes = [node("Loop", "n true x", "y", "loop", body=body)]
    return model(nodes, inputs, {"y": (1, 8)}, constants, types={"n": TensorProto.INT64})


def test_a_loop_is_unrolled():
    network = load_onnx(loop(5))
    assert [found.name for found in network.layers] == ["m", "m_2", "m_3", "m_4", "m_5"]
    assert network.macs == 5 * 64
    assert network.parameters == 64
    assert network.warnings == ()


def test_a_loop_of_unknown_length_is_counted_once_with_a_warning():
    network = load_onnx(loop(None))
    assert network.macs == 64
    assert network.warnings == ("node 'loop' (Loop): its number of iterations is not known; counted once",)


def test_a_scan_is_unrolled():
    body = helper.make_graph(
        [node("MatMul", "h w", "g", "m"), node("Add", "g s", "k")],
        "body",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 8)) for n in "hs"],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 8)) for n in "kg"],
    )
    nodes = [node("Scan", "x seq", "y out", "scan", body=body, num_scan_inputs=1)]
    network = load_onnx(
        model(nodes, {"x": (1, 8), "seq": (3, 1, 8)}, {"y": (1, 8), "out": (3, 1, 8)}, {"w": ones(8, 8)})
    )
    assert network.macs == 3 * 64
    assert network.parameters == 64


def test_functions_of_the_file_are_inlined():
    function = helper.make_function(
        "my", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 18)]
    )
    made = model([node("Twice", "x", "y", domain="my")], {"x": (1, 8)}, {"y": (1, 8)}, domains=["my"])
    made.functions.append(function)
    network = load_onnx(made)
    assert [found.operator for found in network.layers] == ["Add"]
    assert network.warnings == ()


# Mistakes


def test_a_shape_that_does_not_infer_names_node_and_tensor():
    nodes = [node("MatMul", "x w", "y", "product")]
    with pytest.raises(NetworkError) as error:
        load_onnx(model(nodes, {"x": (1, 8)}, {"y": (1, 2)}, {"w": ones(9, 2)}))
    assert re.fullmatch(
        r"the model: node 'product' \(MatMul\): the shape of its output 'y' does not infer: .*Incompatible.*",
        str(error.value),
    )


def test_a_shape_that_depends_on_data_is_named():
    nodes = [node("NonZero", "x", "a", "find"), node("Relu", "a", "y")]
    with pytest.raises(NetworkError) as error:
        load_onnx(model(nodes, {"x": (1, 8)}, {"y": (2, "n")}))
    assert str(error.value) == "the model: node 'find' (NonZero): the shape of its output 'a' does not infer"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([np.nan, np.nan, 1], "the model: initializer 'w' has 2 NaN values"),
        ([np.inf, 0, 1], "the model: initializer 'w' has 1 infinite values"),
    ],
)
def test_weights_that_are_no_numbers_are_named_and_counted(bad, message):
    w = np.array(bad, np.float32).reshape(3, 1)
    with pytest.raises(NetworkError) as error:
        load_onnx(model([node("MatMul", "x w", "y")], {"x": (1, 3)}, {"y": (1, 1)}, {"w": w}))
    assert str(error.value) == message


def test_an_infinite_mask_is_no_mistake():
    nodes = [node("Add", "x m", "a"), node("Softmax", "a", "y")]
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    assert load_onnx(model(nodes, {"x": (4, 4)}, {"y": (4, 4)}, {"m": mask})).macs == 0


def test_a_tensor_that_nothing_writes_is_named():
    with pytest.raises(NetworkError) as error:
        load_onnx(model([node("Relu", "z", "y", "r")], {"x": (1,)}, {"y": (1,)}))
    assert str(error.value) == "the model: node 'r' (Relu) reads 'z', which nothing before it writes"


def test_a_graph_of_free_nodes_is_no_network():
    with pytest.raises(NetworkError) as error:
        load_onnx(model([node("Identity", "x", "y")], {"x": (1,)}, {"y": (1,)}), name="nothing")
    assert str(error.value) == "network 'nothing' has no layers"


def test_a_file_that_is_cut_off_anywhere_is_refused_with_our_error_or_whole():
    data = (LIGHT / "light_squeezenet.onnx").read_bytes()
    whole = load_onnx(data)
    for length in [*range(40), *range(40, len(data), 151), *range(len(data) - 40, len(data))]:
        try:
            network = load_onnx(data[:length])
        except NetworkError:
            continue
        assert network.macs == whole.macs, f"cut at {length} gives another network without a word"


def test_a_file_with_a_flipped_byte_gives_a_network_or_our_error():
    data = bytearray((LIGHT / "light_squeezenet.onnx").read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[position] ^= int(rng.integers(1, 256))
        try:
            load_onnx(bytes(changed))
        except NetworkError:
            continue


def test_a_node_without_what_its_operator_needs_is_named():
    with pytest.raises(NetworkError) as error:
        load_onnx(model([node("LSTM", "x", "y", "n")], {"x": (7, 2, 5)}, {"y": (7, 1, 2, 3)}))
    assert str(error.value).startswith("the model: node 'n' (LSTM)")

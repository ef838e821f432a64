import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from chipfit.errors import NetworkError
from chipfit.workload.calibrate import calibrate, network_inputs, read_runs, weight_masks
from chipfit.workload.from_onnx import load_onnx


def model(nodes, weights, inputs, outputs):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


KERNEL = np.array([[[[0, 1], [2, 0]]], [[[0, 0], [0, 3]]]], np.float32)
MATRIX = np.array([[1, 0, 0], [0, 2, 3]], np.float32)


def small():
    """A convolution with padding before its input only, a rectifier, and a product."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 0, 0, 0], kernel_shape=[2, 2]),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
        helper.make_node("Flatten", ["z"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "m"], ["out"], name="fc", transB=1),
    ]
    matrix = np.zeros((3, 8), np.float32)
    matrix[0, :4] = 1
    inputs, outputs = {"x": (1, 1, 2, 3)}, {"out": (1, 3)}
    return model(nodes, {"w": KERNEL, "m": matrix}, inputs, outputs)


def test_masks_of_weights_lie_in_the_order_of_the_nest():
    proto = small()
    network = load_onnx(proto)
    zeros = weight_masks(proto, network)
    conv, fc = (layer.name for layer in network.layers)
    assert (zeros.weights[conv] == (KERNEL != 0).reshape(1, 2, 1, 2, 2)).all()
    assert zeros.weights[fc].shape == (1, 3, 8, 1, 1)
    assert zeros.weights[fc][0, :, :, 0, 0].sum(axis=1).tolist() == [4, 0, 0]


def test_the_padding_before_a_convolution_is_read():
    proto = small()
    network = load_onnx(proto)
    assert weight_masks(proto, network).begin == {network.layers[0].name: (1, 0)}


@pytest.mark.parametrize(("kind", "begin"), [("SAME_UPPER", (0, 0)), ("SAME_LOWER", (1, 1))])
def test_padding_that_is_not_stated_is_worked_out(kind, begin):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=kind, strides=[2, 2], kernel_shape=[3, 3])]
    proto = model(nodes, {"w": np.ones((1, 1, 3, 3), np.float32)}, {"x": (1, 1, 8, 8)}, {"y": (1, 1, 4, 4)})
    network = load_onnx(proto)
    assert list(weight_masks(proto, network).begin.values()) == [begin]


@pytest.mark.parametrize("transposed", [True, False])
def test_a_matrix_is_read_as_outputs_by_inputs(transposed):
    # (kernels 2, channels 3), or its transpose
    array = MATRIX if transposed else MATRIX.T.copy()
    node = helper.make_node("Gemm", ["x", "m"], ["y"], transB=int(transposed))
    proto = model([node], {"m": array}, {"x": (1, 3)}, {"y": (1, 2)})
    network = load_onnx(proto)
    mask = weight_masks(proto, network).weights[network.layers[0].name]
    assert (mask[0, :, :, 0, 0] == (MATRIX != 0)).all()


def test_quantised_weights_are_zero_where_their_codes_are():
    codes = np.array([[[[5]], [[3]]], [[[4]], [[5]]]], np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "zp"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1]),
    ]
    weights = {"q": codes, "s": np.float32(0.5), "zp": np.int8(5)}
    weights = {name: np.asarray(array) for name, array in weights.items()}
    proto = model(nodes, weights, {"x": (1, 2, 2, 2)}, {"y": (1, 2, 2, 2)})
    network = load_onnx(proto)
    mask = weight_masks(proto, network).weights[network.layers[0].name]
    assert mask.reshape(2, 2).tolist() == [[False, True], [True, False]]


def test_activations_are_counted_channel_by_channel():
    proto = small()
    network = load_onnx(proto)
    x = np.array([[[[1, 0, 0], [0, 0, -2]]]], np.float32)
    zeros = calibrate(proto, network, [{"x": x}, {"x": 0 * x}], whole=True)
    assert zeros.channels["x"].tolist() == [[2], [0]]
    # Kernel 0: rows (0 1 / 2 0); padded input rows 000, 100, 00-2. Row 0: 2*x[0, :2] = 2 0; row 1:
    # x[0, 1:] + 2*x[1, :2] = 0 0. Kernel 1: 3*x[0, 1:] = 0 0; 3*x[1, 1:] = 0 -6, which is rectified.
    name = network.layers[0].outputs[0].name
    assert zeros.channels[name].tolist() == [[1, 0], [0, 0]]
    assert zeros.activations[name].shape == (2, 1, 2, 2, 2)
    assert np.argwhere(zeros.activations[name]).tolist() == [[0, 0, 0, 0, 0]]


def test_whole_masks_are_kept_on_demand_only():
    proto = small()
    found = calibrate(proto, load_onnx(proto), [{"x": np.ones((1, 1, 2, 3), np.float32)}])
    assert found.activations == {}
    assert set(found.channels) >= {"x"}


def test_what_is_stored_with_a_zero_point_is_zero_at_it():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zp"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "zp"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"], kernel_shape=[1, 1]),
    ]
    weights = {
        "s": np.asarray(np.float32(1)),
        "zp": np.asarray(np.uint8(7)),
        "w": np.ones((1, 1, 1, 1), np.float32),
    }
    proto = model(nodes, weights, {"x": (1, 1, 1, 4)}, {"y": (1, 1, 1, 4)})
    network = load_onnx(proto)
    found = calibrate(proto, network, [{"x": np.array([[[[0, 0.2, 1, -3]]]], np.float32)}])
    assert found.channels[network.layers[0].inputs[0].name].tolist() == [[2]]


class TestMistakes:
    shapes = {"x": (1, 1, 2, 3)}  # noqa: RUF012 - read only

    def message(self, call, *given):
        with pytest.raises(NetworkError) as error:
            call(*given)
        return str(error.value)

    def test_no_folder(self, tmp_path):
        place = tmp_path / "none"
        assert self.message(read_runs, place, self.shapes) == f"calibration: there is no folder {place}"

    def test_no_files(self, tmp_path):
        expected = f"calibration: no .npy or .npz files in {tmp_path}"
        assert self.message(read_runs, tmp_path, self.shapes) == expected

    def test_data_of_another_shape(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((4, 1, 3, 3), np.float32))
        expected = "calibration: a.npy has shape (4, 1, 3, 3), but input 'x' has (1, 1, 2, 3)"
        assert self.message(read_runs, tmp_path, self.shapes) == expected

    def test_no_array_of_that_name(self, tmp_path):
        np.savez(tmp_path / "a.npz", xx=np.zeros((4, 1, 2, 3), np.float32))
        expected = "calibration: a.npz has no input 'x', did you mean 'xx'?"
        assert self.message(read_runs, tmp_path, self.shapes) == expected

    def test_one_array_for_several_inputs(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((1, 2), np.float32))
        expected = "calibration: a.npy has one input of x, y: give a .npz of all"
        assert self.message(read_runs, tmp_path, {"x": (1, 2), "y": (1, 2)}) == expected

    def test_different_numbers_of_runs(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.zeros((2, 2)), y=np.zeros((3, 2)))
        expected = "calibration: a.npz has different numbers of runs: {'x': 2, 'y': 3}"
        assert self.message(read_runs, tmp_path, {"x": (1, 2), "y": (1, 2)}) == expected

    def test_a_file_that_is_no_array(self, tmp_path):
        (tmp_path / "a.npy").write_bytes(b"no array")
        assert self.message(read_runs, tmp_path, self.shapes).startswith(
            "calibration: a.npy cannot be read: "
        )

    def test_no_runs(self):
        proto = small()
        expected = "calibration needs at least one input"
        assert self.message(calibrate, proto, load_onnx(proto), []) == expected

    def test_a_run_that_does_not_fit(self):
        proto = small()
        runs = [{"x": np.zeros((1, 1, 5, 5), np.float32)}]
        expected = "calibration: input 'x' has shape (1, 1, 5, 5), expected (1, 1, 2, 3)"
        assert self.message(calibrate, proto, load_onnx(proto), runs) == expected

    def test_a_run_without_an_input(self):
        proto = small()
        runs = [{"xx": np.zeros((1, 1, 2, 3), np.float32)}]
        expected = "calibration: a run has no input 'x', did you mean 'xx'?"
        assert self.message(calibrate, proto, load_onnx(proto), runs) == expected

    def test_a_network_that_does_not_run(self):
        proto = small()
        network = load_onnx(proto)
        proto.graph.node[1].op_type = "Rectify"
        found = self.message(calibrate, proto, network, [{"x": np.zeros((1, 1, 2, 3), np.float32)}])
        assert found.startswith("calibration: ONNX Runtime does not run the network: ")


def test_runs_come_in_the_order_of_the_files(tmp_path):
    np.save(tmp_path / "b.npy", np.full((2, 1, 2, 3), 2.0, np.float32))
    np.save(tmp_path / "a.npy", np.full((1, 2, 3), 1.0, np.float32))
    found = read_runs(tmp_path, {"x": (1, 1, 2, 3)})
    assert [run["x"].shape for run in found] == [(1, 1, 2, 3)] * 3
    assert [run["x"].max() for run in found] == [1.0, 2.0, 2.0]
    assert len(read_runs(tmp_path, {"x": (1, 1, 2, 3)}, most=2)) == 2


def test_the_inputs_of_a_file_have_their_shapes(tmp_path):
    onnx.save(small(), tmp_path / "net.onnx")
    assert network_inputs(tmp_path / "net.onnx") == {"x": (1, 1, 2, 3)}


@pytest.mark.data
def test_a_trained_network_has_the_zeros_that_its_rectifiers_make(shared_data):
    path = shared_data / "onnx" / "mlperf_resnet8_cifar10.onnx"
    images = np.load(shared_data / "images" / "cifar10_part.npz")["test_x"][:2].astype(np.float32)
    network = load_onnx(path)
    runs = [{"input_1": image[None]} for image in images]
    zeros = calibrate(path, network, runs, whole=True)
    first, second = network.layers[0], network.layers[1]
    assert zeros.channels[first.inputs[0].name].shape == (2, 3)
    rectified = zeros.activations[second.inputs[0].name]
    assert rectified.shape == (2, *second.inputs[0].shape)
    assert 0.2 < rectified.mean() < 0.9

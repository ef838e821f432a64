"""Files and input shapes: what is wrong is named, and how to mend it is said."""

import numpy as np
import onnx
import pytest
from graphs import model, node, ones
from onnx import TensorProto, helper

from chipfit.errors import NetworkError
from chipfit.workload.from_onnx import load_onnx


def matmul(**inputs):
    return model([node("MatMul", "x w", "y")], inputs or {"x": (1, 8)}, {"y": None}, {"w": ones(8, 2)})


def message(*args, **kwargs):
    with pytest.raises(NetworkError) as error:
        load_onnx(*args, **kwargs)
    return str(error.value)


def test_a_path_bytes_and_a_model_give_the_same_network(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(matmul(), path)
    network = load_onnx(path)
    assert network.name == "net"
    assert load_onnx(str(path)) == network
    assert load_onnx(path.read_bytes(), name="net") == network
    assert load_onnx(matmul(), name="net") == network


def test_a_model_in_memory_is_named_after_its_graph_and_stays_as_it_is():
    made = matmul()
    before = made.SerializeToString()
    assert load_onnx(made).name == "graph"
    assert made.SerializeToString() == before


def test_a_missing_file(tmp_path):
    assert message(tmp_path / "no.onnx") == f"{tmp_path}/no.onnx: no such file"


def test_a_directory(tmp_path):
    assert message(tmp_path) == f"{tmp_path} is a directory, expected an ONNX file"


def test_an_empty_file(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    assert message(tmp_path / "a.onnx") == f"{tmp_path}/a.onnx is empty, expected an ONNX model"


def test_a_file_that_is_cut_off(tmp_path):
    (tmp_path / "a.onnx").write_bytes(matmul().SerializeToString()[:-10])
    assert message(tmp_path / "a.onnx") == f"{tmp_path}/a.onnx is not an ONNX model, or is cut off"


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.onnx").write_text("layers:\n  - conv\n")
    assert message(tmp_path / "a.onnx") == f"{tmp_path}/a.onnx is not an ONNX model, or is cut off"


def test_a_graph_without_nodes():
    assert message(model([], {"x": (1,)}, {"x": (1,)})) == (
        "the model: the graph has no nodes, or the file is cut off"
    )


def test_a_graph_without_outputs():
    assert message(model([node("Relu", "x", "y")], {"x": (1,)}, {})) == (
        "the model: the graph has no outputs, or the file is cut off"
    )


def test_a_model_without_operator_sets():
    made = matmul()
    del made.opset_import[:]
    assert message(made) == "the model states no operator set, or is cut off"


# Data in other files


def external(tmp_path, location="weights.bin", write=True):
    made = matmul()
    made.graph.initializer[0].ClearField("raw_data")
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "64"}.items():
        made.graph.initializer[0].external_data.add(key=key, value=value)
    path = tmp_path / "model" / "a.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(made.SerializeToString())
    if write:
        (path.parent / location).write_bytes(np.eye(8, 2, dtype=np.float32).tobytes())
    return path


def test_external_data_is_read(tmp_path):
    network = load_onnx(external(tmp_path))
    assert network.layers[0].weight.zeros == 14 / 16


def test_missing_external_data_is_named(tmp_path):
    path = external(tmp_path, write=False)
    assert message(path) == f"{path}: the data of 'w' is missing: no file weights.bin beside it"


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_external_data_outside_the_folder_is_refused(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    path = external(tmp_path, location, write=False)
    assert message(path) == f"{path}: the data of 'w' is outside the folder of the file: {location}"


def test_external_data_behind_a_link_to_outside_is_refused(tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    path = external(tmp_path, write=False)
    (path.parent / "weights.bin").symlink_to(tmp_path / "secret.bin")
    assert message(path) == f"{path}: the data of 'w' is outside the folder of the file: weights.bin"


def test_external_data_that_is_too_short_is_named(tmp_path):
    path = external(tmp_path)
    (path.parent / "weights.bin").write_bytes(bytes(10))
    assert message(path).startswith(f"{path}: the data of ")
    assert "'w'" in message(path)


def test_bytes_have_no_folder_for_external_data(tmp_path):
    data = external(tmp_path).read_bytes()
    assert message(data) == "the model keeps 'w' in another file: give its path, not its bytes"


# Shapes of inputs


def test_a_named_dimension_must_be_given():
    assert message(matmul(x=("batch", 8))) == (
        "the model: dimension 0 ('batch') of input 'x' is not known; give its shape, such as --shape x=1,8"
    )


def test_dimensions_without_names_must_be_given():
    made = model([node("Relu", "x", "y")], {"x": (None, 3, None, -1)}, {"y": None})
    assert message(made) == (
        "the model: dimension 0 of input 'x' is not known; give its shape, such as --shape x=1,3,224,224"
    )


def test_an_unknown_number_of_dimensions_must_be_given():
    made = model([node("Relu", "x", "y")], {"x": None}, {"y": None})
    assert message(made) == (
        "the model: the number of dimensions of input 'x' is not known; give its shape, "
        "such as --shape x=1,3,224,224"
    )
    assert load_onnx(made, shapes={"x": (2, 3)}).layers[0].inputs[0].shape == (2, 3)


def test_a_name_that_is_settled_once_is_settled():
    made = model([node("Add", "x h", "y")], {"x": ("n", 8), "h": ("n", 8)}, {"y": None})
    network = load_onnx(made, shapes={"x": (3, 8)})
    assert [tensor.shape for tensor in network.layers[0].inputs] == [(3, 8), (3, 8)]


def test_a_shape_for_no_input_has_a_hint():
    assert message(matmul(), shapes={"xx": (1, 8)}) == "the model has no input 'xx', did you mean 'x'?"


def test_a_shape_of_the_wrong_rank():
    assert message(matmul(), shapes={"x": (1, 8, 1)}) == (
        "--shape x=1,8,1 has 3 dimensions, but input 'x' of the model has 2"
    )


def test_a_shape_that_contradicts_the_file():
    assert message(matmul(), shapes={"x": (1, 9)}) == (
        "--shape x=1,9: dimension 1 of input 'x' is 8 in the model"
    )


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one(size):
    assert message(matmul(), shapes={"x": (size, 8)}) == (
        f"--shape x={size},8: every size must be at least 1"
    )


def test_initializers_among_the_inputs_need_no_shape():
    made = matmul()
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, ("a", "b")))
    assert load_onnx(made).macs == 16

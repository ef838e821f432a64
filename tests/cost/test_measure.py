"""The stopwatch: its structure and its mistakes; no time is asserted."""

import json
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from chipfit.cost.measure import Measurement, cpu_name, layer_times, measure
from chipfit.errors import ChipfitError, NetworkError


def write_model(path, *, batch=1, kind=TensorProto.FLOAT, opset=17, ir_version=8):
    """A file with two matrix products, (batch, 8) x (8, 4) x (4, 3), and a Relu between them."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w1", (8, 4)), ("w2", (4, 3)))
    ]
    nodes = [helper.make_node("Cast", ["x"], ["f"], name="cast", to=TensorProto.FLOAT)]
    nodes += [helper.make_node("MatMul", ["f", "w1"], ["a"], name="first")]
    nodes += [helper.make_node("Relu", ["a"], ["b"], name="relu")]
    nodes += [helper.make_node("MatMul", ["b", "w2"], ["y"], name="second")]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", kind, [batch, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.save(model, path)
    return path


def rng():
    return np.random.default_rng(0)


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "toy.onnx")


def test_a_measurement_has_the_total_its_spread_and_every_layer(model):
    found = measure(model, rng=rng(), repeats=7, warmup=1)
    assert isinstance(found, Measurement)
    assert (found.model, found.threads, found.repeats, found.warmup) == ("toy.onnx", 1, 7, 1)
    assert 0 < found.min_s <= found.p10_s <= found.latency_s <= found.p90_s < math.inf
    assert {"first", "second"} <= {layer.name for layer in found.layers}
    assert {layer.operator for layer in found.layers} >= {"MatMul"}
    assert found.cpu == cpu_name() != ""


def test_the_document_carries_units_and_is_json(model):
    document = json.loads(json.dumps(measure(model, rng=rng(), repeats=3).to_json(), allow_nan=False))
    assert set(document) == {
        "model", "host", "threads", "repeats", "warmup", "latency_s", "latency_p10_s", "latency_p90_s",
        "latency_min_s", "layers", "warnings",
    }  # fmt: skip
    assert set(document["host"]) == {"cpu", "onnxruntime"}
    assert set(document["layers"][0]) == {"name", "operator", "latency_s", "share"}


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE", "FLOAT16", "INT64", "UINT8", "BOOL"])
def test_inputs_of_every_numeric_type_are_made_up(tmp_path, kind):
    path = write_model(tmp_path / "toy.onnx", kind=getattr(TensorProto, kind))
    assert measure(path, rng=rng(), repeats=1, warmup=0).latency_s > 0


def test_a_dynamic_dimension_is_given_by_the_shape_of_its_input(tmp_path):
    path = write_model(tmp_path / "toy.onnx", batch="batch")
    assert measure(path, rng=rng(), repeats=1, shapes={"x": (5, 8)}).latency_s > 0


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (None, "input 'x' has unknown dimensions 'batch' (axis 0): give its shape"),
        ({"x": (5, 7)}, "input 'x' is batchx8, got the shape 5x7"),
        ({"x": (0, 8)}, "input 'x' is batchx8, got the shape 0x8"),
        ({"x": (5,)}, "input 'x' is batchx8, got the shape 5"),
        ({"x": (2**60, 8)}, f"input 'x' of shape {2**60}x8 is too large"),
        (
            {"X": (5, 8)},
            "no input 'X', did you mean 'x'?; "
            "input 'x' has unknown dimensions 'batch' (axis 0): give its shape",
        ),
    ],
)
def test_a_shape_that_is_unknown_or_wrong_is_named(tmp_path, shapes, message):
    path = write_model(tmp_path / "toy.onnx", batch="batch")
    with pytest.raises(NetworkError) as caught:
        measure(path, rng=rng(), shapes=shapes)
    assert str(caught.value) == f"{path}: {message}"


def test_an_input_that_cannot_be_made_up_is_named(tmp_path):
    path = write_model(tmp_path / "toy.onnx", kind=TensorProto.STRING)
    with pytest.raises(NetworkError) as caught:
        measure(path, rng=rng())
    assert str(caught.value) == f"{path}: input 'x' is a tensor(string), which is not made up at random"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NetworkError) as caught:
        measure(tmp_path / "gone.onnx", rng=rng())
    assert str(caught.value) == f"there is no model file {tmp_path / 'gone.onnx'}"
    with pytest.raises(NetworkError) as caught:
        measure(tmp_path, rng=rng())
    assert str(caught.value) == f"{tmp_path} is not a file"


def test_a_truncated_file_is_refused_with_the_reason_on_one_line(model, capfd):
    model.write_bytes(model.read_bytes()[:-7])
    with pytest.raises(NetworkError) as caught:
        measure(model, rng=rng())
    assert str(caught.value) == f"ONNX Runtime cannot load {model}: Protobuf parsing failed."
    assert capfd.readouterr() == ("", "")


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.onnx"
    path.write_bytes(b"")
    with pytest.raises(NetworkError, match=r"^ONNX Runtime cannot load .*empty\.onnx: [^\n]+$"):
        measure(path, rng=rng())


def test_a_file_newer_than_onnx_runtime_is_said_to_be(tmp_path):
    path = write_model(tmp_path / "new.onnx", ir_version=99)
    with pytest.raises(NetworkError, match=r"IR version: 99.*is older than the file\)$") as caught:
        measure(path, rng=rng())
    assert "\n" not in str(caught.value)


def test_a_model_that_fails_while_running_is_a_network_error(tmp_path):
    # Element 9 of an axis of 8: only seen when it runs.
    index = numpy_helper.from_array(np.array([9], dtype=np.int64), "index")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["x", "index"], ["y"], axis=1)],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [index],
    )
    path = tmp_path / "toy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(NetworkError, match=r"^ONNX Runtime cannot (run|load) .*toy\.onnx: [^\n]+$"):
        measure(path, rng=rng())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
    ],
)
def test_a_count_out_of_range_is_refused(model, counts, message):
    with pytest.raises(ChipfitError) as caught:
        measure(model, rng=rng(), **counts)
    assert str(caught.value) == message


def test_more_threads_than_cores_is_a_warning(model, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    found = measure(model, rng=rng(), threads=2, repeats=1, warmup=0)
    assert "more threads (2) than cores (1)" in found.warnings


def event(name, operator, start, duration, index="0"):
    args = {"op_name": operator, "node_index": index}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration, "args": args}


def test_layer_times_are_medians_over_the_last_runs():
    # Three runs of two steps; the first is left out: a 2 and 4 -> 3 us, b 9 and 9 -> 9 us
    events = [{"cat": "Session", "name": "model_run", "ts": 0, "dur": 99}]
    for run, (a, b) in enumerate([(50, 70), (2, 9), (4, 9)]):
        events += [event("a", "Conv", 1000 * run, a, "0"), event("", "Add", 1000 * run + 500, b, "1")]
    first, second = layer_times(events, runs=2)
    assert (first.name, first.operator) == ("a", "Conv")
    assert first.latency_s == pytest.approx(3e-6)
    assert first.share == pytest.approx(0.25)
    assert (second.name, second.latency_s) == ("Add_1", pytest.approx(9e-6))


def test_steps_inside_a_loop_are_part_of_it():
    events = [event("body", "Conv", 10, 5), event("loop", "Loop", 5, 50), event("after", "Add", 60, 5, "1")]
    assert [layer.name for layer in layer_times(events, runs=1)] == ["loop", "after"]


def test_no_events_are_no_layers():
    assert layer_times([], runs=1) == ()

"""`chipfit cost` on targets that skip zeros."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_cli import document, mistake, run


@pytest.fixture
def network(tmp_path):
    """A file of one convolution with half of its weights, and inputs of which a quarter is zero."""
    weights = np.zeros((8, 4, 3, 3), np.float32)
    weights[:, ::2] = 1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8, 8, 8))],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    (tmp_path / "calibration").mkdir()
    inputs = np.ones((2, 4, 8, 8), np.float32)
    inputs[:, 0] = 0
    np.save(tmp_path / "calibration" / "a.npy", inputs)
    return tmp_path / "net.onnx", tmp_path / "calibration"


def test_a_target_that_skips_zeros_is_priced_from_them(network):
    file, folder = network
    (row,) = document("cost", file, "-t", "sense_zcu102", "--calibration", folder)["layers"]
    # Channels 0 and 2 have weights, and channel 0 no activation: 22 * 22 pairs a kernel of channel 2.
    assert row["sparse"]["pairs"] == 8 * 22 * 22
    assert row["sparse"]["stored_bits"]["weight"] == 288 + 144 * 8


def test_without_calibration_only_the_zeros_of_weights_are_known(network):
    found = document("cost", network[0], "-t", "sense_zcu102")
    assert found["layers"][0]["sparse"]["pairs"] == 8 * 2 * 9 * 64
    assert any("zeros of 1 of 1 inputs are not known" in warning for warning in found["warnings"])


def test_all_products_may_be_asked_for(network):
    file, folder = network
    arguments = ("cost", file, "-t", "sense_zcu102", "--calibration", folder)
    (row,) = document(*arguments, "--estimator", "sparse-cartesian")["layers"]
    assert row["sparse"]["pairs"] == 8 * 64 * 9
    assert "all products" in document(*arguments, "--estimator", "sparse-cartesian")["method"]


def test_the_table_says_what_is_skipped_and_the_page_who_waits(network, tmp_path):
    file, folder = network
    page = tmp_path / "a.html"
    text = run("cost", file, "-t", "sense_zcu102", "--calibration", folder, "--page", page).stdout
    assert "imbalance" in text
    assert "79.0 %" in text  # 1 - 8 * 484 / 18,432
    assert "Which processing elements wait" in page.read_text()


def test_a_reference_network_runs_dense(network):
    found = document("cost", "lenet5", "-t", "sense_zcu102")
    assert found["totals"]["macs"] == sum(row["sparse"]["pairs"] for row in found["layers"] if row["macs"])


class TestMistakes:
    def test_calibration_of_what_skips_nothing(self, network):
        file, folder = network
        assert mistake("cost", file, "-t", "eyeriss", "--calibration", folder) == (
            "--calibration means nothing to the estimator 'analytical': it skips no zeros"
        )

    def test_calibration_of_a_reference_network(self, network):
        assert mistake("cost", "lenet5", "-t", "sense_zcu102", "--calibration", network[1]) == (
            "--calibration needs an ONNX file, 'lenet5' is a reference network without weights"
        )

    def test_calibration_of_another_shape(self, network):
        file, folder = network
        np.save(folder / "a.npy", np.zeros((1, 3, 8, 8), np.float32))
        assert mistake("cost", file, "-t", "sense_zcu102", "--calibration", folder) == (
            "calibration: a.npy has shape (1, 3, 8, 8), but input 'x' has (1, 4, 8, 8)"
        )

    def test_a_sparse_estimate_on_a_target_that_says_nothing_of_zeros(self, network):
        assert mistake("cost", network[0], "-t", "eyeriss", "--estimator", "sparse") == (
            "target 'eyeriss' does not say what its array does about zeros: it has no 'sparse' section"
        )

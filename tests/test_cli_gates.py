"""chipfit gates, from the command line."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from chipfit import cli
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.table import load_table
from chipfit.cost.gates.verilog_write import write_verilog

SMALL = ("--weight-bits", 3, "--activation-bits", 2, "--accumulator-bits", 6, "--transitions", 64)


def run(*arguments):
    return CliRunner().invoke(cli.app, ["gates", *map(str, arguments)], prog_name="chipfit")


def document(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def mistake(*arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return result.stderr.removeprefix("chipfit: ").rstrip("\n")


def usage(*arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    return " ".join(result.stderr.replace("│", " ").split())


def test_the_document_has_energy_and_delay_of_every_weight_value():
    found = document(*SMALL)
    assert found["weights"] == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert len(found["energy_j"]) == len(found["delay_s"]) == 8
    assert min(found["energy_j"]) > 0
    assert found["multiplier"] == "mac_array_s3_u2_6"
    assert found["method"].startswith("gate by gate with inertial delays on a grid of 10 ps")
    assert found["leakage_w"] == 0
    assert {"error", "register_energy_j", "clock_energy_j"} <= found.keys()


def test_the_table_on_disk_is_the_document(tmp_path):
    path = tmp_path / "table.json"
    found = document(*SMALL, "--multiplier", "booth", "--signed-activations", "--out", path)
    assert found.pop("out") == str(path)
    assert load_table(path).to_json() == found
    assert found["multiplier"] == "mac_booth_s3_s2_6"


def test_the_text_names_the_cheapest_and_the_dearest_values(tmp_path):
    result = run(*SMALL, "--page", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    for words in ("cheapest", "dearest", "fastest", "of dearest", "mac_array_s3_u2_6 in embedded:generic"):
        assert words in text
    assert (tmp_path / "page.html").stat().st_size > 1_000_000  # plotly.js is in it


def test_all_transitions_no_delays_and_another_technology():
    found = document(*SMALL[:-2], "--transitions", "all", "--mode", "zero", "--library", "asap7")
    assert (found["energy_transitions"], found["delay_transitions"]) == (16, 0)
    assert found["delay_s"] == found["bound_s"]
    assert found["supply_v"] == 0.7
    assert found["arrivals"] == [0.0] * len(found["arrivals"])


def test_the_partial_sum_can_be_added_to_the_finished_product():
    found = document(*SMALL, "--accumulate", "adder")
    assert found["multiplier"] == "mac_array_s3_u2_6_adder"
    # A weight of 0 lets it pass through the second adder; -1 also makes carries run.
    assert found["energy_j"][4] < 0.5 * found["energy_j"][3]


def test_a_netlist_of_ones_own_costs_what_the_generated_one_does(tmp_path):
    design = MacDesign(weight_bits=3, activation_bits=2, sum_bits=6, activation_signed=False)
    path = tmp_path / "mac.v"
    write_verilog(generate_mac(design), path)
    found = document("--netlist", path, "--transitions", 64)
    expected = document(*SMALL)
    assert found["energy_j"] == pytest.approx(expected["energy_j"], rel=0.05)
    assert found["delay_s"] == pytest.approx(expected["delay_s"])


def test_operands_come_from_a_network(tmp_path):
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, 5, 5])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(rng.normal(size=(3, 2, 3, 3)).astype(np.float32), "w")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(proto, tmp_path / "net.onnx")
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "a.npy", rng.uniform(size=(4, 2, 5, 5)).astype(np.float32))
    network = ("--activations", tmp_path / "net.onnx")
    found = document(*SMALL, *network, "--calibration", tmp_path / "images")
    assert found["operands"] == "measured on net, 1 layers by their multiplications"
    assert "needs --calibration DIR" in usage(*SMALL, *network)
    assert mistake(*SMALL, *network, "--calibration", tmp_path / "none") == (
        f"calibration: there is no folder {tmp_path / 'none'}"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--multiplier", "boot"), "unknown style 'boot', did you mean 'booth'?"),
        (("--accumulate", "ad"), "unknown way to accumulate 'ad'; valid: adder, tree"),
        (
            ("--library", "asap"),
            "unknown library 'asap', did you mean 'asap7'? (the name of a Liberty file ends in .lib)",
        ),
        (("--library", "none.lib"), "cannot read cell library none.lib: No such file or directory"),
        (("--mode", "inertia"), "unknown mode 'inertia', did you mean 'inertial'?"),
        (("--activations", "relus"), "unknown distribution 'relus', did you mean 'relu'?"),
        (("--grid-ps", -1), "the grid must be above 0 ps, got -1"),
        (("--weight-bits", 9), "weight_bits must be 2 to 8, got 9"),
        (("--page", "nowhere/p.html"), "cannot write nowhere/p.html: there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_message(arguments, message):
    assert mistake(*SMALL, *arguments).replace("\n", " ") == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--transitions", "0"), "'0' is not a number of transitions: expected 1 or more, or all"),
        (("--calibration", "x"), "--calibration needs --activations MODEL.onnx"),
        (("--netlist", "x.v", "--weight-bits", "4"), "--weight-bits means nothing with --netlist"),
    ],
)
def test_options_that_make_no_sense_are_a_matter_of_usage(arguments, message):
    assert message in usage(*arguments)


def test_the_library_of_the_documents_is_embedded():
    assert embedded_library("generic").name == "embedded:generic"

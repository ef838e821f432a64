"""chipfit values, from the command line."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from chipfit import cli
from chipfit.cost.gates.table import load_table
from chipfit.cost.roofline import Roofline
from chipfit.testing import eye16
from chipfit.workload.from_onnx import load_onnx

SMALL = ("small_models:task", "--bits", 4, "--multipliers", "booth", "--delays", "1", "--epochs", 0)


def run(*arguments):
    return CliRunner().invoke(cli.app, ["values", *map(str, arguments)], prog_name="chipfit")


def mistake(*arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return result.stderr.removeprefix("chipfit: ").rstrip("\n")


def test_the_document_and_the_files(tmp_path):
    result = run(*SMALL[:-1], 1, "--budget", "35%", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["budget_met"]
    assert found["energy_j"] <= found["budget_j"]
    assert found["multiplier"] == "booth"
    assert json.loads((tmp_path / "values.json").read_text()) == found
    table, network = load_table(tmp_path / "table.json"), load_onnx(tmp_path / "model.onnx")
    assert table.weights == tuple(range(-8, 8))
    seen = {
        layer.name: {value for value, _ in layer.weight.values} for layer in network.layers if layer.loops
    }
    assert seen.keys() == found["values"].keys()
    assert all(seen[name] <= set(values) for name, values in found["values"].items())
    # A target that names the table takes the energy of the result, which has its own energies for each layer,
    # where the table has one for all.
    chip = replace(eye16(), mac_tables=(str(tmp_path / "table.json"),))
    mac_j = Roofline().estimate(network, chip).energy_by_component_j["MAC"]
    beside_j = table.input_energy_j + table.register_energy_j + table.clock_energy_j
    assert mac_j - network.macs * beside_j == pytest.approx(found["energy_j"], rel=0.25)


def test_people_see_each_step(tmp_path):
    result = run(*SMALL, "--budget", "0.35", "--out", tmp_path, "--plain")
    assert result.exit_code == 1  # without gating nothing gets that cheap
    result = run(*SMALL, "--budget", "0.9", "--out", tmp_path, "--plain")
    assert result.exit_code == 0, result.output
    for text in ("4-bit original on booth", "values, retrained", "voltage", "test accuracy"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "0"), "the budget of values must be above 0, got 0"),
        (("--budget", "1", "--multipliers", "boot"), "unknown style 'boot', did you mean 'booth'?"),
        (("--budget", "1", "--bits", "9"), "weight_bits must be 2 to 8, got 9"),
        (("--budget", "1", "--size", "0"), "the value set is empty: 0 weight values were asked for"),
        (
            ("--budget", "1", "--library", "generik"),
            "unknown technology 'generik', did you mean 'generic'?",
        ),
        (("--budget", "1", "--alpha", "0"), "alpha of the delay law must be above 0, got 0"),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    assert mistake(*SMALL, *arguments, "--out", tmp_path).startswith(message)


def test_a_share_that_is_none():
    result = run(*SMALL, "--budget", "many")
    assert result.exit_code == 2
    assert "'many' is not a share: expected such as 25% or 0.25" in " ".join(
        result.stderr.replace("│", " ").split()
    )

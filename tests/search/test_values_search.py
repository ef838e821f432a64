import json
from dataclasses import replace

import pytest
from small_models import task

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.compress.weights import RestrictWeights
from chipfit.cost.gates.table import load_table
from chipfit.cost.roofline import Roofline
from chipfit.errors import NetlistError, PassError
from chipfit.export.onnx import export
from chipfit.hardware.load import load_target
from chipfit.search.candidates import Candidate
from chipfit.search.space import Choice
from chipfit.search.values import ValuesConfig, fit_values, values_within
from chipfit.testing import eye16
from chipfit.train.task import inputs_of
from chipfit.workload.from_onnx import load_onnx


def config(out, **options):
    asked = {"task": "small_models:task", "budget": 0.3, "out": out, "bits": 4, "size": 6, "epochs": 1}
    return ValuesConfig(**{**asked, **options})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("values")
    return fit_values(config(out)), out


def test_what_is_chosen_hurts_least_of_all_options_inside_the_budget(found):
    result, _ = found
    inside = [o for o in result.options if o["damage"] is not None]
    assert len(result.options) == 6  # two multipliers, three bounds
    assert all(o["energy_j"] <= result.budget_j for o in inside)
    best = min(inside, key=lambda o: o["damage"])
    assert (best["multiplier"], best["delay"]) == (result.multiplier, result.delay)


def test_each_step_stands_by_itself(found):
    result, _ = found
    names = list(result.steps_j)
    assert names == [
        "4-bit original on array",
        f"original on {result.multiplier}",
        "zero gating",
        "values, retrained",
        "voltage",
    ]
    assert result.steps_j["zero gating"] < result.steps_j[names[1]]
    scale = (result.supply_v / 1.1) ** 2
    assert result.steps_j["voltage"] == pytest.approx(scale * result.steps_j["values, retrained"])
    assert result.energy_j == result.steps_j["voltage"]


def test_weights_of_the_exported_model_are_those_values(found):
    result, out = found
    network = load_onnx(out / "model.onnx")
    seen = {x.name: {v for v, _ in x.weight.values} for x in network.layers if x.loops}
    assert seen.keys() == result.values.keys()
    assert all(seen[name] <= set(values) for name, values in result.values.items())
    assert all(len(values) <= 6 for values in result.values.values())


def test_a_target_that_names_the_table_takes_its_energy(found):
    result, out = found
    table, network = load_table(out / "table.json"), load_onnx(out / "model.onnx")
    chip = replace(eye16(), mac_table=str(out / "table.json"))
    mac_j = Roofline().estimate(network, chip).energy_by_component_j["MAC"]
    beside_j = table.input_energy_j + table.register_energy_j + table.clock_energy_j
    # One energy a weight value for all layers, where the result has one for each layer.
    assert mac_j - network.macs * beside_j == pytest.approx(result.energy_j, rel=0.25)
    assert table.energy_of([0])[0] == 0


def test_the_result_is_written_down(found):
    result, out = found
    assert json.loads((out / "values.json").read_text()) == json.loads(json.dumps(result.to_json()))


def test_hardware_that_switches_for_zeros_costs_more(tmp_path):
    result = fit_values(config(tmp_path, gated=False, epochs=0, budget=0.9, multipliers=("booth",)))
    assert result.steps_j["zero gating"] == result.steps_j["original on booth"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0.0}, PassError, "the budget of values must be above 0, got 0"),
        ({"multipliers": ()}, PassError, "at least one multiplier and one bound on delay are needed"),
        (
            {"budget": 0.001, "gated": False},
            PassError,
            "no multiplier has values that take at most 0.001 of the original's energy",
        ),
        ({"multipliers": ("boot",)}, NetlistError, "unknown style 'boot', did you mean 'booth'?"),
    ],
)
def test_what_cannot_be(tmp_path, options, error, message):
    with pytest.raises(error) as raised:
        fit_values(config(tmp_path, **options))
    assert str(raised.value) == message


def test_a_bound_on_delay_that_no_value_meets(tmp_path):
    with pytest.raises(PassError) as raised:
        fit_values(config(tmp_path, delays=(0.01,), multipliers=("booth",)))
    assert str(raised.value).startswith("booth, delay 0.01: no weight value settles within ")


def test_a_period_that_is_too_short(tmp_path):
    with pytest.raises(PassError) as raised:
        fit_values(config(tmp_path, period_s=1e-12, delays=(1.0,), multipliers=("booth",)))
    assert "does not fit a period of 1.00 ps, not even at the nominal 1.1 V" in str(raised.value)


def test_values_bring_a_candidate_of_a_fit_inside_the_limit(found, tmp_path):
    table = found[1] / "table.json"
    chip = tmp_path / "chip.yaml"
    chip.write_text(
        f"""
name: chip
source: toy
clock: 1 MHz
native_bits: 4
operand_bits: [2, 3, 4]
arithmetic: {{multiply: 1 pJ, multiply_bits: 8, add: 1 pJ, add_bits: 8}}
levels:
  - {{name: dram, word_bits: 8, energy: {{access: 0 pJ}}}}
  - {{name: buffer, size: 64 KiB, word_bits: 8, energy: {{access: 0 pJ}}}}
mac_table: {table}
"""
    )
    target = load_target(chip)
    model, inputs = traced(task().model), inputs_of(task().train, 16)
    quantised = Quantize(bits=tuple((n, 4, 4) for n in nest_layers(model))).apply(
        model, PassContext(calibration=inputs)
    )

    def price(model):
        return Roofline().estimate(load_onnx(export(model, inputs[:1], name="m"), name="m"), target)

    before = price(quantised)
    limit_j = 0.8 * before.total.energy_j
    sets = values_within(quantised, inputs, target, before, limit_j)
    after = price(RestrictWeights.of(sets).apply(quantised, PassContext(calibration=inputs)))
    # The energy of all else stays; weights move from the edges of a code by rounding twice.
    assert after.total.energy_j <= limit_j * 1.02
    assert values_within(quantised, inputs, target, before, 0.0) is None
    values = RestrictWeights.of(sets).values
    one = Candidate(
        name="values", origin="values", choice=Choice(widths={}, channels={}), keep=(), channels_before={},
        cost={"energy": 1.0}, values=values,
    )  # fmt: skip
    assert Candidate.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert one.steps[-1] == RestrictWeights(values=values)

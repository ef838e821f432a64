"""What `chipfit values` chooses. Files that it writes are looked at in tests/test_cli_values.py."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_models import task

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.compress.weights import RestrictWeights, layer_codes
from chipfit.cost.gates.table import load_table, save_table
from chipfit.errors import NetlistError, PassError, RecordError
from chipfit.hardware.voltage import MacSupply
from chipfit.search import values as search
from chipfit.search.candidates import Candidate
from chipfit.search.cheap_values import values_within
from chipfit.search.space import Choice
from chipfit.search.values import ValuesConfig, fit_values
from chipfit.testing import eye16
from chipfit.train.task import inputs_of

SAMPLES = inputs_of(task().train, 16)


def config(out, **options):
    asked = {"task": "small_models:task", "budget": 0.3, "out": out, "bits": 4, "size": 6, "epochs": 0}
    return ValuesConfig(**{**asked, **options})


def small(out, **options):
    """One multiplier, one bound on delay."""
    return config(out, **{"multipliers": ("booth",), "delays": (1.0,), **options})


@pytest.fixture(autouse=True, scope="module")
def exported():
    """The models that would be exported: PyTorch's exporter takes longer than all that is tested here."""
    models = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "export", lambda model, inputs, name: models.append(model) or b"")
        yield models


@pytest.fixture(scope="module")
def found(tmp_path_factory, exported):
    out = tmp_path_factory.mktemp("values")
    return fit_values(config(out)), out, exported[-1]


def test_what_is_chosen_hurts_least_of_all_options_inside_the_budget(found):
    result, _, _ = found
    inside = [o for o in result.options if o["damage"] is not None]
    assert len(result.options) == 12  # two multipliers, three bounds, two largest activations
    assert all(o["energy_j"] <= result.budget_j for o in inside)
    best = min(inside, key=lambda o: o["damage"])
    assert (best["multiplier"], best["delay"]) == (result.multiplier, result.delay)


def test_each_step_stands_by_itself(found):
    result, _, _ = found
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
    result, _, model = found
    seen = {name: set(codes.weights.ravel()) for name, codes in layer_codes(model, SAMPLES).items()}
    assert seen.keys() == result.values.keys()
    assert all(seen[name] <= set(values) for name, values in result.values.items())
    assert all(len(values) <= 6 for values in result.values.values())


def test_the_table_is_that_of_the_retrained_network_on_gated_hardware(found):
    result, out, model = found
    table = load_table(out / "table.json")
    by_weight = {
        n: c.macs_per_weight * table.energy_of(c.weights) for n, c in layer_codes(model, SAMPLES).items()
    }
    # One energy a weight value for all layers, where the result has one for each layer.
    assert sum(energy_j.sum() for energy_j in by_weight.values()) == pytest.approx(result.energy_j, rel=0.25)
    assert table.energy_of([0])[0] == 0
    assert table.supply_v == pytest.approx(result.supply_v / 1.1, abs=1e-6)  # generic cells: 1 V is nominal


def test_the_result_is_written_down(found):
    result, out, _ = found
    assert json.loads((out / "values.json").read_text()) == json.loads(json.dumps(result.to_json()))


def test_hardware_that_switches_for_zeros_costs_more(tmp_path):
    result = fit_values(small(tmp_path, gated=False, budget=0.9))
    assert result.steps_j["zero gating"] == result.steps_j["4-bit original on booth"]


def test_zeros_cost_less_where_the_partial_sum_is_added_to_the_finished_product(tmp_path):
    result = fit_values(small(tmp_path, gated=False, budget=0.6, multipliers=("booth+adder",)))
    table = load_table(tmp_path / "table.json")
    assert table.multiplier == "mac_booth_s4_u4_14_adder"
    assert result.budget_met
    assert table.energy_of([0])[0] < 0.3 * max(table.energy_j)


def test_activations_can_be_bounded_so_that_more_values_settle_in_time(tmp_path, exported):
    result = fit_values(small(tmp_path, budget=0.6, delays=(0.85,), activations=(1.0, 0.5)))
    assert [o["largest_activation"] for o in result.options] == [15, 7]
    # Half of the codes is more damage by itself: it must be asked for.
    assert result.largest_activation in (7, 15)
    bounded = fit_values(small(tmp_path / "bounded", budget=0.6, delays=(0.85,), activations=(0.5,)))
    assert bounded.largest_activation == 7
    codes = layer_codes(exported[-1], SAMPLES)
    # 7 has three bits: on the upper three of four wires it is 14.
    assert max(x.inputs.max() for name, x in codes.items() if name != "stem") == 14
    assert codes["stem"].zero_point == 8  # the image is signed: all its codes stay
    table = load_table(bounded.table)
    assert table.warnings[-1] == (
        "delays hold for activations up to 7 on the upper wires; layers with signed inputs have quicker "
        "values"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0.0}, PassError, "the budget of values must be above 0, got 0"),
        ({"size": 0}, PassError, "the value set is empty: 0 weight values were asked for"),
        (
            {"multipliers": ()},
            PassError,
            "at least one multiplier, bound on delay and largest activation are needed",
        ),
        (
            {"activations": (1.0, 1.5)},
            PassError,
            "largest activations must be above 0 and at most 1, got 1.5",
        ),
        (
            {"budget": 0.001, "gated": False},
            PassError,
            "no multiplier has values that take at most 0.001 of the original's energy",
        ),
        ({"multipliers": ("boot",)}, NetlistError, "unknown style 'boot', did you mean 'booth'?"),
        (
            {"multipliers": ("booth+add",)},
            NetlistError,
            "unknown way to accumulate 'add', did you mean 'adder'?",
        ),
    ],
)
def test_what_cannot_be(tmp_path, options, error, message):
    with pytest.raises(error) as raised:
        fit_values(small(tmp_path, **options))
    assert str(raised.value) == message


def test_a_bound_on_delay_that_no_value_meets(tmp_path):
    with pytest.raises(PassError) as raised:
        fit_values(small(tmp_path, delays=(0.01,)))
    # A weight of 0 settles first, when the partial sum has run through the adder.
    assert re.fullmatch(
        r"booth, delay 0\.01: no weight value settles within [\d.]+ ps: the fastest, 0, takes [\d.]+ ps",
        str(raised.value),
    )


def test_a_period_that_is_too_short(tmp_path):
    with pytest.raises(PassError) as raised:
        fit_values(small(tmp_path, period_s=1e-12))
    assert "does not fit a period of 1.00 ps, not even at the nominal 1.1 V" in str(raised.value)


def test_values_bring_a_candidate_of_a_fit_inside_the_limit(found):
    file = found[1] / "table.json"
    table = load_table(file)
    target = replace(eye16(), mac_tables=(str(file),))
    model, context = traced(task().model), PassContext(calibration=SAMPLES)
    quantised = Quantize(bits=tuple((n, 4, 4) for n in nest_layers(model))).apply(model, context)

    def report(model):
        """Of a target on which nothing but multipliers takes energy."""
        parts = [
            (x.macs_per_weight, table.energy_of(x.weights) + table.beside_j)
            for x in layer_codes(model, SAMPLES).values()
        ]
        energy_j = sum(macs * float(by_weight.sum()) for macs, by_weight in parts)
        return SimpleNamespace(
            total=SimpleNamespace(energy_j=energy_j), energy_by_component_j={"MAC": energy_j}
        )

    before = report(quantised)
    limit_j = 0.8 * before.total.energy_j
    sets = values_within(quantised, SAMPLES, target, before, limit_j)
    after = report(RestrictWeights.of(sets).apply(quantised, context))
    # Weights move from the edges of a code by rounding twice.
    assert after.total.energy_j <= limit_j * 1.02
    assert values_within(quantised, SAMPLES, target, before, -1.0) is None
    values = RestrictWeights.of(sets).values
    one = Candidate(
        name="values", origin="values", choice=Choice(widths={}, channels={}), keep=(), channels_before={},
        cost={"energy": 1.0}, values=values,
    )  # fmt: skip
    assert Candidate.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert one.steps[-1] == RestrictWeights(values=values)


def test_values_voltage_and_multiplier_of_a_fit_are_chosen_together(found, tmp_path):
    """All weights of one multiplier cost the same; the other has cheap and quick ones."""
    table = load_table(found[1] / "table.json")
    count = len(table.weights)
    flat = replace(table, energy_j=(max(table.energy_j),) * count)
    slow_last = replace(table, delay_s=tuple(np.linspace(0.4e-9, 1e-9, count).tolist()))
    files = tuple(
        str(save_table(one, tmp_path / f"{name}.json"))
        for name, one in (("flat", flat), ("other", slow_last))
    )
    model, context = traced(task().model), PassContext(calibration=SAMPLES)
    quantised = Quantize(bits=tuple((n, 4, 4) for n in nest_layers(model))).apply(model, context)
    codes = layer_codes(quantised, SAMPLES).values()
    macs = sum(x.macs_per_weight * x.weights.size for x in codes)
    flat_j, beside_j = macs * (flat.energy_j[0] + flat.beside_j), macs * flat.beside_j
    before = SimpleNamespace(total=SimpleNamespace(energy_j=flat_j), energy_by_component_j={"MAC": flat_j})

    def chosen(limit_j, **options):
        return values_within(quantised, SAMPLES, replace(eye16(), **options), before, limit_j)

    # A multiplier of three bits is no choice for weights of four.
    few = {name: getattr(flat, name)[4:12] for name in ("energy_j", "delay_s", "bound_s")}
    narrow = replace(flat, weight_bits=3, weights=tuple(range(-4, 4)), **few)
    narrow_file = str(save_table(narrow, tmp_path / "narrow.json"))
    assert chosen(flat_j, mac_tables=(narrow_file,)) is None
    assert chosen(flat_j, mac_tables=(narrow_file, *files)) is not None
    less_j = beside_j + 0.7 * (flat_j - beside_j)
    assert chosen(less_j, mac_tables=files[:1]) is None
    assert chosen(less_j, mac_tables=files) == chosen(less_j, mac_tables=files[1:]) is not None
    # Below what registers and clock take, only a lower voltage leads: to quick values.
    assert chosen(0.95 * beside_j, mac_tables=files) is None
    sets = chosen(0.95 * beside_j, mac_tables=files, mac_supply=MacSupply(), clock_hz=1e9)
    assert sets is not None
    assert max(float(slow_last.delay_of(one.values).max()) for one in sets.values()) <= 0.9e-9


class Counted:
    """Progress that remembers its stages: title, steps, steps done."""

    def __init__(self):
        self.stages = []

    def start(self, stage, total):
        self.stages.append([stage, total, 0])

    def advance(self, n=1, note=""):
        self.stages[-1][2] += n

    def done(self):
        """Not needed."""


class StoppedError(Exception):
    """As if the process were killed."""


class TestARunThatWasStopped:
    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        out = tmp_path_factory.mktemp("whole")
        return fit_values(small(out, epochs=3)), out

    @pytest.mark.parametrize("epochs", [0, 1, 2])
    def test_goes_on_where_it_was(self, whole, tmp_path, epochs):
        """Stopped after the choice, or after some epochs: what comes out is the same."""
        result, _ = whole
        asked = small(tmp_path, epochs=3)

        class Killed(Counted):
            def start(self, stage, total):
                super().start(stage, total)
                if stage == "Retraining" and epochs == 0:
                    raise StoppedError

            def advance(self, n=1, note=""):
                super().advance(n)
                if self.stages[-1][0] == "Retraining" and self.stages[-1][2] == epochs + 1:
                    raise StoppedError  # when the next one is in the records, before its state is on disk

        with pytest.raises(StoppedError):
            fit_values(asked, Killed())
        counted = Counted()
        found = fit_values(replace(asked, resume=True), counted)
        assert [stage for stage, _, _ in counted.stages] == ["Retraining", "Measuring the result"]
        assert all(done == total for _, total, done in counted.stages)
        assert (found.values, found.options, found.steps_j) == (result.values, result.options, result.steps_j)
        assert found.accuracy_after == result.accuracy_after
        records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
        assert [r["epoch"] for r in records if r["kind"] == "epoch"] == [0, 1, 2]
        page = (tmp_path / "report.html").read_text()
        assert all(name in page for name in ("Step by step", "Values of each layer", "Retraining"))
        # Once more: nothing is left to do.
        again = Counted()
        assert fit_values(replace(asked, resume=True), again) == found
        assert again.stages == []

    def test_is_not_overwritten(self, whole):
        with pytest.raises(RecordError, match="holds a run already: --resume goes on with it"):
            fit_values(small(whole[1], epochs=3))
        with pytest.raises(RecordError, match=r"holds another run, with budget 0.3 \(now 0.5\): choose"):
            fit_values(small(whole[1], epochs=3, budget=0.5, resume=True))


def test_a_choice_that_failed_does_not_stand_in_the_way(tmp_path):
    with pytest.raises(PassError):
        fit_values(small(tmp_path, delays=(0.01,)))
    assert fit_values(small(tmp_path)).budget_j > 0

import json

import pytest
from synthetic_records import NAMES, records

from chipfit.report import fit_charts
from chipfit.report.history import read_history


@pytest.fixture
def history():
    return read_history(records())


def test_a_finished_run_has_every_chart(history):
    assert [c.name for c in fit_charts.charts(history)] == [
        "pareto-energy",
        "components",
        "layers",
        "bits",
        "channels",
        "sensitivity",
        "training",
    ]


def test_every_chart_is_plain_data(history):
    for chart in fit_charts.charts(history):
        assert json.loads(json.dumps([chart.data, chart.layout], allow_nan=False)) == [
            chart.data,
            chart.layout,
        ]


def test_no_records_of_a_kind_no_chart():
    assert fit_charts.charts(read_history([{"kind": "run", "task": "digits"}])) == []


def test_every_limited_quantity_has_its_plot_with_the_budget_in_it():
    lines = list(records())
    lines[0] = {**lines[0], "budget": {q: {"limit": 0.5} for q in ("latency", "energy")}}
    found = [c for c in fit_charts.charts(read_history(lines)) if c.name.startswith("pareto")]
    assert [c.name for c in found] == ["pareto-energy", "pareto-latency"]
    assert all(c.layout["annotations"][0]["text"] == "budget 50 %" for c in found)


def test_the_front_has_only_candidates_that_none_beats():
    def candidate(name, ratio, accuracy):
        return {
            "kind": "candidate",
            "name": name,
            "ratios": {"energy": ratio},
            "accuracy_validation": accuracy,
        }

    tried = [candidate("a", 0.5, 0.9), candidate("b", 0.4, 0.8), candidate("c", 0.45, 0.7)]
    chart = fit_charts.pareto(read_history(tried), "energy")
    front = next(trace for trace in chart.data if trace["name"] == "best of all")
    assert front["x"] == pytest.approx([40, 50])
    assert front["y"] == pytest.approx([80, 90])


def test_uniform_and_chosen_candidates_are_marked(history):
    names = [trace["name"] for trace in fit_charts.pareto(history, "energy").data]
    assert {"uniform bits", "integer program", "chosen", "8-bit original"} <= set(names)


def test_components_add_up_to_what_the_bars_say(history):
    chart = fit_charts.energy_by_component(history)
    before = sum(trace["x"][0] for trace in chart.data)  # µJ
    assert before == pytest.approx(history.original.cost.totals.energy_j * 1e6)
    assert [a["text"] for a in chart.layout["annotations"]] == ["<b>119 µJ</b>", "<b>39.3 µJ</b>"]


def test_layers_stand_in_the_order_in_which_they_run(history):
    assert [trace["x"] for trace in fit_charts.energy_by_layer(history).data] == [NAMES, NAMES]


def test_sensitivity_rows_are_sorted_by_kind_and_width():
    def probe(layer, choice, value):
        return {"kind": "sensitivity", "layer": layer, "choice": choice, "value": value, "loss": 0.1}

    choice = {"layer": "a", "channels": 16, "channels_before": 16}
    lines = [
        probe("a", "channels", 8),
        probe("*", "stored", 4),
        probe("a", "activations", 4),
        probe("a", "weights", 8),
        probe("a", "weights", 2),
        {"kind": "candidate", "name": "x", "choices": [choice]},
    ]
    chart = fit_charts.sensitivity(read_history(lines))
    assert chart.data[0]["y"] == [
        "weights: 2 bits",
        "weights: 8 bits",
        "activations: 4 bits",
        "stored: 4 bits",
        "channels: 50 % kept",
    ]
    assert chart.data[0]["x"] == ["a", "(all layers)"]


def test_a_loss_below_zero_is_shown_as_harmless():
    lines = [
        {"kind": "sensitivity", "layer": "a", "choice": "weights", "value": bits, "loss": loss}
        for bits, loss in ((2, 1.0), (8, -0.5))
    ]
    assert fit_charts.sensitivity(read_history(lines)).data[0]["z"] == [
        [0.0],
        [-4.0],
    ]  # log10(1), four decades less


def test_training_counts_epochs_on_through_the_stages(history):
    chart = fit_charts.training(history)
    chosen = [trace for trace in chart.data if trace["showlegend"]]
    assert [trace["x"] for trace in chosen] == [list(range(1, 13))] * 3  # 2 of screening, 10 of training


def test_names_from_files_are_drawn_as_they_are():
    row = {"name": "<b>%{x}&", "energy_j": 1e-6}
    chart = fit_charts.energy_by_layer(read_history([{"kind": "original", "cost": {"layers": [row]}}]))
    assert chart.data[0]["x"] == ["&lt;b&gt;% {x}&amp;"]

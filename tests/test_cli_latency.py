"""The commands of a device from a few measured networks."""

import json

import numpy as np
import pytest
from test_cli import document, mistake, run, usage

from chipfit.cost.latency import nb201


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of twenty measured cells of a made-up device, and the device fitted to it."""
    folder = tmp_path_factory.mktemp("latency")
    todo = json.loads(run("latency", "select", "nb201", "-n", "20").stdout)
    space = nb201.space()
    rows = [space.places[label] for label in todo["networks"]]
    latency_ms = 1.5 + 6e-8 * space.features["operations"][rows] + 0.02 * space.features["kernels"][rows]
    lines = [f"{label},{ms:.4f}" for label, ms in zip(todo["networks"], latency_ms, strict=True)]
    (folder / "measured.csv").write_text("\n".join(["network,latency_ms", *lines]) + "\n")
    found = document(
        "latency",
        "fit",
        "nb201",
        folder / "measured.csv",
        "-o",
        folder / "phone.json",
        "--page",
        folder / "p.html",
    )
    (folder / "fit.json").write_text(json.dumps(found))
    return folder


def test_a_fit_says_how_good_it_is(folder):
    found = json.loads((folder / "fit.json").read_text())
    assert (found["name"], found["space"]) == ("phone", "nb201")
    assert len(found["networks"]) == 20
    assert found["median_error"] < 0.1
    assert (folder / "p.html").read_text().startswith("<!DOCTYPE html>")


def test_networks_are_predicted_with_intervals_and_the_chance_to_meet_a_budget(folder):
    found = document("latency", "predict", folder / "phone.json", "3-3-3-3-3-3", "111111", "--budget", "8ms")
    slow, fast = found["networks"]
    assert slow["low_s"] < slow["latency_s"] < slow["high_s"]
    space = nb201.space()
    row = space.places["3-3-3-3-3-3"]
    truth = 1.5e-3 + 6e-11 * space.features["operations"][row] + 2e-5 * space.features["kernels"][row]
    assert slow["latency_s"] == pytest.approx(truth, rel=0.05)
    assert slow["probability_within_budget"] < 0.01
    assert fast["probability_within_budget"] > 0.99


def test_a_fitted_device_is_a_target(folder):
    found = document("cost", "resnet20", "--target", folder / "phone.json")
    assert found["target"] == "phone"
    assert found["totals"]["latency_s"] > 0
    assert found["totals"]["energy_j"] == 0
    assert any(note.startswith("nine of ten measurements would lie between") for note in found["warnings"])
    assert mistake("cost", "resnet20", "--target", folder / "phone.json", "--page", folder / "a.html") == (
        f"{folder / 'phone.json'} is a device that was measured: it takes no such option"
    )


def test_what_to_measure_next_is_none_of_what_is_measured(folder):
    table = folder / "measured.csv"
    found = json.loads(run("latency", "select", "nb201", "-n", "3", "--measured", table).stdout)
    assert found["measured"] == 20
    assert 0 < found["uncertainty"] < 1
    assert not any(f"\n{label}," in table.read_text() for label in found["networks"])


def test_a_search_keeps_to_the_budget(folder):
    arguments = ("latency", "search", folder / "phone.json", "nb201", "--budget", "8ms", "-n", "3")
    found = document(*arguments)
    assert len(found["networks"]) == 3
    assert all(row["probability_within_budget"] >= 0.95 for row in found["networks"])
    assert found["measured"] == 20
    assert run("latency", "search", folder / "phone.json", "nb201", "--budget", "1us").exit_code == 3


def test_a_search_takes_accuracies_from_a_table(folder):
    (folder / "accuracy.csv").write_text("arch,accuracy\n1-1-1-1-1-1,80.5\n2-2-2-2-2-2,70\n")
    found = document(
        "latency", "search", folder / "phone.json", "nb201", "--budget", "1s", "--score", "accuracy",
        "--table", folder / "accuracy.csv",
    )  # fmt: skip
    assert [(row["network"], row["score"]) for row in found["networks"]] == [
        ("1-1-1-1-1-1", 80.5),
        ("2-2-2-2-2-2", 70.0),
    ]
    assert "belong together" in usage(
        "latency", "search", folder / "phone.json", "nb201", "--budget", "1s", "--score", "accuracy"
    )


def test_seconds_in_a_column_of_milliseconds_are_asked_about(folder):
    rows = (folder / "measured.csv").read_text().split("\n")[1:-1]
    wrong = [f"{label},{float(ms) / 1e3}" for label, ms in (row.split(",") for row in rows)]
    (folder / "wrong.csv").write_text("\n".join(["network,latency_ms", *wrong]))
    assert "are these seconds?" in mistake(
        "latency", "fit", "nb201", folder / "wrong.csv", "-o", folder / "x.json"
    )
    again = document(
        "latency", "fit", "nb201", folder / "wrong.csv", "--unit", "s", "-o", folder / "again.json"
    )
    assert again["median_error"] == pytest.approx(
        json.loads((folder / "fit.json").read_text())["median_error"]
    )


def test_text_is_for_people(folder):
    assert (
        "median error"
        in run("latency", "fit", "nb201", folder / "measured.csv", "-o", folder / "y.json").stdout
    )
    assert (
        "meets the budget"
        in run("latency", "predict", folder / "phone.json", "111111", "--budget", "5ms").stdout
    )


def test_mistakes_are_named(folder):
    assert mistake("latency", "select", "nb20") == (
        "no space 'nb20', did you mean 'nb201'? (or a folder of ONNX files, or module:function)"
    )
    assert "there is no device file" in mistake("latency", "predict", folder / "none.json", "111111")
    assert "nb201.npz: --data names a folder" in run("latency", "bench", "--data", folder).stderr


@pytest.mark.data
def test_the_bench_has_tasks_and_a_mean(shared_data):
    found = document("latency", "bench", "--data", shared_data / "latency", "--task", "FD", "--seeds", "1")
    assert set(found["tasks"]) == {"FD"}
    assert found["mean"] == found["tasks"]["FD"]["spearman"]
    assert np.isfinite(list(found["tasks"]["FD"]["devices"]["fpga"].values())).all()

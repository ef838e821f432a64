"""The published tasks, on the public measurements."""

import numpy as np
import pytest

from chipfit.cost.latency.tasks import TASKS, Options, load_table, run
from chipfit.errors import MeasurementError


def test_there_are_twelve_tasks_and_no_target_is_a_source_of_its_own():
    assert list(TASKS) == ["ND", "N1", "N2", "N3", "N4", "NA", "FD", "F1", "F2", "F3", "F4", "FA"]
    assert all(set(task.sources).isdisjoint(task.targets) for task in TASKS.values())


@pytest.mark.data
def test_every_device_of_the_tasks_is_in_the_tables_but_those_said_to_be_missing(shared_data):
    for space in ("nb201", "fbnet"):
        known = set(load_table(shared_data / "latency", space).devices)
        named = {d for t in TASKS.values() if t.space == space for d in (*t.sources, *t.targets)}
        assert all("snapdragon_675" in name for name in named - known)


@pytest.mark.data
def test_networks_stand_in_the_order_of_the_space(shared_data):
    table = load_table(shared_data / "latency", "nb201")
    with np.load(shared_data / "latency" / "nb201.npz") as data:
        row = table.space.places["-".join(map(str, data["ops"][7].tolist()))]
        np.testing.assert_allclose(table.latency_ms[row], data["latency_ms"][7])


@pytest.mark.data
@pytest.mark.parametrize("name", ["FD", "F4"])
def test_twenty_samples_do_as_well_as_what_is_published(shared_data, name):
    document = run(shared_data / "latency", Options(seeds=1), [name])
    assert set(document["tasks"]) == {name}
    assert document["tasks"][name]["spearman"] >= TASKS[name].published
    assert document["mean"] == document["tasks"][name]["spearman"]


def test_an_unknown_task_names_the_nearest(tmp_path):
    with pytest.raises(MeasurementError, match="no task 'N5'; valid: F1, F2"):
        run(tmp_path, Options(), ["N5"])


def test_a_missing_table_is_said_to_be_missing(tmp_path):
    with pytest.raises(
        MeasurementError, match=r"fbnet.npz: --data names a folder with nb201.npz and fbnet.npz"
    ):
        run(tmp_path, Options(), ["FD"])


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "fbnet.npz").write_bytes(b"nothing")
    with pytest.raises(MeasurementError, match="is not a table of latencies"):
        run(tmp_path, Options(), ["FD"])

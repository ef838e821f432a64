"""Weight tables in memory and on disk."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from chipfit.cost.gates.table import WeightTable, load_table, save_table
from chipfit.errors import RecordError, TableError


@pytest.fixture
def table():
    return WeightTable(
        multiplier="mac", library="cells", supply_v=1.0, weight_bits=2, activation_bits=2, sum_bits=5,
        weight_signed=True, activation_signed=False, mode="inertial", grid_ps=10.0, seed=0,
        operands="declared: relu", energy_transitions=64, delay_transitions=16, weights=(-2, -1, 0, 1),
        energy_j=(3.0, 4.0, 1.0, 2.0), delay_s=(1.0, 2.0, 0.5, 1.5), bound_s=(1.0, 2.0, 1.0, 2.0),
        static_delay_s=2.0, input_energy_j=0.1, register_energy_j=0.2, clock_energy_j=0.3, leakage_w=1e-9,
        area_um2=None, gates=12, arrivals=(0.5, 0.25), class_delays_s=((-1, 1.0), (3, 2.0)),
    )  # fmt: skip


def test_a_table_comes_back_from_disk_as_it_was(table, tmp_path):
    assert load_table(save_table(table, tmp_path / "t.json")) == table
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_energies_and_delays_are_looked_up_by_value(table):
    assert table.energy_of(np.array([[-2, 1], [0, 0]])).tolist() == [[3.0, 2.0], [1.0, 1.0]]
    assert table.delay_of([-1]).tolist() == [2.0]
    with pytest.raises(TableError, match=r"^weight 2 is not in the table: -2 to 1$"):
        table.energy_of([0, 2])


def test_the_document_has_the_lists_and_how_they_came_about(table):
    document = table.to_json()
    assert document["weights"] == [-2, -1, 0, 1]
    assert document["method"] == (
        "gate by gate with inertial delays on a grid of 10 ps, cells of cells at 1 V; operands "
        "declared: relu; 64 transitions a weight for energy, 16 for delay"
    )
    assert document["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": (0, 1, 2, 3)}, "weights must be all values of 2 bits, increasing"),
        ({"energy_j": (1.0,)}, "energy_j has 1 values for 4 weights"),
        ({"leakage_w": -1.0}, "leakage_w must be finite and at least 0"),
        ({"delay_s": (1.0, float("nan"), 1.0, 1.0)}, "delay_s must be finite and at least 0"),
        ({"class_delays_s": ((-1, -1.0),)}, "class_delays_s must be finite and at least 0"),
    ],
)
def test_a_table_that_cannot_be_says_why(table, change, message):
    with pytest.raises(TableError, match=f"^{re.escape(message)}$"):
        replace(table, **change)


def written(table, path, **change):
    document = {**table.to_json(), **change}
    path.write_text(json.dumps({name: value for name, value in document.items() if value != "left out"}))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "{} is not a weight table: expected the format 'chipfit weight table 1'"),
        ({"energies": []}, "{}: unknown key 'energies', did you mean 'energy_j'?"),
        ({"energy_j": "left out"}, "{}: energy_j is missing"),
        ({"seed": "zero"}, "{}: seed: input should be a valid integer, got 'zero'"),
        ({"energy_j": [1.0, None, 1.0, 1.0], "gates": True},
         "{}: energy_j[1]: input should be a valid number, got None; "
         "gates: input should be a valid integer, got True"),
        ({"delay_s": [1.0]}, "{}: delay_s has 1 values for 4 weights"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_says_where(table, tmp_path, change, message):
    path = written(table, tmp_path / "t.json", **change)
    with pytest.raises(TableError, match=f"^{re.escape(message.format(path))}$"):
        load_table(path)


def test_a_file_that_is_none_says_so(table, tmp_path):
    path = tmp_path / "t.json"
    with pytest.raises(TableError, match=f"^there is no weight table {re.escape(str(path))}$"):
        load_table(path)
    path.write_text(save_table(table, tmp_path / "whole.json").read_text()[:200])
    with pytest.raises(TableError, match=f"^{re.escape(str(path))}, line [0-9]+: not JSON: "):
        load_table(path)
    with pytest.raises(RecordError, match=r"^cannot write "):
        save_table(table, tmp_path / "nowhere" / "t.json")

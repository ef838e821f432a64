"""The embedded cells: logical effort, and the inverters that presets are calibrated with."""

import pytest

from chipfit.cost.gates.effort import CELLS, TECHNOLOGIES, embedded_library, kind
from chipfit.errors import LibraryError


@pytest.mark.parametrize(
    ("technology", "capacitance_ff", "delay_ps", "inside_fj", "leakage_nw"),
    [("ihp_sg13g2", 2.89, 61.5, 1.71, 0.063), ("asap7", 0.62, 11.1, 0.048, 0.026)],
)
def test_an_inverter_at_fan_out_2_reproduces_its_calibration(
    technology, capacitance_ff, delay_ps, inside_fj, leakage_nw
):
    inverter = embedded_library(technology).cell("INV")
    arc = inverter.outputs[0].arcs[0]
    load_f = 2 * capacitance_ff * 1e-15
    assert inverter.capacitance_f[0] == pytest.approx(capacitance_ff * 1e-15)
    assert arc.rise_s.at(slew_s=0, load_f=load_f) == pytest.approx(delay_ps * 1e-12)
    assert arc.rise_energy_j.at(slew_s=0, load_f=load_f) == pytest.approx(inside_fj * 1e-15)
    assert inverter.leakage_w == pytest.approx(leakage_nw * 1e-9)


@pytest.mark.parametrize(
    ("technology", "cell", "capacitance_ff", "delay_ps"),
    [
        ("ihp_sg13g2", "NAND2", 2.98, 79.9), ("ihp_sg13g2", "XOR2", 5.48, 128),
        ("asap7", "NAND2", 0.51, 15.6), ("asap7", "XOR2", 0.98, 22.6),
    ],
)  # fmt: skip
def test_other_cells_are_within_two_thirds_of_the_real_ones(technology, cell, capacitance_ff, delay_ps):
    # One inverter is all that is calibrated: what that is worth for other cells, at about fan-out 2.
    ours = embedded_library(technology).cell(cell)
    delay_s = ours.outputs[0].arcs[0].rise_s.at(slew_s=0, load_f=2 * capacitance_ff * 1e-15)
    assert 0.6 < delay_s * 1e12 / delay_ps < 1.67
    assert 0.6 < ours.capacitance_f[0] * 1e15 / capacitance_ff < 1.9


def test_functions_are_what_the_names_say():
    tables = {"NAND2": 0b0111, "NOR2": 0b0001, "XOR2": 0b0110, "MUX2": 0b11001010, "MAJ3": 0b11101000}
    assert {name: kind(name).table for name in tables} == tables
    assert kind("AOI22").pins == ("A", "B", "C", "D")


def test_a_cell_of_two_stages_is_the_sum_of_both():
    for two, first in (("AND2", "NAND2"), ("OR3", "NOR3"), ("MAJ3", "MAJI3")):
        # The first stage drives one inverter: p1 + 1, then the inverter's own 1.
        assert CELLS[two][1:] == (CELLS[first][1], CELLS[first][2] + 2)


def test_every_preset_names_its_source():
    assert all(technology.source for technology in TECHNOLOGIES.values())
    with pytest.raises(LibraryError) as caught:
        embedded_library("asap")
    assert str(caught.value) == "unknown technology 'asap', did you mean 'asap7'?"

"""A table of weight values as people read it."""

import pytest
from browser import opened

from chipfit.report import gates
from chipfit.report.html import render_gates, write_gates


@pytest.fixture
def found():
    return {
        "multiplier": "<b>mac</b>", "library": "cells", "supply_v": 1.0, "weight_bits": 2,
        "activation_bits": 2, "sum_bits": 5, "weight_signed": True, "activation_signed": False,
        "mode": "inertial", "grid_ps": 10.0, "seed": 0, "operands": "declared: relu",
        "energy_transitions": 64, "delay_transitions": 16, "weights": [-2, -1, 0, 1],
        "energy_j": [3e-15, 4e-15, 1e-15, 2e-15], "delay_s": [2e-11, 4e-11, 1e-11, 3e-11],
        "bound_s": [3e-11, 4e-11, 3e-11, 4e-11], "static_delay_s": 5e-11, "input_energy_j": 1e-16,
        "register_energy_j": 2e-16, "clock_energy_j": 3e-16, "leakage_w": 1e-9, "area_um2": None,
        "gates": 12, "arrivals": [0.0, 0.5, 0.25, 0.2, 0.04], "class_delays_s": [[-1, 2e-11], [3, 4e-11]],
        "method": "by hand", "error": "none", "warnings": ["one <u>note</u>"],
    }  # fmt: skip


def test_values_stand_in_order_of_energy_and_of_delay(found):
    assert gates.by_energy(found) == [2, 3, 0, 1]
    assert gates.by_delay(found) == [2, 0, 3, 1]
    one = gates.value(found, 0)
    assert (one.weight, one.energy, one.energy_share, one.delay, one.delay_share, one.bound) == (
        "−2", "3.00 fJ", "75 %", "20.0 ps", "50 %", "30.0 ps",
    )  # fmt: skip


def test_the_summary_says_how_far_values_differ(found):
    assert gates.summary(found) == (
        "The cheapest weight, 0, takes 25 % of the energy of the dearest, −1. The slowest takes 40.0 ps; "
        "3 values need at most 90 % of that."
    )
    assert "no value needs at most" in gates.summary({**found, "delay_s": [1e-11] * 4})


def test_what_no_weight_changes_stands_apart(found):
    amounts = {amount.name: (amount.value, amount.remark) for amount in gates.amounts(found)}
    assert amounts == {
        "Energy a cycle": ("2.50 fJ", "mean of all weights; 1.00 fJ to 4.00 fJ"),
        "Largest delay": ("40.0 ps", "seen; static timing allows 50.0 ps"),
        "Registers": ("500 aJ", "a cycle, 300 aJ of it the clock; assumed"),
        "Input nets": ("100 aJ", "a cycle, driven by the registers"),
        "Leakage": ("1.00 nW", "of the gates"),
        "Gates": ("12", "the library states no area"),
    }


def test_charts_show_what_the_table_says(found):
    drawn = {chart.name: chart for chart in gates.charts(found)}
    assert list(drawn) == ["energy", "delay", "both", "arrivals", "classes"]
    assert drawn["energy"].data[0]["x"] == [0]  # a quarter of four values is called cheap
    assert drawn["arrivals"].data[0]["x"] == pytest.approx([0, 10, 20, 30, 40])  # ps
    assert drawn["arrivals"].data[0]["y"] == pytest.approx([0, 50, 25, 20, 4])
    assert drawn["classes"].data[0]["x"] == ["none", "3"]
    assert "In 1.0 % of them no sum bit changes" in drawn["arrivals"].caption
    assert [chart.name for chart in gates.charts({**found, "mode": "zero"})] == ["energy", "delay", "both"]


def test_names_from_files_stay_text(found):
    assert "&lt;b&gt;mac&lt;/b&gt;" in render_gates(found)
    assert "<b>mac" not in render_gates(found)
    assert "one &lt;u&gt;note&lt;/u&gt;" in render_gates(found)


def test_the_page_draws_its_charts_in_a_browser(found, tmp_path):
    page = write_gates(found, tmp_path / "gates.html")
    dom, said = opened(page, tmp_path / "profile")
    assert said == []
    assert dom.count('class="main-svg"') >= 5

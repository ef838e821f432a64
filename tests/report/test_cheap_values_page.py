"""A network of cheap weight values as people read it."""

import pytest
from browser import opened

from chipfit.report import cheap_values
from chipfit.report.html import render_values, write_values

EPOCHS = [
    {"epoch": number, "loss": 1.0, "accuracy_validation": 0.9 + 0.01 * number, "loss_validation": 0.1}
    for number in range(3)
]


@pytest.fixture
def found():
    options = [
        {"multiplier": style, "delay": delay, "largest_activation": 15, "supply_v": supply_v,
         "energy_j": energy_j, "damage": damage}
        for style, delay, supply_v, energy_j, damage in (
            ("array", 1.0, 1.1, 2e-9, 0.3), ("booth", 1.0, 1.1, 2.1e-9, 0.2), ("booth", 0.8, 0.9, None, None),
        )
    ]  # fmt: skip
    return {
        "task": "<b>task</b>", "multiplier": "booth", "delay": 1.0, "largest_activation": 15,
        "supply_v": 1.1, "budget_j": 2.5e-9, "energy_j": 2e-9, "accuracy_before": 0.95,
        "accuracy_after": 0.94, "values": {"<i>conv</i>": [-8, 0, 3], "last": [0, 4]}, "options": options,
        "steps_j": {"4-bit original on array": 8e-9, "original on booth": 7e-9, "zero gating": 4e-9,
                    "values, retrained": 2e-9, "voltage": 2e-9},
        "model": "out/model.onnx", "table": "out/table.json", "page": "out/report.html", "budget_met": True,
    }  # fmt: skip


def test_the_summary_says_what_it_takes_and_what_it_costs(found):
    assert cheap_values.summary(found) == (
        "The gates of the multipliers take 25.0 % of what the 4-bit original on array takes on plain "
        "hardware. Test accuracy is 94.0 %; it was 95.0 %."
    )
    assert "above the budget" in cheap_values.summary({**found, "budget_met": False})


def test_the_headline_has_every_choice(found):
    amounts = {amount.name: (amount.value, amount.remark) for amount in cheap_values.amounts(found)}
    assert amounts["Energy of the original"] == (
        "25.0 %",
        "2.00 nJ, 8.00 nJ before; at most 31.2 % was asked",
    )
    assert amounts["Multiplier"] == ("booth", "2 to choose from")
    assert amounts["Weight values"] == ("2 to 3", "a layer; activations up to 15")


def test_charts_show_what_the_document_says(found):
    drawn = {chart.name: chart for chart in cheap_values.charts(found, EPOCHS)}
    assert list(drawn) == ["steps", "values", "options", "training"]
    assert drawn["steps"].data[0]["x"] == pytest.approx([100, 87.5, 50, 25, 25])
    assert drawn["steps"].layout["shapes"][0]["x0"] == pytest.approx(31.25)
    assert drawn["values"].data[0]["y"] == [-8, 0, 3, 0, 4]
    by_name = {trace["name"]: trace for trace in drawn["options"].data}
    assert by_name["booth"]["y"] == [0.2]  # where no values keep the budget, there is no point
    assert (by_name["chosen"]["x"], by_name["chosen"]["y"]) == ([1.1], [0.2])
    assert drawn["training"].data[0]["y"] == pytest.approx([90, 91, 92])
    one = {**found, "options": found["options"][:1]}
    assert [chart.name for chart in cheap_values.charts(one, [])] == ["steps", "values"]


def test_tables_have_what_charts_leave_out(found):
    assert cheap_values.rows(found) == [("<i>conv</i>", "−8, 0, 3"), ("last", "0, 4")]
    assert cheap_values.tried(found)[-1] == ("booth", "80.0 %", "15", "0.9 V", "no values", "–")


def test_names_from_files_stay_text(found):
    page = render_values(found)
    assert "&lt;b&gt;task&lt;/b&gt;" in page
    assert "<b>task" not in page
    assert "<i>conv" not in page


def test_the_page_draws_its_charts_in_a_browser(found, tmp_path):
    page = write_values(found, EPOCHS, tmp_path / "report.html")
    dom, said = opened(page, tmp_path / "profile")
    assert said == []
    assert dom.count('class="main-svg"') >= 4

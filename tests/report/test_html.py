import re

import pytest
from browser import opened
from synthetic_records import records, write

from chipfit.errors import RecordError
from chipfit.report.fit_charts import charts
from chipfit.report.history import read_history
from chipfit.report.html import build, facts, headline, layer_table, remarks, render, tiles


def text_of(page):
    return page.read_text(encoding="utf-8")


def without_scripts(text):
    return re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


def test_the_page_is_written_beside_the_records(run_directory):
    assert build(run_directory) == run_directory / "report.html"
    assert sorted(p.name for p in run_directory.iterdir()) == ["records.jsonl", "report.html"]


def test_the_page_is_the_same_each_time(run_directory):
    first = build(run_directory).read_bytes()
    assert build(run_directory).read_bytes() == first


def test_the_page_loads_nothing(run_directory):
    text = without_scripts(text_of(build(run_directory)))
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", text) == []


def test_the_headline_tells_before_after_and_budget():
    found = headline(read_history(records()))
    assert (found.state, found.badge) == ("met", "Budget met")
    assert found.sentence == (
        "Energy falls to 33.0 % of the 8-bit original (budget 35 %). Test accuracy is 91.1 %; it was 91.6 %."
    )


def test_the_tiles_have_accuracy_and_all_four_costs():
    found = {tile.name: tile for tile in tiles(read_history(records()))}
    assert list(found) == ["Test accuracy", "Energy", "Latency", "DRAM traffic", "Memory"]
    assert (found["Energy"].before, found["Energy"].after) == ("119 µJ", "39.3 µJ")
    assert [name for name, tile in found.items() if tile.budgeted] == ["Energy"]
    # sqrt(0.9115 * 0.0885 / 1017) = 0.0089
    assert found["Test accuracy"].remark == "\N{MINUS SIGN}0.5 points; 1,017 images, standard error 0.9"


def test_a_missed_budget_says_by_how_much():
    lines = list(records())
    lines[-1] = {**lines[-1], "budget_met": False, "shortfall": {"energy": 1.04, "accuracy": 1.002}}
    found = headline(read_history(lines))
    assert (found.state, found.badge) == ("missed", "Budget missed")
    assert found.sentence.startswith(
        "The budget is missed: energy by 4.0 %, accuracy by 0.2 %. This is the best that was found. "
    )


@pytest.mark.parametrize("kept", [1, 2, 3, 120, 200, 250, 330])
def test_a_run_that_is_not_finished_has_a_page_that_says_so(tmp_path, kept):
    lines = [record for record in records() if record["kind"] != "final"][:kept]
    text = without_scripts(text_of(build(write(tmp_path, lines))))
    assert "Not finished" in text
    assert "Nothing here is a result yet." in text


def test_a_broken_last_line_is_left_out(tmp_path):
    lines = list(records())
    directory = write(tmp_path, [*lines[:-1], '{"kind": "final", "budg'])
    assert "Not finished" in without_scripts(text_of(build(directory)))


def test_text_from_files_is_escaped(tmp_path):
    attack = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"
    lines = [
        {
            "kind": "run",
            "task": attack,
            "target": attack,
            "options": {attack: attack},
            "versions": {attack: attack},
        },
        {
            "kind": "original",
            "accuracy_validation": 0.9,
            "cost": {
                "method": attack,
                "error": attack,
                "warnings": [attack],
                "totals": {"energy_j": 1e-6, "energy_by_component_j": {attack: 1e-6}},
                "layers": [{"name": attack, "operator": attack, "energy_j": 1e-6}],
            },
        },
        {"kind": "note", "text": attack},
        {
            "kind": "candidate",
            "name": attack,
            "origin": attack,
            "recipe": attack,
            "ratios": {"energy": 0.5},
            "accuracy_validation": 0.9,
            "chosen": True,
            "choices": [{"layer": attack, "weight_bits": 4}],
        },
        {"kind": "epoch", "candidate": attack, "epoch": 0, "loss": 1.0},
    ]
    text = text_of(build(write(tmp_path, lines)))
    assert "<script>alert" not in text
    assert "<img" not in without_scripts(text)
    assert text.count("<script>") == text.count("</script>") == 2


def test_method_and_error_stand_beside_the_numbers(run_directory):
    text = text_of(build(run_directory))
    assert text.count("energy within 5 % of a step-by-step walk of the nest on small layers") >= 2


def test_facts_are_what_it_takes_to_do_it_again():
    found = dict(facts(read_history(records())))
    assert found["Budget"] == "energy at most 35.0 % of the 8-bit original"
    assert (found["Seed"], found["--max-drop"], found["torch"]) == ("0", "0.01", "2.13.0")
    assert found["ONNX Runtime"] == "100.00 % of the test images get the class that torch gives them"


def test_remarks_are_the_warnings_and_notes_each_once():
    warned = {"kind": "original", "cost": {"warnings": ["w"]}}
    notes = [{"kind": "note", "text": text} for text in ("w", "n", "n")]
    assert remarks(read_history([warned, *notes])) == ["w", "n"]


def test_the_layer_table_has_before_and_after():
    first = layer_table(read_history(records()))[0]
    assert (first["name"], first["bits"], first["channels"]) == ("conv1", "8 / 6", "16 of 16")
    assert first["before"].endswith("µJ")
    assert first["after"].endswith("µJ")


def test_weight_values_stand_beside_the_layers_that_are_restricted_to_them():
    lines = list(records())
    assert "Weight values" not in render(read_history(lines))
    for line in lines:
        if line["kind"] == "final":
            line["choices"][0]["values"] = [-16, -4, 0, 4, 16]
    history = read_history(lines)
    assert [row["weight_values"] for row in layer_table(history)[:2]] == ["−16, −4, 0, 4, 16", ""]
    assert '<td class="left">−16, −4, 0, 4, 16</td>' in render(history)


def test_a_folder_without_records_is_an_error(tmp_path):
    with pytest.raises(RecordError) as error:
        build(tmp_path)
    assert str(error.value) == f"no records.jsonl in {tmp_path}: expected the output directory of chipfit fit"


def test_empty_records_are_an_error(tmp_path):
    with pytest.raises(RecordError) as error:
        build(write(tmp_path, []))
    assert str(error.value) == f"{tmp_path}/records.jsonl holds no records yet"


def test_a_wrong_record_is_named_with_its_file(tmp_path):
    with pytest.raises(RecordError) as error:
        build(write(tmp_path, [{"kind": "final"}]))
    assert str(error.value) == f"{tmp_path}/records.jsonl, record 1 (final): budget_met: field required"


def test_in_a_browser_every_chart_draws_and_the_console_is_clean(run_directory, tmp_path):
    dom, console = opened(build(run_directory), tmp_path / "profile")
    assert console == []
    for chart in charts(read_history(records())):
        _, _, after = dom.partition(f'id="chart-{chart.name}"')
        drawn, _, _ = after.partition("<figcaption>")
        assert 'class="main-svg"' in drawn, f"{chart.name} has not drawn"


def test_in_a_browser_a_run_that_is_not_finished_has_a_clean_console(tmp_path):
    lines = [record for record in records() if record["kind"] != "final"][:200]
    dom, console = opened(build(write(tmp_path / "run", lines)), tmp_path / "profile")
    assert console == []
    assert 'class="main-svg"' in dom


def test_the_browser_test_would_see_an_error(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<!DOCTYPE html><script>nothing.here()</script>")
    _, console = opened(page, tmp_path / "profile")
    assert "nothing is not defined" in "".join(console)

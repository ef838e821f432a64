from xml.etree import ElementTree

import pytest
from synthetic_records import records, write

from chipfit.errors import RecordError
from chipfit.report import picture
from chipfit.report.history import read_history

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_their_energies():
    history = read_history(records())
    root = ElementTree.fromstring(picture.picture(history))
    bars = [r for r in root.iter(f"{SVG}rect") if r.get("height") == "32"]
    before, after = (sum(float(r.get("width")) for r in bars[start : start + 5]) for start in (0, 5))
    assert before == pytest.approx(picture.BAR, abs=0.3)
    assert after / before == pytest.approx(history.final.ratios["energy"], abs=0.002)


def test_the_result_is_said_in_words_and_names_are_escaped():
    lines = list(records())
    lines[0] = {**lines[0], "task": "<digits>"}
    texts = [t.text for t in ElementTree.fromstring(picture.picture(read_history(lines))).iter(f"{SVG}text")]
    assert texts[0] == "<digits> on eyeriss"
    assert texts[1].startswith("Energy falls to 33.0 % of the 8-bit original (budget 35 %).")
    assert {"before", "119 µJ", "after", "39.3 µJ", "dram"} <= set(texts)


def test_the_picture_is_written(run_directory, tmp_path):
    assert picture.write(run_directory, tmp_path / "result.svg").read_text().startswith("<svg")


def test_a_run_that_is_not_finished_has_no_picture(tmp_path):
    directory = write(tmp_path, list(records())[:-1])
    with pytest.raises(RecordError) as error:
        picture.write(directory, tmp_path / "result.svg")
    assert str(error.value) == "the run is not finished: there is no result to draw yet"

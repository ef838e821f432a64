"""Tables of measurements, and everything that may be wrong with them."""

import numpy as np
import pytest

from chipfit.cost.latency import nb201
from chipfit.cost.latency.measurements import check, parse_table, read_scores, read_table
from chipfit.errors import MeasurementError

CELLS = ["3-3-3-3-3-3", "1-1-1-1-1-1", "4-4-4-4-4-4", "2-2-2-2-2-2", "0-3-0-3-1-2", "4-2-1-2-1-1"]


@pytest.fixture(scope="module")
def space():
    return nb201.space()


def table(rows, header="network,latency_ms", unit=None):
    return parse_table("\n".join([header, *rows]), "m.csv", unit)


def six(latencies=(20, 3, 6, 11, 12, 9)):
    return [f"{cell},{latency}" for cell, latency in zip(CELLS, latencies, strict=True)]


def test_a_sound_table_has_rows_of_the_space_and_milliseconds(space):
    found = check(table(six()), space)
    assert [space.labels[row] for row in found.rows] == CELLS
    assert found.latency_ms.tolist() == [20, 3, 6, 11, 12, 9]
    assert found.warnings == ("only 6 networks are measured: 20 are advised",)


@pytest.mark.parametrize(
    ("header", "latency", "unit"),
    [
        ("arch,latency_ms", "20", None),
        ("Architecture,Latency (ms)", "20", None),
        ("id,time_us", "20000", None),
        ("model;latency [s]", "0.02", None),
        ("name\tmean_latency_ns", "2e7", "ns"),
        ("ops,latency", "0.02", "s"),
        ("network,runtime seconds", "0.02", None),
        ("network,ms", "20", None),
    ],
)
def test_columns_may_have_several_names_and_units(space, header, latency, unit):
    header = header.replace("mean_latency_ns", "latency")
    delimiter = next(mark for mark in "\t;," if mark in header)
    scale = float(latency) / 20
    rows = [
        f"{cell}{delimiter}{scale * ms:.6g}" for cell, ms in zip(CELLS, (20, 3, 6, 11, 12, 9), strict=True)
    ]
    found = check(table(rows, header, unit), space)
    np.testing.assert_allclose(found.latency_ms, [20, 3, 6, 11, 12, 9])


def test_other_columns_and_empty_lines_are_passed_over(space):
    rows = [f"{row.partition(',')[0]},9 %,{row.partition(',')[2]}" for row in six()]
    found = check(table(["", *rows, ""], "network,accuracy,latency_ms"), space)
    assert found.latency_ms.tolist() == [20, 3, 6, 11, 12, 9]


def test_a_network_measured_again_counts_once(space):
    found = check(table([*six(), f"{CELLS[0]},21", f"{CELLS[0]},22"]), space)
    assert found.latency_ms[0] == 21
    assert found.warnings[0] == "lines 2, 8, 9: 3-3-3-3-3-3 was measured 3 times; the median counts"


def mistake(rows, space, **more):
    with pytest.raises(MeasurementError) as caught:
        check(table(rows, **more), space)
    return str(caught.value)


@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf", "", "fast"])
def test_a_latency_must_be_a_positive_number(space, value):
    assert mistake([*six(), f"1-2-3-4-0-0,{value}"], space) == (
        f"m.csv: line 8: latency '{value}' of 1-2-3-4-0-0 is not a positive number"
    )


def test_a_network_must_be_of_the_space(space):
    assert mistake([*six(), "1-2-3-4-0-9,5"], space) == (
        "m.csv: line 8: '1-2-3-4-0-9' is no network of the space 'nb201': "
        "expected 6 of 0 to 4, such as 4-4-4-4-4-4"
    )


def test_repeats_must_not_contradict_each_other(space):
    assert mistake([*six(), f"{CELLS[0]},41"], space) == (
        "m.csv: lines 2, 8: 3-3-3-3-3-3 took 20 and 41 ms: measure it again, or drop what is wrong"
    )


def test_few_networks_are_too_few(space):
    assert mistake(six()[:3], space) == (
        "m.csv: 3 networks are too few: at least 5, better 20; 'chipfit latency select nb201' says which"
    )


def test_seconds_that_are_called_milliseconds_are_asked_about(space):
    text = mistake(six([0.020, 0.003, 0.006, 0.011, 0.012, 0.009]), space)
    assert text.startswith("m.csv: 10.0 µs is faster than any device runs networks of ")
    assert text.endswith(
        "are these seconds? give the unit (--unit s, ms, us or ns; --unit ms if it is right)"
    )


def test_microseconds_that_are_called_milliseconds_are_asked_about(space):
    text = mistake(six([2e8, 3e7, 6e7, 1e8, 1e8, 9e7]), space)
    assert "slower than any device" in text
    assert "are these microseconds?" in text


def test_a_stated_unit_is_believed(space):
    found = check(table(six([0.020, 0.003, 0.006, 0.011, 0.012, 0.009]), unit="ms"), space)
    assert found.latency_ms[0] == 0.02


def test_all_problems_are_told_at_once(space):
    text = mistake([*six(), "9,5", "1-2-3-4-0-0,-1"], space)
    assert "line 8" in text
    assert "line 9" in text


def test_equal_latencies_are_remarked_on(space):
    found = check(table(six([5] * 6)), space)
    assert "all networks take the same time: nothing tells them apart" in found.warnings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m.csv is empty: expected a table with the columns network and latency_ms"),
        (
            "a,latency_ms\n1,2",
            "m.csv: no column names the networks; its columns are 'a', 'latency_ms': call one 'network'",
        ),
        (
            "network,b\n1,2",
            "m.csv: no column has latencies; its columns are 'network', 'b': call one 'latency_ms'",
        ),
        (
            "network,latency\n1,2",
            "m.csv: column 'latency' does not say its unit: call it latency_ms, or give the unit "
            "(--unit ms, s, us or ns)",
        ),
    ],
)  # fmt: skip
def test_a_table_must_have_its_columns(text, message):
    with pytest.raises(MeasurementError) as caught:
        parse_table(text, "m.csv")
    assert str(caught.value) == message


def test_a_file_must_be_there_and_the_unit_known(tmp_path):
    with pytest.raises(MeasurementError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(MeasurementError, match=r"unknown unit 'min', did you mean 'ms'\?|unknown unit 'min'"):
        read_table(tmp_path / "none.csv", "min")


def test_a_file_of_bytes_is_no_table(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MeasurementError, match="cannot be read as text"):
        read_table(path)


def test_scores_are_by_network(tmp_path, space):
    path = tmp_path / "acc.csv"
    path.write_text("network,accuracy\n3-3-3-3-3-3,93.5\n")
    scores = read_scores(path, space, "accuracy")
    assert scores[space.places["3-3-3-3-3-3"]] == 93.5
    assert np.isnan(scores).sum() == 15624
    with pytest.raises(MeasurementError, match="has no column 'top1'"):
        read_scores(path, space, "top1")

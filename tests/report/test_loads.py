import xml.etree.ElementTree as ET

from chipfit.report.loads import heat_map, pictures


def row(name, latency_s, pairs=25.0):
    return {
        "name": name, "latency_s": latency_s, "macs": 100,
        "sparse": {"cycles": 1500.0, "imbalance": 1.25, "pairs": pairs},
    }  # fmt: skip


def squares(svg):
    return [e for e in ET.fromstring(svg) if e.tag.endswith("rect")]


def test_there_is_a_square_for_every_element_and_the_busiest_is_the_darkest():
    found = squares(heat_map([[0.0, 2.0, 4.0], [1.0, 3.0, 4.0]], "t"))
    fills = [e.get("fill") for e in found]
    assert len(found) == 6
    assert fills[0] == "#eef2f6"
    assert fills[2] == fills[5] == "#00568c"
    assert fills == sorted(fills, reverse=True, key=lambda c: c) or len(set(fills)) == 5


def test_rows_and_columns_are_those_of_the_array():
    found = squares(heat_map([[1.0, 1.0]], "t"))
    assert {e.get("y") for e in found} == {"0.00"}
    assert [e.get("x") for e in found] == ["0.00", "96.00"]


def test_an_array_with_nothing_to_do_is_light():
    assert {e.get("fill") for e in squares(heat_map([[0.0]], "t"))} == {"#eef2f6"}


def test_names_cannot_break_the_page():
    assert "<b>" not in heat_map([[1.0]], "<b>")


def test_a_picture_says_what_is_skipped_and_who_is_idle():
    (found,) = pictures({"layers": [row("conv", 1.0)], "loads": [((1.0, 0.0),)]})
    assert found.layer == "conv"
    assert found.text == "1.50 kcycles, imbalance 1.25, 75 % skipped, 1 of 2 elements idle"


def test_the_longest_layers_are_shown_in_their_order():
    layers = [row(name, latency) for name, latency in (("a", 2.0), ("b", 1.0), ("c", 3.0), ("d", 0.5))]
    document = {"layers": layers, "loads": [((1.0,),)] * 3 + [()]}
    assert [p.layer for p in pictures(document, most=2)] == ["a", "c"]


def test_estimates_without_loads_have_no_pictures():
    assert pictures({"layers": [row("a", 1.0)]}) == []

"""A cost as people read it: text, charts and page."""

import re

import pytest
from browser import opened

from chipfit.report import nests
from chipfit.report.cost_charts import cost_charts
from chipfit.report.html import render_cost, write_cost


def layer(name, energy, time, *, operator="Conv", macs=0, dram_bits=0, mapping=""):
    return {
        "name": name,
        "operator": operator,
        "latency_s": max(time.values()),
        "energy_j": sum(energy.values()),
        "dram_bits": dram_bits,
        "macs": macs,
        "utilization": 0.5 if macs else 0.0,
        "weight_bits": 8,
        "input_bits": 4,
        "accumulator_bits": 21,
        "energy_by_component_j": energy,
        "latency_by_component_s": time,
        "mapping": mapping,
    }


def held(tensor, tile, words, **more):
    found = {"tensor": tensor, "bits": 8, "tile": tile, "words": words, "stays": 1}
    return {**found, "read_words": 0.0, "written_words": 0.0, "energy_j": 0.0, **more}


def memory(name, holds, loops=(), passing=(), **more):
    found = {"name": name, "word_bits": 16, "capacity_words": None, "instances": 1, "available": 1}
    return {
        **found, "tied": False, "loops": list(loops), "holds": list(holds), "passing": list(passing),
        "energy_j": 1e-6, "array": None, **more,
    }  # fmt: skip


def loop(dimension, iterations, step, stays="", ragged=False):
    return {"dimension": dimension, "iterations": iterations, "step": step, "ragged": ragged, "stays": stays}


def parallel(dimension, elements, side, shares):
    return {"dimension": dimension, "elements": elements, "side": side, "shares": shares}


ARRAY = {
    "name": "pe",
    "rows": 4,
    "columns": 8,
    "parallel": [parallel("K", 3, "rows", "input"), parallel("C", 5, "columns", "output")],
    "hop_words": 10.0,
    "energy_j": 1e-7,
}
MEMORIES = [
    memory(
        "dram",
        [held("input", [["C", 5], ["H", 9]], None, read_words=123_456.0, energy_j=1e-6)],
        [loop("K", 2, 3, "input")],
    ),
    memory("spad", [held("input", [], 3)], capacity_words=12, passing=["weight", "output"], tied=True),
    memory(
        "file",
        [held("output", [["P", 2]], 8, stays=1500)],
        [loop("P", 2, 4, ragged=True), loop("R", 3, 1)],
        ["weight"],
        capacity_words=16,
        instances=15,
        available=32,
        array=ARRAY,
    ),
]


@pytest.fixture
def found():
    rows = [
        layer("pool", {"dram": 1e-6}, {"dram": 1e-6}, operator="MaxPool", dram_bits=8e3),
        layer(
            "<b>conv</b>%{x}",
            {"MAC": 2e-6, "dram": 3e-6, "file": 1e-6, "pe": 1e-7, "flash": 2e-6, "static": 5e-7},
            {"compute": 4e-6, "dram": 2e-6},
            macs=1000,
            dram_bits=16e3,
        ),
    ]
    energy = {"dram": 4e-6, "MAC": 2e-6, "file": 1e-6, "pe": 1e-7, "flash": 2e-6, "static": 5e-7}
    return {
        "network": "<i>net</i>",
        "target": "toy",
        "method": "by hand",
        "error": "none",
        "totals": {
            "latency_s": 5e-6, "energy_j": 9.6e-6, "power_w": 1.92, "dram_bits": 24e3, "macs": 1000,
            "parameters": 10, "utilization": 0.4, "memory_bits": 8192 * 3, "weight_memory_bits": 8192,
            "peak_activation_bits": 8192 * 2, "energy_by_component_j": energy,
        },
        "layers": rows,
        "warnings": ["one <u>note</u>"],
        "clock_hz": 1e9,
        "processing_elements": 32,
        "main_memory": "dram",
        "bounds": {"macs_per_s": 32e9, "dram_bits_per_s": 16e9},
        "memories": [[], MEMORIES],
    }  # fmt: skip


def bands(found):
    return {band.name: band for band in nests.layers(found)[1].bands}


def code(band):
    return [(line.depth, line.code, line.remark) for line in band.lines]


def test_the_summary_says_where_energy_and_time_go(found):
    # 4 of 9.6 uJ; 4 of 5 us
    assert nests.summary(found) == (
        "42 % of the energy goes to dram. The time goes into multiplying (80 %) and waiting for dram (20 %)."
    )


def test_the_headline_has_the_totals(found):
    assert [(a.name, a.value, a.remark) for a in nests.amounts(found)] == [
        ("Energy", "9.60 µJ", "9.60 nJ per MAC"),
        ("Latency", "5.00 µs", "200 k a second"),
        ("Power", "1.92 W", "while it runs"),
        ("Traffic of dram", "2.93 KiB", "600 MB/s on average"),
        ("Utilisation", "40.0 %", "1.00 k MACs on 32 multipliers"),
        ("Memory", "3 KiB", "1 KiB weights, 2 KiB activations at most"),
    ]


def test_components_stand_from_the_main_memory_inwards_to_the_datapath(found):
    assert [part.name for part in nests.components(found)] == ["dram", "file", "pe", "flash", "MAC", "static"]
    assert nests.components(found)[0].text == "4.00 µJ"
    assert nests.colours(found)["compute"] == nests.colours(found)["MAC"]


def test_a_nest_goes_inwards_from_band_to_band(found):
    assert [(band.kind, band.name) for band in nests.layers(found)[1].bands] == [
        ("outside", "flash"),
        ("memory", "dram"),
        ("memory", "spad"),
        ("memory", "file"),
        ("array", "pe"),
        ("datapath", "MAC"),
        ("outside", "static"),
    ]
    found = bands(found)
    assert code(found["dram"]) == [(0, "for K in 0..1", "steps of 3, input stays")]
    assert code(found["spad"]) == [(1, "", "as file")]
    assert code(found["file"]) == [
        (1, "for P in 0..1", "steps of 4, the last is shorter"),
        (2, "for R in 0..2", ""),
    ]
    assert code(found["pe"]) == [
        (3, "parallel K in 0..2", "rows, input to all"),
        (4, "parallel C in 0..4", "columns, sums added up"),
    ]
    assert code(found["MAC"]) == [(5, "output += input × weight", "")]


def test_a_memory_says_what_it_is_and_takes(found):
    found = bands(found)
    assert found["dram"].about == "words of 16 bit"
    assert found["dram"].energy == "3.00 µJ (34.9 %)"  # of 8.6
    assert found["dram"].beside == "2.00 µJ"  # the nest takes 1
    assert found["dram"].time == "2,000 cycles (50 % of the time)"
    assert found["spad"].about == "24 B, 12 words of 16 bit"
    assert found["spad"].passing == "weight, output"
    assert found["file"].about == "15 of 32 at work, each 32 B, 16 words of 16 bit"
    assert found["pe"].about == "4 rows × 8 columns: 15 of 32 at work (47 %)"
    assert (found["dram"].slowest, found["MAC"].slowest) == (False, True)


def test_a_tile_says_its_shape_and_its_share_of_the_room(found):
    found = bands(found)
    row = found["dram"].rows[0]
    assert (row.tile, row.words, row.room, row.stays) == ("C 5 × H 9", "all", None, "")
    assert (row.read, row.written, row.energy) == ("123 k", "0", "1.00 µJ")
    row = found["spad"].rows[0]
    assert (row.tile, row.words, row.room) == ("1", "3", 25.0)
    assert (found["file"].rows[0].stays, found["file"].rows[0].room) == ("1,500 steps", 50.0)


def test_the_layers_that_take_most_are_open(found):
    found["layers"] = [layer(f"l{i}", {"dram": e}, {"dram": 1.0}) for i, e in enumerate((2, 5, 3, 1, 4))]
    found["memories"] = [[]] * 5
    assert [text.name for text in nests.layers(found) if text.open] == ["l1", "l2", "l4"]


def test_a_layer_without_a_nest_says_why(found):
    found["layers"][1]["mapping"] = "K on columns"
    found["memories"] = [[], []]
    pool, conv = nests.layers(found)
    assert pool.note == "No loop nest: its tensors are read and written once."
    assert conv.note == "K on columns"
    found["layers"][1]["mapping"] = ""
    assert nests.layers(found)[1].note == "This estimator says nothing of how the layer runs."


def charts(document):
    return {chart.name: chart for chart in cost_charts(document)}


def test_energy_is_stacked_by_component(found):
    drawn = charts(found)["energy"]
    bars = {trace["name"]: trace["y"] for trace in drawn.data}
    assert drawn.layout["barmode"] == "stack"
    assert bars["dram"] == pytest.approx([1, 3])  # uJ
    assert bars["MAC"] == pytest.approx([0, 2])


def test_latency_is_coloured_by_what_it_waits_for(found):
    traces = {trace["name"]: trace for trace in charts(found)["latency"].data}
    assert traces["limited by dram"]["y"] == pytest.approx([1])  # us
    assert traces["multiplying"]["y"] == pytest.approx([4])
    # 1000 MACs at 32 a ns
    assert traces["if all multipliers were busy"]["y"] == pytest.approx([1000 / 32e3])
    assert traces["multiplying"]["text"] == ["compute 4.00 µs<br>dram 2.00 µs"]


def test_a_layer_lies_below_the_roof(found):
    roof, point = charts(found)["roofline"].data
    # 16 Gbit/s carry 2 GB/s, so 32 GMAC/s need 16 MAC/byte.
    assert (roof["x"][1], roof["y"][1]) == pytest.approx((16, 32e9))
    # 1000 MACs over 2000 B, in 4 us
    assert (point["x"], point["y"]) == ([pytest.approx(0.5)], [pytest.approx(250e6)])


def test_a_roof_without_a_limit_of_the_main_memory_is_flat(found):
    found["bounds"]["dram_bits_per_s"] = None
    assert charts(found)["roofline"].data[0]["y"] == [32e9, 32e9]


def test_there_is_no_roofline_where_nothing_multiplies(found):
    found["layers"][1]["macs"] = 0
    assert list(charts(found)) == ["energy", "latency"]


def test_the_page_loads_nothing_and_escapes_what_it_is_told(found):
    text = re.sub(r"<script>.*?</script>", "", render_cost(found), flags=re.DOTALL)
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", text) == []
    for given in ("<b>conv</b>", "<i>net</i>", "<u>note</u>"):
        assert given not in text
        assert given.replace("<", "&lt;").replace(">", "&gt;") in text


def test_the_page_works_in_a_browser(found, tmp_path):
    page = write_cost(found, tmp_path / "cost.html")
    dom, said = opened(page, tmp_path / "profile")
    assert said == []
    assert dom.count('class="main-svg"') >= 3
    assert "parallel K in 0..2" in dom
    # plotly.js draws names as they are.
    assert "&lt;b&gt;conv&lt;/b&gt;% {x}" in dom


def test_a_network_that_takes_nothing_has_a_page(found):
    nothing = layer("reshape", {"dram": 0.0}, {"dram": 0.0}, operator="Reshape")
    totals = {**found["totals"], "latency_s": 0.0, "energy_j": 0.0, "macs": 0, "power_w": 0.0}
    totals["energy_by_component_j"] = {"dram": 0.0}
    text = render_cost({**found, "layers": [nothing], "memories": [[]], "totals": totals})
    assert "No loop nest" in text
    assert "Each layer is a loop nest" not in text

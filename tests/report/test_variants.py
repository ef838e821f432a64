"""A sweep as people read it: text, chart and page."""

import re

import pytest
from browser import opened

from chipfit.errors import RecordError
from chipfit.report import variants
from chipfit.report.cost_charts import variants_front
from chipfit.report.html import check_place, render_variants, write_variants

AXES = [
    {"name": "glb_kib", "key": "levels.global_buffer.size", "unit": "KiB", "values": [8, 16]},
    {"name": "clock", "key": "clock", "unit": "MHz", "values": [100, 200]},
]


def variant(*parameters, energy=None, latency=None, pareto=False, error=None):
    return {
        "parameters": dict(zip(("glb_kib", "clock"), parameters, strict=False)),
        "energy_j": energy,
        "latency_s": latency,
        "edp_js": None if energy is None else energy * latency,
        "dram_bits": None if energy is None else 8 * 2048,
        "capacity_bits": None if energy is None else 8192 * 9,
        "processing_elements": None if energy is None else 1024,
        "pareto": pareto,
        "error": error,
    }


def document(*rows, front=("energy", "latency"), baseline=None):
    return {
        "network": "lenet5",
        "target": "toy",
        "method": "by hand",
        "error": "none",
        "axes": AXES,
        "front": list(front),
        "baseline": baseline or variant(energy=3e-3, latency=0.02),
        "variants": list(rows),
        "warnings": ["one <b>supply</b> voltage"],
    }


@pytest.fixture
def sweep():
    return document(
        variant(8, 100, error="conv1 does not fit"),
        variant(8, 200, error="conv1 does not fit"),
        variant(16, 100, energy=1e-3, latency=0.02, pareto=True),
        variant(16, 200, energy=2e-3, latency=0.01, pareto=True),
    )


def test_rows_are_text(sweep):
    assert variants.rows(sweep)[2] == variants.Row(
        parameters=("16", "100"),
        amounts=("1.00 mJ", "20.0 ms", "20.0 µJ·s", "2 KiB", "9 KiB", "1,024"),
        pareto=True,
        error="",
    )
    assert variants.rows(sweep)[0].amounts == ("–",) * len(variants.AMOUNTS)


def test_the_best_of_each_are_named_with_how_many_are_alike(sweep):
    assert variants.best(sweep) == [
        ("least energy", "1.00 mJ: glb_kib 16, clock 100 MHz"),
        ("least latency", "10.0 ms: glb_kib 16, clock 200 MHz"),
        ("least EDP", "20.0 µJ·s: glb_kib 16, clock 100 MHz (and 1 more)"),
    ]


def test_a_reason_stands_once(sweep):
    assert variants.reasons(sweep) == ["glb_kib 8, clock 100 MHz (and 1 more): conv1 does not fit"]


def test_the_summary_counts(sweep):
    assert variants.summary(sweep) == (
        "2 of 4 variants are not beaten in energy and latency; 2 cannot run the network"
    )
    assert variants.summary(document(sweep["variants"][0])) == "None of 1 variant can run the network"
    one = document(sweep["variants"][2], front=("energy", "capacity", "multipliers"))
    assert variants.summary(one) == (
        "1 of 1 variant is not beaten in energy and memory on the chip and multipliers"
    )


def test_headings_are_short_and_state_the_unit_once():
    assert variants.heading({"name": "levels.sram.size", "unit": "KiB"}) == "sram.size (KiB)"
    assert variants.heading({"name": "clock_mhz", "unit": "MHz"}) == "clock_mhz"


def points(chart):
    return {trace["name"]: list(zip(trace["x"], trace["y"], strict=True)) for trace in chart.data}


def test_the_chart_has_variants_that_run_the_front_and_the_target_as_it_is(sweep):
    chart = variants_front(sweep)
    found = points(chart)
    assert set(found) == {"glb_kib 16", "not beaten", "toy as it is"}
    # mJ and ms: the scale of the largest
    assert found["glb_kib 16"] == [pytest.approx((1, 20)), pytest.approx((2, 10))]
    assert found["toy as it is"] == [pytest.approx((3, 20))]
    assert "Shapes: clock (MHz) ● 100, ■ 200." in chart.caption
    assert chart.title == "Latency against energy"


def test_many_values_are_one_cloud_with_a_colour_bar(sweep):
    many = [variant(k, 100, energy=k, latency=1 / k, pareto=True) for k in (1, 2, 4, 8, 16, 32)]
    axes = [{**AXES[0], "values": [1, 2, 4, 8, 16, 32]}, AXES[1]]
    chart = variants_front({**document(*many), "axes": axes})
    cloud = next(trace for trace in chart.data if trace["name"] == "variants")
    assert cloud["marker"]["color"] == [0, 1, 2, 3, 4, 5]
    # more than twentyfold: a logarithmic axis
    assert chart.layout["xaxis"]["type"] == "log"


def test_a_front_of_three_has_no_line(sweep):
    three = {**sweep, "front": ["capacity", "multipliers", "energy"]}
    chart = variants_front(three)
    assert [trace["mode"] for trace in chart.data] == ["markers"] * 3
    assert chart.title == "Multipliers against memory on the chip"
    assert points(chart)["glb_kib 16"] == [(9, 1024)] * 2  # KiB


def test_no_chart_where_nothing_runs(sweep):
    assert variants_front(document(sweep["variants"][0])) is None


def test_the_page_loads_nothing_and_escapes_what_it_is_told(sweep):
    text = re.sub(r"<script>.*?</script>", "", render_variants(sweep), flags=re.DOTALL)
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", text) == []
    assert "one &lt;b&gt;supply&lt;/b&gt; voltage" in text


def test_the_page_works_in_a_browser(sweep, tmp_path):
    page = write_variants(sweep, tmp_path / "sweep.html")
    dom, said = opened(page, tmp_path / "profile")
    assert said == []
    assert dom.count('class="main-svg"') > 0
    assert "2 of 4 variants are not beaten" in dom


def test_a_page_where_nothing_runs_has_the_reason(sweep, tmp_path):
    nothing = document(sweep["variants"][0], baseline=sweep["variants"][0])
    page = write_variants(nothing, tmp_path / "sweep.html")
    assert opened(page, tmp_path / "profile")[1] == []
    assert "conv1 does not fit" in page.read_text()


def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path):
    for path, reason in (
        (tmp_path, f"cannot write {tmp_path}: Is a directory"),
        (tmp_path / "a" / "b.html", f"cannot write {tmp_path}/a/b.html: there is no folder {tmp_path}/a"),
    ):
        with pytest.raises(RecordError) as error:
            check_place(path)
        assert str(error.value) == reason
    check_place(tmp_path / "b.html")

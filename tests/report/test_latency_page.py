"""The page of a fitted device."""

import re

import pytest
from browser import opened

from chipfit.report.latency import against_measured, by_operator, informative, render, summary, write


def row(name, measured, predicted, trust=1.0, told=0.5):
    return {
        "network": name,
        "measured_s": measured,
        "predicted_s": predicted,
        "low_s": 0.9 * predicted,
        "high_s": 1.1 * predicted,
        "error": predicted / measured - 1,
        "trust": trust,
        "informative": told,
    }


@pytest.fixture
def document():
    return {
        "name": "phone <b>",
        "space": "nb201",
        "networks": [
            row("0-0", 4e-3, 5e-3),
            row("1-1", 8e-3, 8e-3, trust=0.02, told=0.3),
            row("2-2", 6e-3, 5.9e-3),
        ],
        "median_error": 0.0167,
        "within_10_percent": 0.67,
        "noise_s": 2e-4,
        "belief": {"simulated devices": 1.0},
        "operators": [{"operator": "pool", "error_more": 0.1, "error_less": -0.02, "correlation": 0.4}],
        "warnings": ["a remark"],
    }


def test_the_summary_has_the_error_and_the_noise(document):
    assert summary(document) == (
        "3 networks of nb201 measured; median error 1.7 % when each is predicted from the others; "
        "noise of the stopwatch about 200 µs"
    )


def test_samples_lie_where_they_were_measured_with_their_intervals(document):
    _, samples, doubted = against_measured(document).data
    assert samples["x"] == pytest.approx([4.0, 6.0])
    assert samples["y"] == pytest.approx([5.0, 5.9])
    assert samples["error_y"]["array"] == pytest.approx([0.5, 0.59])
    assert doubted["text"] == ["1-1"]


def test_errors_are_shown_by_operator_if_there_are_any(document):
    chart = by_operator(document)
    assert [bar["y"] for bar in chart.data] == [[10.0], [-2.0]]
    document["operators"] = []
    assert by_operator(document) is None
    assert "latency-operators" not in re.findall(r'id="([\w-]+)"', render(document))


def test_the_most_informative_sample_comes_first(document):
    (bars,) = informative(document).data
    assert bars["x"] == ["0-0", "2-2", "1-1"]
    assert bars["y"] == pytest.approx([50, 50, 30])


def test_the_page_stands_alone_and_escapes_names(document, tmp_path):
    path = write(document, tmp_path / "fit.html")
    text = re.sub(r"<script>.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "phone &lt;b&gt;" in text
    assert "a remark" in text
    assert "an outlier?" in text
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", text) == []


def test_a_browser_draws_every_chart(document, tmp_path):
    dom, said = opened(write(document, tmp_path / "fit.html"), tmp_path / "profile")
    assert said == []
    assert dom.count('class="main-svg"') > 0

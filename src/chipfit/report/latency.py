"""The page of a fitted device: predicted against measured, and where the fit errs and learns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chipfit.report.charts import AFTER, BEFORE, CHOSEN, MUTED, Chart, plain_axis, plain_layout, scale_of
from chipfit.report.html import page
from chipfit.report.record import write_atomically
from chipfit.units import percent, si

#: Trust below which a sample is shown as an outlier.
_DOUBTED = 0.2


def write(document: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a fit, from its `chipfit latency fit --json` document, and say where it is.

    Raises:
        RecordError: the page cannot be written.
    """
    write_atomically(path, render(document).encode())
    return path


def render(document: Mapping[str, Any]) -> str:
    """The page of a fit."""
    drawn = [against_measured(document), by_operator(document), informative(document)]
    return page(
        "latency.html",
        {chart.name: chart for chart in drawn if chart is not None},
        document=document,
        estimate=None,
        summary=summary(document),
        rows=[
            (
                row["network"],
                si(row["measured_s"], "s"),
                si(row["predicted_s"], "s"),
                f"{si(row['low_s'], 's')} to {si(row['high_s'], 's')}",
                percent(row["error"]),
                percent(row["informative"]),
                "an outlier?" if row["trust"] < _DOUBTED else "",
            )
            for row in document["networks"]
        ],
        remarks=document["warnings"],
    )


def summary(document: Mapping[str, Any]) -> str:
    """What the fit is worth, in a sentence.

    >>> document = {"networks": [{}, {}], "space": "nb201", "median_error": 0.021, "noise_s": 1e-4}
    >>> summary(document)  # doctest: +ELLIPSIS
    '2 networks of nb201 measured; median error 2.1 % when each is predicted from the others; noise of...'
    """
    return (
        f"{len(document['networks'])} networks of {document['space']} measured; median error "
        f"{percent(document['median_error'])} when each is predicted from the others; "
        f"noise of the stopwatch about {si(document['noise_s'], 's')}"
    )


def against_measured(document: Mapping[str, Any]) -> Chart:
    """Every sample as the others predict it, with its interval, against the stopwatch."""
    rows = document["networks"]
    factor, unit = scale_of([row["measured_s"] for row in rows], "s")
    largest = max(max(row["measured_s"], row["high_s"]) for row in rows) * factor
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "x": [0, largest], "y": [0, largest], "name": "as measured",
            "line": {"color": BEFORE, "width": 1.5, "dash": "dot"}, "hoverinfo": "skip",
        }
    ]  # fmt: skip
    for name, colour, doubted in (("sample", AFTER, False), ("an outlier?", CHOSEN, True)):
        mine = [row for row in rows if (row["trust"] < _DOUBTED) == doubted]
        if mine:
            data.append(_points(name, colour, mine, factor))
    layout = plain_layout(
        xaxis=plain_axis(f"measured ({unit})"), yaxis=plain_axis(f"predicted from the others ({unit})")
    )
    caption = "Bars cover nine of ten measurements. On the dotted line, the prediction is what was measured."
    return Chart(
        name="latency-measured", title="Predicted against measured", caption=caption, data=data,
        layout=layout, height=460,
    )  # fmt: skip


def _points(name: str, colour: str, rows: list[Mapping[str, Any]], factor: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row["measured_s"] * factor for row in rows],
        "y": [row["predicted_s"] * factor for row in rows],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [(row["high_s"] - row["predicted_s"]) * factor for row in rows],
            "arrayminus": [(row["predicted_s"] - row["low_s"]) * factor for row in rows],
            "color": colour,
            "thickness": 1,
            "width": 3,
        },
        "marker": {"color": colour, "size": 9},
        "text": [row["network"] for row in rows],
        "hovertemplate": "%{text}<br>measured %{x:.4g}, predicted %{y:.4g}<extra></extra>",
    }


def by_operator(document: Mapping[str, Any]) -> Chart | None:
    """The mean error of samples with much and with little of each operator; None if none differ in any."""
    rows = document["operators"]
    if not rows:
        return None
    names = [row["operator"] for row in rows]
    data = [
        {
            "type": "bar", "name": name, "x": names, "y": [100 * row[key] for row in rows],
            "marker": {"color": colour}, "hovertemplate": "%{x}: %{y:.1f} %<extra></extra>",
        }
        for name, key, colour in (
            ("more of it than most samples", "error_more", AFTER),
            ("less of it", "error_less", BEFORE),
        )
    ]  # fmt: skip
    return Chart(
        name="latency-operators",
        title="Error by operator",
        caption="Above zero, such networks are predicted slower than they are.",
        data=data,
        layout=plain_layout(xaxis=plain_axis(""), yaxis=plain_axis("mean error (%)"), barmode="group"),
    )


def informative(document: Mapping[str, Any]) -> Chart:
    """How much each sample says."""
    rows = sorted(document["networks"], key=lambda row: -row["informative"])
    bars = {
        "type": "bar",
        "x": [row["network"] for row in rows],
        "y": [100 * row["informative"] for row in rows],
        "marker": {"color": [MUTED if row["trust"] < _DOUBTED else AFTER for row in rows]},
        "hovertemplate": "%{x}: %{y:.1f} %<extra></extra>",
    }
    axis = {**plain_axis(""), "type": "category", "tickangle": -50, "tickfont": {"size": 11}}
    return Chart(
        name="latency-informative",
        title="Which samples were informative",
        caption="Share of what all samples say together. A grey sample is hardly believed.",
        data=[bars],
        layout=plain_layout(xaxis=axis, yaxis=plain_axis("share (%)"), showlegend=False),
    )

"""The charts of a cost, and of the variants of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chipfit import units
from chipfit.report import nests, variants
from chipfit.report.charts import (
    CHOSEN,
    INK,
    ORIGIN_COLOURS,
    STEPS,
    Chart,
    layer_axis,
    plain,
    plain_axis,
    plain_layout,
    scale_of,
)


def variants_front(document: Mapping[str, Any]) -> Chart | None:
    """Every variant of a sweep by the first two quantities of its front; None if none can run."""
    able = [v for v in document["variants"] if v["error"] is None]
    if not able:
        return None
    axes, sides = document["axes"], [_Side.of(name, able) for name in document["front"][:2]]
    best = sorted((v for v in able if v["pareto"]), key=lambda v: v[sides[0].key])
    data: list[dict[str, Any]] = []
    if len(document["front"]) == 2:
        line = {"color": "#9cc7e0", "width": 2, "shape": "hv"}
        data.append({**_cloud("not beaten", best, axes, sides, {}), "mode": "lines", "line": line,
                     "hoverinfo": "skip", "hovertemplate": None, "showlegend": False})  # fmt: skip
    data += _clouds(axes, able, sides)
    ring = {"symbol": "circle-open", "size": 21, "color": CHOSEN, "line": {"width": 2}}
    data.append({**_cloud("not beaten", best, axes, sides, ring), "hoverinfo": "skip", "hovertemplate": None})
    if document["baseline"]["error"] is None:
        label = f"{document['target']} as it is"
        marker = {"symbol": "square-open", "size": 13, "color": INK, "line": {"width": 2}}
        data.append(_cloud(label, [document["baseline"]], axes, sides, marker))
    across, up = (_side_axis(side) for side in sides)
    layout = plain_layout(xaxis=across, yaxis=up, hovermode="closest")
    front = " and ".join(variants.COMPARED[name][2] for name in document["front"])
    caption = (
        f"Every variant that can run the network: down and to the left is better. "
        f"A ring marks each that no other beats in {front}."
    )
    if shapes := _shapes(axes):
        legend = ", ".join(f"{_SHAPES[shape]} {value:.15g}" for value, shape in shapes.items())
        caption += f" Shapes: {variants.heading(axes[1])} {legend}."
    title = f"{sides[1].title} against {sides[0].title}"
    return Chart(
        name="variants", title=title[0].upper() + title[1:], caption=caption, data=data, layout=layout,
        height=480,
    )  # fmt: skip


@dataclass(frozen=True)
class _Side:
    """A quantity of variants along one side of a chart: its key, and the scale on which it is drawn."""

    key: str
    title: str
    scale: float
    unit: str
    logarithmic: bool

    @classmethod
    def of(cls, name: str, able: Sequence[Mapping[str, Any]]) -> _Side:
        key, unit, title = variants.COMPARED[name]
        values = [v[key] for v in able]
        scale, shown = (1 / 8192, "KiB") if unit == "bit" else scale_of(values, unit) if unit else (1.0, "")
        wide = min(values) > 0 and max(values) > 20 * min(values)
        return cls(key, title, scale, shown, wide)


def _side_axis(side: _Side) -> dict[str, Any]:
    axis = plain_axis(f"{side.title} ({side.unit})" if side.unit else side.title)
    return {**axis, "type": "log", "dtick": 1} if side.logarithmic else axis


#: Shapes of points, as plotly.js and as people call them.
_SHAPES = {
    "circle": "●",
    "square": "■",
    "triangle-up": "▲",
    "cross": "✚",
    "x": "✖",
    "diamond": "◆",
    "star": "★",
}


def _shapes(axes: Sequence[Mapping[str, Any]]) -> dict[float, str]:
    """A shape for each value of the second axis, as long as there are enough."""
    values = axes[1]["values"] if len(axes) > 1 else ()
    return dict(zip(values, _SHAPES, strict=False)) if len(values) <= len(_SHAPES) else {}


def _clouds(
    axes: Sequence[Mapping[str, Any]], able: Sequence[Mapping[str, Any]], sides: Sequence[_Side]
) -> list[dict[str, Any]]:
    """The variants: a colour for each value of the first axis, a shape for each of the second."""
    first, shapes = axes[0], _shapes(axes)

    def drawn(name: str, found: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        shape = [shapes[v["parameters"][axes[1]["name"]]] for v in found] if shapes else "circle"
        return _cloud(name, found, axes, sides, {"size": 9, "symbol": shape, "opacity": 0.85, **more})

    values = first["values"]
    if len(values) <= len(ORIGIN_COLOURS):
        # Points of different colours may coincide: the ones behind are larger.
        return [
            drawn(
                f"{first['name']} {value:.15g}",
                group,
                color=ORIGIN_COLOURS[i],
                size=7 + 2 * (len(values) - i),
            )
            for i, value in enumerate(values)
            if (group := [v for v in able if v["parameters"][first["name"]] == value])
        ]
    shown = sorted({0, len(values) // 2, len(values) - 1})
    bar = {
        "title": {"text": plain(variants.heading(first)), "side": "right"},
        "tickvals": shown,
        "ticktext": [f"{values[i]:.15g}" for i in shown],
        "thickness": 14,
        "outlinewidth": 0,
    }
    ranks = [values.index(v["parameters"][first["name"]]) for v in able]
    one = drawn("variants", able, color=ranks, colorscale=STEPS, colorbar=bar, cmin=0, cmax=shown[-1])
    return [{**one, "showlegend": False}]


def _cloud(
    name: str,
    found: Sequence[Mapping[str, Any]],
    axes: Sequence[Mapping[str, Any]],
    sides: Sequence[_Side],
    marker: dict[str, Any],
) -> dict[str, Any]:
    shown = "<br>".join(
        f"{side.title} %{{{letter}:.4g}} {side.unit}".strip()
        for side, letter in zip(sides, "xy", strict=True)
    )
    return {
        "type": "scatter", "mode": "markers", "name": plain(name), "marker": marker,
        "x": [v[sides[0].key] * sides[0].scale for v in found],
        "y": [v[sides[1].key] * sides[1].scale for v in found],
        "text": [plain(variants.place(v, axes) or name) for v in found],
        "hovertemplate": f"%{{text}}<br>{shown}<extra></extra>",
    }  # fmt: skip


def cost_charts(document: Mapping[str, Any]) -> list[Chart]:
    """The charts of a cost: energy and latency by layer, and the roofline if there is one."""
    tints = nests.colours(document)
    found = (
        _energy_of_layers(document, tints),
        _latency_of_layers(document, tints),
        _roofline(document, tints),
    )
    return [chart for chart in found if chart is not None]


def _energy_of_layers(document: Mapping[str, Any], tints: Mapping[str, str]) -> Chart:
    rows = document["layers"]
    scale, unit = scale_of((row["energy_j"] for row in rows), "J")
    data: list[dict[str, Any]] = [
        {
            "type": "bar", "name": plain(component), "x": [plain(row["name"]) for row in rows],
            "y": [row["energy_by_component_j"].get(component, 0.0) * scale for row in rows],
            "marker": {"color": tints[component]},
            "hovertemplate": f"%{{x}}<br>{plain(component)}: %{{y:.3g}} {unit}<extra></extra>",
        }
        for component in tints
        if document["totals"]["energy_by_component_j"].get(component)
    ]  # fmt: skip
    layout = plain_layout(
        barmode="stack", bargap=0.25, xaxis=layer_axis(), yaxis=plain_axis(f"energy ({unit})")
    )
    caption = "Energy of one inference, layer by layer in the order in which they run."
    return Chart(
        name="energy", title="Energy by layer", caption=caption, data=data, layout=layout, height=420
    )


def _latency_of_layers(document: Mapping[str, Any], tints: Mapping[str, str]) -> Chart:
    """Time of every layer, coloured by what it waits for."""
    rows = document["layers"]
    scale, unit = scale_of((row["latency_s"] for row in rows), "s")
    data: list[dict[str, Any]] = []
    for component in dict.fromkeys(nests.bound(row) for row in rows):
        own = [row for row in rows if nests.bound(row) == component]
        data.append(
            {
                "type": "bar", "name": _limited(component), "x": [plain(row["name"]) for row in own],
                "y": [row["latency_s"] * scale for row in own], "marker": {"color": tints[component]},
                "text": [_times(row) for row in own], "textposition": "none",
                "hovertemplate": f"%{{x}}: %{{y:.3g}} {unit}<br>%{{text}}<extra></extra>",
            }
        )  # fmt: skip
    able = [row for row in rows if row["macs"]]
    least = [row["macs"] / document["bounds"]["macs_per_s"] * scale for row in able]
    mark = {"symbol": "line-ew", "size": 13, "line": {"width": 2.5, "color": CHOSEN}}
    data.append(
        {
            "type": "scatter", "mode": "markers", "name": "if all multipliers were busy", "y": least,
            "x": [plain(row["name"]) for row in able], "marker": mark,
            "hovertemplate": f"%{{x}}: %{{y:.3g}} {unit} if all multipliers were busy<extra></extra>",
        }
    )  # fmt: skip
    order = {"categoryorder": "array", "categoryarray": [plain(row["name"]) for row in rows]}
    layout = plain_layout(
        barmode="stack",
        bargap=0.25,
        xaxis={**layer_axis(), **order},
        yaxis={
            **plain_axis(f"latency ({unit})"),
            "range": [0, 1.05 * scale * max(r["latency_s"] for r in rows)],
        },
    )
    caption = (
        "Latency of every layer, coloured by its slowest component: that alone decides. "
        "The line is the time that its multiplications would take if all multipliers were busy."
    )
    return Chart(
        name="latency", title="Latency by layer", caption=caption, data=data, layout=layout, height=420
    )


def _limited(component: str) -> str:
    return "multiplying" if component == "compute" else f"limited by {plain(component)}"


def _times(row: Mapping[str, Any]) -> str:
    times = sorted(row["latency_by_component_s"].items(), key=lambda item: -item[1])
    return "<br>".join(f"{plain(name)} {units.si(seconds, 's')}" for name, seconds in times)


def _roofline(document: Mapping[str, Any], tints: Mapping[str, str]) -> Chart | None:
    """Work a second of every layer against its work per byte of main-memory traffic."""
    rows = [row for row in document["layers"] if row["macs"] and row["dram_bits"] and row["latency_s"]]
    if not rows:
        return None
    memory, most = plain(document["main_memory"]), document["bounds"]["macs_per_s"]
    bits_per_s = document["bounds"]["dram_bits_per_s"]
    across = [8 * row["macs"] / row["dram_bits"] for row in rows]
    low, high = min(across) / 3, max(across) * 3
    line = {"color": INK, "width": 2}
    if bits_per_s is None:
        roof = [(low, most), (high, most)]
    else:
        knee = 8 * most / bits_per_s
        low, high = min(low, knee / 3), max(high, knee * 3)
        roof = [(low, low * bits_per_s / 8), (knee, most), (high, most)]
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": "roof", "x": [x for x, _ in roof],
         "y": [y for _, y in roof], "line": line, "hoverinfo": "skip", "showlegend": False}
    ]  # fmt: skip
    for component in dict.fromkeys(nests.bound(row) for row in rows):
        own = [(x, row) for x, row in zip(across, rows, strict=True) if nests.bound(row) == component]
        longest = max(row["latency_s"] for _, row in own)
        named = next(row for _, row in own if row["latency_s"] == longest)
        data.append(
            {
                "type": "scatter", "mode": "markers+text", "name": _limited(component),
                "x": [x for x, _ in own], "y": [row["macs"] / row["latency_s"] for _, row in own],
                "text": [plain(r["name"]) if r is named else "" for _, r in own],
                "textposition": "bottom center", "textfont": {"size": 12},
                "customdata": [f"{plain(r['name'])}: {units.percent(r['utilization'])}" for _, r in own],
                "marker": {"size": 11, "color": tints[component], "opacity": 0.85,
                           "line": {"color": "#ffffff", "width": 1}},
                "hovertemplate": "%{customdata} busy<br>%{x:.3g} MAC/byte, %{y:.3s}MAC/s<extra></extra>",
            }
        )  # fmt: skip
    axis = {"type": "log", "dtick": 1, "tickformat": "~s"}
    layout = plain_layout(
        xaxis={**plain_axis(f"multiply-accumulates per byte over {memory}"), **axis},
        yaxis={**plain_axis("multiply-accumulates a second"), **axis},
        hovermode="closest",
    )
    slope = "" if bits_per_s is None else f" The slope is {units.si(bits_per_s / 8, 'B')}/s of {memory}."
    caption = (
        f"What the chip could do (the line) and does (each layer, by what limits it; of each colour the one "
        f"that takes longest is named); the flat part is {units.si(most, 'MAC')}/s.{slope}"
    )
    return Chart(name="roofline", title="Roofline", caption=caption, data=data, layout=layout, height=440)

"""The charts of a run, as plotly.js figures in plain data.

Colours are of palettes that people with any common colour blindness can tell apart; before is grey,
after is blue, the chosen one is vermilion, everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chipfit import units
from chipfit.report import nests, variants
from chipfit.report.history import QUANTITIES, Candidate, CostDocument, Epoch, History

BEFORE, AFTER, CHOSEN, MUTED, INK, GRID = "#b3bac2", "#0072b2", "#d55e00", "#8a94a0", "#1f2933", "#e6e9ed"
#: Tol, "Colour Schemes", SRON/EPS/TN/09-002, 2021: the muted scheme, calm ones first.
COMPONENT_COLOURS = ("#332288", "#88ccee", "#44aa99", "#ddcc77", "#cc6677", "#117733", "#999933")
#: Okabe & Ito, "Color Universal Design", 2008, for points and lines.
ORIGIN_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")

#: What people call the ways in which candidates come about.
ORIGINS = {"ilp": "integer program", "uniform": "uniform bits"}

_HEAT = [[0.0, "#f4f7fa"], [0.35, "#a9cbe2"], [0.7, "#2f7fb5"], [1.0, "#08305c"]]
_STEPS = [[0.0, "#ddcc77"], [0.5, "#44aa99"], [1.0, "#332288"]]
_FONT = '"Inter", "Segoe UI", "Helvetica Neue", "Noto Sans", Arial, sans-serif'


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure: `data` and `layout` are plotly.js's, `caption` says how to read it."""

    name: str
    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 380


def charts(history: History) -> list[Chart]:
    """All charts that the records of a run give data for."""
    found = [pareto(history, quantity) for quantity in pareto_quantities(history)]
    makers: tuple[Callable[[History], Chart | None], ...] = (
        energy_by_component,
        energy_by_layer,
        bits_by_layer,
        channels_by_layer,
        sensitivity,
        training,
    )
    return [chart for chart in (*found, *(make(history) for make in makers)) if chart is not None]


def pareto_quantities(history: History) -> list[str]:
    """The quantities of the budget, or energy without one."""
    return [q for q in QUANTITIES if q in history.run.budget] or ["energy"]


def pareto(history: History, quantity: str) -> Chart | None:
    """Validation accuracy of every candidate against one cost, as ratios to the original."""
    tried = [
        _Point(candidate, 100 * ratio, 100 * candidate.accuracy_validation)
        for candidate in history.candidates
        if (ratio := candidate.ratios.get(quantity)) is not None and candidate.accuracy_validation is not None
    ]
    if not tried:
        return None
    origins = sorted({p.candidate.origin for p in tried if p.candidate.origin not in ("uniform", "")})
    data = [_front(tried)]
    uniform = sorted((p for p in tried if p.candidate.origin == "uniform"), key=lambda p: p.cost)
    if uniform:
        line = {"color": MUTED, "width": 1, "dash": "dot"}
        marker = {
            "symbol": "diamond",
            "size": 10,
            "color": "#ffffff",
            "line": {"color": "#5f6b77", "width": 1.6},
        }
        data.append({**_points("uniform bits", uniform, marker), "mode": "lines+markers", "line": line})
    symbols = ("circle", "square", "triangle-up", "cross", "x")
    for index, origin in enumerate([*origins, ""]):
        points = [p for p in tried if p.candidate.origin == origin and not p.candidate.chosen]
        colour = ORIGIN_COLOURS[index % 5]
        marker = {"symbol": symbols[index % 5], "size": 9, "color": colour, "opacity": 0.8}
        if points:
            data.append(_points(ORIGINS.get(origin, origin or "candidates"), points, marker))
    chosen = [p for p in tried if p.candidate.chosen]
    if chosen:
        marker = {"symbol": "star", "size": 19, "color": CHOSEN, "line": {"color": "#ffffff", "width": 1.2}}
        data.append(_points("chosen", chosen[-1:], marker))
    before = history.original.accuracy_validation if history.original else None
    if before is not None:
        marker = {"symbol": "square", "size": 11, "color": INK}
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": "8-bit original",
                "x": [100], "y": [100 * before],
                "marker": marker, "hovertemplate": "8-bit original<br>%{y:.2f} %<extra></extra>",
            }
        )  # fmt: skip
    layout = plain_layout(
        xaxis={**plain_axis(f"{quantity} (% of the 8-bit original)"), "rangemode": "tozero"},
        yaxis=plain_axis("validation accuracy (%)"),
        shapes=_limits(history, quantity, before),
        annotations=_limit_labels(history, quantity),
        hovermode="closest",
    )
    caption = (
        "Every network that was tried, judged on validation data: up and to the left is better. "
        "The line joins those that none beats on both. Candidates are trained for a few epochs and the "
        "best are trained on; of these, the one whose outputs stay nearest to the original's is chosen."
    )
    title = f"Accuracy against {quantity}"
    return Chart(
        name=f"pareto-{quantity}", title=title, caption=caption, data=data, layout=layout, height=460
    )


@dataclass(frozen=True)
class _Point:
    candidate: Candidate
    cost: float
    accuracy: float


def _points(name: str, points: Sequence[_Point], marker: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": _plain(name),
        "x": [p.cost for p in points],
        "y": [p.accuracy for p in points],
        "text": [f"{_plain(p.candidate.name)}, {p.candidate.training} epochs" for p in points],
        "marker": marker,
        "hovertemplate": "%{text}<br>cost %{x:.1f} %, accuracy %{y:.2f} %<extra></extra>",
    }


def _front(points: Sequence[_Point]) -> dict[str, Any]:
    best: list[_Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best of all",
        "x": [p.cost for p in best],
        "y": [p.accuracy for p in best],
        "line": {"color": "#9cc7e0", "width": 2, "shape": "hv"},
        "hoverinfo": "skip",
        "legendrank": 2000,
    }


def _limits(history: History, quantity: str, before: float | None) -> list[dict[str, Any]]:
    shapes: list[dict[str, Any]] = []
    line = {"color": CHOSEN, "width": 1.2, "dash": "dash"}
    limit = history.limit(quantity)
    if limit is not None:
        x = 100 * limit
        shapes.append(
            {"type": "rect", "xref": "x", "yref": "paper", "x0": 0, "x1": x, "y0": 0, "y1": 1,
             "fillcolor": "#009e73", "opacity": 0.06, "line": {"width": 0}, "layer": "below"}
        )  # fmt: skip
        shapes.append(
            {"type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}
        )
    if before is not None:
        faint = {"color": MUTED, "width": 1, "dash": "dot"}
        y = 100 * before
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": faint})
    return shapes


def _limit_labels(history: History, quantity: str) -> list[dict[str, Any]]:
    limit = history.limit(quantity)
    if limit is None:
        return []
    label = {"text": f"budget {100 * limit:.3g} %", "x": 100 * limit, "y": 0, "yref": "paper"}
    style = {
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"color": CHOSEN, "size": 12},
    }
    return [{**label, **style, "xshift": 4}]


def energy_by_component(history: History) -> Chart | None:
    """Two stacked bars: where the energy goes before and after."""
    bars = [(name, totals.energy_by_component_j) for name, totals in _before_after_totals(history)]
    bars = [(name, parts) for name, parts in bars if parts]
    if not bars:
        return None
    scale, unit = scale_of((sum(parts.values()) for _, parts in bars), "J")
    whole = max(sum(parts.values()) for _, parts in bars)
    components = list(dict.fromkeys(part for _, parts in bars for part in parts))
    data: list[dict[str, Any]] = []
    for index, component in enumerate(components):
        values = [parts.get(component, 0.0) for _, parts in bars]
        data.append(
            {
                "type": "bar", "orientation": "h", "name": _plain(component), "y": [name for name, _ in bars],
                "x": [v * scale for v in values],
                "text": [units.si(v, "J") if v > 0.08 * whole else "" for v in values],
                "textposition": "inside", "insidetextanchor": "middle", "textangle": 0,
                "marker": {"color": COMPONENT_COLOURS[index % 7], "line": {"color": "#ffffff", "width": 1}},
                "hovertemplate": f"{_plain(component)}: %{{x:.4g}} {unit}<extra>%{{y}}</extra>",
            }
        )  # fmt: skip
    totals = [
        {"x": sum(parts.values()) * scale, "y": name, "text": f"<b>{units.si(sum(parts.values()), 'J')}</b>",
         "showarrow": False, "xanchor": "left", "xshift": 8, "font": {"size": 14, "color": INK}}
        for name, parts in bars
    ]  # fmt: skip
    layout = plain_layout(
        barmode="stack",
        bargap=0.35,
        xaxis={**plain_axis(f"energy of one inference ({unit})"), "range": [0, whole * scale * 1.14]},
        yaxis={**plain_axis(""), "autorange": "reversed", "showgrid": False},
        annotations=totals,
    )
    caption = "Energy of one inference, split by where it is spent."
    return Chart(
        name="components", title="Energy by component", caption=caption, data=data, layout=layout, height=270
    )


def energy_by_layer(history: History) -> Chart | None:
    """Energy of every layer before and after."""
    documents = [(name, document) for name, document in _before_after_documents(history) if document.layers]
    if not documents:
        return None
    scale, unit = scale_of((row.energy_j for _, document in documents for row in document.layers), "J")
    data: list[dict[str, Any]] = [
        {
            "type": "bar", "name": name, "x": [_plain(row.name) for row in document.layers],
            "y": [row.energy_j * scale for row in document.layers],
            "customdata": [_plain(row.operator) for row in document.layers],
            "marker": {"color": colour},
            "hovertemplate": f"%{{x}} (%{{customdata}}): %{{y:.3g}} {unit}<extra>{name}</extra>",
        }
        for (name, document), colour in zip(documents, (BEFORE, AFTER), strict=False)
    ]  # fmt: skip
    layout = plain_layout(
        barmode="group", bargap=0.25, xaxis=_layer_axis(), yaxis=plain_axis(f"energy ({unit})")
    )
    caption = "Energy of one inference, layer by layer in the order in which they run."
    return Chart(name="layers", title="Energy by layer", caption=caption, data=data, layout=layout)


def bits_by_layer(history: History) -> Chart | None:
    """Chosen widths of weights and activations."""
    choices = [c for c in history.choices if c.weight_bits or c.activation_bits]
    if not choices:
        return None
    layers = [_plain(c.layer) for c in choices]
    hover = "%{x}: %{y} bits<extra>%{fullData.name}</extra>"
    data: list[dict[str, Any]] = [
        {"type": "bar", "name": "weights", "x": layers, "y": [c.weight_bits for c in choices],
         "marker": {"color": AFTER}, "hovertemplate": hover},
        {"type": "bar", "name": "activations", "x": layers, "y": [c.activation_bits for c in choices],
         "marker": {"color": "#e69f00"}, "hovertemplate": hover},
    ]  # fmt: skip
    widest = max(max(c.weight_bits or 0, c.activation_bits or 0, 8) for c in choices)
    yaxis = {**plain_axis("bits"), "dtick": 2, "range": [0, widest + 0.5]}
    layout = plain_layout(barmode="group", bargap=0.25, xaxis=_layer_axis(), yaxis=yaxis)
    caption = "Width of the operands of each layer. The original has 8 bits everywhere."
    return Chart(
        name="bits", title="Weight and activation bits", caption=caption, data=data, layout=layout, height=330
    )


def channels_by_layer(history: History) -> Chart | None:
    """Output channels that each layer had and keeps."""
    choices = [c for c in history.choices if c.channels is not None and c.channels_before is not None]
    if not choices:
        return None
    layers = [_plain(c.layer) for c in choices]
    data: list[dict[str, Any]] = [
        {"type": "bar", "name": "before", "x": layers, "y": [c.channels_before for c in choices],
         "marker": {"color": BEFORE}, "hovertemplate": "%{x}: %{y} channels<extra>before</extra>"},
        {"type": "bar", "name": "after", "x": layers, "y": [c.channels for c in choices], "width": 0.5,
         "marker": {"color": AFTER}, "hovertemplate": "%{x}: %{y} channels<extra>after</extra>"},
    ]  # fmt: skip
    layout = plain_layout(
        barmode="overlay", bargap=0.2, xaxis=_layer_axis(), yaxis=plain_axis("output channels")
    )
    caption = "Output channels of each layer; what stands out in grey was removed."
    return Chart(name="channels", title="Channels", caption=caption, data=data, layout=layout, height=330)


_KINDS = ("weights", "activations", "stored", "channels")


def sensitivity(history: History) -> Chart | None:
    """Heat map of the loss when one layer alone is changed."""
    widths = {c.layer: c.channels_before for candidate in history.candidates for c in candidate.choices}
    cells: dict[tuple[str, str], tuple[float, str]] = {}
    order: dict[str, tuple[int, float]] = {}
    for s in history.sensitivities:
        width = widths.get(s.layer)
        if s.choice == "channels":
            if not width:
                continue
            # Layers of different widths share a row: the nearest eighth, the exact number on hover.
            kept = min(7, max(1, round(8 * s.value / width))) / 8
            row, exact, rank = f"channels: {100 * kept:.0f} % kept", f"{s.value:g} of {width} channels", kept
        else:
            row, exact, rank = f"{s.choice}: {s.value:g} bits", f"{s.choice} at {s.value:g} bits", s.value
        layer = "(all layers)" if s.layer == "*" else s.layer
        order[row] = (_KINDS.index(s.choice) if s.choice in _KINDS else len(_KINDS), rank)
        cells[layer, row] = max(cells.get((layer, row), (-math.inf, "")), (s.loss, exact))
    if not cells:
        return None
    layers = list(dict.fromkeys(layer for layer, _ in cells))
    rows = sorted(order, key=lambda row: order[row])
    largest = max([loss for loss, _ in cells.values() if loss > 0], default=1.0)
    floor = largest * 1e-4  # four decades: what lies below harms nothing

    def colour(layer: str, row: str) -> float | None:
        cell = cells.get((layer, row))
        return None if cell is None else math.log10(max(cell[0], floor))

    ticks = [math.log10(largest) - decade for decade in range(5)]
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap", "x": [_plain(layer) for layer in layers], "y": [_plain(row) for row in rows],
            "z": [[colour(layer, row) for layer in layers] for row in rows],
            "customdata": [[list(cells.get((layer, row), (None, ""))) for layer in layers] for row in rows],
            "colorscale": _HEAT, "xgap": 1, "ygap": 1, "hoverongaps": False,
            "colorbar": {"title": {"text": "loss", "side": "right"}, "tickvals": ticks, "thickness": 14,
                         "ticktext": [f"{10**t:.1g}" for t in ticks], "outlinewidth": 0},
            "hovertemplate": "%{x}<br>%{customdata[1]}<br>loss %{customdata[0]:.4g}<extra></extra>",
        }
    ]  # fmt: skip
    yaxis = {**plain_axis(""), "autorange": "reversed", "showgrid": False, "automargin": True}
    layout = plain_layout(xaxis={**_layer_axis(), "showgrid": False}, yaxis=yaxis)
    caption = (
        "Loss against the original, before any retraining, when one layer alone is changed; "
        "on a logarithmic scale, dark is harmful."
    )
    height = 170 + 24 * len(rows)
    return Chart(
        name="sensitivity", title="Sensitivity", caption=caption, data=data, layout=layout, height=height
    )


def training(history: History) -> Chart | None:
    """Accuracy and loss by epoch, of the chosen candidate and of the others."""
    if not history.epochs:
        return None
    names = list(dict.fromkeys(e.candidate for e in history.epochs))
    chosen = history.chosen.name if history.chosen else names[-1]
    data: list[dict[str, Any]] = []
    for name in [*(n for n in names if n != chosen), *(n for n in names if n == chosen)]:
        data += _curves(name, _in_order(history.epochs, name), chosen=name == chosen)
    layout = plain_layout(
        xaxis={**plain_axis("epoch"), "domain": [0, 0.46], "dtick": _whole_steps(history.epochs)},
        yaxis=plain_axis("validation accuracy (%)"),
        xaxis2={
            **plain_axis("epoch"),
            "domain": [0.54, 1],
            "anchor": "y2",
            "dtick": _whole_steps(history.epochs),
        },
        yaxis2={**plain_axis("loss"), "anchor": "x2"},
    )
    who = "chosen network" if history.chosen else f"last network ({chosen})"
    caption = (
        f"Retraining with distillation from the original: the {who} in colour, the other candidates in grey."
    )
    return Chart(name="training", title="Training", caption=caption, data=data, layout=layout)


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
        "title": {"text": _plain(variants.heading(first)), "side": "right"},
        "tickvals": shown,
        "ticktext": [f"{values[i]:.15g}" for i in shown],
        "thickness": 14,
        "outlinewidth": 0,
    }
    ranks = [values.index(v["parameters"][first["name"]]) for v in able]
    one = drawn("variants", able, color=ranks, colorscale=_STEPS, colorbar=bar, cmin=0, cmax=shown[-1])
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
        "type": "scatter", "mode": "markers", "name": _plain(name), "marker": marker,
        "x": [v[sides[0].key] * sides[0].scale for v in found],
        "y": [v[sides[1].key] * sides[1].scale for v in found],
        "text": [_plain(variants.place(v, axes) or name) for v in found],
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
            "type": "bar", "name": _plain(component), "x": [_plain(row["name"]) for row in rows],
            "y": [row["energy_by_component_j"].get(component, 0.0) * scale for row in rows],
            "marker": {"color": tints[component]},
            "hovertemplate": f"%{{x}}<br>{_plain(component)}: %{{y:.3g}} {unit}<extra></extra>",
        }
        for component in tints
        if document["totals"]["energy_by_component_j"].get(component)
    ]  # fmt: skip
    layout = plain_layout(
        barmode="stack", bargap=0.25, xaxis=_layer_axis(), yaxis=plain_axis(f"energy ({unit})")
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
                "type": "bar", "name": _limited(component), "x": [_plain(row["name"]) for row in own],
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
            "x": [_plain(row["name"]) for row in able], "marker": mark,
            "hovertemplate": f"%{{x}}: %{{y:.3g}} {unit} if all multipliers were busy<extra></extra>",
        }
    )  # fmt: skip
    order = {"categoryorder": "array", "categoryarray": [_plain(row["name"]) for row in rows]}
    layout = plain_layout(
        barmode="stack",
        bargap=0.25,
        xaxis={**_layer_axis(), **order},
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
    return "multiplying" if component == "compute" else f"limited by {_plain(component)}"


def _times(row: Mapping[str, Any]) -> str:
    times = sorted(row["latency_by_component_s"].items(), key=lambda item: -item[1])
    return "<br>".join(f"{_plain(name)} {units.si(seconds, 's')}" for name, seconds in times)


def _roofline(document: Mapping[str, Any], tints: Mapping[str, str]) -> Chart | None:
    """Work a second of every layer against its work per byte of main-memory traffic."""
    rows = [row for row in document["layers"] if row["macs"] and row["dram_bits"] and row["latency_s"]]
    if not rows:
        return None
    memory, most = _plain(document["main_memory"]), document["bounds"]["macs_per_s"]
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
                "text": [_plain(r["name"]) if r is named else "" for _, r in own],
                "textposition": "bottom center", "textfont": {"size": 12},
                "customdata": [f"{_plain(r['name'])}: {units.percent(r['utilization'])}" for _, r in own],
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


def _in_order(epochs: Sequence[Epoch], candidate: str) -> list[Epoch]:
    """The epochs of a candidate, stage after stage, without the numbers that start anew."""
    own = [e for e in epochs if e.candidate == candidate]
    stages = list(dict.fromkeys(e.stage for e in own))
    return sorted(own, key=lambda e: (stages.index(e.stage), e.epoch))


def _curves(name: str, epochs: Sequence[Epoch], *, chosen: bool) -> list[dict[str, Any]]:
    def curve(label: str, values: list[float | None], colour: str, axis: str, dash: str) -> dict[str, Any]:
        return {
            "type": "scatter", "mode": "lines+markers", "x": list(range(1, len(epochs) + 1)), "y": values,
            "name": label, "showlegend": chosen, "xaxis": f"x{axis}", "yaxis": f"y{axis}",
            "line": {"color": colour if chosen else "#ccd2d8", "width": 2.4 if chosen else 1, "dash": dash},
            "marker": {"size": 6 if chosen else 4},
            "hovertemplate": f"{_plain(name)}, epoch %{{x}}<br>{label} %{{y:.4g}}<extra></extra>",
        }  # fmt: skip

    percent = [None if e.accuracy_validation is None else 100 * e.accuracy_validation for e in epochs]
    found = [curve("validation accuracy", percent, CHOSEN, "", "solid")]
    found.append(curve("training loss", [e.loss for e in epochs], AFTER, "2", "solid"))
    if chosen and any(e.loss_validation is not None for e in epochs):
        found.append(curve("validation loss", [e.loss_validation for e in epochs], "#009e73", "2", "dash"))
    return found


def _whole_steps(epochs: Sequence[Epoch]) -> int:
    longest = max(Counter(e.candidate for e in epochs).values())
    return math.ceil(longest / 10)


def _before_after_totals(history: History) -> list[tuple[str, Any]]:
    found = [("before", history.original.cost.totals)] if history.original else []
    if history.final:
        return [*found, ("after", history.final.cost.totals)]
    return found


def _before_after_documents(history: History) -> list[tuple[str, CostDocument]]:
    found = [("before", history.original.cost)] if history.original else []
    return [*found, ("after", history.final.cost)] if history.final else found


def _plain(text: str) -> str:
    # plotly.js reads tags and %{…} in the text it draws: names from files must stay what they are.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")


def scale_of(values: Iterable[float], unit: str) -> tuple[float, str]:
    """The factor and the unit in which the largest value is between 1 and 1000."""
    largest = max(values, default=0.0)
    if largest <= 0:
        return 1.0, unit
    prefix = units.si(largest, unit).split()[1]
    exponent = {
        "P": 15,
        "T": 12,
        "G": 9,
        "M": 6,
        "k": 3,
        "": 0,
        "m": -3,
        "µ": -6,
        "n": -9,
        "p": -12,
        "f": -15,
    }
    return 10.0 ** -exponent.get(prefix.removesuffix(unit), -18), prefix


def plain_axis(title: str) -> dict[str, Any]:
    """An axis as all charts have it."""
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 10},
        "gridcolor": GRID,
        "linecolor": "#c5ccd3",
        "zeroline": False,
        "automargin": True,
        "ticks": "",
    }


def _layer_axis() -> dict[str, Any]:
    return {
        **plain_axis(""),
        "type": "category",
        "tickangle": -50,
        "tickfont": {"size": 11},
        "showgrid": False,
    }


def plain_layout(**more: Any) -> dict[str, Any]:
    """The layout that all charts share, with more of one's own."""
    return {
        "font": {"family": _FONT, "size": 13, "color": "#3e4c59"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 40, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#c5ccd3", "activecolor": INK},
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": "#c5ccd3",
            "font": {"family": _FONT, "color": INK},
        },
        **more,
    }

"""The charts of a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chipfit import units
from chipfit.report.charts import (
    AFTER,
    BEFORE,
    CHOSEN,
    COMPONENT_COLOURS,
    HEAT,
    INK,
    MUTED,
    ORIGIN_COLOURS,
    ORIGINS,
    Chart,
    layer_axis,
    plain,
    plain_axis,
    plain_layout,
    scale_of,
)
from chipfit.report.history import QUANTITIES, Candidate, CostDocument, Epoch, History


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
        "The line joins those that none beats on both. Candidates are trained for a few epochs; the "
        "one whose outputs stay nearest to the original's is trained on."
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
        "name": plain(name),
        "x": [p.cost for p in points],
        "y": [p.accuracy for p in points],
        "text": [f"{plain(p.candidate.name)}, {p.candidate.training} epochs" for p in points],
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
                "type": "bar", "orientation": "h", "name": plain(component), "y": [name for name, _ in bars],
                "x": [v * scale for v in values],
                "text": [units.si(v, "J") if v > 0.08 * whole else "" for v in values],
                "textposition": "inside", "insidetextanchor": "middle", "textangle": 0,
                "marker": {"color": COMPONENT_COLOURS[index % 7], "line": {"color": "#ffffff", "width": 1}},
                "hovertemplate": f"{plain(component)}: %{{x:.4g}} {unit}<extra>%{{y}}</extra>",
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
            "type": "bar", "name": name, "x": [plain(row.name) for row in document.layers],
            "y": [row.energy_j * scale for row in document.layers],
            "customdata": [plain(row.operator) for row in document.layers],
            "marker": {"color": colour},
            "hovertemplate": f"%{{x}} (%{{customdata}}): %{{y:.3g}} {unit}<extra>{name}</extra>",
        }
        for (name, document), colour in zip(documents, (BEFORE, AFTER), strict=False)
    ]  # fmt: skip
    layout = plain_layout(
        barmode="group", bargap=0.25, xaxis=layer_axis(), yaxis=plain_axis(f"energy ({unit})")
    )
    caption = "Energy of one inference, layer by layer in the order in which they run."
    return Chart(name="layers", title="Energy by layer", caption=caption, data=data, layout=layout)


def bits_by_layer(history: History) -> Chart | None:
    """Chosen widths of weights and activations."""
    choices = [c for c in history.choices if c.weight_bits or c.activation_bits]
    if not choices:
        return None
    layers = [plain(c.layer) for c in choices]
    hover = "%{x}: %{y} bits<extra>%{fullData.name}</extra>"
    data: list[dict[str, Any]] = [
        {"type": "bar", "name": "weights", "x": layers, "y": [c.weight_bits for c in choices],
         "marker": {"color": AFTER}, "hovertemplate": hover},
        {"type": "bar", "name": "activations", "x": layers, "y": [c.activation_bits for c in choices],
         "marker": {"color": "#e69f00"}, "hovertemplate": hover},
    ]  # fmt: skip
    widest = max(max(c.weight_bits or 0, c.activation_bits or 0, 8) for c in choices)
    yaxis = {**plain_axis("bits"), "dtick": 2, "range": [0, widest + 0.5]}
    layout = plain_layout(barmode="group", bargap=0.25, xaxis=layer_axis(), yaxis=yaxis)
    caption = "Width of the operands of each layer. The original has 8 bits everywhere."
    return Chart(
        name="bits", title="Weight and activation bits", caption=caption, data=data, layout=layout, height=330
    )


def channels_by_layer(history: History) -> Chart | None:
    """Output channels that each layer had and keeps."""
    choices = [c for c in history.choices if c.channels is not None and c.channels_before is not None]
    if not choices:
        return None
    layers = [plain(c.layer) for c in choices]
    data: list[dict[str, Any]] = [
        {"type": "bar", "name": "before", "x": layers, "y": [c.channels_before for c in choices],
         "marker": {"color": BEFORE}, "hovertemplate": "%{x}: %{y} channels<extra>before</extra>"},
        {"type": "bar", "name": "after", "x": layers, "y": [c.channels for c in choices], "width": 0.5,
         "marker": {"color": AFTER}, "hovertemplate": "%{x}: %{y} channels<extra>after</extra>"},
    ]  # fmt: skip
    layout = plain_layout(
        barmode="overlay", bargap=0.2, xaxis=layer_axis(), yaxis=plain_axis("output channels")
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
            "type": "heatmap", "x": [plain(layer) for layer in layers], "y": [plain(row) for row in rows],
            "z": [[colour(layer, row) for layer in layers] for row in rows],
            "customdata": [[list(cells.get((layer, row), (None, ""))) for layer in layers] for row in rows],
            "colorscale": HEAT, "xgap": 1, "ygap": 1, "hoverongaps": False,
            "colorbar": {"title": {"text": "loss", "side": "right"}, "tickvals": ticks, "thickness": 14,
                         "ticktext": [f"{10**t:.1g}" for t in ticks], "outlinewidth": 0},
            "hovertemplate": "%{x}<br>%{customdata[1]}<br>loss %{customdata[0]:.4g}<extra></extra>",
        }
    ]  # fmt: skip
    yaxis = {**plain_axis(""), "autorange": "reversed", "showgrid": False, "automargin": True}
    layout = plain_layout(xaxis={**layer_axis(), "showgrid": False}, yaxis=yaxis)
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
            "hovertemplate": f"{plain(name)}, epoch %{{x}}<br>{label} %{{y:.4g}}<extra></extra>",
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

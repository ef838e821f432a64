"""A network of cheap weight values as people read it, from a `chipfit values --json` document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chipfit import units
from chipfit.report.charts import (
    AFTER,
    BEFORE,
    CHOSEN,
    INK,
    MUTED,
    ORIGIN_COLOURS,
    Chart,
    layer_axis,
    plain,
    plain_axis,
    plain_layout,
)
from chipfit.report.gates import Amount, signed


def summary(document: Mapping[str, Any]) -> str:
    """What came out, in a sentence or two."""
    first, *_, last = document["steps_j"].items()
    before, after = (units.percent(document[f"accuracy_{when}"]) for when in ("before", "after"))
    met = "" if document["budget_met"] else " That is above the budget: it is the best that was found."
    return (
        f"The gates of the multipliers take {units.percent(last[1] / first[1])} of what the {first[0]} "
        f"takes on plain hardware.{met} Test accuracy is {after}; it was {before}."
    )


def amounts(document: Mapping[str, Any]) -> list[Amount]:
    """The numbers of the headline."""
    steps = list(document["steps_j"].values())
    counts = [len(values) for values in document["values"].values()]
    return [
        Amount(
            name="Energy of the original",
            value=units.percent(document["energy_j"] / steps[0]),
            remark=f"{units.si(document['energy_j'], 'J')}, {units.si(steps[0], 'J')} before; at most "
            f"{units.percent(document['budget_j'] / steps[0])} was asked",
        ),
        Amount(
            name="Test accuracy",
            value=units.percent(document["accuracy_after"]),
            remark=f"before {units.percent(document['accuracy_before'])}",
        ),
        Amount(
            name="Multiplier", value=document["multiplier"], remark=f"{len(_styles(document))} to choose from"
        ),
        Amount(
            name="Supply",
            value=f"{document['supply_v']:.3g} V",
            remark=f"all values settle within {units.percent(document['delay'])} of the slowest one's time",
        ),
        Amount(
            name="Weight values",
            value=f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{max(counts)}",
            remark=f"a layer; activations up to {document['largest_activation']}",
        ),
    ]


def charts(document: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The charts of a result; `epochs` are the records of its retraining."""
    found = [_steps(document), _values(document), _options(document), _training(epochs)]
    return [chart for chart in found if chart is not None]


def _steps(document: Mapping[str, Any]) -> Chart:
    names, energies = list(document["steps_j"]), list(document["steps_j"].values())
    shares = [100 * energy_j / energies[0] for energy_j in energies]
    limit = 100 * document["budget_j"] / energies[0]
    data: list[dict[str, Any]] = [
        {
            "type": "bar", "orientation": "h", "y": [plain(name) for name in names], "x": shares,
            "marker": {"color": [BEFORE] * (len(names) - 1) + [AFTER]}, "showlegend": False,
            "text": [f"{share:.1f} %" for share in shares], "textposition": "outside",
            "customdata": [units.si(energy_j, "J") for energy_j in energies],
            "hovertemplate": "%{y}: %{customdata}<extra></extra>",
        }
    ]  # fmt: skip
    layout = plain_layout(
        bargap=0.35,
        margin={"l": 56, "r": 60, "t": 40, "b": 48},
        xaxis={**plain_axis("energy of the gates, of the original on plain hardware (%)"), "range": [0, 110]},
        yaxis={**plain_axis(""), "autorange": "reversed", "showgrid": False},
        shapes=[
            {"type": "line", "yref": "paper", "x0": limit, "x1": limit, "y0": 0, "y1": 1,
             "line": {"color": CHOSEN, "width": 1.2, "dash": "dash"}}
        ],
        annotations=[
            {"text": "budget", "x": limit, "y": 1, "yref": "paper", "showarrow": False, "xanchor": "center",
             "yanchor": "bottom", "font": {"color": CHOSEN, "size": 12}}
        ],
    )  # fmt: skip
    caption = "What each step leaves: multiplier, zeros that hold units still, values and retraining, supply."
    return Chart(name="steps", title="Step by step", caption=caption, data=data, layout=layout, height=340)


def _values(document: Mapping[str, Any]) -> Chart:
    points = [(name, value) for name, values in document["values"].items() for value in values]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers", "showlegend": False,
            "x": [plain(name) for name, _ in points], "y": [value for _, value in points],
            "marker": {"symbol": "line-ew", "size": 13, "line": {"color": AFTER, "width": 2.2}},
            "hovertemplate": "%{x}: %{y}<extra></extra>",
        }
    ]  # fmt: skip
    axis = {**plain_axis("weight value"), "zeroline": True, "zerolinecolor": MUTED}
    return Chart(
        name="values",
        title="Values of each layer",
        caption="The values that the weights of a layer may have, out of all of their width.",
        data=data,
        layout=plain_layout(xaxis=layer_axis(), yaxis=axis),
        height=440,
    )


def _styles(document: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(option["multiplier"] for option in document["options"]))


def _options(document: Mapping[str, Any]) -> Chart | None:
    inside = [option for option in document["options"] if option["damage"] is not None]
    if len(inside) < 2:
        return None
    data: list[dict[str, Any]] = []
    for style, colour in zip(_styles(document), ORIGIN_COLOURS * 4, strict=False):
        own = [option for option in inside if option["multiplier"] == style]
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": plain(style),
                "x": [option["supply_v"] for option in own], "y": [option["damage"] for option in own],
                "customdata": [
                    f"within {units.percent(o['delay'])}, activations up to {o['largest_activation']}, "
                    f"{units.si(o['energy_j'], 'J')}"
                    for o in own
                ],
                "marker": {"color": colour, "size": 9},
                "hovertemplate": f"{plain(style)} at %{{x:.3g}} V<br>%{{customdata}}<br>"
                                 "damage %{y:.3g}<extra></extra>",
            }
        )  # fmt: skip
    best = min(inside, key=lambda option: option["damage"])
    data.append(
        {
            "type": "scatter", "mode": "markers", "name": "chosen", "x": [best["supply_v"]],
            "y": [best["damage"]], "hoverinfo": "skip",
            "marker": {"symbol": "circle-open", "size": 18, "color": CHOSEN, "line": {"width": 2.4}},
        }
    )  # fmt: skip
    layout = plain_layout(
        xaxis=plain_axis("supply (V)"),
        yaxis={**plain_axis("damage before retraining"), "type": "log"},
        hovermode="closest",
    )
    caption = (
        "Every multiplier, bound on delay and largest activation whose values keep the budget: the least "
        "damage was chosen. A lower supply leaves more energy for better values, and fewer of them in time."
    )
    return Chart(name="options", title="What there was to choose", caption=caption, data=data, layout=layout)


def _training(epochs: Sequence[Mapping[str, Any]]) -> Chart | None:
    if len(epochs) < 2:
        return None
    numbers = [record["epoch"] + 1 for record in epochs]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines+markers", "x": numbers, "name": name, "yaxis": axis,
            "y": [scale * record[key] for record in epochs],
            "line": {"color": colour, "width": 2.4}, "marker": {"size": 6},
            "hovertemplate": f"epoch %{{x}}: {name} %{{y:.4g}}<extra></extra>",
        }
        for name, key, scale, axis, colour in (
            ("validation accuracy (%)", "accuracy_validation", 100.0, "y", CHOSEN),
            ("divergence from the original", "loss_validation", 1.0, "y2", INK),
        )
    ]  # fmt: skip
    layout = plain_layout(
        xaxis={**plain_axis("epoch"), "dtick": max(1, len(epochs) // 10)},
        yaxis=plain_axis("validation accuracy (%)"),
        yaxis2={**plain_axis("divergence"), "overlaying": "y", "side": "right", "showgrid": False},
    )
    caption = "Retraining with the values fixed: on validation data, after each epoch."
    return Chart(name="training", title="Retraining", caption=caption, data=data, layout=layout)


def rows(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The values of each layer as text."""
    return [(name, ", ".join(map(signed, values))) for name, values in document["values"].items()]


def tried(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Every option as text: multiplier, bound on delay, largest activation, supply, energy, damage."""
    return [
        (
            option["multiplier"],
            units.percent(option["delay"]),
            str(option["largest_activation"]),
            f"{option['supply_v']:.3g} V",
            "no values" if option["energy_j"] is None else units.si(option["energy_j"], "J"),
            "–" if option["damage"] is None else f"{option['damage']:.3g}",
        )
        for option in document["options"]
    ]

"""A table of weight values as people read it, from a `chipfit gates --json` document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chipfit import units
from chipfit.report.charts import (
    AFTER,
    BEFORE,
    CHOSEN,
    INK,
    MUTED,
    Chart,
    plain_axis,
    plain_layout,
    scale_of,
)

#: Values named as cheapest, dearest or fastest, and at most which part of all.
_NAMED, _PART = 10, 4


@dataclass(frozen=True, kw_only=True)
class Value:
    """One weight value: its energy against the dearest, and its delay against the longest."""

    weight: str
    energy: str
    energy_share: str
    delay: str
    delay_share: str
    bound: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """One number of the headline."""

    name: str
    value: str
    remark: str


def value(document: Mapping[str, Any], place: int) -> Value:
    """The weight value at a place of the lists."""
    energy_j, delay_s = document["energy_j"][place], document["delay_s"][place]
    dearest_j, longest_s = max(document["energy_j"]), max(document["delay_s"])
    return Value(
        weight=signed(document["weights"][place]),
        energy=units.si(energy_j, "J"),
        energy_share=_share(energy_j, dearest_j),
        delay=units.si(delay_s, "s"),
        delay_share=_share(delay_s, longest_s),
        bound=units.si(document["bound_s"][place], "s"),
    )


def signed(weight: int) -> str:
    """A weight value with a minus sign that is as wide as digits.

    >>> signed(-7)
    '−7'
    """
    return f"{weight}".replace("-", "\N{MINUS SIGN}")


def _share(part: float, whole: float) -> str:
    return units.percent(part / whole if whole else 0.0, 0)


def named(document: Mapping[str, Any]) -> int:
    """How many values are named as cheapest, dearest or fastest."""
    return min(_NAMED, len(document["weights"]) // _PART)


def by_energy(document: Mapping[str, Any]) -> list[int]:
    """Places in the lists, cheapest first."""
    energy_j = document["energy_j"]
    return sorted(range(len(energy_j)), key=lambda place: energy_j[place])


def by_delay(document: Mapping[str, Any]) -> list[int]:
    """Places in the lists, fastest first; of equals the cheapest."""
    keys = list(zip(document["delay_s"], document["energy_j"], strict=True))
    return sorted(range(len(keys)), key=keys.__getitem__)


def summary(document: Mapping[str, Any]) -> str:
    """What came out, in two sentences."""
    order = by_energy(document)
    cheapest, dearest = value(document, order[0]), value(document, order[-1])
    longest_s = max(document["delay_s"])
    fast = sum(delay_s <= 0.9 * longest_s for delay_s in document["delay_s"])
    few = "no value needs" if fast == 0 else f"{fast} value{' needs' if fast == 1 else 's need'}"
    return (
        f"The cheapest weight, {cheapest.weight}, takes {cheapest.energy_share} of the energy of the "
        f"dearest, {dearest.weight}. "
        f"The slowest takes {units.si(longest_s, 's')}; {few} at most 90 % of that."
    )


def amounts(document: Mapping[str, Any]) -> list[Amount]:
    """The numbers of the headline; what no weight changes stands apart from the energy of the gates."""
    energies = document["energy_j"]
    mean_j = sum(energies) / len(energies)
    registers_j = document["register_energy_j"] + document["clock_energy_j"]
    area = document["area_um2"]
    return [
        Amount(
            name="Energy a cycle",
            value=units.si(mean_j, "J"),
            remark=f"mean of all weights; {units.si(min(energies), 'J')} to {units.si(max(energies), 'J')}",
        ),
        Amount(
            name="Largest delay",
            value=units.si(max(document["delay_s"]), "s"),
            remark=f"seen; static timing allows {units.si(document['static_delay_s'], 's')}",
        ),
        Amount(
            name="Registers",
            value=units.si(registers_j, "J"),
            remark=f"a cycle, {units.si(document['clock_energy_j'], 'J')} of it the clock; assumed",
        ),
        Amount(
            name="Input nets",
            value=units.si(document["input_energy_j"], "J"),
            remark="a cycle, driven by the registers",
        ),
        Amount(
            name="Leakage",
            value=units.si(document["leakage_w"], "W") if document["leakage_w"] else "–",
            remark="of the gates" if document["leakage_w"] else "the library does not say",
        ),
        Amount(
            name="Gates",
            value=f"{document['gates']:,}",
            remark="the library states no area" if area is None else f"{area:,.0f} µm²",
        ),
    ]


def charts(document: Mapping[str, Any]) -> list[Chart]:
    """The charts of a table."""
    found = [_energy(document), _delay(document), _both(document)]
    if document["mode"] != "zero":
        found += [_arrivals(document), _classes(document)]
    return found


def _energy(document: Mapping[str, Any]) -> Chart:
    scale, unit = scale_of(document["energy_j"], "J")
    order = by_energy(document)
    cheap = {order[i] for i in range(min(16, len(order) // 4))}
    data: list[dict[str, Any]] = []
    for name, colour, own in (("cheapest 16", AFTER, True), ("others", BEFORE, False)):
        places = [place for place in range(len(order)) if (place in cheap) == own]
        data.append(
            {
                "type": "bar", "name": name if own and len(cheap) == 16 else "cheapest" if own else name,
                "x": [document["weights"][p] for p in places],
                "y": [document["energy_j"][p] * scale for p in places], "marker": {"color": colour},
                "hovertemplate": f"weight %{{x}}: %{{y:.4g}} {unit}<extra></extra>",
            }
        )  # fmt: skip
    layout = plain_layout(
        barmode="overlay", bargap=0.12, xaxis=_weights(document), yaxis=plain_axis(f"energy a cycle ({unit})")
    )
    caption = (
        "Energy of the gates in one cycle while this weight is held, glitches counted; mean over the "
        "transitions of activations and partial sums."
    )
    return Chart(
        name="energy", title="Energy by weight value", caption=caption, data=data, layout=layout, height=400
    )


def _delay(document: Mapping[str, Any]) -> Chart:
    scale, unit = scale_of([document["static_delay_s"], *document["delay_s"]], "s")
    bound = [delay_s * scale for delay_s in document["bound_s"]]
    seen = [delay_s * scale for delay_s in document["delay_s"]]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers", "name": "static timing with the weight held",
            "x": document["weights"], "y": bound,
            "marker": {"symbol": "line-ew", "size": 5, "line": {"color": MUTED, "width": 1.6}},
            "hovertemplate": f"weight %{{x}}: at most %{{y:.4g}} {unit}<extra></extra>",
        },
        {
            "type": "scatter", "mode": "markers", "name": "latest change seen", "x": document["weights"],
            "y": seen, "marker": {"color": AFTER, "size": 6},
            "hovertemplate": f"weight %{{x}}: %{{y:.4g}} {unit}<extra></extra>",
        },
    ]  # fmt: skip
    if document["mode"] == "zero":
        data = data[:1]
    low, high = min(*seen, *bound), document["static_delay_s"] * scale
    room = 0.08 * (high - low) or 0.1 * high
    layout = plain_layout(
        xaxis=_weights(document),
        yaxis={**plain_axis(f"delay ({unit})"), "range": [max(0.0, low - room), high + room]},
        shapes=[_level(high)],
        annotations=[_level_label(high, "static timing, any weight")],
    )
    caption = (
        "Latest change of a sum bit after the inputs changed. What was seen is a lower bound of what can "
        "happen, static timing an upper one."
    )
    return Chart(
        name="delay", title="Delay by weight value", caption=caption, data=data, layout=layout, height=400
    )


def _level(y: float) -> dict[str, Any]:
    line = {"color": CHOSEN, "width": 1.2, "dash": "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _level_label(y: float, text: str) -> dict[str, Any]:
    return {
        "text": text, "x": 1, "xref": "paper", "y": y, "showarrow": False, "xanchor": "right",
        "yanchor": "bottom", "font": {"color": CHOSEN, "size": 12},
    }  # fmt: skip


def _both(document: Mapping[str, Any]) -> Chart:
    (per_j, joules), (per_s, seconds) = (
        scale_of(document["energy_j"], "J"),
        scale_of(document["delay_s"], "s"),
    )
    order = by_energy(document)
    named = {order[0], order[-1], by_delay(document)[0], by_delay(document)[-1]}
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers+text", "showlegend": False,
            "x": [e * per_j for e in document["energy_j"]], "y": [d * per_s for d in document["delay_s"]],
            "text": [signed(w) if place in named else "" for place, w in enumerate(document["weights"])],
            "customdata": document["weights"],
            "textposition": "top center", "textfont": {"size": 12, "color": INK},
            "marker": {"color": [abs(w) for w in document["weights"]], "size": 8, "opacity": 0.85,
                       "colorscale": [[0, "#ddcc77"], [0.5, "#44aa99"], [1, "#332288"]],
                       "colorbar": {"title": {"text": "magnitude", "side": "right"}, "thickness": 14,
                                    "outlinewidth": 0}},
            "hovertemplate": "weight %{customdata}<br>"
                             f"%{{x:.4g}} {joules}, %{{y:.4g}} {seconds}<extra></extra>",
        }
    ]  # fmt: skip
    layout = plain_layout(
        xaxis=plain_axis(f"energy a cycle ({joules})"),
        yaxis=plain_axis(f"delay ({seconds})"),
        hovermode="closest",
    )
    caption = "Every weight value: down and to the left is better. Values to choose from lie there."
    return Chart(
        name="both", title="Delay against energy", caption=caption, data=data, layout=layout, height=400
    )


def _arrivals(document: Mapping[str, Any]) -> Chart:
    step_s = 1e-12 * document["grid_ps"]
    scale, unit = scale_of([document["static_delay_s"]], "s")
    shares = document["arrivals"]
    data: list[dict[str, Any]] = [
        {
            "type": "bar", "x": [step * step_s * scale for step in range(len(shares))],
            "y": [100 * share for share in shares], "marker": {"color": AFTER}, "showlegend": False,
            "hovertemplate": f"%{{x:.4g}} {unit}: %{{y:.3g}} % of transitions<extra></extra>",
        }
    ]  # fmt: skip
    edge = max(document["delay_s"]) * scale
    line = {"color": CHOSEN, "width": 1.2, "dash": "dash"}
    layout = plain_layout(
        bargap=0.05,
        xaxis={**plain_axis(f"last change of a sum bit ({unit})"), "rangemode": "tozero"},
        yaxis=plain_axis("transitions (%)"),
        shapes=[
            {"type": "line", "xref": "x", "yref": "paper", "x0": edge, "x1": edge, "y0": 0, "y1": 1,
             "line": line}
        ],
        annotations=[
            {"text": "latest seen", "x": edge, "y": 1, "yref": "paper", "showarrow": False,
             "xanchor": "right", "yanchor": "top", "xshift": -4, "font": {"color": CHOSEN, "size": 12}}
        ],
    )  # fmt: skip
    still = units.percent(1 - sum(shares))
    caption = (
        "When the sum has settled, over all weights and all transitions of the activation, each class of "
        f"partial-sum transitions as often as the others. In {still} of them no sum bit changes."
    )
    return Chart(
        name="arrivals",
        title="Distribution of arrivals",
        caption=caption,
        data=data,
        layout=layout,
        height=360,
    )


def _classes(document: Mapping[str, Any]) -> Chart:
    found: Sequence[tuple[int, float]] = document["class_delays_s"]
    scale, unit = scale_of([delay_s for _, delay_s in found], "s")
    data: list[dict[str, Any]] = [
        {
            "type": "bar", "x": ["none" if bit < 0 else f"{bit}" for bit, _ in found], "showlegend": False,
            "y": [delay_s * scale for _, delay_s in found], "marker": {"color": BEFORE},
            "hovertemplate": f"bit %{{x}}: %{{y:.4g}} {unit}<extra></extra>",
        }
    ]  # fmt: skip
    axis = {**plain_axis("most significant bit of the partial sum that changes"), "type": "category"}
    layout = plain_layout(bargap=0.3, xaxis=axis, yaxis=plain_axis(f"delay ({unit})"))
    caption = (
        "Latest change seen with any weight, by what the partial sum does at the same time: carries that "
        "run through the adder decide."
    )
    return Chart(
        name="classes",
        title="Delay by transition of the partial sum",
        caption=caption,
        data=data,
        layout=layout,
        height=360,
    )


def _weights(document: Mapping[str, Any]) -> dict[str, Any]:
    first, last = document["weights"][0], document["weights"][-1]
    span = last - first + 1
    return {
        **plain_axis("weight value"),
        "range": [first - 0.7, last + 0.7],
        "dtick": max(1, span // 16),
        "showgrid": False,
    }


def facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was characterised, and how."""
    kinds = {True: "signed", False: "unsigned"}
    return [
        ("Multiplier", document["multiplier"]),
        ("Weights", f"{document['weight_bits']} bits, {kinds[document['weight_signed']]}"),
        ("Activations", f"{document['activation_bits']} bits, {kinds[document['activation_signed']]}"),
        ("Partial sums", f"{document['sum_bits']} bits"),
        ("Cells", f"{document['library']} at {document['supply_v']:g} V"),
        ("Operands", document["operands"]),
        ("Seed", str(document["seed"])),
    ]

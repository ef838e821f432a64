"""Charts as plotly.js figures in plain data: what all of them share.

Colours are of palettes that people with any common colour blindness can tell apart; before is grey,
after is blue, the chosen one is vermilion, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chipfit import units

BEFORE, AFTER, CHOSEN, MUTED, INK, GRID = "#b3bac2", "#0072b2", "#d55e00", "#8a94a0", "#1f2933", "#e6e9ed"
#: Tol, "Colour Schemes", SRON/EPS/TN/09-002, 2021: the muted scheme, calm ones first.
COMPONENT_COLOURS = ("#332288", "#88ccee", "#44aa99", "#ddcc77", "#cc6677", "#117733", "#999933")
#: Okabe & Ito, "Color Universal Design", 2008, for points and lines.
ORIGIN_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")

#: What people call the ways in which candidates come about.
ORIGINS = {"ilp": "integer program", "uniform": "uniform bits"}

HEAT = [[0.0, "#f4f7fa"], [0.35, "#a9cbe2"], [0.7, "#2f7fb5"], [1.0, "#08305c"]]
STEPS = [[0.0, "#ddcc77"], [0.5, "#44aa99"], [1.0, "#332288"]]
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


def plain(text: str) -> str:
    """Text that plotly.js draws as it stands."""
    # It reads tags and %{…} in the text it draws: names from files must stay what they are.
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


def layer_axis() -> dict[str, Any]:
    """An axis of names of layers."""
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

"""Pictures of how much the elements of a sparse array have to do: a square an element, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from chipfit import units

_SIDE = 192  # pixels of a picture
#: Light to dark, from nothing to do to as much as the busiest element.
_LIGHT, _DARK = (238, 242, 246), (0, 86, 140)


@dataclass(frozen=True, kw_only=True)
class LoadPicture:
    """The array on one layer, and what to read below it."""

    layer: str
    svg: Markup
    text: str


def pictures(document: Mapping[str, Any], most: int = 24) -> list[LoadPicture]:
    """Pictures of the layers that take longest on a sparse array, at most so many, in the network's order."""
    rows = zip(document["layers"], document.get("loads", ()), strict=False)
    found = [(row, loads) for row, loads in rows if loads]
    longest = sorted(found, key=lambda entry: -entry[0]["latency_s"])[:most]
    shown = {id(row) for row, _ in longest}
    return [_picture(row, loads) for row, loads in found if id(row) in shown]


def _picture(row: Mapping[str, Any], loads: Sequence[Sequence[float]]) -> LoadPicture:
    sparse = row["sparse"]
    idle = sum(load == 0 for line in loads for load in line)
    elements = len(loads) * len(loads[0])
    text = (
        f"{units.si(sparse['cycles'], 'cycles')}, imbalance {sparse['imbalance']:.2f}, "
        f"{units.percent(1 - sparse['pairs'] / row['macs'], 0)} skipped"
    )
    if idle:
        text += f", {idle} of {elements} elements idle"
    return LoadPicture(layer=row["name"], svg=heat_map(loads, f"{row['name']}: {text}"), text=text)


def heat_map(loads: Sequence[Sequence[float]], title: str) -> Markup:
    """Loads as squares, the busiest the darkest; rows and columns as in the array.

    >>> "1 of 2" in heat_map([[1.0, 2.0]], "1 of 2")
    True
    """
    rows, columns = len(loads), len(loads[0])
    side = _SIDE / max(rows, columns)
    busiest = max(max(line) for line in loads) or 1.0
    squares = [
        f'<rect x="{column * side:.2f}" y="{row * side:.2f}" width="{side:.2f}" height="{side:.2f}" '
        f'fill="{_colour(load / busiest)}"/>'
        for row, line in enumerate(loads)
        for column, load in enumerate(line)
    ]
    return Markup(  # noqa: S704  # numbers, and an escaped title
        f'<svg viewBox="0 0 {columns * side:.0f} {rows * side:.0f}" width="100%" role="img" '
        f'shape-rendering="crispEdges"><title>{escape(title)}</title>{"".join(squares)}</svg>'
    )


def _colour(part: float) -> str:
    return "#" + "".join(
        f"{round(light + (dark - light) * part):02x}" for light, dark in zip(_LIGHT, _DARK, strict=True)
    )

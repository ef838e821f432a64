"""A result as one small SVG picture, for a README or a slide: energy by component, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from chipfit import units
from chipfit.errors import RecordError
from chipfit.report.charts import COMPONENT_COLOURS
from chipfit.report.history import History
from chipfit.report.html import headline, load
from chipfit.report.record import write_atomically

WIDTH, LEFT, BAR, ROW = 860, 90, 640, 44  # pixels: the whole, where bars begin, the longest bar, one row
_FONT = 'font-family="Segoe UI, Helvetica Neue, Noto Sans, Arial, sans-serif"'


def picture(history: History) -> str:
    """The picture of a finished run, as SVG.

    Raises:
        RecordError: the run is not finished.
    """
    if history.original is None or history.final is None:
        raise RecordError("the run is not finished: there is no result to draw yet")
    totals = history.original.cost.totals, history.final.cost.totals
    rows = [("before", totals[0].energy_by_component_j), ("after", totals[1].energy_by_component_j)]
    longest_j = max([sum(parts.values()) for _, parts in rows] + [1e-30])
    components = list(dict.fromkeys(part for _, parts in rows for part in parts))
    found = [
        _text(24, 38, f"{history.run.task} on {history.run.target}", size=20, weight=600, colour="#1f2933"),
        _text(24, 64, headline(history).sentence, size=14),
    ]
    for index, (name, parts) in enumerate(rows):
        found += _bar(88 + ROW * index, name, parts, components, BAR / longest_j)
    legend_y = 88 + ROW * len(rows) + 22
    found += _legend(legend_y, components)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {legend_y + 22}" {_FONT} role="img">'
        f'<rect width="{WIDTH}" height="{legend_y + 22}" rx="10" fill="#ffffff"/>'
        + "".join(found)
        + "</svg>\n"
    )


def write(directory: Path, file: Path) -> Path:
    """Write the picture of the run in a directory to an SVG file, and say where it is.

    Raises:
        RecordError: the records cannot be read, the run is not finished, or the file cannot be written.
    """
    write_atomically(file, picture(load(directory)).encode())
    return file


def _text(
    x: float, y: float, text: str, *, size: int = 13, weight: int = 400, colour: str = "#3e4c59"
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _bar(
    y: float, name: str, parts: Mapping[str, float], components: Sequence[str], pixels_per_j: float
) -> list[str]:
    found, x = [_text(24, y + 21, name)], float(LEFT)
    for index, component in enumerate(components):
        width = parts.get(component, 0.0) * pixels_per_j
        fill = COMPONENT_COLOURS[index % len(COMPONENT_COLOURS)]
        found.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="32" fill="{fill}"/>')
        x += width
    return [*found, _text(x + 8, y + 21, units.si(sum(parts.values()), "J"), weight=600, colour="#1f2933")]


def _legend(y: float, components: Sequence[str]) -> list[str]:
    found: list[str] = []
    step = (WIDTH - LEFT - 24) / max(1, len(components))
    for index, component in enumerate(components):
        x, fill = LEFT + step * index, COMPONENT_COLOURS[index % len(COMPONENT_COLOURS)]
        found.append(f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="11" height="11" fill="{fill}"/>')
        found.append(_text(x + 16, y, component, size=11))
    return found

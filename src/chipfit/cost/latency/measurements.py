"""Measured latencies from a table, with everything checked that a stopwatch and a spreadsheet get wrong.

    network,latency_ms
    4-2-1-2-1-1,9.31
    3-3-4-1-3-1,12.80

One column names the network (`network`, `architecture`, `arch`, `model`, `label`, `file`, `ops`, ...), one
says how long it took; the unit is in its name (`latency_ms`, `time (us)`, `latency_s`, ...) or given. Other
columns are passed over. A network may stand more than once: the median of its rows counts.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chipfit.cost.latency import fbnet, nb201
from chipfit.cost.latency.space import Space
from chipfit.errors import MeasurementError, nearest
from chipfit.units import si

#: Fewest networks that a device is fitted to, and as many as are advised.
FEWEST, ADVISED = 5, 20
#: Largest over smallest of one network's latencies above which they contradict each other.
CONTRADICTION = 1.5
#: Faster than this is no network: operations a second, and seconds a kernel of a nest.
_FASTEST, _SHORTEST_S = 1e15, 1e-6
#: Slower than this, no device runs a whole network: operations a second.
_SLOWEST = 1e6

_NETWORK = (
    "network",
    "architecture",
    "arch",
    "model",
    "label",
    "file",
    "filename",
    "name",
    "ops",
    "op_indices",
    "id",
)
_LATENCY = ("latency", "time", "measured", "median", "mean", "duration", "runtime")
_UNITS = {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3, "ns": 1e-6}
_WORDS = {
    "milliseconds": "ms",
    "seconds": "s",
    "sec": "s",
    "microseconds": "us",
    "nanoseconds": "ns",
    "msec": "ms",
}


@dataclass(frozen=True, eq=False)
class Measurements:
    """Distinct measured networks of a space: their rows in it, latencies (ms), and what to know of them."""

    rows: np.ndarray
    latency_ms: np.ndarray
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a file says: networks and latencies as written (line, text), and the unit of the latencies."""

    file: str
    labels: tuple[str, ...]
    lines: tuple[int, ...]
    values: tuple[str, ...]
    unit: str
    stated: bool


def read_table(path: Path, unit: str | None = None) -> Table:
    """The rows of a CSV file.

    Args:
        path: of the file; the first row has the names of the columns.
        unit: of the latencies: 'ms', 's', 'us' or 'ns'; left out, the column's name says it.

    Raises:
        MeasurementError: the file cannot be read, or has no column for one of the two.
    """
    if unit is not None and unit not in _UNITS:
        raise MeasurementError(f"unknown unit '{unit}'{nearest(unit, _UNITS)}")
    return parse_table(_text(path), str(path), unit)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise MeasurementError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path} cannot be read as text: {error}") from error


def _rows(text: str, file: str) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with their lines; columns are parted by ',', ';' or tabs."""
    delimiter = max(",;\t", key=text.lstrip("\n").partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if not rows:
        raise MeasurementError(f"{file} is empty: expected a table with the columns network and latency_ms")
    return rows


def parse_table(text: str, file: str, unit: str | None = None) -> Table:
    """The rows of a CSV text; see `read_table`."""
    rows = _rows(text, file)
    header = [cell.strip() for cell in rows[0][1]]
    network, latency = _network_column(header, file), _latency_column(header, file)
    named = _unit_of(header[latency])
    if unit is None and named is None:
        raise MeasurementError(
            f"{file}: column '{header[latency]}' does not say its unit: call it latency_ms, or give the unit "
            "(--unit ms, s, us or ns)"
        )
    labels: list[str] = []
    lines: list[int] = []
    values: list[str] = []
    for line, row in rows[1:]:
        row = [*row, *[""] * (len(header) - len(row))]
        labels.append(row[network].strip())
        lines.append(line)
        values.append(row[latency].strip())
    return Table(
        file=file,
        labels=tuple(labels),
        lines=tuple(lines),
        values=tuple(values),
        unit=unit or named or "ms",
        stated=unit is not None,
    )


def read_labels(path: Path) -> list[str]:
    """The networks that a CSV file names, in its order.

    Raises:
        MeasurementError: the file cannot be read, or no column names networks.
    """
    rows = _rows(_text(path), str(path))
    column = _network_column([cell.strip() for cell in rows[0][1]], str(path))
    return [row[column].strip() for _, row in rows[1:] if len(row) > column and row[column].strip()]


def _network_column(header: Sequence[str], file: str) -> int:
    plain = [re.sub(r"\W+", "_", name.lower()) for name in header]
    for known in _NETWORK:
        if known in plain:
            return plain.index(known)
    raise MeasurementError(
        f"{file}: no column names the networks; its columns are {', '.join(map(repr, header))}: "
        "call one 'network'"
    )


def _latency_column(header: Sequence[str], file: str) -> int:
    plain = [re.sub(r"[^a-zµ]+", "_", name.lower()).strip("_") for name in header]
    for known in _LATENCY:
        for place, name in enumerate(plain):
            if name == known or name.startswith(known + "_"):
                return place
    for place, name in enumerate(plain):
        if name in _UNITS or name in _WORDS:
            return place
    raise MeasurementError(
        f"{file}: no column has latencies; its columns are {', '.join(map(repr, header))}: "
        "call one 'latency_ms'"
    )


def _unit_of(name: str) -> str | None:
    """The unit in the name of a column, such as 'latency_ms' or 'time (us)'."""
    parts = [part for part in re.split(r"[^a-zµ]+", name.lower()) if part]
    for part in reversed(parts):
        if part in _UNITS or part in _WORDS:
            return _WORDS.get(part, part)
    return None


def canonical(space: Space) -> Callable[[str], str]:
    """What turns a label as people write it into the one of the space."""
    readers = {"nb201": nb201.read_label, "fbnet": fbnet.read_label}
    read = readers.get(space.name)
    if read is None:
        return lambda label: (
            label if label in space.places or f"{label}.onnx" not in space.places else f"{label}.onnx"
        )

    def change(label: str) -> str:
        codes = read(label)
        return label if codes is None else "-".join(map(str, codes))

    return change


def check(table: Table, space: Space, *, fewest: int = FEWEST) -> Measurements:
    """The measured networks of a table, in milliseconds, once everything about it is sound.

    Raises:
        MeasurementError: a latency is no positive number, a network is not of the space, its rows
            contradict each other, there are too few, or the unit cannot be right; all in one message.
    """
    problems: list[str] = []
    change = canonical(space)
    found: dict[str, list[tuple[int, float]]] = {}
    for label, line, text in zip(table.labels, table.lines, table.values, strict=True):
        value = _positive(text)
        name = change(label)
        if name not in space.places:
            problems.append(
                f"line {line}: '{label}' is no network of the space '{space.name}'{_near(label, space)}"
            )
        elif value is None:
            problems.append(f"line {line}: latency '{text}' of {label} is not a positive number")
        else:
            found.setdefault(name, []).append((line, value * _UNITS[table.unit]))
    warnings: list[str] = []
    for name, rows in found.items():
        values = [value for _, value in rows]
        where = f"lines {', '.join(str(line) for line, _ in rows)}"
        if max(values) > CONTRADICTION * min(values):
            problems.append(
                f"{where}: {name} took {min(values):g} and {max(values):g} ms: measure it again, "
                "or drop what is wrong"
            )
        elif len(values) > 1:
            warnings.append(f"{where}: {name} was measured {len(values)} times; the median counts")
    if len(found) < fewest and not problems:
        problems.append(
            f"{len(found)} networks are too few: at least {fewest}, better {ADVISED}; "
            f"'chipfit latency select {space.name}' says which"
        )
    if problems:
        raise MeasurementError(f"{table.file}: " + _together(problems))
    labels = list(found)
    rows = np.array([space.places[label] for label in labels], dtype=int)
    latency_ms = np.array([float(np.median([value for _, value in found[label]])) for label in labels])
    if not table.stated and len(rows):
        _check_unit(table, space, rows, latency_ms)
    if fewest <= len(rows) < ADVISED // 2:
        warnings.append(f"only {len(rows)} networks are measured: {ADVISED} are advised")
    if len(rows) and np.ptp(latency_ms) == 0:
        warnings.append("all networks take the same time: nothing tells them apart")
    return Measurements(rows, latency_ms, tuple(warnings))


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < np.inf else None


def _near(label: str, space: Space) -> str:
    if space.codes is None:
        return nearest(label, space.labels) if len(space) <= 2000 else ""
    names = nb201.OPERATIONS if space.name == "nb201" else fbnet.OPERATIONS
    return f": expected {space.codes.shape[1]} of 0 to {len(names) - 1}, such as {space.labels[-1]}"


def _together(problems: Sequence[str], most: int = 8) -> str:
    rest = len(problems) - most
    return "; ".join(problems[:most]) + (f"; and {rest} more" if rest > 0 else "")


def _check_unit(table: Table, space: Space, rows: np.ndarray, latency_ms: np.ndarray) -> None:
    """Refuse latencies that no device can have, which are in another unit than they say."""
    counts, kernels = space.ways[0].counts[rows], space.kernels
    macs = counts @ kernels.column("macs")
    least_s = np.maximum(macs / _FASTEST, counts @ kernels.is_kind("conv") * _SHORTEST_S)
    most_s = np.maximum(macs, 1.0) / _SLOWEST
    typical_s = float(np.median(latency_ms)) * 1e-3
    asked = f"give the unit (--unit s, ms, us or ns; --unit {table.unit} if it is right)"
    network = f"networks of {si(float(np.median(macs)), 'MAC')}"
    if typical_s < float(np.median(least_s)):
        raise MeasurementError(
            f"{table.file}: {si(typical_s, 's')} is faster than any device runs {network}: "
            f"are these seconds? {asked}"
        )
    if typical_s > float(np.median(most_s)):
        raise MeasurementError(
            f"{table.file}: {si(typical_s, 's')} is slower than any device runs {network}: "
            f"are these microseconds? {asked}"
        )


def read_scores(path: Path, space: Space, column: str) -> np.ndarray:
    """A column of numbers of a table, a network each, NaN where a network of the space has none.

    Raises:
        MeasurementError: the file or a column is missing, or a value is no number.
    """
    rows = _rows(_text(path), str(path))
    header = [name.strip() for name in rows[0][1]]
    if column not in header:
        raise MeasurementError(f"{path} has no column '{column}'{nearest(column, header)}")
    network, place, change = _network_column(header, str(path)), header.index(column), canonical(space)
    found = np.full(len(space), np.nan)
    for line, row in rows[1:]:
        if len(row) <= max(network, place):
            continue
        name = change(row[network].strip())
        try:
            value = float(row[place])
        except ValueError:
            raise MeasurementError(f"{path}, line {line}: {column} '{row[place]}' is not a number") from None
        if name not in space.places:
            raise MeasurementError(f"{path}, line {line}: '{row[network]}' is no network of '{space.name}'")
        found[space.places[name]] = value
    return found

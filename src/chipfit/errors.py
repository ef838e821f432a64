"""Every mistake a user can make, as an exception with a message that says how to mend it.

    ChipfitError
    ├── NetworkError      a network or its file cannot be read, or is not sound
    ├── TargetError       a chip description cannot be read, or is not sound
    ├── UnitError         a quantity such as '5 ms' or '50%' cannot be read
    ├── MappingError      a layer cannot run on a target
    ├── NetlistError      a circuit or its Verilog cannot be read, or is not sound
    ├── LibraryError      a cell library cannot be read, or lacks a cell
    ├── TableError        a table of weight values cannot be read, or is not sound
    ├── BudgetError       a budget contradicts itself or names an unknown quantity
    ├── TaskError         what a user brings to be fitted is not a model, data and a metric
    ├── PassError         a pass cannot be applied to this model
    ├── ExportError       an exported model does not do what the trained one does
    ├── MeasurementError  measured latencies, or a device fitted to them, are not sound
    └── RecordError       the records of a run cannot be read or written

Each message says what was given, what was expected, and the nearest valid name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ChipfitError(Exception):
    """A mistake that the user can mend; the message says how."""


class NetworkError(ChipfitError):
    """A network or its file cannot be read, or is not sound."""


class TargetError(ChipfitError):
    """A chip description cannot be read, or is not sound."""


class UnitError(ChipfitError):
    """A quantity such as '5 ms' or '50%' cannot be read."""


class MappingError(ChipfitError):
    """A layer cannot run on a target."""


class NetlistError(ChipfitError):
    """A circuit or its Verilog cannot be read, or is not sound."""


class LibraryError(ChipfitError):
    """A cell library cannot be read, or lacks a cell."""


class TableError(ChipfitError):
    """A table of weight values cannot be read, or is not sound."""


class BudgetError(ChipfitError):
    """A budget contradicts itself or names an unknown quantity."""


class TaskError(ChipfitError):
    """What a user brings to be fitted is not a model, data and a metric."""


class PassError(ChipfitError):
    """A pass cannot be applied to this model."""


class ExportError(ChipfitError):
    """An exported model does not do what the trained one does."""


class MeasurementError(ChipfitError):
    """Measured latencies, or a device fitted to them, are not sound."""


class RecordError(ChipfitError):
    """The records of a run cannot be read or written."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the valid name nearest to a mistyped one.

    >>> nearest("pe_row", ["pe_rows", "clock_hz"])
    ", did you mean 'pe_rows'?"
    >>> nearest("zzz", ["b", "a"])
    '; valid: a, b'
    """
    known = sorted(valid)
    same = [word for word in known if word.casefold() == name.casefold()]
    close = same or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f", did you mean '{close[0]}'?"
    return "; valid: " + ", ".join(known)

"""What a cell library says of each cell: function, delay, energy, leakage.

Every delay, slope and energy is a `Table` over input slope and output load, whether it comes from
a Liberty file or from the embedded estimate: one description for all who price a circuit.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chipfit.cost.gates.netlist import Kind
from chipfit.errors import LibraryError, nearest


@dataclass(frozen=True, kw_only=True)
class Table:
    """A quantity over input slope (s) and output load (F); linear between points and beyond them.

    Attributes:
        slews_s: input slopes, increasing; one value where the quantity does not depend on them.
        loads_f: loads, increasing; one value where the quantity does not depend on them.
        values: a row for each slope, a column for each load.

    >>> Table(loads_f=(0.0, 2.0), values=((1.0, 3.0),)).at(slew_s=5.0, load_f=3.0)
    4.0
    """

    slews_s: tuple[float, ...] = (0.0,)
    loads_f: tuple[float, ...] = (0.0,)
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        shape = (len(self.slews_s), len(self.loads_f))
        if len(self.values) != shape[0] or any(len(row) != shape[1] for row in self.values):
            raise LibraryError(f"a table of {shape[0]} slopes and {shape[1]} loads has other values")
        for axis in (self.slews_s, self.loads_f):
            if any(b <= a for a, b in itertools.pairwise(axis)):
                raise LibraryError(
                    f"the axis of a table must increase, got {', '.join(f'{x:g}' for x in axis)}"
                )

    def at(self, *, slew_s: float, load_f: float) -> float:
        """The value at an input slope and a load: bilinear, straight on beyond the corners."""
        row, down = _bracket(self.slews_s, slew_s)
        column, right = _bracket(self.loads_f, load_f)
        upper = _between(self.values[row], column, right)
        return (
            upper if down == 0 else upper * (1 - down) + _between(self.values[row + 1], column, right) * down
        )


def _bracket(axis: tuple[float, ...], x: float) -> tuple[int, float]:
    """The point before x, and how far x is towards the next."""
    if len(axis) == 1:
        return 0, 0.0
    i = min(max(bisect.bisect_right(axis, x) - 1, 0), len(axis) - 2)
    return i, (x - axis[i]) / (axis[i + 1] - axis[i])


def _between(row: tuple[float, ...], i: int, part: float) -> float:
    return row[i] if part == 0 else row[i] * (1 - part) + row[i + 1] * part


@dataclass(frozen=True, kw_only=True)
class Arc:
    """How an output follows one pin; `rise` and `fall` are edges of the output.

    Attributes:
        rise_s, fall_s: delay from the pin to the output.
        rise_slew_s, fall_slew_s: slope of the output.
        rise_energy_j, fall_energy_j: what the cell takes inside, without charging the load.
    """

    rise_s: Table
    fall_s: Table
    rise_slew_s: Table
    fall_slew_s: Table
    rise_energy_j: Table
    fall_energy_j: Table


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output of a cell: its truth table over all pins, and one arc for each pin.

    A pin that the output does not depend on has None.
    """

    name: str
    table: int
    arcs: tuple[Arc | None, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell without state.

    Attributes:
        name: as instances name it.
        pins: the inputs, at most six.
        capacitance_f: of each pin.
        outputs: at least one.
        leakage_w: mean over its input states.
        area_um2: None where nobody says.
        avoid: the library advises against it; it is not chosen for others' circuits.
    """

    name: str
    pins: tuple[str, ...]
    capacitance_f: tuple[float, ...]
    outputs: tuple[Output, ...]
    leakage_w: float
    area_um2: float | None = None
    avoid: bool = False

    def kind(self, output: str) -> Kind:
        """What a gate is that this output of the cell drives.

        Raises:
            LibraryError: there is no such output.
        """
        for candidate in self.outputs:
            if candidate.name == output:
                return Kind(cell=self.name, output=output, pins=self.pins, table=candidate.table)
        names = [candidate.name for candidate in self.outputs]
        raise LibraryError(f"cell '{self.name}' has no output '{output}'{nearest(output, names)}")


@dataclass(frozen=True, kw_only=True)
class CellLibrary:
    """Cells, and what circuits of them see around them.

    Attributes:
        name: of the library.
        source: where its numbers come from.
        supply_v: the voltage that the numbers hold for.
        cells: by name.
        wire_f: capacitance of a wire for each pin it reaches.
        output_load_f: what hangs on each output of a circuit.
        input_slew_s: slope of the edges on the inputs of a circuit.
        ties: value of each output of the cells that drive constants, by name.
        unusable: why other cells of the file cannot be used, by name.
    """

    name: str
    source: str
    supply_v: float
    cells: Mapping[str, Cell]
    wire_f: float
    output_load_f: float
    input_slew_s: float
    ties: Mapping[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    unusable: Mapping[str, str] = field(default_factory=dict[str, str])

    def cell(self, name: str) -> Cell:
        """The cell of that name.

        Raises:
            LibraryError: there is none, or it cannot be used here.
        """
        if name in self.cells:
            return self.cells[name]
        if name in self.unusable:
            raise LibraryError(
                f"cell '{name}' of library '{self.name}' cannot be used: {self.unusable[name]}"
            )
        raise LibraryError(f"library '{self.name}' has no cell '{name}'{_hint(name, self.cells)}")


def _hint(name: str, cells: Iterable[str]) -> str:
    """The nearest cell, or how many there are: libraries have hundreds."""
    known = list(cells)
    hint = nearest(name, known)
    return hint if hint.endswith("?") else f" among its {len(known)}"

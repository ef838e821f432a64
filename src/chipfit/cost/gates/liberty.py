"""Users' cell libraries: Liberty files with non-linear delay tables.

Of each cell without state: function, pin capacitances, delay and slope tables, internal power,
leakage, area. Of tables for several states (`when`) the mean is taken; what several supply pins
take is added. Left out: power of inputs that leave every output as it is, constraints, waveforms.
The wire of a pin counts 0.6 of an inverter's input (`effort.WIRE_EFFORT`), an output of a circuit
one; inputs of a circuit have the slope of an inverter that drives four of its kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chipfit.cost.gates.cells import Arc, Cell, CellLibrary, Output, Table
from chipfit.cost.gates.effort import WIRE_EFFORT
from chipfit.cost.gates.function import depends_on, read_function
from chipfit.cost.gates.liberty_syntax import Group, parse_groups
from chipfit.cost.gates.netlist import MAX_PINS
from chipfit.errors import LibraryError, nearest

_SCALES = {
    "a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3,
}  # fmt: skip
_STATE = ("ff", "latch", "statetable", "ff_bank", "latch_bank", "memory", "test_cell")
_COMBINATIONAL = ("", "combinational", "combinational_rise", "combinational_fall")
_NOTHING = Table(values=((0.0,),))


def load_liberty(path: str | Path) -> CellLibrary:
    """The cells of a Liberty file.

    Raises:
        LibraryError: the file cannot be read, is cut off, lacks units or holds no usable cell.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise LibraryError(f"cannot read cell library {path}: {error.strerror}") from error
    return parse_liberty(text, Path(path).name)


def parse_liberty(text: str, file: str) -> CellLibrary:
    """The cells of a Liberty text.

    Args:
        text: the content of the file.
        file: its name, for messages and as the source of the numbers.

    Raises:
        LibraryError: as `load_liberty`.
    """
    library = parse_groups(text, file)
    reader = _Reader(library, file)
    cells, unusable = dict[str, Cell](), dict[str, str]()
    ties = dict[str, dict[str, int]]()
    for group in library.named("cell"):
        name = " ".join(group.arguments)
        constants = _constants(group)
        if constants:
            ties[name] = constants
            continue
        try:
            cells[name] = reader.cell(group, name)
        except _Unusable as reason:
            unusable[name] = str(reason)
    return _with_surroundings(library, file, reader, cells, ties, unusable)


class _Unusable(Exception):  # noqa: N818 - an outcome that is kept, not an error
    """Why a cell is of no use for circuits without state."""


@dataclass(frozen=True, kw_only=True)
class _Units:
    time_s: float
    capacitance_f: float
    leakage_w: float | None
    voltage_v: float

    @property
    def energy_j(self) -> float:
        """Of internal power: its tables hold energies, capacitance unit times voltage unit squared."""
        return self.capacitance_f * self.voltage_v**2


def _with_surroundings(
    library: Group,
    file: str,
    reader: _Reader,
    cells: dict[str, Cell],
    ties: dict[str, dict[str, int]],
    unusable: dict[str, str],
) -> CellLibrary:
    """The library, with what its smallest inverter says of wires, outputs and inputs."""
    inverters = [cell for cell in cells.values() if len(cell.pins) == 1 and cell.outputs[0].table == 0b01]
    if not inverters:
        reasons = "".join(f"; '{name}': {reason}" for name, reason in list(unusable.items())[:3])
        raise LibraryError(f"{file}: no inverter among {len(cells)} usable cells{reasons}")
    inverter = min(inverters, key=lambda cell: (cell.capacitance_f[0], cell.name))
    own, slew_s = inverter.capacitance_f[0], 0.0
    arc = inverter.outputs[0].arcs[0]
    assert arc is not None, "an inverter depends on its pin"
    for _ in range(8):  # settles: each slope depends little on the one before
        slopes = [t.at(slew_s=slew_s, load_f=4 * own) for t in (arc.rise_slew_s, arc.fall_slew_s)]
        slew_s = sum(slopes) / 2
    return CellLibrary(
        name=" ".join(library.arguments) or file,
        source=file,
        supply_v=reader.supply_v,
        cells=cells,
        wire_f=WIRE_EFFORT * own,
        output_load_f=own,
        input_slew_s=slew_s,
        ties=ties,
        unusable=unusable,
    )


def _constants(cell: Group) -> dict[str, int]:
    """The outputs of a cell that has no inputs and drives constants."""
    pins = cell.named("pin")
    if any(pin.text("direction") == "input" or pin.text("function") not in ("0", "1", "") for pin in pins):
        return {}
    return {name: int(pin.text("function")) for pin in pins if pin.text("function") for name in pin.arguments}


class _Reader:
    """What groups mean, in the units of one file."""

    def __init__(self, library: Group, file: str) -> None:
        self.library, self.file = library, file
        leaks = "leakage_power_unit" in library.attributes
        self.units = _Units(
            time_s=self._unit("time_unit", "s", "1ns"),
            capacitance_f=self._capacitance_unit(),
            leakage_w=self._unit("leakage_power_unit", "W") if leaks else None,
            voltage_v=self._unit("voltage_unit", "V", "1V"),
        )
        self.supply_v = self._supply() * self.units.voltage_v
        self.templates = {
            " ".join(group.arguments): group
            for group in library.named("lu_table_template", "power_lut_template")
        }

    def error(self, group: Group, what: str) -> LibraryError:
        """An error at the line of a group."""
        return LibraryError(f"{self.file}, line {group.line}: {what}")

    def _unit(self, key: str, base: str, default: str = "") -> float:
        text = self.library.text(key, default)
        found = re.fullmatch(rf"\s*([\d.eE+-]+)\s*([afpnumk]?){base}\s*", text, re.IGNORECASE)
        if found is None:
            raise self.error(self.library, f"{key} '{text}' is unknown: expected such as '1n{base}'")
        return self.number(self.library, found[1]) * _SCALES[found[2].casefold()]

    def _capacitance_unit(self) -> float:
        words = self.library.attributes.get("capacitive_load_unit", [])
        if len(words) != 2 or words[1].casefold() not in ("ff", "pf", "nf"):
            given = ", ".join(words)
            raise self.error(
                self.library, f"capacitive_load_unit ({given}) is unknown: expected such as (1, pf)"
            )
        return self.number(self.library, words[0]) * _SCALES[words[1][0].casefold()]

    def _supply(self) -> float:
        if "nom_voltage" in self.library.attributes:
            return self.number(self.library, self.library.text("nom_voltage"))
        for group in self.library.named("operating_conditions"):
            if "voltage" in group.attributes:
                return self.number(group, group.text("voltage"))
        raise self.error(self.library, "the library has no 'nom_voltage'")

    def number(self, group: Group, text: str) -> float:
        """A number as it is written.

        Raises:
            LibraryError: it is none.
        """
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(group, f"'{text}' is not a number")
        return value

    # -----------------------------------------------------------------------------------------
    # Cells

    def cell(self, group: Group, name: str) -> Cell:
        """A cell without state.

        Raises:
            _Unusable: the cell has state, too many inputs, or no delay tables.
        """
        if group.named(*_STATE):
            raise _Unusable("it holds state; give a circuit without its registers")
        if group.named("bus", "bundle"):
            raise _Unusable("it has buses")
        pins = [(name.strip(), pin) for pin in group.named("pin") for name in pin.arguments]
        inputs = {name: pin for name, pin in pins if pin.text("direction") == "input"}
        outputs = {name: pin for name, pin in pins if pin.text("direction") == "output"}
        if not outputs:
            raise _Unusable("it has no output")
        if not 1 <= len(inputs) <= MAX_PINS:
            raise _Unusable(f"it has {len(inputs)} inputs: expected 1 to {MAX_PINS}")
        return Cell(
            name=name,
            pins=tuple(inputs),
            capacitance_f=tuple(self._pin_capacitance(pin) for pin in inputs.values()),
            outputs=tuple(self._output(pin, name, list(inputs)) for name, pin in outputs.items()),
            leakage_w=self._leakage(group),
            area_um2=self.number(group, group.text("area")) if "area" in group.attributes else None,
            avoid=group.text("dont_use").casefold() == "true",
        )

    def _pin_capacitance(self, pin: Group) -> float:
        given = [key for key in ("capacitance",) if key in pin.attributes] or [
            key for key in ("rise_capacitance", "fall_capacitance") if key in pin.attributes
        ]
        if given:
            return self.units.capacitance_f * _mean([self.number(pin, pin.text(key)) for key in given])
        if "default_input_pin_cap" in self.library.attributes:
            default = self.library.text("default_input_pin_cap")
            return self.units.capacitance_f * self.number(self.library, default)
        raise self.error(pin, f"input pin '{' '.join(pin.arguments)}' has no capacitance")

    def _leakage(self, cell: Group) -> float:
        by_state = cell.named("leakage_power")
        if "cell_leakage_power" in cell.attributes:
            power = self.number(cell, cell.text("cell_leakage_power"))
        elif by_state:
            power = _sum_of_supplies(by_state, lambda states: self._mean_value(states))
        else:
            power = self.number(self.library, self.library.text("default_cell_leakage_power", "0"))
        if power and self.units.leakage_w is None:
            raise self.error(self.library, "the library has leakage but no 'leakage_power_unit'")
        return power * (self.units.leakage_w or 0.0)

    def _mean_value(self, groups: Iterable[Group]) -> float:
        return _mean([self.number(group, group.text("value", "0")) for group in groups])

    def _output(self, pin: Group, name: str, inputs: list[str]) -> Output:
        if "three_state" in pin.attributes:
            raise _Unusable(f"output '{name}' can be switched off")
        if "function" not in pin.attributes:
            raise _Unusable(f"output '{name}' has no function")
        try:
            table = read_function(pin.text("function"), inputs)
        except LibraryError as error:
            raise self.error(pin, str(error)) from None
        count = len(inputs)
        arcs = [
            self._arc(pin, name, source) if depends_on(table, k, count) else None
            for k, source in enumerate(inputs)
        ]
        return Output(name=name, table=table, arcs=tuple(arcs))

    def _arc(self, pin: Group, name: str, source: str) -> Arc:
        timing = [
            group
            for group in pin.named("timing")
            if source in group.text("related_pin").split() and group.text("timing_type") in _COMBINATIONAL
        ]
        power = [
            group
            for group in pin.named("internal_power")
            if source in group.text("related_pin", source).split()
        ]
        time_s, energy_j = self.units.time_s, self.units.energy_j
        delays = [self._table(timing, key, time_s) for key in ("cell_rise", "cell_fall")]
        slopes = [self._table(timing, key, time_s) for key in ("rise_transition", "fall_transition")]
        rise_s, fall_s = _both(delays, f"no delay table from pin '{source}' to '{name}'")
        rise_slew_s, fall_slew_s = _both(slopes, f"no slope table from pin '{source}' to '{name}'")
        return Arc(
            rise_s=rise_s,
            fall_s=fall_s,
            rise_slew_s=rise_slew_s,
            fall_slew_s=fall_slew_s,
            rise_energy_j=self._energy(power, "rise_power", energy_j),
            fall_energy_j=self._energy(power, "fall_power", energy_j),
        )

    # -----------------------------------------------------------------------------------------
    # Tables

    def _energy(self, power: Sequence[Group], key: str, unit: float) -> Table:
        """Energy from all supply pins together; none where the file says nothing."""
        tables = [self._table(groups, key, unit) for groups in _by_supply(power)]
        known = [table for table in tables if table is not None]
        return _combine(known, sum) if known else _NOTHING

    def _table(self, groups: Iterable[Group], key: str, unit: float) -> Table | None:
        """Mean of the tables of that name; None if there is none. `power` stands for both edges."""
        keys = (key, "power") if key.endswith("_power") else (key,)
        tables = [self._read_table(table, unit) for group in groups for table in group.named(*keys)]
        return _combine(tables, _mean) if tables else None

    def _read_table(self, group: Group, unit: float) -> Table:
        name = " ".join(group.arguments)
        values = [unit * self.number(group, word) for word in _words(group.attributes.get("values", []))]
        if name == "scalar" or (not name and len(values) == 1):
            return Table(values=((_single(self, group, values),),))
        if name not in self.templates:
            raise self.error(group, f"unknown table template '{name}'{nearest(name, self.templates)}")
        template = self.templates[name]
        axes = dict[str, tuple[float, ...]]()
        order = list[str]()
        for k in (1, 2, 3):
            if f"variable_{k}" not in template.attributes:
                break
            axis, scale = self._axis(template.text(f"variable_{k}"))
            if axis is None:
                raise _Unusable(f"a table over '{template.text(f'variable_{k}')}' is not understood")
            written = group.attributes.get(f"index_{k}") or template.attributes.get(f"index_{k}", [])
            axes[axis] = tuple(scale * self.number(group, word) for word in _words(written))
            order.append(axis)
        slews, loads = axes.get("slew", (0.0,)), axes.get("load", (0.0,))
        if len(values) != len(slews) * len(loads):
            raise self.error(
                group,
                f"'{group.name}' has {len(values)} values for {len(slews)} slopes and {len(loads)} loads",
            )
        if order[:1] == ["load"]:  # loads are the rows
            values = [values[j * len(slews) + i] for i in range(len(slews)) for j in range(len(loads))]
        rows = (values[i * len(loads) : (i + 1) * len(loads)] for i in range(len(slews)))
        try:
            return Table(slews_s=slews, loads_f=loads, values=tuple(map(tuple, rows)))
        except LibraryError as error:
            raise self.error(group, str(error)) from None

    def _axis(self, variable: str) -> tuple[str | None, float]:
        if variable in ("input_net_transition", "input_transition_time"):
            return "slew", self.units.time_s
        if variable == "total_output_net_capacitance":
            return "load", self.units.capacitance_f
        return None, 0.0


def _single(reader: _Reader, group: Group, values: list[float]) -> float:
    if len(values) != 1:
        raise reader.error(group, f"'{group.name}' has {len(values)} values: expected one")
    return values[0]


def _words(texts: Iterable[str]) -> list[str]:
    """Numbers out of strings such as '1, 2, 3', which may be broken by backslashes."""
    return " ".join(texts).replace("\\", " ").replace(",", " ").split()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _by_supply(groups: Iterable[Group]) -> list[list[Group]]:
    """The groups of each supply pin; of all that name none together."""
    supplies = dict[str, list[Group]]()
    for group in groups:
        supplies.setdefault(group.text("related_pg_pin"), []).append(group)
    return list(supplies.values())


def _sum_of_supplies(groups: Iterable[Group], value: Callable[[list[Group]], float]) -> float:
    return sum(value(of_one) for of_one in _by_supply(groups))


def _both(tables: Sequence[Table | None], otherwise: str) -> tuple[Table, Table]:
    """Tables of both edges; one stands for the other where the file has one only."""
    known = [table for table in tables if table is not None]
    if not known:
        raise _Unusable(otherwise)
    return known[0], known[-1]


def _combine(tables: Sequence[Table], how: Callable[[Sequence[float]], float]) -> Table:
    """One table of several, on the axes of the finest."""
    if len(tables) == 1:
        return tables[0]
    finest = max(tables, key=lambda table: len(table.slews_s) * len(table.loads_f))
    values = tuple(
        tuple(how([table.at(slew_s=slew, load_f=load) for table in tables]) for load in finest.loads_f)
        for slew in finest.slews_s
    )
    return Table(slews_s=finest.slews_s, loads_f=finest.loads_f, values=values)

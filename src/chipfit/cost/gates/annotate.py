"""Delay of every gate and energy of every net of a circuit, priced with a cell library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from chipfit.cost.gates.cells import Arc, CellLibrary, Output
from chipfit.cost.gates.netlist import MAX_PINS, Netlist
from chipfit.errors import LibraryError

_FLOAT = np.float64


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotated:
    """A circuit with prices.

    Attributes:
        netlist: the circuit.
        library: name of the library that priced it.
        supply_v: the voltage that the prices hold for.
        rise_ps, fall_ps: delay from each pin to a rising, falling edge of the gate's output; 0
            where a gate has no such pin or does not depend on it.
        load_f: capacitance that hangs on each net: pins, wires, outputs of the circuit.
        energy_j: of one toggle of each net: charging its load (½ C V²) and, if a gate drives it,
            what the cell takes inside; mean of rising and falling edges and of the pins.
        leakage_w: of all cells together.
        area_um2: of all cells together; None where the library does not say.
    """

    netlist: Netlist
    library: str
    supply_v: float
    rise_ps: Float64[np.ndarray, "gate 6"]
    fall_ps: Float64[np.ndarray, "gate 6"]
    load_f: Float64[np.ndarray, " net"]
    energy_j: Float64[np.ndarray, " net"]
    leakage_w: float
    area_um2: float | None

    @property
    def delay_ps(self) -> Float64[np.ndarray, "gate 6"]:
        """Pin-to-output delay, mean of both edges: what simulators that know one delay use."""
        return (self.rise_ps + self.fall_ps) / 2


def annotate(netlist: Netlist, library: CellLibrary) -> Annotated:
    """Price a circuit: slopes go through it once, in topological order.

    Args:
        netlist: of cells of the library; `retarget.map_to` makes it so.
        library: which also says what wires, outputs and input edges there are.

    Raises:
        LibraryError: the library lacks a cell or has another function for it.
    """
    outputs = [_output(netlist, index, library) for index in range(len(netlist.kinds))]
    load_f = net_loads(netlist, library)
    rise, fall = np.zeros((netlist.gates, MAX_PINS), _FLOAT), np.zeros((netlist.gates, MAX_PINS), _FLOAT)
    slew_s = np.full(len(netlist.nets), library.input_slew_s)
    energy_j = load_f * (0.5 * library.supply_v**2)
    kinds, inputs, driven = netlist.kind.tolist(), netlist.inputs.tolist(), netlist.output.tolist()
    for gate in range(netlist.gates):
        output, load = outputs[kinds[gate]], float(load_f[driven[gate]])
        slopes, inside = list[float](), list[float]()
        for pin, arc in enumerate(output.arcs):
            if arc is None:
                continue
            at = float(slew_s[inputs[gate][pin]])
            rise[gate, pin] = 1e12 * arc.rise_s.at(slew_s=at, load_f=load)
            fall[gate, pin] = 1e12 * arc.fall_s.at(slew_s=at, load_f=load)
            slopes.append(_mean_of(arc, "slew", at, load))
            inside.append(_mean_of(arc, "energy", at, load))
        if slopes:
            slew_s[driven[gate]] = sum(slopes) / len(slopes)
            energy_j[driven[gate]] += sum(inside) / len(inside)
    leakage_w, area_um2 = _cells(netlist, library)
    return Annotated(
        netlist=netlist,
        library=library.name,
        supply_v=library.supply_v,
        rise_ps=rise,
        fall_ps=fall,
        load_f=load_f,
        energy_j=energy_j,
        leakage_w=leakage_w,
        area_um2=area_um2,
    )


def net_loads(netlist: Netlist, library: CellLibrary) -> Float64[np.ndarray, " net"]:
    """Capacitance on each net (F): pins, the wire to each of them, outputs of the circuit.

    A pin of a cell with several outputs counts once.

    Raises:
        LibraryError: the library lacks a cell.
    """
    load_f = np.zeros(len(netlist.nets), _FLOAT)
    for gate in _one_gate_a_cell(netlist):
        cell = library.cell(netlist.kinds[netlist.kind[gate]].cell)
        for pin, capacitance_f in enumerate(cell.capacitance_f):
            load_f[netlist.inputs[gate, pin]] += capacitance_f + library.wire_f
    for nets in netlist.output_ports.values():
        np.add.at(load_f, np.array(nets), library.output_load_f)
    return load_f


def _one_gate_a_cell(netlist: Netlist) -> Sequence[int]:
    return np.unique(netlist.instance, return_index=True)[1].tolist()


def _output(netlist: Netlist, index: int, library: CellLibrary) -> Output:
    """The output of a cell of the library that a kind of gate is."""
    kind = netlist.kinds[index]
    cell = library.cell(kind.cell)
    theirs = cell.kind(kind.output)
    if (theirs.pins, theirs.table) != (kind.pins, kind.table):
        raise LibraryError(
            f"cell '{kind.cell}' of netlist '{netlist.name}' is {kind.table:#x} of {', '.join(kind.pins)}, "
            f"in library '{library.name}' it is {theirs.table:#x} of {', '.join(theirs.pins)}"
        )
    return next(output for output in cell.outputs if output.name == kind.output)


def _mean_of(arc: Arc, what: str, slew_s: float, load_f: float) -> float:
    rise, fall = (
        (arc.rise_slew_s, arc.fall_slew_s) if what == "slew" else (arc.rise_energy_j, arc.fall_energy_j)
    )
    return (rise.at(slew_s=slew_s, load_f=load_f) + fall.at(slew_s=slew_s, load_f=load_f)) / 2


def _cells(netlist: Netlist, library: CellLibrary) -> tuple[float, float | None]:
    """Leakage and area of all cells."""
    cells = [library.cell(netlist.kinds[netlist.kind[gate]].cell) for gate in _one_gate_a_cell(netlist)]
    areas = [cell.area_um2 for cell in cells]
    total = None if None in areas else sum(area for area in areas if area is not None)
    return sum(cell.leakage_w for cell in cells), total

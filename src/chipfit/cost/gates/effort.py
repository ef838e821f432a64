"""The embedded cell library: delay and energy by logical effort, no foundry's file needed.

A cell has an effort g, its input capacitance in inverters, and a parasitic p, its own delay in
units of tau; then delay = tau·(p + load), energy = inside·p + ½·load·V², load in inverters.
For INV, NAND, NOR, XOR, MUX, AOI and OAI these are the textbook's (Sutherland, Sproull and
Harris, "Logical Effort", 1999; asymmetric cells rounded). Cells of two stages are worked out from
them: the first stage drives the inverter behind it, so p = p1 + 1 + 1. XOR3 and MAJ3 are ours.
Wires add 0.6 inverters for each pin. Leakage goes with (1 + p)/2, ours, by eye.

What it is good for: ranking values and circuits. Absolute figures are as good as one calibration
point of an inverter; quote them with that.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from chipfit.cost.gates.cells import Arc, Cell, CellLibrary, Output, Table
from chipfit.cost.gates.function import read_function
from chipfit.cost.gates.netlist import Kind
from chipfit.errors import LibraryError, nearest

WIRE_EFFORT = 0.6

#: Cell: function, effort g, parasitic p. Pins are the letters of the function, A first; output Y.
CELLS: dict[str, tuple[str, float, float]] = {
    "INV": ("!A", 1, 1),
    "NAND2": ("!(A B)", 4 / 3, 2),
    "NAND3": ("!(A B C)", 5 / 3, 3),
    "NAND4": ("!(A B C D)", 2, 4),
    "NOR2": ("!(A + B)", 5 / 3, 2),
    "NOR3": ("!(A + B + C)", 7 / 3, 3),
    "NOR4": ("!(A + B + C + D)", 3, 4),
    "XOR2": ("A ^ B", 3, 4),
    "XNOR2": ("!(A ^ B)", 3, 4),
    "MUX2": ("A !C + B C", 2, 4),
    "MUXI2": ("!(A !C + B C)", 2, 4),
    "AOI21": ("!(A B + C)", 2, 3),
    "AOI22": ("!(A B + C D)", 2, 3),
    "AOI211": ("!(A B + C + D)", 2, 3),
    "AOI221": ("!(A B + C D + E)", 2, 3),
    "AOI222": ("!(A B + C D + E F)", 2, 3),
    "OAI21": ("!((A + B) C)", 2, 3),
    "OAI22": ("!((A + B) (C + D))", 2, 3),
    "OAI211": ("!((A + B) C D)", 2, 3),
    "OAI221": ("!((A + B) (C + D) E)", 2, 3),
    "OAI222": ("!((A + B) (C + D) (E + F))", 2, 3),
    "OAI33": ("!((A + B + C) (D + E + F))", 2, 3),
    "BUF": ("A", 1, 3),
    "AND2": ("A B", 4 / 3, 4),
    "AND3": ("A B C", 5 / 3, 5),
    "AND4": ("A B C D", 2, 6),
    "OR2": ("A + B", 5 / 3, 4),
    "OR3": ("A + B + C", 7 / 3, 5),
    "OR4": ("A + B + C + D", 3, 6),
    "XOR3": ("A ^ B ^ C", 3, 11),
    "XNOR3": ("!(A ^ B ^ C)", 3, 11),
    "MAJ3": ("A B + A C + B C", 2, 5),
    "MAJI3": ("!(A B + A C + B C)", 2, 3),
}


#: Cells that drive constants.
TIES = {"ZERO": {"Y": 0}, "ONE": {"Y": 1}}


@dataclass(frozen=True, kw_only=True)
class Technology:
    """What turns efforts into seconds and joules: an inverter, measured once.

    Attributes:
        name: of the preset.
        source: where the inverter's figures come from.
        supply_v: they hold for this voltage.
        capacitance_f: input of the inverter.
        tau_s: delay for each unit of parasitic or load.
        inside_j: energy of one toggle inside the inverter, without its load.
        leakage_w: of the inverter.
    """

    name: str
    source: str
    supply_v: float
    capacitance_f: float
    tau_s: float
    inside_j: float
    leakage_w: float


def _inverter(
    name: str, source: str, supply_v: float, c_ff: float, delay_ps: float, inside_fj: float, leakage_nw: float
) -> Technology:
    """A technology whose inverter has that delay when it drives two of its kind: tau·(1 + 2)."""
    return Technology(
        name=name,
        source=source,
        supply_v=supply_v,
        capacitance_f=1e-15 * c_ff,
        tau_s=1e-12 * delay_ps / 3,
        inside_j=1e-15 * inside_fj,
        leakage_w=1e-9 * leakage_nw,
    )


TECHNOLOGIES = {
    technology.name: technology
    for technology in (
        _inverter("generic", "round figures of no process (ours): compare, do not quote", 1.0, 1, 15, 0.5, 0),
        _inverter(
            "ihp_sg13g2",
            "IHP SG13G2 standard cells (Apache-2.0), inverter at 1.2 V and fan-out 2",
            1.2, 2.89, 61.5, 1.71, 0.063,
        ),
        _inverter(
            "asap7",
            "ASAP7 predictive PDK (BSD-3-Clause), inverter at 0.7 V and fan-out 2",
            0.7, 0.62, 11.1, 0.048, 0.026,
        ),
    )
}  # fmt: skip


@functools.cache
def kind(cell: str) -> Kind:
    """What a gate of an embedded cell is.

    >>> kind("NAND2").table
    7
    """
    function = CELLS[cell][0]
    pins = tuple(sorted({letter for letter in function if letter.isalpha()}))
    return Kind(cell=cell, output="Y", pins=pins, table=read_function(function, pins))


@functools.cache
def embedded_library(technology: str = "generic") -> CellLibrary:
    """The embedded cells in a technology: 'generic', 'ihp_sg13g2' or 'asap7'.

    Raises:
        LibraryError: there is no such technology.

    >>> round(embedded_library('ihp_sg13g2').cells['INV'].capacitance_f[0] * 1e15, 3)
    2.89
    """
    if technology not in TECHNOLOGIES:
        raise LibraryError(f"unknown technology '{technology}'{nearest(technology, TECHNOLOGIES)}")
    constants = TECHNOLOGIES[technology]
    return CellLibrary(
        name=f"embedded:{technology}",
        source=f"logical effort; {constants.source}",
        supply_v=constants.supply_v,
        cells={name: _cell(name, constants) for name in CELLS},
        wire_f=WIRE_EFFORT * constants.capacitance_f,
        output_load_f=constants.capacitance_f,
        input_slew_s=constants.tau_s,
        ties=TIES,
    )


def _cell(name: str, constants: Technology) -> Cell:
    _, effort, parasitic = CELLS[name]
    gate = kind(name)
    delay = Table(
        loads_f=(0.0, constants.capacitance_f),
        values=((constants.tau_s * parasitic, constants.tau_s * (parasitic + 1)),),
    )
    inside = Table(values=((constants.inside_j * parasitic,),))
    arc = Arc(
        rise_s=delay,
        fall_s=delay,
        rise_slew_s=delay,
        fall_slew_s=delay,
        rise_energy_j=inside,
        fall_energy_j=inside,
    )
    return Cell(
        name=name,
        pins=gate.pins,
        capacitance_f=(effort * constants.capacitance_f,) * len(gate.pins),
        outputs=(Output(name="Y", table=gate.table, arcs=(arc,) * len(gate.pins)),),
        leakage_w=constants.leakage_w * (1 + parasitic) / 2,
    )

"""How often every gate of a circuit switches, and when its outputs settle.

One transition: all inputs hold their values `before` until everything has settled, change at time 0
to the values `after`, and hold these. Time goes in whole steps of a grid; delays are rounded to it,
at least one step. A gate with delays d_k from its pins and d = min d_k computes

    x(t) = f(..., input_k(t - (d_k - d)), ...),    output(t) = x(t - d)      (transport)

and under **inertial** delay takes a value of x only once that has held for d steps: pulses
shorter than the fastest pin's delay do not pass. In **zero** mode nothing but the settled values
counts: the output switches at most once.

512 transitions are simulated at once, bit by bit: a net is a row of 512 bits for each step of its
window, from the earliest to the latest time at which it can change. Nets that held inputs make constant are
left out, and the windows shrink with them.

Axes: `gate`, `net`, `pin` as in `netlist`; `transition` as given.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Int16, Int32, Int64

from chipfit.cost.gates import windows
from chipfit.cost.gates.annotate import Annotated
from chipfit.cost.gates.lanes import LANES, WORDS, empty_rows
from chipfit.cost.gates.netlist import MAX_PINS, ONE, ZERO, Netlist
from chipfit.errors import NetlistError, nearest

MODES = ("inertial", "transport", "zero")
#: Longest time that a circuit may take, in steps: rows of all nets must fit in memory.
MOST_STEPS = 30_000


def check_options(mode: str, grid_ps: float) -> None:
    """Refuse a mode or a grid that there is not.

    Raises:
        NetlistError: an unknown mode, or a grid that is not above 0.
    """
    if mode not in MODES:
        raise NetlistError(f"unknown mode '{mode}'{nearest(mode, MODES)}")
    if not 0 < grid_ps < math.inf:
        raise NetlistError(f"the grid must be above 0 ps, got {grid_ps:g}")


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedNetlist:
    """A netlist with delays in whole steps.

    Attributes:
        netlist: the gates.
        mode: 'inertial', 'transport' or 'zero'.
        grid_ps: one step.
        delay_steps: from each pin to the output; 0 where a gate has no such pin.
    """

    netlist: Netlist
    mode: str
    grid_ps: float
    delay_steps: Int64[np.ndarray, "gate 6"]

    @functools.cached_property
    def pins(self) -> Int32[np.ndarray, " gate"]:
        """How many pins each gate has."""
        return self.netlist.pins

    @functools.cached_property
    def tables(self) -> np.ndarray:
        """Truth table of each gate, as uint64."""
        return self.netlist.tables

    def __post_init__(self) -> None:
        check_options(self.mode, self.grid_ps)
        delay_steps = np.ascontiguousarray(self.delay_steps, dtype=np.int64)
        if delay_steps.shape != (self.netlist.gates, MAX_PINS):
            raise NetlistError(f"delays must have the shape {(self.netlist.gates, MAX_PINS)}")
        used = np.arange(MAX_PINS) < self.netlist.pins[:, None]
        if (delay_steps[used] < 1).any():
            raise NetlistError(f"a delay of netlist '{self.netlist.name}' is below one step")
        object.__setattr__(self, "delay_steps", delay_steps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stimulus:
    """Transitions of input buses, 512 to a row; the last row is filled with transitions to the same.

    Attributes:
        netlist: whose inputs they are.
        nets: the nets that they drive.
        transitions: how many there are.
        before, after: one buffer each; row `i * blocks + b` has block b of net i.
    """

    netlist: Netlist
    nets: tuple[int, ...]
    transitions: int
    before: np.ndarray
    after: np.ndarray

    @property
    def blocks(self) -> int:
        """Rows of a net."""
        return -(-self.transitions // LANES)


@dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """What a circuit did.

    Attributes:
        toggles: changes of the output of each gate, over all transitions.
        arrival_steps: last change of any output of the circuit in each transition; -1 where none changes.
            In zero mode all are -1.
        bound_steps: latest time at which static timing lets an output change, with the held inputs known.
        transitions: how many there were.
    """

    toggles: Int64[np.ndarray, " gate"]
    arrival_steps: Int16[np.ndarray, " transition"]
    bound_steps: int
    transitions: int


def on_grid(annotated: Annotated, *, grid_ps: float = 10.0, mode: str = "inertial") -> TimedNetlist:
    """The circuit with delays rounded to the grid, at least one step each.

    Raises:
        NetlistError: the grid is not above 0, or the mode is unknown.
    """
    check_options(mode, grid_ps)
    netlist = annotated.netlist
    steps = np.maximum(np.rint(annotated.delay_ps / grid_ps).astype(np.int64), 1)
    steps[np.arange(MAX_PINS) >= netlist.pins[:, None]] = 0
    return TimedNetlist(netlist=netlist, mode=mode, grid_ps=grid_ps, delay_steps=steps)


def pack(
    netlist: Netlist,
    before: Mapping[str, Sequence[int] | np.ndarray],
    after: Mapping[str, Sequence[int] | np.ndarray],
) -> Stimulus:
    """Transitions of input buses as rows of bits.

    Args:
        netlist: the circuit.
        before: values of each bus, one a transition; negative ones as two's complement.
        after: the same.

    Raises:
        NetlistError: no such bus, or as many values are not given everywhere.
    """
    lengths = {len(values) for values in (*before.values(), *after.values())}
    if len(lengths) != 1 or before.keys() != after.keys():
        raise NetlistError("every bus needs as many values before as after, and as many as the others")
    transitions = lengths.pop()
    blocks = -(-transitions // LANES)
    nets = [net for name in before for net in _input_bus(netlist, name)]
    buffers: list[np.ndarray] = []
    for values in (before, after):
        buffer = empty_rows(len(nets) * blocks)
        rows = buffer.reshape(len(nets), blocks * WORDS)
        row = 0
        for name, given in values.items():
            numbers = np.zeros(blocks * LANES, dtype=np.int64)
            numbers[:transitions] = given
            for bit in range(len(netlist.input_ports[name])):
                packed = np.packbits((numbers >> bit & 1).astype(np.uint8), bitorder="little")
                rows[row] = packed.view("<u8")
                row += 1
        buffers.append(buffer)
    return Stimulus(
        netlist=netlist, nets=tuple(nets), transitions=transitions, before=buffers[0], after=buffers[1]
    )


def _input_bus(netlist: Netlist, name: str) -> tuple[int, ...]:
    if name not in netlist.input_ports:
        raise NetlistError(
            f"netlist '{netlist.name}' has no input '{name}'{nearest(name, netlist.input_ports)}"
        )
    return netlist.input_ports[name]


def simulate(circuit: TimedNetlist, stimulus: Stimulus, held: Mapping[str, int] | None = None) -> Activity:
    """Run every transition through the circuit.

    Args:
        circuit: from `on_grid`.
        stimulus: from `pack`, for the same netlist.
        held: values of the other input buses, which do not change.

    Raises:
        NetlistError: an input has no value or two, or the circuit takes too many steps.
    """
    netlist = circuit.netlist
    values = _held_values(netlist, stimulus, held or {})
    gates = windows.plan(
        netlist.inputs, circuit.pins, circuit.tables, netlist.output, circuit.delay_steps, values,
        circuit.mode == "inertial",
    )  # fmt: skip
    outputs = np.array(_switching_outputs(netlist, gates), dtype=np.int64)
    bound = int(gates.latest[outputs].max(initial=-1))
    if gates.latest.max(initial=0) > MOST_STEPS:
        raise NetlistError(
            f"netlist '{netlist.name}' takes up to {gates.latest.max():,} steps of {circuit.grid_ps:g} ps, "
            f"more than {MOST_STEPS:,}: take a coarser grid"
        )
    toggles = np.zeros(netlist.gates, dtype=np.int64)
    arrival = np.full(stimulus.blocks * LANES, -1, dtype=np.int16)
    sources = np.array(stimulus.nets, dtype=np.int64)
    if circuit.mode == "zero":
        buffer = empty_rows(2 * windows.ABREAST * len(netlist.nets))
        windows.run_zero(gates, sources, stimulus.before, stimulus.after, stimulus.blocks, buffer, toggles)
    else:
        layout = windows.lay_out(gates)
        buffers = empty_rows(layout.rows), empty_rows(layout.longest), empty_rows(layout.longest)
        windows.run(
            gates, layout, sources, stimulus.before, stimulus.after, stimulus.blocks, outputs, buffers,
            toggles, arrival,
        )  # fmt: skip
    return Activity(
        toggles=toggles,
        arrival_steps=arrival[: stimulus.transitions],
        bound_steps=bound,
        transitions=stimulus.transitions,
    )


def _held_values(netlist: Netlist, stimulus: Stimulus, held: Mapping[str, int]) -> Int8[np.ndarray, " net"]:
    """Value of each net that is known before anything is simulated: the constants and what is held."""
    if stimulus.netlist is not netlist:
        raise NetlistError(f"these transitions are of another netlist than '{netlist.name}'")
    values = np.full(len(netlist.nets), windows.FREE, dtype=np.int8)
    values[[ZERO, ONE]] = 0, 1
    given = set(stimulus.nets)
    for name, value in held.items():
        for bit, net in enumerate(_input_bus(netlist, name)):
            if net in given:
                raise NetlistError(f"input '{name}' of netlist '{netlist.name}' is held and changes")
            values[net] = value >> bit & 1
    for name, nets in netlist.input_ports.items():
        if any(values[net] == windows.FREE and net not in given for net in nets):
            raise NetlistError(f"input '{name}' of netlist '{netlist.name}' has no value")
    return values


def _switching_outputs(netlist: Netlist, gates: windows.Gates) -> list[int]:
    """Outputs of the circuit that a gate drives and that are not constant."""
    driven = set(gates.output.tolist())
    return sorted({net for nets in netlist.output_ports.values() for net in nets if net in driven})

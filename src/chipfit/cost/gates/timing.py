"""Static timing: when nets can change, also with some inputs held at a value.

All gates are looked at as able to pass every edge on, so that the latest time is an upper bound of
what any pair of input values can show. Inputs that are held, and all that follows from them, do
not change: a gate with one pin held is the smaller gate that the truth table says, and pins that
it then does not depend on pass nothing on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8, Int32, UInt64

from chipfit.cost.gates.annotate import Annotated
from chipfit.cost.gates.netlist import ONE, ZERO, Netlist
from chipfit.errors import NetlistError
from chipfit.jit import njit

UNKNOWN = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrivals:
    """When nets change after the inputs did.

    Attributes:
        netlist: whose nets these are.
        earliest_ps, latest_ps: of each net; NaN for nets that do not change.
        value: 0 or 1 for each net that is held, `UNKNOWN` for others.
    """

    netlist: Netlist
    earliest_ps: Float64[np.ndarray, " net"]
    latest_ps: Float64[np.ndarray, " net"]
    value: Int8[np.ndarray, " net"]
    _latest_pin: Int32[np.ndarray, " gate"]

    @property
    def delay_ps(self) -> float:
        """The latest change of any output bus; 0 if none changes."""
        nets = [net for port in self.netlist.output_ports.values() for net in port]
        times = self.latest_ps[nets]
        return float(np.nanmax(times)) if np.isfinite(times).any() else 0.0

    def critical_path(self) -> list[str]:
        """Names of the nets on the latest path, from an input to an output; empty if none changes.

        >>> from chipfit.cost.gates.annotate import annotate
        >>> from chipfit.cost.gates.effort import embedded_library
        >>> from chipfit.cost.gates.generate import MacDesign, generate_mac
        >>> netlist = generate_mac(MacDesign(weight_bits=2, activation_bits=2, sum_bits=4))
        >>> arrival_times(annotate(netlist, embedded_library())).critical_path()[0]
        'weight[1]'
        """
        nets = [net for port in self.netlist.output_ports.values() for net in port]
        changing = [net for net in nets if np.isfinite(self.latest_ps[net])]
        if not changing:
            return []
        driver = dict(zip(self.netlist.output.tolist(), range(self.netlist.gates), strict=True))
        net = max(changing, key=lambda net: self.latest_ps[net])
        path = [net]
        while net in driver:
            gate = driver[net]
            net = int(self.netlist.inputs[gate, self._latest_pin[gate]])
            path.append(net)
        return [self.netlist.nets[net] for net in reversed(path)]


def arrival_times(
    circuit: Annotated,
    held: Mapping[str, int] | None = None,
    delay_ps: Float64[np.ndarray, "gate 6"] | None = None,
) -> Arrivals:
    """When each net can change if all inputs that are not held change at time 0.

    Args:
        circuit: with its delays.
        held: values of input buses that stay as they are, such as {'weight': -3}.
        delay_ps: pin-to-output delays to use; left out: the mean of rising and falling edges.

    Raises:
        NetlistError: a held bus is no input, or its value does not fit.
    """
    netlist = circuit.netlist
    value = held_values(netlist, held or {})
    delays = circuit.delay_ps if delay_ps is None else delay_ps
    earliest, latest, pin = _sweep(
        netlist.inputs, netlist.pins, netlist.tables, netlist.output, delays, value
    )
    still = value != UNKNOWN
    earliest[still], latest[still] = np.nan, np.nan
    return Arrivals(netlist=netlist, earliest_ps=earliest, latest_ps=latest, value=value, _latest_pin=pin)


def delay_per_value(circuit: Annotated, port: str, values: Sequence[int]) -> Float64[np.ndarray, " value"]:
    """The largest static delay (ps) with one input bus held at each of several values.

    An upper bound of the delay that any transition of the other inputs shows.

    Raises:
        NetlistError: the bus is no input, or a value does not fit.
    """
    delays = circuit.delay_ps
    return np.array([arrival_times(circuit, {port: value}, delays).delay_ps for value in values])


def held_values(netlist: Netlist, held: Mapping[str, int]) -> Int8[np.ndarray, " net"]:
    """0 or 1 for constants and nets of held buses, `UNKNOWN` for all others; gates not yet followed.

    Raises:
        NetlistError: a held bus is no input, or its value does not fit.
    """
    value = np.full(len(netlist.nets), UNKNOWN, dtype=np.int8)
    value[ZERO], value[ONE] = 0, 1
    for name, number in held.items():
        if name not in netlist.input_ports:
            inputs = ", ".join(netlist.input_ports)
            raise NetlistError(f"netlist '{netlist.name}' has no input '{name}'; it has {inputs}")
        nets = netlist.input_ports[name]
        if not -(1 << (len(nets) - 1)) <= number < 1 << len(nets):
            raise NetlistError(f"{number} does not fit the {len(nets)} bits of input '{name}'")
        value[list(nets)] = [number >> bit & 1 for bit in range(len(nets))]
    return value


@njit
def _can_show(table: np.int64, count: np.int32, known: int, bits: np.int64, pin: int) -> bool:
    """Whether the output can follow one pin while the known pins have the values `bits`."""
    for i in range(1 << count):
        if (i & known) == bits and not i >> pin & 1 and (table >> i & 1) != (table >> (i | 1 << pin) & 1):
            return True
    return False


@njit
def _sweep(
    inputs: Int32[np.ndarray, "gate 6"],
    pins: Int32[np.ndarray, " gate"],
    tables: UInt64[np.ndarray, " gate"],
    output: Int32[np.ndarray, " gate"],
    delay_ps: Float64[np.ndarray, "gate 6"],
    value: Int8[np.ndarray, " net"],
) -> tuple[Float64[np.ndarray, " net"], Float64[np.ndarray, " net"], Int32[np.ndarray, " gate"]]:
    """Earliest and latest change of each net and the latest pin of each gate; completes `value`."""
    earliest, latest = np.zeros(len(value)), np.zeros(len(value))
    latest_pin = np.zeros(len(output), dtype=np.int32)
    for gate in range(len(output)):
        table, count, net = np.int64(tables[gate]), pins[gate], output[gate]
        known, bits = 0, np.int64(0)
        for pin in range(count):
            v = value[inputs[gate, pin]]
            if v != 2:
                known |= 1 << pin
                bits |= np.int64(v) << pin
        first, last, free = np.inf, -np.inf, False
        for pin in range(count):
            if not known >> pin & 1 and _can_show(table, count, known, bits, pin):
                source = inputs[gate, pin]
                free = True
                first = min(first, earliest[source] + delay_ps[gate, pin])
                if latest[source] + delay_ps[gate, pin] > last:
                    last = latest[source] + delay_ps[gate, pin]
                    latest_pin[gate] = pin
        if free:
            earliest[net], latest[net] = first, last
        else:
            value[net] = table >> bits & 1
    return earliest, latest, latest_pin

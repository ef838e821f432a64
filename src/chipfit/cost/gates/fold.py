"""Circuits built gate by gate that come out without needless gates.

A gate with constant or equal pins becomes the smaller cell that it is, a gate that is there
already is used again, and gates that no output needs are left out.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from chipfit.cost.gates.effort import CELLS, kind
from chipfit.cost.gates.function import depends_on, match, ones, permute, restrict
from chipfit.cost.gates.netlist import ONE, ZERO, Netlist, NetlistBuilder
from chipfit.errors import NetlistError

#: Load that delays are estimated with, in inverters.
_LOAD = 2.0


class Circuit:
    """Gates of the embedded cells, simplified as they are added.

    >>> circuit = Circuit()
    >>> a, b = circuit.input_port("a", 2)
    >>> circuit.output_port("y", [circuit.gate("NAND2", a, b), circuit.gate("NAND2", a, ONE)])
    >>> [kind.cell for kind in circuit.build("demo").kinds]
    ['NAND2', 'INV']
    """

    def __init__(self) -> None:
        self._inputs: dict[str, tuple[int, ...]] = {}
        self._outputs: dict[str, tuple[int, ...]] = {}
        self._gates: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}
        self._inverse: dict[int, int] = {ZERO: ONE, ONE: ZERO}
        self._nets = 2
        self.arrival: dict[int, float] = {ZERO: 0.0, ONE: 0.0}
        """Estimated time at which each net is settled, in units of tau."""

    def input_port(self, name: str, width: int) -> tuple[int, ...]:
        """New nets for an input bus."""
        nets = tuple(range(self._nets, self._nets + width))
        self._nets += width
        self._inputs[name] = nets
        self.arrival |= dict.fromkeys(nets, 0.0)
        return nets

    def output_port(self, name: str, nets: Sequence[int]) -> None:
        """Declare an output bus."""
        self._outputs[name] = tuple(nets)

    def gate(self, cell: str, *pins: int) -> int:
        """The net that carries this function of other nets."""
        table, nets = _reduce(kind(cell).table, list(pins))
        if not nets:
            return ONE if table else ZERO
        if len(nets) == 1:
            return nets[0] if table == 0b10 else self._invert(nets[0])
        smaller, order, flipped, inverted = _find(table, len(nets))
        nets = [self._invert(net) if flipped >> k & 1 else net for k, net in enumerate(nets)]
        found = self._add(smaller, _ordered(smaller, tuple(nets[k] for k in order)))
        return self._invert(found) if inverted else found

    def _invert(self, net: int) -> int:
        if net not in self._inverse:
            inverse = self._add("INV", (net,))
            self._inverse |= {net: inverse, inverse: net}
        return self._inverse[net]

    def _add(self, cell: str, pins: tuple[int, ...]) -> int:
        if (cell, pins) not in self._known:
            self._known[cell, pins] = self._nets
            self._gates[self._nets] = (cell, pins)
            self.arrival[self._nets] = max(self.arrival[net] for net in pins) + CELLS[cell][2] + _LOAD
            self._nets += 1
        return self._known[cell, pins]

    def build(self, name: str) -> Netlist:
        """The netlist of all gates that an output needs."""
        needed = {net for nets in self._outputs.values() for net in nets}
        for net in reversed(self._gates):  # later gates come first: they alone can need earlier ones
            if net in needed:
                needed.update(self._gates[net][1])
        builder = NetlistBuilder(name)
        renamed = {ZERO: ZERO, ONE: ONE}
        for port, nets in self._inputs.items():
            renamed |= dict(zip(nets, builder.input_port(port, len(nets)), strict=True))
        for net, (cell, pins) in self._gates.items():
            if net in needed:
                renamed[net] = builder.gate(kind(cell), [renamed[pin] for pin in pins])
        for port, nets in self._outputs.items():
            builder.output_port(port, [renamed[net] for net in nets])
        return builder.build()


def _reduce(table: int, nets: list[int]) -> tuple[int, list[int]]:
    """The function without constant, repeated and idle pins."""
    pin = 0
    while pin < len(nets):
        first = nets.index(nets[pin])
        if nets[pin] in (ZERO, ONE):
            table = restrict(table, pin, int(nets[pin] == ONE), len(nets))
        elif first < pin:
            table = _join(table, first, pin, len(nets))
        elif not depends_on(table, pin, len(nets)):
            table = restrict(table, pin, 0, len(nets))
        else:
            pin += 1
            continue
        del nets[pin]
        pin = 0
    return table, nets


def _join(table: int, first: int, second: int, pins: int) -> int:
    """The table with two pins on one net, of one pin fewer (the second)."""
    result = 0
    for value in (0, 1):
        part = restrict(table, second, value, pins)
        for i in range(1 << (pins - 1)):
            if i >> first & 1 == value:
                result |= (part >> i & 1) << i
    return result


@functools.cache
def _find(table: int, pins: int) -> tuple[str, tuple[int, ...], int, bool]:
    """An embedded cell of this function: its name, the order of its pins, which to invert, and whether
    the output is to be inverted.
    """
    for flipped in sorted(range(1 << pins), key=int.bit_count):
        for inverted in (False, True):
            wanted = _flip(table, flipped, pins) ^ (ones(pins) if inverted else 0)
            for cell in CELLS:
                have = kind(cell)
                order = match(wanted, have.table, pins) if len(have.pins) == pins else None
                if order is not None:
                    return cell, order, flipped, inverted
    raise NetlistError(f"no cell of {pins} inputs has the truth table {table:#x}")


def _flip(table: int, flipped: int, pins: int) -> int:
    """The table with some pins inverted."""
    return sum((table >> (i ^ flipped) & 1) << i for i in range(1 << pins))


@functools.cache
def _symmetric(cell: str) -> bool:
    have = kind(cell)
    pins = range(len(have.pins))
    swaps = ([k + 1 if pin == k else k if pin == k + 1 else pin for pin in pins] for k in pins[:-1])
    return all(permute(have.table, swap) == have.table for swap in swaps)


def _ordered(cell: str, nets: tuple[int, ...]) -> tuple[int, ...]:
    """Pins that may be swapped, in the order of their nets, so that equal gates are seen to be equal."""
    return tuple(sorted(nets)) if _symmetric(cell) else nets

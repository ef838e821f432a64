"""Circuits from structural Verilog: a synthesised, flat netlist of library cells."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chipfit.cost.gates.cells import CellLibrary
from chipfit.cost.gates.netlist import ONE, ZERO, Kind, Netlist, NetlistBuilder
from chipfit.cost.gates.verilog_syntax import Bit, Instance, Module, parse_modules
from chipfit.errors import LibraryError, NetlistError, nearest


def load_verilog(path: str | Path, library: CellLibrary, top: str | None = None) -> Netlist:
    """The circuit in a file of structural Verilog.

    Args:
        path: of a flat netlist, such as a synthesis tool writes.
        library: which says what the cells are.
        top: the module; left out: the only one.

    Raises:
        NetlistError: no structural Verilog, unknown cells or pins, a net that nothing or more than
            one drives, a loop; the message names file, line, cell and net.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise NetlistError(f"cannot read netlist {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise NetlistError(f"cannot read netlist {path}: it is not UTF-8 text") from error
    return parse_verilog(text, library, Path(path).name, top)


def parse_verilog(text: str, library: CellLibrary, file: str, top: str | None = None) -> Netlist:
    """The circuit in a text of structural Verilog; `file` names it in messages.

    Raises:
        NetlistError: as `load_verilog`.

    >>> from chipfit.cost.gates.effort import embedded_library
    >>> text = "module m (a, y); input a; output y; INV u (.A(a), .Y(y)); endmodule"
    >>> parse_verilog(text, embedded_library(), "m.v").gates
    1
    """
    modules = {module.name: module for module in parse_modules(text, file)}
    if top is None and len(modules) > 1:
        names = ", ".join(modules)
        raise NetlistError(f"{file}: {len(modules)} modules ({names}): flatten the netlist, or name one")
    name = next(iter(modules)) if top is None else top
    if name not in modules:
        raise NetlistError(f"{file}: there is no module '{name}'{nearest(name, modules)}")
    return _Elaboration(modules[name], library, file, set(modules)).netlist()


@dataclass(frozen=True, kw_only=True)
class _Gate:
    """An output of a cell, before nets have numbers."""

    instance: Instance
    kind: Kind
    inputs: tuple[Bit, ...]
    output: Bit


def _label(bit: Bit) -> str:
    if isinstance(bit, int):
        return f"1'b{bit}"
    return bit[0] if bit[1] is None else f"{bit[0]}[{bit[1]}]"


class _Elaboration:
    """From what is written to gates on nets, with the checks in between."""

    def __init__(self, module: Module, library: CellLibrary, file: str, modules: set[str]) -> None:
        self.module, self.library, self.file, self.modules = module, library, file, modules
        self.driver: dict[Bit, str] = {}
        self.alias: dict[Bit, Bit] = {}

    def error(self, line: int, what: str) -> NetlistError:
        return NetlistError(f"{self.file}, line {line}: {what}")

    def netlist(self) -> Netlist:
        module = self.module
        for port in module.ports:
            if port not in module.directions:
                raise self.error(module.line, f"port '{port}' is neither an input nor an output")
            if module.directions[port] == "input":
                for bit in module.bits(port):
                    self.driver[bit] = f"input '{port}'"
        for left, right, line in module.assigns:
            for target, source in zip(left, right, strict=True):
                self.drive(target, "an assignment", line)
                self.alias[target] = source
        gates = [gate for instance in module.instances for gate in self.gates(instance)]
        return self.build(self.in_order(gates))

    def drive(self, bit: Bit, by: str, line: int) -> None:
        if isinstance(bit, int):
            raise self.error(line, f"{by} drives the constant {bit}")
        if bit in self.driver:
            raise self.error(line, f"net '{_label(bit)}' is driven by {self.driver[bit]} and by {by}")
        self.driver[bit] = by

    def gates(self, instance: Instance) -> list[_Gate]:
        """The gates of a cell, one for each output that is connected."""
        what = f"'{instance.name}' ({instance.cell})"
        if instance.cell in self.modules:
            raise self.error(instance.line, f"{what} is a module: flatten the netlist first")
        if instance.cell in self.library.ties:
            self.tie(instance, self.library.ties[instance.cell], what)
            return []
        try:
            cell = self.library.cell(instance.cell)
        except LibraryError as error:
            raise self.error(instance.line, f"'{instance.name}': {error}") from None
        outputs = [output.name for output in cell.outputs]
        self.check_pins(instance, [*cell.pins, *outputs], what)
        for pin in cell.pins:
            if not instance.pins.get(pin):
                raise self.error(instance.line, f"{what}: input pin '{pin}' is not connected")
        inputs = tuple(instance.pins[pin][0] for pin in cell.pins)
        found = list[_Gate]()
        for output in outputs:
            if instance.pins.get(output):
                bit = instance.pins[output][0]
                self.drive(bit, f"cell {what}", instance.line)
                found.append(_Gate(instance=instance, kind=cell.kind(output), inputs=inputs, output=bit))
        return found

    def tie(self, instance: Instance, values: dict[str, int], what: str) -> None:
        """A cell that drives constants is no gate."""
        self.check_pins(instance, list(values), what)
        for pin, value in values.items():
            if instance.pins.get(pin):
                bit = instance.pins[pin][0]
                self.drive(bit, f"cell {what}", instance.line)
                self.alias[bit] = value

    def check_pins(self, instance: Instance, pins: list[str], what: str) -> None:
        for pin, bits in instance.pins.items():
            if pin not in pins:
                raise self.error(instance.line, f"{what} has no pin '{pin}'{nearest(pin, pins)}")
            if len(bits) > 1:
                raise self.error(instance.line, f"{what}: {len(bits)} bits on pin '{pin}', expected 1")

    def source(self, bit: Bit) -> Bit:
        """The net that an assigned one stands for."""
        seen = list[Bit]()
        while bit in self.alias:
            seen.append(bit)
            bit = self.alias[bit]
            if bit in seen:
                names = ", ".join(f"'{_label(net)}'" for net in seen[seen.index(bit) :])
                raise self.error(self.module.line, f"assignments go in a circle: {names}")
        return bit

    def in_order(self, gates: list[_Gate]) -> list[_Gate]:
        """The gates, each after those that drive it; otherwise in the order of the file."""
        drivers = {gate.output: position for position, gate in enumerate(gates)}
        users = [list[int]() for _ in gates]
        waits = [0] * len(gates)
        for position, gate in enumerate(gates):
            for bit in set(map(self.source, gate.inputs)):
                if bit in drivers:
                    users[drivers[bit]].append(position)
                    waits[position] += 1
                elif not isinstance(bit, int) and bit not in self.driver:
                    what = (
                        f"net '{_label(bit)}' is driven by nothing, but cell '{gate.instance.name}' needs it"
                    )
                    raise self.error(gate.instance.line, what)
        ready = [position for position, wait in enumerate(waits) if wait == 0]
        order = list[_Gate]()
        while ready:
            position = heapq.heappop(ready)
            order.append(gates[position])
            for user in users[position]:
                waits[user] -= 1
                if waits[user] == 0:
                    heapq.heappush(ready, user)
        if len(order) < len(gates):
            raise self.loop(gates, drivers, {position for position, wait in enumerate(waits) if wait})
        return order

    def loop(self, gates: list[_Gate], drivers: dict[Bit, int], left: set[int]) -> NetlistError:
        """Which cells drive each other in a circle."""
        path = [min(left)]
        while True:
            sources = (drivers.get(self.source(bit), -1) for bit in gates[path[-1]].inputs)
            position = next(source for source in sources if source in left)
            if position in path:
                break
            path.append(position)
        circle = [gates[gate] for gate in reversed(path[path.index(position) :])]
        names = ", ".join(f"'{gate.instance.name}'" for gate in circle[:8])
        more = f" and {len(circle) - 8} more" if len(circle) > 8 else ""
        return self.error(circle[0].instance.line, f"combinational loop through cells {names}{more}")

    def build(self, gates: Sequence[_Gate]) -> Netlist:
        module = self.module
        builder = NetlistBuilder(module.name)
        number: dict[Bit, int] = {0: ZERO, 1: ONE}
        for port in module.ports:
            if module.directions[port] == "input":
                for bit in module.bits(port):
                    number[bit] = builder.net(_label(bit))
        for gate in gates:
            number[gate.output] = builder.net(_label(gate.output))
            builder.gate(
                gate.kind,
                [number[self.source(bit)] for bit in gate.inputs],
                output=number[gate.output],
                instance=gate.instance.name,
            )
        buses: dict[str, dict[str, list[int]]] = {"input": {}, "output": {}}
        for port in module.ports:
            bits = [self.source(bit) for bit in module.bits(port)]
            for bit in bits:
                if bit not in number:
                    what = f"output '{port}': net '{_label(bit)}' is driven by nothing"
                    raise self.error(module.line, what)
            buses[module.directions[port]][port] = [number[bit] for bit in bits]
        builder.ports(buses["input"], buses["output"])
        return builder.build()

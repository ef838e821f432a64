"""Circuits without state, as gates and nets in flat arrays that simulators run through.

Conventions, everywhere in this package:
    `net` = a wire, by its position in `Netlist.nets`; net 0 is constant 0, net 1 is constant 1;
    `gate` = one output of one cell; gates stand in topological order, so that one pass in order
    computes every net; a cell with several outputs is several gates of one `instance`;
    `pin` = an input of a gate, by its position in `Kind.pins`, at most `MAX_PINS`;
    buses are tuples of nets, least significant bit first;
    a truth table is an integer whose bit i is the output when pin k has bit k of i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Int32

from chipfit.errors import NetlistError

MAX_PINS = 6
ZERO, ONE = 0, 1
CONSTANT_NAMES: tuple[str, ...] = ("1'b0", "1'b1")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a gate is: an output of a cell, and its function.

    >>> Kind(cell="NAND2", output="Y", pins=("A", "B"), table=0b0111).value(0b11)
    0
    """

    cell: str
    output: str
    pins: tuple[str, ...]
    table: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.pins) <= MAX_PINS:
            raise NetlistError(f"cell '{self.cell}' has {len(self.pins)} inputs: expected 1 to {MAX_PINS}")
        if not 0 <= self.table < 1 << (1 << len(self.pins)):
            raise NetlistError(f"the truth table of cell '{self.cell}' does not fit {len(self.pins)} inputs")

    def value(self, inputs: int) -> int:
        """The output when pin k has bit k of `inputs`."""
        return self.table >> inputs & 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Netlist:
    """A circuit without state; checked on creation, then inert.

    Attributes:
        name: of the module.
        nets: name of each net; the first two are the constants.
        kinds: what gates can be; each gate names one.
        kind: position in `kinds` of each gate.
        inputs: net on each pin of each gate; -1 where a gate has fewer pins.
        output: net that each gate drives.
        instances: names of the cells.
        instance: position in `instances` of the cell that each gate is an output of.
        input_ports: nets of each input bus by its name, in the order of the module.
        output_ports: nets of each output bus; a net may be an input or a constant.

    Raises:
        NetlistError: a net with no or two drivers, gates out of order, or arrays that do not fit.
    """

    name: str
    nets: tuple[str, ...]
    kinds: tuple[Kind, ...]
    kind: Int32[np.ndarray, " gate"]
    inputs: Int32[np.ndarray, "gate 6"]
    output: Int32[np.ndarray, " gate"]
    instances: tuple[str, ...]
    instance: Int32[np.ndarray, " gate"]
    input_ports: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    output_ports: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    def __post_init__(self) -> None:
        gates = len(self.output)
        for name, shape in (("kind", (gates,)), ("inputs", (gates, MAX_PINS)), ("instance", (gates,))):
            if getattr(self, name).shape != shape:
                raise NetlistError(f"netlist '{self.name}': {name} must have the shape {shape}")
        for name in ("kind", "inputs", "output", "instance"):
            array = np.ascontiguousarray(getattr(self, name), dtype=np.int32)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        for name in ("input_ports", "output_ports"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if self.nets[:2] != CONSTANT_NAMES:
            raise NetlistError(f"netlist '{self.name}': the first two nets must be the constants")
        _check_drivers(self)

    @property
    def gates(self) -> int:
        """How many gates there are."""
        return len(self.output)

    @property
    def pins(self) -> Int32[np.ndarray, " gate"]:
        """How many pins each gate has."""
        return np.array([len(kind.pins) for kind in self.kinds], dtype=np.int32)[self.kind]

    @property
    def tables(self) -> np.ndarray:
        """Truth table of each gate, as uint64."""
        return np.array([kind.table for kind in self.kinds], dtype=np.uint64)[self.kind]

    def port(self, name: str) -> tuple[int, ...]:
        """The nets of an input or output bus, least significant bit first.

        Raises:
            NetlistError: there is no such bus.
        """
        ports = {**self.input_ports, **self.output_ports}
        if name not in ports:
            raise NetlistError(f"netlist '{self.name}' has no port '{name}'; it has {', '.join(ports)}")
        return ports[name]


def _check_drivers(netlist: Netlist) -> None:
    """Every net is driven once, before it is used."""
    position = np.full(len(netlist.nets), -1, dtype=np.int64)  # of the driver; inputs stand before gates
    driven = np.zeros(len(netlist.nets), dtype=np.int64)
    driven[[ZERO, ONE]] += 1
    for nets in netlist.input_ports.values():
        np.add.at(driven, np.array(nets, dtype=np.int64), 1)
    np.add.at(driven, netlist.output, 1)
    for wrong, times in (("is driven by nothing", driven == 0), ("is driven twice", driven > 1)):
        if times.any():
            raise NetlistError(f"netlist '{netlist.name}': net '{netlist.nets[int(times.argmax())]}' {wrong}")
    position[netlist.output] = np.arange(netlist.gates)
    used = np.where(netlist.inputs >= 0, position[netlist.inputs], -1)
    late = (used >= np.arange(netlist.gates)[:, None]).any(axis=1)
    if late.any():
        instance = netlist.instances[netlist.instance[int(late.argmax())]]
        raise NetlistError(f"netlist '{netlist.name}': gate '{instance}' stands before what drives it")
    padded = np.arange(MAX_PINS) >= netlist.pins[:, None]
    if ((netlist.inputs < 0) != padded).any():
        raise NetlistError(f"netlist '{netlist.name}': a gate has more or fewer nets than pins")


class NetlistBuilder:
    """Collects gates in topological order, then makes a netlist of them.

    >>> nand = Kind(cell="NAND2", output="Y", pins=("A", "B"), table=0b0111)
    >>> builder = NetlistBuilder("demo")
    >>> a, b = builder.input_port("a", 2)
    >>> builder.output_port("y", [builder.gate(nand, [a, b])])
    >>> builder.build().gates
    1
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nets = list(CONSTANT_NAMES)
        self._kinds: dict[Kind, int] = {}
        self._rows: list[tuple[int, list[int], int, int]] = []
        self._instances: dict[str, int] = {}
        self._input_ports: dict[str, tuple[int, ...]] = {}
        self._output_ports: dict[str, tuple[int, ...]] = {}

    def net(self, name: str) -> int:
        """A new net of that name."""
        self._nets.append(name)
        return len(self._nets) - 1

    def input_port(self, name: str, width: int) -> tuple[int, ...]:
        """New nets for an input bus; a bus of one bit has the plain name."""
        nets = tuple(self.net(name if width == 1 else f"{name}[{bit}]") for bit in range(width))
        self._input_ports[name] = nets
        return nets

    def ports(self, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]]) -> None:
        """Declare all buses of nets that are there already."""
        self._input_ports = {name: tuple(nets) for name, nets in inputs.items()}
        self._output_ports = {name: tuple(nets) for name, nets in outputs.items()}

    def output_port(self, name: str, nets: Sequence[int]) -> None:
        """Declare an output bus of nets that are driven already."""
        self._output_ports[name] = tuple(nets)

    def gate(
        self, kind: Kind, inputs: Sequence[int], *, output: int | None = None, instance: str | None = None
    ) -> int:
        """Add a gate and return the net that it drives, a new one if none is given.

        Args:
            kind: the function.
            inputs: the net on each pin of `kind`.
            output: net to drive.
            instance: name of the cell; outputs of one cell name the same.
        """
        name = instance if instance is not None else f"g{len(self._rows)}"
        net = self.net(f"n{len(self._rows)}") if output is None else output
        which = self._kinds.setdefault(kind, len(self._kinds))
        cell = self._instances.setdefault(name, len(self._instances))
        padded = [*inputs, *[-1] * (MAX_PINS - len(inputs))]
        self._rows.append((which, padded, net, cell))
        return net

    def build(self) -> Netlist:
        """The netlist of all gates so far.

        Raises:
            NetlistError: it is not sound.
        """
        rows = self._rows
        return Netlist(
            name=self._name,
            nets=tuple(self._nets),
            kinds=tuple(self._kinds),
            kind=np.array([row[0] for row in rows], dtype=np.int32),
            inputs=np.array([row[1] for row in rows], dtype=np.int32).reshape(len(rows), MAX_PINS),
            output=np.array([row[2] for row in rows], dtype=np.int32),
            instances=tuple(self._instances),
            instance=np.array([row[3] for row in rows], dtype=np.int32),
            input_ports=self._input_ports,
            output_ports=self._output_ports,
        )

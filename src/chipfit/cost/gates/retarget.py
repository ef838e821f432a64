"""The same circuit in the cells of another library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chipfit.cost.gates.cells import Cell, CellLibrary
from chipfit.cost.gates.function import depends_on, match, ones, restrict
from chipfit.cost.gates.netlist import Kind, Netlist, NetlistBuilder
from chipfit.errors import LibraryError


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """A cell that stands for a gate.

    Attributes:
        kind: of the new gate.
        order: which pin of the old gate each pin of the new one has.
        inverted: whether an inverter follows.
    """

    kind: Kind
    order: tuple[int, ...]
    inverted: bool


def map_to(netlist: Netlist, library: CellLibrary) -> Netlist:
    """The circuit, gate by gate in cells of a library.

    A gate that is a cell of the library already stays. Each other becomes the smallest cell of
    one output with its function, pins in any order; where there is none, the smallest with the
    inverse function and an inverter. Nets keep their names and ports stay.

    Raises:
        LibraryError: the library has neither.

    >>> from chipfit.cost.gates.effort import embedded_library
    >>> from chipfit.cost.gates.generate import MacDesign, generate_mac
    >>> netlist = generate_mac(MacDesign(weight_bits=2, activation_bits=2, sum_bits=4))
    >>> map_to(netlist, embedded_library()).gates == netlist.gates
    True
    """
    catalogue = _Catalogue(library)
    choices = [catalogue.choose(kind) for kind in netlist.kinds]
    inverter = catalogue.inverter()
    builder = NetlistBuilder(netlist.name)
    for name in netlist.nets[2:]:
        builder.net(name)
    builder.ports(netlist.input_ports, netlist.output_ports)
    rows = zip(
        netlist.kind.tolist(),
        netlist.inputs.tolist(),
        netlist.output.tolist(),
        netlist.instance.tolist(),
        strict=True,
    )
    for which, pins, output, instance in rows:
        choice, name = choices[which], netlist.instances[instance]
        if choice.kind != netlist.kinds[which] and len(catalogue.outputs_of(netlist, instance)) > 1:
            name = f"{name}_{netlist.kinds[which].output}"
        nets = [pins[k] for k in choice.order]
        if choice.inverted:
            inner = builder.gate(choice.kind, nets, instance=name)
            builder.gate(inverter, [inner], output=output, instance=f"{name}_inv")
        else:
            builder.gate(choice.kind, nets, output=output, instance=name)
    return builder.build()


class _Catalogue:
    """The cells of a library by size, and what has been found among them."""

    def __init__(self, library: CellLibrary) -> None:
        self.library = library
        self._cells = sorted(
            (cell for cell in library.cells.values() if len(cell.outputs) == 1 and not cell.avoid), key=_size
        )

    def inverter(self) -> Kind:
        """The smallest inverter."""
        found = self._smallest(0b01, 1)
        if found is None:
            raise LibraryError(f"library '{self.library.name}' has no inverter")
        return found[0]

    def outputs_of(self, netlist: Netlist, instance: int) -> Sequence[int]:
        """The gates that are outputs of one cell."""
        return (netlist.instance == instance).nonzero()[0].tolist()

    def choose(self, kind: Kind) -> _Choice:
        """The cell that stands for a kind of gate."""
        own = self.library.cells.get(kind.cell)
        if own is not None and any(own.kind(output.name) == kind for output in own.outputs):
            return _Choice(kind=kind, order=tuple(range(len(kind.pins))), inverted=False)
        table, used = _without_idle_pins(kind)
        for wanted, inverted in ((table, False), (table ^ ones(len(used)), True)):
            found = self._smallest(wanted, len(used))
            if found is not None:
                return _Choice(kind=found[0], order=tuple(used[k] for k in found[1]), inverted=inverted)
        raise LibraryError(
            f"library '{self.library.name}' has no cell for '{kind.cell}' "
            f"({kind.table:#x} of {', '.join(kind.pins)}), nor for its inverse"
        )

    def _smallest(self, table: int, pins: int) -> tuple[Kind, tuple[int, ...]] | None:
        for cell in self._cells:
            order = match(table, cell.outputs[0].table, pins) if len(cell.pins) == pins else None
            if order is not None:
                return cell.kind(cell.outputs[0].name), order
        return None


def _size(cell: Cell) -> tuple[float, float, str]:
    return (cell.area_um2 or 0.0, sum(cell.capacitance_f), cell.name)


def _without_idle_pins(kind: Kind) -> tuple[int, list[int]]:
    """The function over the pins that it depends on, and those pins."""
    table, used = kind.table, list(range(len(kind.pins)))
    for pin in reversed(range(len(kind.pins))):
        if not depends_on(table, pin, len(used)):
            table = restrict(table, pin, 0, len(used))
            del used[pin]
    return table, used

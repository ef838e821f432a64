"""Circuits as structural Verilog, and models of their cells for simulators."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from chipfit.cost.gates.netlist import CONSTANT_NAMES, Kind, Netlist

_PLAIN = re.compile(r"[A-Za-z_][\w$]*")
_RESERVED = {
    "always", "and", "assign", "begin", "buf", "case", "else", "end", "endmodule", "for", "if", "initial",
    "inout", "input", "module", "nand", "nor", "not", "or", "output", "reg", "signed", "supply0", "supply1",
    "tri", "wire", "xnor", "xor",
}  # fmt: skip


def write_verilog(netlist: Netlist, path: str | Path) -> None:
    """Write a circuit as structural Verilog, which `verilog.load_verilog` reads back as the same."""
    target = Path(path)
    scratch = target.with_name(target.name + ".part")
    scratch.write_text(to_verilog(netlist), encoding="utf-8")
    os.replace(scratch, target)


def to_verilog(netlist: Netlist) -> str:
    """A circuit as the text of a structural Verilog module.

    >>> from chipfit.cost.gates.generate import MacDesign, generate_mac
    >>> netlist = generate_mac(MacDesign(weight_bits=2, activation_bits=2, sum_bits=4))
    >>> print(to_verilog(netlist).splitlines()[1])
      input [1:0] weight;
    """
    names, wires, assigns = _net_names(netlist)
    ports = [*netlist.input_ports, *netlist.output_ports]
    lines = [f"module {_name(netlist.name)}({', '.join(map(_name, ports))});"]
    for direction, buses in (("input", netlist.input_ports), ("output", netlist.output_ports)):
        lines += [f"  {direction} {_span(len(nets))}{_name(port)};" for port, nets in buses.items()]
    lines += [f"  wire {name};" for name in wires]
    lines += _cells(netlist, names)
    lines += [f"  assign {left} = {right};" for left, right in assigns]
    return "\n".join([*lines, "endmodule", ""])


def _name(name: str) -> str:
    """A name as Verilog writes it; an odd one with a backslash before and a space behind."""
    return name if _PLAIN.fullmatch(name) and name not in _RESERVED else f"\\{name} "


def _span(width: int) -> str:
    return "" if width == 1 else f"[{width - 1}:0] "


def _port_bits(ports: Mapping[str, tuple[int, ...]]) -> list[tuple[str, str, int]]:
    """Plain label, written form and net of each bit of all buses."""
    bits = list[tuple[str, str, int]]()
    for port, nets in ports.items():
        for k, net in enumerate(nets):
            index = "" if len(nets) == 1 else f"[{k}]"
            bits.append((f"{port}{index}", f"{_name(port)}{index}", net))
    return bits


def _net_names(netlist: Netlist) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """How each net is written, which of them to declare, and what to assign to outputs."""
    names = list(CONSTANT_NAMES) + [""] * (len(netlist.nets) - 2)
    for _, written, net in _port_bits(netlist.input_ports):
        names[net] = written
    taken = {*netlist.input_ports, *netlist.output_ports}
    outputs = _port_bits(netlist.output_ports)
    for label, written, net in outputs:
        if not names[net] and netlist.nets[net] == label:
            names[net] = written
    wires = list[str]()
    for net, name in enumerate(netlist.nets):
        if not names[net]:
            unique = name
            while unique in taken:
                unique += "_"
            taken.add(unique)
            names[net] = _name(unique)
            wires.append(names[net])
    assigns = [(written, names[net]) for _, written, net in outputs if names[net] != written]
    return names, wires, assigns


def _cells(netlist: Netlist, names: list[str]) -> list[str]:
    gates = dict[int, list[int]]()
    for gate, instance in enumerate(netlist.instance.tolist()):
        gates.setdefault(instance, []).append(gate)
    lines = list[str]()
    for instance, outputs in gates.items():
        kind = netlist.kinds[netlist.kind[outputs[0]]]
        pins = zip(kind.pins, netlist.inputs[outputs[0]].tolist(), strict=False)
        connected = [f".{_name(pin)}({names[net]})" for pin, net in pins]
        for gate in outputs:
            output = netlist.kinds[netlist.kind[gate]].output
            connected.append(f".{_name(output)}({names[netlist.output[gate]]})")
        lines.append(f"  {_name(kind.cell)} {_name(netlist.instances[instance])} ({', '.join(connected)});")
    return lines


def cell_models(netlist: Netlist) -> str:
    """Verilog modules of the cells of a circuit, by their truth tables and without delays.

    >>> from chipfit.cost.gates.generate import MacDesign, generate_mac
    >>> netlist = generate_mac(MacDesign(weight_bits=2, activation_bits=2, sum_bits=4))
    >>> print(cell_models(netlist).splitlines()[1])
      input A;
    """
    cells = dict[str, list[Kind]]()
    for kind in netlist.kinds:
        cells.setdefault(kind.cell, []).append(kind)
    lines = list[str]()
    for cell, kinds in cells.items():
        pins = kinds[0].pins
        outputs = [_name(kind.output) for kind in kinds]
        lines.append(f"module {_name(cell)}({', '.join([*map(_name, pins), *outputs])});")
        lines += [f"  input {_name(pin)};" for pin in pins]
        for kind, output in zip(kinds, outputs, strict=True):
            lines += [f"  output {output};", f"  assign {output} = {_products(kind)};"]
        lines.append("endmodule")
    return "\n".join([*lines, ""])


def _products(kind: Kind) -> str:
    """The truth table as a sum of products."""
    terms = [
        " & ".join(f"{'' if i >> k & 1 else '~'}{_name(pin)}" for k, pin in enumerate(kind.pins))
        for i in range(1 << len(kind.pins))
        if kind.value(i)
    ]
    return " | ".join(f"({term})" for term in terms) or CONSTANT_NAMES[0]

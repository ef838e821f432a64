"""Circuits come out without needless gates, and still do what was asked for."""

import itertools

import numpy as np
import pytest

from chipfit.cost.gates.effort import CELLS, kind
from chipfit.cost.gates.fold import Circuit
from chipfit.cost.gates.logic import evaluate
from chipfit.cost.gates.netlist import ONE, ZERO


@pytest.mark.parametrize("cell", [cell for cell in CELLS if len(kind(cell).pins) <= 4])
def test_constant_and_repeated_pins_leave_the_function_as_it_is(cell):
    pins = len(kind(cell).pins)
    for choice in itertools.product((ZERO, ONE, "a", "b"), repeat=pins):
        circuit = Circuit()
        a, b = circuit.input_port("x", 2)
        nets = [{"a": a, "b": b}.get(pin, pin) for pin in choice]
        circuit.output_port("y", [circuit.gate(cell, *nets)])
        netlist = circuit.build("folded")
        got = evaluate(netlist, {"x": np.arange(4)})["y"].tolist()
        for case, value in enumerate(got):
            levels = {ZERO: 0, ONE: 1, a: case & 1, b: case >> 1}
            assert value == kind(cell).value(sum(levels[net] << k for k, net in enumerate(nets)))
        assert netlist.gates <= 3


def cells(build):
    circuit = Circuit()
    a, b = circuit.input_port("x", 2)
    circuit.output_port("y", build(circuit.gate, a, b))
    netlist = circuit.build("small")
    return sorted(netlist.kinds[which].cell for which in netlist.kind)


def test_gates_become_smaller_ones():
    assert cells(lambda gate, a, b: [gate("XOR2", a, ONE)]) == ["INV"]
    assert cells(lambda gate, a, b: [gate("AOI22", a, b, b, ZERO)]) == ["NAND2"]
    assert cells(lambda gate, a, b: [gate("MUX2", a, b, ONE)]) == []


def test_the_same_gate_is_there_once():
    assert cells(lambda gate, a, b: [gate("NAND2", a, b), gate("NAND2", b, a)]) == ["NAND2"]
    assert cells(lambda gate, a, b: [gate("INV", gate("INV", a))]) == []


def test_gates_that_nothing_needs_are_left_out():
    assert cells(lambda gate, a, b: [a] if gate("NAND2", gate("XOR2", a, b), a) else []) == []

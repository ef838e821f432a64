"""Prices of a small circuit, worked out by hand with the embedded cells of round figures."""

import dataclasses

import numpy as np
import pytest
from tiny_liberty import TINY

from chipfit.cost.gates.annotate import annotate, net_loads
from chipfit.cost.gates.effort import embedded_library, kind
from chipfit.cost.gates.liberty import parse_liberty
from chipfit.cost.gates.netlist import Kind, NetlistBuilder
from chipfit.errors import LibraryError


def two_gates():
    """y = !(a b), z = !y; y is an output too."""
    builder = NetlistBuilder("two")
    nets = builder.input_port("a", 2)
    y = builder.gate(kind("NAND2"), nets)
    z = builder.gate(kind("INV"), [y])
    builder.output_port("y", [y])
    builder.output_port("z", [z])
    return builder.build()


def test_delay_and_energy_are_those_of_logical_effort():
    # generic: 1 fF, tau 5 ps, 1 V, 0.5 fJ inside; wires 0.6 fF a pin, outputs 1 fF.
    circuit = annotate(two_gates(), embedded_library())
    # a: 4/3 + 0.6; y: inverter 1 + 0.6, output 1; z: output 1.
    assert circuit.load_f[2:] * 1e15 == pytest.approx([4 / 3 + 0.6, 4 / 3 + 0.6, 2.6, 1.0])
    assert circuit.delay_ps[0, :2] == pytest.approx([5 * (2 + 2.6)] * 2)
    assert circuit.delay_ps[1, 0] == pytest.approx(5 * (1 + 1))
    assert not circuit.delay_ps[:, 2:].any()
    # ½ C V², and 0.5 fJ for each unit of parasitic.
    assert circuit.energy_j[2:] * 1e15 == pytest.approx([0.5 * (4 / 3 + 0.6)] * 2 + [1.3 + 1.0, 0.5 + 0.5])
    assert (circuit.leakage_w, circuit.area_um2, circuit.supply_v) == (0.0, None, 1.0)


def test_a_cell_with_two_outputs_loads_its_nets_and_leaks_once():
    total = Kind(cell="HA", output="S", pins=("A", "B"), table=0b0110)
    carry = Kind(cell="HA", output="C", pins=("A", "B"), table=0b1000)
    xor = embedded_library("asap7").cell("XOR2")
    outputs = tuple(dataclasses.replace(xor.outputs[0], name=k.output, table=k.table) for k in (total, carry))
    half_adder = dataclasses.replace(xor, name="HA", outputs=outputs)
    library = dataclasses.replace(embedded_library("asap7"), cells={"HA": half_adder})
    builder = NetlistBuilder("half")
    nets = builder.input_port("a", 2)
    builder.output_port("y", [builder.gate(k, nets, instance="u") for k in (total, carry)])
    netlist = builder.build()
    assert net_loads(netlist, library)[2] == pytest.approx((3 + 0.6) * 0.62e-15)
    assert annotate(netlist, library).leakage_w == xor.leakage_w


def test_slopes_go_from_gate_to_gate():
    # Two inverters of the tiny library. First: slope 0.2 ns, load 2 + 1.2 fF; rise 1.0 + 1.0 + 1.1,
    # fall one more. Second: slope 0.2 ns again, load 2 fF: rise 2.5.
    library = parse_liberty(TINY, "tiny.lib")
    inverter = library.cell("INVX1").kind("Y")
    builder = NetlistBuilder("chain")
    builder.output_port("y", [builder.gate(inverter, [builder.gate(inverter, builder.input_port("a", 1))])])
    circuit = annotate(builder.build(), library)
    assert circuit.rise_ps[:, 0] == pytest.approx([3100, 2500])
    assert circuit.fall_ps[:, 0] == pytest.approx([4100, 3500])
    assert circuit.delay_ps[:, 0] == pytest.approx([3600, 3000])
    # Inside (7 + 3) / 2 fJ; outside ½ · 3.2 fF · 4 V².
    assert circuit.energy_j[3] == pytest.approx((5 + 6.4) * 1e-15)
    assert circuit.leakage_w == pytest.approx(8e-9)
    assert circuit.area_um2 == 5.0


def test_a_cell_that_the_library_lacks_or_knows_otherwise_is_named():
    library = parse_liberty(TINY, "tiny.lib")
    with pytest.raises(LibraryError) as caught:
        annotate(two_gates(), library)
    assert str(caught.value) == "library 'tiny' has no cell 'NAND2' among its 1"
    builder = NetlistBuilder("wrong")
    buffer = Kind(cell="INVX1", output="Y", pins=("A",), table=0b10)
    builder.output_port("y", [builder.gate(buffer, builder.input_port("a", 1))])
    with pytest.raises(LibraryError) as caught:
        annotate(builder.build(), library)
    assert str(caught.value) == (
        "cell 'INVX1' of netlist 'wrong' is 0x2 of A, in library 'tiny' it is 0x1 of A"
    )


def test_a_circuit_without_gates_has_a_price():
    builder = NetlistBuilder("wire")
    builder.output_port("y", builder.input_port("a", 1))
    circuit = annotate(builder.build(), embedded_library())
    assert circuit.load_f == pytest.approx(np.array([0, 0, 1e-15]))
    assert circuit.leakage_w == 0

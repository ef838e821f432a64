"""A circuit in other cells does the same."""

import numpy as np
import pytest
from osu018 import osu018_file
from tiny_liberty import DIALECT, TINY

from chipfit.cost.gates.effort import embedded_library, kind
from chipfit.cost.gates.generate import STYLES, MacDesign, generate_mac
from chipfit.cost.gates.liberty import load_liberty, parse_liberty
from chipfit.cost.gates.logic import evaluate
from chipfit.cost.gates.netlist import Kind, NetlistBuilder
from chipfit.cost.gates.retarget import map_to
from chipfit.errors import LibraryError


def single(gate):
    builder = NetlistBuilder("single")
    builder.output_port("y", [builder.gate(gate, builder.input_port("a", len(gate.pins)))])
    return builder.build()


def test_a_circuit_in_a_real_library_computes_the_same():
    library = load_liberty(osu018_file())
    rng = np.random.default_rng(0)
    inputs = {"weight": rng.integers(-128, 128, 5000), "activation": rng.integers(-128, 128, 5000)}
    inputs["partial"] = rng.integers(0, 1 << 22, 5000)
    for style in STYLES:
        netlist = generate_mac(MacDesign(style=style))
        mapped = map_to(netlist, library)
        assert {mapped_kind.cell for mapped_kind in mapped.kinds} <= set(library.cells)
        assert np.array_equal(evaluate(mapped, inputs)["sum"], evaluate(netlist, inputs)["sum"])
        # And back, cell by cell.
        back = map_to(mapped, embedded_library())
        assert np.array_equal(evaluate(back, inputs)["sum"], evaluate(netlist, inputs)["sum"])


def test_a_circuit_of_the_library_stays_as_it_is():
    netlist = generate_mac(MacDesign())
    same = map_to(netlist, embedded_library())
    assert (same.nets, same.kinds, same.instances) == (netlist.nets, netlist.kinds, netlist.instances)
    assert np.array_equal(same.inputs, netlist.inputs)


def test_pins_are_put_in_the_order_of_the_cell():
    # !(c (a + b)) with the single pin first: OAI21 has it last.
    table = sum((1 - (i & 1 and (i >> 1 & 1 or i >> 2 & 1))) << i for i in range(8))
    netlist = single(Kind(cell="ODD", output="Z", pins=("S", "P", "Q"), table=table))
    mapped = map_to(netlist, embedded_library())
    assert [mapped_kind.cell for mapped_kind in mapped.kinds] == ["OAI21"]
    assert mapped.inputs[0, 2] == netlist.inputs[0, 0]
    cases = np.arange(8)
    assert np.array_equal(evaluate(mapped, {"a": cases})["y"], evaluate(netlist, {"a": cases})["y"])


def test_an_inverse_cell_gets_an_inverter_and_idle_pins_are_dropped():
    buffer = Kind(cell="ODD", output="Z", pins=("A", "B"), table=0b1010)  # A
    library = parse_liberty(TINY, "tiny.lib")
    mapped = map_to(single(buffer), library)
    assert mapped.gates == 2
    assert evaluate(mapped, {"a": np.arange(4)})["y"].tolist() == [0, 1, 0, 1]


def test_two_outputs_of_a_cell_become_two_cells():
    builder = NetlistBuilder("half")
    nets = builder.input_port("a", 2)
    gates = [Kind(cell="HA", output=o, pins=("A", "B"), table=t) for o, t in (("S", 0b0110), ("C", 0b1000))]
    builder.output_port("y", [builder.gate(gate, nets, instance="u") for gate in gates])
    mapped = map_to(builder.build(), embedded_library())
    assert mapped.instances == ("u_S", "u_C")
    assert evaluate(mapped, {"a": np.arange(4)})["y"].tolist() == [0, 1, 1, 2]


def test_a_function_that_no_cell_has_is_named():
    with pytest.raises(LibraryError) as caught:
        map_to(single(kind("XOR2")), parse_liberty(TINY, "tiny.lib"))
    assert str(caught.value) == "library 'tiny' has no cell for 'XOR2' (0x6 of A, B), nor for its inverse"
    with pytest.raises(LibraryError):  # its only NAND is one that the library advises against
        map_to(single(kind("NAND2")), parse_liberty(DIALECT, "odd.lib"))

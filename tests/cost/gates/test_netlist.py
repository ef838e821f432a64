"""A netlist is checked when it is made, and says which net or gate is wrong."""

import numpy as np
import pytest

from chipfit.cost.gates.netlist import ONE, ZERO, Kind, Netlist, NetlistBuilder
from chipfit.errors import NetlistError

NAND = Kind(cell="NAND2", output="Y", pins=("A", "B"), table=0b0111)
INV = Kind(cell="INV", output="Y", pins=("A",), table=0b01)


def chain(**changes):
    """y = !!a, as two inverters."""
    fields = {
        "name": "chain",
        "nets": ("1'b0", "1'b1", "a", "n", "y"),
        "kinds": (INV,),
        "kind": np.array([0, 0]),
        "inputs": np.array([[2, -1, -1, -1, -1, -1], [3, -1, -1, -1, -1, -1]]),
        "output": np.array([3, 4]),
        "instances": ("first", "second"),
        "instance": np.array([0, 1]),
        "input_ports": {"a": (2,)},
        "output_ports": {"y": (4,)},
    }
    return Netlist(**{**fields, **changes})


def test_a_sound_netlist_holds_what_it_was_given():
    netlist = chain()
    assert (netlist.gates, netlist.pins.tolist(), netlist.tables.tolist()) == (2, [1, 1], [1, 1])
    assert (netlist.port("a"), netlist.port("y")) == ((2,), (4,))
    assert netlist.output.dtype == np.int32


def test_a_netlist_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        chain().inputs[0, 0] = 1
    with pytest.raises(TypeError):
        chain().input_ports["b"] = (2,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ports": {}}, "netlist 'chain': net 'a' is driven by nothing"),
        ({"output": np.array([3, 3])}, "netlist 'chain': net 'y' is driven by nothing"),
        ({"input_ports": {"a": (2, 3)}}, "netlist 'chain': net 'n' is driven twice"),
        ({"output": np.array([4, 3])}, "netlist 'chain': gate 'second' stands before what drives it"),
        ({"kinds": (NAND,)}, "netlist 'chain': a gate has more or fewer nets than pins"),
        ({"kind": np.array([0])}, "netlist 'chain': kind must have the shape (2,)"),
        ({"nets": ("a", "b")}, "netlist 'chain': the first two nets must be the constants"),
    ],
)
def test_what_is_not_sound_is_named(changes, message):
    with pytest.raises(NetlistError) as caught:
        chain(**changes)
    assert str(caught.value) == message


def test_a_port_that_is_not_there_is_named():
    with pytest.raises(NetlistError) as caught:
        chain().port("b")
    assert str(caught.value) == "netlist 'chain' has no port 'b'; it has a, y"


def test_a_kind_has_one_to_six_pins_and_a_table_that_fits():
    with pytest.raises(NetlistError) as caught:
        Kind(cell="TIE", output="Y", pins=(), table=1)
    assert str(caught.value) == "cell 'TIE' has 0 inputs: expected 1 to 6"
    with pytest.raises(NetlistError) as caught:
        Kind(cell="INV", output="Y", pins=("A",), table=4)
    assert str(caught.value) == "the truth table of cell 'INV' does not fit 1 inputs"


def test_a_builder_makes_two_gates_of_a_cell_with_two_outputs():
    total = Kind(cell="HA", output="S", pins=("A", "B"), table=0b0110)
    carry = Kind(cell="HA", output="CO", pins=("A", "B"), table=0b1000)
    builder = NetlistBuilder("half")
    nets = builder.input_port("a", 2)
    builder.output_port("y", [builder.gate(kind, nets, instance="u1") for kind in (total, carry)])
    netlist = builder.build()
    assert (netlist.instances, netlist.instance.tolist()) == (("u1",), [0, 0])
    assert netlist.nets == ("1'b0", "1'b1", "a[0]", "a[1]", "n0", "n1")


def test_constants_can_be_outputs_and_pins():
    builder = NetlistBuilder("constant")
    builder.output_port("y", [ZERO, builder.gate(INV, [ONE])])
    assert builder.build().port("y") == (ZERO, 2)

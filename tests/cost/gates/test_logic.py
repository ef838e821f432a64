"""What circuits compute, against truth tables read by eye."""

import numpy as np
import pytest

from chipfit.cost.gates.effort import CELLS, kind
from chipfit.cost.gates.logic import evaluate
from chipfit.cost.gates.netlist import ONE, NetlistBuilder
from chipfit.errors import NetlistError


def single(cell):
    builder = NetlistBuilder(cell)
    builder.output_port("y", [builder.gate(kind(cell), builder.input_port("a", len(kind(cell).pins)))])
    return builder.build()


@pytest.mark.parametrize("cell", CELLS)
def test_a_gate_follows_its_truth_table(cell):
    inputs = np.arange(1 << len(kind(cell).pins))
    assert evaluate(single(cell), {"a": inputs})["y"].tolist() == [kind(cell).value(i) for i in inputs]


@pytest.mark.parametrize("cases", [0, 1, 63, 64, 65, 200])
def test_any_number_of_cases_is_evaluated(cases):
    values = np.arange(cases) % 4
    assert np.array_equal(evaluate(single("NAND2"), {"a": values})["y"], (values != 3))


def test_negative_inputs_count_by_their_low_bits():
    builder = NetlistBuilder("wires")
    a = builder.input_port("a", 4)
    builder.output_port("y", [*a, ONE])
    assert evaluate(builder.build(), {"a": np.array([-1, -8, 5])})["y"].tolist() == [31, 24, 21]


def test_inputs_that_do_not_fit_are_named():
    with pytest.raises(NetlistError) as caught:
        evaluate(single("INV"), {"b": np.array([1])})
    assert str(caught.value) == "netlist 'INV' has the inputs a; got b"
    builder = NetlistBuilder("two")
    builder.input_port("a", 1)
    builder.input_port("b", 1)
    with pytest.raises(NetlistError) as caught:
        evaluate(builder.build(), {"a": np.array([1]), "b": np.array([1, 0])})
    assert str(caught.value) == "netlist 'two': inputs of different lengths: {'a': 1, 'b': 2}"

"""Compulsory traffic and arithmetic, worked by hand."""

import pytest

from chipfit.cost.roofline import Roofline, touched
from chipfit.testing import EstimatorSuite, eye16, nest_layer
from chipfit.workload.network import Loops, Tensor


class TestRoofline(EstimatorSuite):
    estimator = Roofline()


def test_a_matrix_product_by_hand():
    layer = nest_layer(Loops(K=10, C=20, P=3), weight_bits=8, input_bits=5)
    cost = Roofline().layer(layer, eye16())
    # 16-bit words: 200 weights / 2 = 100; 60 inputs / 3 = 20; 30 outputs / 3 = 10.
    assert cost.cost.dram_bits == (100 + 20 + 10) * 16
    # A multiply: 1 J * (8 * 5) / 16^2; DRAM: 200 J a word.
    assert cost.energy_by_component_j == {"MAC": pytest.approx(600 * 40 / 256), "DRAM": 130 * 200.0}
    # 600 multiplies on 168 elements: 3.57 cycles; 130 words at 4 a cycle: 32.5 cycles.
    assert cost.cost.latency_s == 32.5


def test_what_fused_layers_read_is_charged_once():
    shortcut = Tensor(name="s", shape=(1, 10, 3, 1), bits=8)
    plain = Roofline().layer(nest_layer(Loops(K=10, C=20, P=3)), eye16()).cost
    fused = Roofline().layer(nest_layer(Loops(K=10, C=20, P=3), beside=(shortcut,)), eye16()).cost
    assert fused.dram_bits - plain.dram_bits == 15 * 16  # 30 elements, two in a word
    assert fused.energy_j - plain.energy_j == pytest.approx(15 * 200.0)


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ((4, 1, 1, 1, 0), 4),
        ((4, 1, 3, 1, 0), 4),  # rows 0 3 6 9
        ((4, 3, 1, 1, 2), 4),  # rows -1..4, of which 0..3 exist
        ((112, 7, 2, 1, 5), 224),  # ResNet's first layer: 229 rows less 5 of padding
        ((2, 2, 1, 3, 0), 4),  # rows 0 1 3 4 of five
    ],
)  # fmt: skip
def test_touched_rows(arguments, rows):
    assert touched(*arguments) == rows

"""Words of main memory, worked by hand."""

from chipfit.cost.traffic import traffic_cost, words
from chipfit.testing import eye16
from chipfit.workload.network import Layer, Tensor


def test_a_layer_without_a_nest_moves_its_tensors_once():
    x = Tensor(name="x", shape=(1, 4, 4, 4), bits=8)
    table = Tensor(name="t", shape=(10,), bits=8, constant=True)
    y = Tensor(name="y", shape=(1, 4, 2, 2), bits=8)
    layer = Layer(name="pool", operator="MaxPool", inputs=(x, table), outputs=(y,))
    found = traffic_cost(layer, eye16())
    assert found.cost.dram_bits == (32 + 5 + 8) * 16
    assert found.cost.energy_j == 45 * 200.0
    assert found.cost.latency_s == 45 / 4


def test_an_element_wider_than_a_word_takes_several():
    assert words(3, 33, 16) == 9

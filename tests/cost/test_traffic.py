"""Words of main memory, worked by hand."""

from dataclasses import replace

from chipfit.cost.traffic import slowest_part, traffic_cost, words
from chipfit.testing import eye16, nest_layer
from chipfit.workload.network import Layer, Loops, Tensor


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


def test_a_layer_takes_as_long_as_its_slowest_part_and_leaks_for_that_time():
    target = replace(eye16(), static_power_w=0.5)
    layer = nest_layer(Loops(K=42, C=2))
    found = slowest_part(
        layer, target, energy={"MAC": 3.0, "DRAM": 4.0}, time={"compute": 1.0, "DRAM": 2.0}, dram_bits=8
    )
    assert (found.cost.latency_s, found.cost.dram_bits) == (2.0, 8)
    assert found.energy_by_component_j == {"MAC": 3.0, "DRAM": 4.0, "static": 1.0}
    assert found.cost.energy_j == 8.0
    assert found.utilization == 0.25  # 84 of 2 * 168 multiplications

"""Layers whose activations stay on the chip, worked by hand."""

from dataclasses import dataclass, replace

import pytest

from chipfit.cost.base import AbstractEstimator, Cost, LayerCost
from chipfit.cost.residence import inner_target, stored_activations_bits
from chipfit.cost.roofline import Roofline
from chipfit.hardware.target import Arithmetic, Array, Residence, Target
from chipfit.testing import nest_layer, toy_level
from chipfit.workload.network import Layer, Loops, Network, Tensor

TOY = Target(
    name="toy",
    description="",
    source="toy",
    clock_hz=1.0,
    native_bits=8,
    partial_sum_bits=32,
    arithmetic=Arithmetic(multiply_j=1.0, multiply_bits=8, add_j=0.0, add_bits=32, source="toy"),
    levels=(
        toy_level("flash", None, 100.0, words_per_cycle=0.5),
        toy_level("sram", 64, 10.0, words_per_cycle=2),
        toy_level("file", 8, 1.0),
    ),
    arrays=(
        Array(name="pe", below="sram", rows=4, columns=4, row_dimensions=("C",), column_dimensions=("K",)),
    ),
    activations=Residence(level="sram"),
)
# 32 inputs, 6 weights, 48 outputs, 96 multiplies; two bytes in a 16-bit word: 16, 3 and 24 words.
LAYER = nest_layer(Loops(C=2, K=3, P=4, Q=4))


def network(*layers: Layer) -> Network:
    return Network(name="net", layers=layers)


def test_the_inner_target_begins_where_activations_stay():
    inner = inner_target(TOY)
    assert [level.name for level in inner.levels] == ["sram", "file"]
    assert inner.main_memory.size_bits is None
    assert inner.arrays == TOY.arrays
    assert inner.activations is None


def test_only_constants_cross_the_main_memory_and_once():
    report = Roofline().estimate(network(LAYER), TOY)
    (cost,) = report.layers
    assert cost.cost.dram_bits == 3 * 16
    # sram: 16 + 3 words read and 24 written by the layer, 3 written from the flash
    assert cost.energy_by_component_j == pytest.approx({"MAC": 96.0, "sram": 460.0, "flash": 300.0})
    assert cost.cost.energy_j == pytest.approx(856.0)
    # 96 / 16; (16 + 3 + 24) / 2; 3 / 0.5
    assert cost.latency_by_component_s == pytest.approx({"compute": 6.0, "sram": 21.5, "flash": 6.0})
    assert cost.cost.latency_s == pytest.approx(21.5)
    assert cost.utilization == pytest.approx(6 / 21.5)
    assert report.warnings == ()


def test_coded_constants_take_their_stored_bits_in_the_main_memory_only():
    assert LAYER.weight is not None
    coded = replace(LAYER, weight=replace(LAYER.weight, stored_bits=4.5))
    plain = Roofline().estimate(network(coded), TOY)
    assert plain.total.dram_bits == 48  # this target stores them as they are
    report = Roofline().estimate(network(coded), replace(TOY, coded_weights=True))
    assert report.total.dram_bits == 32  # 6 * 4.5 = 27 bits: two words
    assert report.layers[0].energy_by_component_j == pytest.approx({"MAC": 96, "sram": 460, "flash": 200})
    assert report.warnings == ()


def test_codes_that_are_not_known_are_priced_as_they_are_and_said_so():
    report = Roofline().estimate(network(LAYER), replace(TOY, coded_weights=True))
    assert report.total.dram_bits == 48
    assert report.warnings == (
        "toy stores weights coded, but the codes of 1 of 1 are not known: priced as they are",
    )


def test_activations_that_do_not_fit_pass_through_main_memory():
    # 32 + 48 bytes are alive, 60 bytes fit
    sram = replace(TOY.levels[1], size_bits=480)
    small = replace(TOY, levels=(TOY.levels[0], sram, TOY.levels[2]))
    report = Roofline().estimate(network(LAYER), small)
    plain = Roofline().estimate(network(LAYER), replace(small, activations=None))
    assert report.layers == plain.layers
    assert report.total.dram_bits == (16 + 3 + 24) * 16
    assert report.warnings == (
        "80 B of activations are alive at once, more than the 60 B of sram: all of them pass through "
        "flash, and weights are priced as they are",
    )


def test_what_lies_between_layers_is_stored_in_whole_bricks_of_channels():
    x = Tensor(name="x", shape=(1, 3, 4, 4), bits=8)
    y = Tensor(name="y", shape=(1, 5, 4, 4), bits=8)
    z = Tensor(name="z", shape=(1, 6, 4, 4), bits=8)
    layers = (
        Layer(name="a", operator="Relu", inputs=(x,), outputs=(y,)),
        Layer(name="b", operator="Relu", inputs=(y,), outputs=(z,)),
    )
    bricks = replace(TOY, activations=Residence(level="sram", channels=4))
    # y takes 8 channels; x comes from outside and z goes there: 6 + 8 of 16 bytes
    assert stored_activations_bits(network(*layers), bricks) == 14 * 16 * 8
    assert stored_activations_bits(network(*layers), TOY) == 11 * 16 * 8


def test_an_operator_fused_into_a_nest_takes_the_datapath_and_its_values_twice():
    other = Tensor(name="other", shape=(1, 3, 4, 4), bits=8)
    added = replace(LAYER, inputs=(*LAYER.inputs, other), fused=("Add", "Relu"))
    plain = Roofline().estimate(network(added), TOY).layers[0]
    taken = Roofline().estimate(network(added), replace(TOY, vector_cycles={"Add": 1.5})).layers[0]
    # 48 outputs: 72 cycles after the 6 of the nest; 24 words written, and read again
    assert plain.latency_by_component_s["compute"] == pytest.approx(6.0)
    assert taken.latency_by_component_s["compute"] == pytest.approx(78.0)
    assert taken.latency_by_component_s["sram"] == pytest.approx(plain.latency_by_component_s["sram"] + 24.0)
    assert taken.cost.latency_s == pytest.approx(78.0)
    assert taken.cost.energy_j == pytest.approx(plain.cost.energy_j + 48 * 10.0)
    assert taken.cost.dram_bits == plain.cost.dram_bits


def test_an_operator_of_its_own_takes_the_datapath_beside_its_traffic():
    x = Tensor(name="x", shape=(1, 40), bits=8)
    layer = Layer(
        name="add", operator="Add", inputs=(x, replace(x, name="y")), outputs=(replace(x, name="z"),)
    )
    vector = replace(TOY, vector_cycles={"Add": 1.5})
    (cost,) = Roofline().estimate(network(layer), vector).layers
    # 40 * 1.5; 60 words at 2 a cycle
    assert cost.latency_by_component_s == pytest.approx({"sram": 30.0, "flash": 0.0, "compute": 60.0})
    assert cost.cost.latency_s == pytest.approx(60.0)
    assert cost.cost.dram_bits == 0


def test_without_residence_the_values_in_between_pass_through_main_memory():
    fused = replace(LAYER, fused=("Add",))
    plain = replace(TOY, activations=None)
    before = Roofline().estimate(network(fused), plain).layers[0]
    after = Roofline().estimate(network(fused), replace(plain, vector_cycles={"Add": 1.0})).layers[0]
    assert after.cost.dram_bits == before.cost.dram_bits + 2 * 24 * 16


@dataclass(frozen=True, kw_only=True)
class Slow(AbstractEstimator):
    """States one cost for every layer: 3.5 s beside its slowest component."""

    method = "one cost"
    error = "unknown"

    def layer(self, layer: Layer, target: Target) -> LayerCost:
        return LayerCost(
            name=layer.name,
            operator=layer.operator,
            cost=Cost(latency_s=25.0, energy_j=7.0, dram_bits=5.0),
            macs=96,
            utilization=0.0,
            energy_by_component_j={"MAC": 2.0, "static": 5.0},
            latency_by_component_s={"compute": 6.0, "sram": 21.5},
        )


def test_what_an_estimator_adds_to_its_slowest_component_stays_and_static_energy_follows_the_time():
    leaking = replace(TOY, static_power_w=0.2, vector_cycles={"Add": 1.0})
    (found,) = Slow().costs([replace(LAYER, fused=("Add",))], leaking)
    # compute 6 + 48, sram 21.5 + 24; 3.5 beside them; 480 J moved for the addition, 330 J for the weights
    assert found.cost.latency_s == pytest.approx(54.0 + 3.5)
    assert found.energy_by_component_j["static"] == pytest.approx(11.5)
    assert found.cost.energy_j == pytest.approx(2.0 + 480.0 + 330.0 + 11.5)
    (plain,) = Slow().costs([LAYER], leaking)
    assert plain.cost.latency_s == pytest.approx(25.0)


def test_on_a_target_without_residence_costs_are_those_of_the_estimator():
    plain = replace(TOY, activations=None)
    assert Slow().costs([LAYER], plain) == [Slow().layer(LAYER, plain)]

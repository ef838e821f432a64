"""Generated units do what integers do, for every pair of operands."""

import itertools

import numpy as np
import pytest

from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import ACCUMULATES, ADDERS, STYLES, MacDesign, generate_mac
from chipfit.cost.gates.logic import evaluate
from chipfit.cost.gates.simulate import on_grid, pack, simulate
from chipfit.errors import NetlistError


def operands(bits, signed):
    return np.arange(-(1 << (bits - 1)), 1 << (bits - 1)) if signed else np.arange(1 << bits)


def wrong_sums(design, partials):
    """How many sums differ from partial + activation·weight modulo 2^sum_bits."""
    netlist, modulus = generate_mac(design), 1 << design.sum_bits
    weight, activation, partial = (
        values.ravel()
        for values in np.meshgrid(
            operands(design.weight_bits, design.weight_signed),
            operands(design.activation_bits, design.activation_signed),
            np.array(partials),
        )
    )
    got = evaluate(netlist, {"weight": weight, "activation": activation, "partial": partial})["sum"]
    return int((got.astype(np.int64) != (partial + activation * weight) % modulus).sum())


@pytest.mark.parametrize("signed", itertools.product((True, False), repeat=2))
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_operands_is_multiplied_and_added(style, weight_bits, signed):
    for activation_bits in range(2, 9):
        product_bits = weight_bits + activation_bits
        for sum_bits in (product_bits, product_bits + 6):
            design = MacDesign(
                style=style, weight_bits=weight_bits, activation_bits=activation_bits, sum_bits=sum_bits,
                weight_signed=signed[0], activation_signed=signed[1],
            )  # fmt: skip
            # The largest sums wrap around; -1 has all bits set.
            assert wrong_sums(design, [0, -1, (1 << (sum_bits - 1)) - 1, 0x2A5A5A5A5A5A]) == 0


@pytest.mark.parametrize("signed", itertools.product((True, False), repeat=2))
@pytest.mark.parametrize("style", STYLES)
def test_partial_sums_are_added_to_the_finished_product(style, signed):
    for weight_bits, activation_bits in itertools.product(range(2, 9), repeat=2):
        product_bits = weight_bits + activation_bits
        for sum_bits, adder in ((product_bits, "prefix"), (product_bits + 6, "ripple")):
            design = MacDesign(
                style=style, weight_bits=weight_bits, activation_bits=activation_bits, sum_bits=sum_bits,
                weight_signed=signed[0], activation_signed=signed[1], adder=adder, accumulate="adder",
            )  # fmt: skip
            assert wrong_sums(design, [0, -1, 0x2A5A5A5A5A5A]) == 0


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("style", STYLES)
def test_the_prefix_adder_adds_as_the_ripple_adder_does(style, signed):
    for bits, sum_bits in ((2, 4), (3, 9), (8, 22), (8, 48)):
        design = MacDesign(
            style=style, weight_bits=bits, activation_bits=bits, sum_bits=sum_bits,
            weight_signed=signed, activation_signed=signed, adder="prefix",
        )  # fmt: skip
        assert wrong_sums(design, [0, -1, (1 << (sum_bits - 1)) - 1, 0x2A5A5A5A5A5A]) == 0


@pytest.mark.parametrize("accumulate", ACCUMULATES)
@pytest.mark.parametrize("adder", ADDERS)
@pytest.mark.parametrize("style", STYLES)
def test_random_partial_sums_are_added(style, adder, accumulate):
    rng = np.random.default_rng(1)
    design = MacDesign(style=style, adder=adder, accumulate=accumulate)
    weight, activation = rng.integers(-128, 128, (2, 50_000))
    partial = rng.integers(-(1 << 21), 1 << 21, 50_000)
    sums = evaluate(generate_mac(design), {"weight": weight, "activation": activation, "partial": partial})
    assert np.array_equal(sums["sum"].astype(np.int64), (partial + activation * weight) % (1 << 22))


def test_circuits_are_no_larger_than_those_of_a_synthesis_tool():
    # NanGate45, 22-bit sums, yosys: plain 627 and Booth 413 cells, with unsigned activations 479 and 426.
    for style, signed, cells in (
        ("array", True, 627), ("booth", True, 413), ("array", False, 479), ("booth", False, 426),
    ):  # fmt: skip
        assert generate_mac(MacDesign(style=style, activation_signed=signed)).gates <= cells


def test_nothing_in_a_circuit_is_idle_or_there_twice():
    for style, adder, accumulate in itertools.product(STYLES, ADDERS, ACCUMULATES):
        netlist = generate_mac(MacDesign(style=style, adder=adder, accumulate=accumulate))
        used = {*netlist.inputs[netlist.inputs >= 0].tolist(), *netlist.port("sum")}
        assert used >= set(netlist.output.tolist())
        assert not used & {0, 1}
        assert (
            len({(k, *pins) for k, pins in zip(netlist.kind, netlist.inputs.tolist(), strict=True)})
            == netlist.gates
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 1}, "weight_bits must be 2 to 8, got 1"),
        ({"activation_bits": 9}, "activation_bits must be 2 to 8, got 9"),
        ({"sum_bits": 15}, "sum_bits must be 16 to 48, got 15"),
        ({"style": "both"}, "unknown style 'both', did you mean 'booth'?"),
        ({"adder": "fast"}, "unknown adder 'fast'; valid: prefix, ripple"),
        ({"accumulate": "addr"}, "unknown way to accumulate 'addr', did you mean 'adder'?"),
    ],
)
def test_a_design_that_cannot_be_says_what_can(options, message):
    with pytest.raises(NetlistError) as caught:
        MacDesign(**options)
    assert str(caught.value) == message


def test_a_name_says_what_the_unit_is():
    assert MacDesign().name == "mac_array_s8_s8_22"
    assert MacDesign(style="booth", weight_bits=4, weight_signed=False, adder="prefix").name == (
        "mac_booth_u4_s8_22_prefix"
    )
    assert MacDesign(accumulate="adder").name == "mac_array_s8_s8_22_adder"


@pytest.mark.parametrize("style", STYLES)
def test_behind_a_finished_product_a_weight_of_zero_lets_the_partial_sum_pass(style):
    design = MacDesign(style=style, activation_signed=False, accumulate="adder")
    netlist = generate_mac(design)
    timed = on_grid(annotate(netlist, embedded_library()))
    before = {"activation": np.array([0]), "partial": np.array([0])}
    after = {"activation": np.array([255]), "partial": np.array([(1 << 22) - 1])}
    # 0 + partial has no carries. Bit 0 goes through one XOR gate, the others through the two of a full adder:
    # 1 + 21·2 = 43, whatever the activation does.
    held = simulate(timed, pack(netlist, before, after), {"weight": 0})
    assert int(held.toggles.sum()) == 43

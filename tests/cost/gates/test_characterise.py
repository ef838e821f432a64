"""Energies and delays of weight values against one event at a time, and what must hold of any table."""

import re

import numpy as np
import pytest
from event_twin import all_transitions

from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.characterise import (
    Unit,
    characterise,
    inverter_toggle,
    latest_changes,
    read_unit,
    transition_delays,
)
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.netlist import Kind, NetlistBuilder
from chipfit.cost.gates.simulate import MODES, on_grid
from chipfit.cost.gates.statistics import declared, every_activation, stratified
from chipfit.errors import NetlistError

LIBRARY = embedded_library()


def mac(style="array", bits=2, sum_bits=None, *, weight_signed=True, activation_signed=True):
    return generate_mac(
        MacDesign(
            style=style, weight_bits=bits, activation_bits=bits, sum_bits=sum_bits or 2 * bits + 1,
            weight_signed=weight_signed, activation_signed=activation_signed,
        )
    )  # fmt: skip


def operands(bits=2, sum_bits=5, name="relu", *, signed=True):
    return declared(
        name, weight_bits=bits, activation_bits=bits, sum_bits=sum_bits, activation_signed=signed,
        rng=np.random.default_rng(3),
    )  # fmt: skip


def with_weight(transitions, weight):
    before, after = transitions
    held = np.full(len(before["partial"]), weight)
    return {**before, "weight": held}, {**after, "weight": held}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("style", ["array", "booth"])
def test_a_table_is_what_one_event_at_a_time_adds_up_to(style, mode):
    netlist, statistics = mac(style), operands()
    table = characterise(netlist, LIBRARY, statistics, mode=mode, transitions=30, seed=5)
    annotated = annotate(netlist, LIBRARY)
    timed = on_grid(annotated, mode=mode)
    rng = np.random.default_rng(5)
    for_energy, for_delay = stratified(statistics, 30, 5, rng=rng), every_activation(statistics, 5, rng=rng)
    for place, weight in enumerate(table.weights):
        toggles, early = all_transitions(timed, *with_weight(for_energy, weight))
        energy_j = sum(
            count * annotated.energy_j[net] for count, net in zip(toggles, netlist.output, strict=True)
        )
        assert table.energy_j[place] == pytest.approx(energy_j / 30)
        _, late = all_transitions(timed, *with_weight(for_delay, weight))
        if mode != "zero":
            assert table.delay_s[place] == pytest.approx(1e-11 * max(0, *early, *late))
    assert table.weights == (-2, -1, 0, 1)


def test_delays_of_activation_transitions_are_those_of_one_event_at_a_time():
    netlist, statistics = mac("booth", 3), operands(3, 7)
    found = transition_delays(netlist, LIBRARY, statistics, [-3, 2], seed=1)
    timed = on_grid(annotate(netlist, LIBRARY))
    for place, weight in enumerate((-3, 2)):
        transitions = every_activation(statistics, 7, rng=np.random.default_rng(1))
        _, late = all_transitions(timed, *with_weight(transitions, weight))
        assert found[place] == pytest.approx(1e-11 * np.maximum(late, 0).reshape(8, 8))


def test_with_fewer_activation_codes_weights_settle_as_one_event_at_a_time_says():
    netlist, statistics = mac("booth", 3, activation_signed=False), operands(3, 7, signed=False)
    found = latest_changes(netlist, LIBRARY, statistics, [0, 1, 4], seed=1)
    timed = on_grid(annotate(netlist, LIBRARY))
    transitions = every_activation(statistics, 7, rng=np.random.default_rng(1), kept=[0, 1, 4])
    expected = [max(0, *all_transitions(timed, *with_weight(transitions, w))[1]) for w in range(-4, 4)]
    assert found == pytest.approx(1e-11 * np.array(expected))


def test_a_single_activation_code_leaves_the_partial_sum_alone_to_change():
    netlist, statistics = mac("array", 3, activation_signed=False), operands(3, 7, signed=False)
    alone, all_codes = (latest_changes(netlist, LIBRARY, statistics, kept) for kept in ([0], range(8)))
    assert (alone <= all_codes).all()
    assert alone.max() < all_codes.max()


@pytest.mark.parametrize("style", ["array", "booth"])
def test_what_was_seen_is_within_static_timing_and_a_seed_gives_the_same_table(style):
    netlist, statistics = mac(style, 4, 11), operands(4, 11)
    table = characterise(netlist, LIBRARY, statistics, seed=2)
    assert all(seen <= bound for seen, bound in zip(table.delay_s, table.bound_s, strict=True))
    assert max(table.bound_s) <= table.static_delay_s
    assert 0.9 < sum(table.arrivals) <= 1 + 1e-9
    assert max(delay for _, delay in table.class_delays_s) <= max(table.delay_s)
    assert table == characterise(netlist, LIBRARY, statistics, seed=2)
    assert table != characterise(netlist, LIBRARY, statistics, seed=3)


def test_all_transitions_are_as_many_as_there_are():
    table = characterise(mac(), LIBRARY, operands(name="uniform"), transitions=None)
    assert (table.energy_transitions, table.delay_transitions) == (16, 16)


def test_glitches_cost_energy_and_filters_save_some():
    netlist, statistics = mac("array", 6, 14), operands(6, 14)
    means = {mode: np.mean(characterise(netlist, LIBRARY, statistics, mode=mode).energy_j) for mode in MODES}
    assert means["zero"] < means["inertial"] < means["transport"]


def test_a_coarse_grid_is_warned_of():
    # generic cells: two NANDs and the like take 50 ps and more
    assert characterise(mac(), LIBRARY, operands()).warnings == ()
    (warning,) = characterise(mac(), LIBRARY, operands(), grid_ps=50).warnings
    assert warning.startswith("half of the gates take at most 1 × 50 ps")


def test_each_weight_value_is_simulated_and_told():
    told = []
    characterise(mac(), LIBRARY, operands(), advance=lambda: told.append(1))
    assert len(told) == 4


def test_registers_are_priced_in_toggles_of_the_smallest_inverter():
    # load 2 x (1 + 0.6) fF at 1 V: 1.6 fJ, and 0.5 fJ inside
    assert inverter_toggle(LIBRARY) == pytest.approx(2.1e-15)
    table = characterise(mac(), LIBRARY, operands(name="uniform"))
    assert table.clock_energy_j == pytest.approx((2 + 5) * 4 * 2.1e-15)
    # of uniform operands half the bits change: 1 of the activation, 2.5 of the partial sum
    assert table.register_energy_j == pytest.approx(3.5 * 6 * 2.1e-15, rel=0.01)


@pytest.mark.parametrize("weight_signed", [True, False])
@pytest.mark.parametrize("activation_signed", [True, False])
def test_signs_are_found_by_trying(weight_signed, activation_signed):
    netlist = mac(bits=3, weight_signed=weight_signed, activation_signed=activation_signed)
    unit = read_unit(netlist)
    assert unit == Unit(
        weight_bits=3, activation_bits=3, sum_bits=7, weight_signed=weight_signed,
        activation_signed=activation_signed,
    )  # fmt: skip
    assert (unit.weights[0], unit.weights[-1]) == ((-4, 3) if weight_signed else (0, 7))


def wires(weight, activation, partial, total, name="sum"):
    """Ports of these widths, the outputs tied to the partial sum."""
    builder = NetlistBuilder("wires")
    builder.input_port("weight", weight)
    builder.input_port("activation", activation)
    nets = builder.input_port("partial", partial)
    inverter = Kind(cell="INV", output="Y", pins=("A",), table=0b01)
    builder.output_port(
        name, [builder.gate(inverter, [nets[0]]), *nets[1:], *[0] * (total - partial)][:total]
    )
    return builder.build()


@pytest.mark.parametrize(
    ("netlist", "message"),
    [
        (wires(2, 2, 5, 5, "total"),
         "a multiply-accumulate unit has the inputs weight, activation, partial and the output sum, "
         "got weight, activation, partial and total"),
        (wires(9, 2, 12, 12), "weight must have 2 to 8 bits, got 9"),
        (wires(2, 1, 5, 5), "activation must have 2 to 8 bits, got 1"),
        (wires(2, 2, 5, 4), "partial has 5 bits, sum has 4"),
    ],
)  # fmt: skip
def test_netlists_that_are_no_such_unit_are_refused(netlist, message):
    with pytest.raises(NetlistError, match=f"^{re.escape(f'netlist {chr(39)}wires{chr(39)}: {message}')}$"):
        read_unit(netlist)


def test_a_netlist_that_computes_something_else_is_refused():
    message = "netlist 'wires' computes something else than sum = partial + activation * weight"
    with pytest.raises(NetlistError, match=f"^{re.escape(message)}$"):
        characterise(wires(2, 2, 5, 5), LIBRARY, operands())


def test_wrong_widths_counts_and_weights_are_refused():
    for call, message in (
        (lambda: characterise(mac(), LIBRARY, operands(3, 7)),
         "netlist 'mac_array_s2_s2_5' has activations of 2 bits, the statistics are of 3"),
        (lambda: characterise(mac(), LIBRARY, operands(), transitions=0),
         "at least one transition is needed, got 0"),
        (lambda: transition_delays(mac(), LIBRARY, operands(), [0, 2]),
         "netlist 'mac_array_s2_s2_5' has weights -2 to 1, got 2"),
        (lambda: latest_changes(mac(), LIBRARY, operands(), []),
         "netlist 'mac_array_s2_s2_5' has activation codes 0 to 3, got none"),
        (lambda: latest_changes(mac(), LIBRARY, operands(), [0, 4]),
         "netlist 'mac_array_s2_s2_5' has activation codes 0 to 3, got 0, 4"),
    ):  # fmt: skip
        with pytest.raises(NetlistError, match=f"^{re.escape(message)}$"):
            call()

"""Fast simulation against one event at a time, and against Icarus Verilog."""

import re

import icarus
import numpy as np
import pytest
from event_twin import all_transitions
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.netlist import MAX_PINS, Kind, NetlistBuilder
from chipfit.cost.gates.simulate import MODES, TimedNetlist, on_grid, pack, simulate
from chipfit.errors import NetlistError


@st.composite
def circuits(draw):
    """Small circuits of gates with any function and any delays."""
    builder = NetlistBuilder("random")
    nets = [0, 1, *builder.input_port("a", draw(st.integers(1, 4))), *builder.input_port("b", 2)]
    longest = draw(st.sampled_from([1, 3, 9]))
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        pins = draw(st.integers(1, 6))
        kind = Kind(
            cell=f"C{len(rows)}", output="Y", pins=tuple("ABCDEF"[:pins]),
            table=draw(st.integers(0, 2 ** 2**pins - 1)),
        )  # fmt: skip
        nets.append(builder.gate(kind, [draw(st.sampled_from(nets)) for _ in range(pins)]))
        delays = [draw(st.integers(1, longest)) for _ in range(pins)]
        rows.append([*delays, *[0] * (MAX_PINS - pins)])
    builder.output_port("y", [draw(st.sampled_from(nets)) for _ in range(3)])
    return builder.build(), np.array(rows)


@settings(max_examples=100, deadline=None)
@given(circuits(), st.sampled_from(MODES), st.integers(0, 2**32), st.booleans())
def test_toggles_and_arrivals_are_those_of_one_event_at_a_time(drawn, mode, seed, held):
    netlist, delays = drawn
    circuit = TimedNetlist(netlist=netlist, mode=mode, grid_ps=1.0, delay_steps=delays)
    rng = np.random.default_rng(seed)
    width = {name: len(nets) for name, nets in netlist.input_ports.items()}
    before, after = ({name: rng.integers(0, 1 << bits, 20) for name, bits in width.items()} for _ in "ab")
    if held:
        after["b"] = before["b"] = np.full(20, before["b"][0])
    toggles, arrivals = all_transitions(circuit, before, after)
    moving = ["a"] if held else ["a", "b"]
    stimulus = pack(netlist, {n: before[n] for n in moving}, {n: after[n] for n in moving})
    found = simulate(circuit, stimulus, {"b": int(before["b"][0])} if held else {})
    assert found.toggles.tolist() == toggles.tolist()
    assert found.arrival_steps.tolist() == arrivals.tolist()
    assert found.arrival_steps.max() <= found.bound_steps


def random_values(netlist, count, rng):
    return {name: rng.integers(0, 1 << len(nets), count) for name, nets in netlist.input_ports.items()}


def mac(style, bits, *, technology="generic", mode="inertial", grid_ps=10.0):
    design = MacDesign(style=style, weight_bits=bits, activation_bits=bits, sum_bits=2 * bits + 3)
    return on_grid(annotate(generate_mac(design), embedded_library(technology)), grid_ps=grid_ps, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("style", "bits"), [("array", 2), ("booth", 3), ("booth", 5), ("array", 8)])
def test_multipliers_switch_as_one_event_at_a_time(style, bits, mode):
    timed = mac(style, bits, mode=mode)
    rng = np.random.default_rng(bits)
    before, after = (random_values(timed.netlist, 12, rng) for _ in "ab")
    toggles, arrivals = all_transitions(timed, before, after)
    found = simulate(timed, pack(timed.netlist, before, after))
    assert found.toggles.tolist() == toggles.tolist()
    assert found.arrival_steps.tolist() == arrivals.tolist()


@pytest.mark.parametrize("mode", ["inertial", "transport"])
@pytest.mark.parametrize(
    ("style", "bits", "grid_ps"), [("array", 8, 10.0), ("booth", 8, 10.0), ("booth", 4, 2.0)]
)
def test_multipliers_switch_as_in_icarus_verilog(style, bits, grid_ps, mode, tmp_path):
    timed = mac(style, bits, mode=mode, grid_ps=grid_ps)
    rng = np.random.default_rng(7)
    before, after = (random_values(timed.netlist, 40, rng) for _ in "ab")
    after["weight"] = before["weight"] = np.full(40, 77 % (1 << bits))
    toggles, arrivals = icarus.run(timed, before, after, tmp_path)
    moving = ("activation", "partial")
    stimulus = pack(timed.netlist, {n: before[n] for n in moving}, {n: after[n] for n in moving})
    found = simulate(timed, stimulus, {"weight": 77 % (1 << bits)})
    assert found.toggles.tolist() == toggles.tolist()
    assert found.arrival_steps.tolist() == arrivals.tolist()


def inverters(delays):
    """A chain of inverters, one for each delay."""
    inverter = Kind(cell="INV", output="Y", pins=("A",), table=0b01)
    builder = NetlistBuilder("chain")
    (net,) = builder.input_port("a", 1)
    for _ in delays:
        net = builder.gate(inverter, [net])
    builder.output_port("y", [net])
    rows = np.zeros((len(delays), MAX_PINS), int)
    rows[:, 0] = delays
    return builder.build(), rows


def pulse(late, width, mode):
    """A pulse of a AND NOT a, `width` steps long, into a buffer of delay `late`."""
    builder = NetlistBuilder("pulse")
    (a,) = builder.input_port("a", 1)
    inverter = Kind(cell="INV", output="Y", pins=("A",), table=0b01)
    both = Kind(cell="AND2", output="Y", pins=("A", "B"), table=0b1000)
    buffer = Kind(cell="BUF", output="Y", pins=("A",), table=0b10)
    product = builder.gate(both, [a, builder.gate(inverter, [a])])
    builder.output_port("y", [builder.gate(buffer, [product])])
    delays = np.zeros((3, MAX_PINS), int)
    delays[0, 0], delays[1, :2], delays[2, 0] = width, 1, late
    return TimedNetlist(netlist=builder.build(), mode=mode, grid_ps=1.0, delay_steps=delays)


def test_a_change_runs_through_a_chain_in_the_sum_of_its_delays():
    netlist, delays = inverters([3, 5, 1])
    timed = TimedNetlist(netlist=netlist, mode="inertial", grid_ps=1.0, delay_steps=delays)
    found = simulate(timed, pack(netlist, {"a": [0, 1, 1]}, {"a": [1, 1, 0]}))
    assert found.toggles.tolist() == [2, 2, 2]
    assert found.arrival_steps.tolist() == [9, -1, 9]  # 3 + 5 + 1
    assert found.bound_steps == 9


@pytest.mark.parametrize(
    ("late", "width", "mode", "toggles", "arrival"),
    [
        (4, 4, "inertial", [1, 2, 2], 9),  # up at 1 + 4, down at 1 + 4 + 4
        (5, 4, "inertial", [1, 2, 0], -1),  # too short for the buffer
        (12, 4, "inertial", [1, 2, 0], -1),
        (12, 12, "inertial", [1, 2, 2], 25),  # 1 + 12 + 12
        (5, 4, "transport", [1, 2, 2], 10),
        (4, 4, "zero", [1, 0, 0], -1),
    ],
)
def test_a_pulse_passes_unless_it_is_shorter_than_the_delay(late, width, mode, toggles, arrival):
    timed = pulse(late, width, mode)
    found = simulate(timed, pack(timed.netlist, {"a": [0]}, {"a": [1]}))
    assert found.toggles.tolist() == toggles
    assert found.arrival_steps.tolist() == [arrival]


def test_transitions_that_do_not_fill_a_row_are_counted_once():
    netlist, delays = inverters([2])
    timed = TimedNetlist(netlist=netlist, mode="inertial", grid_ps=1.0, delay_steps=delays)
    before = np.arange(1300) & 1
    found = simulate(timed, pack(netlist, {"a": before}, {"a": 1 - before}))
    assert found.toggles.tolist() == [1300]
    assert found.arrival_steps.tolist() == [2] * 1300


def test_a_held_input_keeps_gates_still_and_shortens_the_bound():
    timed = mac("array", 4)
    rng = np.random.default_rng(0)
    before, after = (random_values(timed.netlist, 600, rng) for _ in "ab")
    moving = ("activation", "partial")
    stimulus = pack(timed.netlist, {n: before[n] for n in moving}, {n: after[n] for n in moving})
    free = simulate(timed, pack(timed.netlist, before, after))
    held = simulate(timed, stimulus, {"weight": 0})
    assert held.bound_steps < free.bound_steps
    assert held.toggles.sum() < free.toggles.sum()
    assert (held.toggles == 0).sum() > (free.toggles == 0).sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "zeros"}, "unknown mode 'zeros', did you mean 'zero'?"),
        ({"grid_ps": 0.0}, "the grid must be above 0 ps, got 0"),
        ({"delay_steps": np.zeros((2, 6), int)}, "delays must have the shape (1, 6)"),
        ({"delay_steps": np.zeros((1, 6), int)}, "a delay of netlist 'chain' is below one step"),
    ],
)
def test_a_circuit_that_cannot_be_says_why(change, message):
    netlist, delays = inverters([2])
    fields = {"netlist": netlist, "mode": "zero", "grid_ps": 1.0, "delay_steps": delays, **change}
    with pytest.raises(NetlistError, match=f"^{re.escape(message)}$"):
        TimedNetlist(**fields)


def test_inputs_need_one_value_each():
    timed = mac("array", 2)
    one = {"weight": [0], "activation": [0]}
    for call, message in (
        (lambda: pack(timed.netlist, {"weigth": [0]}, {"weigth": [0]}),
         "netlist 'mac_array_s2_s2_7' has no input 'weigth', did you mean 'weight'?"),
        (lambda: pack(timed.netlist, {"weight": [0]}, {"weight": [0, 1]}),
         "every bus needs as many values before as after, and as many as the others"),
        (lambda: simulate(timed, pack(timed.netlist, one, one)),
         "input 'partial' of netlist 'mac_array_s2_s2_7' has no value"),
        (lambda: simulate(timed, pack(timed.netlist, one, one), {"weight": 1, "partial": 0}),
         "input 'weight' of netlist 'mac_array_s2_s2_7' is held and changes"),
        (lambda: simulate(timed, pack(mac("array", 3).netlist, one, one)),
         "these transitions are of another netlist than 'mac_array_s2_s2_7'"),
    ):  # fmt: skip
        with pytest.raises(NetlistError, match=f"^{re.escape(message)}$"):
            call()


def test_a_grid_far_too_fine_is_refused():
    netlist, delays = inverters([20_000, 20_000])
    timed = TimedNetlist(netlist=netlist, mode="inertial", grid_ps=0.5, delay_steps=delays)
    message = "netlist 'chain' takes up to 40,000 steps of 0.5 ps, more than 30,000: take a coarser grid"
    with pytest.raises(NetlistError, match=f"^{message}$"):
        simulate(timed, pack(netlist, {"a": [0]}, {"a": [1]}))

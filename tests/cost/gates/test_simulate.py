"""Fast simulation against one event at a time, and against Icarus Verilog."""

import numpy as np
from event_twin import all_transitions
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.cost.gates.netlist import MAX_PINS, Kind, NetlistBuilder
from chipfit.cost.gates.simulate import MODES, TimedNetlist, pack, simulate


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


@settings(max_examples=150, deadline=None)
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

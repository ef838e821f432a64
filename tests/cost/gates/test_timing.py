"""Static timing, against paths walked one by one."""

import itertools

import numpy as np
import pytest

from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.effort import embedded_library, kind
from chipfit.cost.gates.generate import STYLES, MacDesign, generate_mac
from chipfit.cost.gates.logic import evaluate
from chipfit.cost.gates.netlist import ONE, ZERO, Netlist, NetlistBuilder
from chipfit.cost.gates.timing import UNKNOWN, arrival_times, delay_per_value, held_values
from chipfit.errors import NetlistError


def priced(style="array", bits=3, sum_bits=7):
    netlist = generate_mac(MacDesign(style=style, weight_bits=bits, activation_bits=bits, sum_bits=sum_bits))
    return annotate(netlist, embedded_library())


def latest_by_walking(circuit):
    """The longest path to each net from the inputs, by going back over all of them."""
    netlist, known = circuit.netlist, {}
    driver = {int(net): gate for gate, net in enumerate(netlist.output)}

    def walk(net):
        if net not in driver:
            return 0.0
        if net not in known:
            gate = driver[net]
            pins = netlist.inputs[gate][: netlist.pins[gate]]
            known[net] = max(walk(int(n)) + circuit.delay_ps[gate, k] for k, n in enumerate(pins))
        return known[net]

    return [walk(net) for net in range(2, len(netlist.nets))]


@pytest.mark.parametrize("style", STYLES)
def test_the_latest_change_is_the_longest_path(style):
    circuit = priced(style)
    times = arrival_times(circuit)
    assert times.latest_ps[2:] == pytest.approx(latest_by_walking(circuit))
    assert (times.earliest_ps[2:] <= times.latest_ps[2:]).all()
    assert np.isnan(times.latest_ps[:2]).all()


def test_the_critical_path_adds_up_to_the_delay():
    circuit = priced()
    times = arrival_times(circuit)
    netlist, path = circuit.netlist, times.critical_path()
    total, index = 0.0, {name: net for net, name in enumerate(netlist.nets)}
    for before, after in itertools.pairwise(path):
        gate = int((netlist.output == index[after]).argmax())
        total += circuit.delay_ps[gate, netlist.inputs[gate].tolist().index(index[before])]
    assert total == pytest.approx(times.delay_ps)
    assert index[path[0]] in {net for nets in netlist.input_ports.values() for net in nets}
    assert index[path[-1]] in netlist.port("sum")


def chain():
    """y = !(a b), z = y ^ c, with a path from c that is shorter."""
    builder = NetlistBuilder("chain")
    a, b, c = (builder.input_port(name, 1)[0] for name in "abc")
    y = builder.gate(kind("NAND2"), [a, b])
    builder.output_port("z", [builder.gate(kind("XOR2"), [y, c])])
    return annotate(builder.build(), embedded_library())


def test_a_held_input_stops_the_paths_through_it():
    # tau 5 ps. NAND2 drives an XOR2 pin: 2 + 3 + 0.6; XOR2 drives an output: 4 + 1.
    nand, xor = 5 * 5.6, 5 * 5.0
    circuit = chain()
    free = arrival_times(circuit)
    assert (free.delay_ps, free.earliest_ps[6]) == pytest.approx((nand + xor, xor))
    assert arrival_times(circuit, {"a": 1}).delay_ps == pytest.approx(nand + xor)
    # a = 0 holds y at 1: b changes nothing, c still does.
    held = arrival_times(circuit, {"a": 0})
    assert held.delay_ps == pytest.approx(xor)
    assert held.critical_path() == ["c", "n1"]
    assert held.value[5] == 1
    assert np.isnan(held.latest_ps[5])
    # Nothing changes any more.
    still = arrival_times(circuit, {"a": 0, "c": 1})
    assert (still.delay_ps, still.critical_path(), still.value[6]) == (0.0, [], 0)


@pytest.mark.parametrize("style", STYLES)
def test_held_nets_are_those_that_no_other_input_moves(style):
    circuit = priced(style)
    netlist = circuit.netlist
    every_net = Netlist(
        **{
            **{name: getattr(netlist, name) for name in netlist.__dataclass_fields__},
            "output_ports": {"all": tuple(range(len(netlist.nets)))[:48]},
        }
    )
    activation, partial = (grid.ravel() for grid in np.meshgrid(np.arange(8), np.arange(128)))
    for weight in range(-4, 4):
        times = arrival_times(circuit, {"weight": weight})
        inputs = {"weight": np.full(len(partial), weight), "activation": activation, "partial": partial}
        seen = evaluate(every_net, inputs)["all"]
        for net in range(min(48, len(netlist.nets))):
            bits = seen >> np.uint64(net) & np.uint64(1)
            if times.value[net] != UNKNOWN:
                assert (bits == times.value[net]).all()


@pytest.mark.parametrize("style", STYLES)
def test_no_weight_is_slower_than_all_of_them(style):
    circuit = priced(style, bits=8, sum_bits=22)
    delays = delay_per_value(circuit, "weight", range(-128, 128))
    assert delays.max() <= arrival_times(circuit).delay_ps
    assert delays.argmin() == 128  # zero: the partial sum alone goes through
    assert delays[128] > 0


def test_other_delays_can_be_given():
    circuit = chain()
    delay_ps = np.ones_like(circuit.delay_ps)
    assert arrival_times(circuit, delay_ps=delay_ps).delay_ps == 2.0


def test_held_values_are_the_bits_of_a_number():
    netlist = priced().netlist
    value = held_values(netlist, {"weight": -3})
    assert [value[net] for net in netlist.port("weight")] == [1, 0, 1]
    assert (value[ZERO], value[ONE], value[netlist.port("sum")[0]]) == (0, 1, UNKNOWN)


def test_what_cannot_be_held_is_named():
    circuit = priced()
    with pytest.raises(NetlistError) as caught:
        arrival_times(circuit, {"wieght": 1})
    assert str(caught.value) == (
        "netlist 'mac_array_s3_s3_7' has no input 'wieght'; it has weight, activation, partial"
    )
    with pytest.raises(NetlistError) as caught:
        arrival_times(circuit, {"weight": 8})
    assert str(caught.value) == "8 does not fit the 3 bits of input 'weight'"

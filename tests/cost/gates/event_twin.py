"""The slow, obvious simulator: one transition, one event at a time, in plain Python."""

import heapq
from collections import defaultdict

import numpy as np

from chipfit.cost.gates.netlist import ONE, ZERO


def settled(netlist, given):
    """Value of every net when the inputs have been still for long."""
    value = {ZERO: 0, ONE: 1, **given}
    for gate in range(netlist.gates):
        kind = netlist.kinds[netlist.kind[gate]]
        case = sum(value[net] << pin for pin, net in enumerate(netlist.inputs[gate][: len(kind.pins)]))
        value[netlist.output[gate]] = kind.value(case)
    return value


def one_transition(netlist, delay_steps, inertial, before, after):
    """Toggles of every gate, and the last step in which an output of the circuit changes (or -1)."""
    value = settled(netlist, before)
    kinds = [netlist.kinds[k] for k in netlist.kind]
    matters = [
        [
            p
            for p in range(len(k.pins))
            if any(k.value(i) != k.value(i ^ 1 << p) for i in range(1 << len(k.pins)))
        ]
        for k in kinds
    ]
    fastest = [min((delay_steps[g][p] for p in matters[g]), default=1) for g in range(netlist.gates)]
    seen = [[value[net] for net in netlist.inputs[g][: len(kinds[g].pins)]] for g in range(netlist.gates)]
    wish = [value[netlist.output[g]] for g in range(netlist.gates)]
    latest_order = [0] * netlist.gates  # of the output change that still counts, under inertial delay
    readers = defaultdict(list)
    for g in range(netlist.gates):
        for p in matters[g]:
            readers[netlist.inputs[g][p]].append((g, p))
    toggles = [0] * netlist.gates
    events, order = [], 0
    outputs = {net for nets in netlist.output_ports.values() for net in nets}
    last = -1

    def change(net, time, new):
        nonlocal order
        value[net] = new
        for g, p in readers[net]:
            order += 1
            heapq.heappush(events, (time + int(delay_steps[g][p] - fastest[g]), 1, order, g, p, new))

    for net, new in after.items():
        if value[net] != new:
            change(net, 0, new)
    while events:
        time, touched = events[0][0], set()
        while events and events[0][0] == time:
            _, phase, number, g, p, new = heapq.heappop(events)
            if phase == 1:  # a pin sees its net
                seen[g][p] = new
                touched.add(g)
            elif not (inertial and number != latest_order[g]) and value[netlist.output[g]] != new:
                toggles[g] += 1
                if netlist.output[g] in outputs:
                    last = time
                change(netlist.output[g], time, new)
        for g in touched:
            new = kinds[g].value(sum(bit << p for p, bit in enumerate(seen[g])))
            if new != wish[g]:
                wish[g] = new
                order += 1
                latest_order[g] = order
                heapq.heappush(events, (time + int(fastest[g]), 0, order, g, -1, new))
    return toggles, last


def all_transitions(circuit, before, after):
    """Toggles of every gate over all transitions, and the last change of an output in each.

    Args:
        circuit: with delays.
        before, after: values of every input bus, one a transition.
    """
    netlist = circuit.netlist
    toggles, arrivals = np.zeros(netlist.gates, int), []
    for i in range(len(next(iter(before.values())))):
        states = []
        for values in (before, after):
            bits = {}
            for name, nets in netlist.input_ports.items():
                bits |= {net: int(values[name][i]) >> bit & 1 for bit, net in enumerate(nets)}
            states.append(bits)
        if circuit.mode == "zero":
            one, other = (settled(netlist, state) for state in states)
            toggles += [one[q] != other[q] for q in netlist.output]
            arrivals.append(-1)
        else:
            found = one_transition(netlist, circuit.delay_steps, circuit.mode == "inertial", *states)
            toggles += found[0]
            arrivals.append(found[1])
    return toggles, np.array(arrivals)

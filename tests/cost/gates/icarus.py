"""The same circuit in Icarus Verilog, event by event.

Icarus sees each of several simultaneous events by itself, and a change that a later one at the same time
takes back restarts an inertial delay. So every gate waits with its function until all its pins
have settled at that time: pins are delayed to the nonblocking region, the function follows in a second one.
"""

import shutil
import subprocess

import numpy as np
import pytest

from chipfit.cost.gates.netlist import ONE, ZERO


def _gate(netlist, timed, gate):
    kind = netlist.kinds[netlist.kind[gate]]
    nets, delays = netlist.inputs[gate][: len(kind.pins)], timed.delay_steps[gate]
    fastest = min(delays[: len(nets)])
    lines, pins, constants = [f"  reg x{gate};"], [], {ZERO: "1'b0", ONE: "1'b1"}
    for pin, net in enumerate(nets):
        if net in constants:
            pins.append(constants[net])
            continue
        pins.append(f"p{gate}_{pin}")
        lines.append(f"  reg {pins[-1]}; always @(n{net}) {pins[-1]} <= #{delays[pin] - fastest} n{net};")
    changing = [pin for pin in pins if pin.startswith("p")]
    table = f"{1 << len(nets)}'d{kind.table}"
    lines.append(f"  wire [{(1 << len(nets)) - 1}:0] t{gate} = {table};")
    start = f"always @({' or '.join(changing)})" if changing else "initial"
    lines.append(f"  {start} x{gate} <= t{gate}[{{{', '.join(reversed(pins))}}}];")
    out = f"n{netlist.output[gate]}"
    if timed.mode == "inertial":
        lines.append(f"  wire {out}; assign #{fastest} {out} = x{gate};")
    else:
        lines.append(f"  reg {out}; always @(x{gate}) {out} <= #{fastest} x{gate};")
    lines.append(f"  integer c{gate} = 0; always @({out}) if (counting) c{gate} = c{gate} + 1;")
    return lines


def program(timed, before, after):
    """A test bench that prints the last change of an output in each transition, then all toggles."""
    netlist = timed.netlist
    inputs = [net for nets in netlist.input_ports.values() for net in nets]
    outputs = sorted({net for nets in netlist.output_ports.values() for net in nets} - {ZERO, ONE})
    settle = int(timed.delay_steps.max(axis=1).sum()) + 10

    def drive(values, i):
        for name, nets in netlist.input_ports.items():
            yield from (f"n{net} = {int(values[name][i]) >> bit & 1};" for bit, net in enumerate(nets))

    lines = [
        "`timescale 1ps/1ps",
        "module bench;",
        "  reg counting = 0; integer start = 0; integer last = -1;",
    ]
    lines += [f"  reg n{net};" for net in inputs]
    for gate in range(netlist.gates):
        lines += _gate(netlist, timed, gate)
    events = " or ".join(f"n{net}" for net in outputs if net not in inputs)
    lines.append(f"  always @({events}) if (counting) last = $time - start;")
    lines.append("  initial begin")
    for i in range(len(before["weight"])):
        lines.append(f"    {' '.join(drive(before, i))} #{settle} counting = 1; start = $time; last = -1;")
        lines.append(f'    {" ".join(drive(after, i))} #{settle} counting = 0; $display("%0d", last);')
    lines += [f'    $display("%0d", c{gate});' for gate in range(netlist.gates)]
    return "\n".join([*lines, "    $finish;", "  end", "endmodule", ""])


def run(timed, before, after, folder):
    """Toggles of every gate and the last change of an output in each transition, as Icarus sees them.

    The calling test is skipped where there is no Icarus Verilog.
    """
    if shutil.which("iverilog") is None:
        pytest.skip("NO ICARUS VERILOG: toggles are not compared with it; install iverilog to do it")
    (folder / "bench.v").write_text(program(timed, before, after))
    subprocess.run(["iverilog", "-g2012", "-o", "bench", "bench.v"], cwd=folder, check=True, timeout=120)
    done = subprocess.run(
        ["vvp", "bench"], cwd=folder, check=True, capture_output=True, text=True, timeout=120
    )
    numbers = np.array([int(line) for line in done.stdout.split()])
    count = len(before["weight"])
    return numbers[count:], numbers[:count]

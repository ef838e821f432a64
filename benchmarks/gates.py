"""Gate simulators side by side on the same netlists, and how far tables of weight values can be trusted.

Speeds are transitions of all inputs but the weight, a second of processor time of one thread, every
toggle of every gate counted. KyuPy is installed into a folder of its own; Icarus Verilog and
Verilator are used where they are installed.

    python benchmarks/gates.py [--liberty FILE.lib] [--skip-peers | --units]
"""

from __future__ import annotations

import argparse
import itertools
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.cells import CellLibrary
from chipfit.cost.gates.characterise import characterise, read_unit
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import ACCUMULATES, ADDERS, MacDesign, generate_mac
from chipfit.cost.gates.liberty import load_liberty
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.retarget import map_to
from chipfit.cost.gates.simulate import MODES, TimedNetlist, on_grid, pack, simulate
from chipfit.cost.gates.statistics import OperandStatistics, declared
from chipfit.cost.gates.table import WeightTable

STYLES = ("array", "booth")
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
LIBRARY = embedded_library()

KYUPY = """
import sys, time
import numpy as np
from kyupy import wave_sim
from kyupy.circuit import Circuit, Line, Node
sims, blocks = int(sys.argv[2]), int(sys.argv[3])
circuit, nets, lines = Circuit("mac"), {}, []
def net(name):
    if name not in nets:
        nets[name] = Node(circuit, name)
    return nets[name]
for number, text in enumerate(open(sys.argv[1])):
    kind, out, *pins = text.split()
    node = Node(circuit, f"u{number}", kind)
    if kind in ("input", "output"):
        circuit.io_nodes.append(node)
    if kind == "output":
        Line(circuit, net(out), node)
        continue
    toggling = Line(circuit, node, net(out))
    lines.append((toggling, 0.0, kind != "input"))
    for pin in pins:
        name, delay_ps = pin.split(":")
        lines.append((Line(circuit, net(name), node), float(delay_ps), False))
delays = np.zeros((1, len(circuit.lines), 2, 2), dtype=np.float32)
count = np.zeros((len(circuit.lines) + 3, 3), dtype=np.int32)
count[:, 0] = -1
for line, delay_ps, counted in lines:
    delays[0, line.index] = delay_ps
    if counted:
        count[line.index] = 1 + count[:, 0].max(), 1, 1
simulator = wave_sim.WaveSim(circuit, delays, sims, 48, a_ctrl=count, c_reuse=True, strip_forks=True)
rng = np.random.default_rng(0)
simulator.s[1] = 0
def run():
    simulator.s[0], simulator.s[2] = rng.integers(0, 2, (2, *simulator.s[0].shape))
    simulator.s_to_c()
    simulator.c_prop()
run()
start = time.process_time()
for _ in range(blocks):
    run()
taken = time.process_time() - start
print(sims * blocks / taken, simulator.abuf.sum() / sims / (blocks + 1))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--liberty", type=Path, default=OSU018, help="a real library to compare with")
    parser.add_argument("--skip-peers", action="store_true", help="only our own simulators")
    parser.add_argument("--units", action="store_true", help="only compare generated units")
    options = parser.parse_args()
    if options.units:
        units(options.liberty)
        return
    netlists = {style: generate_mac(MacDesign(style=style)) for style in STYLES}
    whole_tables(netlists)
    speeds(netlists, peers=not options.skip_peers)
    fidelity(netlists, options.liberty)
    units(options.liberty)


def units(liberty: Path) -> None:
    """What the ways to build a unit do to its table: unsigned activations, after ReLU."""
    library = load_liberty(liberty) if liberty.is_file() else None
    print("\n| unit | gates | area, um2 | mean energy | weight 0 of the dearest | cheapest 32 of the mean "
          "| longest delay seen | static |\n|" + "---|" * 8)  # fmt: skip
    for style, accumulate, adder in itertools.product(STYLES, ACCUMULATES, ADDERS):
        netlist = generate_mac(
            MacDesign(style=style, accumulate=accumulate, adder=adder, activation_signed=False)
        )
        found = table(netlist)
        area_um2 = annotate(map_to(netlist, library), library).area_um2 if library else None
        energies = np.array(found.energy_j)
        cells = [
            f"{style}, {accumulate}, {adder}", f"{netlist.gates}", f"{area_um2:.0f}" if area_um2 else "",
            f"{1e15 * energies.mean():.0f} fJ", f"{energies[128] / energies.max():.3f}",
            f"{np.sort(energies)[:32].mean() / energies.mean():.2f}",
            f"{1e9 * max(found.delay_s):.2f} ns", f"{1e9 * found.static_delay_s:.2f} ns",
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


def operands(netlist: Netlist, name: str = "relu") -> OperandStatistics:
    unit = read_unit(netlist)
    return declared(
        name, weight_bits=unit.weight_bits, activation_bits=unit.activation_bits, sum_bits=unit.sum_bits,
        activation_signed=unit.activation_signed, rng=np.random.default_rng(0),
    )  # fmt: skip


def table(netlist: Netlist, library: CellLibrary = LIBRARY, **options: object) -> WeightTable:
    return characterise(netlist, library, operands(netlist), **options)  # type: ignore[arg-type]


def whole_tables(netlists: dict[str, Netlist]) -> None:
    """Seconds of all 256 weights x 65,536 transitions, energy and delay each over as many."""
    print("\nEnergy and delay of 256 weights, 65,536 transitions each for energy and as many for delay")
    for style, netlist in netlists.items():
        table(netlist, transitions=512)  # compiles
        start = time.process_time()
        table(netlist, transitions=None)
        taken_s = time.process_time() - start
        rate = 2 * 256 * 65536 / taken_s
        print(f"  {style:6} inertial, 10 ps: {taken_s:.2f} s, {rate / 1e6:.1f} M transitions/s")


def random_stimulus(netlist: Netlist, count: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    ports = {name: len(nets) for name, nets in netlist.input_ports.items() if name != "weight"}
    before, after = ({n: rng.integers(0, 1 << bits, count) for n, bits in ports.items()} for _ in "ab")
    return before, after


def our_rate(timed: TimedNetlist, weights: int = 64, count: int = 65536) -> float:
    """Transitions a second over evenly spread weights."""
    stimulus = pack(timed.netlist, *random_stimulus(timed.netlist, count))
    simulate(timed, stimulus, {"weight": 1})
    start = time.process_time()
    for weight in np.linspace(-128, 127, weights).astype(int).tolist():
        simulate(timed, stimulus, {"weight": weight})
    return weights * count / (time.process_time() - start)


def our_free_rate(timed: TimedNetlist, count: int = 65536, repeats: int = 10) -> float:
    """Transitions a second when the weight changes too: nothing is constant."""
    before, after = random_stimulus(timed.netlist, count)
    rng = np.random.default_rng(1)
    before["weight"], after["weight"] = rng.integers(0, 256, (2, count))
    stimulus = pack(timed.netlist, before, after)
    start = time.process_time()
    for _ in range(repeats):
        simulate(timed, stimulus)
    return repeats * count / (time.process_time() - start)


def speeds(netlists: dict[str, Netlist], *, peers: bool) -> None:
    print("\nTransitions a second, one thread, toggles of every gate counted")
    print(f"  {'simulator':44} {'array':>10} {'booth':>10}")
    timed = {s: annotate(n, LIBRARY) for s, n in netlists.items()}
    rows: list[tuple[str, Callable[[str], float | None]]] = [
        *((f"ours, {mode}{'' if mode == 'zero' else ', 10 ps'}, weight held",
           lambda s, mode=mode: our_rate(on_grid(timed[s], mode=mode))) for mode in MODES),
        *((f"ours, {mode}{'' if mode == 'zero' else ', 10 ps'}, all inputs change",
           lambda s, mode=mode: our_free_rate(on_grid(timed[s], mode=mode))) for mode in MODES),
    ]  # fmt: skip
    if peers:
        folder = Path(tempfile.mkdtemp(prefix="chipfit-gates-"))
        rows += [
            ("KyuPy WaveSim, all inputs change", lambda s: kyupy_rate(on_grid(timed[s]), folder)),
            (
                "Icarus, pin-to-pin inertial, all inputs change",
                lambda s: icarus_rate(on_grid(timed[s]), folder),
            ),
            ("Verilator, zero delay, all inputs change", lambda s: verilator_rate(netlists[s], folder)),
        ]
    found: dict[str, list[float | None]] = {}
    for name, rate in rows:
        found[name] = [rate(style) for style in STYLES]
        print(f"  {name:44} " + " ".join(f"{_count(r):>10}" for r in found[name]), flush=True)
    if peers:
        shutil.rmtree(folder)
        print("\nOurs against them, times (weight held: as tables are made | all inputs change)")
        ours = list(found.values())
        for name, mode in (("KyuPy", 0), ("Icarus", 0), ("Verilator", 2)):
            theirs = next(rates for key, rates in found.items() if key.startswith(name))
            cells = [
                f"{held / r:,.0f} | {free / r:,.0f}" if r and held and free else "not measured"
                for held, free, r in zip(ours[mode], ours[mode + 3], theirs, strict=True)
            ]
            print(f"  {name:12} {MODES[mode]:10} " + "   ".join(f"{cell:>16}" for cell in cells))


def _count(rate: float | None) -> str:
    if rate is None:
        return "–"
    return f"{rate / 1e6:.1f} M" if rate >= 1e6 else f"{rate / 1e3:.1f} k"


def _expression(netlist: Netlist, gate: int) -> str:
    """The function of a gate as an expression of its pins p0, p1, ...: a sum of products."""
    kind = netlist.kinds[netlist.kind[gate]]
    pins = len(kind.pins)
    terms = [
        "&".join(f"{'' if case >> k & 1 else '~'}{{p{k}}}" for k in range(pins))
        for case in range(1 << pins)
        if kind.value(case)
    ]
    known = {
        "INV": "~{p0}", "NAND2": "~({p0}&{p1})", "NOR2": "~({p0}|{p1})", "AND2": "{p0}&{p1}",
        "OR2": "{p0}|{p1}",
        "XOR2": "{p0}^{p1}", "XNOR2": "~({p0}^{p1})", "AOI22": "~(({p0}&{p1})|({p2}&{p3}))",
        "AOI21": "~(({p0}&{p1})|{p2})", "OAI21": "~(({p0}|{p1})&{p2})",
    }  # fmt: skip
    return known.get(kind.cell, "|".join(f"({term})" for term in terms) or "1'b0")


def kyupy_rate(timed: TimedNetlist, folder: Path) -> float | None:
    """KyuPy, installed into a folder of its own beside our numpy and numba."""
    place = folder / "kyupy"
    if not place.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            str(place),
            "kyupy",
            "lark",
        ]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
    netlist = timed.netlist
    kinds = {"INV": "inv1", "MUX2": "mux21"}
    lines = [f"input n{net}" for net in _ports(netlist)]
    for gate in range(netlist.gates):
        kind = netlist.kinds[netlist.kind[gate]]
        pins = zip(netlist.inputs[gate], timed.delay_steps[gate], kind.pins, strict=False)
        ends = " ".join(f"n{net}:{steps * timed.grid_ps}" for net, steps, _ in pins)
        lines.append(f"{kinds.get(kind.cell, kind.cell.lower())} n{netlist.output[gate]} {ends}")
    lines += [f"output n{net}" for nets in netlist.output_ports.values() for net in nets]
    (folder / "mac.txt").write_text("\n".join(lines))
    command = [sys.executable, "-c", KYUPY, "mac.txt", "1024", "8"]
    environment = {"PYTHONPATH": str(place), "NUMBA_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.splitlines()[-1], file=sys.stderr)
        return None
    return float(done.stdout.splitlines()[-1].split()[0])


def _ports(netlist: Netlist) -> list[int]:
    return [net for nets in netlist.input_ports.values() for net in nets]


def icarus_rate(timed: TimedNetlist, folder: Path, count: int = 2000) -> float | None:
    """Icarus Verilog: a module a gate with a path delay from each pin, a counter a gate."""
    if shutil.which("iverilog") is None:
        return None
    netlist = timed.netlist
    inputs = _ports(netlist)
    cells, body = list[str](), list[str]()
    for gate in range(netlist.gates):
        nets = netlist.inputs[gate][: len(netlist.kinds[netlist.kind[gate]].pins)]
        pins = [f"p{k}" for k in range(len(nets))]
        value = _expression(netlist, gate).format(**{pin: pin for pin in pins})
        paths = " ".join(f"(p{k} => y) = {timed.delay_steps[gate, k]};" for k in range(len(nets)))
        cells.append(
            f"module g{gate}(output y, input {', '.join(pins)}); assign y = {value}; "
            f"specify {paths} endspecify endmodule"
        )
        out = netlist.output[gate]
        body.append(f"  wire n{out}; g{gate} u{gate}(n{out}, {', '.join(f'n{net}' for net in nets)});")
        body.append(f"  integer c{gate} = 0; always @(n{out}) c{gate} = c{gate} + 1;")
    drive = f"{{{', '.join(f'n{net}' for net in inputs)}}} = {{$random, $random}};"
    bench = [
        *cells, "module bench;", *(f"  reg n{net};" for net in inputs), *body,
        f"  integer i; initial begin for (i = 0; i < {count}; i = i + 1) begin {drive} #400; end",
        f'  $display("%0d", {" + ".join(f"c{g}" for g in range(netlist.gates))}); $finish; end', "endmodule",
    ]  # fmt: skip
    (folder / "bench.v").write_text("\n".join(bench))
    subprocess.run(["iverilog", "-g2012", "-gspecify", "-o", "bench", "bench.v"], cwd=folder, check=True)
    return count / _child_seconds(["vvp", "bench"], folder)


def verilator_rate(netlist: Netlist, folder: Path, count: int = 1_000_000) -> float | None:
    """Verilator: one module of assignments; each clock counts the nets that differ from before."""
    if shutil.which("verilator") is None:
        return None
    inputs = _ports(netlist)
    lines = [f"module bench(input clk, input [{len(inputs) - 1}:0] in);"]
    lines += [f"  wire n{net} = in[{i}];" for i, net in enumerate(inputs)]
    for gate in range(netlist.gates):
        nets = netlist.inputs[gate][: len(netlist.kinds[netlist.kind[gate]].pins)]
        value = _expression(netlist, gate).format(**{f"p{k}": f"n{net}" for k, net in enumerate(nets)})
        lines.append(f"  wire n{netlist.output[gate]} = {value};")
        lines.append(f"  reg o{gate}; reg [31:0] c{gate};")
        out = f"n{netlist.output[gate]}"
        count_it = f"c{gate} <= c{gate} + {{31'b0, {out} ^ o{gate}}}; o{gate} <= {out};"
        lines.append(f"  always @(posedge clk) begin {count_it} end")
    lines.append("endmodule")
    (folder / "zero.sv").write_text("\n".join(lines))
    (folder / "main.cpp").write_text(
        '#include "Vbench.h"\n#include <cstdint>\nint main() { Vbench t; uint64_t x = 1; '
        f"for (long i = 0; i < {count}; i++) {{ x ^= x << 13; x ^= x >> 7; x ^= x << 17; "
        "t.in = x >> 8; t.clk = 0; t.eval(); t.clk = 1; t.eval(); } }\n"
    )
    command = [
        "verilator", "--cc", "--exe", "--build", "-O3", "-CFLAGS", "-O3 -march=native", "--public-flat-rw",
        "-Wno-fatal", "--top-module", "bench", "zero.sv", "main.cpp", "--Mdir", f"obj_{netlist.name}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.splitlines()[-1], file=sys.stderr)
        return None
    return count / _child_seconds([f"obj_{netlist.name}/Vbench"], folder)


def _child_seconds(command: list[str], folder: Path) -> float:
    """Processor time of a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fidelity(netlists: dict[str, Netlist], liberty: Path) -> None:
    print(
        "\nHow tables agree: rank correlation (Spearman) of the energies of 256 weights, ratio of their means"
    )
    for style, netlist in netlists.items():
        fine = table(netlist, grid_ps=2.0, transitions=4096)
        for name, other in _others(netlist):
            print(f"  {style:6} {name:38} against inertial, 2 ps   {_agreement(other, fine)}", flush=True)
        few, whole = table(netlist), table(netlist, transitions=None)
        rms = np.sqrt(np.mean((np.array(few.energy_j) / np.array(whole.energy_j) - 1) ** 2))
        print(
            f"  {style:6} 1,024 transitions against 65,536: {_agreement(few, whole)}, rms {100 * rms:.2f} %"
        )
        gap = 1 - np.array(whole.delay_s) / np.array(whole.bound_s)
        print(
            f"  {style:6} delay seen below static timing with the weight held: mean {100 * gap.mean():.1f} %"
        )
        energies = np.array(whole.energy_j) / max(whole.energy_j)
        print(f"  {style:6} weight 0 takes {energies[128]:.2f} of the dearest, the cheapest 32 "
              f"{np.sort(energies)[:32].mean() / energies.mean():.2f} of the mean")  # fmt: skip
        if liberty.is_file():
            library = load_liberty(liberty)
            mapped = map_to(netlist, library)
            real = table(mapped, library, transitions=4096)
            energy, delay = (
                spearmanr(getattr(fine, name), getattr(real, name)).statistic
                for name in ("energy_j", "delay_s")
            )
            print(
                f"  {style:6} embedded cells against {library.name}: energy {energy:.4f}, delay {delay:.4f}"
            )
        else:
            print(f"  {style:6} no library {liberty}: not compared with a real one")
    array, booth = (table(netlists[style]) for style in STYLES)
    print(f"  array against booth: {_agreement(array, booth)}")


def _others(netlist: Netlist) -> Iterator[tuple[str, WeightTable]]:
    for grid_ps in (5.0, 10.0, 20.0, 40.0):
        yield f"inertial, {grid_ps:g} ps", table(netlist, grid_ps=grid_ps, transitions=4096)
    yield "transport, 10 ps", table(netlist, mode="transport", transitions=4096)
    yield "zero delay", table(netlist, mode="zero", transitions=4096)


def _agreement(one: WeightTable, other: WeightTable) -> str:
    rank = spearmanr(one.energy_j, other.energy_j).statistic
    return f"{rank:.4f}, {np.mean(one.energy_j) / np.mean(other.energy_j):.3f}"


if __name__ == "__main__":
    main()

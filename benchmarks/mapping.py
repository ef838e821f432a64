"""The exact mapper beside other mapping tools: time and energy, layer by layer, on the common targets.

Every layer that differs of ResNet-18, MobileNetV2 and ResNet-50 (224 x 224, batch 1) is mapped onto
`eye3` and `eye16` with 16-bit operands. Times are CPU milliseconds of one thread, the median of several
runs after one that is not counted. Energies are units of one 16-bit register access (1 pJ in the presets),
multiply-accumulates included. Beside them stand the rows that were measured with other tools before
(DATA/peers/mapping.csv).
Then: what a grid of bit widths takes, what new energies take, and what a second process takes to start.

    python benchmarks/mapping.py [DATA] [--objective edp] [--networks resnet18] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import RULES as TOOL_RULES
from chipfit.cost.mapping.model import SPACES, Answer, Counts, Mapping, Rules, Widths
from chipfit.hardware.load import load_target
from chipfit.hardware.target import MemoryLevel, Target
from chipfit.workload.library import load
from chipfit.workload.network import Layer, Loops

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TARGETS = ("eye3", "eye16")
WIDTHS = Widths(input=16, weight=16, output=16, partial_sum=16)
UNIT_J = 1e-12
TOOLS = {"timeloop": "Timeloop", "zigzag": "ZigZag", "accelforge": "AccelForge"}

#: As each tool counts; "skips" leaves out rows between those that a tile needs, which matters for strides.
COUNTING = {**TOOL_RULES, "accelforge-skips": replace(TOOL_RULES["accelforge"], skips=True)}
#: ZigZag fetches nothing between the rows that are needed (l3.0.down: 128 x 14 x 14 words of input), and
#: counts on `latched`.
COUNTING["zigzag"] = COUNTING["accelforge-skips"]

RULES = """\
How accesses are counted. Ours: a partial sum read out on its way to the next memory is charged (as
AccelForge does, Timeloop does not); inputs that several processing elements need leave the buffer once, as
the hull of their tiles (Timeloop and AccelForge share identical tiles only); a tile is fetched whole, and no
rows are kept from the one before (Timeloop keeps them along the innermost loop). ZigZag does not charge
repeated reads of an input or a weight in a register, so its register energy is lower by definition: with
--rules zigzag one of each stays beside the multiplier for nothing. Padding counts as input here.

Energies are theirs over ours. `=`: the same rules (AccelForge, 1 x 1 kernels of stride 1 and matrix
products), so 1.000 is agreement; it may also cut tiles unevenly, we do not here. `>`: the tool charges no
more for any one mapping (Timeloop, the same layers), so what is above 1 is a worse mapping. `~`: the rules
differ, and the ratio says little by itself. The peers were asked for the least energy, whatever --objective
says, and ran at another time on a like machine, which was shared as well; their seconds are CPU seconds of
one thread."""

STARTING = """
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import Widths
from chipfit.hardware.load import load_target
from chipfit.workload.network import Loops
find(Loops(K=4, C=4, P=4, Q=4), load_target("eye3"), Widths(input=16, weight=16, output=16, partial_sum=16))
"""

KNOWN = """
from chipfit.cost.mapping.analytical import Analytical
from chipfit.hardware.load import load_target
from chipfit.workload.library import load
Analytical().estimate(load("resnet18"), load_target("eye3"))
"""


# ---------------------------------------------------------------------------------------------
# Networks, as the peers were given them: no padding is left out


def conv(channels: int, filters: int, size: int, kernel: int, stride: int = 1, groups: int = 1) -> Loops:
    """A convolution of a square input of this size, padded to keep its size at stride 1."""
    outputs = (size - 1) // stride + 1
    return Loops(
        G=groups, K=filters // groups, C=channels // groups,
        P=outputs, Q=outputs, R=kernel, S=kernel, stride=(stride, stride),
    )  # fmt: skip


def resnet(blocks: tuple[int, ...], bottleneck: bool) -> Iterator[tuple[str, Loops]]:
    """He et al. 2016; in blocks of three layers the 3 x 3 one has the stride (as in torchvision)."""
    yield "conv1", conv(3, 64, 224, 7, 2)
    channels, size = 64, 56
    for stage, count in enumerate(blocks, 1):
        width = 32 * 2**stage
        filters = 4 * width if bottleneck else width
        for block in range(count):
            name, stride = f"l{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            after = size // stride
            if bottleneck:
                yield f"{name}.conv1", conv(channels, width, size, 1)
                yield f"{name}.conv2", conv(width, width, size, 3, stride)
                yield f"{name}.conv3", conv(width, filters, after, 1)
            else:
                yield f"{name}.conv1", conv(channels, width, size, 3, stride)
                yield f"{name}.conv2", conv(width, width, after, 3)
            if stride != 1 or channels != filters:
                yield f"{name}.down", conv(channels, filters, size, 1, stride)
            channels, size = filters, after
    yield "fc", Loops(K=1000, C=channels)


def mobilenetv2() -> Iterator[tuple[str, Loops]]:
    """Sandler et al. 2018, table 2: expansion, channels, blocks, stride."""
    yield "conv0", conv(3, 32, 224, 3, 2)
    channels, size, index = 32, 112, 0
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
    for expansion, filters, count, first in (*table, (6, 320, 1, 1)):
        for block in range(count):
            name, stride, hidden = f"b{index}", first if block == 0 else 1, expansion * channels
            if expansion != 1:
                yield f"{name}.exp", conv(channels, hidden, size, 1)
            yield f"{name}.dw", conv(hidden, hidden, size, 3, stride, groups=hidden)
            size //= stride
            yield f"{name}.proj", conv(hidden, filters, size, 1)
            channels, index = filters, index + 1
    yield "last", conv(channels, 1280, size, 1)
    yield "fc", Loops(K=1000, C=1280)


NETWORKS: dict[str, Callable[[], Iterator[tuple[str, Loops]]]] = {
    "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False),
    "mobilenetv2": mobilenetv2,
    "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True),
}


# ---------------------------------------------------------------------------------------------
# Ours


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer on one target."""

    target: str
    network: str
    layer: str
    count: int
    loops: Loops
    milliseconds: float
    least_milliseconds: float
    reprice_milliseconds: float
    energy: float
    cycles: float
    gap: float

    def value(self, objective: str) -> float:
        """What was asked for, in units (and cycles)."""
        return self.energy * (self.cycles if objective == "edp" else 1)


def cpu_ms(call: Callable[[int], object], runs: int) -> list[float]:
    """CPU times of `call(run)` after one run that is not counted (ms)."""
    call(0)
    found: list[float] = []
    for run in range(1, runs + 1):
        start = time.process_time()
        call(run)
        found.append(1e3 * (time.process_time() - start))
    return found


def priced_anew(target: Target, scale: float) -> Target:
    """The target with the energies of all but the main memory scaled."""
    levels = [replace(v, read_energy_j=v.read_energy_j * scale, write_energy_j=v.write_energy_j * scale)
              for v in target.levels[1:]]  # fmt: skip
    return replace(target, levels=(target.levels[0], *levels))


def latched(target: Target) -> Target:
    """The target as ZigZag counts: the last input and the last weight of an element are not read again.

    Each has a place of its own beside the multiplier, whose accesses are free. Sums are read and written each
    time (so in all its rows). The file of inputs comes last, so that the places have loops above them.
    """
    free = [
        MemoryLevel(
            name=f"last_{tensor}", word_bits=16, size_bits=16, read_energy_j=0.0, write_energy_j=0.0,
            holds=(tensor,), source="",
        )
        for tensor in ("input", "weight")
    ]  # fmt: skip
    files = sorted(target.levels[2:], key=lambda level: level.holds == ("input",))
    return replace(target, levels=(*target.levels[:2], *files, *free))


def counted(mapping: Mapping, loops: Loops, target: Target, counting: Rules) -> Counts:
    found = evaluate(mapping, loops, target, WIDTHS, mac_energy_j=loops.macs * UNIT_J, rules=counting)
    assert found is not None
    return found


def mapped(target_name: str, network: str, options: argparse.Namespace) -> Iterator[Row]:
    target, counting, runs = load_target(target_name), COUNTING[options.rules], options.runs
    if options.rules == "zigzag":
        target = latched(target)
    layers = list(NETWORKS[network]())
    names = {loops: name for name, loops in reversed(layers)}
    for loops, count in Counter(loops for _, loops in layers).items():
        if options.layers and names[loops] not in options.layers:
            continue

        def search(_: int, loops: Loops = loops) -> Answer:
            mac_j = loops.macs * UNIT_J
            return find(
                loops, target, WIDTHS, objective=options.objective, mac_energy_j=mac_j,
                space=SPACES[options.space], rules=counting,
            )  # fmt: skip

        answer = search(0)
        cost = counted(answer.mapping, loops, target, counting)
        others = [priced_anew(target, 1 + run / 10) for run in range(10 * runs + 1)]

        def reprice(
            run: int, mapping: Mapping = answer.mapping, loops: Loops = loops, chips: list[Target] = others
        ) -> Counts:
            return counted(mapping, loops, chips[run], counting)

        times = cpu_ms(search, runs)
        yield Row(
            target=target_name, network=network, layer=names[loops], count=count, loops=loops,
            milliseconds=statistics.median(times), least_milliseconds=min(times),
            reprice_milliseconds=statistics.median(cpu_ms(reprice, 10 * runs)),
            energy=cost.energy_j / UNIT_J, cycles=cost.cycles, gap=answer.gap,
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Theirs


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One layer as another tool mapped it."""

    seconds: float
    energy: float
    edp: float


Peers = dict[tuple[str, str, str, int], dict[str, Peer]]


def peer_rows(path: Path) -> Peers:
    """Rows by target, network, layer and multiply-accumulates; by tool."""
    found: Peers = {}
    if not path.is_file():
        print(f"no measured rows at {path}: ours stand alone")
        return found
    with path.open() as file:
        for row in csv.DictReader(file):
            tool = TOOLS.get(row["tool"].split("-")[0])
            if tool and row["arch"].lower() in TARGETS:
                key = (row["arch"].lower(), row["net"], row["layer"], int(row["macs"]))
                found.setdefault(key, {})[tool] = Peer(
                    seconds=float(row["cpu_s"]),
                    energy=float(row["energy"]),
                    edp=float(row["edp"] or "nan"),
                )
    return found


def rules(tool: str, loops: Loops) -> str:
    """How energies compare, see RULES."""
    plain = loops.R == loops.S == 1 and loops.stride == (1, 1)
    return {"AccelForge": "=", "Timeloop": ">"}.get(tool, "~") if plain else "~"


def table(rows: list[Row], peers: Peers, objective: str) -> None:
    """One network on one target, and sums over the layers that each tool finished."""
    first = rows[0]
    beside = [peers.get((row.target, row.network, row.layer, row.loops.macs), {}) for row in rows]
    tools = [tool for tool in TOOLS.values() if any(tool in found for found in beside)]
    columns = ["layer", "times", "ms", "energy", "cycles", "proven", "new energies, ms"]
    columns += [f"{tool}: s | × time | × {objective}" for tool in tools]
    print(f"\n### {first.network} on {first.target}, least {objective}\n")
    print(f"| {' | '.join(columns)} |")
    print("|" + "---|" * (len(columns) + 2 * len(tools)))
    for row, found in zip(rows, beside, strict=True):
        proven = "yes" if row.gap == 0 else f"gap {row.gap:.2%}"
        cells = [row.layer, str(row.count), f"{row.milliseconds:.2f}", f"{row.energy:.0f}"]
        cells += [f"{row.cycles:.0f}", proven, f"{row.reprice_milliseconds:.3f}"]
        for tool in tools:
            peer = found.get(tool)
            if peer is None:
                cells += ["", "", ""]
                continue
            value = getattr(peer, objective)
            ratio = "none found"
            if not math.isnan(value):
                ratio = f"{rules(tool, row.loops)} {value / row.value(objective):.3f}"
            cells += [f"{peer.seconds:.1f}", f"{1e3 * peer.seconds / row.milliseconds:.0f}", ratio]
        print(f"| {' | '.join(cells)} |")
    unproven = sum(row.gap > 0 for row in rows)
    print(
        f"\nours: {len(rows)} layers in {sum(row.milliseconds for row in rows):.1f} ms (least of all runs: "
        f"{sum(row.least_milliseconds for row in rows):.1f} ms), the slowest "
        f"{max(row.milliseconds for row in rows):.1f} ms, {len(rows) - unproven} proven; the network takes "
        f"{sum(row.count * row.energy for row in rows):.5g} units and "
        f"{sum(row.count * row.cycles for row in rows):.4g} cycles; new energies at most "
        f"{max(row.reprice_milliseconds for row in rows):.3f} ms a layer"
    )
    for tool in tools:
        pairs = [(row, found[tool]) for row, found in zip(rows, beside, strict=True) if tool in found]
        seconds = sum(peer.seconds for _, peer in pairs)
        ours = sum(row.milliseconds for row, _ in pairs) / 1e3
        done = [(row, peer) for row, peer in pairs if not math.isnan(getattr(peer, objective))]
        parts: list[str] = []
        for sign in "=>~":
            of_sign = [(row, peer) for row, peer in done if rules(tool, row.loops) == sign]
            if of_sign:
                theirs = sum(row.count * getattr(peer, objective) for row, peer in of_sign)
                value = sum(row.count * row.value(objective) for row, _ in of_sign)
                parts.append(f"{sign} {theirs / value:.4f} over {len(of_sign)} layers with their repeats")
        print(
            f"{tool}: {len(done)} of {len(rows)} layers, {seconds:.1f} s to our {ours:.4f} s on them "
            f"(× {seconds / ours:.0f}); × {objective}: {', '.join(parts)}"
        )


# ---------------------------------------------------------------------------------------------
# Grids of bit widths, starting


def grid(name: str, objective: str, tolerance: float) -> dict[str, Any]:
    """Time of all 49 settings of a layer of ResNet-18 at once, and of one by itself (CPU ms)."""
    chip, network = load_target("eye3"), load("resnet18")
    estimator = Analytical(objective=objective, space=SPACES["even"], tolerance=tolerance)
    networks = [network.with_bits(w, a) for w in range(2, 9) for a in range(2, 9)]
    settings = [next(layer for layer in n.layers if layer.name == name) for n in networks]
    clocks = iter(range(1, 1_000_000))

    def priced(layers: list[Layer]) -> None:
        # A hair slower than before each time, so that nothing kept from before can be used.
        target = replace(chip, clock_hz=chip.clock_hz - next(clocks))
        estimator.table(layers, target)

    every = statistics.median(cpu_ms(lambda _: priced(settings), 3))
    alone = [cpu_ms(lambda _, layer=layer: priced([layer]), 1)[0] for layer in settings]
    one = statistics.median(alone)
    return {"layer": name, "tolerance": tolerance, "one_ms": one, "least_ms": min(alone),
            "most_ms": max(alone), "grid_ms": every, "times": every / one}  # fmt: skip


def started(program: str, runs: int) -> float:
    """Median processor time of a fresh process after one that is not counted (s).

    The bytecode of this package is kept, as where it is installed, whatever this process was told.
    """
    found: list[float] = []
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(runs + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True, env=kept)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="with peers/mapping.csv")
    parser.add_argument("--rules", choices=COUNTING, default="chipfit", help="count as this tool does")
    parser.add_argument("--objective", choices=("energy", "edp"), default="energy")
    parser.add_argument(
        "--space", choices=SPACES, default="even", help="tiles; the peers' divide, AccelForge's may be uneven"
    )
    parser.add_argument("--layers", nargs="+", help="of each network only these")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--grid", nargs="*", default=["layer1.0.conv1", "layer2.0.conv2", "layer4.0.conv2"])
    parser.add_argument("--out", type=Path, help="write all figures as JSON")
    options = parser.parse_args()

    load_before = os.getloadavg()
    peers = peer_rows(options.data / "peers" / "mapping.csv")
    print(RULES)
    print(f"\nAccesses in the tables below: {options.rules}, {COUNTING[options.rules]}")
    every: list[Row] = []
    for target in options.targets:
        for network in options.networks:
            rows = list(mapped(target, network, options))
            table(rows, peers, options.objective)
            every += rows

    grids = [grid(name, options.objective, t) for name in options.grid for t in (0.0, 0.01)]
    if grids:
        print(
            f"\n### 49 settings of weight and activation bits, 2 to 8, on eye3: least {options.objective}\n"
        )
        print("| layer | tolerance | one alone, ms: median | least | most | all 49, ms | × median |")
        print("|---|---|---|---|---|---|---|")
    for found in grids:
        cells = [f"{found[key]:.2f}" for key in ("one_ms", "least_ms", "most_ms", "grid_ms")]
        print(f"| {found['layer']} | {found['tolerance']:.0%} | {' | '.join(cells)} | {found['times']:.1f} |")

    starts = {
        "python, empty": started("pass", options.runs),
        "import of the mapper": started("import chipfit.cost.mapping.mapper", options.runs),
        "one small layer found": started(STARTING, options.runs),
        "ResNet-18 priced from the disk": started(KNOWN, options.runs),
    }
    print("\n### A process of its own, with what is compiled at hand (CPU time)\n\n| what | s |\n|---|---|")
    for name, seconds in starts.items():
        print(f"| {name} | {seconds:.2f} |")
    loads = ", ".join(f"{v:.1f}" for v in (load_before[0], os.getloadavg()[0]))
    print(f"\n{os.cpu_count()} cores; load of the machine before and after: {loads}")
    if options.out:
        result = {"objective": options.objective, "space": options.space, "runs": options.runs,
                  "layers": [asdict(row) for row in every], "grid": grids, "start_s": starts}  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

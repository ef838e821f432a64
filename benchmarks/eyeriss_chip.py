"""AlexNet on the Eyeriss chip: what was measured (JSSC 2017, Table V) beside the preset `eyeriss`.

Row stationary as the chip has it: rows of the kernel are unrolled down the array and nothing loops over them.
Everything else is chosen for the least energy x delay, at the chip's batch of four and 16 bits. Power is that
of the chip, without DRAM.

    python benchmarks/eyeriss_chip.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chipfit.cost.mapping.analytical import describe
from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import Widths
from chipfit.cost.mapping.plan import stages
from chipfit.hardware.load import load_target
from chipfit.hardware.target import Target
from chipfit.workload.network import Loops

WIDTHS = Widths(input=16, weight=16, output=16, partial_sum=16)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A layer: multiplications, time and busy elements, chip power, traffic (both ways, words of 16 bits)."""

    macs_m: float
    latency_ms: float
    active: float
    power_mw: float
    buffer_mb: float
    dram_mb: float


# The last two columns of each row are recalled, not read again; DRAM is run-length coded on the chip.
CHIP = {
    "conv1": (
        Loops(N=4, K=96, C=3, P=55, Q=55, R=11, S=11, stride=(4, 4)),
        Figures(macs_m=421.66, latency_ms=16.5, active=154, power_mw=332, buffer_mb=18.5, dram_mb=5.0),
    ),
    "conv2": (
        Loops(N=4, G=2, K=128, C=48, P=27, Q=27, R=5, S=5, padding=(4, 4)),
        Figures(macs_m=895.79, latency_ms=39.2, active=135, power_mw=288, buffer_mb=77.6, dram_mb=4.0),
    ),
    "conv3": (
        Loops(N=4, K=384, C=256, P=13, Q=13, R=3, S=3, padding=(2, 2)),
        Figures(macs_m=598.1, latency_ms=21.8, active=156, power_mw=266, buffer_mb=50.2, dram_mb=3.0),
    ),
    "conv4": (
        Loops(N=4, G=2, K=192, C=192, P=13, Q=13, R=3, S=3, padding=(2, 2)),
        Figures(macs_m=448.6, latency_ms=16.0, active=156, power_mw=235, buffer_mb=37.4, dram_mb=2.1),
    ),
    "conv5": (
        Loops(N=4, G=2, K=128, C=192, P=13, Q=13, R=3, S=3, padding=(2, 2)),
        Figures(macs_m=299.0, latency_ms=10.0, active=156, power_mw=236, buffer_mb=24.9, dram_mb=1.3),
    ),
}


def row_stationary() -> Target:
    """The preset where kernel rows are only ever unrolled."""
    target = load_target("eyeriss")
    levels = [replace(v, loops=tuple(d for d in v.loops if d != "R")) for v in target.levels]
    return replace(target, levels=tuple(levels))


def ours(loops: Loops, target: Target) -> tuple[Figures, str]:
    """The same figures of the best mapping, and the mapping."""
    mac_j = loops.macs * target.arithmetic.energy_j(16, 16, 16)
    answer = find(loops, target, WIDTHS, objective="edp", mac_energy_j=mac_j)
    counts = evaluate(answer.mapping, loops, target, WIDTHS, mac_energy_j=mac_j)
    assert counts is not None
    memory = target.main_memory
    dram_j = float(
        counts.reads[0].sum() * memory.read_energy_j + counts.writes[0].sum() * memory.write_energy_j
    )
    seconds = counts.cycles / target.clock_hz
    figures = Figures(
        macs_m=loops.macs / 1e6,
        latency_ms=1e3 * seconds,
        active=loops.macs / counts.compute_cycles,
        power_mw=1e3 * (counts.energy_j - dram_j) / seconds,
        buffer_mb=2e-6 * float(counts.reads[1].sum() + counts.writes[1].sum()),
        dram_mb=2e-6 * counts.dram_words,
    )
    return figures, describe(answer.mapping, stages(target))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()
    target = row_stationary()
    found = {name: ours(loops, target) for name, (loops, _) in CHIP.items()}
    names = list(asdict(CHIP["conv1"][1]))
    print("ours / the chip's (ratio)\n")
    print(f"| layer | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for name, (_, theirs) in CHIP.items():
        pairs = zip(asdict(found[name][0]).values(), asdict(theirs).values(), strict=True)
        print(f"| {name} | {' | '.join(f'{a:.1f} / {b:g} ({a / b:.2f})' for a, b in pairs)} |")
    print()
    for name, (_, mapping) in found.items():
        print(f"{name}: {mapping}")
    latency = [(found[n][0].latency_ms, theirs.latency_ms) for n, (_, theirs) in CHIP.items()]
    print(f"\nfive layers: {sum(a for a, _ in latency):.1f} ms / {sum(b for _, b in latency):.1f} ms")
    words = sum(found[n][0].dram_mb for n in CHIP) / 2
    macs = sum(found[n][0].macs_m for n in CHIP)
    print(f"DRAM words a multiplication: {words / macs:.4f}, the chip's 0.0029 (run-length coded)")
    if options.json:
        result = {n: {"ours": asdict(found[n][0]), "chip": asdict(CHIP[n][1])} for n in CHIP}
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

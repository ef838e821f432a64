"""Sparse arrays against published figures, and how long an estimate takes.

    python benchmarks/sparse.py DATA [--tables pe,balance,networks,buffers,speed] [assumptions, see --help]

DATA is the folder of shared data (its eyeriss_v2_pe). Prints tables, asserts nothing. Networks have no
weights here: their zeros are drawn at random under the assumptions that are printed with them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import chipfit
from chipfit.cost.base import CostReport
from chipfit.cost.sparse.clustering import cluster, cut_cost, least_cost
from chipfit.cost.sparse.counts import make_slots, run_passes, tap_counts
from chipfit.cost.sparse.estimator import SparseEstimator
from chipfit.cost.sparse.pe import load_masks, pair_cycles, uniform_cycles
from chipfit.hardware.target import Target
from chipfit.testing import nest_layer
from chipfit.workload.network import Loops, Network
from chipfit.workload.zeros import Zeros, assumed

#: Images a second, Sense, TVLSI 2023 (ZCU102, 200 MHz).
PUBLISHED = {"alexnet": 471, "vgg16": 34, "resnet50": 53, "googlenet": 191}


@dataclass(frozen=True)
class Assumption:
    """What is assumed of a network: the fraction kept of kernels and of 1 x 1 and fully connected weights."""

    name: str
    kernels: float
    pointwise: float
    fully_connected: bool
    options: tuple[tuple[str, object], ...] = ()
    rows: int = 32
    cycles_a_pair: int = 1


def zeros_of(network: Network, given: Assumption, density: float, spread: float, seed: int) -> Zeros:
    kept: dict[str, tuple[int, int]] = {}
    for layer in network.layers:
        if layer.loops is None:
            continue
        size = layer.loops.R * layer.loops.S
        fraction = given.kernels if size > 1 else given.pointwise
        of = size if size > 1 else 16
        if fraction < 1 and layer.weight is not None and layer.weight.elements < 30_000_000:
            kept[layer.name] = (round(fraction * of), of)
    return assumed(network, np.random.default_rng(seed), kept=kept, density=density, spread=spread)


def convolutions(network: Network) -> Network:
    return replace(
        network, layers=tuple(la for la in network.layers if la.loops is None or la.operator == "Conv")
    )


def with_options(target: Target, options: dict[str, object]) -> Target:
    assert target.sparse is not None
    return replace(target, sparse=replace(target.sparse, **options))


def table(header: str, rows: Iterator[str]) -> None:
    print(f"| {header} |")
    print("|" + "---|" * (header.count("|") + 1))
    for row in rows:
        print(f"| {row} |", flush=True)
    print()


def pe_table(data: Path) -> None:
    def rows() -> Iterator[str]:
        for path in sorted((data / "eyeriss_v2_pe").glob("*.npz")):
            masks = load_masks(path)
            ours, uniform = (
                pair_cycles(masks.inputs, masks.weights),
                uniform_cycles(masks.inputs, masks.weights),
            )
            low = f"{1 - uniform / ours:.1%} low"
            yield f"{path.stem} | {masks.cycles:,} | {ours:,} | {uniform:,.0f} ({low})"

    print("Eyeriss v2, one processing element, cycles of pointwise layers:\n")
    table("layer | designers' simulator | from the masks | from the two densities", rows())


def balance_table() -> None:
    rng = np.random.default_rng(0)
    target = with_options(chipfit.load_target("sense_zcu102"), {"fill": "none", "skip": ("weight",)})

    def utilisation(weights: np.ndarray) -> float:
        loops = Loops(K=32, C=weights.shape[2], P=16, Q=16, R=3, S=3)
        found = (
            SparseEstimator(zeros=Zeros(weights={"layer": weights})).layer(nest_layer(loops), target).sparse
        )
        assert found is not None
        return found.pairs / (found.cycles * 1024)

    def one_row() -> float:
        weights = (rng.random((1, 32, 4096, 9)) < 0.5).astype(np.uint8)
        loops = Loops(K=32, C=4096, R=3, S=3)
        taps = np.ones((4096, 1, 9), np.int64)
        slots = make_slots(loops, 1, 1, 1, np.arange(4096)[None], np.arange(1))
        slowest, work = run_passes(weights, taps, slots, 32)
        return float(work.sum() / (32 * slowest.sum()))

    random = rng.random((1, 32, 32, 3, 3)) < 0.5
    balanced = (rng.random((1024, 9)).argsort(axis=1) < 4).reshape(1, 32, 32, 3, 3)
    counts = rng.integers(0, 1000, 9).astype(float)
    print("Balance:\n")
    table(
        "what | utilisation",
        iter(
            [
                f"32 random half-sparse 3 x 3 kernels beside each other | {one_row():.3f} (by hand 0.60)",
                f"the same on all 32 rows, each pass waiting for 1,024 | {utilisation(random):.3f}",
                f"exactly four of nine kept | {utilisation(balanced):.3f}",
            ]
        ),
    )
    print(
        f"Clustering, 9 channels on 3 rows: {cut_cost(list(counts), 3):.0f} as stored, "
        f"{cut_cost(list(counts[cluster(counts)]), 3):.0f} sorted, "
        f"{least_cost(list(counts), 3):.0f} the best of all 362,880 orders\n"
    )


def estimate(name: str, given: Assumption, arguments: argparse.Namespace, target: Target) -> CostReport:
    network = chipfit.load_network(name).with_bits(arguments.bits, arguments.bits)
    network = network if given.fully_connected else convolutions(network)
    zeros = zeros_of(network, given, arguments.density[name], arguments.spread, arguments.seed)
    target = replace(target, arrays=(replace(target.arrays[0], rows=given.rows),))
    return SparseEstimator(zeros=zeros).estimate(network, with_options(target, dict(given.options)))


def cycles_of(report: CostReport) -> float:
    return sum(layer.sparse.cycles for layer in report.layers if layer.sparse is not None)


def networks_table(arguments: argparse.Namespace) -> None:
    half = arguments.kept
    convs = Assumption("convolutions only, 1 x 1 dense", half, 1.0, False)
    cases = [
        replace(convs, name="all layers, 1 x 1 and fully connected dense", fully_connected=True),
        convs,
        replace(convs, name="8 of 16 kept of 1 x 1", pointwise=0.5),
        replace(convs, name="filling each pass", options=(("fill", "pass"),)),
        replace(convs, name="no clustering", options=(("clustering", False),)),
        replace(convs, name="zeros of weights skipped only", options=(("skip", ("weight",)),)),
        replace(convs, name="zeros of activations skipped only", options=(("skip", ("input",)),)),
        replace(convs, name="all products of non-zeros (Cartesian)", options=(("pairs", "cartesian"),)),
        replace(convs, name="16 x 32 elements", rows=16),
        replace(convs, name="a pair every second cycle", cycles_a_pair=2),
    ]
    densities = ", ".join(f"{name} {density:g}" for name, density in arguments.density.items())
    print(
        f"sense_zcu102. Assumed: {half:.2f} of every kernel kept; mean densities of activations {densities}, "
        f"channels spread by {arguments.spread:g}; {arguments.bits} bits; images one at a time; seed "
        f"{arguments.seed}. Images a second by cycles alone, and (with main memory); from the third row, one "
        "thing is changed in the second:\n"
    )
    target = chipfit.load_target("sense_zcu102")

    def row(case: Assumption) -> str:
        cells: list[str] = []
        for name in PUBLISHED:
            report = estimate(name, case, arguments, target)
            cycles = case.cycles_a_pair * cycles_of(report)
            times = [dict(layer.latency_by_component_s) for layer in report.layers]
            seconds = sum(max(case.cycles_a_pair * t.pop("compute", 0.0), *t.values(), 0.0) for t in times)
            cells.append(f"{target.clock_hz / cycles:.0f} ({1 / seconds:.0f})")
        return f"{case.name} | " + " | ".join(cells)

    published = "published (TVLSI 2023) | " + " | ".join(str(value) for value in PUBLISHED.values())
    table("assumption | " + " | ".join(PUBLISHED), iter([published, *map(row, cases)]))


def buffers_table(arguments: argparse.Namespace) -> None:
    print(
        "DRAM traffic of inputs first over adaptive dataflow, convolutions only, 1 x 1 dense (published: "
        "1.17 to 1.8 times less than Swallow):\n"
    )
    target = chipfit.load_target("sense_zcu102")
    case = Assumption("", arguments.kept, 1.0, False)

    def row(inputs_kib: int, weights_kib: int) -> str:
        sizes = {"input_buffer": inputs_kib * 8192, "weight_buffer": weights_kib * 8192}
        levels = tuple(replace(le, size_bits=sizes.get(le.name, le.size_bits)) for le in target.levels)
        sized = replace(target, levels=levels)
        cells: list[str] = []
        for name in PUBLISHED:
            adaptive, first = (
                estimate(
                    name, replace(case, options=(("dataflow", dataflow),)), arguments, sized
                ).total.dram_bits
                for dataflow in ("adaptive", "inputs_first")
            )
            cells.append(f"{first / adaptive:.2f}")
        return f"{inputs_kib} + {weights_kib} KiB | " + " | ".join(cells)

    splits = ((16, 16), (16, 32), (32, 16), (64, 64), (128, 128), (512, 512))
    table("buffers of inputs + weights | " + " | ".join(PUBLISHED), (row(*split) for split in splits))


def speed_table(arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)

    def rate(density: float) -> str:
        loops = Loops(K=256, C=256, P=14, Q=14, R=3, S=3, padding=(2, 2))
        mask = rng.random((1, 256, 14, 14)) < density
        weights = (rng.random((1, 256, 256, 9)) < 0.5).astype(np.uint8)
        slots = make_slots(loops, 32, 1, 1, np.arange(256)[None], np.arange(1))

        def once() -> float:
            start = time.perf_counter()
            taps = tap_counts(mask, loops, (1, 1), 1)
            once.pairs = int(run_passes(weights, taps[0], slots, 32)[1].sum())  # type: ignore[attr-defined]
            return time.perf_counter() - start

        once()
        seconds = min(once() for _ in range(5))
        pairs: int = once.pairs  # type: ignore[attr-defined]
        return (
            f"a layer of ResNet-50 (256 x 256 channels, 3 x 3, 14 x 14), activations {density:.0%} | "
            f"{seconds * 1e3:.2f} ms, {pairs / seconds / 1e9:.1f} G PE-steps/s"
        )

    def image(pairs: str) -> str:
        network = chipfit.load_network("resnet50").with_bits(8, 8)
        case = Assumption("", arguments.kept, 1.0, True)
        zeros = zeros_of(network, case, 0.5, arguments.spread, arguments.seed)
        target = chipfit.load_target("sense_zcu102")
        estimator = SparseEstimator(zeros=zeros, pairs=pairs)
        estimator.estimate(network, target)
        start = time.perf_counter()
        estimator.estimate(network, target)
        return f"a whole image through ResNet-50, {pairs} | {time.perf_counter() - start:.2f} s"

    print("Speed, one core (best of five; a PE-step is a pair that takes a cycle):\n")
    steps = [rate(density) for density in (0.25, 0.5, 1.0)]
    table("what | time", iter([*steps, image("matched"), image("cartesian")]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--tables", default="pe,balance,networks,buffers,speed")
    parser.add_argument(
        "--kept", type=float, default=0.5, help="fraction kept of every kernel larger than 1 x 1"
    )
    parser.add_argument(
        "--spread", type=float, default=0.12, help="standard deviation of channels' densities"
    )
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    for name, density in {"alexnet": 0.45, "vgg16": 0.4, "resnet50": 0.5, "googlenet": 0.5}.items():
        parser.add_argument(
            f"--{name}-density", type=float, default=density, help="mean density of activations"
        )
    arguments = parser.parse_args()
    arguments.density = {name: getattr(arguments, f"{name}_density") for name in PUBLISHED}
    tables = arguments.tables.split(",")
    if "pe" in tables:
        pe_table(arguments.data)
    if "balance" in tables:
        balance_table()
    if "networks" in tables:
        networks_table(arguments)
    if "buffers" in tables:
        buffers_table(arguments)
    if "speed" in tables:
        speed_table(arguments)


if __name__ == "__main__":
    main()

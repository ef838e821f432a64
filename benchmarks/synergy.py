"""MobileNetV1 with narrow weights on two chips: beside a published study, under its rules and without them.

The study (arXiv 2404.05368, DDECS 2024) extends Timeloop by tensors of different widths that share words.
Its rules: partial sums are packed at the output's width, a multiply-accumulate takes the same energy at all
widths, depthwise layers run as dense ones, and no layer has padding. DATA/synergy/mobilenetv1_timeloop.csv
has its reference results, energies rounded to three digits; its mapper samples at random for the least
energy x delay.

First: our mappings of least energy under these rules, on the presets `eyeriss_synergy` and `simba_synergy`,
counted as that tool counts (`as_published`). Then what each rule is worth: the same with depthwise layers as
they are, with sums that cannot overflow (and read on their way out), with multiplications by both widths.

    python benchmarks/synergy.py [DATA] [--layers eyeriss_synergy 16 8] [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import RULES, Counts, Mapping, MapSpace, Rules, Widths
from chipfit.cost.mapping.nest import ORDER, RELEVANT
from chipfit.hardware.load import load_target
from chipfit.hardware.target import TENSORS, Array, MemoryLevel, Target, words
from chipfit.workload.network import DIMENSIONS, Loops

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TARGETS = {"eyeriss_synergy": "eyeriss-like", "simba_synergy": "simba-like"}
WEIGHT_BITS = (8, 7, 6, 5, 4, 3, 2)
#: Energy of a multiply-accumulate by the width of words (pJ): 2.20035 as its reports have it, 0.56 rounded.
MAC_PJ = {16: 2.20035, 8: 0.56}
#: Where its 8-bit chips are not their 16-bit ones with half the energy for half a word: what a word takes
#: (pJ; between 0.33 and 0.35 by its 0.17 pJ a multiply-accumulate at half an access) and how many there are
#: (256: with 128 nothing gets as low as what its layers of 13 x 13 take in the global buffer).
NARROW = {"accumulation_buffer": (0.34, 256), "weight_register": (0.01533 / 2, 1)}
#: Sums are not read on their way out; inputs of several elements may share rows, which is counted apart.
SEARCH = (Rules(drains=False), RULES["timeloop"])
SPACES = (MapSpace(ragged=False), MapSpace())


def layers() -> Iterator[tuple[str, Loops]]:
    """MobileNetV1 as the study has it: without padding, so a stride of 2 takes 112 to 55, 27, 13, 6."""
    yield "conv", Loops(K=32, C=3, P=112, Q=112, R=3, S=3, stride=(2, 2))
    blocks = [(32, 64, 1, 112), (64, 128, 2, 55), (128, 128, 1, 55), (128, 256, 2, 27), (256, 256, 1, 27)]
    blocks += [(256, 512, 2, 13), *[(512, 512, 1, 13)] * 5, (512, 1024, 2, 6), (1024, 1024, 1, 6)]
    for block, (channels, filters, stride, size) in enumerate(blocks, 1):
        yield f"{block}.dw", Loops(K=channels, C=channels, P=size, Q=size, R=3, S=3, stride=(stride, stride))
        yield f"{block}.pw", Loops(K=filters, C=channels, P=size, Q=size)
    yield "fc", Loops(K=1000, C=1024, P=6, Q=6)


def depthwise(name: str, loops: Loops) -> Loops:
    """The layer as it is: groups of one channel if it is depthwise."""
    return replace(loops, G=loops.C, K=1, C=1) if name.endswith("dw") else loops


def chip(name: str, word_bits: int) -> Target:
    """The preset with words of 16 or 8 bits: the same memories, half the energy for half a word."""
    target = load_target(name)
    if word_bits == 16:
        return target

    def narrow(level: MemoryLevel) -> MemoryLevel:
        read, write, size = level.read_energy_j / 2, level.write_energy_j / 2, level.size_bits
        if level.name in NARROW:
            energy, count = NARROW[level.name]
            read, write, size = energy * 1e-12, energy * 1e-12, count * word_bits
        return replace(level, word_bits=word_bits, size_bits=size, read_energy_j=read, write_energy_j=write)

    return replace(target, levels=tuple(narrow(level) for level in target.levels))


# ---------------------------------------------------------------------------------------------
# As the study counts


def as_published(mapping: Mapping, loops: Loops, target: Target, widths: Widths) -> Counts | None:
    """Accesses and energy (J, without multiplications) of a mapping as the study's Timeloop counts them.

    That is `RULES["timeloop"]`, where also the input slides along the innermost loop that it depends on
    (rows that the tile before had are not fetched again), and the first visit of a sum is written, as
    nothing, into the memories that hold it. None if a tile does not fit.
    """
    counts = evaluate(mapping, loops, target, widths, rules=RULES["timeloop"])
    if counts is None:
        return None
    reads, writes = counts.reads.copy(), counts.writes.copy()
    holders = [i for i, level in enumerate(target.levels) if "input" in level.holds]
    for parent, child in itertools.pairwise(holders):
        kept = slides(mapping, loops, child)
        reads[parent, 0] = math.ceil(reads[parent, 0] * kept - 1e-6)
        writes[child, 0] = math.ceil(writes[child, 0] * kept - 1e-6)
    outputs = loops.N * loops.G * loops.K * loops.P * loops.Q
    for i, level in enumerate(target.levels[1:], 1):
        if "output" in level.holds:
            lacked = [DIMENSIONS.index(d) for d in "CRS"]
            copies = int(mapping.factors[:i, lacked].prod())
            writes[i, 2] += words(outputs * copies, widths.partial_sum, level.word_bits)
    price = np.array([[level.read_energy_j, level.write_energy_j] for level in target.levels])
    energy = float((reads.sum(1) * price[:, 0] + writes.sum(1) * price[:, 1]).sum())
    return replace(
        counts,
        reads=reads,
        writes=writes,
        energy_j=energy,
        dram_words=float(reads[0].sum() + writes[0].sum()),
    )


def slides(mapping: Mapping, loops: Loops, child: int) -> float:
    """The fraction of its input tiles that a memory fetches if rows are kept along the innermost loop."""
    for stage in range(child - 1, -1, -1):
        for d in reversed(ORDER[TENSORS.index(mapping.stationary[stage])]):
            if not RELEVANT[0, d] or mapping.iterations(stage, int(d)) == 1:
                continue
            name = DIMENSIONS[d]
            if name not in "PQ" or mapping.factors[stage:child, d].max() > 1:
                return 1.0
            axis = "PQ".index(name)
            kernel, tile = DIMENSIONS.index("RS"[axis]), mapping.tiles[child]
            size, part, stride = getattr(loops, name), mapping.tiles[0][kernel], loops.stride[axis]
            each = span(size, part, tile[d], tile[kernel], stride)
            return span(size, part, mapping.tiles[stage][d], tile[kernel], stride) / each
    return 1.0


def window(target: Target, loops: Loops) -> Target:
    """A target to find mappings that do well where rows are kept: rows that the kernel overlaps cost nothing.

    Only a way to propose mappings. For prices of its own the input gets a global buffer of its own, as large.
    """
    memory, shared, *inner = target.levels
    fresh = span(loops.Q, loops.S, loops.Q, loops.S, loops.stride[1]) / span(
        loops.Q, loops.S, 1, loops.S, loops.stride[1]
    )
    own = replace(shared, name="inputs", holds=("input",), read_energy_j=shared.read_energy_j * fresh)
    first = next(level for level in inner if "input" in level.holds)
    cheap = replace(first, write_energy_j=first.write_energy_j * fresh)
    rest = [cheap if level is first else level for level in inner]
    return replace(target, levels=(memory, own, replace(shared, holds=("output",)), *rest))


def apart(target: Target) -> Target:
    """The target with loops of its own for the weight buffer, as the source has them.

    In the preset it lies beside the accumulation buffer and shares its tile, which is quicker to search.
    """
    if all(level.name != "weight_buffer" for level in target.levels):
        return target
    nothing = Array(
        name="apart", below="weight_buffer", rows=1, columns=1, row_dimensions=(), column_dimensions=()
    )
    return replace(target, arrays=(*target.arrays[:2], nothing, *target.arrays[2:]))


def in_one(mapping: Mapping) -> Mapping:
    """A mapping onto `window` as one onto the target: one global buffer."""
    return Mapping(
        tiles=mapping.tiles[:1] + mapping.tiles[2:],
        rows=mapping.rows[:1] + mapping.rows[2:],
        columns=mapping.columns[:1] + mapping.columns[2:],
        stationary=mapping.stationary[:1] + mapping.stationary[2:],
    )


def span(size: int, kernel: int, tile: int, part: int, stride: int) -> int:
    """Rows of the input under all tiles of outputs and parts of the kernel, each by itself."""
    return sum(
        (min(tile, size - p) - 1) * stride + min(part, kernel - r)
        for p in range(0, size, tile)
        for r in range(0, kernel, part)
    )


# ---------------------------------------------------------------------------------------------
# Rows


@dataclass(frozen=True, kw_only=True)
class Row:
    """A layer: energies in microjoules, by component in pJ a multiply-accumulate."""

    target: str
    word_bits: int
    weight_bits: int
    layer: str
    macs: int
    theirs: float
    ours: float
    own_counting: float
    gap: float
    theirs_dram_words: int
    dram_words: float
    cycles_ratio: float
    depthwise: float
    exact_sums: float
    by_width: float
    theirs_by_component: dict[str, float] = field(default_factory=dict[str, float])
    ours_by_component: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def rounding(self) -> float:
        """Half a unit of the third digit, to which theirs are rounded."""
        return 0.5 * 10.0 ** (math.floor(math.log10(self.theirs)) - 2)


@dataclass
class Study:
    """The layers of one chip; each nest is searched once for words that hold as many elements."""

    target: Target
    word_bits: int
    known: dict[Any, tuple[Mapping, float]] = field(default_factory=dict[Any, tuple[Mapping, float]])
    pool: dict[Loops, dict[Mapping, tuple[Target, float]]] = field(
        default_factory=dict[Loops, dict[Mapping, tuple[Target, float]]]
    )

    def best(
        self, loops: Loops, widths: Widths, rules: Rules, space: MapSpace, target: Target | None = None
    ) -> tuple[Mapping, float]:
        """The mapping of least energy and its gap."""
        fit = self.word_bits // widths.weight
        alike = replace(widths, weight=self.word_bits // fit)
        key = (loops, alike, rules, space, target)
        if key not in self.known:
            answer = find(loops, target or self.target, alike, rules=rules, space=space)
            self.known[key] = answer.mapping, answer.gap
        return self.known[key]

    def found(self, loops: Loops, widths: Widths) -> Iterator[tuple[Mapping, tuple[Target, float]]]:
        """Good mappings, the target that they run on, and the gap of their search.

        No search minimises just what the study counts, so there are several, and mappings that were found
        for weights of other widths run too.
        """
        own = apart(self.target)
        for bits, rules, space in itertools.product(WEIGHT_BITS, SEARCH, SPACES):
            alike = replace(widths, weight=bits)
            for target in {self.target, own}:
                mapping, gap = self.best(loops, alike, rules, space, target)
                yield mapping, (target, gap)
            if loops.S > 1:
                mapping, gap = self.best(loops, alike, rules, space, window(self.target, loops))
                yield in_one(mapping), (self.target, gap)

    def published(self, loops: Loops, widths: Widths) -> tuple[Counts, float]:
        """The best of the mappings found as the study counts it, and the gap of its search."""
        if loops not in self.pool:
            self.pool[loops] = dict(self.found(loops, widths))
        counted = [(as_published(m, loops, t, widths), gap) for m, (t, gap) in self.pool[loops].items()]
        fitting = [(counts, gap) for counts, gap in counted if counts is not None]
        return min(fitting, key=lambda entry: entry[0].energy_j)

    def energy_j(self, loops: Loops, widths: Widths, rules: Rules) -> float:
        """Least energy without multiplications as we count it (J)."""
        found = [self.best(loops, widths, rules, space)[0] for space in SPACES]
        counts = [evaluate(mapping, loops, self.target, widths, rules=rules) for mapping in found]
        return min(c.energy_j for c in counts if c is not None)

    def row(self, name: str, dense: Loops, theirs: dict[str, str]) -> Row:
        bits, word = int(theirs["weight_bits"]), self.word_bits
        flat_j = dense.macs * MAC_PJ[word] * 1e-12
        widths = Widths(input=8, weight=bits, output=8, partial_sum=8)
        counts, gap = self.published(dense, widths)
        real = depthwise(name, dense)
        sums = 8 + bits + math.ceil(math.log2(real.C * real.R * real.S))
        exact = replace(widths, partial_sum=self.target.accumulator_bits(bits, 8, sums))
        exact_j = self.energy_j(real, exact, RULES["chipfit"])
        mac_j = self.target.arithmetic.energy_j(bits, 8, exact.partial_sum)
        levels = zip(self.target.levels, counts.reads.sum(1), counts.writes.sum(1), strict=True)
        parts = {
            v.name: 1e12 * (r * v.read_energy_j + w * v.write_energy_j) / dense.macs for v, r, w in levels
        }
        published = {k[11:]: float(v) for k, v in theirs.items() if k.startswith("pj_per_mac_") and v}
        real_flat_j = real.macs * MAC_PJ[word] * 1e-12
        return Row(
            target=self.target.name, word_bits=word, weight_bits=bits, layer=name, macs=dense.macs,
            theirs=float(theirs["energy_uj"]), ours=1e6 * (counts.energy_j + flat_j),
            own_counting=1e6 * (self.energy_j(dense, widths, SEARCH[0]) + flat_j), gap=gap,
            theirs_dram_words=int(theirs["dram_words"]), dram_words=counts.dram_words,
            cycles_ratio=counts.cycles / int(theirs["cycles"]),
            depthwise=1e6 * (self.energy_j(real, widths, SEARCH[0]) + real_flat_j),
            exact_sums=1e6 * (exact_j + real_flat_j), by_width=1e6 * (exact_j + real.macs * mac_j),
            theirs_by_component=published, ours_by_component={"mac": MAC_PJ[word], **parts},
        )  # fmt: skip


def rows_of(path: Path) -> list[Row]:
    """All rows of the study with ours beside them."""
    shapes = dict(enumerate(layers(), 1))
    studies = {
        (theirs, bits): Study(target=chip(name, bits), word_bits=bits)
        for name, theirs in TARGETS.items()
        for bits in MAC_PJ
    }
    found: list[Row] = []
    with path.open() as file:
        for line in csv.DictReader(file):
            name, loops = shapes[int(line["layer"])]
            assert loops.macs == int(line["macs"]), f"layer {line['layer']} has other multiplications"
            found.append(studies[line["target"], int(line["word_bits"])].row(name, loops, line))
    return found


# ---------------------------------------------------------------------------------------------
# Tables


def totals(rows: list[Row]) -> None:
    groups: dict[tuple[str, int, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.target, row.word_bits, row.weight_bits].append(row)
    print("\n### Whole networks, uJ: under the study's rules, counted as its tool counts\n")
    print(
        "| target | word | weights | theirs | ours | ours / theirs "
        "| layers above | worst | unproven | DRAM words |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (target, word, bits), group in groups.items():
        theirs, ours = sum(r.theirs for r in group), sum(r.ours for r in group)
        above = [r for r in group if r.ours > r.theirs + r.rounding]
        worst = max(r.ours / r.theirs for r in group)
        dram = sum(r.dram_words for r in group) / sum(r.theirs_dram_words for r in group)
        print(
            f"| {target} | {word} | {bits} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.4f} | "
            f"{len(above)} | {worst:.4f} | {sum(r.gap > 0 for r in group)} | {dram:.3f} |"
        )
    print("\n### What each rule is worth, uJ (our counting)\n")
    print(
        "| target | word | weights | study's rules | depthwise as it is | and exact sums | and MACs by bits |"
    )
    print("|---|---|---|---|---|---|---|")
    for (target, word, bits), group in groups.items():
        columns = ("own_counting", "depthwise", "exact_sums", "by_width")
        cells = " | ".join(f"{sum(getattr(r, column) for r in group):.1f}" for column in columns)
        print(f"| {target} | {word} | {bits} | {cells} |")
    above = [r for r in rows if r.ours > r.theirs + r.rounding]
    print(
        f"\n{len(rows) - len(above)} of {len(rows)} rows at most theirs (to the three digits of theirs); "
        f"largest ratio of a row {max(r.ours / r.theirs for r in rows):.4f}"
    )


def by_layer(rows: list[Row], target: str, word: int, bits: int) -> None:
    chosen = [r for r in rows if (r.target, r.word_bits, r.weight_bits) == (target, word, bits)]
    print(
        f"\n### {target}, words of {word} bits, weights of {bits}: pJ a multiply-accumulate, ours (theirs)\n"
    )
    names = list(chosen[0].ours_by_component)
    print(f"| layer | uJ | ratio | cycles / theirs | {' | '.join(names)} |")
    print("|" + "---|" * (4 + len(names)))
    for row in chosen:
        theirs = {PARTS.get(k, k): v for k, v in row.theirs_by_component.items()}
        cells = [
            f"{v:.2f} ({theirs[k]:.2f})" if k in theirs else f"{v:.2f}"
            for k, v in row.ours_by_component.items()
        ]
        print(
            f"| {row.layer} | {row.ours:.1f} ({row.theirs:g}) | {row.ours / row.theirs:.4f} | "
            f"{row.cycles_ratio:.2f} | {' | '.join(cells)} |"
        )


PARTS = {
    "DRAM": "dram",
    "shared_glb": "global_buffer",
    "ifmap_spad": "input_spad",
    "weights_spad": "weight_spad",
    "psum_spad": "partial_sum_spad",
    "LMAC": "mac",
    "GlobalBuffer": "global_buffer",
    "PEInputBuffer": "input_buffer",
    "PEWeightBuffer": "weight_buffer",
    "PEAccuBuffer": "accumulation_buffer",
    "PEWeightRegs": "weight_register",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "data", type=Path, nargs="?", default=DATA, help="with synergy/mobilenetv1_timeloop.csv"
    )
    parser.add_argument(
        "--layers", nargs=3, metavar=("TARGET", "WORD", "WEIGHTS"), help="also layer by layer"
    )
    parser.add_argument("--json", type=Path, help="write all rows")
    options = parser.parse_args()
    path = options.data / "synergy" / "mobilenetv1_timeloop.csv"
    if not path.is_file():
        parser.exit(1, f"there is no {path}\n")
    start = time.process_time()
    rows = rows_of(path)
    totals(rows)
    if options.layers:
        target, word, bits = options.layers
        by_layer(rows, target, int(word), int(bits))
    print(f"\n{time.process_time() - start:.0f} s of CPU time")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()

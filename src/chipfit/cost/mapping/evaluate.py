"""What one mapping takes: exact accesses, energy and cycles."""

from __future__ import annotations

import functools
import math

import numpy as np

from chipfit.cost.mapping.model import (
    RULES,
    Counts,
    Flags,
    Holds,
    Ints,
    Mapping,
    Rules,
    Widths,
)
from chipfit.cost.mapping.nest import Chip, Tables, count, prepare
from chipfit.cost.mapping.parts import divided
from chipfit.cost.mapping.plan import stages
from chipfit.hardware.target import TENSORS, Target
from chipfit.workload.network import Loops


@functools.lru_cache(maxsize=1024)
def held(holds: Holds) -> tuple[Flags, Ints]:
    """`Chip.holds` and `holders` of a way to hold tensors (read only); the main memory holds all."""
    kept = np.array([[i == 0 or t in names for t in TENSORS] for i, names in enumerate(holds)])
    holders = np.full((3, len(holds) + 2), -1, np.int64)
    for t in range(3):
        chain = [i for i, of_level in enumerate(kept) if of_level[t]]
        holders[t, : len(chain)] = chain
    return kept, holders


def chip(
    target: Target,
    widths: Widths,
    mac_energy_j: float = 0.0,
    streamed_words: float = 0.0,
    streamed_energy_j: float = 0.0,
    holds: Holds = (),
    rules: Rules = RULES["chipfit"],
) -> Chip:
    """A target for operands of these widths, in the arrays of the compiled functions.

    `holds` names the tensors that each level keeps (empty: as the target says).
    """
    parts = stages(target)
    n = len(parts)
    kept, holders = held(holds or tuple(level.holds for level in target.levels))
    per_word = np.ones((n, 4))
    capacity = np.full(n, np.inf)
    price = np.zeros((4, n))
    bits = (widths.input, widths.weight, widths.output, widths.partial_sum)
    for i, (stage, level) in enumerate(zip(parts, target.levels, strict=True)):
        if stage.array is not None:
            price[2, i] = stage.array.hop_energy_j
        word = level.word_bits
        per_word[i] = [word // b if b <= word else -math.ceil(b / word) for b in bits]
        if level.room_words is not None:
            capacity[i] = level.room_words
        price[0, i] = level.read_energy_j
        price[1, i] = level.write_energy_j
        if level.bandwidth_bits_per_cycle is not None:
            price[3, i] = level.bandwidth_bits_per_cycle / word
    return Chip(
        tied=np.array([stage.tied for stage in parts]),
        holds=kept,
        holders=holders,
        per_word=per_word,
        capacity=capacity,
        price=price,
        scalars=np.array(
            [mac_energy_j, target.static_power_w / target.clock_hz, streamed_words, streamed_energy_j]
        ),
        union=rules.union,
        drains=rules.drains,
        slides=rules.slides,
        fills=rules.fills,
    )


def scratch(stages: int, chains: int, shape: Ints) -> Tables:
    """Empty tables for so many chains a dimension; `shape` as `geometry` has it."""
    sizes = chains * (2 * stages + 1)
    return Tables(
        tiles=np.ones((8, chains, stages + 1), np.int64),
        factors=np.ones((stages, 8), np.int64),
        iterations=np.ones((8, chains, stages), np.int64),
        counts=np.ones((8, chains, stages + 1, stages + 1)),
        spans=np.zeros((8, chains, stages + 1, 2), np.int64),
        rows=np.zeros((sizes, sizes, 2)),
        columns=np.zeros((sizes, sizes, 2)),
        sizes=np.zeros((4, sizes), np.int64),
        used=np.zeros(4, np.int64),
        split=np.zeros(8, np.int64),
        fresh=np.zeros(2),
        place=np.zeros((2, 2), np.int64),
        shape=shape,
    )


def evaluate(
    mapping: Mapping,
    loops: Loops,
    target: Target,
    widths: Widths,
    *,
    mac_energy_j: float = 0.0,
    streamed_words: float = 0.0,
    streamed_energy_j: float = 0.0,
    rules: Rules = RULES["chipfit"],
) -> Counts | None:
    """Exact accesses, energy and cycles of a mapping; None if a tile does not fit its memory.

    Args:
        mapping: tiles, unrolling and loop orders.
        loops: the nest.
        target: the chip.
        widths: bits of the tensors.
        mac_energy_j: energy of all multiply-accumulates (J).
        streamed_words: words that cross the main memory besides.
        streamed_energy_j: their energy (J).
        rules: what is counted.
    """
    target = divided(target, mapping.parts)
    made = chip(target, widths, mac_energy_j, streamed_words, streamed_energy_j, mapping.holds, rules)
    n = len(made.capacity)
    tables = scratch(n, 1, geometry(loops, rules))
    tables.tiles[:, 0, :] = np.array(mapping.tiles, np.int64).T
    tables.factors[:] = mapping.factors
    prepare(np.array(loops.bounds, np.int64), np.ones(8, np.int64), tables)
    accesses = np.zeros((3, n, 3))
    out = np.zeros(4 + n)
    order = np.array([TENSORS.index(t) for t in mapping.stationary], np.int64)
    fits = count(np.zeros(8, np.int64), order, tables, made, accesses, out)
    if not fits:
        return None
    return Counts(
        reads=accesses[0],
        writes=accesses[1],
        hops=accesses[2],
        stage_cycles=out[4:],
        energy_j=float(out[0]),
        cycles=float(out[1]),
        dram_words=float(out[2]),
        compute_cycles=float(out[3]),
    )


def geometry(loops: Loops, rules: Rules) -> Ints:
    """[row | column, stride | dilation | padding | whether rows are skipped]."""
    skips = (int(rules.skips), int(rules.skips))
    padding = (0, 0) if rules.padding else loops.padding
    return np.array([loops.stride, loops.dilation, padding, skips], np.int64).T.copy()

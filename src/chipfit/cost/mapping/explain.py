"""A mapping in plain data: the loops of each memory, what it holds, and what that takes.

Words and energies are of the nest alone, over all instances of a memory together; tiles are of one
instance. What a layer takes besides (values that fused layers read, constants on their way to where
activations stay, vector work) is in its `LayerCost` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

from chipfit.cost.base import CostReport, LayerCost, in_target_format
from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.model import ORDER, Mapping, Widths
from chipfit.cost.mapping.parts import divided
from chipfit.cost.mapping.plan import Stage, stages
from chipfit.cost.mapping.rows import covered
from chipfit.cost.residence import inner_target
from chipfit.hardware.target import TENSORS, Target, words
from chipfit.workload.network import DIMENSIONS, RELEVANT, Layer, Loops, Network

#: Dimensions of a tile as people read them; rows and columns of the input are H and W.
SHAPES = {"input": "NGCHW", "weight": "GKCRS", "output": "NGKPQ"}


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A loop of a memory. `step`: the extent along the dimension that one iteration covers.

    `stays` is the tensor of which a memory further in keeps its tile meanwhile, or ''. The last iteration
    of a `ragged` one covers less than the others.
    """

    dimension: str
    iterations: int
    step: int
    ragged: bool
    stays: str


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Processing elements along a dimension, on 'rows' or 'columns' of an array.

    `shares` is the tensor that does not depend on the dimension: an operand goes to all of them at once,
    the partial sums of all are added up.
    """

    dimension: str
    elements: int
    side: str
    shares: str


@dataclass(frozen=True, kw_only=True)
class Unrolling:
    """What runs side by side in an array, and what its wires take."""

    name: str
    rows: int
    columns: int
    parallel: tuple[Parallel, ...]
    hop_words: float
    energy_j: float

    @property
    def used(self) -> int:
        """Processing elements that work."""
        return prod(side.elements for side in self.parallel)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What one instance of a memory holds of a tensor, and how often it is read and written.

    `tile` has (dimension, extent) of each dimension whose whole extent is more than one. `words` is the
    room that the tile takes; None in the main memory, which has room for all. The tile stays for
    `stays` steps of the loops further out before another takes its place.
    """

    tensor: str
    bits: int
    tile: tuple[tuple[str, int], ...]
    words: int | None
    stays: int
    read_words: float
    written_words: float
    energy_j: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory of the target under a mapping.

    `instances` of it work at once, of `available`. `tied` to the next memory, it has no loops of its
    own: both change tiles together. `passing` are the tensors that it does not hold.
    """

    name: str
    word_bits: int
    capacity_words: int | None
    instances: int
    available: int
    tied: bool
    loops: tuple[Loop, ...]
    holds: tuple[Held, ...]
    passing: tuple[str, ...]
    energy_j: float
    array: Unrolling | None


def explain(layer: Layer, cost: LayerCost, target: Target) -> tuple[Memory, ...]:
    """The memories of a target under the mapping of a layer, outermost first.

    Args:
        layer: the layer with the widths that were priced.
        cost: its cost; nothing is explained of one that has no mapping.
        target: the chip. Where activations stay on the chip, its outermost memory here may be the one
            where they stay.
    """
    mapping, loops = cost.plan, layer.loops
    if mapping is None or loops is None:
        return ()
    if len({name for name, _, _ in mapping.parts} or mapping.stationary) < len(target.levels):
        target = inner_target(target)
    widths = Widths(
        input=cost.input_bits,
        weight=cost.weight_bits,
        output=layer.output_bits,
        partial_sum=cost.accumulator_bits,
    )
    counts = evaluate(mapping, loops, target, widths)
    assert counts is not None, "what was priced fits"
    target = divided(target, mapping.parts)
    found: list[Memory] = []
    instances = available = 1
    parts = stages(target)
    held_by = mapping.holds or tuple(level.holds for level in target.levels)
    for i, (stage, level) in enumerate(zip(parts, target.levels, strict=True)):
        kept = TENSORS if i == 0 else tuple(t for t in TENSORS if t in held_by[i])
        further_in = {tensor for holds in held_by[i + 1 :] for tensor in holds}
        holds: list[Held] = []
        for tensor in kept:
            t = TENSORS.index(tensor)
            bits = (widths.input, widths.weight, widths.output if i == 0 else widths.partial_sum)[t]
            tile = _tile(tensor, loops, mapping.tiles[i])
            read, written = float(counts.reads[i, t]), float(counts.writes[i, t])
            holds.append(
                Held(
                    tensor=tensor,
                    bits=bits,
                    tile=_named(tensor, tile, _tile(tensor, loops, loops.bounds)),
                    words=words(prod(tile), bits, level.word_bits) if i else None,
                    stays=_stays(mapping, i, tensor),
                    read_words=read,
                    written_words=written,
                    energy_j=read * level.read_energy_j + written * level.write_energy_j,
                )
            )
        found.append(
            Memory(
                name=level.name,
                word_bits=level.word_bits,
                capacity_words=level.room_words,
                instances=instances,
                available=available,
                tied=stage.tied,
                loops=_loops(mapping, i, further_in),
                holds=tuple(holds),
                passing=tuple(t for t in TENSORS if t not in kept),
                energy_j=sum(held.energy_j for held in holds),
                array=_unrolling(mapping, i, stage, float(counts.hops[i].sum())),
            )
        )
        instances *= int(mapping.factors[i].prod())
        available *= stage.array.elements if stage.array else 1
    return tuple(found)


def document(report: CostReport, network: Network, target: Target) -> dict[str, Any]:
    """The document of `chipfit cost --json` with what a page of mappings needs besides.

    `memories` has the memories of each layer as `Memory` in plain data, empty without a mapping;
    `bounds` has what limits every layer: multiply-accumulates a second and bits of the main memory a
    second (None: unlimited).

    Args:
        report: the estimate.
        network: what was estimated.
        target: the target on which it was estimated.
    """
    placed, _ = in_target_format(network, target)
    bandwidth = target.main_memory.bandwidth_bits_per_cycle
    return {
        **report.to_json(),
        "clock_hz": target.clock_hz,
        "processing_elements": target.processing_elements,
        "main_memory": target.main_memory.name,
        "bounds": {
            "macs_per_s": target.clock_hz * target.processing_elements,
            "dram_bits_per_s": None if bandwidth is None else bandwidth * target.clock_hz,
        },
        "memories": [
            [asdict(memory) for memory in explain(layer, cost, target)]
            for layer, cost in zip(placed.layers, report.layers, strict=True)
        ],
    }


def _tile(tensor: str, loops: Loops, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Extents of a tile in the order of `SHAPES`."""
    extent: dict[str, int] = dict(zip(DIMENSIONS, extents, strict=True))
    if tensor != "input":
        return tuple(extent[d] for d in SHAPES[tensor])
    rows, columns = (
        _covered(loops, extent, outputs, kernel, side) for side, (outputs, kernel) in enumerate(("PR", "QS"))
    )
    return (extent["N"], extent["G"], extent["C"], rows, columns)


def _covered(loops: Loops, extent: dict[str, int], outputs: str, kernel: str, side: int) -> int:
    """Rows (or columns) of the input that a tile needs, padding left out."""
    found = np.zeros(2)
    whole: dict[str, int] = dict(zip(DIMENSIONS, loops.bounds, strict=True))
    steps = (loops.stride[side], loops.dilation[side], loops.padding[side])
    covered(whole[outputs], whole[kernel], extent[outputs], extent[kernel], *steps, 0, 0, found)
    return int(found[1])


def _named(tensor: str, tile: tuple[int, ...], whole: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    sizes = zip(SHAPES[tensor], tile, whole, strict=True)
    return tuple((dimension, extent) for dimension, extent, most in sizes if most > 1)


def _inside_out(mapping: Mapping, stage: int) -> Iterator[tuple[str, int]]:
    """Loops of more than one iteration of a stage, innermost first."""
    for d in reversed(ORDER[TENSORS.index(mapping.stationary[stage])]):
        if (iterations := mapping.iterations(stage, int(d))) > 1:
            yield DIMENSIONS[d], iterations


def _stays(mapping: Mapping, stage: int, tensor: str) -> int:
    """Iterations of the loops outside a stage during which its tile of a tensor stays."""
    steps = 1
    for outer in range(stage - 1, -1, -1):
        for dimension, iterations in _inside_out(mapping, outer):
            if dimension in RELEVANT[tensor]:
                return steps
            steps *= iterations
    return steps


def _independent(dimension: str) -> str:
    """The tensor that does not depend on a dimension, or ''."""
    return next((tensor for tensor in TENSORS if dimension not in RELEVANT[tensor]), "")


def _loops(mapping: Mapping, stage: int, further_in: set[str]) -> tuple[Loop, ...]:
    found: list[Loop] = []
    stays, unbroken = "", True
    for dimension, iterations in _inside_out(mapping, stage):
        own = _independent(dimension)
        stays = stays if found else own
        unbroken = unbroken and own == stays
        d = DIMENSIONS.index(dimension)
        step = mapping.tiles[stage + 1][d] * int(mapping.factors[stage, d])
        found.append(
            Loop(
                dimension=dimension,
                iterations=iterations,
                step=step,
                ragged=mapping.tiles[stage][d] % step > 0,
                stays=stays if unbroken and stays in further_in else "",
            )
        )
    return tuple(reversed(found))


def _unrolling(mapping: Mapping, i: int, stage: Stage, hop_words: float) -> Unrolling | None:
    if stage.array is None:
        return None
    parallel = [
        Parallel(dimension=DIMENSIONS[d], elements=factor, side=side, shares=_independent(DIMENSIONS[d]))
        for side, factors in (("rows", mapping.rows[i]), ("columns", mapping.columns[i]))
        for d, factor in enumerate(factors)
        if factor > 1
    ]
    return Unrolling(
        name=stage.array.name,
        rows=stage.array.rows,
        columns=stage.array.columns,
        parallel=tuple(parallel),
        hop_words=hop_words,
        energy_j=hop_words * stage.array.hop_energy_j,
    )

"""Layers on a systolic array that holds one operand still, cycle for cycle as SCALE-Sim counts.

A nest is a matrix product of an `m x k` input and a `k x n` weight: `m = N P Q` output positions,
`k = C R S` terms, `n = K` output channels. Groups are products of their own, one after the other.
The array works through the product in folds, blocks of what it holds still:

    dataflow   rows hold   columns hold   streams by
    ws         k           n              m            weights stay
    is         k           m              n            inputs stay
    os         m           n              k            partial sums stay

A fold fills the array, streams, and drains it before the next one starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chipfit.cost.base import AbstractEstimator, LayerCost
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.roofline import touched
from chipfit.cost.traffic import Traffic, slowest_part, streamed, traffic_cost, words
from chipfit.errors import MappingError, nearest
from chipfit.hardware.target import MemoryLevel, Target
from chipfit.workload.network import Layer, Loops

#: What each dataflow holds still.
DATAFLOWS = {"ws": "weight-stationary", "is": "input-stationary", "os": "output-stationary"}


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix product on an array: folds along rows and columns, cycles, and words at its edge.

    `cycles` is what SCALE-Sim reports: the number of the last cycle, where the first is 0. Padding
    counts as read. A product of k terms in f folds of them writes each output f times, f - 1 times
    as a partial sum.
    """

    row_folds: int
    column_folds: int
    cycles: int
    input_reads: int
    weight_reads: int
    output_writes: int


def product(dataflow: str, m: int, k: int, n: int, *, rows: int, columns: int) -> Product:
    """An `m x k` by `k x n` product on an array of `rows x columns`.

    Raises:
        MappingError: there is no such dataflow.

    Source:
        SCALE-Sim 3.0.0, `compute/systolic_compute_{ws,is,os}.py`; Samajdar et al., ISPASS 2020.
        Differs: for os its report adds `rows + columns` to the output writes of each fold, which
        its own trace of those writes does not have; they are not counted here. In both, results of
        os leave as they are finished: shifting them out takes no cycles.

    >>> product("ws", 4, 3, 2, rows=2, columns=2)  # 2 folds of k, 4 + 2*2 + 2 - 2 = 8 cycles each
    Product(row_folds=2, column_folds=1, cycles=15, input_reads=12, weight_reads=6, output_writes=16)
    """
    _check(dataflow)
    held_by_rows, held_by_columns, stream = {"ws": (k, n, m), "is": (k, m, n), "os": (m, n, k)}[dataflow]
    row_folds, column_folds = -(-held_by_rows // rows), -(-held_by_columns // columns)
    load = 0 if dataflow == "os" else rows  # what stays is shifted in first, a row a cycle
    fold_cycles = load + stream + (rows - 1) + (columns - 1)
    return Product(
        row_folds=row_folds,
        column_folds=column_folds,
        cycles=row_folds * column_folds * fold_cycles - 1,
        input_reads=m * k * (1 if dataflow == "is" else column_folds),
        weight_reads=k * n * {"ws": 1, "is": column_folds, "os": row_folds}[dataflow],
        output_writes=m * n * (1 if dataflow == "os" else row_folds),
    )


@dataclass(frozen=True, kw_only=True)
class Systolic(AbstractEstimator):
    """A fixed dataflow on all rows and columns of a target's arrays, without a mapper.

    `dataflow` is 'ws', 'is' or 'os': weights, inputs or partial sums stay. The arrays of a target
    count as one, of the product of their rows and of their columns; what may run along them
    is not asked. An operand is read from, and an output written to, the innermost memory
    outside the arrays that holds it. Charged: these accesses, each tensor that has a memory on the
    chip once through main memory, multiply-accumulates, static power. `LayerCost.mapping` has the
    accesses; the time of "compute" is SCALE-Sim's cycles without stalls.
    """

    dataflow: str = "ws"

    def __post_init__(self) -> None:
        _check(self.dataflow)

    @property
    def method(self) -> str:
        """How the numbers come about."""
        return f"{DATAFLOWS[self.dataflow]} systolic array as SCALE-Sim, closed form"

    @property
    def error(self) -> str:
        """The known error of the method."""
        return (
            "compute cycles (stall-free) and accesses at the edge of the array equal SCALE-Sim 3.0.0; groups "
            "run one after the other, as its layers named DP. Memories on the chip never make the array "
            "wait; a tensor with a memory on the chip passes main memory once even where it does not fit "
            "(SCALE-Sim: inputs more often, and every partial sum). Registers in the array, filling of "
            "memories and reading back of partial sums are free"
        )

    def layer(self, layer: Layer, target: Target) -> LayerCost:
        """The cost of one layer at the bit widths that its tensors state."""
        if layer.loops is None:
            return traffic_cost(layer, target)
        loops = layer.loops
        rows, columns = array_size(target)
        m, k, n = loops.N * loops.P * loops.Q, loops.C * loops.R * loops.S, loops.K
        one = product(self.dataflow, m, k, n, rows=rows, columns=columns)
        accumulator_bits = target.accumulator_bits(layer.weight_bits, layer.input_bits, layer.exact_sum_bits)
        memory = target.main_memory
        chip_energy, traffic = _moved(layer, loops, one, accumulator_bits, target)
        mac_j = mac_energy_j(layer, target, accumulator_bits)
        energy = {"MAC": mac_j * layer.macs, memory.name: traffic.energy_j(target), **chip_energy}
        # SCALE-Sim's number of cycles is short by one, which shows on a single element only.
        cycles = max(loops.G * one.cycles, -(-layer.macs // (rows * columns)))
        time = {"compute": cycles / target.clock_hz, memory.name: traffic.latency_s(target)}
        return slowest_part(
            layer,
            target,
            energy=energy,
            time=time,
            dram_bits=traffic.bits(target),
            accumulator_bits=accumulator_bits,
            mapping=_describe(self.dataflow, one, loops.G, target),
        )


def array_size(target: Target) -> tuple[int, int]:
    """Rows and columns of all arrays of a target taken as one."""
    return (
        math.prod(array.rows for array in target.arrays),
        math.prod(array.columns for array in target.arrays),
    )


def edge(target: Target, tensor: str) -> MemoryLevel:
    """The innermost memory outside the arrays that holds a tensor ('input', 'weight', 'output')."""
    names = [level.name for level in target.levels]
    inner = min((names.index(array.below) for array in target.arrays), default=len(names) - 1)
    return next(level for level in reversed(target.levels[: inner + 1]) if tensor in level.holds)


def _check(dataflow: str) -> None:
    if dataflow not in DATAFLOWS:
        raise MappingError(f"unknown dataflow '{dataflow}'{nearest(dataflow, DATAFLOWS)}")


def _moved(
    layer: Layer, loops: Loops, one: Product, accumulator_bits: int, target: Target
) -> tuple[dict[str, float], Traffic]:
    """Energy of the accesses of each operand on the chip (J), and what passes main memory."""
    outputs, writes = loops.output_elements, loops.G * one.output_writes
    accesses = {  # elements and their bits: of the writes of an output, the last one is the result
        "input": [(loops.G * one.input_reads, layer.input_bits)],
        "weight": [(loops.G * one.weight_reads, layer.weight_bits)],
        "output": [(outputs, layer.output_bits), (writes - outputs, accumulator_bits)],
    }
    touched_rows = touched(loops.P, loops.R, loops.stride[0], loops.dilation[0], loops.padding[0])
    touched_columns = touched(loops.Q, loops.S, loops.stride[1], loops.dilation[1], loops.padding[1])
    inputs = loops.N * loops.G * loops.C * touched_rows * touched_columns
    word_bits = target.main_memory.word_bits
    passing = {
        "input": words(inputs, layer.input_bits, word_bits),
        "weight": words(loops.weight_elements, layer.weight_bits, word_bits),
        "output": words(outputs, layer.output_bits, word_bits),
    }
    energy: dict[str, float] = {}
    for tensor, counts in accesses.items():
        level = edge(target, tensor)
        moved = sum(words(count, bits, level.word_bits) for count, bits in counts)
        if level is target.main_memory:
            passing[tensor] = moved
        else:
            access_j = level.write_energy_j if tensor == "output" else level.read_energy_j
            energy[f"{level.name} {tensor}"] = moved * access_j
    beside = streamed(layer, target)
    traffic = Traffic(
        read_words=passing["input"] + passing["weight"] + beside.read_words,
        write_words=passing["output"] + beside.write_words,
    )
    return energy, traffic


def _describe(dataflow: str, one: Product, groups: int, target: Target) -> str:
    """Folds, cycles and accesses as people read them; accesses in elements, not in words."""
    rows, columns = array_size(target)
    products = f"{groups} products, each " if groups > 1 else ""
    return " | ".join(
        [
            f"{DATAFLOWS[dataflow]} {rows} x {columns}: {products}"
            f"{one.row_folds} x {one.column_folds} folds, {one.cycles} cycles",
            f"input: {groups * one.input_reads} reads of {edge(target, 'input').name}",
            f"weight: {groups * one.weight_reads} reads of {edge(target, 'weight').name}",
            f"output: {groups * one.output_writes} writes of {edge(target, 'output').name}",
        ]
    )

"""Layers on an array that skips zeros: the slowest element of a pass holds all others.

Row r of the array holds an input channel, column q a kernel; a processing element works through the 2-D
kernel of both, one pair of a non-zero activation and a non-zero weight a cycle. With `C` channels and `K`
kernels a layer takes ceil(C / rows) · ceil(K / columns) passes:

    cycles = sum over passes of (pairs of the slowest element + rows + columns − 2)

What the target's `sparse` section says otherwise: see `hardware/sparse.py`. Several images are priced
each, and their mean is the cost. Main memory moves tensors as they are stored, one of them once and the
other as often as the first has parts that fit its memory:

    inputs first = S_I + S_W · ceil(S_I / B_I) + S_O        weights first = S_W + S_I · ceil(S_W / B_W) + S_O
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chipfit.cost.base import AbstractEstimator, Cost, LayerCost
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.mapping.systolic import array_size
from chipfit.cost.sparse.detail import SparseDetail
from chipfit.cost.sparse.operands import Operands, density_of, operands
from chipfit.cost.sparse.storage import Moved, moved
from chipfit.cost.sparse.work import Work, work_of
from chipfit.cost.traffic import traffic_cost
from chipfit.errors import MappingError, nearest
from chipfit.hardware.sparse import PAIRS, SparseArray
from chipfit.hardware.target import TENSORS, Target
from chipfit.units import binary
from chipfit.workload.network import Layer, Loops
from chipfit.workload.zeros import Zeros


@dataclass(frozen=True, kw_only=True)
class SparseEstimator(AbstractEstimator):
    """Cycles, energy and traffic from the zeros of a network, on a target with a `sparse` section.

    `zeros` has the masks; where it has none of a tensor, what the network states of it counts, and
    a tensor of which nothing is known has no zeros. `pairs` is 'matched' or 'cartesian'; '' is what
    the target says.
    """

    zeros: Zeros = field(default_factory=Zeros)
    pairs: str = ""

    def __post_init__(self) -> None:
        if self.pairs and self.pairs not in PAIRS:
            raise MappingError(f"unknown way to count pairs '{self.pairs}'{nearest(self.pairs, PAIRS)}")

    @property
    def method(self) -> str:
        """How the numbers come about."""
        how = {"": "pairs as the target counts them", "matched": "matched pairs", "cartesian": "all products"}
        return f"sparse array, the slowest element holds the pass; {how[self.pairs]}"

    @property
    def error(self) -> str:
        """The known error of the method."""
        return (
            "with masks of both operands, matched pairs and cycles equal a step-by-step walk; with fractions "
            "of zeros only, elements differ by channels alone, and cycles are too few. Memories on the chip "
            "never make the array wait; wires in the array are free"
        )

    def layer(self, layer: Layer, target: Target) -> LayerCost:
        """The cost of one layer at the bit widths that its tensors state.

        Raises:
            MappingError: the target does not say what its array does about zeros, or has no memory on
                the chip for a tensor.
            NetworkError: a mask does not fit the layer.
        """
        options = self._options(target)
        if layer.loops is None:
            return traffic_cost(layer, target)
        known = operands(layer, layer.loops, self.zeros)
        rows, columns = array_size(target)
        work = work_of(known, options, rows, columns)
        folds = -(-layer.loops.K // columns)
        move = moved(layer, layer.loops, known, self.zeros, options, target, work.row_folds, folds)
        return _priced(layer, target, options, known, work, move)

    def remarks(self, layers: Sequence[Layer], target: Target) -> tuple[str, ...]:
        """How many operands nothing is known of."""
        nests = [layer for layer in layers if layer.loops is not None]
        inputs = [density_of(layer.inputs[0], self.zeros) is None for layer in nests]
        weights = [
            layer.weight is not None and layer.weight.zeros is None and layer.name not in self.zeros.weights
            for layer in nests
        ]
        found = [f"{sum(inputs)} of {len(nests)} inputs"] if any(inputs) else []
        found += [f"{sum(weights)} of {len(nests)} weights"] if any(weights) else []
        hint = "; --calibration DIR finds those of inputs" if any(inputs) else ""
        return (f"zeros of {' and '.join(found)} are not known: taken as none{hint}",) if found else ()

    def _options(self, target: Target) -> SparseArray:
        if target.sparse is None:
            what = "does not say what its array does about zeros"
            raise MappingError(f"target '{target.name}' {what}: it has no 'sparse' section")
        return replace(target.sparse, pairs=self.pairs) if self.pairs else target.sparse


def _priced(
    layer: Layer, target: Target, options: SparseArray, known: Operands, work: Work, move: Moved
) -> LayerCost:
    loops = known.loops
    memory = target.main_memory
    accumulator_bits = target.accumulator_bits(layer.weight_bits, layer.input_bits, layer.exact_sum_bits)
    mac_j = mac_energy_j(layer, target, accumulator_bits)
    energy = {"MAC": mac_j * work.multiplications, memory.name: move.traffic.energy_j(target)}
    for name, joules in (*move.energy_j.items(), *_beside_multipliers(target, work).items()):
        energy[name] = energy.get(name, 0.0) + joules
    time = {"compute": work.cycles / target.clock_hz, memory.name: move.traffic.latency_s(target)}
    latency_s = max(time.values())
    if target.static_power_w:
        energy["static"] = target.static_power_w * latency_s
    capacity = latency_s * target.clock_hz * target.processing_elements
    detail = SparseDetail(
        cycles=work.cycles,
        pairs=work.pairs,
        passes=work.passes,
        imbalance=work.imbalance,
        dataflow=move.dataflow,
        stored_bits=move.stored_bits,
        dense_bits=move.dense_bits,
        cartesian_cycles=work.cartesian_cycles,
        loads=work.loads,
    )
    return LayerCost(
        name=layer.name,
        operator=layer.operator,
        cost=Cost(latency_s=latency_s, energy_j=sum(energy.values()), dram_bits=move.traffic.bits(target)),
        macs=layer.macs,
        utilization=min(1.0, work.pairs / capacity) if capacity else 0.0,
        energy_by_component_j=energy,
        latency_by_component_s=time,
        input_bits=layer.input_bits,
        weight_bits=layer.weight_bits,
        accumulator_bits=accumulator_bits,
        mapping=_describe(loops, options, detail),
        sparse=detail,
    )


def _beside_multipliers(target: Target, work: Work) -> dict[str, float]:
    """Energy of the memories inside the arrays (J): pairs read both operands, and read and write a sum."""
    names = [level.name for level in target.levels]
    inner = min((names.index(array.below) for array in target.arrays), default=len(names) - 1)
    found: dict[str, float] = {}
    for level in target.levels[inner + 1 :]:
        reads = sum(tensor in level.holds for tensor in TENSORS)
        writes = 1 if "output" in level.holds else 0
        found[level.name] = work.pairs * (reads * level.read_energy_j + writes * level.write_energy_j)
    return found


def _describe(loops: Loops, options: SparseArray, detail: SparseDetail) -> str:
    """Passes, cycles and sizes as people read them."""
    parts = [
        f"{detail.passes} {options.passes} passes, {detail.cycles:.0f} cycles for {detail.pairs:.0f} of "
        f"{loops.macs} multiplications, imbalance {detail.imbalance:.2f}",
        f"{detail.dataflow.replace('_', ' ')}",
    ]
    dense = dict(detail.dense_bits)
    parts += [
        f"{tensor}: {options.format_of(tensor).replace('_', ' ')}, {binary(bits)} of {binary(dense[tensor])}"
        for tensor, bits in detail.stored_bits
    ]
    if detail.cartesian_cycles is not None:
        parts.append(f"{detail.cartesian_cycles:.0f} cycles if all non-zeros meet")
    return " | ".join(parts)

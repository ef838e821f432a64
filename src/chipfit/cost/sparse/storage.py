"""What tensors with zeros take in memory, and what of them moves between memories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chipfit.cost.mapping.systolic import edge
from chipfit.cost.sparse.formats import expected_bits, stored_bits, structured_bits
from chipfit.cost.sparse.operands import Operands, activation_bits
from chipfit.cost.sparse.work import kept_weights
from chipfit.cost.traffic import Traffic, streamed
from chipfit.errors import MappingError
from chipfit.hardware.sparse import SparseArray
from chipfit.hardware.target import TENSORS, Target, words
from chipfit.workload.network import Layer, Loops, Tensor
from chipfit.workload.zeros import Zeros


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Words through main memory, the energy of the memories on the chip (J), and sizes (bits)."""

    traffic: Traffic
    energy_j: Mapping[str, float]
    dataflow: str
    stored_bits: tuple[tuple[str, float], ...]
    dense_bits: tuple[tuple[str, float], ...]


def moved(
    layer: Layer,
    loops: Loops,
    known: Operands,
    zeros: Zeros,
    options: SparseArray,
    target: Target,
    row_folds: int,
    column_folds: int,
) -> Moved:
    """What a layer moves.

    The memory of an operand is written as often as it is fetched; inputs are read once for every
    `column_folds` kernels at once, weights once; partial sums are added to `row_folds` times.

    Raises:
        MappingError: the target has no memory on the chip for a tensor.
    """
    assert layer.weight is not None
    levels = {tensor: edge(target, tensor) for tensor in TENSORS}
    missing = [tensor for tensor, level in levels.items() if level is target.main_memory]
    if missing:
        raise MappingError(
            f"layer '{layer.name}': target '{target.name}' has no memory on the chip for {', '.join(missing)}"
        )
    sizes = {
        "input": activation_bits(layer.inputs[0], zeros, options, "input"),
        "weight": _weight_bits(layer.weight, known, zeros, options),
        "output": activation_bits(layer.outputs[0], zeros, options, "output"),
    }
    tensors = {"input": layer.inputs[0], "weight": layer.weight, "output": layer.outputs[0]}

    def in_words(tensor: str, word_bits: int) -> int:
        if options.format_of(tensor) == "dense":
            return words(tensors[tensor].elements, tensors[tensor].bits, word_bits)
        return math.ceil(sizes[tensor] / word_bits)

    fetches = _fetches(sizes, {tensor: level.size_bits for tensor, level in levels.items()}, options.dataflow)
    word_bits = target.main_memory.word_bits
    beside = streamed(layer, target)
    traffic = Traffic(
        read_words=sum(in_words(t, word_bits) * fetches[t] for t in ("input", "weight")) + beside.read_words,
        write_words=in_words("output", word_bits) + beside.write_words,
    )
    energy: dict[str, float] = {}
    for tensor, reads in (("input", column_folds), ("weight", loops.N)):
        level, size = levels[tensor], in_words(tensor, levels[tensor].word_bits)
        joules = size * (fetches[tensor] * level.write_energy_j + reads * level.read_energy_j)
        energy[f"{level.name} {tensor}"] = joules
    level = levels["output"]
    accumulator_bits = target.accumulator_bits(layer.weight_bits, layer.input_bits, layer.exact_sum_bits)
    partial = (row_folds - 1) * words(loops.output_elements, accumulator_bits, level.word_bits)
    final = words(loops.output_elements, layer.output_bits, level.word_bits)
    reads = partial + in_words("output", level.word_bits)
    energy[f"{level.name} output"] = reads * level.read_energy_j + (partial + final) * level.write_energy_j
    return Moved(
        traffic=traffic,
        energy_j=energy,
        dataflow="inputs_first" if fetches["order"] else "weights_first",
        stored_bits=tuple(sizes.items()),
        dense_bits=tuple((name, float(tensor.size_bits)) for name, tensor in tensors.items()),
    )


def _fetches(sizes: Mapping[str, float], capacity: Mapping[str, int | None], dataflow: str) -> dict[str, int]:
    """How often each operand is fetched; 'order' is 1 where inputs stay and weights pass.

    >>> _fetches({"input": 100, "weight": 30}, {"input": 40, "weight": 40}, "adaptive")
    {'input': 1, 'weight': 1, 'order': 0}
    >>> _fetches({"input": 100, "weight": 30}, {"input": 40, "weight": 40}, "inputs_first")
    {'input': 1, 'weight': 3, 'order': 1}
    """

    def parts(tensor: str) -> int:
        limit = capacity[tensor]
        return 1 if limit is None else max(1, math.ceil(sizes[tensor] / limit))

    inputs_first = {"input": 1, "weight": parts("input"), "order": 1}
    weights_first = {"input": parts("weight"), "weight": 1, "order": 0}
    if dataflow != "adaptive":
        return inputs_first if dataflow == "inputs_first" else weights_first

    def total(fetches: Mapping[str, int]) -> float:
        return sizes["input"] * fetches["input"] + sizes["weight"] * fetches["weight"]

    return min((inputs_first, weights_first), key=total)


def _weight_bits(weight: Tensor, known: Operands, zeros: Zeros, options: SparseArray) -> float:
    """Size of the weights as a target stores them (bits)."""
    loops, name = known.loops, options.format_of("weight")
    if not weight.constant:
        structured = name == "structured"
        return float(weight.size_bits) if structured else activation_bits(weight, zeros, options, "weight")
    if name == "structured":
        structure = options.structure
        kept = None if structure is None else kept_weights(known, structure)
        if kept is None or structure is None or int(kept.max()) == structure.of:
            return float(weight.size_bits)
        blocks = -(-loops.C // structure.of) * loops.R * loops.S
        return float(min(structured_bits(kept, blocks, structure.of, weight.bits), weight.size_bits))
    rows = loops.G * loops.K
    if known.weights is not None:
        mask = known.weights.view(np.bool_).reshape(rows, -1)
        return float(stored_bits(name, mask, weight.bits, run_bits=options.run_bits))
    density = 1.0 if known.weight_density is None else known.weight_density
    return expected_bits(
        name, rows, loops.weight_elements // rows, density, weight.bits, run_bits=options.run_bits
    )

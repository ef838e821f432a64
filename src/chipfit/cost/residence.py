"""Layers on a chip whose activations stay in a memory on the chip between layers.

The nest of a layer is then priced on the *inner* target, whose main memory is that memory. Constants
cross the real main memory once: the activations being there whole, weights may come a slice of output
channels at a time, so once is both enough and the least. They are written into the inner memory, from
where the nest reads them; their transfer overlaps with the layer itself (not with others').

Operators of `Target.vector_cycles` run before or after the nest on the same datapath: their cycles add
to it. One that is fused into a nest writes and reads the values in between once more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from chipfit.hardware.target import MemoryLevel, Target, words
from chipfit.workload.network import Layer, Network, Tensor


def inner_target(target: Target) -> Target:
    """The chip from the memory inwards where activations stay, which is unbounded here."""
    assert target.activations is not None
    place = [level.name for level in target.levels].index(target.activations.level)
    outermost = replace(target.levels[place], size_bits=None)
    return replace(
        target,
        levels=(outermost, *target.levels[place + 1 :]),
        activations=None,
        coded_weights=False,
        vector_cycles={},
    )


def stored_activations_bits(network: Network, target: Target) -> int:
    """Largest total of activations alive at once as the target stores them (bits).

    Channels (the second axis of four) of what one layer writes and another reads are rounded up.
    """
    residence = target.activations
    if residence is None or residence.channels == 1:
        return network.peak_activation_bits
    written = {tensor.name for layer in network.layers for tensor in layer.outputs}
    read = {tensor.name for layer in network.layers for tensor in layer.inputs}
    between = written & read

    def change(tensor: Tensor) -> Tensor:
        if tensor.constant or len(tensor.shape) != 4 or tensor.name not in between:
            return tensor
        batch, channels, *size = tensor.shape
        channels = -(-channels // residence.channels) * residence.channels
        return replace(tensor, shape=(batch, channels, *size))

    return network.map_tensors(change).peak_activation_bits


def constants(layer: Layer) -> tuple[Tensor, ...]:
    """What a layer reads of constants."""
    operands = (*layer.inputs, *((layer.weight,) if layer.weight else ()))
    return tuple(tensor for tensor in operands if tensor.constant)


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a layer takes beside the cost that an estimator states: energy and time of components."""

    energy_j: Mapping[str, float]
    time_s: Mapping[str, float]
    dram_bits: float = 0.0


def fetched(layer: Layer, target: Target) -> Extra:
    """What the constants of a layer take on their way from the main memory to where activations stay."""
    assert target.activations is not None
    memory, inside = target.main_memory, target.level(target.activations.level)
    read = written = 0
    for tensor in constants(layer):
        if target.coded_weights and tensor.stored_bits is not None:
            bits = tensor.elements * min(tensor.stored_bits, float(tensor.bits))
            read += math.ceil(bits / memory.word_bits)
        else:
            read += words(tensor.elements, tensor.bits, memory.word_bits)
        written += words(tensor.elements, tensor.bits, inside.word_bits)
    return Extra(
        energy_j={memory.name: read * memory.read_energy_j, inside.name: written * inside.write_energy_j},
        time_s=_time(memory, read, target),
        dram_bits=read * memory.word_bits,
    )


def vector_work(layer: Layer, target: Target) -> Extra | None:
    """What the operators of a layer take that have the datapath for themselves; None without any."""
    fused = [op for op in layer.fused if op in target.vector_cycles]
    alone = [layer.operator] if layer.loops is None and layer.operator in target.vector_cycles else []
    if not fused and not alone:
        return None
    output = layer.outputs[0]
    cycles = sum(target.vector_cycles[op] for op in (*fused, *alone)) * output.elements
    resident = target.activations is not None
    place = target.level(target.activations.level) if target.activations else target.main_memory
    # What is fused is written, and read again.
    moved = len(fused) * words(output.elements, output.bits, place.word_bits)
    return Extra(
        energy_j={place.name: moved * (place.read_energy_j + place.write_energy_j)},
        time_s={"compute": cycles / target.clock_hz, **_time(place, 2 * moved, target)},
        dram_bits=0.0 if resident else 2 * moved * place.word_bits,
    )


def _time(memory: MemoryLevel, words: int, target: Target) -> dict[str, float]:
    bandwidth = memory.bandwidth_bits_per_cycle
    return {} if bandwidth is None else {memory.name: words * memory.word_bits / bandwidth / target.clock_hz}

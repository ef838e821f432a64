"""The least that any mapping can take: every tensor once through main memory, every multiply once.

Charged: main-memory words (each tensor of the nest once, at its own bits, only the rows and columns
that are touched), multiply-accumulates, static power over the time. Not charged: memories on the
chip, hops, biases. Hence a lower bound of every other estimator on the same target.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from chipfit.cost.base import AbstractEstimator, LayerCost
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.traffic import Traffic, slowest_part, streamed, traffic_cost, words
from chipfit.hardware.target import Target
from chipfit.workload.network import Layer, Loops


@dataclass(frozen=True, kw_only=True)
class Roofline(AbstractEstimator):
    """Compulsory traffic and arithmetic: a lower bound of energy, latency and traffic."""

    @property
    def method(self) -> str:
        """How the numbers come about."""
        return "roofline: each tensor once through main memory, each multiply once"

    @property
    def error(self) -> str:
        """The known error."""
        return "a lower bound: the memories on the chip are free"

    def layer(self, layer: Layer, target: Target) -> LayerCost:
        """The least that one layer can take at the bit widths that its tensors state."""
        if layer.loops is None:
            return traffic_cost(layer, target)
        accumulator_bits = target.accumulator_bits(layer.weight_bits, layer.input_bits, layer.exact_sum_bits)
        mac_j = mac_energy_j(layer, target, accumulator_bits)
        traffic = compulsory(layer, layer.loops, target)
        memory = target.main_memory.name
        compute_s = layer.macs / (target.processing_elements * target.clock_hz)
        time = {"compute": compute_s, memory: traffic.latency_s(target)}
        return slowest_part(
            layer,
            target,
            energy={"MAC": mac_j * layer.macs, memory: traffic.energy_j(target)},
            time=time,
            dram_bits=traffic.bits(target),
            accumulator_bits=accumulator_bits,
        )


def compulsory(layer: Layer, loops: Loops, target: Target) -> Traffic:
    """Main-memory words that no mapping of a nest can avoid."""
    word_bits = target.main_memory.word_bits
    rows = touched(loops.P, loops.R, loops.stride[0], loops.dilation[0], loops.padding[0])
    columns = touched(loops.Q, loops.S, loops.stride[1], loops.dilation[1], loops.padding[1])
    inputs = loops.N * loops.G * loops.C * rows * columns
    beside = streamed(layer, target)
    return Traffic(
        read_words=words(inputs, layer.input_bits, word_bits)
        + words(loops.weight_elements, layer.weight_bits, word_bits)
        + beside.read_words,
        write_words=words(loops.output_elements, layer.output_bits, word_bits) + beside.write_words,
    )


@functools.lru_cache(maxsize=4096)
def touched(outputs: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    """Rows (or columns) of the input that are read at least once, without padding.

    Of the padding, half lies before the input, and the odd row if there is one.

    >>> touched(4, 1, 2, 1, 0)  # a 1 x 1 kernel at stride 2 skips every other row of seven
    4
    >>> touched(4, 3, 1, 1, 2)  # 'same' padding of four rows
    4
    """
    hull = (outputs - 1) * stride + (kernel - 1) * dilation + 1
    first = (padding + 1) // 2
    end = first + max(1, hull - padding)
    rows = {p * stride + r * dilation for p in range(outputs) for r in range(kernel)}
    return max(0, sum(first <= row < end for row in rows))

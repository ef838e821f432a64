"""What layers cost at all settings of their bit widths, in one array.

Settings of which as many elements fit the words of every memory are one mapping problem, and so are layers
of one shape: each is searched once. For 'edp', where the energy of multiplications matters as well, settings
between two that have one best mapping need no search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chipfit.cost.base import AbstractEstimator
from chipfit.cost.mapping.analytical import Analytical
from chipfit.hardware.target import Target
from chipfit.workload.network import Layer

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

#: The quantities of a grid: J, s, bits.
QUANTITIES = ("energy", "latency", "dram")


def grid(
    layers: Sequence[Layer],
    target: Target,
    *,
    weight_bits: Sequence[int] = tuple(range(2, 9)),
    activation_bits: Sequence[int] = tuple(range(2, 9)),
    estimator: AbstractEstimator | None = None,
) -> Float[np.ndarray, "layer weight activation quantity"]:
    """The costs of layers at all pairs of widths of their weights and of their input.

    Args:
        layers: the layers; variants of a layer in its channels are layers like others. Outputs, and what
            fused layers read besides, keep their widths; a layer without weights keeps all.
        target: the chip.
        weight_bits: widths of weights (bits).
        activation_bits: widths of inputs (bits).
        estimator: who prices (default: `Analytical()`).

    Returns:
        [layer, weight width, activation width, energy (J) | latency (s) | main-memory traffic (bits)].

    Raises:
        MappingError: a layer cannot run on the target.
    """
    variants = [
        _at(layer, weights, inputs)
        for layer in layers
        for weights in weight_bits
        for inputs in activation_bits
    ]
    costs = (estimator or Analytical()).table(variants, target)
    return costs.reshape(len(layers), len(weight_bits), len(activation_bits), len(QUANTITIES))


def _at(layer: Layer, weight_bits: int, activation_bits: int) -> Layer:
    """The layer with weights and input of these widths. What is known of its weights holds no longer."""
    if layer.loops is None or layer.weight is None:
        return layer
    weight = replace(layer.weight, bits=weight_bits, floating=False, largest_sum=None, values=None)
    first = replace(layer.inputs[0], bits=activation_bits, floating=False)
    return replace(layer, inputs=(first, *layer.inputs[1:]), weight=weight)

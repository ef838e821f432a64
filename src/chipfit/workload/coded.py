"""Weights as a lossless coder stores them: as many bits as the entropy of their codes.

The codes of floating-point weights are those of symmetric rounding to the widths that a network
states: a scale for each output channel of a convolution (the first axis), one for a matrix. That is
what TensorFlow Lite's 8-bit scheme does (recalled). A channel that is nothing beside the others
(training leaves dead ones at 1e-30) rounds to zero, where a scale of its own would make noise of it
(ours). Real coders take more than the entropy: docs/fidelity.md compares it with Vela's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipfit.workload.network import Network, Tensor

#: Below the resolution of a 32-bit floating-point number beside the largest of its tensor.
_NOTHING = 2.0**-24


def entropy_bits(codes: NDArray[np.int64]) -> float:
    """Least mean bits of a code when each is coded by itself.

    >>> entropy_bits(np.array([0, 0, 0, 0, 1, 1, -1, 2]))  # 1/2, 1/4, 1/8, 1/8
    1.75
    """
    _, counts = np.unique(codes, return_counts=True)
    share = counts / codes.size
    return float(-(share * np.log2(share)).sum()) + 0.0


def rounded(values: NDArray[Any], bits: int) -> NDArray[np.int64]:
    """Codes of weights rounded symmetrically to `bits`, in their order.

    >>> rounded(np.array([[1.0, -0.5], [0.1, 0.0]]), bits=3)
    array([[ 3, -2],
           [ 0,  0]])
    """
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64)
    axes = tuple(range(1, values.ndim)) if values.ndim > 2 else None
    largest = np.max(np.abs(values), axis=axes, keepdims=True).astype(np.float64)
    alive = largest > _NOTHING * largest.max()
    step = np.where(alive, largest, np.inf) / (2 ** (bits - 1) - 1)
    return np.rint(values / step).astype(np.int64)


def with_coded_weights(network: Network, values: Mapping[str, NDArray[Any]]) -> Network:
    """The network with `stored_bits` of every constant of which `values` has the elements by name."""

    def change(tensor: Tensor) -> Tensor:
        if not tensor.constant or tensor.floating or tensor.name not in values:
            return tensor
        bits = entropy_bits(rounded(values[tensor.name], tensor.bits))
        return replace(tensor, stored_bits=min(bits, float(tensor.bits)))

    return network.map_tensors(change)

"""A processing element on compressed operands, as in Eyeriss v2: a cycle for every pair of non-zeros.

Axes: `position` = places of the output, `channel` = input channels, `kernel` = output channels.

Source: cycles of eight pointwise layers from the designers' simulator, published with their zero masks in
the artifact of Wu et al., "Sparseloop", MICRO 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chipfit.errors import NetworkError

Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class PointwiseMasks:
    """Where the operands of a pointwise layer are not zero, and the cycles that others state for it.

    `inputs` has shape (position, channel), `weights` (kernel, channel).
    """

    inputs: Flags
    weights: Flags
    cycles: int | None = None


def pair_cycles(inputs: Flags, weights: Flags) -> int:
    """Cycles of a pointwise layer: the pairs of a non-zero activation and a non-zero weight.

    Args:
        inputs: shape (position, channel).
        weights: shape (kernel, channel).

    Raises:
        NetworkError: the channels differ.

    >>> pair_cycles(np.array([[1, 0], [1, 1]], bool), np.array([[1, 1]], bool))  # 2*1 + 1*1
    3
    """
    _check(inputs, weights)
    return int(np.count_nonzero(inputs, axis=0) @ np.count_nonzero(weights, axis=0))


def uniform_cycles(inputs: Flags, weights: Flags) -> float:
    """What an estimate from the two densities alone says: zeros in every channel alike.

    Raises:
        NetworkError: the channels differ.
    """
    _check(inputs, weights)
    return float(np.count_nonzero(inputs)) * float(np.count_nonzero(weights)) / inputs.shape[1]


def load_masks(path: Path) -> PointwiseMasks:
    """The masks of an `.npz` file: `shape` = (positions, kernels, channels); `inputs` and `weights` packed
    in bits, row by row; `cycles`, if known.

    Raises:
        NetworkError: there is no such file, or it holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            positions, kernels, channels = (int(size) for size in data["shape"])
            inputs = _unpacked(data["inputs"], positions, channels)
            weights = _unpacked(data["weights"], kernels, channels)
            cycles = int(data["cycles"]) if "cycles" in data else None
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such file") from None
    except (OSError, KeyError, ValueError, TypeError, EOFError) as error:
        raise NetworkError(f"{path}: not the masks of a pointwise layer: {error}") from error
    return PointwiseMasks(inputs=inputs, weights=weights, cycles=cycles)


def _unpacked(packed: NDArray[np.uint8], rows: int, columns: int) -> Flags:
    bits = np.unpackbits(packed)
    if bits.size < rows * columns:
        raise ValueError(f"{bits.size} bits are too few for {rows} x {columns}")
    return bits[: rows * columns].reshape(rows, columns).astype(bool)


def _check(inputs: Flags, weights: Flags) -> None:
    if inputs.ndim != 2 or weights.ndim != 2 or inputs.shape[1] != weights.shape[1]:
        raise NetworkError(
            f"masks of shapes {inputs.shape} and {weights.shape} do not fit: expected (positions, channels) "
            "and (kernels, channels)"
        )

"""What is known of the zeros of a layer's operands, from masks down to nothing, in the terms of `counts`.

Of an activation: its whole masks; else the non-zeros of each channel; else the fraction of zeros that the
IR states, by channel or as a whole; else none are zero. Of weights: their mask, a fraction, or none.
Without masks, zeros are taken to fall anywhere alike, so that all kernels of a channel have the same work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipfit.cost.sparse.counts import Counts, Flags, strip_rows, tap_counts
from chipfit.cost.sparse.formats import expected_bits, stored_bits
from chipfit.hardware.sparse import SparseArray
from chipfit.workload.network import Layer, Loops, Tensor
from chipfit.workload.zeros import CONVOLUTIONS, Zeros, mask_of, weights_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Operands:
    """A layer with what is known of its zeros.

    `mask` has shape (image, channel, height, width), `density` (image, channel); one of them is None, or
    both. `weights` has shape (group, kernel, channel, tap); without it, `weight_density` is all
    that is known, None if not even that is.
    """

    layer: Layer
    loops: Loops
    begin: tuple[int, int]
    mask: Flags | None
    density: Floats | None
    weights: NDArray[np.uint8] | None
    weight_density: float | None

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of the input."""
        return _plane(self.layer, self.loops) or (self.loops.input_rows, self.loops.input_columns)


def operands(layer: Layer, loops: Loops, zeros: Zeros) -> Operands:
    """What is known of the zeros of a layer.

    Raises:
        NetworkError: a mask does not fit the layer.
    """
    tensor = layer.inputs[0]
    mask = weights_of(zeros, layer)
    half = ((loops.padding[0] + 1) // 2, (loops.padding[1] + 1) // 2)
    whole = mask_of(zeros, tensor)
    taps = None if mask is None else np.ascontiguousarray(mask).view(np.uint8)
    in_plane = None if whole is None else _in_plane(whole, layer, loops)
    return Operands(
        layer=layer,
        loops=loops,
        begin=zeros.begin.get(layer.name, half),
        mask=in_plane,
        density=None if in_plane is not None else _density(tensor, loops, zeros, whole),
        weights=None if taps is None else taps.reshape(*taps.shape[:3], -1),
        weight_density=_weight_density(layer, mask),
    )


def taps_of(known: Operands, *, skipped: bool, strips: int) -> Counts:
    """How many activations each kernel element meets; shape (image, channel, strip, tap).

    Args:
        known: the operands.
        skipped: zeros count for nothing; else every place of the output counts, that of padding included.
        strips: strips of output rows.
    """
    loops = known.loops
    if known.mask is not None and skipped:
        return tap_counts(known.mask, loops, known.begin, strips)
    if known.density is not None and skipped:
        everywhere = np.ones((1, 1, *known.plane), np.bool_)
        met = tap_counts(everywhere, loops, known.begin, strips)
        return known.density[:, :, None, None] * met
    each = strip_rows(loops.P, strips)
    rows = np.clip(loops.P - each * np.arange(strips), 0, each)
    shape = (1, loops.G * loops.C, strips, loops.R * loops.S)
    return np.broadcast_to((rows * loops.Q)[None, None, :, None], shape).astype(np.int64)


def nonzeros_of(known: Operands) -> Counts:
    """Non-zero activations of each channel, shape (image, channel)."""
    if known.mask is not None:
        return np.count_nonzero(known.mask, axis=(2, 3))
    rows, columns = known.plane
    if known.density is not None:
        return known.density * (rows * columns)
    return np.full((1, known.loops.G * known.loops.C), rows * columns, np.int64)


def activation_bits(tensor: Tensor, zeros: Zeros, options: SparseArray, role: str) -> float:
    """Size of an activation as a target stores it (bits), the mean over all runs."""
    name, channels = options.format_of(role), tensor.shape[1] if len(tensor.shape) > 1 else 1
    mask = mask_of(zeros, tensor)
    if mask is not None and len(tensor.shape) > 1:
        rows = np.moveaxis(mask, 2, 0).reshape(channels, len(mask), -1)
        sizes = [
            stored_bits(name, np.ascontiguousarray(rows[:, i]), tensor.bits, run_bits=options.run_bits)
            for i in range(len(mask))
        ]
        return sum(sizes) / len(sizes)
    density = density_of(tensor, zeros)
    whole = 1.0 if density is None else density
    each = tensor.elements // channels
    return expected_bits(name, channels, each, whole, tensor.bits, run_bits=options.run_bits)


def density_of(tensor: Tensor, zeros: Zeros) -> float | None:
    """The fraction of an activation that is not zero, if it is known."""
    if (mask := mask_of(zeros, tensor)) is not None:
        return float(mask.mean())
    if tensor.name in zeros.channels:
        return min(1.0, float(zeros.channels[tensor.name].sum(axis=1).mean()) / tensor.elements)
    return None if tensor.zeros is None else 1 - tensor.zeros


def _weight_density(layer: Layer, mask: Flags | None) -> float | None:
    if mask is not None:
        return float(mask.mean())
    zeros = layer.weight.zeros if layer.weight is not None else None
    return None if zeros is None else 1 - zeros


def _plane(layer: Layer, loops: Loops) -> tuple[int, int] | None:
    """Rows and columns of the input as the nest walks over them; None where that is not known."""
    shape = layer.inputs[0].shape
    convolution = layer.operator in CONVOLUTIONS
    if convolution and len(shape) in (3, 4) and shape[:2] == (loops.N, loops.G * loops.C):
        return (shape[2], shape[3] if len(shape) == 4 else 1)
    rows = loops.N * loops.P * loops.Q
    if (
        not convolution
        and loops.G == 1
        and shape[-1:] == (loops.C,)
        and layer.inputs[0].elements == rows * loops.C
    ):
        return (loops.P, loops.Q)
    return None


def _in_plane(mask: Flags, layer: Layer, loops: Loops) -> Flags | None:
    """Whole masks as (image, channel, height, width)."""
    plane = _plane(layer, loops)
    if plane is None:
        return None
    if layer.operator in CONVOLUTIONS:
        return mask.reshape(-1, loops.G * loops.C, *plane)
    return np.ascontiguousarray(np.moveaxis(mask.reshape(-1, *plane, loops.C), -1, 1))


def _density(tensor: Tensor, loops: Loops, zeros: Zeros, whole: Flags | None) -> Floats | None:
    """Fractions that are not zero, shape (image, channel)."""
    channels = loops.G * loops.C
    counts = zeros.channels.get(tensor.name)
    if whole is not None:
        found = whole.reshape(len(whole), -1).mean(axis=1)[:, None]
    elif counts is not None:
        found = np.minimum(1.0, counts / (tensor.elements / counts.shape[1]))
    elif tensor.zeros_by_channel is not None:
        found = 1 - np.array(tensor.zeros_by_channel)[None]
    elif tensor.zeros is not None:
        found = np.array([[1 - tensor.zeros]])
    else:
        return None
    if channels % found.shape[1]:
        found = found.mean(axis=1, keepdims=True)
    # A flattened channel is as many inputs as it has elements.
    return np.repeat(found, channels // found.shape[1], axis=1)

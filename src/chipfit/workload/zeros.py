"""Where the zeros of a network are, apart from where the knowledge comes from.

`calibrate.py` finds them in an ONNX file and in what calibration inputs make of its activations;
`assumed` draws them for networks without weights; `with_zeros` writes a summary into the IR. Masks are true
where an element is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from chipfit.errors import NetworkError, nearest
from chipfit.workload.network import Layer, Network, Tensor

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

#: Operators whose input has channels on its second axis, and rows and columns after it.
CONVOLUTIONS = ("Conv", "FusedConv", "ConvInteger", "QLinearConv")


@dataclass(frozen=True, kw_only=True, eq=False)
class Zeros:
    """Where tensors are not zero.

    `weights` has masks of shape (G, K, C, R, S) by the name of the layer. Of activations, by the name of the
    tensor, `channels` has the numbers of non-zeros, shape (runs, channels), and `activations`, if they
    were kept, whole masks, shape (runs, *shape of the tensor). `begin` has the padded rows and columns before
    the input by the name of the layer, where half of all is not right.
    """

    weights: Mapping[str, Flags] = field(default_factory=dict[str, Flags])
    channels: Mapping[str, Counts] = field(default_factory=dict[str, Counts])
    activations: Mapping[str, Flags] = field(default_factory=dict[str, Flags])
    begin: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


def weight_shape(layer: Layer) -> tuple[int, int, int, int, int]:
    """The shape of the mask of a layer's weights: (G, K, C, R, S)."""
    assert layer.loops is not None
    return (layer.loops.G, layer.loops.K, layer.loops.C, layer.loops.R, layer.loops.S)


def weights_of(zeros: Zeros, layer: Layer) -> Flags | None:
    """The mask of a layer's weights, shape (G, K, C, R, S), if it is known.

    Raises:
        NetworkError: the mask has another shape.
    """
    mask = zeros.weights.get(layer.name)
    if mask is not None and mask.shape != weight_shape(layer):
        raise NetworkError(
            f"the weight mask of layer '{layer.name}' has shape {mask.shape}, expected "
            f"{weight_shape(layer)} (G, K, C, R, S)"
        )
    return mask


def mask_of(zeros: Zeros, tensor: Tensor) -> Flags | None:
    """The mask of an activation, shape (runs, *shape of the tensor), if it is known.

    Raises:
        NetworkError: the mask has another number of elements.
    """
    mask = zeros.activations.get(tensor.name)
    if mask is None:
        return None
    if mask.ndim < 2 or mask.size != len(mask) * tensor.elements:
        expected = ", ".join(("runs", *map(str, tensor.shape)))
        raise NetworkError(
            f"the mask of tensor '{tensor.name}' has shape {mask.shape}, expected ({expected})"
        )
    return mask.reshape(len(mask), *tensor.shape)


def check(zeros: Zeros, network: Network) -> None:
    """Refuse masks that do not fit the layers of a network.

    Raises:
        NetworkError: a mask is of an unknown layer or tensor, or has another shape; all in one message.
    """
    layers = {layer.name: layer for layer in network.layers if layer.loops is not None}
    tensors = {t.name: t for layer in network.layers for t in (*layer.inputs[:1], *layer.outputs[:1])}
    problems = [
        f"a weight mask is of '{name}', no layer that multiplies{nearest(name, layers)}"
        for name in zeros.weights
        if name not in layers
    ]
    problems += [
        f"a mask is of '{name}', no activation of a layer{nearest(name, tensors)}"
        for name in zeros.activations
        if name not in tensors
    ]
    checks = [lambda n=n: weights_of(zeros, layers[n]) for n in zeros.weights if n in layers]
    checks += [lambda n=n: mask_of(zeros, tensors[n]) for n in zeros.activations if n in tensors]
    for found in checks:
        try:
            found()
        except NetworkError as error:
            problems.append(str(error))
    if problems:
        raise NetworkError(f"network '{network.name}': " + "; ".join(problems))


def by_channel(mask: Flags) -> Counts:
    """Non-zeros of each channel, the second axis."""
    if mask.ndim < 2:
        return np.array([np.count_nonzero(mask)])
    return np.count_nonzero(np.moveaxis(mask, 1, 0).reshape(mask.shape[1], -1), axis=1).astype(np.int64)


def with_zeros(network: Network, zeros: Zeros) -> Network:
    """The network with the fraction of zeros of each tensor that is known, by channel for activations."""
    densities = {name: counts.mean(axis=0) for name, counts in zeros.channels.items()}

    def activation(tensor: Tensor) -> Tensor:
        if tensor.constant or tensor.name not in densities or len(tensor.shape) < 2:
            return tensor
        counts = densities[tensor.name]
        each = tensor.elements / len(counts)
        by_channel = tuple(float(min(1.0, max(0.0, 1 - count / each))) for count in counts)
        fits = tensor.shape[1] == len(counts)
        mean = sum(by_channel) / len(by_channel)
        return replace(tensor, zeros=mean, zeros_by_channel=by_channel if fits else None)

    def weights(layer: Layer) -> Layer:
        mask = zeros.weights.get(layer.name)
        if mask is None or layer.weight is None:
            return layer
        return replace(layer, weight=replace(layer.weight, zeros=1 - float(mask.mean())))

    found = network.map_tensors(activation)
    return replace(found, layers=tuple(weights(layer) for layer in found.layers))


def assumed(
    network: Network,
    rng: np.random.Generator,
    *,
    kept: Mapping[str, tuple[int, int]],
    density: float,
    spread: float,
    dense_input: bool = True,
) -> Zeros:
    """Zeros drawn at random: weights balanced, activations of a density that differs from channel to channel.

    Args:
        network: its layers; those that `kept` does not name have dense weights.
        rng: what is drawn from.
        kept: by the name of the layer, (k, n): of a kernel of n weights, or of n consecutive input channels
            if kernels are 1 x 1, exactly k are not zero, anywhere alike.
        density: mean fraction of activations that are not zero.
        spread: standard deviation of the densities of channels (a beta distribution), less than
            sqrt(density (1 - density)).
        dense_input: the input of the network has no zeros.
    """
    weights: dict[str, Flags] = {}
    activations: dict[str, Flags] = {}
    written = {t.name for layer in network.layers for t in layer.outputs}
    for layer in network.layers:
        if layer.loops is None:
            continue
        if layer.name in kept:
            weights[layer.name] = _balanced(weight_shape(layer), *kept[layer.name], rng)
        for tensor in (*layer.inputs[:1], *layer.outputs[:1]):
            if tensor.name in activations or tensor.constant or (dense_input and tensor.name not in written):
                continue
            activations[tensor.name] = _drawn(tensor.shape, density, spread, rng)[None]
    channels = {name: by_channel(mask[0])[None] for name, mask in activations.items()}
    return Zeros(weights=weights, channels=channels, activations=activations)


def _balanced(shape: tuple[int, ...], k: int, n: int, rng: np.random.Generator) -> Flags:
    groups, kernels, channels, rows, columns = shape
    if rows * columns == n:
        cells = groups * kernels * channels
        order = rng.random((cells, n), dtype=np.float32).argsort(axis=1)
        return (order < k).reshape(shape)
    whole = -(-channels // n)
    order = rng.random((groups, kernels, rows * columns, whole, n), dtype=np.float32).argsort(axis=-1)
    mask = (order < k).reshape(groups, kernels, rows * columns, whole * n)[..., :channels]
    return np.ascontiguousarray(mask.transpose(0, 1, 3, 2)).reshape(shape)


def _drawn(shape: tuple[int, ...], density: float, spread: float, rng: np.random.Generator) -> Flags:
    channels = shape[1] if len(shape) > 1 else 1
    each = np.full(channels, density)
    if spread > 0:
        strength = density * (1 - density) / spread**2 - 1
        each = rng.beta(density * strength, (1 - density) * strength, channels)
    by_channel = each.reshape(1, channels, *[1] * max(0, len(shape) - 2)) if len(shape) > 1 else each
    return rng.random(shape, dtype=np.float32) < by_channel

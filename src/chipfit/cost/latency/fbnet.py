"""FBNet layers on small images: 22 places, each with one of nine blocks.

Source: Wu et al., "FBNet", CVPR 2019; on 32 x 32 images with the strides of HW-NAS-Bench's tables
(Li et al., ICLR 2021), which the public measurements follow.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chipfit.cost.latency.kernels import Counter, Kernel, convolution, elementwise
from chipfit.cost.latency.space import Space, Way, code_labels, split_label

OPERATIONS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
#: Window, expansion and groups of each block.
BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
#: Layers, channels and first stride of each stage.
_STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
STEM, HEAD, SIZE = 16, 1504, 32


def places() -> tuple[tuple[int, int, int, int], ...]:
    """Input channels, output channels, stride and input size of each of the 22 places."""
    found: list[tuple[int, int, int, int]] = []
    channels, size = STEM, SIZE
    for layers, filters, first in _STAGES:
        for layer in range(layers):
            stride = first if layer == 0 else 1
            found.append((channels, filters, stride, size))
            channels, size = filters, size // stride
    return tuple(found)


def block_kernels(operation: int, channels: int, filters: int, stride: int, size: int) -> tuple[Kernel, ...]:
    """What one block runs."""
    small = size // stride
    same = stride == 1 and channels == filters
    out = filters * small * small
    if OPERATIONS[operation] == "skip":
        if same:
            return ()
        return (
            convolution(channels, filters, size, stride=stride),
            elementwise("norm", out),
            elementwise("activation", out),
        )
    window, expansion, groups = BLOCKS[operation]
    middle = channels * expansion
    before, after = middle * size * size, middle * small * small
    return (
        convolution(channels, middle, size, groups=groups),
        elementwise("norm", before),
        elementwise("activation", before),
        *((elementwise("copy", before),) if groups > 1 else ()),
        convolution(middle, middle, size, window=window, stride=stride, groups=middle),
        elementwise("norm", after),
        elementwise("activation", after),
        convolution(middle, filters, small, groups=groups),
        elementwise("norm", out),
        *((elementwise("add", out, 2),) if same else ()),
    )


def fixed_kernels() -> tuple[Kernel, ...]:
    """What every network runs besides its blocks."""
    last, size = _STAGES[-1][1], SIZE // 8
    return (
        convolution(3, STEM, SIZE, window=3),
        elementwise("norm", STEM * SIZE * SIZE),
        elementwise("activation", STEM * SIZE * SIZE),
        convolution(last, HEAD, size),
        elementwise("norm", HEAD * size * size),
        elementwise("activation", HEAD * size * size),
        Kernel("pool", HEAD * size * size, HEAD, pixels=1, taps=size * size, groups=HEAD),
        convolution(HEAD, 100, 1),
    )


def space(codes: np.ndarray) -> Space:
    """The networks with these blocks, shape (network, 22)."""
    counter = Counter()
    fixed = counter.places(fixed_kernels())
    blocks = [
        [counter.places(block_kernels(op, *place)) for op in range(len(OPERATIONS))] for place in places()
    ]
    table = counter.table()
    counts = np.tile(np.bincount(fixed, minlength=len(table)).astype(np.float32), (len(codes), 1))
    for place, options in enumerate(blocks):
        for operation, kernels in enumerate(options):
            rows = codes[:, place] == operation
            for kernel in kernels:
                counts[rows, kernel] += 1
    return Space("fbnet", tuple(code_labels(codes)), table, (Way(counts),), codes)


def sampled(labels: Iterable[str] = (), count: int = 5000, seed: int = 0) -> Space:
    """Random networks of the space, and those with these labels (others are passed over)."""
    codes = np.random.default_rng(seed).integers(0, len(OPERATIONS), (count, len(places())), dtype=np.uint8)
    wanted = [read_label(label) for label in labels]
    rows = [row for row in wanted if row is not None]
    whole = np.concatenate([np.array(rows, dtype=np.uint8).reshape(-1, codes.shape[1]), codes])
    return space(np.unique(whole, axis=0))


def read_label(label: str) -> tuple[int, ...] | None:
    """The blocks of a network, from their numbers or names; None if it is no network of the space.

    Numbers may stand together or be parted by '-', '_', ',', '|' or spaces.

    >>> read_label("0" * 21 + "8")[-2:]
    (0, 8)
    """
    return split_label(label, OPERATIONS, len(places()))

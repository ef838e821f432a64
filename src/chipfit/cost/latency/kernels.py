"""Networks as counts of kernels: what every device, simulated or real, is told of a network.

A kernel is one launch of an operator on one shape. Networks of a space share most of their kernels,
so a space is a table of distinct kernels and, for each network, how often it runs each.

Axes, everywhere in this package: `network` = networks of a space; `kernel` = rows of the table;
`device` = devices; `sample` = measured networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: What a kernel does. 'conv' covers every loop nest: convolutions, depthwise ones, matrix products.
KINDS = ("conv", "pool", "add", "norm", "activation", "copy", "scale", "other")


class Kernel(NamedTuple):
    """One launch of an operator on one shape; elements, not bytes.

    `channels` are input channels and `filters` output channels of one group; `pixels` are output
    pixels of the whole batch; `taps` is the area of the window.
    """

    kind: str
    read: int
    written: int
    weights: int = 0
    channels: int = 1
    filters: int = 1
    groups: int = 1
    pixels: int = 1
    taps: int = 1
    stride: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a convolution; of a pool, what it adds up; otherwise 0."""
        if self.kind == "conv":
            return self.groups * self.channels * self.filters * self.pixels * self.taps
        return self.written * self.taps if self.kind == "pool" else 0


def convolution(
    channels: int, filters: int, size: int, *, window: int = 1, stride: int = 1, groups: int = 1
) -> Kernel:
    """A square convolution of all channels of a size x size image, padded to keep its size.

    >>> convolution(16, 32, 8, window=3, stride=2).macs  # 16*32 * 3*3 * 4*4
    73728
    """
    small = -(-size // stride)
    return Kernel(
        kind="conv",
        read=channels * size * size,
        written=filters * small * small,
        weights=channels * filters * window * window // groups,
        channels=channels // groups,
        filters=filters // groups,
        groups=groups,
        pixels=small * small,
        taps=window * window,
        stride=stride,
    )


def elementwise(kind: str, elements: int, operands: int = 1) -> Kernel:
    """A kernel that touches each element once for each operand."""
    return Kernel(kind=kind, read=operands * elements, written=elements, pixels=elements)


@dataclass(frozen=True, eq=False)
class KernelTable:
    """Distinct kernels, as one array a field (axis: kernel)."""

    kernels: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        assert len(set(self.kernels)) == len(self.kernels), "kernels are distinct"

    def __len__(self) -> int:
        return len(self.kernels)

    def column(self, name: str) -> np.ndarray:
        """One field or property of every kernel."""
        return np.array([getattr(kernel, name) for kernel in self.kernels], dtype=np.float64)

    def is_kind(self, *kinds: str) -> np.ndarray:
        """Which kernels are of one of these kinds."""
        return np.array([kernel.kind in kinds for kernel in self.kernels], dtype=bool)


class Counter:
    """Builds a table and the counts of networks over it."""

    def __init__(self) -> None:
        self._places: dict[Kernel, int] = {}

    def place(self, kernel: Kernel) -> int:
        """The row of a kernel, which is new if no equal one is known."""
        return self._places.setdefault(kernel, len(self._places))

    def places(self, kernels: Sequence[Kernel]) -> list[int]:
        """The rows of several kernels."""
        return [self.place(kernel) for kernel in kernels]

    def table(self) -> KernelTable:
        """All kernels so far, in the order in which they came."""
        return KernelTable(tuple(self._places))

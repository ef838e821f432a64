"""A space: networks that may be chosen, and what they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from chipfit.cost.latency.kernels import KernelTable


@dataclass(frozen=True, eq=False)
class Way:
    """One way in which a framework may run every network.

    Attributes:
        counts: how often each network runs each kernel, shape (network, kernel).
        paths: the same along the longest chain of kernels that wait for each other, one for each
            notion of length, shape (path, network, kernel); empty where branches are not known.
    """

    counts: np.ndarray
    paths: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Space:
    """Networks as counts over one table of kernels.

    Attributes:
        name: what messages and files call it.
        labels: one for each network, unique; what a table of measurements names them by.
        kernels: the distinct kernels.
        ways: the ways to run them, the plainest first.
        codes: the choices that make up each network, shape (network, choice), if there are any.
    """

    name: str
    labels: tuple[str, ...]
    kernels: KernelTable
    ways: tuple[Way, ...]
    codes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def places(self) -> dict[str, int]:
        """The row of each label."""
        return {label: row for row, label in enumerate(self.labels)}

    @cached_property
    def features(self) -> np.ndarray:
        """Analytic costs of each network, shape (network, feature): see `feature_names`."""
        return (
            self.ways[0].counts @ _weights(self.kernels)[0]
            if len(self.ways) == 1
            else np.concatenate([way.counts @ _weights(self.kernels)[0] for way in self.ways], axis=1)
        )

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """What each column of `features` counts."""
        names = _weights(self.kernels)[1]
        if len(self.ways) == 1:
            return names
        return tuple(f"{name}, way {way}" for way in range(len(self.ways)) for name in names)


def _weights(table: KernelTable) -> tuple[np.ndarray, tuple[str, ...]]:
    """What one run of each kernel adds to each feature, shape (kernel, feature), and their names."""
    macs, moved, weights = (
        table.column("macs"),
        table.column("read") + table.column("written"),
        table.column("weights"),
    )
    conv = table.is_kind("conv")
    depthwise = conv & (table.column("groups") > 1) & (table.column("channels") == 1)
    grouped = conv & (table.column("groups") > 1) & ~depthwise
    wide = conv & ~depthwise & ~grouped & (table.column("taps") > 1)
    point = conv & ~depthwise & ~grouped & (table.column("taps") == 1)
    parts: list[tuple[str, np.ndarray]] = []
    named = {"depthwise": depthwise, "grouped": grouped, "convolution": wide, "pointwise": point}
    named |= {kind: table.is_kind(kind) for kind in ("pool", "add", "copy", "scale", "other")}
    for name, which in named.items():
        parts.append((f"{name} kernels", which * 1.0))
        parts.append((f"{name} operations", which * macs))
        parts.append((f"{name} traffic", which * moved))
    for level in np.unique(_level(table)[conv]):
        here = conv & (_level(table) == level)
        parts.append((f"kernels at 4^{level:.0f} pixels", here * 1.0))
        parts.append((f"operations at 4^{level:.0f} pixels", here * macs))
        parts.append((f"traffic at 4^{level:.0f} pixels", here * moved))
    parts += [
        ("operations", macs),
        ("traffic", moved),
        ("parameters", weights),
        ("kernels", np.ones(len(table))),
    ]
    parts += [("large windows", conv * (table.column("taps") > 9) * macs)]
    kept = [(name, column) for name, column in parts if column.any()]
    return np.stack([column for _, column in kept], axis=1), tuple(name for name, _ in kept)


def _level(table: KernelTable) -> np.ndarray:
    """The resolution of each kernel: log4 of its output pixels, rounded."""
    return np.round(np.log2(np.maximum(table.column("pixels"), 1)) / 2)


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Which choice each network makes at each place, shape (network, place and choice).

    >>> one_hot(np.array([[0, 1], [2, 1]]))
    array([[1., 0., 1.],
           [0., 1., 1.]])
    """
    columns = [
        codes[:, place] == value for place in range(codes.shape[1]) for value in np.unique(codes[:, place])
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def read_codes(label: str) -> tuple[int, ...]:
    """The digits of a label such as '4 2 1 2 1 1'."""
    return tuple(int(part) for part in label.split())


def code_labels(codes: np.ndarray) -> Sequence[str]:
    """Labels of networks that are made up of numbered choices."""
    return ["-".join(map(str, row)) for row in codes.tolist()]

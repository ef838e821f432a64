"""A space: networks that may be chosen, and what they run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from chipfit.cost.latency.kernels import KernelTable
from chipfit.errors import MeasurementError


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
    def features(self) -> dict[str, np.ndarray]:
        """Analytic costs of each network, by what they count, each of shape (network,)."""
        weights, names = _weights(self.kernels)
        found: dict[str, np.ndarray] = {}
        for place, way in enumerate(self.ways):
            columns = way.counts @ weights
            note = f", way {place + 1}" if place else ""
            found |= {name + note: column for name, column in zip(names, columns.T, strict=True)}
        return found

    def take(self, rows: Sequence[int] | np.ndarray) -> Space:
        """The space of some of its networks."""
        ways = tuple(
            Way(way.counts[rows], way.paths[:, rows] if len(way.paths) else way.paths) for way in self.ways
        )
        codes = None if self.codes is None else self.codes[rows]
        return Space(self.name, tuple(self.labels[row] for row in rows), self.kernels, ways, codes)


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


def check_differs(space: Space) -> None:
    """Refuse a space in which nothing tells networks apart.

    Raises:
        MeasurementError: all networks run the same kernels.
    """
    if not any(np.ptp(way.counts, axis=0).any() for way in space.ways):
        raise MeasurementError(
            f"the networks of '{space.name}' all run the same kernels: nothing tells them apart"
        )


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


def code_labels(codes: np.ndarray) -> Sequence[str]:
    """Labels of networks that are made up of numbered choices."""
    return ["-".join(map(str, row)) for row in codes.tolist()]


def split_label(label: str, names: Sequence[str], count: int) -> tuple[int, ...] | None:
    """The choices that a label lists by number or by name; None if it does not list as many valid ones.

    >>> split_label("0-2,1", ("a", "b", "c"), 3), split_label("021", ("a", "b", "c"), 3)
    ((0, 2, 1), (0, 2, 1))
    >>> split_label("a|c|b", ("a", "b", "c"), 3), split_label("0-2-3", ("a", "b", "c"), 3)
    ((0, 2, 1), None)
    """
    text = label.strip().strip("()[]")
    parts = [part for part in re.split(r"[\s,;|+\-]+", text) if part]
    if len(parts) == 1 and parts[0] not in names:
        parts = list(text) if text.isdigit() else text.split("_")
    known = {name: place for place, name in enumerate(names)} | {
        str(place): place for place in range(len(names))
    }
    if len(parts) != count or not all(part in known for part in parts):
        return None
    return tuple(known[part] for part in parts)

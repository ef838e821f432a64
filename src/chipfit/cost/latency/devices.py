"""Random but plausible devices, simulated: what latencies over a space may look like.

Each device is drawn once, from wide ranges of things that are known of real ones, and without a look
at any measured device: arithmetic against bandwidth against launch costs, how well each kind of
kernel is served, what is fused or skipped, channels padded to vector and tensor units, whole waves of
tiles, caches, algorithms chosen by shape, dispatch that runs ahead, branches side by side, and
systolic arrays as `chipfit.cost.mapping.systolic` counts their cycles.

Only ratios matter: one launch lasts 10 µs on every device, and networks are compared on each alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chipfit.cost.latency.kernels import KernelTable
from chipfit.cost.latency.space import Way

LAUNCH_US = 10.0
#: Element widths (bytes) that devices compute in, and channels or pixels that they pad to.
_WIDTHS, _PADS, _TILES = (1, 2, 4), (1, 1, 4, 8, 16, 32, 64), (1, 1, 1, 8, 32, 64, 128, 256)


class _Draws:
    """Random numbers, one a device, as columns (axis: device, kernel)."""

    def __init__(self, rng: np.random.Generator, devices: int) -> None:
        self.rng, self.devices = rng, devices

    def between(self, low: float, high: float) -> np.ndarray:
        """Log-uniform between two positive numbers."""
        return np.exp(self.rng.uniform(np.log(low), np.log(high), (self.devices, 1)))

    def sometimes(self, share: float) -> np.ndarray:
        """True for this share of the devices."""
        return self.rng.random((self.devices, 1)) < share

    def one_of(self, values: tuple[int, ...]) -> np.ndarray:
        """One of these values."""
        return self.rng.choice(np.array(values, dtype=np.float64), (self.devices, 1))


class _Shapes:
    """The table's columns as rows of one (axis: device, kernel)."""

    def __init__(self, table: KernelTable) -> None:
        self.table = table
        self.macs, self.read, self.written = map(self._row, ("macs", "read", "written"))
        self.weights, self.channels, self.filters = map(self._row, ("weights", "channels", "filters"))
        self.groups, self.pixels, self.taps = map(self._row, ("groups", "pixels", "taps"))
        self.stride = self._row("stride")
        self.depthwise = (self.groups > 1) & (self.channels == 1)

    def _row(self, name: str) -> np.ndarray:
        return self.table.column(name)[None]

    def kind(self, *kinds: str) -> np.ndarray:
        """Which kernels are of one of these kinds."""
        return self.table.is_kind(*kinds)[None]

    def logs(self) -> np.ndarray:
        """Logarithms of the shape, centred and scaled by what is common (axis: field, kernel)."""
        fields = np.log(np.concatenate([self.channels, self.filters, self.pixels, self.taps, self.groups]))
        return (fields - np.array([[3.5], [3.5], [5.0], [1.0], [1.0]])) / np.array(
            [[1.5], [1.5], [1.5], [1.0], [2.0]]
        )


def _padded(sizes: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Sizes after rounding up to whole units, over the sizes themselves."""
    return np.ceil(sizes / unit) * unit / sizes


def _work(draw: _Draws, k: _Shapes) -> np.ndarray:
    """How much longer the arithmetic lasts than at full use of the device (axis: device, kernel)."""
    alone = k.depthwise
    factor = np.where(alone, _padded(k.groups, draw.one_of(_PADS)), _padded(k.channels, draw.one_of(_PADS)))
    factor = factor * np.where(alone, 1.0, _padded(k.filters, draw.one_of(_PADS)))
    tile, lanes = draw.one_of(_TILES), draw.one_of((16, 32, 64, 128))
    factor = factor * _padded(k.pixels, tile)
    blocks = np.ceil(k.pixels / tile) * np.ceil(k.filters / lanes) * np.where(alone, k.groups, 1.0)
    waves = _padded(blocks, np.round(draw.between(1, 128)))
    factor = factor * np.where(draw.sometimes(0.25), waves, 1.0)
    ramp = draw.between(4, 512) * draw.sometimes(0.5)
    factor = factor * (1 + ramp / np.where(alone, k.groups, k.channels))
    slow_start = draw.between(1e2, 1e6) * draw.sometimes(0.5)
    return factor * (1 + slow_start / (k.pixels * k.filters * k.groups))


def _slowness(draw: _Draws, k: _Shapes) -> np.ndarray:
    """How much longer each kind of kernel lasts per operation than a plain convolution."""
    grouped = (k.groups > 1) & ~k.depthwise
    factor = np.where(k.depthwise & k.kind("conv"), draw.between(1, 50), 1.0)
    factor = factor * np.where(grouped, draw.between(1, 10), 1.0)
    factor = factor * np.where(k.taps == 1, draw.between(0.5, 3), 1.0)
    factor = factor * np.where(k.taps > 9, draw.between(0.6, 1.7), 1.0)
    factor = factor * np.where(k.stride > 1, draw.between(0.6, 1.7), 1.0)
    factor = factor * np.where(k.kind("pool"), draw.between(0.5, 20), 1.0)
    # Winograd's algorithm, where there are channels enough.
    wide = k.channels >= draw.one_of((1, 16, 32, 64))
    winograd = draw.sometimes(0.4) & (k.taps == 9) & (k.stride == 1) & wide
    factor = factor / np.where(winograd, draw.between(1, 2.25), 1.0)
    # Kernels are tuned better for some shapes: a smooth function of the shape, and a rest by chance.
    shape = k.logs()
    smooth = draw.rng.standard_normal((draw.devices, len(shape))) @ shape / np.sqrt(len(shape))
    seed = int(draw.rng.integers(2**32))
    # By the kernel itself, so that it lasts as long whatever other kernels are in the table.
    rest = [
        np.random.default_rng([seed, zlib.crc32(repr(tuple(kernel)).encode())]).standard_normal(draw.devices)
        for kernel in k.table.kernels
    ]
    return factor * np.exp(
        draw.between(0.02, 0.4) * smooth + draw.between(0.02, 0.3) * np.stack(rest, axis=1)
    )


def _systolic(draw: _Draws, k: _Shapes) -> np.ndarray:
    """What a systolic array that holds its weights has time for: cycles of all folds, times elements."""
    rows, columns = draw.one_of((8, 16, 32, 64, 128)), draw.one_of((8, 16, 32, 64, 128))
    folds = np.ceil(k.channels * k.taps / rows) * np.ceil(k.filters / columns)
    folds = folds * np.where(k.depthwise, np.ceil(k.groups / columns), k.groups)
    # Filled, streamed through and drained, as `chipfit.cost.mapping.systolic.product` counts.
    return folds * (k.pixels + 2 * rows + columns - 2) * rows * columns


def _present(draw: _Draws, k: _Shapes) -> np.ndarray:
    """Which elementwise kernels a device runs, and how slowly; the others are part of their neighbours."""
    runs = np.ones((draw.devices, k.read.shape[1]))
    for kind, share in (("norm", 0.35), ("activation", 0.35), ("add", 0.8), ("copy", 0.3), ("scale", 0.5)):
        runs = np.where(k.kind(kind), draw.sometimes(share) * draw.between(0.1, 1), runs)
    return runs


def kernel_times(table: KernelTable, rng: np.random.Generator, devices: int) -> np.ndarray:
    """What each kernel takes on each device (µs), shape (device, kernel)."""
    draw, k = _Draws(rng, devices), _Shapes(table)
    peak = draw.between(10, 1e6)  # operations a µs
    bandwidth = peak / draw.between(0.3, 100)  # bytes a µs, by the operations a byte that balance them
    width = draw.one_of(_WIDTHS)
    operations = np.where(draw.sometimes(0.12), _systolic(draw, k), k.macs * _work(draw, k))
    arithmetic = np.where(k.macs > 0, operations * _slowness(draw, k), 0.0) / peak
    moved = (k.read + k.written) * width
    cached = np.where(moved < draw.between(1e4, 1e7), draw.between(1, 10), 1.0)
    memory = moved / bandwidth / cached + k.weights * width / (bandwidth * draw.between(0.1, 10))
    soft = draw.between(1, 8)
    largest = np.maximum(arithmetic, memory)
    busy = largest * ((arithmetic / largest) ** soft + (memory / largest) ** soft) ** (1 / soft)
    launch = LAUNCH_US * np.where(k.kind("conv", "pool"), 1.0, draw.between(0.05, 1))
    runs_ahead = draw.sometimes(0.35)
    return np.where(runs_ahead, np.maximum(busy, launch), busy + launch) * _present(draw, k)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Random devices: the same seed has the same devices, whatever networks they run."""

    devices: int = 1500
    seed: int = 0

    def kernel_times(self, table: KernelTable) -> np.ndarray:
        """What each kernel takes on each device (µs), shape (device, kernel)."""
        return kernel_times(table, np.random.default_rng([self.seed, 1]), self.devices)

    def latencies(self, table: KernelTable, ways: Sequence[Way]) -> np.ndarray:
        """What every network takes on every device (µs), shape (network, device)."""
        rng = np.random.default_rng([self.seed, 0])
        choice, branches = rng.random(self.devices), rng.random(self.devices)
        beside = np.where(rng.random(self.devices) < 0.6, 0.0, branches).astype(np.float32)
        times = self.kernel_times(table).astype(np.float32).T
        found = np.empty((len(ways[0].counts), self.devices), dtype=np.float32)
        for index, way in enumerate(ways):
            mine = np.flatnonzero((choice * len(ways)).astype(int) == index)
            latency = way.counts @ times[:, mine]
            if len(way.paths):
                some = np.flatnonzero(beside[mine])
                longest = np.max([path @ times[:, mine[some]] for path in way.paths], axis=0)
                latency[:, some] += beside[mine[some]] * (longest - latency[:, some])
            found[:, mine] = latency
        return found

"""A device known by a few measured networks, as a file: what it takes to predict any other network.

The file holds the measured networks as counts of kernels, and how the space they come from looks to
simulated devices, to analytic costs and to choices; nothing of the space itself is needed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chipfit.cost.latency.devices import Fleet
from chipfit.cost.latency.interval import deviations, probability_below, usual, widths
from chipfit.cost.latency.kernels import Kernel, KernelTable
from chipfit.cost.latency.measurements import Measurements
from chipfit.cost.latency.prior import scaled, standing
from chipfit.cost.latency.process import Inference, infer
from chipfit.cost.latency.space import Space, Way, check_differs
from chipfit.errors import MeasurementError
from chipfit.report.record import write_atomically

FORMAT = "chipfit device 1"
#: Most networks that a device is fitted to: time grows with their cube.
MOST = 400
#: Networks of the space on which sources are judged.
_JUDGED = 1000


@dataclass(frozen=True, eq=False)
class Encoder:
    """How a space looks: what networks are compared by, and the means and deviations over the space.

    Attributes:
        fleet: the simulated devices.
        simulated: mean and deviation of latencies on each, shape (2, device); deviation 0: not used.
        analytic: mean and deviation of each analytic cost.
        choices: how often each place has each value, by (place, value).
    """

    fleet: Fleet
    simulated: np.ndarray
    analytic: Mapping[str, tuple[float, float]]
    choices: Mapping[tuple[int, int], float]

    @classmethod
    def of(cls, space: Space, fleet: Fleet) -> Encoder:
        """The encoder of a space."""
        latencies = fleet.latencies(space.kernels, space.ways).astype(np.float64)
        mean, spread = latencies.mean(0), latencies.std(0)
        spread[spread <= 1e-6 * latencies.max(0)] = 0.0
        analytic = {
            name: (float(column.mean()), float(column.std()))
            for name, column in space.features.items()
            if column.std() > 1e-6 * abs(column).max()
        }
        choices: dict[tuple[int, int], float] = {}
        if space.codes is not None:
            for place, column in enumerate(space.codes.T):
                values, counts = np.unique(column, return_counts=True)
                choices |= {
                    (place, int(v)): float(c / len(column)) for v, c in zip(values, counts, strict=True)
                }
        return cls(fleet, np.stack([mean, spread]), analytic, choices)

    def encode(self, networks: Space) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standardised latencies on the simulated devices, analytic costs, and choices, a row a network."""
        mean, spread = self.simulated
        used = spread > 0
        latencies = self.fleet.latencies(networks.kernels, networks.ways)[:, used].astype(np.float64)
        simulated = (latencies - mean[used]) / spread[used]
        known = networks.features
        columns = [
            (known.get(name, known.get(name.partition(",")[0], np.zeros(len(networks)))) - mean) / spread
            for name, (mean, spread) in self.analytic.items()
        ]
        analytic = (
            np.stack(columns, axis=1) / np.sqrt(len(columns)) if columns else np.zeros((len(networks), 0))
        )
        return simulated, analytic, self._choices(networks)

    def usual(self, networks: Space, space: Space) -> np.ndarray:
        """How usual some networks are in the space, as `interval.usual` has it."""
        return usual(self._features(networks), self._features(space.take(standing(len(space)))))

    def _features(self, networks: Space) -> np.ndarray:
        simulated, analytic, choices = self.encode(networks)
        nothing = np.zeros((len(networks), 0))
        return scaled((simulated / np.sqrt(simulated.shape[1]), nothing, analytic, choices))

    def _choices(self, networks: Space) -> np.ndarray:
        """Choices less how often each is made; those of other networks than the space's count nothing."""
        places = 1 + max((place for place, _ in self.choices), default=-1)
        if networks.codes is None or networks.codes.shape[1] != places:
            return np.zeros((len(networks), len(self.choices)))
        columns = [
            (networks.codes[:, place] == value) - share for (place, value), share in self.choices.items()
        ]
        variance = sum(share * (1 - share) for share in self.choices.values())
        return np.stack(columns, axis=1) / np.sqrt(variance or 1.0)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What networks take on a device (ms): the expected latency, and an interval that covers `share`."""

    labels: tuple[str, ...]
    mean_ms: np.ndarray
    low_ms: np.ndarray
    high_ms: np.ndarray
    share: float
    probability: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit latency predict --json`."""
        rows = [
            {"network": label, "latency_s": mean / 1e3, "low_s": low / 1e3, "high_s": high / 1e3}
            for label, mean, low, high in zip(
                self.labels, self.mean_ms.tolist(), self.low_ms.tolist(), self.high_ms.tolist(), strict=True
            )
        ]
        if self.probability is not None:
            for row, probability in zip(rows, self.probability.tolist(), strict=True):
                row["probability_within_budget"] = probability
        return {"share": self.share, "networks": rows}


@dataclass(frozen=True, eq=False)
class Source:
    """Another fitted device, with the mean and the deviation over the space of what it predicts (ms)."""

    device: Device
    mean_ms: float
    spread_ms: float


@dataclass(frozen=True, eq=False)
class Device:
    """A device fitted to measured networks.

    Attributes:
        name: of the device.
        encoder: how the space looks that the networks are of.
        measured: the measured networks.
        latency_ms: what each took.
        usual: how usual each is in the space, as `Encoder.usual` has it.
        sources: devices that may treat networks alike; the measured networks say how much they do.
    """

    name: str
    encoder: Encoder
    measured: Space
    latency_ms: np.ndarray
    usual: np.ndarray
    sources: tuple[Source, ...] = ()

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self._encode(self.measured)

    def _encode(self, networks: Space) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What networks are compared by, by part; the first is not yet divided by devices."""
        simulated, analytic, choices = self.encoder.encode(networks)
        columns = [(s.device.moments(networks)[0] - s.mean_ms) / s.spread_ms for s in self.sources]
        sources = (
            np.stack(columns, axis=1) / np.sqrt(len(columns)) if columns else np.zeros((len(networks), 0))
        )
        return simulated, sources, analytic, choices

    @property
    def simulated(self) -> np.ndarray:
        """Standardised latency of the measured networks on each simulated device in use."""
        return self._parts[0]

    @cached_property
    def inference(self) -> Inference:
        """What the measured networks say."""
        gram = np.stack([part @ part.T for part in self._parts])
        gram[0] /= self.simulated.shape[1]
        return infer(self.simulated, gram, self.latency_ms, self.usual)

    def predict(self, networks: Space, *, share: float = 0.9, budget_ms: float | None = None) -> Prediction:
        """What other networks take, and how surely.

        Args:
            networks: any; the further from the measured ones, the wider the interval.
            share: of new measurements that the interval is to cover.
            budget_ms: also say how probably each network takes no longer.
        """
        mean, deviation = self.moments(networks)
        half = widths(share) * deviation
        probability = None
        if budget_ms is not None:
            probability = probability_below(budget_ms, mean, deviation)
        low = np.maximum(mean - half, 0.0)
        return Prediction(networks.labels, mean, low, mean + half, share, probability)

    def moments(self, networks: Space) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the latency of networks, and how far a measurement may be from it (ms)."""
        mean, variances = self.uncertainty(networks)
        return mean, self.inference.scale * deviations(variances)

    def uncertainty(self, networks: Space) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the latency of networks (ms), and what `Fit.variances` says of them (ms²)."""
        fit, weights = self.inference.fit, self.inference.weights
        new = self._encode(networks)
        scaled = (new[0] * weights, *new[1:])
        cross = np.stack([a @ b.T for a, b in zip(scaled, self._parts, strict=True)])
        own = [(a * b).sum(1) for a, b in zip(scaled, new, strict=True)]
        mean = fit.mean(cross)
        # Far from all that was measured a linear law may point below zero.
        fastest = 0.05 * float(self.latency_ms.min())
        return np.maximum(mean, fastest), fit.variances(cross, np.stack(own))

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {
            "format": FORMAT,
            "name": self.name,
            "space": self.measured.name,
            "fleet": {"devices": self.encoder.fleet.devices, "seed": self.encoder.fleet.seed},
            "simulated": [[float(f"{x:.8g}") for x in row] for row in self.encoder.simulated.tolist()],
            "analytic": {name: list(pair) for name, pair in self.encoder.analytic.items()},
            "choices": [[place, value, share] for (place, value), share in self.encoder.choices.items()],
            "kernels": [list(kernel) for kernel in self.measured.kernels.kernels],
            "networks": list(self.measured.labels),
            "codes": None if self.measured.codes is None else self.measured.codes.tolist(),
            "ways": [
                {"counts": _sparse(w.counts), "paths": [_sparse(p) for p in w.paths]}
                for w in self.measured.ways
            ],
            "latency_ms": self.latency_ms.tolist(),
            "usual": self.usual.tolist(),
            "sources": [
                {"device": s.device.to_json(), "mean_ms": s.mean_ms, "spread_ms": s.spread_ms}
                for s in self.sources
            ],
        }

    @classmethod
    def from_json(cls, data: Any, file: str = "the device") -> Device:
        """The device that `to_json` wrote.

        Raises:
            MeasurementError: it is not such a document.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise MeasurementError(f"{file} is not a device that 'chipfit latency fit' wrote")
        try:
            return _device(cls, data)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise MeasurementError(f"{file} is damaged: {reason}") from error

    def save(self, path: str | Path) -> None:
        """Write the device to a file.

        Raises:
            RecordError: it cannot be written.
        """
        write_atomically(Path(path), (json.dumps(self.to_json(), allow_nan=False) + "\n").encode())


def _device(cls: type[Device], data: Mapping[str, Any]) -> Device:
    kernels = KernelTable(tuple(_kernel(row) for row in data["kernels"]))
    count = len(data["networks"])
    ways = tuple(
        Way(
            _dense(way["counts"], count, len(kernels)),
            np.stack([_dense(path, count, len(kernels)) for path in way["paths"]])
            if way["paths"]
            else np.zeros((0, 0, 0), dtype=np.float32),
        )
        for way in data["ways"]
    )
    codes = None if data["codes"] is None else np.array(data["codes"], dtype=np.uint8)
    measured = Space(str(data["space"]), tuple(map(str, data["networks"])), kernels, ways, codes)
    latency_ms = np.array(data["latency_ms"], dtype=np.float64)
    fleet = Fleet(devices=int(data["fleet"]["devices"]), seed=int(data["fleet"]["seed"]))
    simulated = np.array(data["simulated"], dtype=np.float64)
    if latency_ms.shape != (count,) or not (np.isfinite(latency_ms) & (latency_ms > 0)).all():
        raise ValueError("'latency_ms' must have one positive number a network")
    # Files that were written before have none: all networks count alike.
    usual = np.array(data.get("usual", np.ones(count)), dtype=np.float64)
    if usual.shape != (count,) or not (np.isfinite(usual) & (usual > 0)).all():
        raise ValueError("'usual' must have one positive number a network")
    if simulated.shape != (2, fleet.devices) or not np.isfinite(simulated).all():
        raise ValueError(f"'simulated' must have two rows of {fleet.devices} numbers")
    analytic = {str(name): (float(mean), float(spread)) for name, (mean, spread) in data["analytic"].items()}
    choices = {(int(place), int(value)): float(share) for place, value, share in data["choices"]}
    sources = tuple(
        Source(Device.from_json(s["device"]), float(s["mean_ms"]), float(s["spread_ms"]))
        for s in data["sources"]
    )
    encoder = Encoder(fleet, simulated, analytic, choices)
    return cls(str(data["name"]), encoder, measured, latency_ms, usual, sources)


def _kernel(row: Sequence[Any]) -> Kernel:
    kind, *numbers = row
    return Kernel(str(kind), *map(int, numbers))


def _sparse(counts: np.ndarray) -> list[dict[str, float]]:
    """The counts of each network that are not zero, by kernel."""
    return [{str(place): float(row[place]) for place in np.flatnonzero(row)} for row in counts]


def _dense(rows: Sequence[Mapping[str, float]], networks: int, kernels: int) -> np.ndarray:
    found = np.zeros((networks, kernels), dtype=np.float32)
    if len(rows) != networks:
        raise ValueError(f"counts of {len(rows)} networks where there are {networks}")
    for row, counts in enumerate(rows):
        for place, count in counts.items():
            found[row, int(place)] = float(count)
    return found


def fit_device(
    name: str,
    space: Space,
    measurements: Measurements,
    fleet: Fleet | None = None,
    sources: Sequence[Device] = (),
) -> Device:
    """The device that took these times.

    Args:
        name: what to call it.
        space: that the measured networks are of.
        measurements: of networks of the space; of very many, some at random are used.
        fleet: the simulated devices; the usual ones if left out.
        sources: devices that are known already, of this space or another.

    Raises:
        MeasurementError: the networks of the space all run the same kernels.
    """
    check_differs(space)
    some = np.arange(0, len(space), max(1, len(space) // _JUDGED))
    judged = [device.moments(space.take(some))[0] for device in sources]
    known = tuple(
        Source(device, float(latency_ms.mean()), float(latency_ms.std()) or 1.0)
        for device, latency_ms in zip(sources, judged, strict=True)
    )
    used = np.arange(len(measurements))
    if len(used) > MOST:
        used = np.sort(np.random.default_rng(0).permutation(used)[:MOST])
    encoder = Encoder.of(space, fleet or Fleet())
    measured = space.take(measurements.rows[used])
    return Device(
        name, encoder, measured, measurements.latency_ms[used], encoder.usual(measured, space), known
    )


def load_device(file: str | Path) -> Device:
    """The device of a file that `chipfit latency fit` wrote.

    Raises:
        MeasurementError: the file cannot be read, or is no such file.
    """
    path = Path(file)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MeasurementError(f"there is no device file {path}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MeasurementError(f"{path} is not a device that 'chipfit latency fit' wrote: {error}") from error
    return Device.from_json(data, str(path))

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
from chipfit.cost.latency.interval import probability_below, widths
from chipfit.cost.latency.kernels import Kernel, KernelTable
from chipfit.cost.latency.measurements import Measurements
from chipfit.cost.latency.process import Inference, infer
from chipfit.cost.latency.space import Space, Way
from chipfit.errors import MeasurementError
from chipfit.report.record import write_atomically

FORMAT = "chipfit device 1"


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
class Device:
    """A device fitted to measured networks.

    Attributes:
        name: of the device.
        encoder: how the space looks that the networks are of.
        measured: the measured networks.
        latency_ms: what each took.
    """

    name: str
    encoder: Encoder
    measured: Space
    latency_ms: np.ndarray

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.encoder.encode(self.measured)

    @property
    def simulated(self) -> np.ndarray:
        """Standardised latency of the measured networks on each simulated device in use."""
        return self._parts[0]

    @cached_property
    def inference(self) -> Inference:
        """What the measured networks say."""
        simulated, analytic, choices = self._parts
        nothing = np.zeros((len(simulated), len(simulated)))
        gram = [
            simulated @ simulated.T / simulated.shape[1],
            nothing,
            analytic @ analytic.T,
            choices @ choices.T,
        ]
        return infer(simulated, np.stack(gram), self.latency_ms)

    def predict(self, networks: Space, *, share: float = 0.9, budget_ms: float | None = None) -> Prediction:
        """What other networks take, and how surely.

        Args:
            networks: any; the further from the measured ones, the wider the interval.
            share: of new measurements that the interval is to cover.
            budget_ms: also say how probably each network takes no longer.
        """
        mean, deviation = self.moments(networks)
        half = float(widths(self.inference.scores, np.array([share]))[0]) * deviation
        probability = None
        if budget_ms is not None:
            probability = probability_below(budget_ms, mean, deviation, self.inference.scores)
        low = np.maximum(mean - half, 0.0)
        return Prediction(networks.labels, mean, low, mean + half, share, probability)

    def moments(self, networks: Space, *, noise: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the latency of networks (ms), with or without the noise of measuring."""
        fit, weights = self.inference.fit, self.inference.weights
        new, known = self.encoder.encode(networks), self._parts
        nothing = np.zeros((len(networks), len(self.measured)))
        cross = np.stack([(new[0] * weights) @ known[0].T, nothing, new[1] @ known[1].T, new[2] @ known[2].T])
        own = [(new[0] ** 2) @ weights, np.zeros(len(networks)), (new[1] ** 2).sum(1), (new[2] ** 2).sum(1)]
        mean = fit.mean(cross)
        # Far from all that was measured a linear law may point below zero.
        fastest = 0.05 * float(self.latency_ms.min())
        return np.maximum(mean, fastest), fit.deviation(cross, np.stack(own), noise=noise)

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
    if simulated.shape != (2, fleet.devices) or not np.isfinite(simulated).all():
        raise ValueError(f"'simulated' must have two rows of {fleet.devices} numbers")
    analytic = {str(name): (float(mean), float(spread)) for name, (mean, spread) in data["analytic"].items()}
    choices = {(int(place), int(value)): float(share) for place, value, share in data["choices"]}
    return cls(str(data["name"]), Encoder(fleet, simulated, analytic, choices), measured, latency_ms)


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


def fit_device(name: str, space: Space, measurements: Measurements, fleet: Fleet | None = None) -> Device:
    """The device that took these times.

    Args:
        name: what to call it.
        space: that the measured networks are of.
        measurements: of networks of the space.
        fleet: the simulated devices; the usual ones if left out.
    """
    encoder = Encoder.of(space, fleet or Fleet())
    return Device(name, encoder, space.take(measurements.rows), measurements.latency_ms)


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

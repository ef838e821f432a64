"""What is believed of a space before anything is measured: the parts of the covariance, as features.

Two networks are as similar as simulated devices (and source devices, analytic costs, choices) treat
them alike. Each part is a matrix of features, shape (network, feature), whose inner products are the
covariances; each is scaled so that the mean variance of its networks is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from chipfit.cost.latency.devices import Fleet
from chipfit.cost.latency.interval import usual
from chipfit.cost.latency.process import Inference, infer
from chipfit.cost.latency.space import Space, check_differs, one_hot

#: Components of less variance than this, of the largest, are left out.
_NEGLIGIBLE = 1e-6
#: Scale of each part before anything is measured: source devices have no say, so that the choice of samples
#: needs none; the small parts have more than a fit gives them, so that nothing goes unseen.
SCALES = (1.0, 0.0, 0.4, 0.15)
#: Networks that stand for the space.
STANDING = 500
#: Scales of the parts where a source device is completed.
_USUAL = (1.0, 1.0, 0.1, 0.05)


@dataclass(frozen=True, eq=False)
class Prior:
    """Features of each part, in the order of `process.PARTS`; a part that is not there has no columns.

    `loadings` turn the first part back into standardised latencies of the simulated devices, shape
    (device, feature).
    """

    parts: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    loadings: np.ndarray

    def __len__(self) -> int:
        return len(self.parts[0])

    @cached_property
    def weighted(self) -> np.ndarray:
        """Features of all parts at usual scales, and a level: those measured may have another."""
        parts = [np.sqrt(scale) * part for scale, part in zip(_USUAL, self.parts, strict=True)]
        return np.concatenate([*parts, np.ones((len(self), 1))], axis=1)

    @cached_property
    def features(self) -> np.ndarray:
        """Features of all parts as they count before anything is measured, shape (network, feature)."""
        return scaled(self.parts)

    def usual(self, rows: np.ndarray) -> np.ndarray:
        """How usual some networks are in the space, as `interval.usual` has it."""
        return usual(self.features[rows], self.features[standing(len(self))])

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """Covariances of some networks with each other, shape (part, sample, sample)."""
        return np.stack([part[rows] @ part[rows].T for part in self.parts])

    def diagonal(self) -> np.ndarray:
        """Variance of each network, shape (part, network)."""
        return np.stack([(part**2).sum(1) for part in self.parts])

    def with_sources(self, latencies: np.ndarray) -> Prior:
        """The same with source devices.

        Args:
            latencies: of every network on each, in any unit, shape (network, source).
        """
        features = standardised(latencies)
        return replace(self, parts=(self.parts[0], features / np.sqrt(features.shape[1]), *self.parts[2:]))

    def simulated(self, rows: np.ndarray) -> np.ndarray:
        """Standardised latency of some networks on each simulated device, shape (sample, device)."""
        return self.parts[0][rows] @ self.loadings.T

    def infer(self, rows: np.ndarray, latency_ms: np.ndarray) -> Inference:
        """The process given measured networks (ms)."""
        return infer(self.simulated(rows), self.gram(rows), latency_ms, self.usual(rows))

    def covariances(
        self, rows: np.ndarray, weights: np.ndarray, networks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `Fit.mean` and `Fit.deviation` ask for of some networks.

        Args:
            rows: the measured networks.
            weights: of the simulated devices.
            networks: the rows that are asked about.
        """
        first, second, third, fourth = (part[networks] for part in self.parts)
        wanted = Prior((first, second, third, fourth), self.loadings)
        weighted = self.loadings.T * weights
        cross = np.stack([a @ b[rows].T for a, b in zip(wanted.parts, self.parts, strict=True)])
        cross[0] = wanted.parts[0] @ (weighted @ self.simulated(rows).T)
        diagonal = wanted.diagonal()
        diagonal[0] = ((wanted.parts[0] @ (weighted @ self.loadings)) * wanted.parts[0]).sum(1)
        return cross, diagonal


def prior(space: Space, fleet: Fleet | None = None) -> Prior:
    """The prior of a space without source devices.

    Raises:
        MeasurementError: the networks of the space all run the same kernels.
    """
    check_differs(space)
    simulated, loadings = components((fleet or Fleet()).latencies(space.kernels, space.ways))
    analytic, _ = components(np.stack(list(space.features.values()), axis=1))
    choices = np.zeros((len(space), 0))
    if space.codes is not None:
        centred = one_hot(space.codes)
        centred -= centred.mean(0)
        choices = centred / np.sqrt((centred**2).sum(1).mean())
    return Prior((simulated, np.zeros((len(space), 0)), analytic, choices), loadings)


def scaled(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Features of all parts, each by `SCALES`, side by side."""
    return np.concatenate([np.sqrt(s) * part for s, part in zip(SCALES, parts, strict=True)], axis=1)


def standing(networks: int) -> np.ndarray:
    """Rows of networks that stand for a space of so many, evenly from the first to the last."""
    return np.unique(np.linspace(0, networks - 1, min(STANDING, networks)).astype(int))


def standardised(columns: np.ndarray) -> np.ndarray:
    """Columns less their means over their deviations; those that do not change are left out."""
    centred = columns - columns.mean(0)
    spread = centred.std(0)
    # A column of equal numbers may differ from its mean by rounding.
    kept = spread > 1e-6 * np.abs(columns).max(0)
    return centred[:, kept] / spread[kept]


def components(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fewer columns with the inner products of the standardised ones, divided by their number.

    Returns:
        The columns, and what the standardised ones are in terms of them: `columns @ loadings.T`.
    """
    whole = standardised(columns)
    if not whole.shape[1]:
        return np.zeros((len(columns), 0)), np.zeros((0, 0))
    values, vectors = np.linalg.eigh((whole.T @ whole).astype(np.float64))
    vectors = vectors[:, values > _NEGLIGIBLE * values[-1]]
    found = whole @ vectors.astype(whole.dtype)
    scale = np.sqrt(whole.shape[1])
    return found.astype(np.float64) / scale, vectors * scale


def complete(known: Prior, rows: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
    """Latency of every network (ms) on a source device of which many are measured.

    Ridge regression on the features of all parts; the ridge is that of the largest evidence.
    """
    features = known.weighted
    centre = float(latency_ms.mean())
    spread = float(latency_ms.std()) or 1.0
    y, seen = (latency_ms - centre) / spread, features[rows]
    values, vectors = np.linalg.eigh(seen.T @ seen)
    values = np.maximum(values, 0.0)
    projected = vectors.T @ (seen.T @ y)
    noises = 10.0 ** np.arange(-4, 1, 0.5)
    evidence = [
        -0.5 * (y @ y - projected @ (projected / (values + n))) / n
        - 0.5 * (np.log1p(values / n).sum() + len(y) * np.log(n))
        for n in noises
    ]
    noise = noises[int(np.argmax(evidence))]
    return (features @ (vectors @ (projected / (values + noise)))) * spread + centre

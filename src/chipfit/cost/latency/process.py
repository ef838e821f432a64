"""A Gaussian process over networks, from a few measured ones, in closed form.

Covariances are sums of parts (simulated devices, source devices, analytic costs, choices), each with
a scale. Scales, the noise and how it grows with latency are not chosen but averaged, by the evidence
of the measured samples over a fixed grid. Noise is robust: samples whose leave-one-out error is large
for its own prediction get more of it, as Student's t distribution would have it.

Axes besides those of the package: `part` = parts of the covariance; `setting` = rows of the grid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from chipfit.cost.latency.interval import deviations, scale

#: Parts of the covariance, in the order in which every array has them.
PARTS = ("simulated devices", "source devices", "analytic costs", "choices")
#: The grid: scales of each part, noise (variance), and the power of latency that noise grows with.
_SCALES = ((0.1, 0.3, 1.0, 3.0), (0.0, 0.3, 1.0, 3.0), (0.0, 0.01, 0.05), (0.001, 0.01, 0.05))
_NOISES, _POWERS = (0.0001, 0.0005, 0.002, 0.01, 0.03, 0.1, 0.3, 1.0), (0.0, 1.0, 2.0)
#: Variance of the level, degrees of freedom of the noise, and how often samples are weighed again.
_LEVEL, _FREEDOM, _ROUNDS = 2.0, 3.0, 3
#: Samples above which only the best settings for some of them are tried, how many these are, and the most
#: samples that are called outliers one by one.
_MANY, _FEW_SETTINGS, _MOST_OUTLIERS = 60, 4, 15
#: Latency over `Fit.centre_ms` beyond which noise grows or shrinks no more.
_LEVELS = (0.05, 20.0)
#: Logarithm of how probable an outlier is, times its density; how much it is believed at least.
_OUTLIER = -5.0
_LEAST_TRUST = 0.02
#: Settings of less weight than this are left out; at most so many are kept after the first round.
_LEAST_WEIGHT, _KEPT = 1e-4, 160
#: How fast the weight of a simulated device falls with its error on the samples (of their variance),
#: and the part of the weight that all share; a sample trusted less than this is not compared.
_SHARPNESS, _SHARED, _BELIEVED = 20.0, 0.3, 0.5


@dataclass(frozen=True, eq=False)
class Fit:
    """What the measured samples say.

    Attributes:
        centre_ms: what is subtracted from latencies.
        spread_ms: what they are then divided by.
        weights: of each setting, adding up to 1.
        scales: of each part in each setting, shape (setting, part).
        noise: variance of each setting at `centre_ms`, and the power it grows by, shape (setting, 2).
        alphas: shape (setting, sample).
        inverses: of the Cholesky factors, shape (setting, sample, sample).
        trust: how much each sample is believed: 1 is as much as the noise says.
        left_out_ms: what the others say of each sample.
        left_out_variances: of that, as `variances` has them, shape (2, sample).
    """

    centre_ms: float
    spread_ms: float
    weights: np.ndarray
    scales: np.ndarray
    noise: np.ndarray
    alphas: np.ndarray
    inverses: np.ndarray
    trust: np.ndarray
    left_out_ms: np.ndarray
    left_out_variances: np.ndarray

    def mean(self, cross: np.ndarray) -> np.ndarray:
        """Expected latency (ms) from covariances with the samples, shape (part, network, sample)."""
        found = np.full(cross.shape[1], _LEVEL * float((self.weights @ self.alphas).sum()))
        for part, alpha in enumerate((self.weights[:, None] * self.scales).T @ self.alphas):
            found += cross[part] @ alpha
        return found * self.spread_ms + self.centre_ms

    def variances(self, cross: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
        """How uncertain the latency of each network is, and the noise of measuring it (ms²).

        Args:
            cross: covariances with the samples, shape (part, network, sample).
            diagonal: of each network with itself, shape (part, network).

        Returns:
            What the samples leave open, and the variance of the noise, shape (2, network).
        """
        level = np.clip(self.mean(cross) / self.centre_ms, *_LEVELS)
        first, second, noise = 0.0, 0.0, 0.0
        kept = np.argsort(-self.weights)[:12]
        for setting in kept:
            covariance = np.tensordot(self.scales[setting], cross, 1) + _LEVEL
            one = covariance @ self.alphas[setting]
            explained = ((covariance @ self.inverses[setting].T) ** 2).sum(1)
            variance = np.maximum(self.scales[setting] @ diagonal + _LEVEL - explained, 0.0)
            weight = self.weights[setting] / self.weights[kept].sum()
            first = first + weight * one
            second = second + weight * (one**2 + variance)
            noise = noise + weight * self.noise[setting, 0] * level ** (2 * self.noise[setting, 1])
        open_ = np.maximum(second - np.square(first), 0.0)
        return np.stack([open_, noise * np.ones(len(level))]) * self.spread_ms**2


@dataclass(frozen=True, eq=False)
class _Settings:
    """Rows of the grid, and the covariance of the samples in each, shape (setting, sample, sample)."""

    scales: np.ndarray
    noise: np.ndarray
    power: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, gram: np.ndarray) -> _Settings:
        scales = rows[:, : len(gram)]
        return cls(scales, rows[:, -2], rows[:, -1], np.tensordot(scales, gram, 1) + _LEVEL)

    def take(self, rows: np.ndarray) -> _Settings:
        return _Settings(self.scales[rows], self.noise[rows], self.power[rows], self.covariance[rows])


class _Solution:
    """The process in every setting, with samples trusted so much at such levels of latency.

    `error`, `open` and `noise` are of each sample as the others predict it: how far off that is, the
    variance of the prediction (Rasmussen and Williams, 2006, eq. (5.12)), and that of a new measurement.
    """

    def __init__(self, settings: _Settings, y: np.ndarray, trust: np.ndarray, level: np.ndarray) -> None:
        self.noise = settings.noise[:, None] * level ** (2 * settings.power[:, None])
        total = settings.covariance + (self.noise / trust)[:, :, None] * np.eye(len(y))
        self.inverses = np.linalg.inv(np.linalg.cholesky(total))
        whitened = self.inverses @ y
        self.alphas = np.einsum("sji,sj->si", self.inverses, whitened)
        self.evidence = -0.5 * (whitened**2).sum(1) + np.log(np.einsum("sii->si", self.inverses)).sum(1)
        self.precision = np.einsum("sji,sji->si", self.inverses, self.inverses)
        self.error = self.alphas / self.precision
        self.open = np.maximum(1 / self.precision - self.noise / trust, 0.0)
        weights = np.exp(self.evidence - self.evidence.max())
        self.weights = weights / weights.sum()

    def without(self) -> np.ndarray:
        """The evidence if one sample more were an outlier, shape (setting, sample)."""
        change = 0.5 * (self.error**2 * self.precision - np.log(self.precision))
        return self.evidence[:, None] + _OUTLIER + change


def fit(gram: np.ndarray, latency_ms: np.ndarray) -> Fit:
    """The process given measured samples.

    Args:
        gram: covariances of the samples, shape (part, sample, sample); a part of zeros is not used.
        latency_ms: what was measured (ms), positive.
    """
    centre_ms = float(np.median(latency_ms))
    # 1.4826 times it is the deviation, if the distribution is normal.
    middle_ms = float(np.median(np.abs(latency_ms - centre_ms)))
    spread_ms = 0.5 * (1.4826 * middle_ms + float(latency_ms.std())) or centre_ms
    y = (latency_ms - centre_ms) / spread_ms
    settings = _Settings.of(_candidates(gram, latency_ms), gram)
    settings, trust = _without_outliers(settings, y)
    level = np.ones(len(y))
    found = _Solution(settings, y, trust, level)
    for _ in range(_ROUNDS):
        surprise = found.weights @ (found.error**2 / (found.open + found.noise))
        trust = np.clip((_FREEDOM + 1) / (_FREEDOM + surprise), _LEAST_TRUST, 2.0)
        left_out = found.weights @ (y - found.error) * spread_ms + centre_ms
        level = np.clip(left_out / centre_ms, *_LEVELS)
        found = _Solution(settings, y, trust, level)
    expected = found.weights @ (y - found.error)
    between = np.maximum(found.weights @ (y - found.error) ** 2 - expected**2, 0)
    variances = np.stack([found.weights @ found.open + between, found.weights @ found.noise])
    kept = found.weights > _LEAST_WEIGHT
    return Fit(
        centre_ms=centre_ms,
        spread_ms=spread_ms,
        weights=found.weights[kept] / found.weights[kept].sum(),
        scales=settings.scales[kept],
        noise=np.stack([settings.noise, settings.power], axis=1)[kept],
        alphas=found.alphas[kept],
        inverses=found.inverses[kept],
        trust=trust,
        left_out_ms=expected * spread_ms + centre_ms,
        left_out_variances=variances * spread_ms**2,
    )


def _candidates(gram: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
    """Rows of the grid to try: all; of many samples, the best for some of them."""
    if len(latency_ms) <= _MANY:
        return _grid(gram)
    some = np.linspace(0, len(latency_ms) - 1, _MANY).astype(int)
    found = fit(gram[:, some][:, :, some], latency_ms[some])
    best = np.argsort(-found.weights)[:_FEW_SETTINGS]
    return np.concatenate([found.scales[best], found.noise[best]], axis=1)


def _without_outliers(settings: _Settings, y: np.ndarray) -> tuple[_Settings, np.ndarray]:
    """The better settings, and what each sample is trusted: little, if the evidence is larger without it."""
    trust, doubted = np.ones(len(y)), np.zeros(len(y), dtype=bool)
    while True:
        found = _Solution(settings, y, trust, np.ones(len(y)))
        evidence, without = found.evidence, found.without()
        if len(evidence) > _KEPT:
            best = np.argsort(-np.maximum(evidence, without.max(1)))[:_KEPT]
            settings, evidence, without = settings.take(best), evidence[best], without[best]
        gain = np.where(doubted, -np.inf, np.logaddexp.reduce(without, axis=0))
        worst = int(np.argmax(gain))
        enough = doubted.sum() >= min(len(y) // 4, _MOST_OUTLIERS)
        if enough or gain[worst] <= np.logaddexp.reduce(evidence):
            return settings, trust
        doubted[worst], trust[worst] = True, _LEAST_TRUST


def likeness(simulated: np.ndarray, latency_ms: np.ndarray, first: Fit) -> np.ndarray:
    """How much each simulated device counts, by how well it treats the samples as the real one does.

    Args:
        simulated: latency of the samples on each device, in any unit, shape (sample, device).
        latency_ms: what was measured (ms).
        first: the process in which all devices count the same: what it does not believe, is replaced
            by what the other samples say.

    Returns:
        Weights that add up to 1, shape (device,).
    """
    believed = np.where(first.trust < _BELIEVED, first.left_out_ms, latency_ms)
    y = believed - believed.mean()
    x = simulated - simulated.mean(0)
    slope = np.maximum(x.T @ y, 0.0) / ((x**2).sum(0) + 1e-9)
    error = ((y[:, None] - slope * x) ** 2).sum(0) / max(float(y @ y), 1e-12)
    weights = np.exp(-_SHARPNESS * (error - error.min()))
    return _SHARED / len(weights) + (1 - _SHARED) * weights / weights.sum()


@dataclass(frozen=True, eq=False)
class Inference:
    """What the measured samples say, with simulated devices that treat them alike counting more.

    Attributes:
        weights: of the simulated devices, adding up to 1.
        fit: the process with them.
        scale: by how much deviations have to be scaled, as the samples have it.
    """

    weights: np.ndarray
    fit: Fit
    scale: float

    def deviation(self, cross: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
        """How far a new measurement of each network may be from what is expected (ms).

        `interval.widths` says how often how many of it are exceeded; the arguments are those of
        `Fit.variances`.
        """
        return self.scale * deviations(self.fit.variances(cross, diagonal))


def infer(simulated: np.ndarray, gram: np.ndarray, latency_ms: np.ndarray, usual: np.ndarray) -> Inference:
    """The process given measured samples, and how far off it is on them.

    Args:
        simulated: standardised latency of the samples on each simulated device, shape (sample, device).
        gram: covariances of the samples, shape (part, sample, sample); those of the first part are of
            simulated devices that count alike.
        latency_ms: what was measured (ms), positive.
        usual: how usual each sample is in its space (`interval.usual`), shape (sample,).
    """
    weights = likeness(simulated, latency_ms, fit(gram, latency_ms))
    gram = gram.copy()
    gram[0] = (simulated * weights) @ simulated.T
    found = fit(gram, latency_ms)
    return Inference(weights, found, scale(latency_ms - found.left_out_ms, found.left_out_variances, usual))


def _grid(gram: np.ndarray) -> np.ndarray:
    """All settings: scales of the parts that are used, the noise and its power."""
    used = [part.any() for part in gram]
    scales = [values if use else (0.0,) for values, use in zip(_SCALES, used, strict=True)]
    return np.array(list(itertools.product(*scales, _NOISES, _POWERS)))

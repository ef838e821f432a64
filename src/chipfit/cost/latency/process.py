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

#: Parts of the covariance, in the order in which every array has them.
PARTS = ("simulated devices", "source devices", "analytic costs", "choices")
#: The grid: scales of each part, noise (variance), and the power of latency that noise grows with.
_SCALES = ((0.1, 0.3, 1.0, 3.0), (0.0, 0.3, 1.0, 3.0), (0.0, 0.01, 0.05), (0.001, 0.01, 0.05))
_NOISES, _POWERS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.7, 1.5), (0.0, 1.0, 2.0)
#: Variance of the level, degrees of freedom of the noise, and how often samples are weighed again.
_LEVEL, _FREEDOM, _ROUNDS = 2.0, 3.0, 3
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
#: Parts into which samples are dealt to predict each from the others.
_FOLDS = 5


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
        left_out: what the others say of each sample (ms), and the deviation of that from a new
            measurement (ms), shape (2, sample).
    """

    centre_ms: float
    spread_ms: float
    weights: np.ndarray
    scales: np.ndarray
    noise: np.ndarray
    alphas: np.ndarray
    inverses: np.ndarray
    trust: np.ndarray
    left_out: np.ndarray

    def mean(self, cross: np.ndarray) -> np.ndarray:
        """Expected latency (ms) from covariances with the samples, shape (part, network, sample)."""
        found = np.full(cross.shape[1], _LEVEL * float((self.weights @ self.alphas).sum()))
        for part, alpha in enumerate((self.weights[:, None] * self.scales).T @ self.alphas):
            found += cross[part] @ alpha
        return found * self.spread_ms + self.centre_ms

    def deviation(self, cross: np.ndarray, diagonal: np.ndarray, *, noise: bool = True) -> np.ndarray:
        """Standard deviation (ms) of a new measurement of each network.

        Args:
            cross: covariances with the samples, shape (part, network, sample).
            diagonal: of each network with itself, shape (part, network).
            noise: of the stopwatch is part of it; without, how uncertain the true latency is.
        """
        mean, first, second = self.mean(cross), 0.0, 0.0
        level = np.clip(mean / self.centre_ms, *_LEVELS)
        kept = np.argsort(-self.weights)[:12]
        for setting in kept:
            covariance = np.tensordot(self.scales[setting], cross, 1) + _LEVEL
            one = covariance @ self.alphas[setting]
            explained = ((covariance @ self.inverses[setting].T) ** 2).sum(1)
            variance = np.maximum(self.scales[setting] @ diagonal + _LEVEL - explained, 0.0)
            if noise:
                variance = variance + self.noise[setting, 0] * level ** (2 * self.noise[setting, 1])
            weight = self.weights[setting] / self.weights[kept].sum()
            first = first + weight * one
            second = second + weight * (one**2 + variance)
        return np.sqrt(np.maximum(second - np.square(first), 1e-12)) * self.spread_ms


def fit(gram: np.ndarray, latency_ms: np.ndarray, among: Fit | None = None) -> Fit:
    """The process given measured samples.

    Args:
        gram: covariances of the samples, shape (part, sample, sample); a part of zeros is not used.
        latency_ms: what was measured (ms), positive.
        among: a fit whose settings are the only ones to try; the whole grid if left out.
    """
    settings = _grid(gram) if among is None else np.concatenate([among.scales, among.noise], axis=1)
    scales, noise, power = settings[:, : len(gram)], settings[:, -2], settings[:, -1]
    centre_ms = float(np.median(latency_ms))
    middle_ms = 1.4826 * float(
        np.median(np.abs(latency_ms - centre_ms))
    )  # of a normal distribution, its deviation
    spread_ms = 0.5 * (middle_ms + float(latency_ms.std())) or centre_ms
    y = (latency_ms - centre_ms) / spread_ms
    trust, level = np.ones(len(y)), np.ones(len(y))
    covariance = np.tensordot(scales, gram, 1) + _LEVEL
    doubted = np.zeros(len(y), dtype=bool)
    rounds = -1  # while outliers are looked for
    while True:
        own = noise[:, None] * level ** (2 * power[:, None])
        total = covariance + (own / trust)[:, :, None] * np.eye(len(y))
        inverses = np.linalg.inv(np.linalg.cholesky(total))
        whitened = inverses @ y
        alphas = np.einsum("sji,sj->si", inverses, whitened)
        evidence = -0.5 * (whitened**2).sum(1) + np.log(np.einsum("sii->si", inverses)).sum(1)
        precision = np.einsum("sji,sji->si", inverses, inverses)
        error, variance = alphas / precision, 1 / precision - own / trust + own
        # What the evidence would be if one sample more were an outlier, shape (setting, sample).
        without = evidence[:, None] + _OUTLIER + 0.5 * (error**2 * precision - np.log(precision))
        if rounds < 0:
            if len(evidence) > _KEPT:
                best = np.argsort(-np.maximum(evidence, without.max(1)))[:_KEPT]
                scales, noise, power, covariance = scales[best], noise[best], power[best], covariance[best]
                inverses, alphas, evidence, without = (
                    inverses[best],
                    alphas[best],
                    evidence[best],
                    without[best],
                )
                error, variance = error[best], variance[best]
            gain = np.where(doubted, -np.inf, np.logaddexp.reduce(without, axis=0))
            worst = int(np.argmax(gain))
            if gain[worst] > np.logaddexp.reduce(evidence) and doubted.sum() < len(y) // 4:
                doubted[worst], trust[worst] = True, _LEAST_TRUST
                continue
            rounds = 0
        weights = np.exp(evidence - evidence.max())
        weights /= weights.sum()
        expected = weights @ (y - error)
        left_out_ms = expected * spread_ms + centre_ms
        if rounds == _ROUNDS:
            break
        rounds += 1
        surprise = weights @ (error**2 / variance)
        trust = np.clip((_FREEDOM + 1) / (_FREEDOM + surprise), _LEAST_TRUST, 2.0)
        level = np.clip(left_out_ms / centre_ms, *_LEVELS)
    between = weights @ (y - error) ** 2 - expected**2
    kept = weights > _LEAST_WEIGHT
    return Fit(
        centre_ms=centre_ms,
        spread_ms=spread_ms,
        weights=weights[kept] / weights[kept].sum(),
        scales=scales[kept],
        noise=np.stack([noise, power], axis=1)[kept],
        alphas=alphas[kept],
        inverses=inverses[kept],
        trust=trust,
        left_out=np.stack([left_out_ms, np.sqrt(weights @ variance + np.maximum(between, 0)) * spread_ms]),
    )


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
    believed = np.where(first.trust < _BELIEVED, first.left_out[0], latency_ms)
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
        scores: how many deviations each sample is from what a fit without it says, in size, in order.
    """

    weights: np.ndarray
    fit: Fit
    scores: np.ndarray


def infer(simulated: np.ndarray, gram: np.ndarray, latency_ms: np.ndarray) -> Inference:
    """The process given measured samples, and how far off it is on them.

    Args:
        simulated: standardised latency of the samples on each simulated device, shape (sample, device).
        gram: covariances of the samples, shape (part, sample, sample); those of the first part are of
            simulated devices that count alike.
        latency_ms: what was measured (ms), positive.
    """
    weights, found = _reweighed(simulated, gram, latency_ms, None)
    scores = np.empty(len(latency_ms))
    for fold in range(min(_FOLDS, len(latency_ms))):
        held = np.arange(fold, len(latency_ms), _FOLDS)
        kept = np.setdiff1d(np.arange(len(latency_ms)), held)
        part_weights, partial = _reweighed(
            simulated[kept], gram[:, kept][:, :, kept], latency_ms[kept], found
        )
        cross, diagonal = gram[:, held][:, :, kept].copy(), gram[:, held, held].copy()
        cross[0] = (simulated[held] * part_weights) @ simulated[kept].T
        diagonal[0] = (simulated[held] ** 2) @ part_weights
        scores[held] = np.abs(partial.mean(cross) - latency_ms[held]) / partial.deviation(cross, diagonal)
    return Inference(weights, found, np.sort(scores))


def _reweighed(
    simulated: np.ndarray, gram: np.ndarray, latency_ms: np.ndarray, among: Fit | None
) -> tuple[np.ndarray, Fit]:
    weights = likeness(simulated, latency_ms, fit(gram, latency_ms, among))
    gram = gram.copy()
    gram[0] = (simulated * weights) @ simulated.T
    return weights, fit(gram, latency_ms, among)


def _grid(gram: np.ndarray) -> np.ndarray:
    """All settings: scales of the parts that are used, the noise and its power."""
    used = [part.any() for part in gram]
    scales = [values if use else (0.0,) for values, use in zip(_SCALES, used, strict=True)]
    return np.array(list(itertools.product(*scales, _NOISES, _POWERS)))

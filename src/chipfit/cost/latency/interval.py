"""Intervals that hold as often as they say.

The process says of each network how uncertain its latency is, in two parts: what the samples leave open,
and the noise of a measurement. The second counts more (`NOISE`): where real devices do not follow the
simulated ones, they leave them everywhere, as noise does. How far off the sum is on this device is read
from its samples, each predicted from the others: `|measured - predicted| / deviation`, the scores of
conformal prediction (Vovk et al., "Algorithmic Learning in a Random World", 2005). Samples that are chosen
to be telling are extreme, and how far off a device is on them says less of the usual networks, on one device
more than on the other; so samples count by how usual they are in the space (conformal prediction under
covariate shift: Tibshirani et al., NeurIPS 2019. Differs: weights are not the ratio of densities, which
nobody knows, but a power of the leverage). Twenty scores say little about rare errors, which are taken to
be as frequent as Student's t distribution has them.

The constants were chosen on devices that are no target of a published task, with 20 samples as
`chipfit.cost.latency.select` chooses them, and then frozen (`benchmarks/latency.py devices`).
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.stats import t

#: Factor of the variance of the noise.
NOISE = 4.0
#: Degrees of freedom of errors over deviations.
_FREEDOM = 3.5
#: As how many usual samples a new network counts: 1 if they were all drawn by chance (Tibshirani et al.).
_NEW = 2.0
#: Part of the sorted scores that says how large they are: not the smallest, nor outliers.
_CENTRAL = (0.3, 0.9)
#: Ridge of the leverage, over the mean variance of a network; and the power it is raised to.
_RIDGE, _POWER = 0.01, -2.0


def deviations(variances: np.ndarray) -> np.ndarray:
    """How far a measurement may be from what is expected, but for the scale of the device.

    Args:
        variances: what is left open, and of the noise, shape (2, network).
    """
    return np.sqrt(np.maximum(variances[0] + NOISE * variances[1], np.finfo(float).tiny))


def usual(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How much the error on each network says of all others: the lower its leverage, the more.

    Leverage is how far a network is from the middle of the space, in deviations of the space in that
    direction (squared); a network of mean leverage has 1.

    Args:
        features: of the networks, shape (network, feature); inner products are covariances.
        others: of networks that stand for the space, shape (other, feature).
    """
    ridge = _RIDGE * float((others**2).sum(1).mean())
    factor = np.linalg.cholesky(others @ others.T + len(others) * ridge * np.eye(len(others)))

    def leverage(of: np.ndarray) -> np.ndarray:
        # x' (F' F / m + r)^-1 x = (x' x - x' F' (F F' + m r)^-1 F x) / r: as many unknowns as others.
        known = solve_triangular(factor, others @ of.T, lower=True)
        return ((of**2).sum(1) - (known**2).sum(0)) / ridge

    return (leverage(features) / leverage(others).mean()) ** _POWER


def scale(errors: np.ndarray, variances: np.ndarray, weights: np.ndarray) -> float:
    """By how much deviations have to be scaled on a device.

    Args:
        errors: of the samples, each predicted from the others, shape (sample,).
        variances: of these predictions, shape (2, sample).
        weights: how usual each sample is, shape (sample,).

    >>> student = t.ppf((1 + np.arange(1, 99) / 100) / 2, _FREEDOM)
    >>> round(scale(3 * student * np.sqrt(NOISE), np.outer([0, 1], np.ones(98)), np.ones(98)), 1)
    3.0
    """
    scores = np.abs(errors) / deviations(variances)
    order = np.argsort(scores)
    scores, weights = scores[order], weights[order]
    up_to = np.cumsum(weights)
    expected = t.ppf((1 + up_to / (up_to[-1] + _NEW)) / 2, _FREEDOM)
    middle = (up_to - weights / 2) / up_to[-1]
    # If one sample outweighs all others, it is the one that says it.
    central = (middle >= _CENTRAL[0]) & (middle <= _CENTRAL[1]) | (weights > 0.5 * up_to[-1])
    used = weights * central
    return float(max((used @ scores) / (used @ expected), 1e-3))


def widths(share: float | np.ndarray) -> np.ndarray:
    """How many scaled deviations to each side cover these shares of new measurements.

    >>> widths(0.8).round(2)
    np.float64(1.58)
    """
    return t.ppf((1 + np.asarray(share)) / 2, _FREEDOM)


def probability_below(limit_ms: float, mean_ms: np.ndarray, deviation_ms: np.ndarray) -> np.ndarray:
    """How probably each network, measured, takes at most `limit_ms`; deviations are scaled."""
    return t.cdf((limit_ms - mean_ms) / deviation_ms, _FREEDOM)

"""Intervals that hold as often as they say.

The process says of each network how uncertain its latency is, in two parts: what the samples leave open,
and the noise of a measurement. The second counts more (`NOISE`): where real devices do not follow the
simulated ones, they leave them everywhere, as noise does. How far off the sum is on this device is read
from its samples, each predicted from the others: `|measured - predicted| / deviation`, the scores of
conformal prediction (Vovk et al., "Algorithmic Learning in a Random World", 2005). Twenty of them say little
about rare errors, which are taken to be as frequent as Student's t distribution has them.

The constants were chosen on devices that are no target of a published task, with 20 samples as
`chipfit.cost.latency.select` chooses them, and then frozen (`benchmarks/latency.py devices`).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t

#: Factor of the variance of the noise.
NOISE = 12.0
#: Degrees of freedom of errors over deviations.
_FREEDOM = 3.5
#: Samples' worth of belief that the scale is 1.
_PRIOR_SAMPLES = 1.5
#: Part of the sorted scores that says how large they are: not the smallest, nor outliers.
_CENTRAL = (0.3, 0.9)


def deviations(variances: np.ndarray) -> np.ndarray:
    """How far a measurement may be from what is expected, but for the scale of the device.

    Args:
        variances: what is left open, and of the noise, shape (2, network).
    """
    return np.sqrt(np.maximum(variances[0] + NOISE * variances[1], np.finfo(float).tiny))


def scale(errors: np.ndarray, variances: np.ndarray) -> float:
    """By how much deviations have to be scaled on a device.

    Args:
        errors: of the samples, each predicted from the others, shape (sample,).
        variances: of these predictions, shape (2, sample).

    >>> normal = t.ppf((1 + np.arange(1, 100) / 100) / 2, _FREEDOM)
    >>> round(scale(3 * normal * np.sqrt(NOISE), np.outer([0, 1], np.ones(99))), 1)
    3.0
    """
    count = len(errors)
    scores = np.sort(np.abs(errors) / deviations(variances))
    # The k-th of n scores covers k / (n + 1) of what comes.
    expected = t.ppf((1 + np.arange(1, count + 1) / (count + 1)) / 2, _FREEDOM)
    first, last = (int(count * part) for part in _CENTRAL)
    found = max(scores[first:last].sum() / expected[first:last].sum(), 1e-3)
    return float(found ** (count / (count + _PRIOR_SAMPLES)))


def widths(share: float | np.ndarray) -> np.ndarray:
    """How many scaled deviations to each side cover these shares of new measurements.

    >>> widths(0.8).round(2)
    np.float64(1.58)
    """
    return t.ppf((1 + np.asarray(share)) / 2, _FREEDOM)


def probability_below(limit_ms: float, mean_ms: np.ndarray, deviation_ms: np.ndarray) -> np.ndarray:
    """How probably each network, measured, takes at most `limit_ms`; deviations are scaled."""
    return t.cdf((limit_ms - mean_ms) / deviation_ms, _FREEDOM)

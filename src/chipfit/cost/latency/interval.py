"""Intervals that hold as often as they say.

The process states a deviation for each network; how far off it is on this device is read from the
samples themselves, each predicted from a fit to most others: `|measured - predicted| / deviation`.
Sorted, these scores say how many deviations to each side cover a share of new measurements, as in
conformal prediction (Vovk et al., 2005; by folds: Barber et al., "Predictive inference with the
jackknife+", 2021). A normal distribution is mixed in and goes on beyond the largest score, so that a
few samples are enough for an interval of 99 %.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

#: How many scores the normal distribution of unit scale counts as.
_PRIOR_SAMPLES = 4.0


def widths(sorted_scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """How many deviations to each side cover these shares of new measurements.

    The quantiles of the scores and of a normal distribution, mixed as if the latter had been seen in
    `_PRIOR_SAMPLES` samples.

    >>> normal = norm.ppf((1 + np.arange(1, 1000) / 1000) / 2)
    >>> widths(normal, np.array([0.8])).round(2)
    array([1.28])
    """
    count = len(sorted_scores)
    # The k-th of n scores covers k / (n + 1) of what comes.
    at = np.arange(1, count + 1) / (count + 1)
    normal = norm.ppf((1 + shares) / 2)
    last = sorted_scores[-1] * normal / norm.ppf((1 + at[-1]) / 2)
    seen = np.where(shares <= at[-1], np.interp(shares, np.r_[0.0, at], np.r_[0.0, sorted_scores]), last)
    return (count * seen + _PRIOR_SAMPLES * normal) / (count + _PRIOR_SAMPLES)


def probability_below(
    limit_ms: float, mean_ms: np.ndarray, deviation_ms: np.ndarray, sorted_scores: np.ndarray
) -> np.ndarray:
    """How probably each network, measured, takes at most `limit_ms`."""
    shares = np.r_[np.linspace(0.0, 0.98, 99), 0.99, 0.995, 0.999, 0.9999]
    distance = (limit_ms - mean_ms) / deviation_ms
    inside = np.interp(np.abs(distance), np.maximum.accumulate(widths(sorted_scores, shares)), shares)
    return 0.5 + 0.5 * np.sign(distance) * inside

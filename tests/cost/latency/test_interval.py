"""Intervals and probabilities."""

import numpy as np
import pytest
from scipy.stats import norm

from chipfit.cost.latency.interval import probability_below, widths

NORMAL = norm.ppf((1 + np.arange(1, 2000) / 2000) / 2)
"""Scores as a normal distribution has them."""


def test_scores_of_a_normal_distribution_give_its_quantiles():
    shares = np.array([0.5, 0.8, 0.9, 0.99])
    np.testing.assert_allclose(widths(NORMAL, shares), norm.ppf((1 + shares) / 2), atol=0.01)


def test_larger_scores_give_wider_intervals():
    scores = np.sort(np.abs(np.random.default_rng(0).standard_normal(20)))
    shares = np.array([0.8, 0.9, 0.99])
    assert (widths(3 * scores, shares) > widths(scores, shares)).all()


def test_more_coverage_takes_more_width():
    scores = np.sort(np.abs(np.random.default_rng(1).standard_normal(20)))
    assert (np.diff(widths(scores, np.linspace(0.05, 0.999, 50))) > 0).all()


def test_few_scores_are_mixed_with_a_normal_distribution():
    # Four scores count as much as the four of the prior: the mean of both at 60 %: the third score of four.
    found = widths(np.array([0.1, 0.2, 0.6, 2.0]), np.array([0.6]))
    assert found[0] == pytest.approx((0.6 + norm.ppf(0.8)) / 2)


def test_a_budget_at_the_mean_is_met_half_the_time():
    found = probability_below(5.0, np.array([5.0, 4.0, 6.0]), np.ones(3), NORMAL)
    np.testing.assert_allclose(found, [0.5, norm.cdf(1), norm.cdf(-1)], atol=0.01)


def test_probability_rises_with_the_budget():
    scores = np.sort(np.abs(np.random.default_rng(2).standard_normal(20)))
    found = [probability_below(b, np.array([5.0]), np.array([0.5]), scores)[0] for b in np.linspace(1, 9, 60)]
    assert (np.diff(found) >= 0).all()
    assert found[0] < 0.01
    assert found[-1] > 0.99

"""Intervals and probabilities."""

import numpy as np
import pytest
from scipy.stats import t

from chipfit.cost.latency import interval
from chipfit.cost.latency.interval import deviations, probability_below, scale, usual, widths

COUNT = 2000
QUANTILES = t.ppf((1 + np.arange(1, COUNT) / COUNT) / 2, interval._FREEDOM)
"""Scores as Student's t distribution has them."""


def noise_of(variance, count):
    """Variances of predictions that nothing is left open of."""
    return np.stack([np.zeros(count), np.full(count, variance)])


def test_parts_of_the_variance_are_weighed():
    found = deviations(np.array([[4.0, 0.0, 1.0], [0.0, 9.0, 1.0]]))
    weight = interval.NOISE
    np.testing.assert_allclose(found, np.sqrt([4, 9 * weight, 1 + weight]))


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_errors_as_student_has_them_give_their_scale(factor):
    errors = factor * np.sqrt(interval.NOISE) * QUANTILES
    assert scale(errors, noise_of(1.0, COUNT - 1), np.ones(COUNT - 1)) == pytest.approx(factor, rel=0.01)


def test_one_wild_error_among_twenty_changes_nothing():
    errors = np.random.default_rng(0).standard_normal(20)
    wild = errors.copy()
    wild[np.argmax(np.abs(errors))] = 1e6
    assert scale(wild, noise_of(1.0, 20), np.ones(20)) == scale(errors, noise_of(1.0, 20), np.ones(20))


def test_the_same_errors_of_fewer_samples_make_intervals_wider():
    few, many = (scale(np.full(n, 100.0), noise_of(1.0, n), np.ones(n)) for n in (5, 100))
    assert few > many


def test_errors_of_zero_leave_a_width():
    assert scale(np.zeros(20), noise_of(0.0, 20), np.ones(20)) > 0


def test_errors_on_unusual_networks_count_little():
    errors = np.concatenate([np.full(10, 5.0), np.full(10, 1.0)])
    weights = np.concatenate([np.full(10, 1e-6), np.ones(10)])
    assert scale(errors, noise_of(1.0, 20), weights) == pytest.approx(
        scale(np.ones(10), noise_of(1.0, 10), np.ones(10)), rel=0.01
    )


def test_one_sample_that_outweighs_the_others_is_believed():
    weights = np.array([1e-9, 1.0, 1e-9])
    # The sample is 1 of 1 + _NEW = 3: as far off as a third of networks are at most.
    expected = 7.0 / np.sqrt(interval.NOISE) / t.ppf((1 + 1 / 3) / 2, interval._FREEDOM)
    found = scale(np.array([9.0, 7.0, 1.0]), noise_of(1.0, 3), weights)
    assert found == pytest.approx(expected, rel=1e-6)


def test_leverage_is_that_of_ridge_regression(monkeypatch):
    monkeypatch.setattr(interval, "_RIDGE", 0.5)
    monkeypatch.setattr(interval, "_POWER", 1.0)
    features = np.random.default_rng(0).standard_normal((12, 3))
    others = np.random.default_rng(1).standard_normal((40, 3))
    inverse = np.linalg.inv(others.T @ others / 40 + 0.5 * (others**2).sum(1).mean() * np.eye(3))
    leverage, mean = (np.einsum("ij,jk,ik->i", x, inverse, x) for x in (features, others))
    np.testing.assert_allclose(usual(features, others), leverage / mean.mean())


def test_networks_further_from_the_middle_of_the_space_are_less_usual():
    others = np.random.default_rng(1).standard_normal((40, 3))
    found = usual(np.outer([0.5, 1.0, 2.0], np.ones(3)), others)
    # Leverage is quadratic, and errors count by its inverse square.
    np.testing.assert_allclose(found[:-1] / found[1:], 2.0**4)


def test_another_unit_of_features_changes_nothing():
    features, others = (np.random.default_rng(seed).standard_normal((30, 3)) for seed in (0, 1))
    np.testing.assert_allclose(usual(9 * features, 9 * others), usual(features, others))


def test_the_share_is_covered_if_errors_are_as_student_has_them():
    for share in (0.5, 0.8, 0.95):
        assert np.mean(widths(share) >= QUANTILES) == pytest.approx(share, abs=0.002)


def test_a_budget_at_the_mean_is_met_half_the_time():
    found = probability_below(5.0, np.array([5.0, 4.0, 6.0]), np.ones(3))
    assert found[0] == pytest.approx(0.5)
    assert found[1] + found[2] == pytest.approx(1.0)


def test_the_end_of_an_interval_is_met_as_often_as_it_says():
    # A tenth lies beyond either end of an interval of 80 %.
    found = probability_below(5.0 + widths(0.8), np.array([5.0]), np.ones(1))
    assert found[0] == pytest.approx(0.9)

"""The Gaussian process, against the textbook formula and refits."""

import numpy as np
import pytest

from chipfit.cost.latency import process
from chipfit.cost.latency.interval import deviations, scale
from chipfit.cost.latency.process import fit, infer, likeness

RNG = np.random.default_rng(3)
FEATURES = RNG.standard_normal((40, 6)) / np.sqrt(6)
LATENCY_MS = 10 + 2 * FEATURES @ np.array([1.0, -2.0, 0.5, 0.3, 1.0, 0.2])


def parts(first, second):
    covariance = first @ second.T
    return np.stack([covariance, *[np.zeros_like(covariance)] * 3])


@pytest.fixture
def one_setting(monkeypatch):
    """A grid of one setting, and no weighing again: the textbook's process."""
    monkeypatch.setattr(process, "_grid", lambda gram: np.array([[1.5, 0, 0, 0, 0.04, 0.0]]))
    monkeypatch.setattr(process, "_ROUNDS", 0)
    monkeypatch.setattr(process, "_OUTLIER", -np.inf)


def textbook(train, test, y):
    """Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, eq. (2.22) to (2.24)."""
    inverse = np.linalg.inv(1.5 * train @ train.T + 2.0 + 0.04 * np.eye(len(train)))
    cross = 1.5 * test @ train.T + 2.0
    variance = 1.5 * (test**2).sum(1) + 2.0 - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    return cross @ inverse @ y, variance


def scaled(y):
    centre = np.median(y)
    return centre, 0.5 * (1.4826 * np.median(np.abs(y - centre)) + y.std())


@pytest.mark.usefixtures("one_setting")
def test_mean_and_deviation_are_those_of_the_textbook():
    train, test, y = FEATURES[:20], FEATURES[20:], LATENCY_MS[:20]
    found = fit(parts(train, train), y)
    centre, spread = scaled(y)
    mean, variance = textbook(train, test, (y - centre) / spread)
    np.testing.assert_allclose(found.mean(parts(test, train)), mean * spread + centre)
    diagonal = np.stack([(test**2).sum(1), *[np.zeros(20)] * 3])
    cross = parts(test, train)
    expected = np.stack([variance, np.full(20, 0.04)]) * spread**2
    np.testing.assert_allclose(found.variances(cross, diagonal), expected)


@pytest.mark.usefixtures("one_setting")
def test_what_the_others_say_is_what_a_fit_to_the_others_says():
    train, y = FEATURES[:12], LATENCY_MS[:12] + RNG.normal(0, 0.3, 12)
    found = fit(parts(train, train), y)
    centre, spread = scaled(y)
    z = (y - centre) / spread
    for held in range(12):
        rest = np.delete(np.arange(12), held)
        mean, variance = textbook(train[rest], train[[held]], z[rest])
        np.testing.assert_allclose(found.left_out_ms[held], mean[0] * spread + centre)
        expected = np.array([variance[0], 0.04]) * spread**2
        np.testing.assert_allclose(found.left_out_variances[:, held], expected)


def test_a_linear_law_is_found_from_few_samples():
    found = fit(parts(FEATURES[:20], FEATURES[:20]), LATENCY_MS[:20])
    error = np.abs(found.mean(parts(FEATURES[20:], FEATURES[:20])) - LATENCY_MS[20:])
    assert error.max() < 0.1 * LATENCY_MS.std()


def test_an_outlier_is_not_believed():
    spoilt = LATENCY_MS[:20].copy()
    spoilt[7] *= 1.8
    found = fit(parts(FEATURES[:20], FEATURES[:20]), spoilt)
    assert found.trust.argmin() == 7
    assert found.trust[7] < 0.1
    error = np.abs(found.mean(parts(FEATURES[20:], FEATURES[:20])) - LATENCY_MS[20:])
    assert error.max() < 0.2 * LATENCY_MS.std()


def test_a_timer_of_whole_milliseconds_is_noise():
    found = fit(parts(FEATURES[:20], FEATURES[:20]), np.round(LATENCY_MS[:20]))
    error = np.abs(found.mean(parts(FEATURES[20:], FEATURES[:20])) - LATENCY_MS[20:])
    assert np.median(error) < 0.5
    noise = np.sqrt(found.weights @ found.noise[:, 0]) * found.spread_ms
    assert 0.05 < noise < 1.0  # rounding to 1 ms has a deviation of 0.29 ms


def test_another_unit_gives_the_same_in_that_unit():
    one = fit(parts(FEATURES[:20], FEATURES[:20]), LATENCY_MS[:20])
    other = fit(parts(FEATURES[:20], FEATURES[:20]), 1e3 * LATENCY_MS[:20])
    cross = parts(FEATURES[20:], FEATURES[:20])
    np.testing.assert_allclose(other.mean(cross), 1e3 * one.mean(cross), rtol=1e-9)


def test_equal_latencies_are_predicted_as_they_are():
    found = fit(parts(FEATURES[:10], FEATURES[:10]), np.full(10, 4.0))
    np.testing.assert_allclose(found.mean(parts(FEATURES[20:], FEATURES[:10])), 4.0)


def test_devices_count_by_how_alike_they_treat_the_samples():
    simulated = RNG.standard_normal((20, 5))
    latency_ms = 5 + 3 * simulated[:, 2]
    first = fit(np.stack([simulated @ simulated.T / 5, *[np.zeros((20, 20))] * 3]), latency_ms)
    weights = likeness(simulated, latency_ms, first)
    assert weights.argmax() == 2
    assert weights.sum() == pytest.approx(1)
    # All five share 0.3 of the weight.
    assert weights.min() >= 0.3 / 5


def test_a_device_that_goes_the_other_way_is_not_alike():
    simulated = np.stack([np.arange(10.0), -np.arange(10.0)], axis=1)
    latency_ms = 1 + np.arange(10.0)
    first = fit(np.stack([simulated @ simulated.T / 100, *[np.zeros((10, 10))] * 3]), latency_ms)
    weights = likeness(simulated, latency_ms, first)
    assert weights[0] == pytest.approx(0.85)  # 0.3 / 2 + 0.7
    assert weights[1] == pytest.approx(0.15)


def test_deviations_are_scaled_by_what_the_samples_say():
    latency_ms = LATENCY_MS[:20] + RNG.normal(0, 0.2, 20)
    usual = np.linspace(0.5, 1.5, 20)
    found = infer(FEATURES[:20] * np.sqrt(6), parts(FEATURES[:20], FEATURES[:20]), latency_ms, usual)
    assert found.weights.sum() == pytest.approx(1)
    said = found.fit.left_out_variances
    assert found.scale == scale(latency_ms - found.fit.left_out_ms, said, usual)
    cross, diagonal = parts(FEATURES[20:], FEATURES[:20]), np.ones((4, 20))
    expected = found.scale * deviations(found.fit.variances(cross, diagonal))
    np.testing.assert_allclose(found.deviation(cross, diagonal), expected)

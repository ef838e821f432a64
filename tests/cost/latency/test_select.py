"""Samples that say most about the rest."""

import numpy as np
import pytest

from chipfit.cost.latency import select as chosen_by
from chipfit.cost.latency.prior import Prior
from chipfit.cost.latency.select import NOISE, select

RNG = np.random.default_rng(5)


def prior_of(features):
    nothing = np.zeros((len(features), 0))
    return Prior((features, nothing, nothing, nothing), np.eye(features.shape[1]))


def greedy_by_determinants(features, count, before=()):
    """The slow way: every candidate's determinant, each time."""
    covariance = features @ features.T
    noise = NOISE * np.diag(covariance).mean()
    chosen = list(before)
    while len(chosen) < len(before) + count:
        volumes = [
            -np.inf
            if i in chosen
            else np.linalg.det(
                covariance[np.ix_([*chosen, i], [*chosen, i])] + noise * np.eye(len(chosen) + 1)
            )
            for i in range(len(features))
        ]
        chosen.append(int(np.argmax(volumes)))
    return chosen[len(before) :]


@pytest.fixture
def nothing_by_chance(monkeypatch):
    monkeypatch.setattr(chosen_by, "BY_CHANCE", 1000)


@pytest.mark.usefixtures("nothing_by_chance")
def test_each_makes_the_determinant_the_largest():
    features = RNG.standard_normal((30, 4))
    assert select(prior_of(features), 7).tolist() == greedy_by_determinants(features, 7)


@pytest.mark.usefixtures("nothing_by_chance")
def test_what_is_measured_already_is_not_chosen_again():
    features = RNG.standard_normal((30, 4))
    measured = np.array([3, 11, 20])
    chosen = select(prior_of(features), 6, measured=measured)
    assert chosen.tolist() == greedy_by_determinants(features, 6, measured.tolist())


def test_only_candidates_are_chosen():
    candidates = np.array([1, 4, 9, 16, 25])
    chosen = select(prior_of(RNG.standard_normal((30, 4))), 5, candidates=candidates)
    assert sorted(chosen) == candidates.tolist()


def test_every_fifth_is_drawn():
    features = RNG.standard_normal((300, 4))
    draws = [select(prior_of(features), 10, rng=np.random.default_rng(seed)) for seed in (1, 2)]
    assert draws[0][:4].tolist() == draws[1][:4].tolist() == greedy_by_determinants(features, 4)
    assert draws[0][4] != draws[1][4]
    # Those after it are chosen as if it had been measured.
    assert draws[0][5:9].tolist() == greedy_by_determinants(features, 4, draws[0][:5].tolist())


def test_the_same_are_chosen_each_time():
    known = prior_of(RNG.standard_normal((50, 4)))
    assert select(known, 12).tolist() == select(known, 12).tolist()


@pytest.mark.parametrize("count", [1, 5])
def test_no_network_is_chosen_twice_even_if_all_are_alike(count):
    assert len(set(select(prior_of(np.ones((5, 2))), count))) == count

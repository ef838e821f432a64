"""The best networks within a latency budget."""

import numpy as np
import pytest

from chipfit.cost.latency import nb201
from chipfit.cost.latency.device import fit_device
from chipfit.cost.latency.devices import Fleet
from chipfit.cost.latency.measurements import Measurements
from chipfit.cost.latency.prior import prior
from chipfit.cost.latency.select import select
from chipfit.errors import MeasurementError
from chipfit.search.architecture import analytic_score, rescorer, search

FLEET = Fleet(devices=200)


@pytest.fixture(scope="module")
def space():
    return nb201.space(nb201.every_cell()[::15])


@pytest.fixture(scope="module")
def truth(space):
    return 1.5 + 6e-8 * space.features["operations"] + 0.02 * space.features["kernels"]


@pytest.fixture(scope="module")
def device(space, truth):
    rows = select(prior(space, FLEET), 20)
    return fit_device("made", space, Measurements(rows, truth[rows]), FLEET)


def test_what_is_found_is_the_best_of_what_meets_the_budget(device, space, truth):
    budget = float(np.quantile(truth, 0.4))
    found = search(device, space, analytic_score(space, "operations"), budget_ms=budget, count=5)
    rows = [space.places[one.network] for one in found]
    assert (truth[rows] <= budget).all()
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    best = space.features["operations"][truth <= budget].max()
    assert found[0].score >= 0.9 * best


def test_an_accuracy_that_is_not_known_is_passed_over(device, space, truth):
    accuracy = np.full(len(space), np.nan)
    accuracy[[3, 700]] = 90.0, 95.0
    found = search(device, space, accuracy, budget_ms=10 * truth.max())
    assert [(one.network, one.score) for one in found] == [(space.labels[700], 95.0), (space.labels[3], 90.0)]


def test_more_confidence_leaves_fewer(device, space, truth):
    score, budget = analytic_score(space, "parameters"), float(np.median(truth))
    loose = search(device, space, score, budget_ms=budget, confidence=0.5, count=len(space), shortlist=0)
    tight = search(device, space, score, budget_ms=budget, confidence=0.99, count=len(space), shortlist=0)
    assert {one.network for one in tight} < {one.network for one in loose}
    assert all(one.probability >= 0.99 for one in tight)


def test_where_nothing_meets_the_budget_nothing_is_found(device, space):
    assert search(device, space, analytic_score(space, "operations"), budget_ms=0.01) == []


def test_a_slow_score_is_taken_of_the_shortlist_only(device, space, truth):
    asked = []

    def rescore(label):
        asked.append(label)
        return -float(len(asked))

    found = search(
        device,
        space,
        analytic_score(space, "operations"),
        budget_ms=truth.max(),
        rescore=rescore,
        shortlist=7,
        count=2,
    )
    assert len(asked) == 7
    assert [one.network for one in found] == asked[:2]


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_must_be_a_positive_time(device, space, budget):
    with pytest.raises(MeasurementError, match="the budget must be a positive time"):
        search(device, space, np.zeros(len(space)), budget_ms=budget)


def test_other_mistakes_are_named(device, space):
    with pytest.raises(MeasurementError, match="the confidence must lie between 0 and 1, got 2"):
        search(device, space, np.zeros(len(space)), budget_ms=1.0, confidence=2.0)
    with pytest.raises(MeasurementError, match=r"3 scores for \d+ networks"):
        search(device, space, np.zeros(3), budget_ms=1.0)
    with pytest.raises(MeasurementError, match="no score 'operation', did you mean 'operations'"):
        rescorer("operation", "nb201")


def test_scores_of_shapes_need_no_weights():
    assert rescorer("operations", "nb201") is None
    assert rescorer("accuracy", "nb201") is None
    score = rescorer("synflow", "nb201")
    assert score is not None
    assert score("3-3-3-3-3-3") > score("1-1-1-1-1-1")

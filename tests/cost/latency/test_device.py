"""A fitted device: its file, and predictions against those in the space."""

import json

import numpy as np
import pytest

from chipfit.cost.latency import nb201
from chipfit.cost.latency.describe import describe
from chipfit.cost.latency.device import Device, fit_device, load_device
from chipfit.cost.latency.devices import Fleet
from chipfit.cost.latency.measurements import Measurements
from chipfit.cost.latency.plan import plan
from chipfit.cost.latency.prior import prior
from chipfit.cost.latency.select import select
from chipfit.errors import MeasurementError

FLEET = Fleet(devices=200)


@pytest.fixture(scope="module")
def space():
    return nb201.space(nb201.every_cell()[::12])


@pytest.fixture(scope="module")
def truth(space):
    """A device that is none of the simulated ones: operations, kernels and additions by hand (ms)."""
    features = space.features
    return 1.5 + 6e-8 * features["operations"] + 0.02 * features["kernels"] + 0.03 * features["add kernels"]


@pytest.fixture(scope="module")
def rows(space):
    return select(prior(space, FLEET), 20)


@pytest.fixture(scope="module")
def device(space, truth, rows):
    return fit_device("made", space, Measurements(rows, truth[rows]), FLEET)


def test_other_networks_are_predicted(device, space, truth):
    found = device.predict(space)
    error = np.abs(found.mean_ms / truth - 1)
    assert np.median(error) < 0.02
    assert ((found.low_ms <= truth) & (truth <= found.high_ms)).mean() > 0.8


def test_the_file_predicts_what_the_space_does(device, space, truth, rows):
    known = prior(space, FLEET)
    inference = known.infer(rows, truth[rows])
    cross, diagonal = known.covariances(rows, inference.weights, np.arange(len(space)))
    mean, deviation = device.moments(space)
    np.testing.assert_allclose(mean, inference.fit.mean(cross), rtol=2e-3)
    np.testing.assert_allclose(deviation, inference.deviation(cross, diagonal), rtol=0.05)
    np.testing.assert_allclose(device.usual, known.usual(rows), rtol=0.02)


def test_a_device_is_read_back_as_it_was_written(device, space, tmp_path):
    path = tmp_path / "device.json"
    device.save(path)
    again = load_device(path)
    assert again.name == "made"
    assert again.measured.labels == device.measured.labels
    some = space.take(np.arange(50))
    before, after = device.predict(some, budget_ms=8.0), again.predict(some, budget_ms=8.0)
    np.testing.assert_allclose(after.mean_ms, before.mean_ms, rtol=1e-5)
    np.testing.assert_allclose(after.high_ms, before.high_ms, rtol=1e-4)
    np.testing.assert_allclose(after.probability, before.probability, atol=1e-3)
    assert again.to_json() == device.to_json()


def test_wider_intervals_cover_more(device, space):
    some = space.take(np.arange(100))
    narrow, wide = device.predict(some, share=0.5), device.predict(some, share=0.95)
    assert (wide.high_ms > narrow.high_ms).all()
    assert (wide.low_ms <= narrow.low_ms).all()
    assert (narrow.low_ms >= 0).all()


def test_a_budget_has_a_probability(device, space, truth):
    budget = float(np.median(truth))
    found = device.predict(space, budget_ms=budget).probability
    assert truth[found > 0.95].max() < 1.05 * budget
    assert truth[found < 0.05].min() > 0.95 * budget


def test_the_document_names_what_was_predicted(device, space):
    document = device.predict(space.take([3, 4]), budget_ms=9.0).to_json()
    assert [row["network"] for row in document["networks"]] == list(space.labels[3:5])
    assert set(document["networks"][0]) == {
        "network", "latency_s", "low_s", "high_s", "probability_within_budget"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="other"), "the device is not a device that 'chipfit latency fit' wrote"),
        (lambda d: d.pop("kernels"), "the device is damaged: no key 'kernels'"),
        (lambda d: d["latency_ms"].pop(), "damaged: 'latency_ms' must have one positive number a network"),
        (lambda d: d["simulated"][0].pop(), "the device is damaged"),
        (lambda d: d["usual"].pop(), "damaged: 'usual' must have one positive number a network"),
        (lambda d: d["latency_ms"].__setitem__(0, -1.0), "must have one positive number a network"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_said_to_be_damaged(device, change, message):
    data = json.loads(json.dumps(device.to_json()))
    change(data)
    with pytest.raises(MeasurementError, match=message):
        Device.from_json(data)


def test_in_a_file_of_before_all_samples_count_alike(device):
    data = device.to_json()
    del data["usual"]
    assert (Device.from_json(data).usual == 1).all()


def test_a_file_that_is_no_device_is_refused(tmp_path):
    with pytest.raises(MeasurementError, match="there is no device file"):
        load_device(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(MeasurementError, match="is not a device that 'chipfit latency fit' wrote"):
        load_device(tmp_path / "text.json")


def test_a_source_device_that_is_alike_helps(space, truth):
    """Three times as slow, with a term of its own that no simulated device has."""
    places = space.codes[:, 2] * 1.5
    rows = np.random.default_rng(2).choice(len(space), 12, replace=False)
    many = np.random.default_rng(3).choice(len(space), 50, replace=False)
    source = fit_device("source", space, Measurements(many, truth[many] + places[many]), FLEET)
    target = Measurements(rows, 3 * (truth[rows] + places[rows]))
    alone, helped = (fit_device("target", space, target, FLEET, sources=s) for s in ((), (source,)))
    expected = 3 * (truth + places)
    errors = [np.median(np.abs(d.predict(space).mean_ms / expected - 1)) for d in (alone, helped)]
    assert errors[1] < 0.5 * errors[0]
    again = Device.from_json(json.loads(json.dumps(helped.to_json())))
    some = space.take(np.arange(30))
    np.testing.assert_allclose(again.predict(some).mean_ms, helped.predict(some).mean_ms, rtol=1e-4)


def test_very_many_measurements_are_thinned(space, truth, monkeypatch):
    monkeypatch.setattr("chipfit.cost.latency.device.MOST", 30)
    every = np.arange(len(space))
    assert len(fit_device("many", space, Measurements(every, truth), FLEET).measured) == 30


def test_networks_that_are_all_alike_cannot_be_told_apart(truth):
    same = nb201.space(np.zeros((6, 6), dtype=np.uint8))
    with pytest.raises(MeasurementError, match="the networks of 'nb201' all run the same kernels"):
        fit_device("", same, Measurements(np.arange(6), truth[:6]), FLEET)
    with pytest.raises(MeasurementError, match="nothing tells them apart"):
        prior(same, FLEET)


def test_the_description_has_every_sample(device):
    document = describe(device, ("a remark",))
    assert [row["network"] for row in document["networks"]] == list(device.measured.labels)
    assert sum(row["informative"] for row in document["networks"]) == pytest.approx(1)
    assert document["median_error"] < 0.1
    assert document["warnings"] == ["a remark"]
    json.dumps(document, allow_nan=False)


def test_measuring_stops_when_networks_are_known_well_enough(device, space, truth, rows):
    known, measured = prior(space, FLEET), Measurements(rows, truth[rows])
    loose = plan(space, known, 3, measured=measured, device=device, tolerance=0.5)
    assert loose.stop.startswith("half the 90 % interval is ")
    assert loose.measured == 20
    assert set(loose.networks).isdisjoint(device.measured.labels)
    tight = plan(space, known, 3, measured=measured, device=device, tolerance=0.0)
    assert tight.uncertainty == loose.uncertainty
    assert not tight.stop.startswith("half")


def test_a_noisy_stopwatch_is_a_reason_to_stop(space, truth, rows):
    noisy = truth[rows] * np.exp(np.random.default_rng(1).normal(0, 0.25, len(rows)))
    measured = Measurements(rows, noisy)
    found = plan(
        space,
        prior(space, FLEET),
        3,
        measured=measured,
        device=fit_device("", space, measured, FLEET),
        tolerance=0.01,
    )
    assert (
        found.stop
        == "most of the uncertainty is the noise of the stopwatch: measure more carefully, not more"
    )


def test_without_measurements_there_is_nothing_to_judge(space):
    found = plan(space, prior(space, FLEET), 4)
    assert (found.measured, found.uncertainty, found.stop) == (0, None, "")
    assert len(found.networks) == 4

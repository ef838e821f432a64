"""A fitted device as a target."""

import numpy as np
import pytest

from chipfit.cost.latency.device import fit_device
from chipfit.cost.latency.devices import Fleet
from chipfit.cost.latency.measurements import Measurements
from chipfit.cost.latency.networks import network_space
from chipfit.cost.latency.stopwatch import Stopwatch, is_device, open_device, target_of
from chipfit.workload.library import load

NAMES = ("lenet5", "resnet8", "resnet20", "ds_cnn", "mobilenetv1", "mobilenetv2", "resnet18", "alexnet")


@pytest.fixture(scope="module")
def device():
    space = network_space("mine", [(name, load(name)) for name in NAMES])
    latency_ms = 0.2 + 2e-8 * space.features["operations"] + 0.01 * space.features["kernels"]
    rows = np.arange(len(NAMES) - 1)
    return fit_device("mine", space, Measurements(rows, latency_ms[rows]), Fleet(devices=200))


def test_layers_add_up_to_what_is_predicted_of_the_network(device):
    network = load("resnet20")
    report = Stopwatch(device).estimate(network, target_of(device))
    mean_ms = device.predict(network_space("", [("x", network)])).mean_ms[0]
    assert report.total.latency_s == pytest.approx(mean_ms / 1e3)
    assert all(layer.cost.latency_s >= 0 for layer in report.layers)


def test_the_layer_with_the_operations_takes_the_time(device):
    report = Stopwatch(device).estimate(load("resnet20"), target_of(device))
    convolutions = [layer.cost.latency_s for layer in report.layers if layer.macs > 1e6]
    assert sum(convolutions) > 0.5 * report.total.latency_s


def test_a_stopwatch_says_nothing_of_energy(device):
    report = Stopwatch(device).estimate(load("resnet20"), target_of(device))
    assert report.total.energy_j == 0
    assert "7 measured networks" in report.method
    assert "each predicted from the others" in report.error


def test_a_single_layer_can_be_priced(device):
    layer = load("resnet20").layers[3]
    one = Stopwatch(device).layer(layer, target_of(device))
    assert one.cost.latency_s > 0
    assert one.latency_by_component_s == {"measured": one.cost.latency_s}


def test_a_file_opens_as_a_target(device, tmp_path):
    path = tmp_path / "mine.json"
    device.save(path)
    assert is_device(str(path))
    assert not is_device("eyeriss")
    target, estimator = open_device(path)
    assert target.name == "mine"
    report = estimator.estimate(load("resnet8"), target)
    assert report.total.latency_s == pytest.approx(
        Stopwatch(device).estimate(load("resnet8"), target).total.latency_s, rel=1e-4
    )

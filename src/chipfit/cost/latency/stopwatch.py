"""A fitted device as a target: what a network takes on it, layer by layer.

The total is what the device predicts of the whole network. Layers share it by what their kernels add to
the expected latency through the simulated devices. A stopwatch sees neither energy nor traffic nor bit
widths: energy and traffic are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from chipfit.cost.base import AbstractEstimator, Cost, CostReport, LayerCost
from chipfit.cost.latency.device import Device, load_device
from chipfit.cost.latency.kernels import Counter
from chipfit.cost.latency.networks import layer_kernels, network_space
from chipfit.hardware.target import Arithmetic, MemoryLevel, Target
from chipfit.units import percent, si
from chipfit.workload.network import Layer, Network

_UNKNOWN = "not known: only times were measured"
#: How far beyond the measured networks a total may lie (as a factor) and still be predicted as a whole.
_REACH = 5.0


@dataclass(frozen=True, eq=False)
class Stopwatch(AbstractEstimator):
    """Prices networks on one fitted device; any target that it is given is taken to be that device."""

    device: Device

    @property
    def method(self) -> str:
        """How the numbers come about."""
        measured = self.device.measured
        return f"a Gaussian process over {len(measured)} measured networks ({measured.name})"

    @property
    def error(self) -> str:
        """The known error: that of the measured networks, each predicted from the others."""
        left_out_ms = self.device.inference.fit.left_out_ms
        errors = np.abs(left_out_ms / self.device.latency_ms - 1)
        median = percent(float(np.median(errors)))
        return f"median {median} on the measured networks, each predicted from the others"

    @cached_property
    def _slopes(self) -> np.ndarray:
        """What a time of each simulated device counts in the expected latency (ms), shape (device,)."""
        found, spread = self.device.inference, self.device.encoder.simulated[1]
        alphas = (found.fit.weights * found.fit.scales[:, 0]) @ found.fit.alphas
        slopes = np.zeros(len(spread))
        slopes[spread > 0] = found.weights * (alphas @ self.device.simulated) / spread[spread > 0]
        return slopes * found.fit.spread_ms

    def _shares_ms(self, layers: Sequence[Layer]) -> np.ndarray:
        """What each layer adds to the expected latency through the simulated devices (ms), none below 0."""
        counter = Counter()
        places = [counter.places(layer_kernels(layer)) for layer in layers]
        table = counter.table()
        per_kernel = np.maximum(self._slopes @ self.device.encoder.fleet.kernel_times(table), 0.0)
        return np.array([per_kernel[mine].sum() for mine in places])

    def layer(self, layer: Layer, target: Target) -> LayerCost:
        """The cost of one layer by itself."""
        return self.layers([layer], target)[0]

    def layers(self, layers: Sequence[Layer], target: Target) -> list[LayerCost]:
        """The costs of layers; if together they are like the measured networks, as a whole network."""
        shares_ms = self._shares_ms(layers)
        total_ms, known_ms = float(shares_ms.sum()), self.device.latency_ms
        if known_ms.min() / _REACH < total_ms < known_ms.max() * _REACH:
            # Names do not matter here, and may be equal among layers that are priced together.
            network = Network(name="", layers=tuple(replace(x, name=str(i)) for i, x in enumerate(layers)))
            shares_ms *= float(self.device.moments(network_space("", [("", network)]))[0][0]) / total_ms
        return [
            _cost(layer, float(share_ms) / 1e3) for layer, share_ms in zip(layers, shares_ms, strict=True)
        ]


def _cost(layer: Layer, latency_s: float) -> LayerCost:
    return LayerCost(
        name=layer.name,
        operator=layer.operator,
        cost=Cost(latency_s=latency_s),
        macs=layer.macs,
        utilization=0.0,
        latency_by_component_s={"measured": latency_s},
        input_bits=layer.input_bits,
        weight_bits=layer.weight_bits,
    )


def target_of(device: Device) -> Target:
    """The device as a chip of which nothing is known but its name.

    Energy is zero, not small: reports of it are to be passed over.
    """
    return Target(
        name=device.name,
        description=f"A device known by {len(device.measured)} measured networks. {_UNKNOWN}.",
        source="chipfit latency fit",
        clock_hz=1.0,
        native_bits=32,
        partial_sum_bits=32,
        arithmetic=Arithmetic(multiply_j=0.0, multiply_bits=32, add_j=0.0, add_bits=32, source=_UNKNOWN),
        levels=(
            MemoryLevel(name="memory", word_bits=32, read_energy_j=0.0, write_energy_j=0.0, source=_UNKNOWN),
        ),
        arrays=(),
    )


def measured_cost(network: Network, path: str | Path) -> CostReport:
    """What a network takes on the device of a file, with a note on how sure that is.

    Raises:
        MeasurementError: the file cannot be read, or is no device.
    """
    target, stopwatch = open_device(path)
    report = stopwatch.estimate(network, target)
    found = stopwatch.device.predict(network_space("", [(network.name, network)]))
    low_s, high_s = float(found.low_ms[0]) / 1e3, float(found.high_ms[0]) / 1e3
    note = f"nine of ten measurements would lie between {si(low_s, 's')} and {si(high_s, 's')}"
    if high_s - low_s > report.total.latency_s:
        note += ": the network is unlike those that were measured"
    other = "energy, traffic and bit widths are not known of a device that is known by times alone"
    return replace(report, warnings=(*report.warnings, note, other))


def is_device(text: str) -> bool:
    """Whether what a user calls a target is the file of a fitted device."""
    return text.endswith(".json")


def open_device(path: str | Path) -> tuple[Target, Stopwatch]:
    """The target of a device file, and the estimator that prices networks on it.

    Raises:
        MeasurementError: the file cannot be read, or is no such file.
    """
    device = load_device(Path(path))
    return target_of(device), Stopwatch(device)

"""Simulated devices: plausible, the same for a seed, and independent of what else is asked."""

import numpy as np
import pytest

from chipfit.cost.latency import devices, nb201
from chipfit.cost.latency.devices import Fleet
from chipfit.cost.latency.kernels import KernelTable, convolution, elementwise
from chipfit.cost.mapping.systolic import product

KERNELS = (
    convolution(16, 16, 32, window=3),
    convolution(64, 64, 8),
    convolution(24, 24, 16, window=5, groups=24),
    elementwise("norm", 1024),
)


def test_times_are_positive_and_finite():
    times = Fleet(devices=300).kernel_times(KernelTable(KERNELS))
    assert times.shape == (300, 4)
    assert np.isfinite(times).all()
    assert (times[:, :3] > 0).all()
    assert (times[:, 3] >= 0).all()


def test_the_same_seed_has_the_same_devices():
    one, same, other = (Fleet(devices=20, seed=s).kernel_times(KernelTable(KERNELS)) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)


def test_a_kernel_takes_as_long_whatever_else_is_in_the_table():
    whole = Fleet(devices=50).kernel_times(KernelTable(KERNELS))
    some = Fleet(devices=50).kernel_times(KernelTable(KERNELS[2:0:-1]))
    np.testing.assert_allclose(some, whole[:, [2, 1]], rtol=1e-12)


def test_devices_agree_on_what_is_much_larger():
    table = KernelTable((convolution(8, 8, 8), convolution(512, 512, 32, window=3)))
    small, large = Fleet(devices=300).kernel_times(table).T
    assert (large >= small).mean() > 0.99


def test_networks_take_the_sum_of_their_kernels_where_nothing_runs_side_by_side():
    space = nb201.space(nb201.every_cell()[[5, 700, 15000]])
    fleet = Fleet(devices=400)
    found = fleet.latencies(space.kernels, space.ways)
    times = fleet.kernel_times(space.kernels)
    sums = [way.counts @ times.T for way in space.ways]
    longest = [np.max([path @ times.T for path in way.paths], axis=0) for way in space.ways]
    low = np.minimum(*longest).min(0)
    assert (found <= np.maximum(*sums) * (1 + 1e-5)).all()
    assert (found.min(0) >= low * (1 - 1e-5)).all()
    exact = np.isclose(found, sums[0], rtol=1e-4).all(0) | np.isclose(found, sums[1], rtol=1e-4).all(0)
    assert 0.4 < exact.mean() < 0.95


class FixedArray:
    """Draws an array of 8 rows and 16 columns."""

    def __init__(self):
        self.sizes = iter((8, 16))

    def one_of(self, _values):
        return np.array([[next(self.sizes)]])


@pytest.mark.parametrize(
    ("channels", "filters", "size", "window"), [(16, 32, 8, 3), (64, 10, 4, 1), (3, 16, 32, 3)]
)
def test_systolic_arrays_take_the_cycles_that_the_systolic_estimator_counts(channels, filters, size, window):
    table = KernelTable((convolution(channels, filters, size, window=window),))
    cycles = devices._systolic(FixedArray(), devices._Shapes(table)) / (8 * 16)
    known = product("ws", size * size, channels * window * window, filters, rows=8, columns=16)
    assert cycles[0, 0] == known.cycles + 1  # its cycles are numbered from 0

"""Kernels and tables of them."""

from chipfit.cost.latency.kernels import Counter, Kernel, convolution, elementwise


def test_a_strided_convolution_writes_a_quarter():
    kernel = convolution(16, 32, 8, window=3, stride=2)
    assert (kernel.read, kernel.written, kernel.weights) == (16 * 64, 32 * 16, 16 * 32 * 9)


def test_a_depthwise_convolution_has_one_channel_a_group():
    kernel = convolution(24, 24, 4, window=5, groups=24)
    assert (kernel.channels, kernel.filters, kernel.groups) == (1, 1, 24)
    assert kernel.macs == 24 * 25 * 16


def test_pools_add_and_elementwise_kernels_multiply_nothing():
    assert Kernel("pool", 64, 16, pixels=16, taps=4).macs == 64
    assert elementwise("add", 100, 2).macs == 0
    assert elementwise("add", 100, 2).read == 200


def test_equal_kernels_share_a_row():
    counter = Counter()
    assert counter.places([elementwise("add", 1), elementwise("norm", 1), elementwise("add", 1)]) == [0, 1, 0]
    table = counter.table()
    assert len(table) == 2
    assert table.is_kind("norm", "copy").tolist() == [False, True]
    assert table.column("read").tolist() == [1.0, 1.0]

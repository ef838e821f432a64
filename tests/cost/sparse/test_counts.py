import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_walk import element_cycles

from chipfit.cost.sparse.counts import make_slots, run_alike, run_passes, strip_rows, tap_counts
from chipfit.workload.network import Loops


@st.composite
def planes(draw):
    """Loops of one channel, the size of its input and where it begins."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    begin = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    P, Q = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    loops = Loops(P=P, Q=Q, R=kernel[0], S=kernel[1], stride=stride, dilation=dilation)
    return loops, (height, width), begin


@settings(deadline=None)
@given(planes(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_taps_are_the_activations_that_a_kernel_element_meets(plane, strips, seed):
    loops, size, begin = plane
    mask = np.random.default_rng(seed).random((2, 3, *size)) < 0.6
    found = tap_counts(mask, loops, begin, strips)
    each = strip_rows(loops.P, strips)
    for image, channel, strip in np.ndindex(2, 3, strips):
        rows = range(strip * each, min(loops.P, (strip + 1) * each))
        for tap in range(loops.R * loops.S):
            kernel = np.zeros((loops.R, loops.S), bool)
            kernel.flat[tap] = True
            expected = element_cycles(mask[image, channel], kernel, loops, begin, rows)
            assert found[image, channel, strip, tap] == expected


def test_kernels_that_are_alike_take_what_the_same_kernels_written_out_take():
    rng = np.random.default_rng(3)
    loops = Loops(G=2, K=5, C=7, P=3, Q=3, R=2, S=2)
    taps = rng.integers(0, 9, (14, 1, 4))
    order = np.tile(np.arange(7), (2, 1))
    slots = make_slots(loops, 4, 1, 1, order, np.arange(2))
    ones = np.ones((2, 5, 7, 4), np.uint8)
    slowest, work = run_passes(ones, taps, slots, 3)
    per_slot = taps.sum(axis=(1, 2))[slots.group * 7 + slots.first]
    also_slowest, also_work = run_alike(per_slot, 5, slots, 3)
    assert (slowest == also_slowest).all()
    assert (work == also_work).all()


def test_the_last_strip_has_the_rows_that_are_left():
    assert strip_rows(7, 3) == 3  # rows 0-2, 3-5, 6


def test_groups_that_fit_the_rows_share_a_pass():
    loops = Loops(G=5, C=3)
    slots = make_slots(loops, 8, 1, 1, np.tile(np.arange(3), (5, 1)), np.arange(5))
    assert slots.starts.tolist() == [0, 6, 12, 15]  # two groups of three channels a pass
    assert slots.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_a_group_that_does_not_fit_ends_with_its_own_pass():
    loops = Loops(G=2, C=5)
    slots = make_slots(loops, 4, 1, 1, np.tile(np.arange(5), (2, 1)), np.arange(2))
    assert slots.starts.tolist() == [0, 4, 5, 9, 10]


@pytest.mark.parametrize(("channels", "first", "size"), [(4, [0, 4, 8], [4, 4, 2]), (10, [0], [10])])
def test_a_row_may_hold_several_channels(channels, first, size):
    blocks = -(-10 // channels)
    slots = make_slots(Loops(C=10), 32, channels, 1, np.arange(blocks)[None], np.arange(1))
    assert (slots.first.tolist(), slots.size.tolist()) == (first, size)

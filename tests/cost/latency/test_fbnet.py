"""FBNet blocks as counts of kernels."""

import numpy as np

from chipfit.cost.latency import fbnet


def test_there_are_22_places_that_end_at_4_x_4_pixels_of_352_channels():
    places = fbnet.places()
    assert len(places) == 22
    assert places[0] == (16, 16, 1, 32)
    assert places[-1] == (184, 352, 1, 4)


def test_a_block_runs_what_it_is_made_of():
    # 24 channels, expansion 6, 3 x 3, 16 x 16 pixels: 144 channels within.
    kernels = fbnet.block_kernels(3, 24, 24, 1, 16)
    convolutions = [kernel for kernel in kernels if kernel.kind == "conv"]
    assert [kernel.macs for kernel in convolutions] == [24 * 144 * 256, 144 * 9 * 256, 144 * 24 * 256]
    assert [kernel.groups for kernel in convolutions] == [1, 144, 1]
    assert kernels[-1].kind == "add"


def test_groups_halve_the_pointwise_operations_and_shuffle():
    whole, halved = fbnet.block_kernels(0, 64, 64, 1, 8), fbnet.block_kernels(1, 64, 64, 1, 8)
    point = [sum(k.macs for k in block if k.kind == "conv" and k.taps == 1) for block in (whole, halved)]
    assert point[0] == 2 * point[1]
    assert [k.kind for k in halved].count("copy") == 1


def test_a_skip_is_free_unless_the_shape_changes():
    assert fbnet.block_kernels(8, 64, 64, 1, 8) == ()
    (convolution, *_) = fbnet.block_kernels(8, 24, 32, 2, 16)
    assert convolution.macs == 24 * 32 * 8 * 8


def test_networks_differ_by_what_their_blocks_run():
    codes = np.array([[8] * 22, [8] * 21 + [3]], dtype=np.uint8)
    operations = fbnet.space(codes).features["operations"]
    # The last place: 184 -> 1104 -> 352 channels at 4 x 4, in place of a 1 x 1 convolution.
    block = (184 * 1104 + 1104 * 9 + 1104 * 352) * 16
    assert operations[1] - operations[0] == block - 184 * 352 * 16


def test_a_sample_has_the_networks_that_are_asked_for():
    label = "-".join("8" * 22)
    space = fbnet.sampled([label, "no network"], count=10)
    assert label in space.places
    assert len(space) == 11

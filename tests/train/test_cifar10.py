"""The images that a student of ResNet-20 is asked about: what is done to them, and within which limits."""

import math
from collections.abc import Callable

import pytest
import torch

from chipfit.train.cifar10 import VARIED, recolor, shift_and_flip, turn_and_scale, varied

SIDE = 32
#: Pixels that every movement still takes from inside the image.
MIDDLE = slice(13, 19)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(count: int) -> torch.Tensor:
    """Images (count, 2, 32, 32) whose channels are where a pixel lies, -1 to 1 across and down."""
    at = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    down, across = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([across, down]).expand(count, 2, SIDE, SIDE)


def slopes(images: torch.Tensor) -> torch.Tensor:
    """By how much the channels of ramps grow across and down; (n, 2, 2), the identity where nothing moved."""
    step = 2 / SIDE
    across = (images[..., MIDDLE, 18] - images[..., MIDDLE, 13]).mean(-1) / (5 * step)
    down = (images[..., 18, MIDDLE] - images[..., 13, MIDDLE]).mean(-1) / (5 * step)
    return torch.stack([across, down], -1)


@pytest.mark.parametrize("change", [shift_and_flip, turn_and_scale, recolor, varied])
def test_the_same_generator_gives_the_same_images(
    change: Callable[[torch.Tensor, torch.Generator], torch.Tensor],
) -> None:
    images = torch.randn(8, 3, SIDE, SIDE, generator=generator())
    once, twice, other = (change(images, generator(seed)) for seed in (1, 1, 2))
    assert once.shape == images.shape
    assert torch.equal(once, twice)
    assert not torch.equal(once, other)


def test_images_move_by_whole_pixels_and_are_mirrored_half_of_the_time() -> None:
    count, numbers = 400, torch.arange(1.0, 1 + SIDE * SIDE).view(1, 1, SIDE, SIDE)
    moved = shift_and_flip(numbers.expand(count, 1, SIDE, SIDE), generator())[:, 0]
    row, column = (moved - 1) // SIDE, (moved - 1) % SIDE
    inside = moved > 0  # zeros come in
    assert int(inside.sum((1, 2)).min()) >= (SIDE - 4) ** 2
    mirrored = column[:, 16, 17] < column[:, 16, 16]
    assert 160 <= int(mirrored.sum()) <= 240
    at = torch.arange(SIDE)
    across = torch.where(mirrored[:, None, None], SIDE - 1 - at, at)
    for found, unmoved in ((row, at[:, None]), (column, across)):
        by = (found - unmoved)[:, 16:17, 16:17]
        assert sorted(by.unique().tolist()) == list(range(-4, 5))
        assert torch.equal((found - unmoved)[inside], by.expand_as(found)[inside])


def test_turning_and_scaling_keep_to_their_limits() -> None:
    found = slopes(turn_and_scale(ramps(500), generator()))
    # The one column is mirror * scale * (cos, sin), the other scale * (-sin, cos) and a shear.
    scale = found[:, :, 0].norm(dim=1)
    assert math.exp(-0.2) * 0.999 <= float(scale.min())
    assert float(scale.max()) <= math.exp(0.2) * 1.001
    assert float(scale.max() / scale.min()) > 1.4  # the limits are nearly reached
    mirror = torch.sign(found[:, 0, 0])
    angle = torch.atan2(mirror * found[:, 1, 0], mirror * found[:, 0, 0])
    assert 0.24 < float(angle.abs().max()) <= math.pi / 12 + 1e-3
    torch.testing.assert_close(found[:, 1, 1], mirror * found[:, 0, 0], rtol=0, atol=1e-3)
    shear = found[:, 0, 1] + scale * torch.sin(angle)
    assert 0.09 < float(shear.abs().max()) <= 0.1 + 1e-3
    assert 200 <= int((mirror < 0).sum()) <= 300


def test_contrast_saturation_and_brightness_keep_to_their_limits() -> None:
    def centred(images: torch.Tensor) -> torch.Tensor:
        return images - images.mean((2, 3), keepdim=True)

    def size(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).norm(dim=1)

    images = torch.randn(300, 3, SIDE, SIDE, generator=generator())
    images = centred(images) + 1.0  # gray on the whole, so that saturation moves no mean
    after = recolor(images, generator(1))
    gray, gray_after = (centred(each).mean(1, keepdim=True) for each in (images, after))
    contrast = size(gray_after) / size(gray)
    saturation = size(centred(after) - gray_after) / size(centred(images) - gray) / contrast
    for found, most in ((contrast, 0.3), (saturation, 0.5)):
        assert 0.95 * most < float(found.log().max()) <= most + 1e-4
        assert 0.95 * most < float(-found.log().min()) <= most + 1e-4
    moved = after.mean((2, 3)) - 1
    assert 0.35 < float(moved.abs().max()) <= 0.3 + 0.1  # brightness and tint
    tint = moved - moved.mean(1, keepdim=True)
    assert 0.08 < float(tint.abs().max()) <= 2 * 0.1


def test_a_share_of_the_images_is_only_moved() -> None:
    count = 2000
    images = torch.randint(1, 100, (count, 3, SIDE, SIDE), generator=generator()).float()
    after = varied(images, generator(1))
    # Whole numbers stay whole where pixels are neither blended nor recoloured.
    plain = (after == after.round()).flatten(1).all(1).double().mean().item()
    wanted = (1 - VARIED) ** 2
    assert abs(plain - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / count)

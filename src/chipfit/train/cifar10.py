"""The task `cifar10-resnet20`: He's ResNet-20 on CIFAR-10 images, from a folder of data.

The folder holds `images/cifar10_part.npz` (arrays `train_x`, `train_y`, `test_x`, `test_y`; uint8
images (n, 3, 32, 32)) and `models/resnet20_cifar10.pt` (a state dictionary).

Source: He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2, with
shortcuts of option A (subsample and pad channels with zeros).
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import nn

from chipfit.errors import TaskError
from chipfit.train.task import Augment, Task, TensorLoader

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
VALIDATION = 600
#: Of the images of a batch, how many are turned and scaled, and how many recoloured.
VARIED = 0.6


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.padding = (channels - channels_in) // 2
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations (n, channels, h, w)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20 for 32x32 images and 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1)
        self.layer2 = _stage(16, 32, 2)
        self.layer3 = _stage(32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, 10) of normalised images (n, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(self.pool(x), 1))


def _stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(2)))


def normalize(images: np.ndarray) -> torch.Tensor:
    """uint8 images (n, 3, h, w) as the network expects them."""
    mean, deviation = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(DEVIATION).view(3, 1, 1)
    return (torch.from_numpy(images).float() / 255 - mean) / deviation


def mirrored(images: torch.Tensor) -> torch.Tensor:
    """Each image (n, 3, h, w) as in a mirror."""
    return images.flip(3)


def shift_and_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by up to four pixels (zeros come in) and mirrored half of the time."""
    count, _, height, width = images.shape
    padded = F.pad(images, (4, 4, 4, 4))
    top = torch.randint(0, 9, (count,), generator=generator)
    left = torch.randint(0, 9, (count,), generator=generator)
    flip = torch.rand(count, generator=generator) < 0.5
    rows = (top[:, None] + torch.arange(height))[:, None, :, None]
    across = torch.arange(width).expand(count, width)
    columns = (left[:, None] + torch.where(flip[:, None], width - 1 - across, across))[:, None, None, :]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return padded[torch.arange(count)[:, None, None, None], channels, rows, columns]


def varied(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved and perhaps mirrored; most of them turned and scaled too, and most in other colours.

    The less alike the few images are each time, the better a student follows the original on others.
    """

    def most() -> torch.Tensor:
        return torch.rand(len(images), 1, 1, 1, generator=generator) < VARIED

    moved = shift_and_flip(images, generator)
    moved = torch.where(most(), turn_and_scale(images, generator), moved)
    return torch.where(most(), recolor(moved, generator), moved)


def turn_and_scale(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image turned by up to 15 degrees, scaled by up to 1.22, sheared, moved, and perhaps mirrored."""
    count = len(images)

    def up_to(most: float) -> torch.Tensor:
        return most * (2 * torch.rand(count, generator=generator) - 1)

    angle, scale, shear = up_to(math.pi / 12), torch.exp(up_to(0.2)), up_to(0.1)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = (
        torch.stack([mirror * cosine, shear - sine, up_to(0.25)], 1),
        torch.stack([mirror * sine, cosine, up_to(0.25)], 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def recolor(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image at another contrast, saturation, brightness and tint."""

    def up_to(most: float, channels: int = 1) -> torch.Tensor:
        return most * (2 * torch.rand(len(images), channels, 1, 1, generator=generator) - 1)

    mean = images.mean((2, 3), keepdim=True)
    images = mean + (images - mean) * torch.exp(up_to(0.3))
    gray = images.mean(1, keepdim=True)
    return gray + (images - gray) * torch.exp(up_to(0.5)) + up_to(0.3) + up_to(0.1, images.shape[1])


def task(*, data: Path | None, seed: int = 0) -> Task:
    """The task, from a folder of data.

    Raises:
        TaskError: no folder is given, or a file is missing or not what it should be.
    """
    if data is None:
        raise TaskError("task 'cifar10-resnet20' needs --data DIR with images/cifar10_part.npz and models/")
    images, state = data / "images" / "cifar10_part.npz", data / "models" / "resnet20_cifar10.pt"
    missing = [str(path) for path in (images, state) if not path.is_file()]
    if missing:
        raise TaskError(f"task 'cifar10-resnet20': no file {' and no file '.join(missing)}")
    try:
        with np.load(images, allow_pickle=False) as arrays:
            sets = {key: arrays[key] for key in ("train_x", "train_y", "test_x", "test_y")}
        model = ResNet20()
        weights = torch.load(state, weights_only=True, map_location="cpu")
        weights = weights.get("state_dict", weights)
        model.load_state_dict({key.removeprefix("module."): value for key, value in weights.items()})
    except (OSError, ValueError, KeyError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TaskError(f"task 'cifar10-resnet20': cannot read {data}: {error}") from error
    train_x, test_x = normalize(sets["train_x"]), normalize(sets["test_x"])
    train_y, test_y = (torch.from_numpy(sets[key]).long() for key in ("train_y", "test_y"))
    order = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(0))
    held, rest = order[:VALIDATION], order[VALIDATION:]

    def loader(augment: Augment) -> TensorLoader:
        return TensorLoader(train_x[rest], train_y[rest], batch=64, augment=augment, shuffle=True, seed=seed)

    return Task(
        name="cifar10-resnet20",
        model=model.eval(),
        train=loader(varied),
        probe=loader(shift_and_flip),
        validation=TensorLoader(train_x[held], train_y[held], batch=200),
        test=TensorLoader(test_x, test_y, batch=200),
        epochs=43,
        screening_epochs=2,
        learning_rate=3e-4,
        views=(mirrored,),
    )

"""The task `digits`: handwritten digits of 8x8 pixels, and a small residual network for them.

The images come with scikit-learn (UCI ML hand-written digits, E. Alpaydin and C. Kaynak, 1998), so
nothing is downloaded. The network is trained here, in seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from sklearn.datasets import load_digits
from torch import nn

from chipfit.train.task import Task, TensorLoader

EPOCHS = 12


class DigitsNet(nn.Module):
    """Four 3x3 convolutions, one shortcut, and a linear layer: 10 classes of 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.conv4 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(32)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, 10) of images (n, 1, 8, 8)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        y = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(y)) + x)
        return self.linear(torch.flatten(self.pool(x), 1))


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by up to one pixel (zeros come in)."""
    count, _, height, width = images.shape
    padded = F.pad(images, (1, 1, 1, 1))
    top = torch.randint(0, 3, (count,), generator=generator)
    left = torch.randint(0, 3, (count,), generator=generator)
    rows = (top[:, None] + torch.arange(height))[:, :, None]
    columns = (left[:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(count)[:, None, None], 0, rows, columns][:, None]


def task(*, data: Path | None = None, seed: int = 0) -> Task:
    """The task: 1,078 images to train on, 180 to choose with, 539 to judge once."""
    digits: Any = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, validation, test = order.split([1078, 180, 539])
    loader = TensorLoader(images[train], labels[train], batch=32, augment=shift, shuffle=True, seed=seed)
    return Task(
        name="digits",
        model=_trained(loader, seed),
        train=loader,
        validation=TensorLoader(images[validation], labels[validation], batch=180),
        test=TensorLoader(images[test], labels[test], batch=180),
        epochs=12,
        screening_epochs=3,
        learning_rate=1e-3,
    )


def _trained(loader: TensorLoader, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitsNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=EPOCHS * len(loader))
    model.train()
    for epoch in range(EPOCHS):
        loader.epoch = epoch
        for inputs, labels in loader:
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()

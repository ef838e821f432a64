"""Small models and data for tests of everything that needs torch."""

import torch
from torch import nn

from chipfit.train.task import Task, TensorLoader


class Residual(nn.Module):
    """Convolution, a residual block with normalisation, pooling and a classifier."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(y)) + x)
        return self.head(torch.flatten(self.pool(x), 1))


def residual(seed: int = 0) -> Residual:
    """A random residual network whose normalisation has seen data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Residual()
        for conv in (model.stem, model.conv1, model.conv2):
            nn.init.kaiming_normal_(conv.weight)
        nn.init.normal_(model.head.weight)
        for norm in (model.bn1, model.bn2):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return model.eval()


def images(count: int = 16, seed: int = 1) -> torch.Tensor:
    """Random images (count, 3, 8, 8)."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def task(seed: int = 0) -> Task:
    """A task whose labels are what the model says, so that its accuracy is 1."""
    model, inputs = residual(), images(48)
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    parts = [slice(0, 24), slice(24, 36), slice(36, 48)]
    train, validation, test = (TensorLoader(inputs[p], labels[p], batch=12, seed=seed) for p in parts)
    return Task(
        name="small", model=model, train=train, validation=validation, test=test, epochs=2, screening_epochs=1
    )

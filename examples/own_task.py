"""A task of your own: is a handwritten digit odd or even?

chipfit fit own_task:odd_or_even --target eyeriss --budget energy=60% --out odd
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from chipfit.train.task import Task


def odd_or_even() -> Task:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8)
    odd = torch.tensor(digits.target) % 2
    sets = [TensorDataset(images[i:j], odd[i:j]) for i, j in ((0, 1000), (1000, 1300), (1300, 1797))]
    train, validation, test = (DataLoader(s, batch_size=50) for s in sets)

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(24 * 3 * 3, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        for inputs, labels in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return Task(
        name="odd-or-even", model=model, train=train, validation=validation, test=test,
        epochs=4, screening_epochs=1,
    )  # fmt: skip

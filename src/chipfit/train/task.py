"""What a user brings to be fitted: a trained model, data, and a metric.

A task is built by a function without arguments (or with `data`, a folder) that returns a `Task`.
Built in are `digits` and `cifar10-resnet20`; any other is named `package.module:function`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from chipfit.errors import TaskError, nearest

Batch = tuple[torch.Tensor, torch.Tensor]
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
View = Callable[[torch.Tensor], torch.Tensor]


class Loader(Protocol):
    """Batches of (inputs, labels), as often as it is iterated: a DataLoader will do."""

    def __iter__(self) -> Iterator[Batch]: ...


class TensorLoader:
    """Batches of tensors that are in memory, shuffled and augmented from a seed.

    `epoch` selects the order and the augmentation, so that a resumed run sees what an
    uninterrupted one would have seen.
    """

    def __init__(
        self,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        *,
        batch: int = 128,
        augment: Augment | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        self.inputs, self.labels, self.batch = inputs, labels, batch
        self.augment, self.shuffle, self.seed = augment, shuffle, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        count = len(self.inputs)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        for start in range(0, count, self.batch):
            index = order[start : start + self.batch]
            inputs = self.inputs[index]
            if self.augment is not None:
                inputs = self.augment(inputs, generator)
            yield inputs, self.labels[index]


def accuracy(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Fraction of the images whose largest output is the label.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    return float((outputs.argmax(1) == labels).double().mean())


@dataclass(frozen=True, kw_only=True)
class Task:
    """A trained model with the data to judge and retrain it.

    `train`, `validation` and `test` yield (inputs, labels) each time they are iterated; `metric` takes the
    outputs and labels of a whole set and returns a number in 0..1, larger is better. `test` is looked at
    once, at the end. What choices hurt is measured on inputs of `probe`, or of `train` if there is none:
    there should be one where inputs of `train` are distorted beyond what the model is used to. `epochs` is
    how long the last retraining takes, and `screening_epochs` how long each candidate is tried. `views` make
    of inputs others of which the model should say the same (mirrored images): where it teaches, it answers
    with its mean over them.
    """

    name: str
    model: nn.Module
    train: Loader
    validation: Loader
    test: Loader
    probe: Loader | None = None
    metric: Callable[[torch.Tensor, torch.Tensor], float] = accuracy
    epochs: int = 10
    screening_epochs: int = 2
    learning_rate: float = 1e-3
    views: tuple[View, ...] = ()


def load_task(name: str, data: Path | None = None, seed: int = 0) -> Task:
    """The built-in task of that name, or what `module:function` returns.

    Raises:
        TaskError: there is no such task, or the function does not return a usable one.
    """
    if name in BUILT_IN:
        return BUILT_IN[name](data, seed)
    if ":" not in name:
        raise TaskError(f"unknown task '{name}'{nearest(name, BUILT_IN)}; your own is 'module:function'")
    module_name, _, function_name = name.partition(":")
    function = _find(module_name, function_name)
    arguments: dict[str, Any] = {}
    parameters = inspect.signature(function).parameters
    if "data" in parameters:
        arguments["data"] = data
    if "seed" in parameters:
        arguments["seed"] = seed
    task = function(**arguments)
    if not isinstance(task, Task):
        raise TaskError(f"'{name}' returned {type(task).__name__}, expected a chipfit.train.task.Task")
    check_task(task)
    return task


def _find(module_name: str, function_name: str) -> Callable[..., object]:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise TaskError(f"module '{module_name}' needs '{error.name}', which is not installed") from error
        raise TaskError(f"no module '{module_name}' here or on the Python path") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        public = [n for n in vars(module) if callable(getattr(module, n)) and not n.startswith("_")]
        raise TaskError(
            f"module '{module_name}' has no function '{function_name}'{nearest(function_name, public)}"
        )
    return function


def check_task(task: Task) -> None:
    """Raise TaskError, with all that is wrong, unless the task can be fitted."""
    wrong: list[str] = []
    model: Any = task.model
    if not isinstance(model, nn.Module):
        wrong.append(f"model is {type(model).__name__}, expected a torch.nn.Module")
    loaders = {"train": task.train, "validation": task.validation, "test": task.test}
    if task.probe is not None:
        loaders["probe"] = task.probe
    for part, loader in loaders.items():
        wrong += _wrong_with_loader(part, loader)
    if not callable(task.metric):
        wrong.append("metric is not a function of (outputs, labels)")
    wrong += [f"view {n} is not a function of inputs" for n, v in enumerate(task.views) if not callable(v)]
    if wrong:
        raise TaskError(f"task '{task.name}': " + "; ".join(wrong))
    inputs, labels = next(iter(task.validation))
    try:
        with torch.no_grad():
            outputs = task.model.eval()(inputs)
            shapes = [tuple(view(inputs).shape) for view in task.views]
        value = task.metric(outputs, labels)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise TaskError(
            f"task '{task.name}': the model does not run on its validation data: {reason}"
        ) from error
    for number, shape in enumerate(shapes):
        if shape != tuple(inputs.shape):
            raise TaskError(
                f"task '{task.name}': view {number} makes inputs of shape {shape} of {tuple(inputs.shape)}"
            )
    if not torch.isfinite(outputs).all():
        raise TaskError(f"task '{task.name}': the model returns NaN or infinity on its validation data")
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise TaskError(f"task '{task.name}': metric returned {value!r}, expected a float in 0..1")


def _wrong_with_loader(part: str, loader: Iterable[Any]) -> list[str]:
    try:
        batch = next(iter(loader))
    except StopIteration:
        return [f"{part} yields no batches"]
    except TypeError:
        return [f"{part} is {type(loader).__name__}, expected batches of (inputs, labels)"]
    good = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not good or not all(isinstance(t, torch.Tensor) for t in batch):
        return [f"{part} yields {type(batch).__name__}, expected pairs of tensors (inputs, labels)"]
    if len(batch[0]) != len(batch[1]):
        return [f"{part} yields {len(batch[0])} inputs with {len(batch[1])} labels"]
    return []


def inputs_of(loader: Loader, count: int) -> torch.Tensor:
    """The first `count` inputs of a loader, as one tensor."""
    found: list[torch.Tensor] = []
    for inputs, _ in loader:
        found.append(inputs)
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]


def _built_in(module: str) -> Callable[[Path | None, int], Task]:
    def build(data: Path | None, seed: int) -> Task:
        return importlib.import_module(module).task(data=data, seed=seed)

    return build


#: Built-in tasks; each lives in a module of its own.
BUILT_IN: dict[str, Callable[[Path | None, int], Task]] = {
    "digits": _built_in("chipfit.train.digits"),
    "cifar10-resnet20": _built_in("chipfit.train.cifar10"),
}

"""Retraining a compressed model so that it does again what the original does.

The loss is the divergence between the outputs of the model and of the original on the same
augmented inputs: no labels are needed. Classification (outputs (n, classes)) uses softened
probabilities; anything else the squared error.

Images are blended with one another, because a student that is asked about more inputs than there
are images follows its teacher better on images that neither has seen.

What is returned is a running mean of the weights over about the last tenth of the steps: it follows the
original better than the weights of any one step, which the rate of learning still shakes.

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015; blending as in
Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022. Differs:
only a part of each batch is blended. The mean of weights as in Polyak, Juditsky, "Acceleration of
stochastic approximation by averaging", 1992; differs: it forgets the first steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import nn

from chipfit.compress.quantize import keep_sums
from chipfit.report.record import write_atomically
from chipfit.train.task import Loader, Task


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a model is retrained.

    `learning_rate` rises over the first `warm_up` steps and falls with a cosine; `temperature`
    softens the probabilities; `half` trains in bfloat16 with 32-bit weights; `blended` is the fraction
    of the images of a batch that are blended with another one.
    """

    epochs: int
    learning_rate: float = 1e-3
    warm_up: int = 50
    temperature: float = 4.0
    half: bool = True
    blended: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How a model does on a set: the task's metric, and the divergence from the original."""

    metric: float
    loss: float


def outputs_of(model: nn.Module, loader: Loader) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs of a model on a whole set, and the labels."""
    model.eval()
    with torch.no_grad():
        pairs = [(model(inputs), labels) for inputs, labels in loader]
    return torch.cat([o for o, _ in pairs]), torch.cat([y for _, y in pairs])


def divergence(outputs: torch.Tensor, wanted: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Mean divergence of outputs from those of the original (nat, or squared error)."""
    if outputs.dim() == 2 and outputs.shape[1] > 1:
        log_p = F.log_softmax(outputs / temperature, 1)
        log_q = F.log_softmax(wanted / temperature, 1)
        return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2
    return F.mse_loss(outputs, wanted)


def judge(model: nn.Module, loader: Loader, wanted: torch.Tensor, task: Task) -> Judgement:
    """A model's metric on a set and its divergence from the original's outputs there."""
    outputs, labels = outputs_of(model, loader)
    return Judgement(metric=task.metric(outputs, labels), loss=float(divergence(outputs, wanted)))


def finetune(
    model: nn.Module,
    original: nn.Module,
    task: Task,
    options: FineTuning,
    *,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int, float, nn.Module], None] = lambda epoch, loss, model: None,
) -> nn.Module:
    """Retrain `model` in place to follow `original`; returns it in evaluation mode.

    With a `checkpoint` path, state is written after each epoch, and a run that finds one goes on
    from there. `after_epoch(epoch, training_loss, averaged_model)` is called after each epoch.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    mean = RunningMean(model)
    first = _restore(checkpoint, model, mean, optimizer) if checkpoint else 0
    for epoch in range(first, options.epochs):
        loss = _one_epoch(model, mean, original, task.train, optimizer, options, epoch)
        averaged = mean.model(model)
        after_epoch(epoch, loss, averaged)
        if checkpoint:
            save_state(
                checkpoint,
                epoch=epoch + 1,
                model=averaged.state_dict(),
                trained=model.state_dict(),
                mean=mean.values,
                steps=mean.steps,
                optimizer=optimizer.state_dict(),
            )
    if options.epochs:
        model.load_state_dict(mean.model(model).state_dict())
    return model.eval()


class RunningMean:
    """The mean of a model's weights over about the last tenth of the steps so far.

    `values` are the weights by name, and `steps` how many models went into them.
    """

    def __init__(self, model: nn.Module) -> None:
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.steps = 0

    def add(self, model: nn.Module) -> None:
        """Take in the weights after one more step."""
        share = 9 / (10 + self.steps)
        self.steps += 1
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, share)
            else:
                self.values[name].copy_(value)

    def model(self, like: nn.Module) -> nn.Module:
        """A copy of a model with the mean weights, in evaluation mode."""
        averaged = copy.deepcopy(like)
        averaged.load_state_dict(self.values)
        keep_sums(averaged)
        return averaged.eval()


def _one_epoch(
    model: nn.Module,
    mean: RunningMean,
    original: nn.Module,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    options: FineTuning,
    epoch: int,
) -> float:
    if hasattr(loader, "epoch"):
        loader.epoch = epoch  # pyright: ignore[reportAttributeAccessIssue]
    batches = len(loader) if hasattr(loader, "__len__") else sum(1 for _ in loader)  # pyright: ignore[reportArgumentType]
    # Normalisation that could not be folded keeps the statistics of the original.
    model.eval()
    total = 0.0
    generator = torch.Generator().manual_seed(epoch)
    for number, (inputs, _) in enumerate(loader):
        step = epoch * batches + number
        rate = learning_rate(options, step, options.epochs * batches)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if inputs.dim() == 4:
            inputs = blend(inputs, options.blended, generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.half):
            with torch.no_grad():
                wanted = original(inputs)
            outputs = model(inputs)
        loss = divergence(outputs.float(), wanted.float(), options.temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        keep_sums(model)
        mean.add(model)
        total += float(loss.detach())
    return total / max(batches, 1)


def blend(images: torch.Tensor, fraction: float, generator: torch.Generator) -> torch.Tensor:
    """The images (n, c, h, w), the last `fraction` of them each mixed with another of the batch."""
    count = len(images)
    share = torch.rand(count, 1, 1, 1, generator=generator)
    share[: count - round(count * fraction)] = 1.0
    return share * images + (1 - share) * images[torch.randperm(count, generator=generator)]


def learning_rate(options: FineTuning, step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to zero.

    >>> options = FineTuning(epochs=1, learning_rate=1.0, warm_up=10)
    >>> learning_rate(options, 4, 100), round(learning_rate(options, 50, 100), 3)
    (0.4980286753286195, 0.5)
    """
    warm_up = min(1.0, (step + 1) / options.warm_up)
    return options.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))


def save_state(path: Path, **state: Any) -> None:
    """Write tensors and numbers, under a temporary name first."""
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote; nothing but tensors and plain values is read."""
    return torch.load(path, weights_only=True, map_location="cpu")


def _restore(path: Path, model: nn.Module, mean: RunningMean, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = load_state(path)
    model.load_state_dict(state["trained"])
    mean.values, mean.steps = state["mean"], int(state["steps"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])

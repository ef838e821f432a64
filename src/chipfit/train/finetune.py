"""Retraining a compressed model so that it does again what the original does.

The loss is the divergence between the outputs of the model and of the original on the same
augmented inputs: no labels are needed. Classification (outputs (n, classes)) uses softened
probabilities; anything else the squared error. Where a task knows views of an input that mean the same
(a mirrored image), the original answers with its mean over them, which is right more often than it is.

Images are blended with one another, because a student that is asked about more inputs than there
are images follows its teacher better on images that neither has seen.

What is returned is a running mean of the weights over about the last tenth of the steps: it follows the
original better than the weights of any one step, which the rate of learning still shakes.

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015; blending as in
Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022. Differs:
only a part of each batch is blended. The mean of weights as in Polyak, Juditsky, "Acceleration of
stochastic approximation by averaging", 1992; differs: it forgets the first steps. Students that meet
after each epoch as in Stich, "Local SGD converges fast and communicates little", ICLR 2019; differs:
Adam, whose running means are averaged as well. The mean over mirrored images as in Krizhevsky et al.,
"ImageNet classification with deep convolutional neural networks", 2012; differs: the teacher's alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import fx, nn

from chipfit.compress.quantize import keep_sums
from chipfit.report.record import write_atomically
from chipfit.train.normalize import Normalization, folded, normalized
from chipfit.train.task import Loader, Task, View, inputs_of

#: Inputs on which a model and its normalisations are made to agree.
NORMALIZED_INPUTS = 256


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a model is retrained.

    `learning_rate` rises over the first `warm_up` steps and falls with a cosine; `temperature`
    softens the probabilities; `half` trains in bfloat16 with 32-bit weights; `blended` is the fraction
    of the images of a batch that are blended with another one. Of several `students`, each sees all
    training data in an order and with distortions of its own, in a thread of its own; after each epoch all
    go on from the mean of their weights.
    """

    epochs: int
    learning_rate: float = 1e-3
    warm_up: int = 50
    temperature: float = 4.0
    half: bool = True
    blended: float = 0.5
    students: int = 1


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How a model does on a set: the task's metric, and the divergence from the original."""

    metric: float
    loss: float


def outputs_of(
    model: nn.Module, loader: Loader, views: Sequence[View] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs of a model on a whole set (means over views, if there are any), and the labels."""
    model.eval()
    with torch.no_grad():
        pairs = [(mean_output(model, inputs, views), labels) for inputs, labels in loader]
    return torch.cat([o for o, _ in pairs]), torch.cat([y for _, y in pairs])


def mean_output(model: nn.Module, inputs: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
    """The mean of a model's outputs on inputs and on each view of them."""
    output = model(inputs)
    for view in views:
        output = output + model(view(inputs))
    return output / (1 + len(views))


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


def finetune_normalized(
    model: fx.GraphModule,
    original: nn.Module,
    task: Task,
    options: FineTuning,
    *,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int, float, nn.Module], None] = lambda epoch, loss, model: None,
) -> fx.GraphModule:
    """`finetune` with normalisation by the batch, which is folded away at the end; a new model.

    Arguments as `finetune`. What lost channels or weights is mended so in a fraction of the epochs.
    """
    inputs = inputs_of(task.probe or task.train, NORMALIZED_INPUTS)
    made = normalized(model, inputs).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    finetune(made, original, task, options, checkpoint=checkpoint, after_epoch=after_epoch)
    return folded(made).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


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
    students = [Student(model if n == 0 else copy.deepcopy(model), options) for n in range(options.students)]
    first = _restore(checkpoint, students) if checkpoint else 0
    for epoch in range(first, options.epochs):
        loss = _one_epoch(students, original, task, options, epoch)
        averaged = students[0].mean.model(model)
        after_epoch(epoch, loss, averaged)
        if checkpoint:
            save_state(
                checkpoint,
                epoch=epoch + 1,
                model=averaged.state_dict(),
                trained=model.state_dict(),
                mean=students[0].mean.values,
                steps=students[0].mean.steps,
                optimizer=students[0].optimizer.state_dict(),
            )
    if options.epochs:
        model.load_state_dict(students[0].mean.model(model).state_dict())
    return model.eval()


def _one_epoch(
    students: Sequence[Student], original: nn.Module, task: Task, options: FineTuning, epoch: int
) -> float:
    """Train each student for an epoch and give all of them the mean; returns the mean loss."""
    if len(students) == 1:
        return students[0].epoch(original, task, options, epoch)
    with ThreadPoolExecutor(len(students), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        lessons = [
            threads.submit(student.epoch, original, task, options, epoch, number)
            for number, student in enumerate(students)
        ]
        try:
            wait(lessons, return_when=FIRST_EXCEPTION)
        finally:
            # After an error, or Ctrl-C, nobody goes on.
            for student in students:
                student.stopped = not all(lesson.done() for lesson in lessons)
    losses = [lesson.result() for lesson in lessons]
    meet(students)
    return sum(losses) / len(losses)


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


class Student:
    """A model that is trained, with its optimizer and the running mean of its weights."""

    def __init__(self, model: nn.Module, options: FineTuning) -> None:
        self.model = model
        self.mean = RunningMean(model)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
        self.stopped = False

    def epoch(
        self, original: nn.Module, task: Task, options: FineTuning, epoch: int, number: int = 0
    ) -> float:
        """Train for an epoch, or until `stopped`, as student `number` of several; returns the mean loss."""
        loader, seed = task.train, epoch * options.students + number
        if hasattr(loader, "epoch"):
            loader = copy.copy(loader)
            loader.epoch = seed  # pyright: ignore[reportAttributeAccessIssue]
        batches = len(loader) if hasattr(loader, "__len__") else sum(1 for _ in loader)  # pyright: ignore[reportArgumentType]
        # Normalisation of the model's own that could not be folded keeps the statistics of the original.
        self.model.eval()
        for module in self.model.modules():
            if isinstance(module, Normalization):
                module.train()
        total = 0.0
        generator = torch.Generator().manual_seed(seed)
        for index, (inputs, _) in enumerate(loader):
            if self.stopped:
                break
            step = epoch * batches + index
            rate = learning_rate(options, step, options.epochs * batches)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            if inputs.dim() == 4:
                inputs = blend(inputs, options.blended, generator)
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            total += self._step(original, inputs, task.views, options)
        return total / max(batches, 1)

    def _step(
        self, original: nn.Module, inputs: torch.Tensor, views: Sequence[View], options: FineTuning
    ) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=options.half):
            with torch.no_grad():
                wanted = mean_output(original, inputs, views)
            outputs = self.model(inputs)
        loss = divergence(outputs.float(), wanted.float(), options.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        keep_sums(self.model)
        self.mean.add(self.model)
        return float(loss.detach())

    def tensors(self) -> list[torch.Tensor]:
        """All that training changes: weights, their running mean, and the optimizer's running means."""
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.model.state_dict().values(), *self.mean.values.values(), *moments]


def meet(students: Sequence[Student]) -> None:
    """Give all students the mean of what they have, in place."""
    for together in zip(*(student.tensors() for student in students), strict=True):
        if together[0].is_floating_point():
            mean = torch.stack(together).mean(0)
            for tensor in together:
                tensor.copy_(mean)
    for student in students:
        keep_sums(student.model)


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


def _restore(path: Path, students: Sequence[Student]) -> int:
    first = 0
    if not path.exists():
        return first
    for student in students:
        state = load_state(path)  # once each: optimizers keep the tensors that they are given
        student.model.load_state_dict(state["trained"])
        student.mean.values = state["mean"]
        student.mean.steps = int(state["steps"])
        student.optimizer.load_state_dict(state["optimizer"])
        first = int(state["epoch"])
    return first

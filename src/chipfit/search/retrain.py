"""Candidates retrained in processes of their own, which record each epoch and can be killed at any moment."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from chipfit.compress.base import PassContext, apply_recipe
from chipfit.compress.graph import traced
from chipfit.compress.prune import PruneChannels
from chipfit.report.record import Records
from chipfit.search.budget import parse_budget
from chipfit.search.candidates import Candidate
from chipfit.search.config import FitConfig, Progress
from chipfit.train.finetune import FineTuning, finetune, finetune_normalized, judge, outputs_of
from chipfit.train.task import Task, inputs_of, load_task

#: Inputs of the validation set that quantisers are calibrated on.
CALIBRATION = 256
#: Rate at which what lost channels is retrained, normalised, before it is quantised: Adam's usual one.
CUT_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Job:
    """One candidate to be retrained, in a process of its own that ends with its parent.

    `students` as in `FineTuning`.
    """

    parent: int
    config: FitConfig
    candidate: Candidate
    epochs: int
    stage: str
    original: Mapping[str, float]
    students: int = 1


def build(candidate: Candidate, model: nn.Module, context: PassContext) -> nn.Module:
    """The candidate's model, before retraining."""
    return apply_recipe(candidate.steps, model, context).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def trained(
    candidate: Candidate,
    task: Task,
    original: nn.Module,
    options: FineTuning,
    *,
    checkpoint: Path | None = None,
    after_epoch: Callable[[int, float, nn.Module], None] = lambda epoch, loss, model: None,
) -> nn.Module:
    """The candidate's model, retrained to follow the original; arguments as `finetune`.

    Lost channels are mended first, for half of the epochs: before widths are narrowed, that goes much faster.
    """
    context = PassContext(calibration=inputs_of(task.validation, CALIBRATION))
    cut = [step for step in candidate.steps if isinstance(step, PruneChannels)]
    first = options.epochs // 2 if cut else 0
    if not first:
        model = build(candidate, traced(task.model), context)
        return finetune(model, original, task, options, checkpoint=checkpoint, after_epoch=after_epoch)
    smaller = apply_recipe(cut, traced(task.model), context)
    assert isinstance(smaller, fx.GraphModule)
    smaller = finetune_normalized(
        smaller,
        original,
        task,
        replace(options, epochs=first, learning_rate=CUT_RATE),
        checkpoint=None if checkpoint is None else checkpoint.with_name(f"{checkpoint.stem}-cut.pt"),
        after_epoch=after_epoch,
    )
    rest = [step for step in candidate.steps if step not in cut]
    model = apply_recipe(rest, smaller, context).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def later(epoch: int, loss: float, averaged: nn.Module) -> None:
        after_epoch(first + epoch, loss, averaged)

    options = replace(options, epochs=options.epochs - first)
    return finetune(model, original, task, options, checkpoint=checkpoint, after_epoch=later)


def retrain(job: Job) -> dict[str, Any]:
    """Retrain a candidate; returns the fields of its record."""
    torch.set_num_threads(1)
    _end_with(job.parent)
    config, candidate = job.config, job.candidate
    task = load_task(config.task, config.data, config.seed)
    original = traced(task.model).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    wanted, _ = outputs_of(original, task.validation, task.views)
    records = Records(config.out / "records.jsonl")

    def noted(epoch: int, loss: float, model: nn.Module) -> None:
        found = judge(model, task.validation, wanted, task)
        records.append(
            "epoch",
            candidate=candidate.name,
            stage=job.stage,
            epoch=epoch,
            loss=loss,
            accuracy_validation=found.metric,
            loss_validation=found.loss,
        )

    options = FineTuning(epochs=job.epochs, learning_rate=task.learning_rate, students=job.students)
    checkpoint = config.out / "checkpoints" / f"{candidate.name}-{job.stage}.pt"
    model = trained(candidate, task, original, options, checkpoint=checkpoint, after_epoch=noted)
    found = judge(model, task.validation, wanted, task)
    limits = parse_budget(config.budget)
    return {
        "name": candidate.name,
        "origin": candidate.origin,
        "stage": job.stage,
        "recipe": candidate.recipe,
        "choices": candidate.choices,
        "candidate": candidate.to_json(),
        "cost": dict(candidate.cost),
        "ratios": {q: candidate.cost[q] / job.original[q] for q in candidate.cost},
        "over": limits.over(candidate.cost, job.original),
        "accuracy_validation": found.metric,
        "loss_validation": found.loss,
        "epochs": job.epochs,
        "students": job.students,
        "chosen": False,
    }


def _end_with(parent: int) -> None:
    """End this process as soon as its parent is gone, so that a resumed run has no rival."""
    if os.getppid() != parent:
        return  # in the same process, or on a cluster

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def watching(records: Records, stage: str, progress: Progress) -> Generator[None]:
    """Advance the progress by the epochs that other processes record."""
    over = threading.Event()

    def count() -> int:
        return sum(r["kind"] == "epoch" and r["stage"] == stage for r in records.read())

    def watch() -> None:
        seen = 0
        while not over.wait(0.5):
            now = count()
            progress.advance(now - seen)
            seen = now
        progress.advance(count() - seen)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

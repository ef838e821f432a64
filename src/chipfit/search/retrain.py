"""Candidates retrained in processes of their own, which record each epoch and can be killed at any moment."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from chipfit.train.task import inputs_of, load_task

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


def retrain(job: Job) -> dict[str, Any]:
    """Retrain a candidate from where it is; returns the fields of its record."""
    torch.set_num_threads(1)
    _end_with(job.parent)
    config, candidate = job.config, job.candidate
    task = load_task(config.task, config.data, config.seed)
    original = traced(task.model).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    wanted, _ = outputs_of(original, task.validation, task.views)
    records, folder = Records(config.out / "records.jsonl"), config.out / "checkpoints"
    context = PassContext(calibration=inputs_of(task.validation, CALIBRATION))
    cut = [step for step in candidate.steps if isinstance(step, PruneChannels)]
    first = job.epochs // 2 if cut else 0

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
    checkpoint = folder / f"{candidate.name}-{job.stage}.pt"
    model = traced(task.model)
    if first:
        # Lost channels are mended before widths are narrowed: that goes much faster.
        smaller = apply_recipe(cut, model, context)
        assert isinstance(smaller, fx.GraphModule)
        model = finetune_normalized(
            smaller,
            original,
            task,
            replace(options, epochs=first, learning_rate=CUT_RATE),
            checkpoint=checkpoint.with_name(f"{candidate.name}-{job.stage}-cut.pt"),
            after_epoch=noted,
        )
        rest = [step for step in candidate.steps if step not in cut]
    else:
        rest = candidate.steps
    model = apply_recipe(rest, model, context).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def noted_later(epoch: int, loss: float, model: nn.Module) -> None:
        noted(first + epoch, loss, model)

    options = replace(options, epochs=job.epochs - first)
    finetune(model, original, task, options, checkpoint=checkpoint, after_epoch=noted_later)
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

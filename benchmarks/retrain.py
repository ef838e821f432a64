"""One candidate of a finished run of `fit` on ResNet-20, retrained in other ways.

    python benchmarks/retrain.py DATA RUN [--candidate "program, one width"] [--images varied,moved]
        [--students 1,2] [--views with,without] [--epochs 12] [--learning-rate 3e-4] [--every 3]

RUN is the folder of `chipfit fit cifar10-resnet20`; the candidate is trained anew, as `fit` does it.
Images are `moved` (and mirrored), `turned` (and scaled) besides, `coloured` besides, or `varied`: both.
Prints, every few epochs, divergence from the original on validation and on test images, softened as in
training, and accuracy. Choose on validation; test images are there to see what that was worth.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from chipfit.compress.graph import traced
from chipfit.report.record import Records
from chipfit.search.candidates import Candidate
from chipfit.search.retrain import trained
from chipfit.train.cifar10 import VARIED, recolor, shift_and_flip, task, turn_and_scale, varied
from chipfit.train.finetune import FineTuning, divergence, outputs_of
from chipfit.train.task import Augment, Loader, TensorLoader


def some(change: Augment) -> Augment:
    """Moved images, most of which are changed besides."""

    def changed(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        moved = shift_and_flip(images, generator)
        most = torch.rand(len(images), 1, 1, 1, generator=generator) < VARIED
        given = images if change is turn_and_scale else moved
        return torch.where(most, change(given, generator), moved)

    return changed


IMAGES: dict[str, Augment] = {
    "moved": shift_and_flip,
    "turned": some(turn_and_scale),
    "coloured": some(recolor),
    "varied": varied,
}


#: What is said of a model on a set of images.
JUDGED = ("divergence", "softened", "accuracy")


def judged(model: nn.Module, wanted: dict[str, torch.Tensor], sets: dict[str, Loader]) -> list[str]:
    cells: list[str] = []
    for name, loader in sets.items():
        outputs, labels = outputs_of(model, loader)
        far = [float(divergence(outputs, wanted[name], temperature)) for temperature in (1.0, 4.0)]
        right = float((outputs.argmax(1) == labels).double().mean())
        cells += [f"{far[0]:.3f}", f"{far[1]:.3f}", f"{right:.2%}"]
    return cells


def retrained(
    candidate: Candidate, folder: Path, images: str, views: bool, options: FineTuning, every: int
) -> None:
    data = task(data=folder)
    assert isinstance(data.train, TensorLoader)
    data.train.augment = IMAGES[images]
    data = replace(data, views=data.views if views else ())
    original = traced(data.model).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    sets = {"validation": data.validation, "test": data.test}
    wanted = {name: outputs_of(original, loader)[0] for name, loader in sets.items()}
    start = time.time()
    name = f"{images}, {options.students}, {'with' if views else 'without'}"

    def told(epoch: int, loss: float, averaged: nn.Module) -> None:
        if (epoch + 1) % every == 0:
            cells = [name, f"{epoch + 1}", f"{loss:.3f}", *judged(averaged, wanted, sets)]
            print("|", " | ".join((*cells, f"{time.time() - start:.0f}")), "|", flush=True)

    trained(candidate, data, original, options, after_epoch=told)


def main() -> None:
    parser = argparse.ArgumentParser(description="one candidate retrained in other ways")
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--candidate", default="program, one width")
    parser.add_argument("--images", default="varied")
    parser.add_argument("--students", default="1,2")
    parser.add_argument("--views", default="with,without")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    asked = Records(arguments.run / "records.jsonl").last("asked")
    known = {} if asked is None else {c["name"]: Candidate.from_json(c) for c in asked["candidates"]}
    if arguments.candidate not in known:
        raise SystemExit(f"no candidate '{arguments.candidate}' in {arguments.run}: {', '.join(known)}")
    candidate = known[arguments.candidate]
    heads = ("images, students, views", "epoch", "training loss")
    heads += tuple(f"{each}: {what}" for each in ("validation", "test") for what in JUDGED)
    print("|", " | ".join((*heads, "seconds")), "|")
    print("|" + "---|" * (len(heads) + 1), flush=True)
    ways = itertools.product(*(getattr(arguments, k).split(",") for k in ("images", "students", "views")))
    for images, students, views in ways:
        options = FineTuning(
            epochs=arguments.epochs, learning_rate=arguments.learning_rate, students=int(students)
        )
        retrained(candidate, arguments.data, images, views == "with", options, arguments.every)


if __name__ == "__main__":
    main()

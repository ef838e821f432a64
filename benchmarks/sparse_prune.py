"""ResNet-20 on CIFAR-10 pruned and retrained: balanced against unstructured, on sense_zcu102.

    python benchmarks/sparse_prune.py DATA [OUT] [--epochs 8] [--students 2] [--pruned 2/3,1/2,3/4] [--bits 4]

The first and the last layer stay dense; the others keep (of nine weights of a kernel, cycling through the
layers) 4 5 of 1/2 pruned, 4 of 5/9, 3 of 2/3, and 2 2 2 3 of 3/4, and as many of the layer, wherever, if
unstructured. Masks and least squares use training images; then the masks are fixed, and the weights that
stay are retrained to follow the original. Cycles and energy are at 8 bits, of the zeros that other training
images (`--images`) leave in the retrained model; accuracy is of the test set, in floating point unless
`--bits` quantises weights and activations (first and last layer at 8 bits), after half of the epochs, as
`chipfit fit` does; the other half has the task's rate. Every round of epochs starts with half the learning
rate of the one before. Models are kept in OUT after every epoch, and found there
again. With `--ratios`, an integer program chooses from two to five of nine for each layer, at no more cycles
than with the same ratio everywhere. Prints a table, asserts nothing.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import fx, nn

import chipfit
from chipfit.compress.balance import BalancedPrune, masks_of
from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.compress.ratios import choose_keep, keep_options
from chipfit.cost.base import CostReport
from chipfit.cost.sparse.estimator import SparseEstimator
from chipfit.export.onnx import export
from chipfit.train.cifar10 import task
from chipfit.train.finetune import (
    FineTuning,
    finetune,
    finetune_normalized,
    judge,
    load_state,
    outputs_of,
    save_state,
)
from chipfit.train.task import Task
from chipfit.workload.calibrate import calibrate, network_inputs, weight_masks
from chipfit.workload.from_onnx import load_onnx

#: Weights of nine that a kernel keeps, layer after layer, by the fraction that is pruned.
KEPT = {"1/2": (4, 5), "5/9": (4,), "2/3": (3,), "3/4": (2, 2, 2, 3)}
Keep = tuple[tuple[str, int, int], ...]
PATTERNS = {"kernel": "every kernel", "layer": "unstructured"}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to make the network smaller."""

    pruned: str
    pattern: str
    criterion: str
    bits: int | None
    seed: int
    ratios: bool

    def text(self) -> str:
        words = [f"{self.pruned} pruned", PATTERNS[self.pattern], f"by {self.criterion.replace('_', ' ')}"]
        words += [f"{self.bits} bits"] if self.bits else []
        words += ["ratios by layer"] if self.ratios else []
        return ", ".join([*words, f"seed {self.seed}"])

    def stem(self) -> str:
        bits = f"b{self.bits}" if self.bits else "float"
        words = [self.pruned.replace("/", "of"), self.pattern, self.criterion, bits, str(self.seed)]
        return "_".join([*words, *(["ratios"] if self.ratios else [])])

    def prune(self, model: nn.Module, context: PassContext) -> BalancedPrune:
        layers = list(nest_layers(model))
        cycled = zip(layers[1:-1], itertools.cycle(KEPT[self.pruned]), strict=False)
        keep = tuple((name, kept, 9) for name, kept in cycled)
        if self.ratios:
            keep = chosen(model, keep, self.criterion, context.calibration)
        return BalancedPrune(keep=keep, pattern=self.pattern, criterion=self.criterion)

    def narrow(self, model: nn.Module) -> Quantize | None:
        if not self.bits:
            return None
        first, *inner, last = nest_layers(model)
        return Quantize(bits=((first, 8, 8), *((n, self.bits, self.bits) for n in inner), (last, 8, 8)))


def chosen(model: nn.Module, uniform: Keep, criterion: str, images: torch.Tensor) -> Keep:
    """Weights to keep of each layer, with the least loss that costs no more cycles than `uniform`."""
    data = export(model, images[:1], name="resnet20")
    network = load_onnx(data)
    (name,) = network_inputs(data)
    zeros = calibrate(data, network, [{name: image[None].numpy()} for image in images[:4]], whole=True)
    options = keep_options(
        model,
        network.with_bits(8, 8),
        chipfit.load_target("sense_zcu102"),
        PassContext(calibration=images[:32]),
        {layer: [(kept, 9) for kept in (2, 3, 4, 5)] for layer, _, _ in uniform},
        zeros=zeros,
        prune=BalancedPrune(keep=(), criterion=criterion),
    )
    limit = sum(o.latency_s for o in options if (o.layer, o.kept, o.of) in uniform)
    keep = choose_keep(options, {"latency_s": limit})
    print("keeps", *(kept for _, kept, _ in keep), flush=True)
    return keep


def priced(model: nn.Module, images: torch.Tensor) -> CostReport:
    """The cost of an exported model from the zeros that images leave in it, at 8 bits if it states none."""
    data = export(model, images[:1], name="resnet20")
    network = load_onnx(data)
    if all(layer.weight is None or layer.weight.bits in (None, 32) for layer in network.layers):
        network = network.with_bits(8, 8)
    (name,) = network_inputs(data)
    seen = calibrate(data, network, [{name: image[None].numpy()} for image in images], whole=True)
    zeros = replace(weight_masks(data, network), channels=seen.channels, activations=seen.activations)
    return SparseEstimator(zeros=zeros).estimate(network, chipfit.load_target("sense_zcu102"))


def density(model: nn.Module) -> float:
    """The part of the weights of all layers but the first and the last that is not zero."""
    masks = list(masks_of(model).values())[1:-1]
    return sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)


def retrained(
    model: fx.GraphModule,
    original: nn.Module,
    data: Task,
    options: FineTuning,
    path: Path | None,
    *,
    normalized: bool = True,
) -> fx.GraphModule:
    """The model after its epochs, from `path` if it is there."""
    if path is not None and path.exists():
        model.load_state_dict(load_state(path)["model"])
        return model.eval()

    def told(epoch: int, loss: float, averaged: nn.Module) -> None:
        print(f"epoch {epoch + 1}: loss {loss:.4f}", flush=True)

    part = None if path is None else path.with_suffix(".part")
    train = finetune_normalized if normalized else finetune
    model = train(model, original, data, options, checkpoint=part, after_epoch=told)
    if path is not None:
        save_state(path, model=model.state_dict())
    return model


def row(name: str, before: float | None, model: nn.Module, data: Task, images: torch.Tensor) -> None:
    wanted, _ = outputs_of(data.model, data.validation)
    report = priced(model, images)
    cycles = sum(layer.sparse.cycles for layer in report.layers if layer.sparse is not None)
    cells = [
        name,
        f"{density(model):.3f}",
        "" if before is None else f"{before:.2%}",
        f"{judge(model, data.test, outputs_of(data.model, data.test)[0], data).metric:.2%}",
        "" if before is None else f"{judge(model, data.validation, wanted, data).loss:.4f}",
        f"{cycles:,.0f}",
        f"{report.total.energy_j * 1e6:.1f} µJ",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def variants(arguments: argparse.Namespace) -> Iterator[Variant]:
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for pruned in arguments.pruned.split(","):
            for pattern in arguments.patterns.split(","):
                for criterion in arguments.criteria.split(","):
                    yield Variant(
                        pruned=pruned,
                        pattern=pattern,
                        criterion=criterion,
                        bits=arguments.bits,
                        seed=seed,
                        ratios=arguments.ratios,
                    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?", help="where retrained models are kept")
    parser.add_argument("--pruned", default="2/3,1/2,3/4", help=f"of {', '.join(KEPT)}")
    parser.add_argument("--patterns", default="kernel,layer")
    parser.add_argument("--criteria", default="output_error", help="output_error,magnitude")
    parser.add_argument("--bits", type=int)
    parser.add_argument("--ratios", action="store_true", help="by layer, with --patterns kernel")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--students", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--calibration", type=int, default=512, help="images that masks are chosen on")
    parser.add_argument("--images", type=int, default=4, help="images that cycles are counted on")
    arguments = parser.parse_args()
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    print("| weights | kept | before retraining | accuracy | divergence, validation | cycles | energy |")
    print("|---|---|---|---|---|---|---|")
    found = task(data=arguments.data)
    teacher = traced(found.model).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    model: fx.GraphModule = traced(found.model)
    images = torch.cat([inputs for inputs, _ in found.train])
    context = PassContext(calibration=images[: arguments.calibration])
    others = torch.cat([inputs for inputs, _ in found.probe or found.train])[-arguments.images :]
    row("all", None, model, found, others)
    for variant in variants(arguments):
        smaller = variant.prune(model, context).apply(model, context)
        before = found.metric(*outputs_of(smaller, found.test))
        narrow = variant.narrow(model)
        epochs = arguments.epochs // 2 if narrow else arguments.epochs
        for number in range(max(1, arguments.rounds)):
            data = task(data=arguments.data, seed=variant.seed + 1000 * number)
            rate = arguments.learning_rate / 2**number
            path = (
                arguments.out / f"{variant.stem()}_{arguments.epochs}_{rate:g}.pt" if arguments.out else None
            )
            options = FineTuning(epochs=epochs, learning_rate=rate, students=arguments.students)
            smaller = retrained(smaller, teacher, data, options, path if epochs else None)
            if narrow:
                smaller = narrow.apply(smaller, context)
                rest = replace(options, epochs=arguments.epochs - epochs, learning_rate=data.learning_rate)
                path = path.with_suffix(".narrow.pt") if path else None
                smaller = retrained(smaller, teacher, data, rest, path, normalized=False)
            row(f"{variant.text()}, {number + 1} x {arguments.epochs} epochs", before, smaller, data, others)


if __name__ == "__main__":
    main()

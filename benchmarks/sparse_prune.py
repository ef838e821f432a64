"""ResNet-20 on CIFAR-10 pruned without retraining: balanced against unstructured, on sense_zcu102.

    python benchmarks/sparse_prune.py DATA [--kept 4,3,2] [--images 4]

The first and the last layer stay dense. Masks and least squares use 128 training images; cycles and
energy are of the zeros of other training images (`--images`), accuracy is of the test set. Prints a table,
asserts nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import fx, nn

import chipfit
from chipfit.compress.balance import BalancedPrune
from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.cost.base import CostReport
from chipfit.cost.sparse.estimator import SparseEstimator
from chipfit.export.onnx import export
from chipfit.train.cifar10 import task
from chipfit.train.task import Loader
from chipfit.workload.calibrate import calibrate, network_inputs, weight_masks
from chipfit.workload.from_onnx import load_onnx


def accuracy(model: nn.Module, loader: Loader) -> float:
    right = total = 0
    with torch.no_grad():
        for inputs, labels in loader:
            right += int((model(inputs).argmax(1) == labels).sum())
            total += len(labels)
    return right / total


def priced(model: nn.Module, images: torch.Tensor) -> CostReport:
    """The cost of an exported model from the zeros that images leave in it, at 8 bits."""
    data = export(model, images[:1], name="resnet20")
    network = load_onnx(data)
    (name,) = network_inputs(data)
    seen = calibrate(data, network, [{name: image[None].numpy()} for image in images], whole=True)
    zeros = replace(weight_masks(data, network), channels=seen.channels, activations=seen.activations)
    return SparseEstimator(zeros=zeros).estimate(network.with_bits(8, 8), chipfit.load_target("sense_zcu102"))


def row(name: str, model: nn.Module, loader: Loader, images: torch.Tensor) -> None:
    report = priced(model, images)
    cycles = sum(layer.sparse.cycles for layer in report.layers if layer.sparse is not None)
    energy = f"{report.total.energy_j * 1e6:.1f} µJ"
    print(f"| {name} | {accuracy(model, loader):.2%} | {cycles:,.0f} | {energy} |", flush=True)


def pruned(model: fx.GraphModule, kept: int, pattern: str, criterion: str, images: torch.Tensor) -> nn.Module:
    inner = list(nest_layers(model))[1:-1]
    keep = tuple((name, kept, 9) for name in inner)
    prune = BalancedPrune(keep=keep, pattern=pattern, criterion=criterion)
    return prune.apply(model, PassContext(calibration=images))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--kept", default="4,3,2", help="weights of nine that stay")
    parser.add_argument("--images", type=int, default=4)
    arguments = parser.parse_args()
    found = task(data=arguments.data)
    model = traced(found.model)
    images = torch.cat([inputs for inputs, _ in found.train])
    calibration, others = images[:128], images[128 : 128 + arguments.images]
    print("| weights | accuracy, no retraining | cycles | energy |\n|---|---|---|---|")
    row("all", model, found.test, others)
    for kept in map(int, arguments.kept.split(",")):
        for pattern, name in (("kernel", "every kernel"), ("layer", "unstructured")):
            for criterion in ("output_error", "magnitude"):
                smaller = pruned(model, kept, pattern, criterion, calibration)
                row(f"{kept} of 9, {name}, by {criterion.replace('_', ' ')}", smaller, found.test, others)


if __name__ == "__main__":
    main()

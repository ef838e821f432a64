"""What uniform widths alone save on a target: energy of ResNet-20 over its 8-bit original, as exported.

    python benchmarks/uniform_widths.py DATA [--target eyeriss]

Nothing is trained or cut; the first and the last layer stay at 8 bits. Sums are as wide as the trained
weights' codes need (`free`), or limited to one 16-bit word (`one word`), which retraining then has to keep.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import chipfit
from chipfit.compress.base import PassContext, apply_recipe
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.export.onnx import export
from chipfit.train.cifar10 import task
from chipfit.train.task import inputs_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", default="eyeriss")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = task(data=arguments.data)
    model, inputs = traced(found.model), inputs_of(found.probe or found.train, 256)
    names = list(nest_layers(model))
    target, estimator = chipfit.load_target(arguments.target), chipfit.Analytical()

    def energy_j(weights: int, activations: int, stored: int, *, one_word: bool) -> float:
        inner = tuple((name, weights, activations) for name in names[1:-1])
        quantize = Quantize(
            bits=((names[0], 8, 8), *inner, (names[-1], 8, 8)),
            stored_bits=stored,
            sum_bits=tuple((name, 16) for name in names[1:-1]) if one_word else (),
        )
        data = export(
            apply_recipe([quantize], model, PassContext(calibration=inputs)), inputs[:1], name="resnet20"
        )
        return estimator.estimate(chipfit.load_onnx(data), target).total.energy_j

    original = energy_j(8, 8, 8, one_word=False)
    print("| weights / activations | stored | free | one word |\n|---|---|---|---|")
    for weights, activations in ((6, 6), (4, 4), (4, 3), (3, 4), (3, 3), (2, 2)):
        for stored in (8, 4):
            both = [energy_j(weights, activations, stored, one_word=w) / original for w in (False, True)]
            shown = " | ".join(f"{ratio:.1%}" for ratio in both)
            print(f"| {weights} / {activations} | {stored} | {shown} |", flush=True)


if __name__ == "__main__":
    main()

"""chipfit's choice against simpler ones, under one energy limit and with equal retraining.

Every method gets the same trained ResNet-20, the same energy limit on `eyeriss` (priced on the
exported model, met to within one channel), the same number of epochs, the same seeds, and the same
width of stored activations:

    chipfit     the integer program on measured losses and the target's own costs
    one width   the same with one width for all inner layers (`fit` trains both, and validation decides)
    uniform     one width for all inner layers, one fraction of all groups' channels
    MACs        widths as uniform; channels by the integer program with MACs in place of energy
    magnitude   widths as uniform; one fraction of all groups, channels of the least norm go

    python benchmarks/fit.py DATA [--limit 0.5] [--epochs 12] [--seeds 2]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import torch

from chipfit.compress.base import apply_recipe
from chipfit.compress.graph import traced
from chipfit.compress.prune import channel_groups, keep_best, magnitude
from chipfit.search.budget import quantities
from chipfit.search.candidates import BELIEFS, Candidate, recipe, uniform
from chipfit.search.config import FitConfig, Silent
from chipfit.search.ilp import solve
from chipfit.search.retrain import trained
from chipfit.search.run import Run
from chipfit.search.space import Choice
from chipfit.train.finetune import FineTuning, outputs_of
from chipfit.train.task import TensorLoader, load_task


def candidates(run: Run, limit: float) -> dict[str, Candidate]:
    run.price_original()
    groups, scores = run.groups()
    space = run.space(groups)
    losses = run.losses(space, scores)
    question = run.question(space, losses)
    energy = run.original["energy"]
    found, _ = channel_groups(run.model, run.inputs[:2])
    norms = magnitude(run.model, found)

    def price(choice: Choice, keep: dict[str, torch.Tensor]) -> float:
        model = apply_recipe(recipe(choice, keep), run.model, run.context)
        return quantities(run.price(model, "benchmark")[0])["energy"] / energy

    def candidate(name: str, choice: Choice, keep: dict[str, torch.Tensor]) -> Candidate:
        cost = {"energy": price(choice, keep)}
        kept = keep_best(keep, choice.channels).keep
        return Candidate(name=name, origin=name, choice=choice, keep=kept, channels_before={}, cost=cost)

    def tightened(name: str, ask, keep: dict[str, torch.Tensor]) -> Candidate:
        scale = 1.0
        while True:
            made = candidate(name, ask(scale), keep)
            if made.cost["energy"] <= limit or scale < 0.3:
                return made
            scale *= min(0.998, limit / made.cost["energy"])

    chipfit = tightened("chipfit", lambda s: question.best(BELIEFS["as measured"], s), scores)
    inner = list(space.widths)[1:-1]
    widest = {n: options[-1] for n, options in space.widths.items()}

    def shape(bits: int, fraction: float) -> Choice:
        channels = {g.name: max(1, round(g.channels * fraction)) for g in groups}
        widths = {**widest, **{n: uniform(bits) for n in inner}}
        stored = chipfit.choice.stored_bits
        return question.with_sums(Choice(widths=widths, channels=channels, stored_bits=stored))

    def largest(bits: int, keep: dict[str, torch.Tensor]) -> float:
        """The largest fraction of channels that keeps the limit at a width, or 0."""
        low, high = 0.0, 1.0
        while high - low > 1 / 128:
            middle = (low + high) / 2
            inside = price(shape(bits, middle), keep) <= limit
            low, high = (middle, high) if inside else (low, middle)
        return low

    def hurt(bits: int, fraction: float) -> float:
        lost = sum(losses[name, kind, bits] for name in inner for kind in ("weights", "activations"))
        for group in groups:
            known = sorted(
                (v, loss) for (n, kind, v), loss in losses.items() if (n, kind) == (group.name, "channels")
            )
            counts, values = [*(v for v, _ in known), group.channels], [*(loss for _, loss in known), 0.0]
            lost += float(np.interp(group.channels * fraction, counts, values))
        return lost

    fractions = {bits: largest(bits, scores) for bits in (2, 3, 4, 5, 6, 8)}
    bits = min((b for b, f in fractions.items() if f > 0), key=lambda b: hurt(b, fractions[b]))
    even = candidate("uniform", shape(bits, fractions[bits]), scores)
    small = candidate("magnitude", shape(bits, largest(bits, norms)), norms)
    one = tightened("one width", question.even, scores)
    macs = [replace(t, costs=t.costs.copy()) for t in question.tables]
    layers = {layer.name: layer for layer in space.template.layers}
    for table in macs:
        loops = layers[table.layer].loops
        for row, (_, kept_in, kept_out) in enumerate(table.options):
            table.costs[row, 0] = (
                loops.macs * (kept_in or loops.C) / loops.C * (kept_out or loops.K) / loops.K
            )
    fixed_width = []
    for table in macs:
        rows = [r for r, (w, _, _) in enumerate(table.options) if w == even.choice.widths[table.layer]]
        options = tuple(table.options[r] for r in rows)
        fixed_width.append(replace(table, options=options, costs=table.costs[rows]))
    total = sum(layer.macs for layer in layers.values())
    nothing = np.zeros(4)

    def by_macs(scale: float) -> Choice:
        choice = solve(fixed_width, groups, losses, nothing, {"energy": scale * total}).choice
        return question.with_sums(replace(choice, stored_bits=chipfit.choice.stored_bits))

    by = tightened("MACs", by_macs, scores)
    return {c.name: c for c in (chipfit, one, even, by, small)}


def train(config: FitConfig, candidate: Candidate, epochs: int, seed: int) -> dict[str, object]:
    torch.set_num_threads(1)
    task = load_task(config.task, config.data, seed)
    original = traced(task.model).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    options = FineTuning(epochs=epochs, learning_rate=task.learning_rate)
    start = time.time()
    assert isinstance(task.train, TensorLoader)
    model = trained(candidate, task, original, options)
    outputs, labels = outputs_of(model, task.test)
    return {
        "method": candidate.name,
        "seed": seed,
        "energy_ratio": candidate.cost["energy"],
        "accuracy": task.metric(outputs, labels),
        "seconds": time.time() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/benchmark-fit"))
    arguments = parser.parse_args()
    config = FitConfig(
        task="cifar10-resnet20", target="eyeriss", budget=(f"energy={100 * arguments.limit:g}%",),
        out=arguments.out / f"{arguments.limit:g}", data=arguments.data, resume=True,
    )  # fmt: skip
    run = Run.open(config, Silent())
    methods = candidates(run, arguments.limit)
    jobs = [(c, seed) for c in methods.values() for seed in range(arguments.seeds)]
    rows = joblib.Parallel(n_jobs=2)(joblib.delayed(train)(config, c, arguments.epochs, s) for c, s in jobs)
    print(
        f"| method | energy | accuracy by seed | mean |  limit {arguments.limit:g}, {arguments.epochs} epochs"
    )
    for name in methods:
        mine = [r for r in rows if r["method"] == name]
        accuracies = [r["accuracy"] for r in mine]
        shown = " ".join(f"{100 * a:.2f}" for a in accuracies)
        print(
            f"| {name} | {100 * mine[0]['energy_ratio']:.1f} % | {shown} | {100 * np.mean(accuracies):.2f} |"
        )
    (config.out / "benchmark.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

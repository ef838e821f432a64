"""Power and accuracy of a network whose weights are restricted to cheap values, step by step.

    python benchmarks/gates_network.py train OUT --data DATA [--task ...] [--style booth] [--budget 0.25] ...
    python benchmarks/gates_network.py price OUT --data DATA [--task ...]
    python benchmarks/gates_network.py show OUT
    python benchmarks/gates_network.py compare [--data DATA --task ...]

`train` chooses values for a task's network at 8 bits, retrains, measures the operands of the result anew,
and writes a JSON file and the weights into OUT; `price` writes the energies of trained networks anew; `show`
prints what the files say, the original of the same task first; `compare` sets ways of choosing side by side,
before any retraining. Tasks are those of `chipfit fit`, and `lenet5` on Fashion-MNIST. Energy is that of the
gates of the multiply-accumulate units for one image.
'plain': units switch in every cycle. 'gated': units whose weight or activation is zero hold their inputs; the
multiplexer for the partial sum that passes by them in a systolic array is `bypass`, apart.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import nn

from chipfit.compress.balance import BalancedPrune, balanced
from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.compress.values import LayerWeights, ValueSet, cheapest, choose_within, within_delay
from chipfit.compress.weights import RestrictWeights
from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.characterise import characterise, inverter_toggle
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.statistics import declared, mean_changes
from chipfit.cost.gates.streams import LayerEnergy, layer_energies
from chipfit.cost.gates.table import WeightTable, load_table, save_table
from chipfit.hardware.voltage import DelayLaw
from chipfit.search.values import Operands
from chipfit.train.finetune import FineTuning, finetune, judge, load_state, outputs_of, save_state
from chipfit.train.task import Task, TensorLoader, inputs_of, load_task

LIBRARY = embedded_library("ihp_sg13g2")
CALIBRATION, IMAGES = 256, 32
#: Multipliers; with '+adder' the partial sum is added to the finished product.
STYLES = ("array", "booth")
UNITS = ("array", "booth", "array+adder", "booth+adder")
#: A two-way multiplexer takes about so many toggles of the smallest inverter (logical effort): an assumption.
MULTIPLEXER = 3
COLUMNS = (
    "multiplier", "values", "kept", "selection", "delay", "epochs", "zeros", "accuracy", "change", "plain",
    "gated", "+ bypass", "supply", "gated at it", "of array",
)  # fmt: skip


def unit(style: str) -> Netlist:
    """A multiplier with 8-bit signed weights and 8-bit unsigned activations."""
    style, _, accumulate = style.partition("+")
    accumulate = accumulate or "tree"
    return generate_mac(MacDesign(style=style, accumulate=accumulate, activation_signed=False))


class Priced:
    """A quantised model with what its operands do and what its weights cost there."""

    def __init__(self, model: nn.Module, inputs: torch.Tensor) -> None:
        self.operands = Operands(model, inputs, seed=0)
        self._energies: dict[tuple[str, str], dict[str, LayerEnergy]] = {}

    def energies(self, style: str, mode: str = "inertial") -> dict[str, LayerEnergy]:
        """Of every weight value in every layer."""
        if (style, mode) not in self._energies:
            self._energies[style, mode] = layer_energies(
                unit(style), LIBRARY, self.operands.streams, mode=mode
            )
        return self._energies[style, mode]

    def layers(self, style: str, mode: str = "inertial") -> dict[str, LayerWeights]:
        """What choosing values needs, on gated hardware."""
        return self.operands.layers(self.energies(style, mode), 8, gated=True)

    def energy_j(self, style: str, *, gated: bool) -> float:
        """Of all multiplications for one image."""
        return self.operands.energy_j(self.energies(style), gated=gated)

    def energies_j(self, units: Sequence[str] = UNITS) -> dict[str, dict[str, float]]:
        """Of all multiplications for one image on some multipliers."""
        return {u: {w: self.energy_j(u, gated=w == "gated") for w in ("plain", "gated")} for u in units}

    def describe(self, model: nn.Module, task: Task) -> dict[str, Any]:
        """Accuracy, zeros and energies on all multipliers."""
        macs, codes = self.operands.macs, self.operands.codes
        changes = {n: mean_changes(s.plain, 22)[1] for n, s in self.operands.streams.items()}
        return {
            "accuracy": accuracy(model, task),
            "zeros": sum(macs[n] * float((codes[n].weights == 0).mean()) for n in macs) / sum(macs.values()),
            "macs": sum(macs.values()),
            "energy_j": self.energies_j(),
            "bypass_j": MULTIPLEXER * inverter_toggle(LIBRARY) * sum(changes[n] * macs[n] for n in macs),
        }


def choose_sets(arguments: argparse.Namespace, priced: Priced, budget_j: float) -> dict[str, ValueSet]:
    """The value sets that were asked for."""
    mode = "zero" if arguments.select == "zero-delay" else "inertial"
    layers = priced.layers(arguments.style, mode)
    if arguments.delay < 1:
        delay_s = delays(arguments.style, arguments.out).delay_of(range(-127, 128))
        layers = {n: within_delay(x, delay_s, arguments.delay * delay_s.max()) for n, x in layers.items()}
    if arguments.select == "cheapest":
        return {name: cheapest(layer, size=arguments.size) for name, layer in layers.items()}
    options: dict[str, Any] = {"size": arguments.size, "one_set": arguments.one_set}
    if mode == "inertial":
        return choose_within(layers, budget_j, **options)
    # A budget in energies without delays such that the true energy is what was asked for.
    true, total = priced.layers(arguments.style), sum(layer.total_j for layer in layers.values())
    low, high = 0.01, 1.0
    sets: dict[str, ValueSet] = {}
    for _ in range(10):
        middle = (low + high) / 2
        sets = choose_within(layers, middle * total, **options)
        inside = sum(true[n].energy_with(s) for n, s in sets.items()) < budget_j
        low, high = (middle, high) if inside else (low, middle)
    return sets


def delays(style: str, folder: Path) -> WeightTable:
    """Largest sensitised delay of every weight value, kept in a file."""
    path = folder / "delays" / f"{style}.json"
    if not path.is_file():
        operands = declared(
            "relu", weight_bits=8, activation_bits=8, sum_bits=22, activation_signed=False,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        save_table(characterise(unit(style), LIBRARY, operands), path)
    return load_table(path)


def supply(style: str, folder: Path, values: Mapping[str, Sequence[int]]) -> tuple[float, float]:
    """The lowest voltage at which the chosen values settle as early as any does at the nominal one, and the
    energy there."""
    table = delays(style, folder)
    used = sorted({value for chosen in values.values() for value in chosen})
    slowest_s, period_s = float(table.delay_of(used).max()), float(table.delay_of(range(-127, 128)).max())
    found = DelayLaw().lowest(slowest_s, period_s)
    return found.supply_v, found.energy_scale


def accuracy(model: nn.Module, task: Task) -> float:
    outputs, labels = outputs_of(model, task.test)
    return task.metric(outputs, labels)


def train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    started = time.time()
    task, original, context = loaded(arguments.task, arguments.data, arguments.seed)
    inputs = inputs_of(task.probe or task.train, IMAGES)
    model = quantised(original, context)
    before = Priced(model, inputs)
    priced, yardstick_j = before, before.energy_j(arguments.style, gated=False)
    document: dict[str, Any] = {k: v for k, v in vars(arguments).items() if k not in ("data", "out", "run")}
    document["original"] = before.describe(model, task)
    teacher = original.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if arguments.prune < 1:
        layers = list(nest_layers(original))
        keep = balanced(original, arguments.prune, skip=(layers[0], layers[-1]))
        model = quantised(BalancedPrune(keep=keep).apply(original, context), context)
        priced = Priced(model, inputs)
    for budget, epochs in stages(arguments):
        sets = choose_sets(arguments, priced, budget * yardstick_j)
        model = RestrictWeights.of(sets).apply(model, context)
        document["values"] = {n: s.values for n, s in sets.items()}
        document.setdefault("accuracy_before_training", accuracy(model, task))
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        options = FineTuning(epochs=epochs, learning_rate=arguments.learning_rate)
        finetune(model, teacher, task, options, after_epoch=said(task))
        model = model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        priced = Priced(model, inputs)
    document["after"] = priced.describe(model, task)
    document["seconds"] = time.time() - started
    arguments.out.mkdir(parents=True, exist_ok=True)
    keys = ("task", "style", "select", "budget", "size", "prune", "epochs", "seed", "delay", "one_set")
    name = "-".join(str(document[key]) for key in keys)
    save_state(arguments.out / f"{name}.pt", model=model.state_dict())
    (arguments.out / f"{name}.json").write_text(json.dumps(document, indent=1))
    print(json.dumps(document["after"]))


def price(arguments: argparse.Namespace) -> None:
    """Add the energies of trained networks of a task on multipliers that their files do not have."""
    torch.set_num_threads(1)
    originals: dict[int, Any] = {}
    for path in sorted(arguments.out.glob("*.json")):
        document = json.loads(path.read_text())
        missing = [unit for unit in UNITS if unit not in document["after"]["energy_j"]]
        if document["task"] != arguments.task or not missing or not path.with_suffix(".pt").is_file():
            continue
        task, original, context = loaded(arguments.task, arguments.data, document["seed"])
        model, inputs = quantised(original, context), inputs_of(task.probe or task.train, IMAGES)
        if document["seed"] not in originals:
            originals[document["seed"]] = Priced(model, inputs).energies_j(missing)
        sets = {name: ValueSet.nearest(values) for name, values in document["values"].items()}
        model = RestrictWeights.of(sets).apply(model, context)
        model.load_state_dict(load_state(path.with_suffix(".pt"))["model"])
        document["original"]["energy_j"] |= originals[document["seed"]]
        document["after"]["energy_j"] |= Priced(model, inputs).energies_j(missing)
        path.write_text(json.dumps(document, indent=1))
        print(path.stem, json.dumps(document["after"]["energy_j"]), flush=True)


def loaded(name: str, data: Path, seed: int) -> tuple[Task, nn.Module, PassContext]:
    """A task, its model, traced, and what passes calibrate with."""
    task = (lenet5 if name == "lenet5" else load_task)(name, data, seed)
    return task, traced(task.model), PassContext(calibration=inputs_of(task.validation, CALIBRATION))


def quantised(model: nn.Module, context: PassContext) -> nn.Module:
    return Quantize(bits=tuple((n, 8, 8) for n in nest_layers(model))).apply(model, context)


def stages(arguments: argparse.Namespace) -> list[tuple[float, int]]:
    """Budgets and epochs: half of the epochs at a budget half way there, if in two steps."""
    if not arguments.gradual:
        return [(arguments.budget, arguments.epochs)]
    first = arguments.epochs // 2
    return [(math.sqrt(arguments.budget * 0.4), first), (arguments.budget, arguments.epochs - first)]


def said(task: Task) -> Callable[[int, float, nn.Module], None]:
    def after_epoch(epoch: int, loss: float, model: nn.Module) -> None:
        outputs, labels = outputs_of(model, task.validation)
        print(f"epoch {epoch}: loss {loss:.4f}, validation {task.metric(outputs, labels):.4f}", flush=True)

    return after_epoch


class LeNet5(nn.Module):
    """Two 5x5 convolutions and three linear layers, with ReLU (LeCun et al., 1998, in today's form)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.linear1, self.linear2, self.linear3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.flatten(F.max_pool2d(torch.relu(self.conv2(x)), 2), 1)
        return self.linear3(torch.relu(self.linear2(torch.relu(self.linear1(x)))))


def lenet5(name: str, data: Path, seed: int) -> Task:
    """LeNet-5, trained here on 20,000 images of Fashion-MNIST."""
    with np.load(data / "images" / "fashion_mnist.npz", allow_pickle=False) as arrays:
        sets = {key: torch.from_numpy(arrays[f"{key}_x"][:, None]).float() / 255 for key in ("train", "test")}
        labels = {key: torch.from_numpy(arrays[f"{key}_y"]).long() for key in ("train", "test")}
    torch.manual_seed(seed)
    model = LeNet5()
    kept = TensorLoader(sets["train"][:20000], labels["train"][:20000], batch=64, shuffle=True, seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=8 * len(kept))
    for epoch in range(8):
        kept.epoch = epoch
        for inputs, wanted in kept:
            loss = F.cross_entropy(model(inputs), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    held = TensorLoader(sets["train"][20000:22000], labels["train"][20000:22000], batch=500)
    test = TensorLoader(sets["test"], labels["test"], batch=500)
    return Task(name=name, model=model.eval(), train=kept, validation=held, test=test, learning_rate=1e-3)


def compare(arguments: argparse.Namespace) -> None:
    """Divergence from the original on validation data by energy, for ways of choosing values."""
    torch.set_num_threads(1)
    task, original, context = loaded(arguments.task, arguments.data, 0)
    model = quantised(original, context)
    priced = Priced(model, inputs_of(task.probe or task.train, IMAGES))
    wanted, _ = outputs_of(original, task.validation)
    print("| multiplier | selection | gated energy | divergence | accuracy, validation |\n|" + "---|" * 5)
    for style in UNITS:
        true, base_j = priced.layers(style), priced.energy_j(style, gated=False)
        asked = [("cheapest", size, 0.0) for size in (16, 32, 64, 128)]
        asked += [
            (way, 16, share) for way in ("joint", "zero-delay") for share in (0.35, 0.3, 0.25, 0.2, 0.15)
        ]
        for way, size, share in asked:
            options = argparse.Namespace(
                style=style, select=way, size=size, delay=1.0, one_set=False, out=Path()
            )
            sets = choose_sets(options, priced, share * base_j)
            energy_j = sum(true[n].energy_with(chosen) for n, chosen in sets.items())
            found = judge(RestrictWeights.of(sets).apply(model, context), task.validation, wanted, task)
            print(
                f"| {style} | {way}, {size} values | {energy_j / base_j:.3f} | {found.loss:.4f} | "
                f"{found.metric:.2%} |",
                flush=True,
            )


def show(arguments: argparse.Namespace) -> None:
    documents = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("*.json"))]
    for task in sorted({d["task"] for d in documents}):
        rows = [d for d in documents if d["task"] == task]
        first = rows[0]["original"]
        array_j = first["energy_j"]["array"]["plain"]
        print(f"\n{task}: gates for one image, over the 8-bit original on the same multiplier\n")
        print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
        for style in first["energy_j"]:
            base_j, gated_j = (first["energy_j"][style][kind] for kind in ("plain", "gated"))
            cells = [style, "255", "", f"original, {base_j * 1e6:.3g} uJ", "", "", f"{first['zeros']:.0%}"]
            cells += [f"{first['accuracy']:.2%}", "", "1", f"{gated_j / base_j:.3f}"]
            cells += [f"{(gated_j + first['bypass_j']) / base_j:.3f}", "", "", f"{gated_j / array_j:.3f}"]
            print("| " + " | ".join(cells) + " |")
        for d in sorted(
            rows, key=lambda d: (d["style"], d["select"], d["after"]["energy_j"][d["style"]]["gated"])
        ):
            print("| " + " | ".join(_row(d, arguments.out, array_j)) + " |")
        _front(first, rows)
    for style in STYLES:
        _state(style, arguments.out)


def _front(first: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Energy against accuracy: what no other network and multiplier beats in both, plain and gated apart.

    All trained networks on all multipliers, also on those that their values were not chosen for.
    """
    whole_j = first["energy_j"]["array"]["plain"]
    columns = ("hardware", "energy, of the array's original", "accuracy", "multiplier", "values for")
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for kind in ("plain", "gated"):
        points = [
            (d["after"]["energy_j"][unit][kind] / whole_j, d["after"]["accuracy"], unit, name)
            for d, name in [({"after": first}, "all values"), *((d, _named(d)) for d in rows)]
            for unit in d["after"]["energy_j"]
        ]
        best = -1.0
        for energy, accuracy, unit, name in sorted(points, key=lambda p: (p[0], -p[1])):
            if accuracy > best:
                best = accuracy
                print(f"| {kind} | {energy:.3f} | {accuracy:.2%} | {unit} | {name} |")


def _named(d: Mapping[str, Any]) -> str:
    delay = f", delay {d['delay']:g}" if d.get("delay", 1.0) < 1 else ""
    what = f"{d['size']}" if d["select"] == "cheapest" else f"{d['budget']:g}"
    return f"{d['style']}, {d['select']} {what}{delay}"


def _row(d: Mapping[str, Any], folder: Path, array_j: float) -> list[str]:
    style, after = d["style"], d["after"]
    base_j = d["original"]["energy_j"][style]["plain"]
    plain_j, gated_j = after["energy_j"][style]["plain"], after["energy_j"][style]["gated"]
    volts, scale = supply(style, folder, d["values"])
    return [
        style,
        f"{d['size']}{' for all' if d['one_set'] else ''}",
        f"{d['prune']:.2f}" if d["prune"] < 1 else "",
        d["select"],
        f"{d.get('delay', 1.0):g}",
        f"{d['epochs']}",
        f"{after['zeros']:.0%}",
        f"{after['accuracy']:.2%}",
        f"{100 * (after['accuracy'] - d['original']['accuracy']):+.2f}",
        f"{plain_j / base_j:.3f}",
        f"{gated_j / base_j:.3f}",
        f"{(gated_j + after['bypass_j']) / base_j:.3f}",
        f"{volts:.2f} V",
        f"{scale * gated_j / base_j:.3f}",
        f"{scale * gated_j / array_j:.3f}",
    ]


def _state(style: str, folder: Path) -> None:
    """What is beside the gates, for one unit."""
    table, annotated = delays(style, folder), annotate(unit(style), LIBRARY)
    period_s = max(table.delay_s)
    cycle = {
        "gates": float(np.mean(table.energy_j)),
        "nets of registers": table.input_energy_j,
        "registers": table.register_energy_j,
        "clock": table.clock_energy_j,
        "leakage": annotated.leakage_w * period_s,
    }
    parts = ", ".join(f"{name} {energy_j * 1e12:.3g} pJ" for name, energy_j in cycle.items())
    print(f"\n{style}: {table.gates} gates, slowest weight {period_s * 1e9:.2f} ns; a cycle takes {parts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, dest="run")
    one = commands.add_parser("train")
    one.add_argument("out", type=Path)
    one.add_argument("--data", type=Path)
    one.add_argument("--task", default="cifar10-resnet20")
    one.add_argument("--style", default="booth", choices=UNITS)
    one.add_argument("--select", default="joint", choices=("joint", "cheapest", "zero-delay"))
    one.add_argument("--budget", type=float, default=0.25, help="gated energy over the original's, plain")
    one.add_argument("--size", type=int, default=16, help="values of a layer")
    one.add_argument("--one-set", action="store_true", help="the same values for all layers")
    one.add_argument("--delay", type=float, default=1.0, help="latest that values settle, of the slowest")
    one.add_argument("--prune", type=float, default=1.0, help="fraction kept by balanced pruning")
    one.add_argument("--epochs", type=int, default=4)
    one.add_argument("--gradual", action="store_true", help="in two steps")
    one.add_argument("--learning-rate", type=float, default=1e-3)
    one.add_argument("--seed", type=int, default=0)
    again = commands.add_parser("price")
    again.add_argument("out", type=Path)
    again.add_argument("--data", type=Path)
    again.add_argument("--task", default="cifar10-resnet20")
    commands.add_parser("show").add_argument("out", type=Path)
    other = commands.add_parser("compare")
    other.add_argument("--data", type=Path)
    other.add_argument("--task", default="digits")
    arguments = parser.parse_args()
    {"train": train, "price": price, "show": show, "compare": compare}[arguments.run](arguments)


if __name__ == "__main__":
    main()

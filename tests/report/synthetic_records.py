"""Invented but plausible records of a run: ResNet-20 (20 layers) fitted to eyeriss.

No number here is a result. `python tests/report/synthetic_records.py DIR` writes them and the page.
"""

import json
import math
import random
import sys
from pathlib import Path

NAMES = (
    ["conv1"] + [f"layer{s}.{b}.conv{c}" for s in (1, 2, 3) for b in (0, 1, 2) for c in (1, 2)] + ["linear"]
)
WIDTHS = [16] + [w for w in (16, 32, 64) for _ in range(6)] + [10]
PIXELS = [1024] + [p for p in (1024, 256, 64) for _ in range(6)] + [1]
COMPONENTS = ("mac", "register file", "array", "global buffer", "dram")


def cost(choices):
    """A cost document whose layers add up, from bits and channels by layer."""
    layers = []
    before = 3
    for choice, pixels in zip(choices, PIXELS, strict=True):
        macs = pixels * choice["channels"] * before * (1 if choice["layer"] == "linear" else 9)
        wb, ab = choice["weight_bits"], choice["activation_bits"]
        words = pixels * choice["channels"] * ab + before * choice["channels"] * 9 * wb
        parts = {
            "mac": macs * wb * ab / 64 * 0.6e-12,
            "register file": macs * (wb + ab) / 16 * 0.9e-12,
            "array": macs * (wb + ab) / 16 * 0.25e-12,
            "global buffer": words * 4.0e-12,
            "dram": words * 9.0e-12,
        }
        latency = {"compute": macs / 168 / 200e6 / 0.8, "dram": words / 64 / 200e6}
        layers.append(
            {
                "name": choice["layer"],
                "operator": "Gemm" if choice["layer"] == "linear" else "Conv",
                "latency_s": max(latency.values()),
                "energy_j": sum(parts.values()),
                "dram_bits": float(words),
                "macs": macs,
                "utilization": 0.8,
                "weight_bits": wb,
                "input_bits": ab,
                "accumulator_bits": 20,
                "energy_by_component_j": parts,
                "latency_by_component_s": latency,
                "mapping": "",
            }
        )
        before = choice["channels"]
    total = {k: sum(layer[k] for layer in layers) for k in ("latency_s", "energy_j", "dram_bits", "macs")}
    weights = sum(row["weight_bits"] * row["macs"] / p for row, p in zip(layers, PIXELS, strict=True))
    by_component = {c: sum(layer["energy_by_component_j"][c] for layer in layers) for c in COMPONENTS}
    totals = {
        **total,
        "power_w": total["energy_j"] / total["latency_s"],
        "parameters": 269722,
        "utilization": 0.8,
        "memory_bits": weights + 262144.0,
        "weight_memory_bits": weights,
        "peak_activation_bits": 262144.0,
        "energy_by_component_j": by_component,
    }
    return {
        "network": "resnet20",
        "target": "eyeriss",
        "method": "loop-nest access counts, best of a few hundred mappings a layer",
        "error": "energy within 5 % of a step-by-step walk of the nest on small layers; "
        "not yet compared with silicon",
        "totals": totals,
        "layers": layers,
        "warnings": [],
    }


def choice_list(weight_bits, activation_bits, keep):
    return [
        {
            "layer": name,
            "weight_bits": w,
            "activation_bits": a,
            "channels": max(1, round(width * k)) if name != "linear" else width,
            "channels_before": width,
        }
        for name, width, w, a, k in zip(NAMES, WIDTHS, weight_bits, activation_bits, keep, strict=True)
    ]


def uniform(weight_bits, activation_bits):
    inner = len(NAMES) - 2
    return choice_list([8, *[weight_bits] * inner, 8], [8, *[activation_bits] * inner, 8], [1.0] * len(NAMES))


def recipe(choices):
    bits = {c["layer"]: (c["weight_bits"], c["activation_bits"]) for c in choices}
    cut = {
        c["layer"]: c["channels_before"] - c["channels"]
        for c in choices
        if c["channels"] < c["channels_before"]
    }
    return f"[PruneChannels(remove={cut!r}), Quantize(bits={bits!r})]"


def records(seed=1):
    """All records of a finished run whose budget is met."""
    rng = random.Random(seed)
    original = cost(uniform(8, 8))
    base = original["totals"]

    keys = {"energy": "energy_j", "latency": "latency_s", "dram": "dram_bits", "memory": "memory_bits"}

    def amounts(document):
        return {name: document["totals"][key] for name, key in keys.items()}

    def ratios(document):
        return {name: amount / base[keys[name]] for name, amount in amounts(document).items()}

    yield {
        "kind": "run",
        "task": "cifar10-resnet20",
        "target": "eyeriss",
        "budget": {"energy": {"limit": 0.35, "unit": "ratio", "relative": True}},
        "options": {"max_drop": 0.01, "workers": 2, "data": "data/cifar10"},
        "versions": {"chipfit": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "onnx": "1.21.0"},
        "seed": 0,
        "started": "2026-11-21T10:42:07+00:00",
    }
    yield {"kind": "original", "accuracy_validation": 0.9180, "cost": original}
    for name, width in zip(NAMES, WIDTHS, strict=True):
        weight = rng.uniform(0.4, 1.6) * (3 if name in ("conv1", "linear") else 1)
        for bits in (2, 3, 4, 5, 6):
            loss = weight * 0.9 * 4.0 ** (2 - bits)
            yield {"kind": "sensitivity", "layer": name, "choice": "weights", "value": bits, "loss": loss}
            yield {
                "kind": "sensitivity",
                "layer": name,
                "choice": "activations",
                "value": bits,
                "loss": 0.6 * loss,
            }
        if name != "linear":
            for keep in (0.5, 0.625, 0.75, 0.875):
                loss = weight * 0.5 * (1 - keep) ** 2
                yield {
                    "kind": "sensitivity",
                    "layer": name,
                    "choice": "channels",
                    "value": round(width * keep),
                    "loss": loss,
                }
    for bits in (4, 5, 6, 8):
        yield {
            "kind": "sensitivity",
            "layer": "*",
            "choice": "stored",
            "value": bits,
            "loss": 0.4 * 4.0**-bits,
        }
    yield {"kind": "asked", "candidates": []}
    tried = [
        (f"uniform-w{w}a{a}", "uniform", uniform(w, a)) for w, a in ((6, 6), (5, 5), (4, 4), (3, 3), (2, 2))
    ]
    for number in range(9):
        low = 3 if number < 6 else 2
        weights = [8] + [rng.choice([low, 3, 4, 4]) for _ in NAMES[1:-1]] + [8]
        activations = [6] + [rng.choice([3, 4, 4]) for _ in NAMES[1:-1]] + [6]
        keep = [1.0] + [rng.choice([0.625, 0.75, 0.875, 1.0, 1.0]) for _ in NAMES[1:-1]] + [1.0]
        tried.append((f"ilp-{number + 1}", "ilp", choice_list(weights, activations, keep)))
    chosen = None
    for name, origin, choices in tried:
        document = cost(choices)
        ratio = ratios(document)
        accuracy = (
            0.918
            - 0.30 * math.exp(-ratio["energy"] * 9)
            - (0.012 if origin == "uniform" else rng.uniform(0, 0.006))
        )
        if chosen is None and origin == "ilp" and ratio["energy"] <= 0.35:
            chosen = (name, choices, document, ratio, accuracy)
        for epoch in range(2):
            yield {
                "kind": "epoch",
                "candidate": name,
                "stage": "screen",
                "epoch": epoch,
                "loss": 0.5 - 0.1 * epoch,
                "accuracy_validation": accuracy - 0.02 * (1 - epoch),
                "loss_validation": 0.33 - 0.02 * epoch,
            }
        yield {
            "kind": "candidate",
            "name": name,
            "recipe": recipe(choices),
            "origin": origin,
            "choices": choices,
            "stage": "screen",
            "cost": amounts(document),
            "ratios": ratio,
            "over": {},
            "accuracy_validation": accuracy,
            "loss_validation": 0.29,
            "epochs": 2,
            "chosen": False,
        }
    name, choices, document, ratio, accuracy = chosen
    for epoch in range(10):
        yield {
            "kind": "epoch",
            "candidate": name,
            "stage": "train",
            "epoch": epoch,
            "loss": 0.30 * 0.93**epoch,
            "accuracy_validation": accuracy + 0.008 * (1 - 0.7 ** (epoch + 1)),
            "loss_validation": 0.28 * 0.98**epoch,
        }
    yield {
        "kind": "candidate",
        "name": name,
        "recipe": recipe(choices),
        "origin": "ilp",
        "choices": choices,
        "stage": "train",
        "cost": amounts(document),
        "ratios": ratio,
        "over": {},
        "accuracy_validation": accuracy + 0.008,
        "loss_validation": 0.25,
        "epochs": 12,
        "chosen": True,
    }
    yield {
        "kind": "note",
        "text": "The shortcuts of layer2.0 and layer3.0 pad channels: those layers keep all outputs.",
    }
    yield {
        "kind": "final",
        "budget_met": True,
        "shortfall": {},
        "ratios": ratio,
        "accuracy_before": 0.9164,
        "accuracy_after": 0.9115,
        "test_images": 1017,
        "agreement": 1.0,
        "model": "model.onnx",
        "cost": document,
        "recipe": recipe(choices),
        "choices": choices,
        "seconds": 1312.4,
    }


def write(directory, lines):
    """Write records; `lines` are dictionaries or text as it is."""
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (directory / "records.jsonl").write_text(text, encoding="utf-8")
    return directory


if __name__ == "__main__":
    from chipfit.report.html import build

    sys.stdout.write(f"{build(write(Path(sys.argv[1]), records()))}\n")

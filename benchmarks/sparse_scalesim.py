"""N:M weights: chipfit beside SCALE-Sim 3.0.0, which knows zeros of weights only, of two kinds.

    python benchmarks/sparse_scalesim.py CACHE [--layers "mobilenet FC"]

Of every M weights along the terms of an output, the tool keeps the first N, the same of all outputs
('4 of 8'), or of each output its own number, drawn between 1 and M / 2 ('rows of 8'). What is kept is
packed onto the rows of a weight-stationary array. Three figures of cycles, stall-free:

- the tool's
- chipfit's closed form of a weight-stationary array, with as many terms as are kept (M / 2 of 'rows of M')
- chipfit's array for N:M (`structure`), where a row holds M input channels and takes as many cycles a
  position as it keeps; once filling and draining takes time for each pass, and once it takes none

Both kinds of zeros are drawn here as the tool draws them. The tool gets an environment of its own in CACHE.
Prints a table, asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from scalesim import CONFIG, LAYERS, TOOL, installed, side

import chipfit
from chipfit.cost.mapping.systolic import product
from chipfit.cost.sparse.estimator import SparseEstimator
from chipfit.hardware.sparse import SparseArray, Structure
from chipfit.testing import nest_layer
from chipfit.workload.network import Loops
from chipfit.workload.zeros import Zeros

NAMES = ("mobilenet Conv13", "resnet18 Conv4_s", "resnet18 Conv5_1b", "mobilenet FC")
KINDS = ((4, 4), (2, 4), (1, 4), (4, 8), (None, 4), (None, 8))
SEED = 40
SIDE = 32


def simulate(python: Path, name: str, kept: int | None, of: int) -> float | None:
    """Cycles that the tool reports, or None where it ends in an error."""
    options = (
        f"SparsitySupport: true\nSparseRep: ellpack_block\nOptimizedMapping: {kept is None}\n"
        f"BlockSize: {of}\nRandomNumberGeneratorSeed: {SEED}"
    )
    numbers = ", ".join(map(str, LAYERS[name]))
    ratio = f"{of // 2 if kept is None else kept}:{of}"
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "folder": folder,
            "config": CONFIG.format(rows=SIDE, columns=SIDE, dataflow="ws").replace(
                "SparsitySupport: false", options
            ),
            "topology": f"Layer name, ...\n{name}, {numbers}, {ratio},\n",
            "layout": "Layer name, ...\n",
        }
        done = subprocess.run(
            [str(python), "-c", TOOL], input=json.dumps(job), capture_output=True, text=True, check=False
        )
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1])
        return None
    return json.loads(done.stdout)["Total Cycles"]


def structured(loops: Loops, kept: int | None, of: int, fill: str) -> float:
    """Cycles of chipfit's array for N:M with as many rows and columns."""
    numbers = np.full(loops.K, kept)
    if kept is None:
        np.random.seed(SEED)  # the generator of the tool, so that it draws the same
        numbers = np.array([np.random.randint(1, of // 2 + 1) for _ in range(loops.K)])
    mask = np.arange(loops.C)[None] % of < numbers[:, None]
    weights = np.broadcast_to(mask[None, :, :, None, None], (1, loops.K, loops.C, loops.R, loops.S))
    target = chipfit.load_target("ampere_2to4_like")
    scope = "output" if kept is None else "layer"
    structure = Structure(keep=of if kept is None else kept, of=of, scope=scope)
    target = replace(
        target,
        arrays=(replace(target.arrays[0], rows=SIDE, columns=SIDE),),
        sparse=SparseArray(skip=("weight",), structure=structure, fill=fill),
    )
    found = SparseEstimator(zeros=Zeros(weights={"layer": weights})).layer(nest_layer(loops), target).sparse
    assert found is not None
    return found.cycles


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--layers", default=",".join(NAMES))
    arguments = parser.parse_args()
    python = installed(arguments.cache)
    print("| layer | kept | SCALE-Sim | chipfit, closed form | chipfit, N:M array | without filling |")
    print("|---|---|---|---|---|---|")
    for name in arguments.layers.split(","):
        height, width, rows, columns, channels, filters, stride = LAYERS[name]
        places = (side(height, rows, stride)[0], side(width, columns, stride)[0])
        loops = Loops(
            K=filters, C=channels, P=places[0], Q=places[1], R=rows, S=columns, stride=(stride, stride)
        )
        terms = channels * rows * columns
        for kept, of in KINDS:
            theirs = simulate(python, name, kept, of) if python else None
            packed = -(-terms // of) * (of // 2 if kept is None else kept)
            closed = product("ws", places[0] * places[1], packed, filters, rows=SIDE, columns=SIDE).cycles
            cells = [
                name,
                f"rows of {of}" if kept is None else f"{kept} of {of}",
                "failed" if theirs is None else f"{theirs:,.0f}",
                f"{closed:,}",
                *(f"{structured(loops, kept, of, fill):,.0f}" for fill in ("pass", "none")),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

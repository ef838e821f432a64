"""How long a user waits: starting, importing a graph, pricing a network.

Each line is the median of several fresh processes (wall-clock), beside an empty Python process.

    python benchmarks/speed.py [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

COST = """
import sys
from chipfit.cli import main
sys.argv = ["chipfit", "cost", {!r}, "--target", {!r}, "--json"]
main()
"""
GRAPH = """
import time
from chipfit.workload.from_onnx import load_onnx
start = time.perf_counter()
load_onnx({path!r})
print(time.perf_counter() - start)
"""


def seconds(program: str, runs: int, *, empty_cache: bool = False) -> float:
    """Median wall-clock time of a fresh process (s)."""
    found: list[float] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, **({"NUMBA_CACHE_DIR": cache} if empty_cache else {})}
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def printed(program: str, runs: int) -> float:
    """Median of what fresh processes print (s)."""
    outputs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(runs)
    ]
    return statistics.median(map(float, outputs))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    spec = find_spec("onnx")
    assert spec is not None
    assert spec.origin is not None
    light = Path(spec.origin).parent / "backend" / "test" / "data" / "light"
    rows = {
        "python, empty": seconds("pass", runs),
        "import chipfit": seconds("import chipfit", runs),
        "chipfit cost resnet50 --target eyeriss": seconds(COST.format("resnet50", "eyeriss"), runs),
        "the same, first run ever (nothing compiled)": seconds(
            COST.format("resnet50", "eyeriss"), runs, empty_cache=True
        ),
        "chipfit cost mobilenetv2 --target edge_npu": seconds(COST.format("mobilenetv2", "edge_npu"), runs),
        "ONNX import, ResNet-50 (415 nodes), without imports": printed(
            GRAPH.format(path=str(light / "light_resnet50.onnx")), runs
        ),
    }
    for name, value in rows.items():
        print(f"| {name} | {value:.2f} s |")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

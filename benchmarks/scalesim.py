"""Systolic arrays: closed forms of chipfit beside SCALE-Sim 3.0.0, cycle by cycle.

Layers of the topologies that SCALE-Sim's repository ships (AlexNet, ResNet-18, MobileNet, tiny YOLO,
GoogLeNet's inception 5b, a matrix product) and one of grouped form, on two arrays, under all three
dataflows. Compared to the digit: "Total Cycles" (stall-free: bandwidth mode CALC) and SRAM reads and
writes; and main-memory reads, since each memory of the tool is set to 8 MiB so that every operand fits.
Its report of output-stationary writes has rows + columns too many a fold; they are taken off.

The tool gets an environment of its own in CACHE. Where it cannot be installed, the rows that were
measured with it before (--rows) are compared instead.

    python benchmarks/scalesim.py CACHE [--most-accesses 1e6] [--layers alexnet] [--rows mapping.csv]
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chipfit.cost.mapping.systolic import Product, product
from chipfit.cost.roofline import touched

REQUIREMENTS = ("scalesim==3.0.0", "numpy<2")  # fails under numpy 2: "only 0-dimensional arrays ..."
ARRAYS = ((12, 14), (32, 32))
ROWS = Path(__file__).resolve().parents[2] / "shared" / "data" / "peers" / "mapping.csv"

# Input height and width, kernel height and width, channels, filters, stride; as the topologies have them
# (without padding). Names with DP run as one layer a channel.
LAYERS = {
    "alexnet Conv1": (224, 224, 11, 11, 3, 96, 4),
    "alexnet Conv2": (27, 27, 5, 5, 96, 256, 1),
    "alexnet Conv3": (13, 13, 3, 3, 256, 384, 1),
    "alexnet Conv4": (13, 13, 3, 3, 384, 384, 1),
    "alexnet Conv5": (13, 13, 3, 3, 384, 256, 1),
    "resnet18 Conv1": (224, 224, 7, 7, 3, 64, 2),
    "resnet18 Conv2_1a": (56, 56, 3, 3, 64, 64, 1),
    "resnet18 Conv3_1a": (56, 56, 3, 3, 64, 128, 2),
    "resnet18 Conv3_1b": (28, 28, 3, 3, 128, 128, 1),
    "resnet18 Conv3_s": (56, 56, 1, 1, 64, 128, 2),
    "resnet18 Conv4_1a": (28, 28, 3, 3, 128, 256, 2),
    "resnet18 Conv4_1b": (14, 14, 3, 3, 256, 256, 1),
    "resnet18 Conv4_s": (28, 28, 1, 1, 128, 256, 2),
    "resnet18 Conv5_1a": (14, 14, 3, 3, 256, 512, 2),
    "resnet18 Conv5_1b": (7, 7, 3, 3, 512, 512, 1),
    "resnet18 Conv5_s": (14, 14, 1, 1, 256, 512, 2),
    "resnet18 FC": (1, 1, 1, 1, 512, 1000, 1),
    "mobilenet Conv1": (224, 224, 3, 3, 3, 32, 2),
    "mobilenet Conv3": (112, 112, 1, 1, 32, 64, 1),
    "mobilenet Conv4_dw": (112, 112, 3, 3, 1, 1, 2),
    "mobilenet Conv9": (28, 28, 1, 1, 128, 256, 1),
    "mobilenet Conv13": (14, 14, 1, 1, 256, 512, 1),
    "mobilenet Conv16_dw": (14, 14, 3, 3, 1, 1, 2),
    "mobilenet Conv17": (7, 7, 1, 1, 512, 1024, 1),
    "mobilenet FC": (1, 1, 1, 1, 1024, 1000, 1),
    "yolo_tiny Conv6": (13, 13, 3, 3, 256, 512, 1),
    "yolo_tiny Conv9": (7, 7, 1, 1, 1024, 125, 1),
    "googlenet Inc5b_3x3": (7, 7, 3, 3, 192, 384, 1),
    "gemm test_mnk_input": (256, 256, 1, 256, 1, 128, 1),
    "grouped DP of 16 channels": (14, 14, 3, 3, 16, 1, 1),
}

# Rows of ResNet-18 measured before, on 12 x 14, weight-stationary: positions, terms, filters.
RESNET18 = {
    "conv1": (112 * 112, 3 * 49, 64),
    "l1.0.conv1": (56 * 56, 64 * 9, 64),
    "l2.0.conv1": (28 * 28, 64 * 9, 128),
    "l2.0.conv2": (28 * 28, 128 * 9, 128),
    "l2.0.down": (28 * 28, 64, 128),
    "l3.0.conv1": (14 * 14, 128 * 9, 256),
    "l3.0.conv2": (14 * 14, 256 * 9, 256),
    "l3.0.down": (14 * 14, 128, 256),
    "l4.0.conv1": (7 * 7, 256 * 9, 512),
    "l4.0.conv2": (7 * 7, 512 * 9, 512),
    "l4.0.down": (7 * 7, 256, 512),
    "fc": (1, 512, 1000),
}

# Runs in the environment of the tool: a job in JSON on standard input, the report of each layer in JSON out.
TOOL = """
import contextlib, csv, io, json, pathlib, sys, time
from scalesim.scale_sim import scalesim
job = json.load(sys.stdin)
folder = pathlib.Path(job["folder"])
kind = {"config": "c.cfg", "topology": "t.csv", "layout": "l.csv"}
for key, name in kind.items():
    (folder / name).write_text(job[key])
start = time.process_time()
with contextlib.redirect_stdout(io.StringIO()):
    tool = scalesim(save_disk_space=True, verbose=False, input_type_gemm=False,
                    **{key: str(folder / name) for key, name in kind.items()})
    tool.run_scale(top_path=str(folder / "out"))
total = {}
for name in ("COMPUTE_REPORT", "DETAILED_ACCESS_REPORT"):
    with open(folder / "out" / "run" / f"{name}.csv") as file:
        for row in csv.DictReader(file, skipinitialspace=True):
            for key, value in row.items():
                if key and value and key != "LayerID":
                    total[key] = total.get(key, 0) + float(value)
total["layers"] = len(tool.runner.single_layer_sim_object_list)
total["seconds"] = time.process_time() - start
json.dump(total, sys.stdout)
"""

# Sections and keys that the tool insists on; with its own configs/eyeriss.cfg: "No section: 'layout'".
CONFIG = """
[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 8192
FilterSramSzkB: 8192
OfmapSramSzkB: 8192
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: {dataflow}
ReadRequestBuffer: 64
WriteRequestBuffer: 64
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def installed(cache: Path) -> Path | None:
    """The Python of an environment with the tool, made if it is not there; None if it cannot be."""
    python = cache / "scalesim" / "bin" / "python"
    imports = [str(python), "-c", "import scalesim.scale_sim"]
    if python.exists() and subprocess.run(imports, capture_output=True, check=False).returncode == 0:
        return python
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(cache / "scalesim")],
        [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS],
        imports,
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print("SCALE-Sim cannot be installed:", *done.stderr.strip().splitlines()[-1:])
            return None
    return python


def side(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Output positions along one side, the last of which may reach beyond it, and what they read."""
    positions = -(-(size - kernel) // stride) + 1
    beyond = (positions - 1) * stride + kernel - size
    return positions, touched(positions, kernel, stride, 1, max(0, beyond))


def shape(name: str) -> tuple[int, int, int, int, int]:
    """Groups, positions, terms and filters of a layer, and the inputs that are read at least once."""
    height, width, kernel_rows, kernel_columns, channels, filters, stride = LAYERS[name]
    (p, rows), (q, columns) = side(height, kernel_rows, stride), side(width, kernel_columns, stride)
    groups = channels if "DP" in name else 1
    terms = channels // groups * kernel_rows * kernel_columns
    return groups, p * q, terms, filters, channels * rows * columns


def accesses(found: Product) -> int:
    return found.input_reads + found.weight_reads + found.output_writes


def simulate(python: Path, name: str, dataflow: str, rows: int, columns: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        numbers = ", ".join(map(str, LAYERS[name]))
        job = {
            "folder": folder,
            "config": CONFIG.format(rows=rows, columns=columns, dataflow=dataflow),
            "topology": f"Layer name, ...\n{name}, {numbers},\n",
            "layout": "Layer name, ...\n",
        }
        done = subprocess.run(
            [str(python), "-c", TOOL], input=json.dumps(job), capture_output=True, text=True, check=False
        )
    if done.returncode:
        return {"failed": 1.0}
    return json.loads(done.stdout)


def compare_with_tool(python: Path, most: float, layers: str) -> None:
    jobs = []
    for name in filter(re.compile(layers).search, LAYERS):
        groups, m, k, n, _ = shape(name)
        for rows, columns in ARRAYS:
            for dataflow in ("ws", "is", "os"):
                found = product(dataflow, m, k, n, rows=rows, columns=columns)
                jobs.append((groups * accesses(found), name, dataflow, rows, columns))
    jobs.sort()
    left_out = sorted({name for count, name, *_ in jobs if count > most})
    jobs = [job for job in jobs if job[0] <= most]
    print("| layer | array | dataflow | cycles | input reads | weight reads | output writes | "
          "main-memory reads, input + weight | tool, CPU s | equal |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    equal = {"cycles and SRAM accesses": 0, "main-memory reads": 0}
    seconds = closed_form_s = 0.0
    failed = 0
    for _, name, dataflow, rows, columns in jobs:
        groups, m, k, n, inputs = shape(name)
        start = time.process_time()
        found = product(dataflow, m, k, n, rows=rows, columns=columns)
        closed_form_s += time.process_time() - start
        report = simulate(python, name, dataflow, rows, columns)
        if "failed" in report:
            failed += 1
            print(f"| {name} | {rows}x{columns} | {dataflow} | the tool failed |")
            continue
        seconds += report["seconds"]
        surplus = found.row_folds * found.column_folds * (rows + columns) if dataflow == "os" else 0
        ours = [found.cycles, found.input_reads, found.weight_reads, found.output_writes]
        theirs = [
            report["Total Cycles"],
            report["SRAM IFMAP Reads"],
            report["SRAM Filter Reads"],
            report["SRAM OFMAP Writes"] - groups * surplus,
        ]
        same = [groups * count for count in ours] == theirs
        fetched = report["DRAM IFMAP Reads"] == inputs and report["DRAM Filter Reads"] == groups * k * n
        equal["cycles and SRAM accesses"] += same
        equal["main-memory reads"] += fetched
        cells = " | ".join(f"{groups * count}" for count in ours)
        verdict = "yes" if same and fetched else f"NO: {theirs}, {report['DRAM IFMAP Reads']:.0f}"
        print(
            f"| {name} | {rows}x{columns} | {dataflow} | {cells} | {inputs} + {groups * k * n} "
            f"| {report['seconds']:.1f} | {verdict} |",
            flush=True,
        )
    runs = len(jobs) - failed
    for what, count in equal.items():
        print(f"{what}: equal in {count} of {runs} runs")
    print(f"CPU time: SCALE-Sim {seconds:.0f} s, closed form {closed_form_s:.4f} s")
    if failed:
        print(f"the tool failed in {failed} runs")
    if left_out:
        print(f"left out in part, above {most:.3g} accesses: {', '.join(left_out)}")
    print(json.dumps({**equal, "runs": runs, "tool_cpu_s": seconds, "closed_form_cpu_s": closed_form_s}))


def compare_with_rows(path: Path) -> None:
    """SCALE-Sim 3.0.0 on ResNet-18, as measured before."""
    if not path.is_file():
        print(f"no measured rows at {path}")
        return
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["tool"] == "scalesim-3.0.0"]
    equal = 0
    print("| layer | cycles | input reads | weight reads | output writes | equal |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        text = ";".join(str(value) for value in row.values())
        measured = {key: int(value) for key, value in re.findall(r"([\w ]+)=(\d+)(?:;|$)", text)}
        found = product("ws", *RESNET18[row["layer"]], rows=12, columns=14)
        ours = (found.cycles, found.input_reads, found.weight_reads, found.output_writes)
        keys = ("Total Cycles", "SRAM IFMAP Reads", "SRAM Filter Reads", "SRAM OFMAP Writes")
        same = ours == tuple(measured[key] for key in keys)
        equal += same
        print(f"| {row['layer']} | {' | '.join(map(str, ours))} | {'yes' if same else 'NO'} |")
    print(f"measured rows of ResNet-18: equal in {equal} of {len(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--most-accesses", type=float, default=1e6, help="leave out runs with more")
    parser.add_argument("--layers", default="", help="only layers whose names match this expression")
    parser.add_argument("--rows", type=Path, default=ROWS, help="CSV of rows measured with the tool before")
    options = parser.parse_args()
    compare_with_rows(options.rows)
    python = installed(options.cache)
    if python is not None:
        compare_with_tool(python, options.most_accesses, options.layers)


if __name__ == "__main__":
    main()

"""The target ethos_u55_like beside Arm's compiler Vela 5.2 (ethos-u55-128), kind of layer by kind of layer.

The MLPerf Tiny networks are rounded to 8 bits (weights as `chipfit.workload.coded` does), written as
TensorFlow Lite files, compiled by Vela with its default system and memory mode, and its cycles are added
up over kinds of operators. Graphs come from --data; DS-CNN gets random weights, since its trained graph
is not among them, and ours is told of the same codes. Scales of activations are made up: no cycle and no
byte depends on them.

The tool gets an environment of its own in CACHE.

    python benchmarks/vela.py CACHE [--data DIR] [--layers]
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from chipfit.cost.base import CostReport
from chipfit.cost.mapping.analytical import Analytical
from chipfit.hardware.load import load_target
from chipfit.workload.coded import rounded, with_coded_weights
from chipfit.workload.library import resolve
from chipfit.workload.network import Layer, Network

REQUIREMENT = "ethos-u-vela==5.2.0"
CLOCK_HZ = 500e6
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "onnx"
#: Cycles and peak SRAM (KiB) that Vela states of the networks as MLPerf ships them; and the trained graph.
NETWORKS = {
    "resnet8": (201_747, 50.6, "mlperf_resnet8_cifar10.onnx"),
    "ds_cnn": (89_900, 21.7, None),
    "mobilenet_vww": (220_870, 72.7, "mlperf_mobilenetv1_025_vww.onnx"),
    "autoencoder": (201_184, 0.75, "mlperf_autoencoder_ad.onnx"),
}
KINDS = {"Conv2D": "dense", "DepthwiseConv2D": "depthwise", "FullyConnected": "matrix", "AvgPool": "pool"}


def load(name: str, data: Path) -> tuple[Network, dict[str, np.ndarray]]:
    """A network at 8 bits, and its weights by name."""
    file = NETWORKS[name][2]
    network = resolve(name if file is None else str(data / file)).with_bits(8, 8)
    if file is not None:
        constants = onnx.load(data / file).graph.initializer
        return network, {c.name: numpy_helper.to_array(c) for c in constants}
    rng = np.random.default_rng(0)
    weights = [layer.weight for layer in network.layers if layer.weight is not None]
    return network, {weight.name: rng.normal(size=weight.shape) for weight in weights}


# ---------------------------------------------------------------------------------------------
# TensorFlow Lite


def last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its channels last."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape


class Writer:
    """A network as a TensorFlow Lite file, through the schema that Vela brings along."""

    def __init__(self) -> None:
        import flatbuffers

        self.b = flatbuffers.Builder(1 << 20)
        self.buffers: list[bytes] = [b""]
        self.tensors: list[tuple[str, tuple[int, ...], int, int, list[float], int]] = []
        self.operators: list[tuple[str, list[int], list[int], dict[str, int]]] = []

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        data: np.ndarray | None = None,
        scale: list[float] | None = None,
        axis: int = 0,
    ) -> int:
        from ethosu.vela.tflite.TensorType import TensorType

        buffer = 0
        if data is not None:
            self.buffers.append(np.ascontiguousarray(data).tobytes())
            buffer = len(self.buffers) - 1
        kind = TensorType.INT32 if data is not None and data.dtype == np.int32 else TensorType.INT8
        self.tensors.append((name, shape, kind, buffer, scale or [0.05], axis))
        return len(self.tensors) - 1

    def operator(self, name: str, inputs: list[int], outputs: list[int], **options: int) -> None:
        self.operators.append((name, inputs, outputs, options))

    def table(self, module: Any, **fields: int) -> int:
        module.Start(self.b)
        for key, value in fields.items():
            getattr(module, f"Add{key}")(self.b, value)
        return module.End(self.b)

    def numbers(self, values: list[int] | list[float] | tuple[int, ...], kind: str = "Int32") -> int:
        size = 8 if kind == "Int64" else 4
        self.b.StartVector(size, len(values), size)
        for value in reversed(values):
            getattr(self.b, f"Prepend{kind}")(value)
        return self.b.EndVector()

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> None:
        from ethosu.vela import tflite  # noqa: F401 - makes the modules below a package
        from ethosu.vela.tflite import Buffer, Model, Operator, OperatorCode, QuantizationParameters, SubGraph
        from ethosu.vela.tflite import Tensor as TensorTable
        from ethosu.vela.tflite.BuiltinOperator import BuiltinOperator
        from ethosu.vela.tflite.BuiltinOptions import BuiltinOptions

        buffers: list[int] = []
        for content in self.buffers:
            data = {"Data": self.b.CreateByteVector(content)} if content else {}
            buffers.append(self.table(Buffer, **data))
        tensors: list[int] = []
        for name, shape, kind, buffer, scale, axis in self.tensors:
            text, sizes = self.b.CreateString(name), self.numbers(shape)
            scales, zeros = self.numbers(scale, "Float32"), self.numbers([0] * len(scale), "Int64")
            steps = self.table(QuantizationParameters, Scale=scales, ZeroPoint=zeros, QuantizedDimension=axis)
            tensors.append(
                self.table(TensorTable, Shape=sizes, Type=kind, Buffer=buffer, Name=text, Quantization=steps)
            )
        codes = sorted({name for name, *_ in self.operators})
        option_names = {
            "CONV_2D": "Conv2DOptions",
            "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
            "FULLY_CONNECTED": "FullyConnectedOptions",
            "ADD": "AddOptions",
            "AVERAGE_POOL_2D": "Pool2DOptions",
            "SOFTMAX": "SoftmaxOptions",
            "RESHAPE": "ReshapeOptions",
        }
        operators: list[int] = []
        for name, read, written, options in self.operators:
            module = __import__(f"ethosu.vela.tflite.{option_names[name]}", fromlist=["Start"])
            made = self.table(module, **options)
            sources, results = self.numbers(read), self.numbers(written)
            operators.append(
                self.table(
                    Operator,
                    OpcodeIndex=codes.index(name),
                    Inputs=sources,
                    Outputs=results,
                    BuiltinOptionsType=getattr(BuiltinOptions, option_names[name]),
                    BuiltinOptions=made,
                )
            )
        known = [getattr(BuiltinOperator, name) for name in codes]
        kinds = [
            self.table(OperatorCode, DeprecatedBuiltinCode=code, BuiltinCode=code, Version=1)
            for code in known
        ]
        parts = {
            "Tensors": self.offsets(tensors),
            "Inputs": self.numbers(inputs),
            "Outputs": self.numbers(outputs),
            "Operators": self.offsets(operators),
        }
        graph = self.table(SubGraph, **parts)
        whole = {
            "Version": 3,
            "OperatorCodes": self.offsets(kinds),
            "Subgraphs": self.offsets([graph]),
            "Buffers": self.offsets(buffers),
        }
        self.b.Finish(self.table(Model, **whole), file_identifier=b"TFL3")
        path.write_bytes(bytes(self.b.Output()))

    def offsets(self, values: list[int]) -> int:
        self.b.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.b.PrependUOffsetTRelative(value)
        return self.b.EndVector()


def write_tflite(network: Network, weights: dict[str, np.ndarray], path: Path) -> None:
    w = Writer()
    given = network.layers[0].inputs[0]
    first = current = w.tensor("input", last(given.shape))
    places = {given.name: current}
    for layer in network.layers:
        source = places.get(layer.inputs[0].name, current)
        if layer.loops is not None:
            current = _product(w, layer, source, weights)
            if "Add" in layer.fused:
                total = w.tensor(f"{layer.name}_sum", w.tensors[current][1])
                w.operator("ADD", [places[layer.inputs[1].name], current], [total], FusedActivationFunction=1)
                current = total
        elif "Pool" in layer.operator:
            height, width = layer.inputs[0].shape[2:]
            current = w.tensor(layer.name, (1, 1, 1, layer.inputs[0].shape[1]))
            sides = {"StrideH": height, "StrideW": width, "FilterHeight": height, "FilterWidth": width}
            w.operator("AVERAGE_POOL_2D", [source], [current], Padding=1, **sides)
        else:
            assert layer.operator == "Softmax", layer.operator
            current = w.tensor(layer.name, layer.outputs[0].shape, scale=[1 / 256])
            w.operator("SOFTMAX", [source], [current], Beta=1)
        places[layer.outputs[0].name] = current
    w.write(path, [first], [current])


def _product(w: Writer, layer: Layer, source: int, weights: dict[str, np.ndarray]) -> int:
    """A convolution or a matrix product with its bias; the tensor that it writes."""
    loops, weight = layer.loops, layer.weight
    assert loops is not None
    assert weight is not None
    codes = rounded(weights[weight.name], 8)
    matrix, depthwise = codes.ndim == 2, loops.G > 1
    outputs = loops.G * loops.K
    scale = [0.01] * (1 if matrix else outputs)
    if matrix:
        codes = codes if codes.shape == (loops.K, loops.C) else codes.T
    else:
        codes = codes.transpose(1, 2, 3, 0) if depthwise else codes.transpose(0, 2, 3, 1)
    constant = w.tensor(
        f"{layer.name}_w", codes.shape, codes.astype(np.int8), scale, axis=3 if depthwise else 0
    )
    bias = w.tensor(
        f"{layer.name}_b", (outputs,), np.arange(outputs, dtype=np.int32), [s / 20 for s in scale]
    )
    relu = 1 if "Relu" in layer.fused and "Add" not in layer.fused else 0
    if matrix:
        if len(w.tensors[source][1]) == 4:
            flat = w.tensor(f"{layer.name}_flat", (1, loops.C))
            sizes = w.tensor(f"{layer.name}_sizes", (2,), np.array([1, loops.C], np.int32))
            w.operator("RESHAPE", [source, sizes], [flat])
            source = flat
        result = w.tensor(layer.name, (1, outputs))
        w.operator("FULLY_CONNECTED", [source, constant, bias], [result], FusedActivationFunction=relu)
        return result
    result = w.tensor(layer.name, (1, loops.P, loops.Q, outputs))
    options = {"StrideH": loops.stride[0], "StrideW": loops.stride[1], "FusedActivationFunction": relu}
    if depthwise:
        options["DepthMultiplier"] = 1
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    w.operator(
        name,
        [source, constant, bias],
        [result],
        Padding=0,
        DilationHFactor=1,
        DilationWFactor=1,
        **options,
    )
    return result


# ---------------------------------------------------------------------------------------------
# Vela


def environment(cache: Path) -> Path:
    """The environment with Vela, made if it is not there."""
    place = cache / "vela"
    if not (place / "bin" / "vela").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "-q", REQUIREMENT], check=True)
    sys.path.append(str(next((place / "lib").glob("python*/site-packages"))))
    return place / "bin" / "vela"


def compiled(vela: Path, file: Path, *, layers: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Vela's cycles by kind of operator, and the row of its summary."""
    out = file.parent / "out"
    command = [str(vela), str(file), "--accelerator-config", "ethos-u55-128", "--output-dir", str(out)]
    subprocess.run([*command, "--verbose-performance"], check=True, capture_output=True)
    cycles: dict[str, float] = defaultdict(float)
    softmax = False
    with (out / f"{file.stem}_per-layer.csv").open() as rows:
        for row in csv.DictReader(rows):
            taken = float(row["Op Cycles"])
            softmax |= row["Original Operator"] == "Softmax"
            kind = "softmax" if softmax else KINDS.get(row["NNG Operator"], "addition")
            cycles[kind] += taken
            if layers and taken and not softmax:
                parts = ", ".join(f"{key} {row[key]}" for key in ("NPU", "SRAM AC", "OffFlash AC"))
                print(f"  Vela {row['NNG Operator']}: {taken:.0f} ({parts}), MACs {row['MAC Count']}")
    with next(out.glob(f"{file.stem}_summary_*.csv")).open() as rows:
        summary = {key: float(v) for key, v in next(csv.DictReader(rows)).items() if _number(v)}
    return cycles, summary


def _number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def our_cycles(report: CostReport, network: Network, cycles_per_addition: float) -> dict[str, float]:
    """Our cycles by kind of layer; those of additions apart, though they are fused."""
    cycles: dict[str, float] = defaultdict(float)
    for layer, cost in zip(network.layers, report.layers, strict=True):
        taken = cost.cost.latency_s * CLOCK_HZ
        if layer.loops is None:
            cycles["softmax" if layer.operator == "Softmax" else "pool"] += taken
            continue
        added = cycles_per_addition * layer.outputs[0].elements if "Add" in layer.fused else 0.0
        cycles["addition"] += added
        matrix = layer.operator == "Gemm"
        cycles["matrix" if matrix else "depthwise" if layer.loops.G > 1 else "dense"] += taken - added
    return cycles


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--layers", action="store_true", help="print every layer")
    arguments = parser.parse_args()
    vela = environment(arguments.cache)
    target = load_target("ethos_u55_like")
    kinds = ("dense", "depthwise", "addition", "pool", "matrix", "softmax")
    results: dict[str, Any] = {}
    for name, (stated, stated_kib, file) in NETWORKS.items():
        network, weights = load(name, arguments.data)
        path = arguments.cache / f"{name}.tflite"
        write_tflite(network, weights, path)
        theirs, summary = compiled(vela, path, layers=arguments.layers)
        told = network if file is None else with_coded_weights(network, weights)
        report = Analytical(objective="latency").estimate(told, target)
        addition = target.vector_cycles["Add"] * CLOCK_HZ / target.clock_hz
        ours = our_cycles(report, network, addition)
        if arguments.layers:
            for layer in report.layers:
                parts = {k: round(v * CLOCK_HZ) for k, v in layer.latency_by_component_s.items()}
                cycles = layer.cost.latency_s * CLOCK_HZ
                print(f"  ours {layer.operator}: {cycles:.0f} {parts}, MACs {layer.macs}")
        theirs_kib = summary["sram_memory_used"]
        total, peak_kib = report.total.latency_s * CLOCK_HZ, report.peak_activation_bits / 8192
        coded = report.total.dram_bits / 8
        print(
            f"\n{name}: cycles {total:.0f}, Vela states {stated}: {100 * (total / stated - 1):+.1f} %; "
            f"Vela on our rounding {sum(theirs.values()):.0f}"
        )
        print(
            f"peak SRAM {peak_kib:.2f} KiB, Vela states {stated_kib}: "
            f"{100 * (peak_kib / stated_kib - 1):+.1f} %; Vela on our rounding {theirs_kib:.2f}; "
            f"without bricks of channels {told.peak_activation_bits / 8192:.2f}"
        )
        print(
            f"weights {summary['total_original_weights']:.0f} B, coded by Vela "
            f"{summary['total_npu_encoded_weights']:.0f}, priced here {coded:.0f}"
        )
        print("| kind | ours | Vela | ours - Vela |\n|---|---|---|---|")
        for kind in kinds:
            if ours[kind] or theirs[kind]:
                print(
                    f"| {kind} | {ours[kind]:.0f} | {theirs[kind]:.0f} | {ours[kind] - theirs[kind]:+.0f} |"
                )
        results[name] = {
            "cycles": total,
            "vela_stated": stated,
            "ours": ours,
            "vela": theirs,
            "summary": summary,
        }
    (arguments.cache / "vela.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

"""A stopwatch: how long an ONNX model takes on this host, through ONNX Runtime on its CPU.

The total and the layers are timed in separate sessions, since the profiler slows what it watches.
Layers are those that ONNX Runtime runs after its own fusions, under its names; the profiler counts
whole microseconds.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from chipfit.errors import ChipfitError, NetworkError, nearest

#: 90th over 10th percentile above which a measurement is called unsteady.
STEADY_RATIO = 1.25

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int16)": np.int16,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(uint32)": np.uint32,
    "tensor(int64)": np.int64,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """Median time of one step of ONNX Runtime, and its share of the sum over all steps."""

    name: str
    operator: str
    latency_s: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Times of one model on one host (s): median, percentiles and minimum over `repeats` runs.

    `layers` are in the order in which they run; they come from a second, profiled session.
    """

    model: str
    cpu: str
    onnxruntime: str
    threads: int
    repeats: int
    warmup: int
    latency_s: float
    p10_s: float
    p90_s: float
    min_s: float
    layers: tuple[LayerTime, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit measure --json`."""
        return {
            "model": self.model,
            "host": {"cpu": self.cpu, "onnxruntime": self.onnxruntime},
            "threads": self.threads,
            "repeats": self.repeats,
            "warmup": self.warmup,
            "latency_s": self.latency_s,
            "latency_p10_s": self.p10_s,
            "latency_p90_s": self.p90_s,
            "latency_min_s": self.min_s,
            "layers": [asdict(layer) for layer in self.layers],
            "warnings": list(self.warnings),
        }


def measure(
    path: str | Path,
    *,
    rng: np.random.Generator,
    threads: int = 1,
    repeats: int = 50,
    warmup: int = 5,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Measurement:
    """Time an ONNX file on this host with random inputs.

    Args:
        path: an ONNX file.
        rng: for the inputs: normal floats, integers 0 and 1 (valid as indices and masks).
        threads: threads within one operator.
        repeats: timed runs, at least 1.
        warmup: runs before them.
        shapes: the whole shape of each input that has an unknown dimension, by its name.

    Raises:
        NetworkError: the file is missing or not a model that ONNX Runtime runs, or the shape of an
            input is unknown or wrong.
        ChipfitError: a count is out of range.
    """
    for name, value, least in (("threads", threads, 1), ("repeats", repeats, 1), ("warmup", warmup, 0)):
        if value < least:
            raise ChipfitError(f"{name} must be at least {least}, got {value}")
    file = Path(path)
    session = _session(file, threads, None)
    inputs = _inputs(file, session, shapes or {}, rng)
    times_s = _time(file, session, inputs, repeats, warmup)
    p10_s, median_s, p90_s = (float(t) for t in np.percentile(times_s, [10, 50, 90]))
    layers = _layers(file, inputs, threads, max(3, min(repeats, 20)))
    return Measurement(
        model=file.name,
        cpu=cpu_name(),
        onnxruntime=onnxruntime.__version__,
        threads=threads,
        repeats=repeats,
        warmup=warmup,
        latency_s=median_s,
        p10_s=p10_s,
        p90_s=p90_s,
        min_s=float(times_s.min()),
        layers=layers,
        warnings=tuple(_warnings(threads, p10_s, p90_s)),
    )


def cpu_name() -> str:
    """The processor of this host, as the operating system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _session(file: Path, threads: int, profile: Path | None) -> onnxruntime.InferenceSession:
    if not file.exists():
        raise NetworkError(f"there is no model file {file}")
    if not file.is_file():
        raise NetworkError(f"{file} is not a file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised below, not printed
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile / "profile")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes share no base below Exception
        raise NetworkError(f"ONNX Runtime cannot load {file}: {_reason(error, file)}") from error


def _reason(error: Exception, file: Path) -> str:
    """What ONNX Runtime says, on one line, without its codes and the path that we name anyway."""
    text = " ".join(str(error).split())
    text = text.rpartition("[ONNXRuntimeError] :")[2].strip()
    parts = text.split(" : ", 2)
    text = parts[2] if len(parts) == 3 and parts[0].isdigit() else text
    for start in (f"Load model from {file} failed:", f"Load model {file} failed."):
        text = text.replace(start, "").strip()
    if "IR version" in text:
        text += f" (onnxruntime {onnxruntime.__version__} is older than the file)"
    return text


def _inputs(
    file: Path,
    session: onnxruntime.InferenceSession,
    shapes: Mapping[str, Sequence[int]],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    wanted = {entry.name: entry for entry in session.get_inputs()}
    problems = [f"no input '{name}'{nearest(name, wanted)}" for name in shapes if name not in wanted]
    inputs: dict[str, np.ndarray] = {}
    for name, entry in wanted.items():
        if entry.type not in _TYPES:
            problems.append(f"input '{name}' is a {entry.type}, which is not made up at random")
            continue
        shape = _shape(name, entry.shape, shapes.get(name), problems)
        if shape is None:
            continue
        try:
            inputs[name] = _random(shape, _TYPES[entry.type], rng)
        except (MemoryError, ValueError):
            problems.append(f"input '{name}' of shape {'x'.join(str(d) for d in shape)} is too large")
    if problems:
        raise NetworkError(f"{file}: " + "; ".join(problems))
    return inputs


def _shape(
    name: str, stated: Sequence[int | str | None], given: Sequence[int] | None, problems: list[str]
) -> tuple[int, ...] | None:
    """The shape of an input; None, and a problem more, if it is unknown or contradicts the model."""
    if given is None:
        unknown = [f"'{d or '?'}' (axis {axis})" for axis, d in enumerate(stated) if not isinstance(d, int)]
        if unknown:
            problems.append(f"input '{name}' has unknown dimensions {', '.join(unknown)}: give its shape")
            return None
        return tuple(d for d in stated if isinstance(d, int))
    fits = len(given) == len(stated) and all(
        size >= 1 and (size == d or not isinstance(d, int)) for size, d in zip(given, stated, strict=True)
    )
    if not fits:
        has = "x".join(str(d or "?") for d in stated)
        problems.append(f"input '{name}' is {has}, got the shape {'x'.join(str(d) for d in given)}")
        return None
    return tuple(given)


def _random(shape: tuple[int, ...], dtype: type[np.generic], rng: np.random.Generator) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _time(
    file: Path,
    session: onnxruntime.InferenceSession,
    inputs: dict[str, np.ndarray],
    repeats: int,
    warmup: int,
) -> np.ndarray:
    """Seconds of each timed run."""
    times_s = np.empty(repeats)
    try:
        for _ in range(warmup):
            session.run(None, inputs)
        for run in range(repeats):
            start_s = time.perf_counter()
            session.run(None, inputs)
            times_s[run] = time.perf_counter() - start_s
    except Exception as error:  # as above
        raise NetworkError(f"ONNX Runtime cannot run {file}: {_reason(error, file)}") from error
    return times_s


def _layers(file: Path, inputs: dict[str, np.ndarray], threads: int, runs: int) -> tuple[LayerTime, ...]:
    """Median time of each step over `runs` profiled runs, after one to warm up."""
    with tempfile.TemporaryDirectory(prefix="chipfit-") as folder:
        session = _session(file, threads, Path(folder))
        _time(file, session, inputs, runs, 1)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return layer_times(events, runs=runs)


def layer_times(events: Sequence[Mapping[str, Any]], *, runs: int) -> tuple[LayerTime, ...]:
    """Median time of each step from the events of ONNX Runtime's profiler.

    Args:
        events: what the profiler wrote; times in microseconds.
        runs: the last runs, to take the median over; earlier ones are left out.

    Steps inside an If, Loop or Scan are part of it and not listed.
    """
    nodes = [e for e in events if e.get("cat") == "Node" and str(e["name"]).endswith("_kernel_time")]
    outer = [(e["ts"], e["ts"] + e["dur"]) for e in nodes if e["args"]["op_name"] in ("If", "Loop", "Scan")]
    times_us: dict[tuple[str, str, str], list[int]] = {}
    for event in sorted(nodes, key=lambda e: e["ts"]):
        start, end = event["ts"], event["ts"] + event["dur"]
        if any(a <= start and end <= b and (a, b) != (start, end) for a, b in outer):
            continue
        args = event["args"]
        name = str(event["name"]).removesuffix("_kernel_time")
        key = (str(args["node_index"]), name, str(args["op_name"]))
        times_us.setdefault(key, []).append(int(event["dur"]))
    medians_s = {key: float(np.median(t[-runs:])) * 1e-6 for key, t in times_us.items()}
    total_s = sum(medians_s.values())
    return tuple(
        LayerTime(
            name=name or f"{operator}_{index}",
            operator=operator,
            latency_s=median_s,
            share=median_s / total_s if total_s else 0.0,
        )
        for (index, name, operator), median_s in medians_s.items()
    )


def _warnings(threads: int, p10_s: float, p90_s: float) -> list[str]:
    found: list[str] = []
    cores = os.cpu_count() or 1
    if threads > cores:
        found.append(f"more threads ({threads}) than cores ({cores})")
    if p90_s > STEADY_RATIO * p10_s:
        found.append(
            f"runs differ: the 90th percentile is {p90_s / p10_s:.2f} times the 10th; is the host busy?"
        )
    return found

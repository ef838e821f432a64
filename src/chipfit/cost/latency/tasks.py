"""The twelve published few-shot tasks, and what is reached on each.

Data: a folder with `nb201.npz` and `fbnet.npz`, each with `ops` (network, place), `devices` and
`latency_ms` (network, device), NaN where nothing was measured.

Source:
    Akhauri and Abdelfattah, "On Latency Predictors for Neural Architecture Search", MLSys 2024
    (NASFLAT): tasks and protocol. Differs: measured samples are left out of the test, theirs are in;
    and sources that no public table holds are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from chipfit.cost.latency import fbnet, nb201
from chipfit.cost.latency.interval import widths
from chipfit.cost.latency.prior import Prior, complete, prior
from chipfit.cost.latency.process import Inference
from chipfit.cost.latency.select import select
from chipfit.cost.latency.space import Space
from chipfit.errors import MeasurementError, nearest

#: Networks that may be chosen for measuring, and those measured on each source device (as published).
POOL, SOURCE_SAMPLES = 4000, {"nb201": 900, "fbnet": 800}

#: Shares of new measurements that intervals are to cover.
SHARES = (0.8, 0.9)


@dataclass(frozen=True, kw_only=True)
class FewShotTask:
    """Source devices, target devices, and the best published Spearman correlation."""

    space: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    nasflat: float
    published: float


def _task(space: str, sources: str, targets: str, nasflat: float, published: float) -> FewShotTask:
    return FewShotTask(
        space=space,
        sources=tuple(sources.split()),
        targets=tuple(targets.split()),
        nasflat=nasflat,
        published=published,
    )


#: The tasks by their names. Published: the best of NASFLAT, HELP and MultiPredict as NASFLAT's authors
#: released them, 20 samples.
TASKS = {
    "ND": _task(
        "nb201",
        "1080ti_1 1080ti_32 1080ti_256 silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7",
        "titan_rtx_256 gold_6226 fpga pixel2 raspi4 eyeriss",
        0.959,
        0.959,
    ),
    "N1": _task(
        "nb201",
        "embedded_tpu_edge_tpu_int8 eyeriss mobile_gpu_snapdragon_675_adreno_612_int8 "
        "mobile_gpu_snapdragon_855_adreno_640_int8 pixel3",
        "1080ti_1 titan_rtx_32 titanxp_1 2080ti_32 titan_rtx_1",
        0.967,
        0.970,
    ),
    "N2": _task(
        "nb201",
        "1080ti_1 1080ti_32 titanx_32 titanxp_1 titanxp_32",
        "embedded_gpu_jetson_nano_fp16 embedded_tpu_edge_tpu_int8 "
        "mobile_dsp_snapdragon_675_hexagon_685_int8 "
        "mobile_dsp_snapdragon_855_hexagon_690_int8 pixel3",
        0.857,
        0.857,
    ),
    "N3": _task(
        "nb201",
        "desktop_gpu_gtx_1080ti_fp32 embedded_gpu_jetson_nano_fp16 eyeriss "
        "mobile_dsp_snapdragon_675_hexagon_685_int8 "
        "mobile_gpu_snapdragon_855_adreno_640_int8",
        "1080ti_1 2080ti_1 titanxp_1 2080ti_32 titanxp_32",
        0.962,
        0.962,
    ),
    "N4": _task(
        "nb201",
        "desktop_cpu_core_i7_7820x_fp32 embedded_gpu_jetson_nano_fp32 embedded_tpu_edge_tpu_int8 eyeriss "
        "mobile_cpu_snapdragon_855_kryo_485_int8 mobile_dsp_snapdragon_675_hexagon_685_int8 "
        "mobile_dsp_snapdragon_855_hexagon_690_int8 mobile_gpu_snapdragon_675_adreno_612_int8 "
        "mobile_gpu_snapdragon_855_adreno_640_int8 pixel2",
        "1080ti_1 2080ti_1 titan_rtx_1",
        0.959,
        0.959,
    ),
    "NA": _task(
        "nb201",
        "titan_rtx_1 titan_rtx_32 titanxp_1 2080ti_1 titanx_1 1080ti_1 titanx_32 titanxp_32 "
        "2080ti_32 1080ti_32 "
        "gold_6226 samsung_s7 silver_4114 gold_6240 silver_4210r samsung_a50 pixel2",
        "eyeriss desktop_gpu_gtx_1080ti_fp32 embedded_tpu_edge_tpu_int8",
        0.893,
        0.893,
    ),
    "FD": _task(
        "fbnet",
        "1080ti_1 1080ti_32 1080ti_64 silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7",
        "fpga raspi4 eyeriss",
        0.961,
        0.961,
    ),
    "F1": _task(
        "fbnet",
        "2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32",
        "eyeriss fpga raspi4 samsung_a50 samsung_s7",
        0.809,
        0.809,
    ),
    "F2": _task(
        "fbnet",
        "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4",
        "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
        0.871,
        0.871,
    ),
    "F3": _task(
        "fbnet",
        "essential_ph_1 pixel2 pixel3 raspi4 samsung_s7",
        "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
        0.814,
        0.814,
    ),
    "F4": _task(
        "fbnet",
        "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r "
        "titan_rtx_1 titan_rtx_32",
        "1080ti_1 pixel2 essential_ph_1",
        0.734,
        0.799,
    ),
    "FA": _task(
        "fbnet",
        "1080ti_1 1080ti_32 1080ti_64 2080ti_1 2080ti_32 2080ti_64 titan_rtx_1 titan_rtx_32 "
        "titan_rtx_64 titanx_1 "
        "titanx_32 titanx_64 titanxp_1 titanxp_32 titanxp_64",
        "gold_6226 essential_ph_1 samsung_s7 pixel2",
        0.577,
        0.577,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Table:
    """Latencies of the networks of a space on several devices (ms), shape (network, device)."""

    space: Space
    devices: tuple[str, ...]
    latency_ms: np.ndarray

    def device(self, name: str) -> np.ndarray:
        """Latency of every network on one device (ms), NaN where it was not measured."""
        return self.latency_ms[:, self.devices.index(name)]


def load_table(folder: Path, name: str) -> Table:
    """The measurements of one space, in the order of its networks.

    Raises:
        MeasurementError: the file is missing, or does not hold what it should.
    """
    path = folder / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as data:
            codes, latency_ms = data["ops"].astype(np.uint8), data["latency_ms"].astype(np.float64)
            devices = tuple(str(device) for device in data["devices"])
    except FileNotFoundError:
        raise MeasurementError(
            f"there is no {path}: --data names a folder with nb201.npz and fbnet.npz"
        ) from None
    except (OSError, KeyError, ValueError) as error:
        raise MeasurementError(
            f"{path} is not a table of latencies (ops, devices, latency_ms): {error}"
        ) from error
    if name == "fbnet":
        return Table(fbnet.space(codes), devices, latency_ms)
    space = nb201.space()
    ordered = np.full((len(space), len(devices)), np.nan)
    ordered[[space.places["-".join(map(str, row))] for row in codes.tolist()]] = latency_ms
    return Table(space, devices, ordered)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the tasks are run: `seeds` draws of pools and source samples from `seed` on."""

    samples: int = 20
    seeds: int = 30
    seed: int = 0
    sources: bool = True
    chosen: bool = True


def run_task(task: FewShotTask, table: Table, known: Prior, options: Options) -> dict[str, Any]:
    """What is reached on one task: means over targets and seeds, and the spread over seeds."""
    scores: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seed, options.seed + options.seeds):
        rng = np.random.default_rng([seed, 6])
        whole = _with_sources(task, table, known, rng) if options.sources else known
        for target in task.targets:
            if target in table.devices:
                scores.setdefault(target, []).append(_one(whole, table.device(target), rng, options))
    return _summary(scores)


def _with_sources(task: FewShotTask, table: Table, known: Prior, rng: np.random.Generator) -> Prior:
    found: list[np.ndarray] = []
    for source in task.sources:
        if source in table.devices:
            latency_ms = table.device(source)
            measured = np.flatnonzero(np.isfinite(latency_ms))
            rows = rng.choice(measured, min(SOURCE_SAMPLES[task.space], len(measured)), replace=False)
            found.append(complete(known, rows, latency_ms[rows]))
    return known.with_sources(np.stack(found, axis=1))


def _one(
    whole: Prior, latency_ms: np.ndarray, rng: np.random.Generator, options: Options
) -> dict[str, float]:
    """Scores on one target device, on all that was not measured."""
    measured = np.flatnonzero(np.isfinite(latency_ms))
    pool = rng.choice(measured, min(POOL, len(measured)), replace=False)
    rows = (
        select(whole, options.samples, candidates=pool, rng=rng)
        if options.chosen
        else pool[: options.samples]
    )
    found = whole.infer(rows, latency_ms[rows])
    rest = np.setdiff1d(measured, rows)
    return _scores(found, whole, rows, rest, latency_ms)


def _scores(
    found: Inference, whole: Prior, rows: np.ndarray, rest: np.ndarray, latency_ms: np.ndarray
) -> dict[str, float]:
    cross, diagonal = whole.covariances(rows, found.weights, rest)
    mean, truth = found.fit.mean(cross), latency_ms[rest]
    deviation = found.deviation(cross, diagonal)
    error = np.abs(mean - truth)
    covered = error[:, None] <= deviation[:, None] * widths(np.array(SHARES))
    return {
        "spearman": _spearman(mean, truth),
        "median_error": float(np.median(error / truth)),
        "within_10_percent": float((error <= 0.1 * truth).mean()),
        **{f"coverage_{100 * s:.0f}": float(c) for s, c in zip(SHARES, covered.mean(0), strict=True)},
    }


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the ranks; 0 where one of them does not change."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _summary(scores: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    devices = {
        name: {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        for name, each in scores.items()
    }
    keys = next(iter(devices.values())).keys()
    found: dict[str, Any] = {key: float(np.mean([one[key] for one in devices.values()])) for key in keys}
    by_seed = np.mean([[one["spearman"] for one in each] for each in scores.values()], axis=0)
    return {**found, "spread": float(by_seed.std()), "devices": devices}


def run(
    folder: Path, options: Options, names: Sequence[str] = (), advance: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The document of `chipfit latency bench`.

    Args:
        folder: with the tables.
        options: how the tasks are run.
        names: of the tasks to run; all if empty.
        advance: called after each task.

    Raises:
        MeasurementError: a task is unknown, or the data cannot be read.
    """
    for name in names:
        if name not in TASKS:
            raise MeasurementError(f"no task '{name}'{nearest(name, TASKS)}")
    wanted = {name: task for name, task in TASKS.items() if not names or name in names}
    tasks: dict[str, Any] = {}
    for space in ("nb201", "fbnet"):
        mine = {name: task for name, task in wanted.items() if task.space == space}
        if not mine:
            continue
        table = load_table(folder, space)
        known = prior(table.space)
        for name, task in mine.items():
            tasks[name] = run_task(task, table, known, options) | {
                "nasflat": task.nasflat,
                "published": task.published,
            }
            advance()
    return {
        "samples": options.samples,
        "seeds": options.seeds,
        "sources": options.sources,
        "chosen": options.chosen,
        "tasks": tasks,
        "mean": float(np.mean([one["spearman"] for one in tasks.values()])),
    }

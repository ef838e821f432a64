"""Devices from a few samples: the twelve published tasks, ablations, and times.

    python benchmarks/latency.py tasks DATA [--seeds 30]      every column of the table of tasks
    python benchmarks/latency.py ablations DATA [--seeds 5]   what each part is worth
    python benchmarks/latency.py devices DATA [--seeds 5]     devices that are no task's target
    python benchmarks/latency.py times                        seconds of one core

The order of events: ranges of the generator of devices and every constant of the process were chosen on
`HELD_OUT`, the devices that are in no test set of a task, then frozen, then the tasks were run.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from chipfit.cost.latency import fbnet, nb201, process, tasks
from chipfit.cost.latency.prior import Prior, prior
from chipfit.cost.latency.select import select

HELD_OUT = {
    "nb201": "1080ti_256 1080ti_32 essential_ph_1 gold_6240 samsung_a50 samsung_s7 silver_4114 silver_4210r "
    "titanx_1 titanx_32 desktop_cpu_core_i7_7820x_fp32 embedded_gpu_jetson_nano_fp32 "
    "mobile_cpu_snapdragon_855_kryo_485_int8 mobile_gpu_snapdragon_855_adreno_640_int8",
    "fbnet": "1080ti_64 2080ti_64 gold_6240 pixel3 silver_4114 silver_4210r titan_rtx_64 titanx_1 titanx_32 "
    "titanx_64 titanxp_32 titanxp_64",
}


def row(name, document):
    spearman = " ".join(f"{one['spearman']:.3f}" for one in document["tasks"].values())
    print(f"{name:28s} {spearman}  {document['mean']:.4f}", flush=True)


def run_tasks(data, seeds):
    options = tasks.Options(seeds=seeds)
    print(f"{'':28s} " + " ".join(f"{name:5s}" for name in tasks.TASKS) + "  mean")
    whole = tasks.run(data, options)
    row("20 chosen", whole)
    for name, more in {
        "20 chosen, no sources": {"sources": False},
        "10 chosen": {"samples": 10},
        "20 random": {"chosen": False},
        "5 chosen": {"samples": 5},
    }.items():
        row(name, tasks.run(data, replace(options, **more)))
    print("\ntask  Spearman         NASFLAT  best   median error  within 10 %  in 80 %  in 90 %")
    for name, one in whole["tasks"].items():
        print(
            f"{name:5s} {one['spearman']:.4f} ± {one['spread']:.4f}"
            f"  {one['nasflat']:.3f}  {one['published']:.3f}"
            f"  {one['median_error']:11.1%}  {one['within_10_percent']:10.1%}"
            f"  {one['coverage_80']:7.1%}  {one['coverage_90']:6.1%}"
        )
    for key in ("median_error", "within_10_percent", "coverage_80", "coverage_90"):
        print(f"mean {key} {np.mean([one[key] for one in whole['tasks'].values()]):.4f}")


def run_ablations(data, seeds):
    options = tasks.Options(seeds=seeds)
    print(f"{'':28s} " + " ".join(f"{name:5s}" for name in tasks.TASKS) + "  mean")
    row("everything", tasks.run(data, options))
    row("no source devices", tasks.run(data, replace(options, sources=False)))
    row("random samples", tasks.run(data, replace(options, chosen=False)))
    with mock.patch.object(
        process, "likeness", lambda simulated, *_: np.full(simulated.shape[1], 1 / simulated.shape[1])
    ):
        row("simulated devices alike", tasks.run(data, options))
    with mock.patch.multiple(process, _OUTLIER=-np.inf, _ROUNDS=0):
        row("no robust noise", tasks.run(data, options))
    with mock.patch.object(tasks, "prior", without_simulation):
        row("no simulated devices", tasks.run(data, options))


def without_simulation(space):
    """A prior of analytic costs and choices alone, at scales that suit them."""
    known = prior(space)
    costs = known.parts[2]
    loadings = np.linalg.qr(np.random.default_rng(0).standard_normal((costs.shape[1],) * 2))[0]
    return Prior((costs, *known.parts[1:]), loadings * np.sqrt(len(loadings)))


def run_devices(data, seeds):
    """Intervals are judged device by device: too wide on one does not make up for too narrow on another."""
    everything = {}
    for space, names in HELD_OUT.items():
        table, devices = tasks.load_table(data, space), names.split()
        known = prior(table.space)
        for samples, sources in ((5, False), (10, False), (10, True), (20, False), (20, True)):
            options = tasks.Options(samples=samples, seeds=seeds, sources=sources)
            # Other samples on each device: what the draws do to all alike would be no mean.
            found = {
                name: tasks.run_task(
                    held_out(space, devices, name), table, known, replace(options, seed=1000 * place)
                )
                for place, name in enumerate(devices)
            }
            setting = f"{samples} samples, {'five sources' if sources else 'no sources'}"
            everything.setdefault(setting, []).extend(found.values())
            report_devices(f"{space} {setting}", list(found.values()))
            if samples == 20:
                for name, one in found.items():
                    coverage = " ".join(f"{one[f'coverage_{share}']:.1%}" for share in (80, 90))
                    print(
                        f"    {name:40s} {one['spearman']:.3f}  "
                        f"median error {one['median_error']:.1%}  {coverage}"
                    )
    for setting, found in everything.items():
        report_devices(f"all, {setting}", found)


def held_out(space, devices, name):
    """A device as the target, with the five that follow it in the list as sources."""
    place = devices.index(name)
    sources = tuple((devices + devices)[place + 1 : place + 6])
    return tasks.FewShotTask(space=space, sources=sources, targets=(name,), nasflat=0, published=0)


def report_devices(setting, found):
    """Means over devices, and how far the share in intervals is off on a device (root of the mean square)."""
    spearman = np.mean([one["spearman"] for one in found])
    shares = []
    for share in (80, 90):
        covered = np.array([one[f"coverage_{share}"] for one in found])
        off = np.sqrt(np.mean((covered - share / 100) ** 2))
        shares.append(f"in {share} %: {covered.mean():.1%}, off by {100 * off:.1f}")
    print(f"{setting}: {spearman:.4f}  {'  '.join(shares)}", flush=True)


def seconds(function, *arguments, repeats=5):
    """The least processor time of several calls (s), and what the last returned."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = function(*arguments)
        times.append(time.process_time() - start)
    return min(times), found


def run_times():
    spaces = {"nb201": nb201.space, "fbnet": fbnet.sampled}
    for name, build in spaces.items():
        built, space = seconds(build, repeats=1)
        simulated, known = seconds(prior, space, repeats=1)
        rng = np.random.default_rng(0)
        truth = 2 + space.features["operations"] / 3e7 + rng.normal(0, 0.05, len(space))
        chosen, rows = seconds(select, known, 20)
        fitted, found = seconds(known.infer, rows, truth[rows])

        def predict(known=known, rows=rows, found=found):
            cross, diagonal = known.covariances(rows, found.weights, np.arange(len(known)))
            return found.fit.mean(cross), found.deviation(cross, diagonal)

        predicted, _ = seconds(predict)
        print(
            f"{name}: {len(space)} networks counted {built:.2f} s, simulated {simulated:.2f} s, "
            f"20 chosen {chosen:.3f} s, fitted {fitted:.3f} s, all predicted with intervals {predicted:.3f} s"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("tasks", "ablations", "devices", "times"))
    parser.add_argument("data", type=Path, nargs="?", help="folder with nb201.npz and fbnet.npz")
    parser.add_argument("--seeds", type=int, default=0)
    given = parser.parse_args()
    if given.what == "times":
        run_times()
    elif given.data is None:
        parser.error("name the folder of the data")
    else:
        runs = {"tasks": (run_tasks, 30), "ablations": (run_ablations, 5), "devices": (run_devices, 5)}
        function, usual = runs[given.what]
        function(given.data, given.seeds or usual)


if __name__ == "__main__":
    main()

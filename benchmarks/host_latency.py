"""This host as a real device: networks of two spaces through ONNX Runtime, measured and predicted.

    python benchmarks/host_latency.py measure FOLDER [--networks 200] [--seconds 0]
    python benchmarks/host_latency.py predict FOLDER [--trials 20]

`measure` writes one CSV a space and setting, line by line: run again, it goes on where it was cut off.
Settings are dealt in turn, network by network, so that a busy minute of the host hurts all alike.
`predict` chooses 20 of the measured networks, fits a device, and is checked on the others; then it
searches under a budget and checks what it found against the stopwatch.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import onnxruntime
from scipy.stats import spearmanr

from chipfit.cost.latency import fbnet, nb201
from chipfit.cost.latency.device import fit_device
from chipfit.cost.latency.measurements import check, read_table
from chipfit.cost.latency.models import fbnet_model, nb201_model
from chipfit.cost.latency.networks import open_space
from chipfit.cost.latency.prior import prior
from chipfit.cost.latency.select import select
from chipfit.search.architecture import search

SPACES = {"nb201": nb201_model, "fbnet": fbnet_model}
#: Threads, batch and 8-bit codes of each setting.
SETTINGS = {
    "t1_b1": (1, 1, False),
    "t2_b1": (2, 1, False),
    "t1_b4": (1, 4, False),
    "t1_b1_int8": (1, 1, True),
}


def networks(name, count):
    """Random networks of a space; a smaller count has the first of a larger one."""
    rng = np.random.default_rng(2026)
    if name == "nb201":
        return nb201.every_cell()[rng.permutation(5**6)[:count]]
    return rng.integers(0, len(fbnet.OPERATIONS), (count, len(fbnet.places())), dtype=np.uint8)


class Stopwatch:
    """A model that is ready to run, and the least median of its bursts (ms): the rest is the host's."""

    def __init__(self, model, threads, shape):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Trained networks have no activations that vanish; random ones may, and are then slow.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        # Threads that wait by spinning would slow the other models down.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {"x": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
        self.latency_ms = np.inf

    def burst(self, runs=10):
        self.session.run(None, self.inputs)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self.session.run(None, self.inputs)
            times.append(time.perf_counter() - start)
        self.latency_ms = min(self.latency_ms, 1e3 * float(np.median(times)))


def measured(path):
    """The networks of a CSV file, which is begun if it is not there."""
    if not path.exists():
        path.write_text("network,latency_ms\n")
    return {line.partition(",")[0] for line in path.read_text().splitlines()[1:]}


def measure(folder, count, seconds, bursts=5):
    """Measure what is missing; stop after so many seconds, if any."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {(name, s): measured(folder / f"{name}_{s}.csv") for name in SPACES for s in SETTINGS}
    start = time.monotonic()
    done = 0
    for index in range(count):
        for name, build in SPACES.items():
            codes = networks(name, count)[index].tolist()
            label = "-".join(map(str, codes))
            watches = {}
            for setting, (threads, batch, quantized) in SETTINGS.items():
                if label not in known[name, setting]:
                    model = build(codes, rng=np.random.default_rng(0), batch=batch, quantized=quantized)
                    watches[setting] = Stopwatch(model, threads, (batch, 3, 32, 32))
            # By turns, so that a busy moment of the host spoils no setting wholly.
            for _ in range(bursts):
                for watch in watches.values():
                    watch.burst()
            for setting, watch in watches.items():
                with (folder / f"{name}_{setting}.csv").open("a", newline="") as file:
                    csv.writer(file).writerow([label, f"{watch.latency_ms:.5f}"])
        done = index + 1
        if seconds and time.monotonic() - start > seconds:
            break
    print(f"{done} networks of each space in {time.monotonic() - start:.0f} s")


def predict(folder, trials):
    """What twenty samples say of the others."""
    header = ("space", "setting", "networks", "spearman", "median err", "in 80 %", "in 90 %", "budget met")
    print(" ".join(f"{x:>12}" for x in header))
    for name in SPACES:
        for setting in SETTINGS:
            path = folder / f"{name}_{setting}.csv"
            table = read_table(path)
            space = open_space(name, table.labels)
            known = check(table, space)
            scores = [trial(space, known, seed) for seed in range(trials)]
            numbers = " ".join(f"{x:12.3f}" for x in np.nanmean(scores, axis=0))
            print(f"{name:>12} {setting:>12} {len(known):12d} {numbers}")


def trial(space, known, seed):
    """One choice of samples among a random part of the networks."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(known))[: max(30, int(0.8 * len(known)))])
    measured = space.take(known.rows)
    chosen = select(prior(measured), 20, candidates=some)
    device = fit_device("host", space, type(known)(known.rows[chosen], known.latency_ms[chosen]))
    rest = np.setdiff1d(np.arange(len(known)), chosen)
    truth = known.latency_ms[rest]
    others = measured.take(rest)
    mean = device.predict(others).mean_ms
    inside = []
    for share in (0.8, 0.9):
        found = device.predict(others, share=share)
        inside.append(((found.low_ms <= truth) & (truth <= found.high_ms)).mean())
    budget = float(np.quantile(truth, rng.uniform(0.1, 0.9)))
    score = others.features["operations"]
    best = search(device, others, score, budget_ms=budget, count=1)
    met = np.nan if not best else float(truth[others.places[best[0].network]] <= budget)
    return spearmanr(mean, truth).statistic, np.median(np.abs(mean / truth - 1)), *inside, met


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("measure", "predict"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args()
    if given.what == "measure":
        measure(given.folder, given.networks, given.seconds)
    else:
        predict(given.folder, given.trials)


if __name__ == "__main__":
    main()

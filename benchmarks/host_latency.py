"""This host as a real device: networks of two spaces through ONNX Runtime, measured and predicted.

    python benchmarks/host_latency.py measure FOLDER [--networks 200] [--rounds 2] [--seconds 0]
    python benchmarks/host_latency.py predict FOLDER [--trials 50]

`measure` appends each measurement to FOLDER/raw.csv: run again, it goes on where it was cut off. Every
round meets the networks in another order, and their settings by turns, so that a busy minute of the host
is nobody's in particular; of each, the least median of a burst counts. `predict` makes a table a space and
setting of it, chooses 20 of the measured networks, fits a device, and is checked on the others; then it
searches under a budget, and what it found is checked against the stopwatch.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import onnxruntime
from scipy.stats import spearmanr

from chipfit.cost.latency import fbnet, nb201
from chipfit.cost.latency.device import Device, Encoder
from chipfit.cost.latency.devices import Fleet
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


def recorded(path):
    """The rows of the raw file, which is begun if it is not there: (round, space, setting, network) to ms."""
    if not path.exists():
        path.write_text("round,space,setting,network,latency_ms\n")
    with path.open(newline="") as file:
        return {tuple(row[:4]): float(row[4]) for row in list(csv.reader(file))[1:] if len(row) == 5}


def burst_each(watches, bursts):
    """By turns, so that a busy moment of the host spoils no setting wholly."""
    for _ in range(bursts):
        for watch in watches.values():
            watch.burst()


def measure(folder, count, rounds, seconds, bursts=2):
    """Measure what is missing; stop after so many seconds, if any."""
    folder.mkdir(parents=True, exist_ok=True)
    known = recorded(folder / "raw.csv")
    codes = {name: networks(name, count).tolist() for name in SPACES}
    jobs = []
    for turn in range(rounds):
        order = [(name, place) for place in range(count) for name in SPACES]
        jobs += [(str(turn), *order[i]) for i in np.random.default_rng(turn).permutation(len(order))]
    start = time.monotonic()
    for done, (turn, name, place) in enumerate(jobs, start=1):
        label = "-".join(map(str, codes[name][place]))
        watches = {}
        for setting, (threads, batch, quantized) in SETTINGS.items():
            if (turn, name, setting, label) not in known:
                rng = np.random.default_rng(0)
                model = SPACES[name](codes[name][place], rng=rng, batch=batch, quantized=quantized)
                watches[setting] = Stopwatch(model, threads, (batch, 3, 32, 32))
        burst_each(watches, bursts)
        with (folder / "raw.csv").open("a", newline="") as file:
            for setting, watch in watches.items():
                csv.writer(file).writerow([turn, name, setting, label, f"{watch.latency_ms:.5f}"])
        passed = time.monotonic() - start
        if done % 20 == 0 or done == len(jobs):
            print(f"{done} of {len(jobs)}, {passed:.0f} s", flush=True)
        if seconds and passed > seconds:
            break


def tables(folder):
    """A CSV file for each space and setting, with the least of all rounds; their paths."""
    found = {}
    for (_, name, setting, label), latency_ms in recorded(folder / "raw.csv").items():
        mine = found.setdefault((name, setting), {})
        mine[label] = min(latency_ms, mine.get(label, np.inf))
    paths = {}
    for (name, setting), rows in found.items():
        paths[name, setting] = folder / f"{name}_{setting}.csv"
        lines = [f"{label},{latency_ms:.5f}\n" for label, latency_ms in rows.items()]
        paths[name, setting].write_text("network,latency_ms\n" + "".join(lines))
    return paths


def repeats(folder):
    """By how much the rounds of one network differ: the median and the 95th percentile, relative."""
    both = {}
    for (_, *what), latency_ms in recorded(folder / "raw.csv").items():
        both.setdefault(tuple(what), []).append(latency_ms)
    ratios = [max(each) / min(each) - 1 for each in both.values() if len(each) > 1]
    if ratios:
        print(f"rounds differ by {np.median(ratios):.1%} (median), {np.quantile(ratios, 0.95):.1%} (95 %)")


def predict(folder, trials):
    """What twenty samples say of the others."""
    repeats(folder)
    header = ("space", "setting", "networks", "median ms", "spearman", "median err", "in 80 %", "in 90 %")
    print(" ".join(f"{x:>12}" for x in (*header, "budget met")))
    held = []
    for name in SPACES:
        encoder = None
        for (space_name, setting), path in tables(folder).items():
            if space_name != name:
                continue
            table = read_table(path)
            space = open_space(name, table.labels)
            encoder = encoder or Encoder.of(space, Fleet())
            known = check(table, space)
            measured = space.take(known.rows)
            believed = prior(measured)
            scores = [trial(encoder, measured, believed, known.latency_ms, seed) for seed in range(trials)]
            held += [score[-1] for score in scores]
            typical = float(np.median(known.latency_ms))
            numbers = " ".join(f"{x:12.3f}" for x in (typical, *np.nanmean(scores, axis=0)))
            print(f"{name:>12} {setting:>12} {len(known):12d} {numbers}", flush=True)
    tried = np.isfinite(held)
    print(f"budget met in {np.mean(np.array(held)[tried]):.1%} of {tried.sum()} searches that found any")


def trial(encoder, measured, believed, latency_ms, seed):
    """One choice of samples among a random part of the networks."""
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(measured))[: max(30, int(0.8 * len(measured)))])
    chosen = select(believed, 20, candidates=some, rng=rng)
    device = Device("host", encoder, measured.take(chosen), latency_ms[chosen], believed.usual(chosen))
    rest = np.setdiff1d(np.arange(len(measured)), chosen)
    truth, others = latency_ms[rest], measured.take(rest)
    inside = []
    for share in (0.8, 0.9):
        found = device.predict(others, share=share)
        inside.append(((found.low_ms <= truth) & (truth <= found.high_ms)).mean())
    budget = float(np.quantile(truth, rng.uniform(0.1, 0.9)))
    best = search(device, others, others.features["operations"], budget_ms=budget, count=1)
    met = np.nan if not best else float(truth[others.places[best[0].network]] <= budget)
    mean = found.mean_ms
    return spearmanr(mean, truth).statistic, np.median(np.abs(mean / truth - 1)), *inside, met


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("measure", "predict"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=50)
    given = parser.parse_args()
    if given.what == "measure":
        measure(given.folder, given.networks, given.rounds, given.seconds)
    else:
        predict(given.folder, given.trials)


if __name__ == "__main__":
    main()

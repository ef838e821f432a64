"""The whole run, on a model that needs no training time."""

import errno
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import images, task

from chipfit.cost.mapping.analytical import Analytical
from chipfit.errors import BudgetError, RecordError, TargetError, TaskError
from chipfit.hardware.load import load_target
from chipfit.report.record import Records
from chipfit.search.budget import parse_budget
from chipfit.search.config import FitConfig, Silent
from chipfit.search.retrain import CALIBRATION
from chipfit.search.run import Run, fit
from chipfit.train.task import TensorLoader, inputs_of
from chipfit.workload.from_onnx import load_onnx

TESTS = Path(__file__).resolve().parents[1]


def config(out: Path, **changes: object) -> FitConfig:
    plain = FitConfig(
        task="small_models:task", target="eyeriss", budget=("energy=60%",), out=out, max_drop=1.0
    )
    return replace(plain, **changes)  # pyright: ignore


@pytest.mark.parametrize("probed", [False, True])
def test_choices_are_measured_on_inputs_of_the_probe_if_there_is_one(tmp_path: Path, probed: bool) -> None:
    given = task()
    probe = TensorLoader(images() + 1.0, torch.zeros(len(images())), batch=8)
    given = replace(given, probe=probe) if probed else given
    plain, records = config(tmp_path), Records(tmp_path / "records.jsonl")
    run = Run(plain, parse_budget(plain.budget), load_target(plain.target), given, records, Silent())
    assert torch.equal(run.inputs, inputs_of(probe if probed else given.train, CALIBRATION))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished run."""
    folder = tmp_path_factory.mktemp("run")
    fit(config(folder))
    return folder


def test_the_budget_is_met_by_the_file_that_is_written(out: Path) -> None:
    estimator, target = Analytical(), load_target("eyeriss")
    energy = {
        name: estimator.estimate(load_onnx(out / name), target).total.energy_j
        for name in ("original.onnx", "model.onnx")
    }
    final = Records(out / "records.jsonl").last("final")
    assert final is not None
    assert final["ratios"]["energy"] == pytest.approx(
        energy["model.onnx"] / energy["original.onnx"], rel=1e-9
    )
    assert final["ratios"]["energy"] <= 0.6
    assert final["budget_met"]


def test_onnx_runtime_agrees_on_every_test_image(out: Path) -> None:
    final = Records(out / "records.jsonl").last("final")
    assert final is not None
    assert (final["agreement"], final["test_images"]) == (1.0, 12)


def test_every_choice_is_in_the_records(out: Path) -> None:
    records = Records(out / "records.jsonl").read()
    kinds = [r["kind"] for r in records]
    assert kinds[0] == "run"
    assert kinds[-1] == "final"
    assert {"original", "sensitivity", "asked", "candidate", "epoch"} <= set(kinds)
    chosen = [r for r in records if r["kind"] == "candidate" and r["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["recipe"] == records[-1]["recipe"]


def test_the_page_is_there(out: Path) -> None:
    assert (out / "report.html").stat().st_size > 100_000


def test_a_finished_run_is_not_overwritten(out: Path) -> None:
    with pytest.raises(RecordError) as error:
        fit(config(out))
    assert str(error.value) == f"{out} holds a run already: --resume goes on with it, or choose another --out"


def test_a_finished_run_resumes_to_its_result(out: Path) -> None:
    before = (out / "records.jsonl").read_bytes()
    assert fit(config(out, resume=True)).budget_met
    assert (out / "records.jsonl").read_bytes() == before


def test_another_run_cannot_go_on_in_the_same_folder(out: Path) -> None:
    with pytest.raises(RecordError, match=r"holds another run, with seed 0 \(now 1\): choose another --out"):
        fit(config(out, resume=True, seed=1))


def test_a_budget_that_cannot_be_met_says_by_how_much(tmp_path: Path) -> None:
    result = fit(config(tmp_path, budget=("energy=5%",), epochs=1))
    assert not result.budget_met
    assert result.shortfall["energy"] == pytest.approx(result.energy_ratio / 0.05)
    assert result.model.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"task": "digts"}, TaskError),
        ({"target": "eyeris"}, TargetError),
        ({"budget": ("energy=0%",)}, BudgetError),
    ],
)
def test_mistakes_leave_no_folder_behind(
    tmp_path: Path, changes: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        fit(config(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"cannot write to .*: Not a directory"):
        fit(config(tmp_path / "file" / "out"))


def test_a_full_disk_is_named_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RecordError) as error:
            fit(config(tmp_path))
    path = tmp_path / "records.jsonl"
    assert str(error.value) == f"cannot write records to {path}: No space left on device"
    assert Records(path).read()[0]["kind"] == "run"


def test_ctrl_c_leaves_records_that_a_resumed_run_goes_on_from(tmp_path: Path) -> None:
    class Impatient(Silent):
        def start(self, stage: str, total: int) -> None:
            if stage == "Trying candidates":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config(tmp_path), Impatient())
    before = Records(tmp_path / "records.jsonl").read()
    assert before[-1]["kind"] == "asked"
    assert fit(config(tmp_path, resume=True)).budget_met
    assert Records(tmp_path / "records.jsonl").read()[: len(before)] == before


def test_a_run_killed_ten_times_ends_as_an_unbroken_one(out: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from chipfit.search.config import FitConfig; from chipfit.search.run import fit\n"
        "fit(FitConfig(task='small_models:task', target='eyeriss', budget=('energy=60%',), max_drop=1.0,\n"
        "    out=Path(sys.argv[1]), resume=True))"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    moments = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(timeout=moments.uniform(2.0, 9.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    resumed = fit(config(tmp_path, resume=True))
    finals = [
        json.loads((folder / "records.jsonl").read_text().splitlines()[-1]) for folder in (out, tmp_path)
    ]
    same = ("ratios", "accuracy_after", "recipe", "budget_met")
    assert [finals[0][key] for key in same] == [finals[1][key] for key in same]
    assert resumed.budget_met
    assert (out / "model.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

import chipfit
from chipfit import cli
from chipfit.cli.screen import LateBars, ProgressBars
from chipfit.cost.mapping.analytical import Analytical
from chipfit.errors import BudgetError
from chipfit.hardware.load import load_target
from chipfit.search.config import FitConfig, FitResult
from chipfit.workload.library import load


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], prog_name="chipfit")


def document(*arguments):
    """The JSON document of a command that succeeds; nothing else may be on standard output."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def mistake(*arguments):
    """The one message of a command that the user got wrong."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("chipfit: ")
    return result.stderr.removeprefix("chipfit: ").rstrip("\n")


def usage(*arguments):
    """What a command says that cannot be parsed, on one line."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.stderr.replace("│", " ").split())


class TestCost:
    def test_the_document_has_totals_and_a_row_for_every_layer(self):
        found = document("cost", "lenet5", "--target", "eyeriss")
        assert (found["network"], found["target"]) == ("lenet5", "eyeriss")
        # 28*28*6*25 + 10*10*16*150 + 400*120 + 120*84 + 84*10
        assert found["totals"]["macs"] == 416_520
        assert sum(row["macs"] for row in found["layers"]) == 416_520
        assert sum(row["energy_j"] for row in found["layers"]) == pytest.approx(found["totals"]["energy_j"])

    def test_bits_are_those_of_weights_and_activations(self):
        found = document("cost", "lenet5", "--target", "eyeriss", "--bits", "4,8")
        assert {(row["weight_bits"], row["input_bits"]) for row in found["layers"] if row["macs"]} == {(4, 8)}
        assert found["warnings"] == []

    def test_the_roofline_is_a_lower_bound(self):
        bound, mapped = (
            document("cost", "lenet5", "--target", "eyeriss", "--estimator", name)["totals"]["energy_j"]
            for name in ("roofline", "analytical")
        )
        assert 0 < bound < mapped

    def test_the_text_has_layers_totals_method_error_and_notes(self):
        result = run("cost", "lenet5", "--target", "eyeriss")
        assert result.exit_code == 0
        for part in (
            "conv1",
            "Conv",
            "utilisation",
            "lenet5 on eyeriss",
            "417 k",
            "method",
            "known error",
            "note: ",
        ):
            assert part in result.stdout
        assert result.stderr == ""

    def test_shapes_reach_the_importer(self, monkeypatch):
        seen = {}

        def resolve(text, shapes):
            seen.update(text=text, shapes=dict(shapes))
            raise chipfit.errors.NetworkError("enough")

        monkeypatch.setattr("chipfit.workload.library.resolve", resolve)
        mistake("cost", "a.onnx", "-t", "eyeriss", "--shape", "x=1, 3,224,224", "--shape", "mask=1,77")
        assert seen == {"text": "a.onnx", "shapes": {"x": (1, 3, 224, 224), "mask": (1, 77)}}

    def test_mistakes(self, tmp_path):
        assert mistake("cost", "resnet2", "-t", "eyeriss") == (
            "'resnet2' is neither an ONNX file nor a reference network, did you mean 'resnet20'?"
        )
        assert "did you mean 'eyeriss'?" in mistake("cost", "lenet5", "-t", "eyerss")
        assert mistake("cost", "lenet5", "-t", "eyeriss", "--objective", "energi") == (
            "unknown objective 'energi', did you mean 'energy'?"
        )
        assert mistake("cost", "lenet5", "-t", "eyeriss", "--estimator", "rooflin") == (
            "unknown estimator 'rooflin', did you mean 'roofline'?"
        )
        assert str(tmp_path / "none.onnx") in mistake("cost", tmp_path / "none.onnx", "-t", "eyeriss")

    def test_a_layer_may_be_held_to_its_least_latency(self):
        asked = ("cost", "lenet5", "-t", "eye3", "--bits", "16,16")
        fast, cheap = document(*asked, "--objective", "latency"), document(*asked, "--objective", "energy")
        between = document(*asked, "--objective", "energy", "--slower", "1.2")
        assert between["totals"]["latency_s"] <= 1.2 * fast["totals"]["latency_s"]
        energies = [report["totals"]["energy_j"] for report in (cheap, between, fast)]
        assert energies == sorted(energies)
        assert "exact mapper for energy within 1.2 times the least latency" in between["method"]

    def test_rules_of_another_tool_count_less(self):
        # Timeloop charges no read of a sum that leaves its memory, and all else here is counted alike.
        asked = ("cost", "lenet5", "-t", "eye3", "--bits", "16,16", "--objective", "energy")
        theirs, ours = document(*asked, "--rules", "timeloop"), document(*asked, "--rules", "accelforge")
        assert theirs["totals"]["energy_j"] < ours["totals"]["energy_j"]
        assert theirs["method"].endswith("counted as timeloop")

    def test_a_smaller_map_space_holds_nothing_better(self):
        asked = ("cost", "lenet5", "-t", "eyeriss", "--bits", "8,8", "--objective", "latency", "--space")
        even, ragged = document(*asked, "even"), document(*asked, "ragged")
        assert ragged["totals"]["latency_s"] <= even["totals"]["latency_s"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--space", "evn"), "unknown map space 'evn', did you mean 'even'?"),
            (("--rules", "timelop"), "unknown rules 'timelop', did you mean 'timeloop'?"),
            (("--slower", "0.5"), "slower is 0.5: a layer takes at least 1 times its least latency"),
            (
                ("--estimator", "roofline", "--slower", "2"),
                "--space, --rules and --slower mean nothing to the estimator 'roofline'",
            ),
            (
                ("--rules", "timeloop", "--page", "a.html"),
                "--page shows what chipfit counts: leave out --rules",
            ),
        ],
    )
    def test_searches_that_cannot_be(self, arguments, message):
        assert mistake("cost", "lenet5", "-t", "eye3", *arguments) == message

    @pytest.mark.parametrize("text", ["8", "8,", "a,b", "4,8,8", "-4,8", ""])
    def test_bits_that_are_not_two_widths_are_a_usage_error(self, text):
        message = usage("cost", "lenet5", "-t", "eyeriss", f"--bits={text}")
        assert f"'{text}' is not two widths: expected W,A, such as 4,8" in message

    @pytest.mark.parametrize("text", ["x", "x=", "=1,3", "x=1,,3", "x=1x3", "x=1,-3"])
    def test_a_shape_that_cannot_be_read_is_a_usage_error(self, text):
        message = usage("cost", "lenet5", "-t", "eyeriss", "--shape", text)
        assert f"'{text}' is not a shape: expected NAME=SIZE,SIZE,..., such as x=1,3,224,224" in message

    def test_a_missing_target_is_a_usage_error(self):
        assert "Missing option '--target'" in usage("cost", "lenet5")

    def test_a_page_is_written_and_its_place_is_said(self, tmp_path):
        page, arguments = tmp_path / "cost.html", ("cost", "lenet5", "-t", "eyeriss", "--bits", "8,8")
        assert document(*arguments, "--page", page)["page"] == str(page)
        text = page.read_text()
        assert "lenet5 <span>on</span> eyeriss" in text
        assert "parallel K in 0.." in text
        assert str(page) in run(*arguments, "--page", page).stdout.replace("\n", "")

    @pytest.mark.parametrize("estimator", ["roofline", "systolic-ws"])
    def test_a_page_of_an_estimator_without_loop_nests_is_written_too(self, estimator, tmp_path):
        document("cost", "lenet5", "-t", "eyeriss", "--estimator", estimator, "--page", tmp_path / "a.html")
        assert "Where the energy goes" in (tmp_path / "a.html").read_text()

    def test_a_page_that_cannot_be_written_is_refused_before_the_work(self, tmp_path):
        assert mistake("cost", "lenet5", "-t", "eyeriss", "--page", tmp_path) == (
            f"cannot write {tmp_path}: Is a directory"
        )


SWEEP = ("cost", "lenet5", "-t", "edge_npu", "--estimator", "roofline", "--backend", "sequential")


class TestSweep:
    def test_the_document_has_a_row_for_every_variant(self):
        found = document(*SWEEP, "--sweep", "glb_kib=64..256", "--sweep", "columns=8,16")
        assert [tuple(v["parameters"].values()) for v in found["variants"]] == [
            (kib, columns) for kib in (64, 128, 256) for columns in (8, 16)
        ]
        assert (found["network"], found["target"]) == ("lenet5", "edge_npu")
        assert set(found["variants"][0]) >= {
            *("parameters", "energy_j", "latency_s", "edp_js", "dram_bits", "pareto", "error"),
        }
        # 256 KiB and 16 columns are the target as it is.
        baseline, variant = found["baseline"], found["variants"][-1]
        assert {**baseline, "parameters": 0, "pareto": 0} == {**variant, "parameters": 0, "pareto": 0}

    def test_the_text_has_the_table_the_best_and_why_a_variant_cannot_run(self):
        result = run(*SWEEP, "--sweep", "glb_kib=256,4096", "--sweep", "clock=250MHz,500MHz", "--jobs", "1")
        assert result.exit_code == 0
        for part in (
            "glb_kib",
            "clock (MHz)",
            "not beaten",
            "lenet5 on variants of edge_npu",
            "1 of 4 variants is not beaten in energy and latency; 2 cannot run the network",
            "glb_kib 4096, clock 250 MHz (and 1 more): edge_npu.yaml: levels[1].energy: table 'cacti45'",
            "least EDP",
            "the target as it is",
            "note: energies stay as they are at every clock",
        ):
            assert part in result.stdout
        assert result.stderr == "Pricing variants (4 steps)\n"

    def test_the_front_is_of_the_quantities_that_are_named(self):
        found = document(*SWEEP, "--sweep", "glb_kib=64,128", "--front", "energy, capacity")
        assert found["front"] == ["energy", "capacity"]
        # The roofline charges no memory on the chip: the smaller is enough.
        assert [v["pareto"] for v in found["variants"]] == [True, False]

    def test_the_page_is_written_and_its_place_is_said(self, tmp_path):
        page = tmp_path / "sweep.html"
        assert document(*SWEEP, "--sweep", "columns=8", "--page", page)["page"] == str(page)
        assert "lenet5 <span>on variants of</span> edge_npu" in page.read_text()
        assert str(page) in run(*SWEEP, "--sweep", "columns=8", "--page", page).stdout.replace("\n", "")

    def test_mistakes(self, tmp_path):
        assert mistake(*SWEEP, "--sweep", "column=8").startswith(
            "target 'edge_npu' has no number 'column', did you mean 'columns'?"
        )
        assert mistake(*SWEEP, "--sweep", "columns=-8") == "'columns=-8': columns must be above 0, got -8"
        assert mistake(*SWEEP, "--sweep", "columns=8", "--front", "energy") == (
            "'energy' is not a front: name two or more different quantities"
        )
        assert mistake(*SWEEP[:-1], "lokky", "--sweep", "columns=8") == (
            "unknown backend 'lokky', did you mean 'loky'?"
        )
        assert mistake(*SWEEP, "--sweep", "columns=8", "--page", tmp_path) == (
            f"cannot write {tmp_path}: Is a directory"
        )

    def test_options_of_a_sweep_mean_nothing_without_one(self):
        for option, value in (
            ("--jobs", "2"),
            ("--front", "energy,dram"),
            ("--backend", "loky"),
        ):
            message = usage("cost", "lenet5", "-t", "eyeriss", option, value)
            assert f"{option} means nothing without --sweep" in message


class TestTargets:
    def test_all_are_listed(self):
        assert [t["name"] for t in document("targets")["targets"]] == chipfit.target_names()
        text = run("targets").stdout
        assert all(name in text for name in chipfit.target_names())

    def test_one_is_shown_with_the_source_of_each_number(self):
        result = run("targets", "eyeriss")
        assert result.exit_code == 0
        for number in chipfit.load_target("eyeriss").numbers():
            assert number.key in result.stdout
            assert number.source.split()[0] in result.stdout

    def test_what_a_level_may_do_is_shown_where_it_is_not_anything(self):
        lines = run("targets", "eye3").stdout.splitlines()
        said = [" ".join(line.split()) for line in lines if line.startswith("level ")]
        assert said == [
            "level dram holds input, weight, output",
            "level global_buffer holds input, weight, output; input, weight, output may pass by",
            "level register_file holds input, weight, output",
        ]
        example = Path(__file__).parents[1] / "examples/dataflows/weight_stationary.yaml"
        text = " ".join(run("targets", example).stdout.split())
        assert "level buffer holds input, weight, output; stationary weight level weights" in text
        assert "level weights holds weight; loops over G, K, C, R, S array" in text

    @pytest.mark.parametrize(
        ("supply", "said"),
        [
            ("", "MACs priced by a.json, b.json, the best for each network number"),
            ("mac_supply: {}", "b.json, the best for each network; supply as low as weight values allow"),
            ("mac_supply: {fixed: 900 mV}", "b.json, the best for each network; supply 0.9 V"),
        ],
    )
    def test_tables_of_weight_values_are_named(self, tmp_path, monkeypatch, supply, said):
        monkeypatch.chdir(tmp_path)
        preset = resources.files("chipfit.hardware").joinpath("library", "eyeriss.yaml").read_text("utf-8")
        Path("chip.yaml").write_text(f"{preset}\nmac_table: [a.json, b.json]\n{supply}\n")
        assert said in " ".join(run("targets", "chip.yaml").stdout.split())

    def test_the_document_of_one_reads_back_equal(self):
        target = chipfit.Target.from_json(document("targets", "eyeriss"))
        assert target == chipfit.load_target("eyeriss")

    def test_an_unknown_name_is_a_mistake(self):
        assert mistake("targets", "eyeris").startswith("unknown target 'eyeris', did you mean 'eyeriss'?")


def result_of(out, *, met=True):
    return FitResult(
        task="digits",
        target="eyeriss",
        budget_met=met,
        shortfall={} if met else {"energy": 1.08},
        energy_ratio=0.48 if met else 0.54,
        latency_ratio=0.6,
        dram_ratio=0.5,
        memory_ratio=0.4,
        accuracy_before=0.987,
        accuracy_after=0.981,
        model=out / "model.onnx",
        page=out / "report.html",
        seconds=61.0,
    )


class TestLateBars:
    def test_what_is_quick_shows_nothing(self, capsys):
        with LateBars("Searching") as bars:
            for done in range(1, 4):
                bars(done, 3)
        assert capsys.readouterr() == ("", "")

    def test_what_takes_longer_is_told(self, capsys):
        with LateBars("Searching", patience_s=0.0) as bars:
            for done in (1, 3, 2, 4):  # threads may come late
                bars(done, 4)
        assert capsys.readouterr().err == "Searching (4 steps)\n"

    def test_an_estimate_says_how_many_searches_are_done(self):
        seen = []
        estimator = Analytical(progress=lambda done, total: seen.append((done, total)))
        estimator.estimate(load("lenet5"), load_target("eye3"))
        assert sorted(seen) == [(done, 5) for done in range(1, 6)]
        assert estimator == Analytical()


@pytest.fixture
def fitted(monkeypatch):
    """The configurations that `fit` was called with; each run meets its budget unless told otherwise."""
    asked = []

    def fit(config, progress):
        asked.append(config)
        progress.start("Trying candidates", 2)
        progress.advance(2)
        progress.done()
        return result_of(config.out, met="energy=50%" in config.budget)

    monkeypatch.setattr("chipfit.search.run.fit", fit)
    return asked


class TestFit:
    def test_options_become_the_configuration(self, fitted, tmp_path):
        run(
            *("fit", "digits", "-t", "eyeriss", "-b", "energy=50%", "--budget", "latency=2ms", "--resume"),
            *("--max-drop", "0.02", "--out", tmp_path, "--seed", "3", "--data", tmp_path, "--workers", "1"),
            *("--epochs", "9", "--screening-epochs", "2"),
        )
        assert fitted == [
            FitConfig(
                task="digits",
                target="eyeriss",
                budget=("energy=50%", "latency=2ms"),
                max_drop=0.02,
                out=tmp_path,
                resume=True,
                seed=3,
                data=tmp_path,
                workers=1,
                epochs=9,
                screening_epochs=2,
            )
        ]

    def test_defaults_are_those_of_the_configuration(self, fitted):
        run("fit", "digits", "-t", "eyeriss", "-b", "energy=50%")
        assert fitted == [FitConfig(task="digits", target="eyeriss", budget=("energy=50%",), out=Path("out"))]

    def test_the_document_has_the_contract_and_progress_goes_elsewhere(self, fitted, tmp_path):
        result = run("fit", "digits", "-t", "eyeriss", "-b", "energy=50%", "--out", tmp_path, "--json")
        assert result.exit_code == 0
        assert set(json.loads(result.stdout)) >= {
            *("task", "target", "budget_met", "energy_ratio", "latency_ratio"),
            *("accuracy_before", "accuracy_after", "model", "page", "seconds"),
        }
        assert "Trying candidates (2 steps)" in result.stderr

    def test_the_text_says_what_was_won_and_where_the_page_is(self, fitted, tmp_path):
        result = run("fit", "digits", "-t", "eyeriss", "-b", "energy=50%", "--out", tmp_path)
        for part in ("Budget met.", "48.0 % of the 8-bit original", "98.1 %, before 98.7 %", "report.html"):
            assert part in result.stdout

    def test_a_budget_that_cannot_be_met_is_status_3_and_says_by_how_much(self, fitted, tmp_path):
        result = run("fit", "digits", "-t", "eyeriss", "-b", "energy=1%", "--out", tmp_path)
        assert result.exit_code == 3
        assert result.stdout.startswith(
            "The budget cannot be met; this is the best that was found: energy at 108.0 % of its limit."
        )

    def test_a_missed_budget_still_prints_its_document(self, fitted, tmp_path):
        result = run("fit", "digits", "-t", "eyeriss", "-b", "energy=1%", "--out", tmp_path, "--json")
        assert (result.exit_code, json.loads(result.stdout)["budget_met"]) == (3, False)

    def test_a_mistake_in_the_budget_is_one_message(self, tmp_path):
        message = mistake("fit", "digits", "-t", "eyeriss", "-b", "enery=50%", "--out", tmp_path)
        assert message == "'enery=50%': unknown quantity 'enery', did you mean 'energy'?"

    def test_an_output_that_cannot_be_written_is_one_message(self, tmp_path):
        (tmp_path / "file").write_text("")
        message = mistake(
            "fit", "digits", "-t", "eyeriss", "-b", "energy=50%", "--out", tmp_path / "file" / "out"
        )
        assert message.endswith("Not a directory")

    def test_ctrl_c_is_status_130_and_says_how_to_go_on(self, monkeypatch, tmp_path):
        def stopped(config, progress):
            raise KeyboardInterrupt

        monkeypatch.setattr("chipfit.search.run.fit", stopped)
        result = run("fit", "digits", "-t", "eyeriss", "-b", "energy=50%", "--out", tmp_path)
        assert (result.exit_code, result.stdout) == (130, "")
        assert result.stderr == (
            f"stopped; what was done is in {tmp_path}: the same command with --resume goes on\n"
        )

    def test_a_package_that_is_missing_is_named_with_its_extra(self, monkeypatch, tmp_path):
        def missing(config, progress):
            raise ModuleNotFoundError("No module named 'torch_pruning'", name="torch_pruning")

        monkeypatch.setattr("chipfit.search.run.fit", missing)
        assert mistake("fit", "digits", "-t", "eyeriss", "-b", "energy=50%", "--out", tmp_path) == (
            "this command needs 'torch_pruning', which is not installed: pip install 'chipfit[fit]'"
        )

    def test_workers_below_one_are_a_usage_error(self):
        assert "greater than or equal to 1" in usage(
            "fit", "digits", "-t", "e", "-b", "energy=1%", "--workers", "0"
        )


class TestProgressBars:
    def test_on_a_terminal_there_are_bars_with_time_left(self, monkeypatch, capsys):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "120")
        with ProgressBars() as progress:
            progress.start("Trying candidates", 4)
            progress.advance(3, "a [note]")
            progress.done()
        out, err = capsys.readouterr()
        assert out == ""
        for part in ("Trying candidates", "4/4", "left"):
            assert part in err

    def test_elsewhere_there_is_one_line_a_stage(self, capsys):
        with ProgressBars() as progress:
            for stage in ("one", "two"):
                progress.start(stage, 2)
                progress.advance(2)
                progress.done()
        assert capsys.readouterr() == ("", "one (2 steps)\ntwo (2 steps)\n")


class TestMeasure:
    def test_options_reach_the_stopwatch(self, monkeypatch):
        seen = {}

        def measure(path, **options):
            seen.update(path=path, **options)
            raise BudgetError("enough")

        monkeypatch.setattr("chipfit.cost.measure.measure", measure)
        mistake("measure", "a.onnx", "--threads", "2", "--repeats", "7", "--warmup", "1", "--shape", "x=1,2")
        del seen["rng"]
        assert seen == {
            "path": Path("a.onnx"),
            "threads": 2,
            "repeats": 7,
            "warmup": 1,
            "shapes": {"x": (1, 2)},
        }

    def test_a_model_is_timed(self, tmp_path):
        from onnx import TensorProto, checker, helper, save

        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
        graph = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"], name="relu")], "g", values[:1], values[1:]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        save(model, tmp_path / "relu.onnx")
        found = document("measure", tmp_path / "relu.onnx", "--repeats", "3")
        assert found["latency_s"] > 0
        assert found["repeats"] == 3
        text = run("measure", tmp_path / "relu.onnx", "--repeats", "3").stdout
        assert "median of 3 runs" in text
        assert "ONNX Runtime" in text

    def test_a_missing_file_is_a_mistake(self, tmp_path):
        assert str(tmp_path / "none.onnx") in mistake("measure", tmp_path / "none.onnx")


class TestReport:
    RECORD = '{"kind": "run", "task": "digits", "target": "eyeriss"}\n'

    def test_the_page_is_built_and_its_place_is_said(self, tmp_path):
        (tmp_path / "records.jsonl").write_text(self.RECORD)
        assert run("report", tmp_path).stdout == f"{tmp_path}/report.html\n"
        assert document("report", tmp_path) == {"page": f"{tmp_path}/report.html"}
        assert (tmp_path / "report.html").exists()

    def test_a_picture_of_a_run_that_is_not_finished_is_a_mistake(self, tmp_path):
        (tmp_path / "records.jsonl").write_text(self.RECORD)
        assert mistake("report", tmp_path, "--picture", tmp_path / "result.svg") == (
            "the run is not finished: there is no result to draw yet"
        )

    def test_a_folder_without_records_is_a_mistake(self, tmp_path):
        assert mistake("report", tmp_path) == (
            f"no records.jsonl in {tmp_path}: expected the output directory of chipfit fit"
        )

    def test_a_page_that_cannot_be_written_is_a_mistake(self, tmp_path):
        (tmp_path / "records.jsonl").write_text(self.RECORD)
        (tmp_path / "report.html").mkdir()
        assert mistake("report", tmp_path) == f"cannot write {tmp_path}/report.html: Is a directory"


class TestTheWhole:
    def test_the_version(self):
        assert run("--version").stdout == f"chipfit {chipfit.__version__}\n"

    def test_an_unknown_command_is_a_usage_error(self):
        assert "No such command 'cots'" in usage("cots")

    def test_other_errors_of_the_system_are_one_message(self, monkeypatch):
        def full(name):
            raise OSError(28, "No space left on device", "/disk/file")

        monkeypatch.setattr("chipfit.hardware.load.load_target", full)
        assert mistake("targets", "eyeriss") == "No space left on device: /disk/file"

    def test_our_own_mistakes_are_not_hidden(self, monkeypatch):
        def broken(name):
            raise ZeroDivisionError

        monkeypatch.setattr("chipfit.hardware.load.load_target", broken)
        assert isinstance(run("targets", "eyeriss").exception, ZeroDivisionError)

    def test_help_loads_nothing_heavy(self):
        program = (
            "import sys; sys.argv = ['chipfit', '--help']\n"
            "from chipfit.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert end.code == 0\n"
            "heavy = {'torch', 'numba', 'onnx', 'onnxruntime', 'numpy', 'plotly'} & set(sys.modules)\n"
            "sys.exit(f'loaded {heavy}' if heavy else 0)"
        )
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

    def test_cost_does_not_load_torch(self):
        program = (
            "import sys; sys.argv = ['chipfit', 'cost', 'lenet5', '--target', 'eyeriss', '--json']\n"
            "from chipfit.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert end.code == 0\n"
            "sys.exit('loaded torch' if 'torch' in sys.modules else 0)"
        )
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

    def test_ctrl_c_stops_any_command_with_status_130(self, tmp_path):
        pipe = tmp_path / "pipe.yaml"
        os.mkfifo(pipe)  # reading it blocks until someone writes
        command = [sys.executable, "-m", "chipfit.cli", "targets", str(pipe)]
        # Where the tests run in the background, the shell has them ignore the signal, and children too.
        heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
        )
        with pipe.open("w"):  # opens once the command reads: it is inside the command now
            time.sleep(0.5)
            for _ in range(12):  # a signal between two system calls waits for the end of the second
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
                    break
            else:
                process.kill()
            out, err = process.communicate()
        assert (process.returncode, out, err) == (130, "", "stopped\n")

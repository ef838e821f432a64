"""The command line: parses, calls one function, prints.

Exit status: 0 done · 1 a mistake that the user can mend · 2 usage · 3 the budget cannot be met ·
130 stopped by Ctrl-C. Results go to standard output, everything else to standard error. Heavy
modules are imported by the command that needs them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from chipfit.errors import ChipfitError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from chipfit.cost.base import AbstractEstimator, CostReport
    from chipfit.cost.measure import Measurement
    from chipfit.hardware.target import MemoryLevel, Target
    from chipfit.search.run import FitResult
    from chipfit.workload.network import Network

MISTAKE, BUDGET_MISSED, STOPPED = 1, 3, 130

_PIPE_WIDTH = 140  # columns of a table where the output is not a terminal


class _Commands(TyperGroup):
    """Turns what went wrong in a command into one message and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except ChipfitError as error:
            _fail(f"{error}")
        except BrokenPipeError:
            raise  # the reader of our output has gone: typer ends quietly
        except OSError as error:
            _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        except ModuleNotFoundError as error:
            if not error.name or error.name.startswith("chipfit"):
                raise
            _fail(f"this command needs '{error.name}', which is not installed: pip install 'chipfit[fit]'")
        except KeyboardInterrupt:
            _say("stopped")
            raise typer.Exit(STOPPED) from None


app = typer.Typer(
    cls=_Commands,
    help="What a neural network costs on a chip, and a network that costs less there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    app(prog_name="chipfit")


def _version(wanted: bool) -> None:
    if wanted:
        from chipfit import __version__

        typer.echo(f"chipfit {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What a neural network costs on a chip, and a network that costs less there."""


def _bits(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if match is None:
        raise typer.BadParameter(f"'{text}' is not two widths: expected W,A, such as 4,8")
    return int(match[1]), int(match[2])


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"(.+)=\s*(\d+(?:\s*,\s*\d+)*)\s*", text)
    if match is None:
        raise typer.BadParameter(
            f"'{text}' is not a shape: expected NAME=SIZE,SIZE,..., such as x=1,3,224,224"
        )
    return match[1].strip(), tuple(int(size) for size in match[2].split(","))


_Network = Annotated[str, typer.Argument(help="An ONNX file, or the name of a reference network.")]
_TargetOption = Annotated[
    str, typer.Option("--target", "-t", help="A YAML file, or a name that 'chipfit targets' lists.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
_Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=N,C,H,W", help="Shape of an input that the file leaves open."),
]


@app.command()
def cost(
    network: _Network,
    target: _TargetOption,
    bits: Annotated[
        str | None, typer.Option(metavar="W,A", help="Bits of all weights and of all activations.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="What mappings are chosen for: energy, latency, edp or dram.")
    ] = "edp",
    estimator: Annotated[
        str,
        typer.Option(
            help="analytical (loop nests and a mapper), roofline (a lower bound), or systolic-ws, -is or -os "
            "(one fixed dataflow, as SCALE-Sim; no mapper, so no objective)."
        ),
    ] = "analytical",
    shape: _Shapes = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Price variants of the target. VALUES: LOW..HIGH doubles from LOW to HIGH, both included; "
            "LOW..HIGH:STEP; or A,B,C. NAME: rows, columns, glb_kib, clock_mhz, dram_bandwidth, <level>_kib, "
            "or a number that 'chipfit targets NAME' lists, with its unit. Repeated: all combinations.",
        ),
    ] = None,
    front: Annotated[
        str | None,
        typer.Option(
            metavar="QUANTITY,QUANTITY,...",
            help="With --sweep: mark variants that no other beats in all of these, of energy, latency, dram, "
            "capacity (memory on the chip) and multipliers (default: energy,latency).",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Also write a page: where energy and time go, and each layer's mapping as a loop nest; "
            "with --sweep, the plot of the variants."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="With --sweep: variants at once (default: one a core).")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="With --sweep: who works on it, a joblib backend, dask or ray (default: loky)."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Say what a network costs on a target, layer by layer, or on variants of it."""
    widths = _bits(bits) if bits is not None else None
    shapes = dict(map(_shape, shape or []))
    if not sweep:
        given = {"--front": front, "--jobs": jobs, "--backend": backend}
        alone = [option for option, value in given.items() if value is not None]
        if alone:
            raise typer.BadParameter(f"{alone[0]} means nothing without --sweep")
    method = _estimator(estimator, objective)

    from chipfit.hardware.load import load_target
    from chipfit.workload.library import resolve

    found = resolve(network, shapes)
    if widths is not None:
        found = found.with_bits(*widths)
    if sweep:
        document = _sweep(
            found, target, sweep, method, front or "energy,latency", page, jobs, backend or "loky"
        )
        _print_json(document) if as_json else _print_sweep(document)
        return
    _check_page(page)
    chip = load_target(target)
    report = method.estimate(found, chip)
    written = None if page is None else _write_page(report, found, chip, page)
    if as_json:
        _print_json({**report.to_json(), **({"page": written} if written else {})})
    else:
        _print_cost(report, written)


def _check_page(page: Path | None) -> None:
    """Refuse a page that cannot be written, before the work."""
    if page is not None:
        from chipfit.report import html  # it may not be installed

        html.check_place(page)


def _write_page(report: CostReport, network: Network, target: Target, page: Path) -> str:
    """Write the page of a cost and say where it is."""
    from chipfit.cost.mapping.explain import document
    from chipfit.report import html

    return str(html.write_cost(document(report, network, target), page))


def _sweep(
    network: Network,
    target: str,
    axes: Sequence[str],
    estimator: AbstractEstimator,
    front: str,
    page: Path | None,
    jobs: int | None,
    backend: str,
) -> dict[str, Any]:
    """The document of a sweep; its page is written if there is to be one."""
    from chipfit.cost.sweep import check_front, price, read_sweep, workers

    _check_page(page)
    quantities = tuple(name.strip() for name in front.split(","))
    check_front(quantities)
    found = read_sweep(target, axes)
    with workers(backend, jobs), ProgressBars() as progress:
        progress.start("Pricing variants", found.size)
        report = price(found, network, estimator, front=quantities, advance=progress.advance)
        progress.done()
    document = report.to_json()
    if page is not None:
        from chipfit.report import html

        document["page"] = str(html.write_variants(document, page))
    return document


def _estimator(name: str, objective: str) -> AbstractEstimator:
    from chipfit.errors import nearest

    if name == "analytical":
        from chipfit.cost.mapping.analytical import Analytical

        return Analytical(objective=objective)
    if name == "roofline":
        from chipfit.cost.roofline import Roofline

        return Roofline()
    systolic = {f"systolic-{dataflow}": dataflow for dataflow in ("ws", "is", "os")}
    if name in systolic:
        from chipfit.cost.mapping.systolic import Systolic

        return Systolic(dataflow=systolic[name])
    raise ChipfitError(f"unknown estimator '{name}'{nearest(name, ('analytical', 'roofline', *systolic))}")


@app.command()
def targets(
    name: Annotated[str | None, typer.Argument(help="Show this one, with the source of each number.")] = None,
    as_json: _Json = False,
) -> None:
    """List the targets, or show one with the source of each number."""
    from chipfit.hardware.load import load_target, target_names

    if name is not None:
        target = load_target(name)
        _print_json(target.to_json()) if as_json else _print_target(target)
        return
    found = [load_target(known) for known in target_names()]
    _print_json({"targets": [target.to_json() for target in found]}) if as_json else _print_targets(found)


@app.command()
def fit(
    task: Annotated[str, typer.Argument(help="digits, cifar10-resnet20, or your own module:function.")],
    target: _TargetOption,
    budget: Annotated[
        list[str],
        typer.Option(
            "--budget",
            "-b",
            metavar="QUANTITY=LIMIT",
            help="Most energy, latency, dram or memory: 50%, or 1.5mJ, 20ms, 64KiB. May be repeated.",
        ),
    ],
    max_drop: Annotated[float, typer.Option(help="Most accuracy that may be lost (0.01: one point).")] = 0.01,
    out: Annotated[Path, typer.Option(help="Folder for the model, the records and the page.")] = Path("out"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of the task's data.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that train (default: 2).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the last retraining.")] = None,
    screening_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each trial.")] = None,
    as_json: _Json = False,
) -> None:
    """Fit a trained network to a target inside a budget."""
    from chipfit.search.run import FitConfig
    from chipfit.search.run import fit as run

    config = FitConfig(
        task=task,
        target=target,
        budget=tuple(budget),
        max_drop=max_drop,
        out=out,
        resume=resume,
        seed=seed,
        data=data,
        workers=workers,
        epochs=epochs,
        screening_epochs=screening_epochs,
    )
    with ProgressBars() as progress:
        try:
            result = run(config, progress)
        except KeyboardInterrupt:
            _say(f"stopped; what was done is in {out}: the same command with --resume goes on")
            raise typer.Exit(STOPPED) from None
    _print_json(result.to_json()) if as_json else _print_fit(result)
    if not result.budget_met:
        raise typer.Exit(BUDGET_MISSED)


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    threads: Annotated[int, typer.Option(help="Threads within one operator.")] = 1,
    repeats: Annotated[int, typer.Option(help="Timed runs.")] = 50,
    warmup: Annotated[int, typer.Option(help="Runs before them.")] = 5,
    shape: _Shapes = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    as_json: _Json = False,
) -> None:
    """Time an ONNX file on this host, through ONNX Runtime."""
    shapes = dict(map(_shape, shape or []))

    import numpy as np

    from chipfit.cost.measure import measure as stopwatch

    rng = np.random.default_rng(seed)
    found = stopwatch(model, rng=rng, threads=threads, repeats=repeats, warmup=warmup, shapes=shapes)
    _print_json(found.to_json()) if as_json else _print_measurement(found)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="The output folder of chipfit fit.")],
    picture: Annotated[Path | None, typer.Option(help="Also draw the result as an SVG file.")] = None,
    as_json: _Json = False,
) -> None:
    """Build the page of a run again, from its records."""
    from chipfit.report.html import build
    from chipfit.report.picture import write

    made = {"page": build(directory), **({"picture": write(directory, picture)} if picture else {})}
    if as_json:
        _print_json({name: str(path) for name, path in made.items()})
    else:
        typer.echo("\n".join(map(str, made.values())))


class ProgressBars:
    """Bars with time left on a terminal; elsewhere one line a stage. All on standard error."""

    def __init__(self) -> None:
        self._stage: TaskID | None = None
        self._bars: Progress | None = None

    def __enter__(self) -> ProgressBars:
        from rich import progress as rich

        console = _console(stderr=True)
        if console.is_terminal:
            self._bars = rich.Progress(
                rich.SpinnerColumn(finished_text="[green]✓[/]"),
                rich.TextColumn("{task.description}", markup=False),
                rich.BarColumn(),
                rich.MofNCompleteColumn(),
                rich.TimeElapsedColumn(),
                rich.TextColumn("left"),
                rich.TimeRemainingColumn(),
                rich.TextColumn("{task.fields[note]}", style="dim", markup=False),
                console=console,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""
        if self._bars:
            self._stage = self._bars.add_task(stage, total=total, note="")
        else:
            _say(f"{stage} ({total} steps)")

    def advance(self, n: int = 1, note: str = "") -> None:
        """`n` steps are done."""
        if self._bars and self._stage is not None:
            self._bars.update(self._stage, advance=n, note=note)

    def done(self) -> None:
        """The stage is over."""
        if self._bars and self._stage is not None:
            total = self._bars.tasks[self._bars.task_ids.index(self._stage)].total
            self._bars.update(self._stage, completed=total, note="")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)
    return console


def _say(text: str) -> None:
    _console(stderr=True).print(text, markup=False, soft_wrap=True)


def _fail(message: str) -> None:
    from rich.text import Text

    label = Text.assemble(("chipfit: ", "bold red"), message)
    _console(stderr=True).print(label, soft_wrap=True)
    raise typer.Exit(MISTAKE)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def _print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    """A table whose first `left` columns are text, and the others numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        numeric = index >= left
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_pairs(console: Console, pairs: Sequence[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, text in pairs:
        grid.add_row(name, Text(text))
    console.print(grid)


def _print_warnings(console: Console, warnings: Sequence[str]) -> None:
    from rich.text import Text

    for warning in warnings:
        console.print(Text.assemble(("note: ", "yellow"), warning))


def _print_cost(report: CostReport, page: str | None = None) -> None:
    from chipfit.units import binary, percent, si

    console = _console()
    rows = [
        (
            layer.name,
            layer.operator,
            si(layer.macs) if layer.macs else "–",
            f"{layer.weight_bits}/{layer.input_bits}/{layer.accumulator_bits}" if layer.macs else "–",
            si(layer.cost.energy_j, "J"),
            si(layer.cost.latency_s, "s"),
            binary(layer.cost.dram_bits),
            percent(layer.utilization) if layer.macs else "–",
        )
        for layer in report.layers
    ]
    header = ("layer", "operator", "MACs", "bits w/in/sum", "energy", "latency", "DRAM", "utilisation")
    _print_table(console, header, rows, left=2)
    total = report.total
    parts = ", ".join(f"{name} {si(value, 'J')}" for name, value in report.energy_by_component_j.items())
    _print_pairs(
        console,
        [
            (f"{report.network} on {report.target}", ""),
            ("energy", f"{si(total.energy_j, 'J')} ({parts})"),
            ("latency", si(total.latency_s, "s")),
            ("DRAM traffic", binary(total.dram_bits)),
            ("memory", f"{binary(report.weight_memory_bits)} weights, "
             f"{binary(report.peak_activation_bits)} activations at most"),
            ("MACs", si(report.macs)),
            ("parameters", si(report.parameters)),
            ("utilisation", percent(report.utilization)),
            ("method", report.method),
            ("known error", report.error),
            *([("page", page)] if page else []),
        ],
    )  # fmt: skip
    _print_warnings(console, report.warnings)


def _print_sweep(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from chipfit.report import variants

    console = _console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in (*map(variants.heading, document["axes"]), *variants.AMOUNTS):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in variants.rows(document):
        remark = "not beaten" if row.pareto else "cannot run" if row.error else ""
        style = "bold" if row.pareto else "dim" if row.error else None
        table.add_row(*map(Text, (*row.parameters, *row.amounts, remark)), style=style)
    console.print(table)
    pairs = [(f"{document['network']} on variants of {document['target']}", variants.summary(document))]
    as_it_is = variants.row(document["baseline"])
    amounts = zip(variants.AMOUNTS, as_it_is.amounts, strict=True)
    pairs += [("cannot run", reason) for reason in variants.reasons(document)]
    pairs += variants.best(document)
    pairs += [
        ("the target as it is", as_it_is.error or ", ".join(f"{name} {text}" for name, text in amounts)),
        ("method", document["method"]),
        ("known error", document["error"]),
    ]
    if "page" in document:
        pairs.append(("page", document["page"]))
    _print_pairs(console, pairs)
    _print_warnings(console, document["warnings"])


def _print_targets(found: Sequence[Target]) -> None:
    from chipfit.units import si

    console = _console()
    rows = [
        (
            t.name,
            t.description.partition(". ")[0],
            f"{t.processing_elements:,}",
            si(t.clock_hz, "Hz"),
            f"{t.native_bits}",
        )
        for t in found
    ]
    _print_table(console, ("target", "description", "multipliers", "clock", "bits"), rows, left=2)
    console.print("chipfit targets NAME shows where each number comes from.", style="dim")


def _freedom(level: MemoryLevel) -> str:
    """What a level holds, and what it lets pass by, loops over and keeps where that is not anything."""
    from chipfit.hardware.target import LOOPS, TENSORS

    parts = [f"holds {', '.join(level.holds)}"]
    if level.may_bypass:
        parts.append(f"{', '.join(level.may_bypass)} may pass by")
    if set(level.loops) != set(LOOPS):
        parts.append(f"loops over {', '.join(level.loops) or 'nothing'}")
    if set(level.stationary) != set(TENSORS):
        parts.append(f"stationary {', '.join(level.stationary)}")
    return "; ".join(parts)


def _print_target(target: Target) -> None:
    console = _console()
    pairs = [(target.name, target.description), ("source", target.source)]
    pairs += [(f"level {level.name}", _freedom(level)) for level in target.levels]
    pairs += [
        (
            f"array {array.name}",
            f"{array.rows} rows of {', '.join(array.row_dimensions)}, {array.columns} columns of "
            f"{', '.join(array.column_dimensions)}, below {array.below}",
        )
        for array in target.arrays
    ]
    _print_pairs(console, pairs)
    rows = [(number.key, number.source, number.text) for number in target.numbers()]
    _print_table(console, ("number", "source", "value"), rows, left=2)


def _print_fit(result: FitResult) -> None:
    from chipfit.units import percent

    console = _console()
    if result.budget_met:
        console.print("Budget met.", style="bold green")
    else:
        over = ", ".join(
            f"{name} at {percent(ratio)} of its limit" for name, ratio in result.shortfall.items()
        )
        console.print(f"The budget cannot be met; this is the best that was found: {over}.", style="bold red")
    _print_pairs(
        console,
        [
            ("energy", f"{percent(result.energy_ratio)} of the 8-bit original"),
            ("latency", f"{percent(result.latency_ratio)}"),
            ("DRAM traffic", f"{percent(result.dram_ratio)}"),
            ("memory", f"{percent(result.memory_ratio)}"),
            ("test accuracy", f"{percent(result.accuracy_after)}, before {percent(result.accuracy_before)}"),
            ("model", str(result.model)),
            ("page", str(result.page)),
        ],
    )


def _print_measurement(found: Measurement) -> None:
    from chipfit.units import percent, si

    console = _console()
    rows = [(x.name, x.operator, si(x.latency_s, "s"), percent(x.share)) for x in found.layers]
    _print_table(console, ("layer", "operator", "median", "share"), rows, left=2)
    _print_pairs(
        console,
        [
            ("latency", f"{si(found.latency_s, 's')} (median of {found.repeats} runs)"),
            ("spread", f"{si(found.p10_s, 's')} to {si(found.p90_s, 's')} (10th to 90th percentile)"),
            ("fastest", si(found.min_s, "s")),
            ("threads", str(found.threads)),
            ("host", f"{found.cpu}, ONNX Runtime {found.onnxruntime}"),
        ],
    )
    _print_warnings(console, found.warnings)


if __name__ == "__main__":
    sys.exit(main())

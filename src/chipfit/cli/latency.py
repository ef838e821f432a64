"""chipfit latency: a device from a few measured networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chipfit.cli.app import BUDGET_MISSED, app
from chipfit.cli.options import Json
from chipfit.cli.screen import (
    ProgressBars,
    open_console,
    print_json,
    print_pairs,
    print_table,
    print_warnings,
)

if TYPE_CHECKING:
    from chipfit.cost.latency.device import Device, Prediction
    from chipfit.cost.latency.measurements import Measurements
    from chipfit.cost.latency.space import Space

latency = typer.Typer(
    help="A device from a few measured networks.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(latency, name="latency")

SpaceArgument = Annotated[
    str, typer.Argument(help="nb201, fbnet, a folder of ONNX files, or module:function that yields networks.")
]
Unit = Annotated[
    str | None,
    typer.Option(help="Unit of the latencies: ms, s, us or ns (default: as the column's name says)."),
]


def _measured(space: str, path: Path, unit: str | None, fewest: int) -> tuple[Space, Measurements]:
    """The space, and the measurements of a table over it."""
    from chipfit.cost.latency.measurements import check, read_table
    from chipfit.cost.latency.networks import open_space

    table = read_table(path, unit)
    found = open_space(space, table.labels)
    return found, check(table, found, fewest=fewest)


@latency.command()
def select(
    space: SpaceArgument,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="Networks to choose.")] = 20,
    measured: Annotated[
        Path | None, typer.Option(help="A table of what is measured already: choose what to measure next.")
    ] = None,
    unit: Unit = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="With --measured: relative uncertainty at which to stop.")
    ] = 0.05,
) -> None:
    """Choose the networks of a space that say most about the others. Prints JSON."""
    from chipfit.cost.latency.device import fit_device
    from chipfit.cost.latency.measurements import FEWEST
    from chipfit.cost.latency.networks import open_space
    from chipfit.cost.latency.plan import plan
    from chipfit.cost.latency.prior import prior

    if measured is None:
        whole, known = open_space(space), None
    else:
        whole, known = _measured(space, measured, unit, 1)
    device = fit_device("", whole, known) if known is not None and len(known) >= FEWEST else None
    chosen = plan(whole, prior(whole), samples, measured=known, device=device, tolerance=tolerance)
    print_json(chosen.to_json())


@latency.command()
def fit(
    space: SpaceArgument,
    measured: Annotated[Path, typer.Argument(help="A CSV table: network, latency_ms.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The device file to write.")] = Path("device.json"),
    name: Annotated[str | None, typer.Option(help="Of the device (default: that of its file).")] = None,
    unit: Unit = None,
    source: Annotated[
        list[Path] | None,
        typer.Option(help="A device that is fitted already and may be alike; may be repeated."),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Also write a page on the fit.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a device to measured networks."""
    from chipfit.cost.latency.describe import describe
    from chipfit.cost.latency.device import fit_device, load_device

    if page is not None:
        from chipfit.report import html

        html.check_place(page)
    whole, known = _measured(space, measured, unit, 5)
    sources = [load_device(path) for path in source or ()]
    device = fit_device(name or out.stem, whole, known, sources=sources)
    document = describe(device, known.warnings)
    device.save(out)
    document["device"] = str(out)
    if page is not None:
        from chipfit.report import latency as pages

        document["page"] = str(pages.write(document, page))
    print_json(document) if as_json else _print_fit(document)


def _print_fit(document: dict[str, Any]) -> None:
    from chipfit.units import percent, si

    console = open_console()
    rows = [
        (
            row["network"],
            si(row["measured_s"], "s"),
            si(row["predicted_s"], "s"),
            percent(row["error"]),
            "an outlier?" if row["trust"] < 0.2 else "",
        )
        for row in document["networks"]
    ]
    print_table(console, ("network", "measured", "from the others", "error", ""), rows, left=1)
    print_pairs(
        console,
        [
            ("device", document["device"]),
            ("networks", str(len(rows))),
            ("median error", f"{percent(document['median_error'])}, each predicted from the others"),
            *([("page", document["page"])] if "page" in document else []),
        ],
    )
    print_warnings(console, document["warnings"])


@latency.command()
def predict(
    device: Annotated[Path, typer.Argument(help="A file that 'chipfit latency fit' wrote.")],
    networks: Annotated[
        list[str],
        typer.Argument(
            help="ONNX files, reference networks, networks of the device's space, "
            "a CSV table that names networks, or a whole space."
        ),
    ],
    share: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Share of measurements that intervals cover.")
    ] = 0.9,
    budget: Annotated[
        str | None, typer.Option(help="Such as 5ms: how probably each network meets it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict what networks take on a fitted device, with intervals."""
    from chipfit.cost.latency.device import load_device
    from chipfit.units import parse

    limit_ms = None if budget is None else parse(budget, "time") * 1e3
    found = load_device(device)
    predictions = [_predict(found, network, share, limit_ms) for network in networks]
    document = {
        "device": found.name,
        "share": share,
        "networks": [row for prediction in predictions for row in prediction.to_json()["networks"]],
    }
    print_json(document) if as_json else _print_predictions(document)


def _predict(device: Device, text: str, share: float, limit_ms: float | None) -> Prediction:
    from chipfit.cost.latency.networks import named

    return device.predict(named(text, device.measured.name), share=share, budget_ms=limit_ms)


def _print_predictions(document: dict[str, Any]) -> None:
    from chipfit.units import percent, si

    console = open_console()
    extra = "probability_within_budget"
    rows = [
        (
            row["network"],
            si(row["latency_s"], "s"),
            f"{si(row['low_s'], 's')} to {si(row['high_s'], 's')}",
            *([percent(row[extra])] if extra in row else []),
        )
        for row in document["networks"]
    ]
    header = ("network", "latency", f"{percent(document['share'], 0)} interval")
    more = ("meets the budget",) if extra in document["networks"][0] else ()
    print_table(console, (*header, *more), rows, left=1)


@latency.command()
def bench(
    data: Annotated[Path, typer.Option(help="Folder with nb201.npz and fbnet.npz.")],
    tasks: Annotated[
        list[str] | None, typer.Option("--task", help="Run only this one; may be repeated.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", "-n", min=5, help="Measured networks a target.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of candidates and of source samples.")] = 30,
    seed: Annotated[int, typer.Option(help="The first of them.")] = 0,
    no_sources: Annotated[bool, typer.Option("--no-sources", help="Use no source device.")] = False,
    random: Annotated[bool, typer.Option("--random", help="Measure networks at random.")] = False,
    as_json: Json = False,
) -> None:
    """Run the twelve published few-shot tasks."""
    from chipfit.cost.latency.tasks import TASKS, Options, run

    options = Options(samples=samples, seeds=seeds, seed=seed, sources=not no_sources, chosen=not random)
    with ProgressBars() as progress:
        progress.start("Tasks", len(tasks or TASKS))
        document = run(data, options, tasks or (), progress.advance)
        progress.done()
    print_json(document) if as_json else _print_bench(document)


def _print_bench(document: dict[str, Any]) -> None:
    from chipfit.units import percent

    console = open_console()
    rows = [
        (
            name,
            f"{one['spearman']:.3f} ± {one['spread']:.3f}",
            f"{one['nasflat']:.3f}",
            f"{one['published']:.3f}",
            percent(one["median_error"]),
            percent(one["within_10_percent"]),
            percent(one["coverage_80"]),
            percent(one["coverage_90"]),
        )
        for name, one in document["tasks"].items()
    ]
    header = (
        "task",
        "Spearman",
        "NASFLAT",
        "best published",
        "median error",
        "within 10 %",
        "in 80 %",
        "in 90 %",
    )
    print_table(console, header, rows, left=1)
    print_pairs(console, [("mean", f"{document['mean']:.4f}"), ("samples", str(document["samples"]))])


@latency.command()
def search(
    device: Annotated[Path, typer.Argument(help="A file that 'chipfit latency fit' wrote.")],
    space: SpaceArgument,
    budget: Annotated[
        str, typer.Option("--budget", "-b", help="The most that a network may take, such as 5ms.")
    ],
    score: Annotated[
        str,
        typer.Option(
            help="What to maximise: operations, parameters, synflow, naswot, grad_norm or snip (the last "
            "four of the best 50 by operations, in torch), or 'accuracy', the column of --table."
        ),
    ] = "operations",
    table: Annotated[
        Path | None, typer.Option(help="A CSV table with the columns network and accuracy.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Least probability to meet the budget.")] = 0.95,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Networks to return.")] = 10,
    as_json: Json = False,
) -> None:
    """Find the best networks of a space that a fitted device probably runs within a budget."""
    import time

    from chipfit.cost.latency.device import load_device
    from chipfit.cost.latency.measurements import read_scores
    from chipfit.cost.latency.networks import open_space
    from chipfit.search.architecture import analytic_score, rescorer
    from chipfit.search.architecture import search as find
    from chipfit.units import parse

    if (score == "accuracy") != (table is not None):
        raise typer.BadParameter("--score accuracy and --table belong together")
    limit_ms = parse(budget, "time") * 1e3
    start = time.perf_counter()
    found, whole = load_device(device), open_space(space)
    rescore = rescorer(score, whole.name)
    if table is not None:
        values = read_scores(table, whole, "accuracy")
    else:
        values = analytic_score(whole, "operations" if rescore else score)
    best = find(found, whole, values, budget_ms=limit_ms, confidence=confidence, count=count, rescore=rescore)
    document = {
        "device": found.name,
        "space": whole.name,
        "budget_s": limit_ms / 1e3,
        "confidence": confidence,
        "score": score,
        "networks": [one.to_json() for one in best],
        "measured": len(found.measured),
        "seconds": time.perf_counter() - start,
    }
    print_json(document) if as_json else _print_search(document)
    if not best:
        raise typer.Exit(BUDGET_MISSED)


def _print_search(document: dict[str, Any]) -> None:
    from chipfit.units import percent, si

    console = open_console()
    if not document["networks"]:
        console.print("No network of the space meets the budget as surely as is asked.", style="bold red")
    rows = [
        (
            row["network"],
            f"{row['score']:.6g}",
            si(row["latency_s"], "s"),
            f"{si(row['low_s'], 's')} to {si(row['high_s'], 's')}",
            percent(row["probability_within_budget"]),
        )
        for row in document["networks"]
    ]
    print_table(
        console, ("network", document["score"], "latency", "90 % interval", "meets the budget"), rows, left=1
    )
    print_pairs(
        console,
        [("measured", f"{document['measured']} networks"), ("search", si(document["seconds"], "s"))],
    )

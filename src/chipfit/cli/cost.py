"""chipfit cost: what a network costs on a target, or on variants of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from chipfit.cli.app import app
from chipfit.cli.options import Json, NetworkArgument, Shapes, TargetOption, read_bits, read_shape
from chipfit.cli.screen import (
    LateBars,
    ProgressBars,
    open_console,
    print_json,
    print_pairs,
    print_table,
    print_warnings,
)
from chipfit.errors import ChipfitError, nearest

if TYPE_CHECKING:
    from chipfit.cost.base import AbstractEstimator, CostReport, LayerCost
    from chipfit.hardware.target import Target
    from chipfit.workload.network import Network
    from chipfit.workload.zeros import Zeros


@app.command()
def cost(
    network: NetworkArgument,
    target: TargetOption,
    bits: Annotated[
        str | None, typer.Option(metavar="W,A", help="Bits of all weights and of all activations.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="What mappings are chosen for: energy, latency, edp or dram.")
    ] = "edp",
    estimator: Annotated[
        str,
        typer.Option(
            help="analytical (loop nests and a mapper), roofline (a lower bound), systolic-ws, -is or -os "
            "(one fixed dataflow, as SCALE-Sim; no mapper, so no objective), or sparse, sparse-matched or "
            "sparse-cartesian (the zeros of the network; sparse is the default on targets that skip them, "
            "analytical on others)."
        ),
    ] = "",
    space: Annotated[
        str,
        typer.Option(
            help="Mappings that are looked at: even (all factors divide), ragged (arrays may not divide the "
            "layer), imperfect (no tile need divide it; slower) or uneven (tensors of one memory may have "
            "tiles of different sizes; slow)."
        ),
    ] = "ragged",
    rules: Annotated[
        str, typer.Option(help="Whose rules accesses are counted by: chipfit, timeloop or accelforge.")
    ] = "chipfit",
    slower: Annotated[
        float,
        typer.Option(metavar="FACTOR", help="No layer takes more than this many times its least latency."),
    ] = math.inf,
    shape: Shapes = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Find the zeros of activations: run the ONNX file on the .npy and .npz files of a folder.",
        ),
    ] = None,
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
    as_json: Json = False,
) -> None:
    """Say what a network costs on a target, layer by layer, or on variants of it."""
    widths = read_bits(bits) if bits is not None else None
    shapes = dict(map(read_shape, shape or []))
    if not sweep:
        given = {"--front": front, "--jobs": jobs, "--backend": backend}
        alone = [option for option, value in given.items() if value is not None]
        if alone:
            raise typer.BadParameter(f"{alone[0]} means nothing without --sweep")
    from chipfit.hardware.load import load_target
    from chipfit.workload.library import resolve

    found = resolve(network, shapes)
    if target.endswith(".json"):  # a device that 'chipfit latency fit' wrote
        if sweep or page or estimator or calibration:
            raise ChipfitError(f"{target} is a device that was measured: it takes no such option")
        report = _measured(found if widths is None else found.with_bits(*widths), target)
        print_json(report.to_json()) if as_json else _print_cost(report)
        return
    chip = load_target(target)
    name = estimator or ("sparse" if chip.sparse is not None else "analytical")
    known = _zeros(network, found, shapes, calibration) if name.startswith("sparse") else None
    if calibration is not None and known is None:
        raise ChipfitError(f"--calibration means nothing to the estimator '{name}': it skips no zeros")
    search = _Search(objective, space, rules, slower)
    if name != "analytical" and search != _Search(objective):
        raise ChipfitError(f"--space, --rules and --slower mean nothing to the estimator '{name}'")
    if rules != "chipfit" and page is not None and not sweep:
        raise ChipfitError("--page shows what chipfit counts: leave out --rules")
    method = _estimator(name, search, known)
    if widths is not None:
        found = found.with_bits(*widths)
    if sweep:
        document = _sweep(
            found, target, sweep, method, front or "energy,latency", page, jobs, backend or "loky"
        )
        print_json(document) if as_json else _print_sweep(document)
        return
    _check_page(page)
    with LateBars("Searching for mappings") as bars:
        report = _told(method, bars).estimate(found, chip)
    written = None if page is None else _write_page(report, found, chip, page)
    if as_json:
        print_json({**report.to_json(), **({"page": written} if written else {})})
    else:
        _print_cost(report, written)


def _told(method: AbstractEstimator, bars: LateBars) -> AbstractEstimator:
    """The estimator, which tells its progress if its searches may take long."""
    from chipfit.cost.mapping.analytical import Analytical

    return replace(method, progress=bars) if isinstance(method, Analytical) else method


def _measured(network: Network, device: str) -> CostReport:
    """What a network takes on a device that is known by a few measured networks."""
    from chipfit.cost.latency.stopwatch import measured_cost

    return measured_cost(network, device)


def _check_page(page: Path | None) -> None:
    """Refuse a page that cannot be written, before the work."""
    if page is not None:
        from chipfit.report import html  # it may not be installed

        html.check_place(page)


def _write_page(report: CostReport, network: Network, target: Target, page: Path) -> str:
    """Write the page of a cost and say where it is."""
    from chipfit.cost.mapping.explain import document
    from chipfit.report import html

    loads = [layer.sparse.loads if layer.sparse else () for layer in report.layers]
    return str(html.write_cost({**document(report, network, target), "loads": loads}, page))


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
    from chipfit.cost.sweep.axes import read_sweep
    from chipfit.cost.sweep.variants import check_front, price
    from chipfit.cost.sweep.workers import workers

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


def _zeros(
    file: str, network: Network, shapes: Mapping[str, Sequence[int]], calibration: Path | None
) -> Zeros:
    """What an ONNX file and calibration inputs say of zeros; of reference networks nothing is known."""
    from chipfit.workload import calibrate, library
    from chipfit.workload.zeros import Zeros

    if file in library.names():
        if calibration is not None:
            raise ChipfitError(
                f"--calibration needs an ONNX file, '{file}' is a reference network without weights"
            )
        return Zeros()
    found = calibrate.weight_masks(file, network)
    if calibration is None:
        return found
    runs = calibrate.read_runs(calibration, calibrate.network_inputs(file, shapes))
    seen = calibrate.calibrate(file, network, runs, whole=True)
    return replace(found, channels=seen.channels, activations=seen.activations)


class _Search(NamedTuple):
    """What the mapper is asked for."""

    objective: str
    space: str = "ragged"
    rules: str = "chipfit"
    slower: float = math.inf


_Kind = TypeVar("_Kind")


def _named(what: str, name: str, known: Mapping[str, _Kind]) -> _Kind:
    if name not in known:
        raise ChipfitError(f"unknown {what} '{name}'{nearest(name, tuple(known))}")
    return known[name]


def _estimator(name: str, search: _Search, zeros: Zeros | None) -> AbstractEstimator:
    if name == "analytical":
        from chipfit.cost.mapping.analytical import Analytical
        from chipfit.cost.mapping.model import RULES, SPACES

        return Analytical(
            objective=search.objective,
            space=_named("map space", search.space, SPACES),
            rules=_named("rules", search.rules, RULES),
            slower=search.slower,
        )
    if name == "roofline":
        from chipfit.cost.roofline import Roofline

        return Roofline()
    sparse = {"sparse": "", "sparse-matched": "matched", "sparse-cartesian": "cartesian"}
    if name in sparse and zeros is not None:
        from chipfit.cost.sparse.estimator import SparseEstimator

        return SparseEstimator(zeros=zeros, pairs=sparse[name])
    systolic = {f"systolic-{dataflow}": dataflow for dataflow in ("ws", "is", "os")}
    if name in systolic:
        from chipfit.cost.mapping.systolic import Systolic

        return Systolic(dataflow=systolic[name])
    raise ChipfitError(f"unknown estimator '{name}'{nearest(name, ('analytical', 'roofline', *systolic))}")


def _print_cost(report: CostReport, page: str | None = None) -> None:
    from chipfit.units import binary, percent, si

    console = open_console()
    skips = any(layer.sparse is not None for layer in report.layers)
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
            *(() if not skips else (_imbalance(layer), _skipped(layer))),
        )
        for layer in report.layers
    ]
    header = ("layer", "operator", "MACs", "bits w/in/sum", "energy", "latency", "DRAM", "utilisation")
    print_table(console, header + (("imbalance", "skipped") if skips else ()), rows, left=2)
    total = report.total
    parts = ", ".join(f"{name} {si(value, 'J')}" for name, value in report.energy_by_component_j.items())
    print_pairs(
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
            *([("multiplier", str(report.multiplier))] if report.multiplier else []),
            *_map_space(report),
            ("method", report.method),
            ("known error", report.error),
            *([("page", page)] if page else []),
        ],
    )  # fmt: skip
    print_warnings(console, report.warnings)


def _map_space(report: CostReport) -> list[tuple[str, str]]:
    """How many mappings there are, and how many had to be looked at."""
    from chipfit.units import many, percent, si

    layers = [layer for layer in report.layers if layer.mappings]
    if not layers:
        return []
    unproven = [layer.gap for layer in layers if layer.gap > 0]
    sure = "all proven the best"
    if unproven:
        sure = f"{len(unproven)} of {len(layers)} at most {percent(max(unproven))} above the best"
    sizes = f"{many(min(v.mappings for v in layers))} to {many(max(v.mappings for v in layers))} a layer"
    return [("mappings", f"{sizes}, of which {si(sum(v.priced for v in layers))} worked out in all; {sure}")]


def _imbalance(layer: LayerCost) -> str:
    """How much longer passes last than if the work were shared evenly."""
    return f"{layer.sparse.imbalance:.2f}" if layer.sparse else "–"


def _skipped(layer: LayerCost) -> str:
    """Multiplications that take no time."""
    from chipfit.units import percent

    return percent(max(0.0, 1 - layer.sparse.pairs / layer.macs)) if layer.sparse else "–"


def _print_sweep(document: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from chipfit.report import variants

    console = open_console()
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
    print_pairs(console, pairs)
    print_warnings(console, document["warnings"])

"""chipfit gates: energy and delay of every weight value of a multiplier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chipfit.cli.app import app
from chipfit.cli.options import Json
from chipfit.cli.screen import (
    ProgressBars,
    open_console,
    print_json,
    print_pairs,
    print_table,
    print_warnings,
)
from chipfit.errors import ChipfitError, nearest

if TYPE_CHECKING:
    import numpy as np

    from chipfit.cost.gates.cells import CellLibrary
    from chipfit.cost.gates.characterise import Unit
    from chipfit.cost.gates.statistics import OperandStatistics

_DESIGN = (
    "multiplier", "accumulate", "weight_bits", "activation_bits", "accumulator_bits", "signed_activations",
)  # fmt: skip


@app.command()
def gates(
    context: typer.Context,
    multiplier: Annotated[str, typer.Option(help="Which unit to generate: array or booth.")] = "array",
    accumulate: Annotated[
        str,
        typer.Option(
            help="Where its partial sum comes in: tree (with the product's terms) or adder (one of its own, "
            "behind the finished product)."
        ),
    ] = "tree",
    weight_bits: Annotated[int, typer.Option(help="Width of weights, 2 to 8.")] = 8,
    activation_bits: Annotated[int, typer.Option(help="Width of activations, 2 to 8.")] = 8,
    accumulator_bits: Annotated[int, typer.Option(help="Width of partial sums.")] = 22,
    signed_activations: Annotated[
        bool, typer.Option("--signed-activations", help="Activations in two's complement, not unsigned.")
    ] = False,
    netlist: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.v",
            help="A unit of your own instead: structural Verilog in cells of the library, with inputs "
            "weight, activation, partial and output sum.",
        ),
    ] = None,
    library: Annotated[
        str, typer.Option(metavar="NAME|FILE.lib", help="Embedded cells in a technology, or a Liberty file.")
    ] = "generic",
    mode: Annotated[
        str, typer.Option(help="How gates pass pulses on: inertial, transport, or zero (no delays).")
    ] = "inertial",
    grid_ps: Annotated[float, typer.Option(help="Step of time.")] = 10.0,
    transitions: Annotated[
        str, typer.Option(metavar="N|all", help="Transitions of the operands for each energy.")
    ] = "1024",
    activations: Annotated[
        str,
        typer.Option(
            metavar="relu|uniform|MODEL.onnx",
            help="What the operands do: a declared distribution, or that of a network (with --calibration).",
        ),
    ] = "relu",
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Inputs of the network, in .npy or .npz files."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the transitions.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Also write the table.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Also write a page.")] = None,
    as_json: Json = False,
) -> None:
    """Say what every weight value costs in a multiplier, gate by gate."""
    count = _count(transitions)
    if netlist is not None:
        given = [name for name in _DESIGN if _stated(context, name)]
        if given:
            raise typer.BadParameter(f"--{given[0].replace('_', '-')} means nothing with --netlist")
    if page is not None:
        from chipfit.report import html  # it may not be installed

        html.check_place(page)

    import numpy as np

    from chipfit.cost.gates.characterise import characterise, read_unit
    from chipfit.cost.gates.generate import MacDesign, generate_mac
    from chipfit.cost.gates.retarget import map_to
    from chipfit.cost.gates.simulate import check_options
    from chipfit.cost.gates.table import save_table

    check_options(mode, grid_ps)
    cells = _library(library)
    if netlist is None:
        design = MacDesign(
            style=multiplier,
            accumulate=accumulate,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            sum_bits=accumulator_bits,
            activation_signed=signed_activations,
        )
        circuit = map_to(generate_mac(design), cells)
    else:
        from chipfit.cost.gates.verilog import load_verilog

        circuit = load_verilog(netlist, cells)
    unit = read_unit(circuit)
    operands = _operands(activations, calibration, unit, np.random.default_rng(seed))
    with ProgressBars() as progress:
        progress.start("Simulating weight values", len(unit.weights))
        table = characterise(
            circuit, cells, operands, mode=mode, grid_ps=grid_ps, transitions=count, seed=seed,
            advance=progress.advance,
        )  # fmt: skip
        progress.done()
    document = table.to_json()
    written = {"out": str(save_table(table, out))} if out is not None else {}
    if page is not None:
        from chipfit.report import html

        written["page"] = str(html.write_gates(document, page))
    print_json({**document, **written}) if as_json else _print_table(document, written)


def _count(text: str) -> int | None:
    """How many transitions; None for all."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"'{text}' is not a number of transitions: expected 1 or more, or all")
    return int(text)


def _stated(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _library(name: str) -> CellLibrary:
    from chipfit.cost.gates.effort import TECHNOLOGIES, embedded_library

    if Path(name).suffix == ".lib" or "/" in name:
        from chipfit.cost.gates.liberty import load_liberty

        return load_liberty(Path(name))
    if name not in TECHNOLOGIES:
        hint = nearest(name, TECHNOLOGIES)
        raise ChipfitError(f"unknown library '{name}'{hint} (the name of a Liberty file ends in .lib)")
    return embedded_library(name)


def _operands(name: str, calibration: Path | None, unit: Unit, rng: np.random.Generator) -> OperandStatistics:
    from chipfit.cost.gates import statistics

    if Path(name).suffix != ".onnx":
        if calibration is not None:
            raise typer.BadParameter("--calibration needs --activations MODEL.onnx")
        return statistics.declared(
            name, weight_bits=unit.weight_bits, activation_bits=unit.activation_bits, sum_bits=unit.sum_bits,
            activation_signed=unit.activation_signed, rng=rng,
        )  # fmt: skip
    if calibration is None:
        raise typer.BadParameter(f"--activations {name} needs --calibration DIR")

    from chipfit.cost.gates.measured import measure_operands
    from chipfit.workload.calibrate import network_inputs, read_runs

    runs = read_runs(calibration, network_inputs(name))
    layers = measure_operands(
        name, runs, weight_bits=unit.weight_bits, activation_bits=unit.activation_bits,
        activation_signed=unit.activation_signed, rng=rng,
    )  # fmt: skip
    return statistics.merged({x.layer: (x.macs, x.statistics) for x in layers}, rng=rng)


def _print_table(document: dict[str, Any], written: dict[str, str]) -> None:
    from chipfit.report import gates as report

    console = open_console()
    order, quickest = report.by_energy(document), report.by_delay(document)
    rows, count = list[tuple[str, ...]](), report.named(document)
    for name, places in (
        ("cheapest", order[:count]),
        ("dearest", order[::-1][:count]),
        ("fastest", quickest[: -(-count // 2)]),
    ):
        for rank, place in enumerate(places):
            one = report.value(document, place)
            rows.append(
                (name if rank == 0 else "", one.weight, one.energy, one.energy_share, one.delay,
                 one.delay_share, one.bound)
            )  # fmt: skip
    header = ("", "weight", "energy", "of dearest", "delay seen", "of longest", "static timing")
    print_table(console, header, rows, left=1)
    pairs = [(f"{document['multiplier']} in {document['library']}", report.summary(document))]
    pairs += [(a.name.lower(), f"{a.value} ({a.remark})") for a in report.amounts(document)]
    pairs += [("method", document["method"]), ("known error", document["error"])]
    pairs += list(written.items())
    print_pairs(console, pairs)
    print_warnings(console, document["warnings"])

"""chipfit measure: a stopwatch on this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chipfit.cli.app import app
from chipfit.cli.options import Json, Shapes, read_shape
from chipfit.cli.screen import (
    open_console,
    print_json,
    print_pairs,
    print_table,
    print_warnings,
)

if TYPE_CHECKING:
    from chipfit.cost.measure import Measurement


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    threads: Annotated[int, typer.Option(help="Threads within one operator.")] = 1,
    repeats: Annotated[int, typer.Option(help="Timed runs.")] = 50,
    warmup: Annotated[int, typer.Option(help="Runs before them.")] = 5,
    shape: Shapes = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    as_json: Json = False,
) -> None:
    """Time an ONNX file on this host, through ONNX Runtime."""
    shapes = dict(map(read_shape, shape or []))

    import numpy as np

    from chipfit.cost.measure import measure as stopwatch

    rng = np.random.default_rng(seed)
    found = stopwatch(model, rng=rng, threads=threads, repeats=repeats, warmup=warmup, shapes=shapes)
    print_json(found.to_json()) if as_json else _print_measurement(found)


def _print_measurement(found: Measurement) -> None:
    from chipfit.units import percent, si

    console = open_console()
    rows = [(x.name, x.operator, si(x.latency_s, "s"), percent(x.share)) for x in found.layers]
    print_table(console, ("layer", "operator", "median", "share"), rows, left=2)
    print_pairs(
        console,
        [
            ("latency", f"{si(found.latency_s, 's')} (median of {found.repeats} runs)"),
            ("spread", f"{si(found.p10_s, 's')} to {si(found.p90_s, 's')} (10th to 90th percentile)"),
            ("fastest", si(found.min_s, "s")),
            ("threads", str(found.threads)),
            ("host", f"{found.cpu}, ONNX Runtime {found.onnxruntime}"),
        ],
    )
    print_warnings(console, found.warnings)

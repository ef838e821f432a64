"""chipfit fit: a trained network, made to cost less on a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chipfit.cli.app import BUDGET_MISSED, app
from chipfit.cli.options import Json, TargetOption
from chipfit.cli.screen import (
    open_console,
    print_json,
    print_pairs,
    resumable,
)

if TYPE_CHECKING:
    from chipfit.search.config import FitResult


@app.command()
def fit(
    task: Annotated[str, typer.Argument(help="digits, cifar10-resnet20, or your own module:function.")],
    target: TargetOption,
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
    workers: Annotated[int | None, typer.Option(min=1, help="Candidates tried at once (default: 2).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the last retraining.")] = None,
    screening_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each trial.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a trained network to a target inside a budget."""
    from chipfit.search.config import FitConfig
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
    result = resumable(lambda progress: run(config, progress), out)
    print_json(result.to_json()) if as_json else _print_fit(result)
    if not result.budget_met:
        raise typer.Exit(BUDGET_MISSED)


def _print_fit(result: FitResult) -> None:
    from chipfit.units import percent

    console = open_console()
    if result.budget_met:
        console.print("Budget met.", style="bold green")
    else:
        over = ", ".join(
            f"{name} at {percent(ratio)} of its limit" for name, ratio in result.shortfall.items()
        )
        console.print(f"The budget cannot be met; this is the best that was found: {over}.", style="bold red")
    print_pairs(
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

"""chipfit values: a network whose weights are cheap in a multiplier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chipfit.cli.app import BUDGET_MISSED, app
from chipfit.cli.options import Json
from chipfit.cli.screen import open_console, print_json, print_pairs, print_table, resumable

if TYPE_CHECKING:
    from chipfit.search.values import ValuesResult


@app.command()
def values(
    task: Annotated[str, typer.Argument(help="digits, cifar10-resnet20, or your own module:function.")],
    budget: Annotated[
        str, typer.Option("--budget", "-b", metavar="SHARE", help="Most energy of the multipliers: 25%.")
    ],
    multipliers: Annotated[
        str,
        typer.Option(
            help="What may be chosen, first the yardstick: array, booth; array+adder, booth+adder (these add "
            "the partial sum to the finished product)."
        ),
    ] = "array,booth",
    library: Annotated[str, typer.Option(help="Embedded cells: generic, ihp_sg13g2, asap7.")] = "generic",
    bits: Annotated[int, typer.Option(help="Width of weights and activations, 2 to 8.")] = 8,
    size: Annotated[int, typer.Option(help="Values of a layer at most.")] = 16,
    one_set: Annotated[bool, typer.Option("--one-set", help="The same values for all layers.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Multipliers switch for zeros too; else they hold still.")
    ] = False,
    delays: Annotated[
        str, typer.Option(metavar="SHARES", help="Bounds on delay to try, of the slowest weight's.")
    ] = "1,0.9,0.85",
    activations: Annotated[
        str,
        typer.Option(
            metavar="SHARES",
            help="Largest activations to try, of the largest code: fewer codes cost less and settle sooner.",
        ),
    ] = "1,0.125",
    margin: Annotated[float, typer.Option(help="Margin of every delay (0.1: a tenth more).")] = 0.0,
    nominal_v: Annotated[float, typer.Option(help="Nominal supply of the delay law.")] = 1.1,
    threshold_v: Annotated[float, typer.Option(help="Threshold voltage of the delay law.")] = 0.35,
    alpha: Annotated[float, typer.Option(help="Exponent of the delay law.")] = 1.3,
    out: Annotated[Path, typer.Option(help="Folder for the model, table, records and page.")] = Path("out"),
    data: Annotated[Path | None, typer.Option(help="Folder of the task's data.")] = None,
    epochs: Annotated[int | None, typer.Option(min=0, help="Epochs of retraining.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Choose multiplier, weight values and supply voltage of a network together, and retrain it."""
    from chipfit.hardware.voltage import DelayLaw
    from chipfit.search.values import ValuesConfig, fit_values

    config = ValuesConfig(
        task=task,
        budget=_share(budget),
        out=out,
        multipliers=tuple(name.strip() for name in multipliers.split(",")),
        library=library,
        bits=bits,
        size=size,
        gated=not plain,
        delays=tuple(_share(one) for one in delays.split(",")),
        activations=tuple(_share(one) for one in activations.split(",")),
        margin=margin,
        law=DelayLaw(nominal_v=nominal_v, threshold_v=threshold_v, alpha=alpha),
        one_set=one_set,
        epochs=epochs,
        seed=seed,
        data=data,
        resume=resume,
    )
    result = resumable(lambda progress: fit_values(config, progress), out)
    print_json(result.to_json()) if as_json else _print(result)
    if not result.budget_met:
        raise typer.Exit(BUDGET_MISSED)


def _share(text: str) -> float:
    """A share such as 25% or 0.25."""
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not a share: expected such as 25% or 0.25") from None
    return number / 100 if text.strip().endswith("%") else number


def _print(result: ValuesResult) -> None:
    from chipfit.units import percent, si

    console = open_console()
    whole_j = next(iter(result.steps_j.values()))
    rows = [
        (name, si(energy_j, "J"), percent(energy_j / whole_j)) for name, energy_j in result.steps_j.items()
    ]
    print_table(console, ("step", "energy", "of the original"), rows, left=1)
    counts = [len(values) for values in result.values.values()]
    print_pairs(
        console,
        [
            ("multiplier", f"{result.multiplier} at {result.supply_v:.3g} V"),
            (
                "values",
                f"{min(counts)} to {max(counts)} a layer, settled in {percent(result.delay)} of the time",
            ),
            ("activations", f"up to {result.largest_activation}"),
            ("test accuracy", f"{percent(result.accuracy_after)}, before {percent(result.accuracy_before)}"),
            ("model", str(result.model)),
            ("table", str(result.table)),
            ("page", str(result.page)),
        ],
    )

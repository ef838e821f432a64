"""chipfit targets: the targets, and where their numbers come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from chipfit.cli.app import app
from chipfit.cli.options import Json
from chipfit.cli.screen import (
    open_console,
    print_json,
    print_pairs,
    print_table,
)

if TYPE_CHECKING:
    from chipfit.hardware.target import MemoryLevel, Target


@app.command()
def targets(
    name: Annotated[str | None, typer.Argument(help="Show this one, with the source of each number.")] = None,
    as_json: Json = False,
) -> None:
    """List the targets, or show one with the source of each number."""
    from chipfit.hardware.load import load_target, target_names

    if name is not None:
        target = load_target(name)
        print_json(target.to_json()) if as_json else _print_target(target)
        return
    found = [load_target(known) for known in target_names()]
    print_json({"targets": [target.to_json() for target in found]}) if as_json else _print_targets(found)


def _print_targets(found: Sequence[Target]) -> None:
    from chipfit.units import si

    console = open_console()
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
    print_table(console, ("target", "description", "multipliers", "clock", "bits"), rows, left=2)
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
    console = open_console()
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
    if target.sparse is not None:
        pairs.append(("zeros", f"{target.sparse.text()} ({target.sources.get('sparse', target.source)})"))
    if target.mac_tables:
        text = ", ".join(target.mac_tables)
        text += ", the best for each network" if len(target.mac_tables) > 1 else ""
        if (supply := target.mac_supply) is not None:
            falls = "as low as weight values allow" if supply.fixed_v is None else f"{supply.fixed_v:g} V"
            text += f"; supply {falls}"
        pairs.append(("MACs priced by", text))
    print_pairs(console, pairs)
    rows = [(number.key, number.source, number.text) for number in target.numbers()]
    print_table(console, ("number", "source", "value"), rows, left=2)

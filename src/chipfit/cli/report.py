"""chipfit report: the page of a run, from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chipfit.cli.app import app
from chipfit.cli.options import Json
from chipfit.cli.screen import (
    print_json,
)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="The output folder of chipfit fit.")],
    picture: Annotated[Path | None, typer.Option(help="Also draw the result as an SVG file.")] = None,
    as_json: Json = False,
) -> None:
    """Build the page of a run again, from its records."""
    from chipfit.report.html import build
    from chipfit.report.picture import write

    made = {"page": build(directory), **({"picture": write(directory, picture)} if picture else {})}
    if as_json:
        print_json({name: str(path) for name, path in made.items()})
    else:
        typer.echo("\n".join(map(str, made.values())))

"""The program: its options, and what becomes of whatever goes wrong in a command."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from chipfit.cli.screen import STOPPED, fail, say
from chipfit.errors import ChipfitError

BUDGET_MISSED = 3


class _Said(logging.Handler):
    """What the package logs goes to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(record.getMessage())


class _Commands(TyperGroup):
    """Turns what went wrong in a command into one message and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        log = logging.getLogger("chipfit")
        log.setLevel(logging.INFO)
        log.handlers = [_Said()]
        try:
            return super().invoke(ctx)
        except ChipfitError as error:
            fail(f"{error}")
        except BrokenPipeError:
            raise  # the reader of our output has gone: typer ends quietly
        except OSError as error:
            fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        except ModuleNotFoundError as error:
            if not error.name or error.name.startswith("chipfit"):
                raise
            fail(f"this command needs '{error.name}', which is not installed: pip install 'chipfit[fit]'")
        except KeyboardInterrupt:
            say("stopped")
            raise typer.Exit(STOPPED) from None


app = typer.Typer(
    cls=_Commands,
    help="What a neural network costs on a chip, and a network that costs less there.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from chipfit import __version__

        typer.echo(f"chipfit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What a neural network costs on a chip, and a network that costs less there."""

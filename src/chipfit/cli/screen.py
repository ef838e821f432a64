"""What commands print: tables, pairs, JSON, progress; messages go to standard error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

MISTAKE, STOPPED = 1, 130

_Result = TypeVar("_Result")

_PIPE_WIDTH = 140  # columns of a table where the output is not a terminal


class ProgressBars:
    """Bars with time left on a terminal; elsewhere one line a stage. All on standard error."""

    def __init__(self) -> None:
        self._stage: TaskID | None = None
        self._bars: Progress | None = None

    def __enter__(self) -> ProgressBars:
        from rich import progress as rich

        console = open_console(stderr=True)
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
            say(f"{stage} ({total} steps)")

    def advance(self, n: int = 1, note: str = "") -> None:
        """`n` steps are done."""
        if self._bars and self._stage is not None:
            self._bars.update(self._stage, advance=n, note=note)

    def done(self) -> None:
        """The stage is over."""
        if self._bars and self._stage is not None:
            total = self._bars.tasks[self._bars.task_ids.index(self._stage)].total
            self._bars.update(self._stage, completed=total, note="")


def resumable(run: Callable[[ProgressBars], _Result], out: Path) -> _Result:
    """What a run with progress bars returns; stopped by Ctrl-C, it says how to go on."""
    with ProgressBars() as progress:
        try:
            return run(progress)
        except KeyboardInterrupt:
            say(f"stopped; what was done is in {out}: the same command with --resume goes on")
            raise typer.Exit(STOPPED) from None


class LateBars:
    """A progress bar that appears where work takes longer than a moment, for what is mostly quick."""

    def __init__(self, stage: str, patience_s: float = 3.0) -> None:
        self._stage, self._patience_s = stage, patience_s
        self._begun_s, self._shown = time.monotonic(), 0
        self._bars: ProgressBars | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> LateBars:
        return self

    def __exit__(self, *about: object) -> None:
        if self._bars:
            self._bars.__exit__(*about)

    def __call__(self, done: int, total: int) -> None:
        """So many steps of so many are done; any thread may say so."""
        with self._lock:
            if self._bars is None:
                if done == total or time.monotonic() - self._begun_s < self._patience_s:
                    return
                self._bars = ProgressBars().__enter__()
                self._bars.start(self._stage, total)
            self._bars.advance(max(0, done - self._shown))
            self._shown = max(done, self._shown)


def open_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; for a pipe, wide enough for our tables."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)
    return console


def say(text: str) -> None:
    """A message to the user, beside the results."""
    open_console(stderr=True).print(text, markup=False, soft_wrap=True)


def fail(message: str) -> None:
    """End the program: the user can mend this."""
    from rich.text import Text

    label = Text.assemble(("chipfit: ", "bold red"), message)
    open_console(stderr=True).print(label, soft_wrap=True)
    raise typer.Exit(MISTAKE)


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
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


def print_pairs(console: Console, pairs: Sequence[tuple[str, str]]) -> None:
    """Names and what stands for each."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, text in pairs:
        grid.add_row(name, Text(text))
    console.print(grid)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """What the user should know about the numbers above."""
    from rich.text import Text

    for warning in warnings:
        console.print(Text.assemble(("note: ", "yellow"), warning))

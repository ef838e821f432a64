"""The command line: parses, calls one function, prints. One file a command.

Exit status: 0 done · 1 a mistake that the user can mend · 2 usage · 3 the budget cannot be met ·
130 stopped by Ctrl-C. Results go to standard output, everything else to standard error. Heavy
modules are imported by the command that needs them.
"""

import atexit
import gc

from chipfit.cli import (  # each adds its command to the program
    cost,
    fit,
    gates,
    latency,
    measure,
    report,
    targets,
    values,
)
from chipfit.cli.app import app

__all__ = ["app", "cost", "fit", "gates", "latency", "main", "measure", "report", "targets", "values"]


#: New objects after which garbage is looked for.
_YOUNG = 50_000


def main() -> None:
    """Run the command line."""
    # A short command makes little garbage: the collector would walk, many times and once more at the end,
    # over the modules that were loaded.
    gc.set_threshold(_YOUNG)
    atexit.register(gc.freeze)
    app(prog_name="chipfit")

"""Functions that numba compiles: once on a machine, then kept on disk. When it begins to, the log says so."""

from __future__ import annotations

import logging
from typing import Any

import numba
from numba.core import event

_log = logging.getLogger(__name__)

#: A function that may make arrays.
njit = numba.njit(cache=True)

# The search is long, and the first run compiles all of it, so what would only make that longer is off: checks
# of division by zero, which cannot happen; rewriting of array expressions, of which there are none; a second
# entry point of each function for callers in C; counting of references, because no such function makes an
# array (scratch is handed in) or assigns to a slice. What compiled functions call is compiled again into each
# caller, and once for each constant argument. Threads run these functions side by side.
_LEAN: dict[str, Any] = {
    "cache": True,
    "error_model": "numpy",
    "no_rewrites": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
    "nogil": True,
}
#: A function that makes no array, and compiles in half the time.
lean = numba.njit(**_LEAN)
_INNER: dict[str, Any] = {**_LEAN, "no_cpython_wrapper": True}
#: The same, called by compiled functions only.
inner = numba.njit(**_INNER)
#: The same, made part of what calls it: a call hands on hundreds of numbers, those of all arrays.
tight = numba.njit(**_INNER, forceinline=True)


class _Notice(event.Listener):
    """Logs the first compilation of a process; functions that are on disk are not compiled."""

    said = False

    def on_start(self, event: event.Event) -> None:
        """Compilation begins."""
        if not self.said:
            self.said = True
            _log.info("compiling, which the first use on a machine takes (up to a minute, then kept on disk)")

    def on_end(self, event: event.Event) -> None:
        """Compilation ends."""


event.register("numba:compile", _Notice())

"""Functions that numba compiles: once on a machine, then kept on disk. When it begins to, the log says so.

Numba starts slowly, and the first compiled function of a process waits for most of it. So it is started here,
without what takes long and is not needed: see `_collector_paused` and `_load_blas`.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from typing import Any


@contextmanager
def _collector_paused() -> Generator[None]:
    """Look for no garbage meanwhile, nor among what was made meanwhile before the next full collection.

    What numba makes as it starts stays, and is much: the collector would walk over it many times.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what somebody froze stays frozen
            gc.freeze()
            gc.unfreeze()  # to the oldest generation
        if was:
            gc.enable()


def _load_blas() -> None:
    """Load the one module of SciPy that numba looks for as it starts, without all of SciPy's linear algebra.

    By `import scipy.linalg.cython_blas` its package would be loaded too, which takes as long as numba itself.
    The module is the very same, and whoever imports it or the package later gets them whole. But for an
    attribute: `from scipy.linalg import cython_blas` finds the module, `scipy.linalg.cython_blas` does not.
    """
    name = "scipy.linalg.cython_blas"
    if name in sys.modules or "scipy.linalg" in sys.modules:
        return
    import scipy  # sets paths of libraries where that is needed

    spec = PathFinder.find_spec(name, [os.path.join(path, "linalg") for path in scipy.__path__])
    if spec is None or spec.loader is None:
        return  # SciPy keeps it elsewhere: numba finds it
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


with _collector_paused():
    import numba
    from numba.core import event
    from numba.core.registry import cpu_target

    _load_blas()
    _context: Any = cpu_target.target_context
    _context.refresh()  # as numba does before the first function

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

"""Integer programs by HiGHS, as SciPy has it, without what it prints."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Generator
from typing import Any

from scipy import optimize

_one_at_a_time = threading.Lock()


def milp(*arguments: Any, **options: Any) -> Any:
    """`scipy.optimize.milp`, silent.

    HiGHS has a message that no option keeps from standard output, where a JSON document may stand
    (https://github.com/jump-dev/HiGHS.jl/issues/312).
    """
    with _one_at_a_time, _nothing_printed():
        return optimize.milp(*arguments, **options)


@contextlib.contextmanager
def _nothing_printed() -> Generator[None]:
    """What compiled code writes to standard output is lost meanwhile, and nothing else."""
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Write out what Python and C hold back."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # where C's library is no library by itself
        ctypes.CDLL(None).fflush(None)

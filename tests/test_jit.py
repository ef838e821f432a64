"""What numba compiles is kept, and said when it happens."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging
from chipfit.jit import lean

@lean
def double(x):
    return 2 * x

logging.basicConfig(level=logging.INFO, format="%(message)s")
print(double(21), double(2.0))
"""


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_compiling_is_said_once_and_kept(tmp_path: Path, level: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("logging.INFO", f"logging.{level}"))

    def run() -> str:
        done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
        assert done.stdout == "42 4.0\n"
        return done.stderr

    first, second = run(), run()
    assert first.count("compiling") == (level == "INFO")
    assert second == ""


def run(program: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout


def test_numba_still_has_the_linear_algebra_of_scipy_and_scipy_is_whole() -> None:
    program = """
import sys
import chipfit.jit
import numba
import numpy as np
assert "scipy.linalg" not in sys.modules

@numba.njit
def product(a, b):
    return np.dot(a, b)

print(product(3 * np.eye(2), np.ones(2)))
import scipy.linalg
from scipy.linalg import cython_blas
import scipy.linalg.cython_blas as other
print(cython_blas is other, "ddot" in other.__pyx_capi__)
print(scipy.linalg.solve(np.diag([2.0, 4.0]), np.ones(2)))
"""
    assert run(program) == "[3. 3.]\nTrue True\n[0.5  0.25]\n"


def test_scipy_may_be_there_before() -> None:
    program = """
import scipy.linalg
before = scipy.linalg.cython_blas
import chipfit.jit
import scipy.linalg.cython_blas as after
print(before is after)
"""
    assert run(program) == "True\n"


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_is_as_before(collects: bool) -> None:
    program = f"""
import gc
if not {collects}:
    gc.disable()
import chipfit.jit
print(gc.isenabled(), gc.get_freeze_count())
"""
    assert run(program) == f"{collects} 0\n"


def test_what_somebody_froze_stays_frozen() -> None:
    program = """
import gc
gc.freeze()
import chipfit.jit
print(gc.get_freeze_count() > 0)
"""
    assert run(program) == "True\n"

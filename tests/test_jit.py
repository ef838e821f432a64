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

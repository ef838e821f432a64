"""Debian's OSU018 cell library, a real Liberty file for tests."""

from pathlib import Path

import pytest

OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


def osu018_file():
    """Its path; the test is skipped where there is none."""
    if not OSU018.is_file():
        pytest.skip(f"NO LIBERTY FILE {OSU018}: install Debian's qflow-tech-osu018")
    return OSU018

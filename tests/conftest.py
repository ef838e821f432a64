"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of shared data; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"NO SHARED DATA at {SHARED_DATA}: this test needs it")
    return SHARED_DATA

"""Fixtures shared by all tests."""

from collections.abc import Generator
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _no_old_answers(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Searches that users of this machine have done answer no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def shared_data() -> Path:
    """The folder of shared data; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"NO SHARED DATA at {SHARED_DATA}: this test needs it")
    return SHARED_DATA

import pytest
from synthetic_records import records, write


@pytest.fixture
def run_directory(tmp_path):
    """The output folder of a finished run (its records only)."""
    return write(tmp_path / "run", records())

"""Every mistake of a user is a ChipfitError that names the nearest valid name."""

import inspect

import pytest

from chipfit import errors
from chipfit.errors import ChipfitError, nearest


def _exceptions() -> list[type[Exception]]:
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)]


def test_every_exception_is_a_chipfit_error():
    assert all(issubclass(exception, ChipfitError) for exception in _exceptions())


def test_the_tree_in_the_documentation_names_every_exception():
    assert all(exception.__name__ in (errors.__doc__ or "") for exception in _exceptions())


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("pe_row", ["pe_rows", "clock_hz"], ", did you mean 'pe_rows'?"),
        ("pe_row", iter(["pe_rows", "clock_hz"]), ", did you mean 'pe_rows'?"),
        ("mhz", ["kHz", "MHz"], ", did you mean 'MHz'?"),
        ("zzz", ["b", "a"], "; valid: a, b"),
        ("", ["b", "a"], "; valid: a, b"),
    ],
)
def test_a_hint_names_the_nearest_name_or_all(name, valid, hint):
    assert nearest(name, valid) == hint

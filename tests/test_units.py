"""Quantities are read and shown with their units."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.errors import UnitError
from chipfit.units import binary, parse, percent, si


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1.5 mJ", "energy", 1.5e-3),
        ("24 fJ", "energy", 24e-15),
        ("2.2pJ", "energy", 2.2e-12),
        ("3 uJ", "energy", 3e-6),
        ("3 µJ", "energy", 3e-6),
        ("3 \N{GREEK SMALL LETTER MU}J", "energy", 3e-6),
        ("20ms", "time", 0.02),
        ("1e3 ns", "time", 1e-6),
        (".5 s", "time", 0.5),
        ("108 KiB", "size", 108 * 1024 * 8),
        ("1 kB", "size", 8000),
        ("12 bit", "size", 12),
        ("200 MHz", "frequency", 2e8),
        ("30 mW", "power", 0.03),
        ("12.25 mm2", "area", 12.25e6),
        ("7 um2", "area", 7),
        ("-1 J", "energy", -1),
    ],
)
def test_a_quantity_is_read_in_base_units(text, kind, value):
    assert parse(text, kind) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", "energy", "'' is not a quantity: expected a number and a unit of energy"),
        ("pJ", "energy", "'pJ' is not a quantity: expected a number and a unit of energy"),
        ("1,5 pJ", "energy", "'1,5 pJ' is not a quantity: expected a number and a unit of energy"),
        ("nan J", "energy", "'nan J' is not a quantity: expected a number and a unit of energy"),
        ("5", "time", "'5': no unit of time; valid: ms, ns, s, us, µs"),
        ("5 mhz", "frequency", "'5 mhz': unknown unit 'mhz' of frequency, did you mean 'MHz'?"),
        ("5 J", "power", "'5 J': unknown unit 'J' of power; valid: W, mW, nW, uW, µW"),
        ("1e999 J", "energy", "'1e999 J' is too large"),
    ],
)
def test_what_is_not_a_quantity_is_refused_with_what_was_expected(text, kind, message):
    with pytest.raises(UnitError) as caught:
        parse(text, kind)
    assert str(caught.value) == message


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=12), st.sampled_from(["energy", "time", "size", "frequency", "power", "area"]))
def test_any_text_is_a_finite_number_or_a_unit_error(text, kind):
    with contextlib.suppress(UnitError):
        assert math.isfinite(parse(text, kind))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00194, "J", "1.94 mJ"),
        (0, "s", "0 s"),
        (5, "", "5.00"),
        (999.9996, "J", "1.00 kJ"),
        (999.4, "J", "999 J"),
        (-0.25, "s", "-250 ms"),
        (1e-12, "J", "1.00 pJ"),
        (2.5e-21, "J", "0.00 aJ"),
        (3e18, "op", "3000 Pop"),
        (math.inf, "J", "inf J"),
    ],
)
def test_a_number_is_shown_with_an_si_prefix(value, unit, text):
    assert si(value, unit) == text


@settings(deadline=None, derandomize=True)
@given(st.floats(min_value=1e-12, max_value=1.0))
def test_what_is_shown_reads_back_to_three_digits(energy_j):
    assert parse(si(energy_j, "J"), "energy") == pytest.approx(energy_j, rel=5.01e-3)


@settings(deadline=None, derandomize=True)
@given(st.integers(min_value=1, max_value=2**43))
def test_a_memory_size_reads_back_to_four_digits(bits):
    assert parse(binary(bits), "size") == pytest.approx(bits, rel=5.01e-4)


@pytest.mark.parametrize(
    ("bits", "text"), [(1, "0.125 B"), (8 * 1024, "1 KiB"), (2**33, "1 GiB"), (108 * 8192, "108 KiB")]
)
def test_memory_sizes_are_shown_in_bytes(bits, text):
    assert binary(bits) == text


def test_a_ratio_is_shown_as_a_percentage():
    assert percent(0.3519) == "35.2 %"
    assert percent(1.5, digits=0) == "150 %"

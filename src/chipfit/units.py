"""The only unit conversions and number formatting of the package.

Values inside the package are in base units: J, s, W, Hz, bit, µm², plain counts. A name ends in
its unit: `energy_j`, `latency_s`, `size_bits`, `clock_hz`, `area_um2`.
"""

from __future__ import annotations

import math
import re

from chipfit.errors import UnitError, nearest

_PREFIXES = (
    (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
    (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"), (1e-18, "a"),
)  # fmt: skip

_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


def si(value: float, unit: str = "", digits: int = 3) -> str:
    """A number as people read it, with an SI prefix.

    >>> si(0.00194, "J")
    '1.94 mJ'
    >>> si(0, "s")
    '0 s'
    >>> si(40_551_040, "MAC")
    '40.6 MMAC'
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    for factor, prefix in _PREFIXES:
        scaled = value / factor
        # The comparison is made on the rounded number, so that 999.9996 is shown as '1 k'.
        if abs(float(f"{scaled:.{digits}g}")) >= 1 or prefix == "a":
            decimals = max(0, digits - len(str(int(abs(float(f"{scaled:.{digits}g}"))))))
            return f"{scaled:.{decimals}f} {prefix}{unit}".strip()
    raise AssertionError("unreachable: the last prefix always matches")


def binary(bits: float) -> str:
    """A memory size in bytes as people read it.

    >>> binary(108 * 1024 * 8)
    '108 KiB'
    >>> binary(12)
    '1.5 B'
    """
    size = bits / 8
    for factor, unit in _BYTES:
        if size >= factor or unit == "B":
            return f"{size / factor:.4g} {unit}"
    raise AssertionError("unreachable: the last unit always matches")


def many(number: int) -> str:
    """A count as people read it, however large.

    >>> many(720)
    '720'
    >>> many(32_600_000_000_000)
    '3.3e13'
    """
    return str(number) if number < 10_000 else f"{number:.1e}".replace("e+0", "e").replace("e+", "e")


def percent(ratio: float, digits: int = 1) -> str:
    """A ratio as a percentage.

    >>> percent(0.3519)
    '35.2 %'
    """
    return f"{100 * ratio:.{digits}f} %"


_SCALES: dict[str, dict[str, float]] = {
    "energy": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12, "fJ": 1e-15},
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9},
    "size": {
        "bit": 1.0, "B": 8.0, "kB": 8e3, "MB": 8e6, "GB": 8e9,
        "KiB": 8.0 * 2**10, "MiB": 8.0 * 2**20, "GiB": 8.0 * 2**30,
    },
    "frequency": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "power": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6, "nW": 1e-9},
    "area": {"um2": 1.0, "µm2": 1.0, "mm2": 1e6},
    "voltage": {"V": 1.0, "mV": 1e-3},
}  # fmt: skip

#: Keyboards write either of two letters for micro.
_GREEK_MU = "\N{GREEK SMALL LETTER MU}"

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-zµ]*2?)\s*")


def parse(text: str, kind: str) -> float:
    """A quantity with its unit, in base units (J, s, bit, Hz, W, µm², V).

    Args:
        text: such as '1.5 mJ', '20ms', '64KiB'.
        kind: 'energy', 'time', 'size', 'frequency', 'power', 'area' or 'voltage'.

    Raises:
        UnitError: no number, an unknown unit, no unit at all, or a number too large to hold.

    >>> parse("64KiB", "size")
    524288.0
    """
    scales = _SCALES[kind]
    match = _QUANTITY.fullmatch(text.replace(_GREEK_MU, "µ"))
    if match is None:
        raise UnitError(f"'{text}' is not a quantity: expected a number and a unit of {kind}")
    number, unit = match.groups()
    if unit not in scales:
        given = f"unknown unit '{unit}'" if unit else "no unit"
        raise UnitError(f"'{text}': {given} of {kind}{nearest(unit, scales)}")
    value = float(number) * scales[unit]
    if not math.isfinite(value):
        raise UnitError(f"'{text}' is too large")
    return value

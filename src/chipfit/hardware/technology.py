"""What an access, an addition or a multiplication takes, from published tables.

Every table carries its citation, and what is taken from it carries that citation on. "Recalled"
marks figures that were written down from memory of the paper and not read again.

Reading a memory of a capacity between two rows of a table interpolates log-log over the capacity.
Across port widths the energy at one capacity is `fixed + per_bit · width` and far from
proportional to the width: most of an access is spent whatever the width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chipfit.errors import TargetError, nearest
from chipfit.hardware.target import Arithmetic
from chipfit.units import binary

_KIB = 8 * 1024  # bits
_PJ = 1e-12

#: One unit of the Eyeriss table: the energy of a 16-bit multiply-accumulate at 65 nm.
EYERISS_UNIT_J = 2 * _PJ

#: Energy relative to 45 nm.
NODE_RATIO: Mapping[int, float] = MappingProxyType({65: 1.9, 45: 1.0, 28: 0.5, 16: 0.25, 7: 0.2})
NODE_SOURCE = (
    "node ratios relative to 45 nm: 65 nm 1.9 (CACTI), 28 nm 0.5 and 16 nm 0.25 (after Stillmaker & Baas, "
    "Integration 2017; recalled), 7 nm 0.2 (logic, middle of 0.12 to 0.3; recalled)"
)


@dataclass(frozen=True, kw_only=True)
class Access:
    """Energy of one access of one word, and where the numbers come from."""

    read_j: float
    write_j: float
    source: str


@dataclass(frozen=True, kw_only=True)
class WordRow:
    """Energy of one word whatever the capacity; other widths are priced in proportion."""

    word_bits: int
    read_j: float
    write_j: float
    source: str


@dataclass(frozen=True, kw_only=True)
class SramRow:
    """Energy of one 64-bit access by capacity (bits, ascending), and area where it is known."""

    capacity_bits: tuple[float, ...]
    read_j: tuple[float, ...]
    write_j: tuple[float, ...]
    source: str
    area_um2: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A published table: its process node, memories by name, and arithmetic if it has any."""

    node_nm: int
    rows: Mapping[str, WordRow | SramRow]
    arithmetic: Arithmetic | None = None


# ---------------------------------------------------------------------------------------------
# Sources

_HOROWITZ = "M. Horowitz, Computing's energy problem, ISSCC 2014, 45 nm 0.9 V"
_EYERISS = (
    "Chen et al., Eyeriss, ISCA 2016 Table IV and JSSC 2017, 65 nm: energies of a 16-bit word relative to "
    "a 16-bit MAC: ALU 1, register file 1, array 2, global buffer 6, DRAM 200; 1 unit taken as 2 pJ (ours, "
    "the MAC energy with which nn_dataflow reproduces the chip of ISSCC 2016)"
)
_CACTI = "CACTI run through hwcomponents-cacti 1.0.40"
_TPUV4I = "Jouppi et al., Ten lessons from three generations (TPUv4i), ISCA 2021, 7 nm; recalled"
_LPDDR4 = (
    "LPDDR4 of hwcomponents: 512 pJ per 64 bits, device array and interface only (8 pJ/bit; other published "
    "figures reach 20 to 45 pJ/bit)"
)
_WIDTH = "width by CACTI's 45 nm ports of 16 and 64 bits, E = fixed + per_bit · width"
_LINEAR = "in proportion to the word width (ours)"

# ---------------------------------------------------------------------------------------------
# Tables

#: Capacity (KiB): fixed energy (pJ) and energy per bit of width (pJ), CACTI 45 nm.
_WIDTH_LAW = (
    (0.5, 0.68, 0.0115),
    (2, 1.56, 0.019),
    (32, 9.75, 0.114),
    (64, 13.3, 0.196),
    (108, 15.7, 0.215),
    (256, 24.7, 0.31),
    (1024, 46.4, 0.74),
    (2048, 62.5, 1.02),
)

#: Capacity (KiB): 64-bit read (pJ), 64-bit write (pJ), area (mm²), CACTI 45 nm.
_CACTI_45 = (
    (0.5, 1.41, 2.28, 0.0021),
    (1, 1.67, 3.49, 0.0036),
    (2, 2.76, 4.24, 0.0075),
    (8, 6.14, 7.88, 0.026),
    (32, 17.0, 15.4, 0.095),
    (64, 25.9, 19.6, 0.209),
    (108, 29.4, 24.2, 0.371),
    (256, 44.7, 38.5, 0.872),
    (1024, 93.5, 76.2, 3.26),
    (2048, 127.5, 110.2, 6.47),
)


def _cacti(factor: float, source: str, *, with_area: bool) -> SramRow:
    return SramRow(
        capacity_bits=tuple(row[0] * _KIB for row in _CACTI_45),
        read_j=tuple(row[1] * factor * _PJ for row in _CACTI_45),
        write_j=tuple(row[2] * factor * _PJ for row in _CACTI_45),
        area_um2=tuple(row[3] * 1e6 for row in _CACTI_45) if with_area else (),
        source=f"{source}; {_WIDTH}",
    )


def _three(energies_pj: tuple[float, float, float], source: str) -> SramRow:
    values = tuple(e * _PJ for e in energies_pj)
    return SramRow(
        capacity_bits=(8 * _KIB, 32 * _KIB, 1024 * _KIB),
        read_j=values,
        write_j=values,
        source=f"{source}, SRAM 64-bit access at 8 KiB, 32 KiB and 1 MiB; {_WIDTH}",
    )


def _word(energy_j: float, word_bits: int, source: str) -> WordRow:
    return WordRow(word_bits=word_bits, read_j=energy_j, write_j=energy_j, source=source)


def _eyeriss_row(units: float, what: str) -> WordRow:
    return _word(units * EYERISS_UNIT_J, 16, f"{_EYERISS}; {what}")


def eyeriss_arithmetic(mac_j: float, source: str) -> Arithmetic:
    """A 16-bit multiply-accumulate of known energy, split in Horowitz' ratio of its two parts.

    Args:
        mac_j: energy of a 16 x 16-bit multiplication added to a 16-bit partial sum (J).
        source: where `mac_j` comes from.

    >>> split = eyeriss_arithmetic(2e-12, "")
    >>> round(split.energy_j(16, 16, 16) * 1e12, 6)
    2.0
    """
    # Horowitz: 16 x 16 multiplication 3.1 * 256/1024 = 0.775 pJ, 16-bit addition 0.1 * 16/32 = 0.05 pJ
    multiply, add = 0.775, 0.05
    return Arithmetic(
        multiply_j=mac_j * multiply / (multiply + add),
        multiply_bits=16,
        add_j=mac_j * add / (multiply + add),
        add_bits=16,
        source=f"{source}; split into multiplication and 16-bit addition as 0.775 : 0.05 pJ ({_HOROWITZ})",
    )


TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "eyeriss65": Table(
            node_nm=65,
            rows={
                "register": _eyeriss_row(1, f"register file, {_LINEAR}"),
                "array": _eyeriss_row(2, f"between processing elements, {_LINEAR}"),
                "buffer": _eyeriss_row(6, f"global buffer, {_LINEAR}"),
                "dram": _eyeriss_row(200, f"DRAM, {_LINEAR}"),
            },
            arithmetic=eyeriss_arithmetic(EYERISS_UNIT_J, f"{_EYERISS}; ALU"),
        ),
        "horowitz45": Table(
            node_nm=45,
            rows={
                "sram": _three((10, 20, 100), _HOROWITZ),
                "dram": _word(
                    640 * _PJ, 32, f"{_HOROWITZ}, DRAM at the low end (640 pJ per 32 bits), {_LINEAR}"
                ),
            },
            arithmetic=Arithmetic(
                multiply_j=3.1 * _PJ,
                multiply_bits=32,
                add_j=0.1 * _PJ,
                add_bits=32,
                source=f"{_HOROWITZ}, 32-bit integer multiplication 3.1 pJ and addition 0.1 pJ",
            ),
        ),
        "cacti45": Table(node_nm=45, rows={"sram": _cacti(1.0, f"{_CACTI}, 45 nm", with_area=True)}),
        "cacti65": Table(
            node_nm=65,
            rows={
                "sram": _cacti(
                    1.9,
                    f"{_CACTI}, 45 nm times 1.9 for 65 nm (CACTI: 1.8 to 1.9 from 8 KiB, 1.3 to 1.9 below)",
                    with_area=False,
                )
            },
        ),
        "tpuv4i7": Table(
            node_nm=7,
            rows={
                "sram": _three((7.5, 8.5, 14), _TPUV4I),
                "ddr": _word(1300 * _PJ, 64, f"{_TPUV4I}, DDR3/4 1300 pJ per 64 bits, {_LINEAR}"),
                "hbm2": _word(
                    350 * _PJ, 64, f"{_TPUV4I}, HBM2, middle of 250 to 450 pJ per 64 bits, {_LINEAR}"
                ),
                "gddr6": _word(
                    415 * _PJ, 64, f"{_TPUV4I}, GDDR6, middle of 350 to 480 pJ per 64 bits, {_LINEAR}"
                ),
            },
            arithmetic=Arithmetic(
                multiply_j=0.07 * _PJ,
                multiply_bits=8,
                add_j=0.03 * _PJ,
                add_bits=32,
                source=f"{_TPUV4I}, 8-bit integer multiplication 0.07 pJ and 32-bit addition 0.03 pJ",
            ),
        ),
        "lpddr4": Table(node_nm=45, rows={"dram": _word(512 * _PJ, 64, f"{_LPDDR4}, {_LINEAR}")}),
    }
)

# ---------------------------------------------------------------------------------------------
# What is read from them


def sram_energy_j(
    size_bits: float, word_bits: float, *, table: str = "cacti45", access: str = "read", row: str = "sram"
) -> float:
    """Energy of one access of one word of an on-chip memory (J).

    Args:
        size_bits: capacity of the memory (bits).
        word_bits: width of the port (bits).
        table: a name in `TABLES`.
        access: 'read' or 'write'.
        row: a memory of that table.

    Raises:
        TargetError: no such table or row, or a capacity that the table does not cover.

    >>> round(sram_energy_j(108 * 8192, 16) * 1e12, 1)
    19.1
    """
    # 29.4 * (15.7 + 0.215 * 16) / (15.7 + 0.215 * 64) = 29.4 * 19.14 / 29.46 = 19.10 pJ
    found = memory_energy(table, row=row, size_bits=size_bits, word_bits=word_bits)
    return found.read_j if access == "read" else found.write_j


def sram_area_um2(size_bits: float, *, table: str = "cacti45") -> float:
    """Area of an on-chip memory with a 64-bit port (µm²).

    Raises:
        TargetError: no such table, no area in it, or a capacity that it does not cover.

    >>> sram_area_um2(32 * 8192)
    95000.0
    """
    sram = _table(table).rows.get("sram")
    if not isinstance(sram, SramRow) or not sram.area_um2:
        with_area = sorted(
            n for n, t in TABLES.items() if any(getattr(r, "area_um2", ()) for r in t.rows.values())
        )
        raise TargetError(f"table '{table}' has no areas; tables that have: {', '.join(with_area)}")
    return _interpolate(sram.capacity_bits, sram.area_um2, size_bits, table)


def memory_energy(
    table: str,
    *,
    row: str | None = None,
    size_bits: float | None,
    word_bits: float,
    node_nm: int | None = None,
) -> Access:
    """Energy of one access of one word of a memory.

    Args:
        table: a name in `TABLES`.
        row: which memory of the table; may be left out if it has an SRAM or only one.
        size_bits: capacity of the memory (bits); None if unbounded.
        word_bits: width of the word (bits).
        node_nm: process node to scale to; the table's own if None.

    Raises:
        TargetError: no such table, row or node, or a capacity that the table does not cover.

    >>> memory_energy("lpddr4", size_bits=None, word_bits=16).read_j * 1e12
    128.0
    """
    rows = _table(table).rows
    name = row or ("sram" if "sram" in rows else next(iter(rows)))
    if row is None and name != "sram" and len(rows) > 1:
        raise TargetError(f"table '{table}' has several memories, name one as row: {', '.join(rows)}")
    if name not in rows:
        raise TargetError(f"table '{table}' has no row '{name}'{nearest(name, rows)}")
    found = rows[name]
    scale, note = _scaling(table, node_nm)
    if isinstance(found, WordRow):
        scale *= word_bits / found.word_bits
        read_j, write_j = found.read_j, found.write_j
    else:
        if size_bits is None:
            raise TargetError(f"table '{table}', row '{name}' needs the size of the memory")
        scale *= _width_ratio(size_bits)(word_bits)
        read_j = _interpolate(found.capacity_bits, found.read_j, size_bits, table)
        write_j = _interpolate(found.capacity_bits, found.write_j, size_bits, table)
        if not 16 <= word_bits <= 64:
            note = f" (extrapolated to {word_bits:g} bits){note}"
    return Access(read_j=read_j * scale, write_j=write_j * scale, source=f"{found.source}{note}")


def arithmetic(table: str, *, node_nm: int | None = None) -> Arithmetic:
    """What one multiply-accumulate takes, by a table.

    Raises:
        TargetError: no such table or node, or a table without arithmetic.

    >>> round(arithmetic("horowitz45").energy_j(16, 16, 40) * 1e12, 2)
    0.9
    """
    found = _table(table).arithmetic
    if found is None:
        having = sorted(name for name, entry in TABLES.items() if entry.arithmetic)
        raise TargetError(f"table '{table}' has no arithmetic; tables that have: {', '.join(having)}")
    scale, note = _scaling(table, node_nm)
    return Arithmetic(
        multiply_j=found.multiply_j * scale,
        multiply_bits=found.multiply_bits,
        add_j=found.add_j * scale,
        add_bits=found.add_bits,
        source=f"{found.source}{note}",
    )


def node_scale(from_nm: int, to_nm: int) -> float:
    """Energy at one process node relative to another; see `NODE_SOURCE`.

    Raises:
        TargetError: a node without a ratio.

    >>> node_scale(45, 28)
    0.5
    """
    for node in (from_nm, to_nm):
        if node not in NODE_RATIO:
            known = ", ".join(str(n) for n in sorted(NODE_RATIO))
            raise TargetError(f"no energy ratio for a node of {node} nm; known (nm): {known}")
    return NODE_RATIO[to_nm] / NODE_RATIO[from_nm]


def _table(name: str) -> Table:
    if name not in TABLES:
        raise TargetError(f"unknown technology table '{name}'{nearest(name, TABLES)}")
    return TABLES[name]


def _scaling(table: str, node_nm: int | None) -> tuple[float, str]:
    own = _table(table).node_nm
    if node_nm is None or node_nm == own:
        return 1.0, ""
    return node_scale(own, node_nm), f"; scaled from {own} to {node_nm} nm, {NODE_SOURCE}"


@dataclass(frozen=True)
class _WidthLaw:
    fixed: float
    per_bit: float

    def __call__(self, word_bits: float) -> float:
        return (self.fixed + self.per_bit * word_bits) / (self.fixed + self.per_bit * 64)


def _width_ratio(size_bits: float) -> _WidthLaw:
    """Energy of a port width relative to 64 bits, at one capacity (outside the rows: the nearest)."""
    capacities = tuple(row[0] * _KIB for row in _WIDTH_LAW)
    inside = min(max(size_bits, capacities[0]), capacities[-1])
    return _WidthLaw(
        _interpolate(capacities, tuple(row[1] for row in _WIDTH_LAW), inside, "cacti45"),
        _interpolate(capacities, tuple(row[2] for row in _WIDTH_LAW), inside, "cacti45"),
    )


def _interpolate(xs: tuple[float, ...], ys: tuple[float, ...], x: float, table: str) -> float:
    """The value at `x`, log-log between the two rows around it."""
    if not xs[0] <= x <= xs[-1]:
        raise TargetError(
            f"table '{table}' covers memories of {binary(xs[0])} to {binary(xs[-1])}, not of {binary(x)}: "
            "give the energy itself"
        )
    high = next(i for i, known in enumerate(xs) if x <= known)
    if x == xs[high]:
        return ys[high]
    low = high - 1
    part = math.log(x / xs[low]) / math.log(xs[high] / xs[low])
    return ys[low] * (ys[high] / ys[low]) ** part

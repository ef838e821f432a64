"""Energies from published tables: rows as published, between them by hand."""
# ruff: noqa: E501 - a mistake and its message on one line read as a table

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.errors import TargetError
from chipfit.hardware.technology import (
    EYERISS_UNIT_J,
    NODE_SOURCE,
    TABLES,
    arithmetic,
    memory_energy,
    node_scale,
    sram_area_um2,
    sram_energy_j,
)

KIB = 8192
PJ = 1e-12


@pytest.mark.parametrize(
    ("kib", "read_pj", "write_pj"),
    # CACTI 45 nm, 64-bit port
    [(0.5, 1.41, 2.28), (2, 2.76, 4.24), (108, 29.4, 24.2), (1024, 93.5, 76.2), (2048, 127.5, 110.2)],
)
def test_a_64_bit_port_has_the_energies_of_the_table(kib, read_pj, write_pj):
    assert sram_energy_j(kib * KIB, 64) == pytest.approx(read_pj * PJ)
    assert sram_energy_j(kib * KIB, 64, access="write") == pytest.approx(write_pj * PJ)


@pytest.mark.parametrize(
    ("kib", "read_pj"),
    # CACTI 45 nm, 16-bit port: an independent row of the table; the width law is rounded to 1 %
    [(0.5, 0.86), (2, 1.86), (32, 11.6), (64, 16.4), (108, 19.1), (256, 29.7), (1024, 58.2), (2048, 78.7)],
)
def test_a_16_bit_port_has_the_energies_that_cacti_gives_it(kib, read_pj):
    assert sram_energy_j(kib * KIB, 16) == pytest.approx(read_pj * PJ, rel=0.01)


def test_between_two_capacities_the_energy_is_interpolated_log_log():
    # 16 KiB lies in the middle of 8 and 32 KiB on a logarithmic scale: sqrt(6.14 * 17.0) = 10.217 pJ
    assert sram_energy_j(16 * KIB, 64) == pytest.approx(10.2167 * PJ, rel=1e-4)
    # 512 KiB between 256 KiB and 1 MiB: sqrt(44.7 * 93.5) = 64.648 pJ
    assert sram_energy_j(512 * KIB, 64) == pytest.approx(64.648 * PJ, rel=1e-4)


def test_horowitz_sram_is_as_published():
    # 64 bits: 8 KiB 10 pJ, 32 KiB 20 pJ, 1 MiB 100 pJ; 16 KiB: sqrt(10 * 20) = 14.142 pJ
    assert sram_energy_j(8 * KIB, 64, table="horowitz45") == pytest.approx(10 * PJ)
    assert sram_energy_j(16 * KIB, 64, table="horowitz45") == pytest.approx(14.1421 * PJ, rel=1e-4)
    assert sram_energy_j(1024 * KIB, 64, table="horowitz45") == pytest.approx(100 * PJ)


@settings(deadline=None, derandomize=True)
@given(
    st.floats(min_value=0.5, max_value=2048),
    st.floats(min_value=0.5, max_value=2048),
    st.sampled_from([8, 16, 32, 64, 128]),
)
def test_a_larger_memory_never_takes_less(a, b, word_bits):
    small, large = sorted((a, b))
    assert sram_energy_j(small * KIB, word_bits) <= sram_energy_j(large * KIB, word_bits) * (1 + 1e-9)


@settings(deadline=None, derandomize=True)
@given(st.floats(min_value=0.5, max_value=2048))
def test_half_the_width_takes_more_than_half_the_energy(kib):
    assert sram_energy_j(kib * KIB, 32) > sram_energy_j(kib * KIB, 64) / 2


def test_main_memory_is_priced_by_the_word():
    # LPDDR4: 512 pJ per 64 bits; Horowitz: 640 pJ per 32 bits
    assert memory_energy("lpddr4", size_bits=None, word_bits=64).read_j == pytest.approx(512 * PJ)
    horowitz = memory_energy("horowitz45", row="dram", size_bits=None, word_bits=64)
    assert horowitz.write_j == pytest.approx(1280 * PJ)


@pytest.mark.parametrize(("row", "units"), [("register", 1), ("array", 2), ("buffer", 6), ("dram", 200)])
def test_eyeriss_energies_are_1_1_2_6_200(row, units):
    access = memory_energy("eyeriss65", row=row, size_bits=None, word_bits=16)
    assert access.read_j == pytest.approx(units * EYERISS_UNIT_J)
    assert access.write_j == pytest.approx(units * EYERISS_UNIT_J)
    assert arithmetic("eyeriss65").energy_j(16, 16, 16) == pytest.approx(EYERISS_UNIT_J)


@pytest.mark.parametrize(
    ("widths", "energy_pj"),
    # E_mult = 3.1 * a * b / 1024, E_add = 0.1 * acc / 32 (pJ)
    [((8, 8, 32), 0.29375), ((4, 4, 20), 0.1109375), ((16, 16, 40), 0.9)],
)
def test_horowitz_arithmetic_follows_the_operand_widths(widths, energy_pj):
    assert arithmetic("horowitz45").energy_j(*widths) == pytest.approx(energy_pj * PJ)


def test_tpuv4i_arithmetic_is_as_recalled():
    # int8 multiplication 0.07 pJ + int32 addition 0.03 pJ
    assert arithmetic("tpuv4i7").energy_j(8, 8, 32) == pytest.approx(0.1 * PJ)


def test_another_node_scales_energy_and_says_so():
    access = memory_energy("cacti45", size_bits=256 * KIB, word_bits=64, node_nm=28)
    assert access.read_j == pytest.approx(44.7 * 0.5 * PJ)
    assert access.source.endswith(f"; scaled from 45 to 28 nm, {NODE_SOURCE}")
    assert arithmetic("horowitz45", node_nm=28).multiply_j == pytest.approx(1.55 * PJ)
    assert node_scale(65, 45) == pytest.approx(1 / 1.9)


def test_65_nm_takes_1_9_times_45_nm():
    assert sram_energy_j(32 * KIB, 64, table="cacti65") == pytest.approx(32.3 * PJ)


def test_area_is_interpolated_log_log():
    assert sram_area_um2(32 * KIB) == pytest.approx(0.095e6)
    # sqrt(0.026 * 0.095) = 0.04970 mm²
    assert sram_area_um2(16 * KIB) == pytest.approx(0.049699e6, rel=1e-4)


def test_every_row_has_a_source_and_recalled_ones_say_so():
    for name, table in TABLES.items():
        sources = [row.source for row in table.rows.values()]
        sources += [table.arithmetic.source] if table.arithmetic else []
        assert all(sources)
        assert all("recalled" in source for source in sources) == (name == "tpuv4i7")
    assert "recalled" in NODE_SOURCE


def test_a_width_outside_the_measured_ports_says_so():
    assert "(extrapolated to 256 bits)" in memory_energy("cacti45", size_bits=KIB, word_bits=256).source
    assert "extrapolated" not in memory_energy("cacti45", size_bits=KIB, word_bits=32).source


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sram_energy_j(KIB, 64, table="cacti40"),
            "unknown technology table 'cacti40', did you mean 'cacti45'?",
        ),
        (
            lambda: sram_energy_j(KIB, 64, row="dram"),
            "table 'cacti45' has no row 'dram', did you mean 'sram'?",
        ),
        (
            lambda: sram_energy_j(64, 64),
            "table 'cacti45' covers memories of 512 B to 2 MiB, not of 8 B: give the energy itself",
        ),
        (
            lambda: sram_energy_j(2**40, 64),
            "table 'cacti45' covers memories of 512 B to 2 MiB, not of 128 GiB: give the energy itself",
        ),
        (
            lambda: memory_energy("cacti45", size_bits=None, word_bits=64),
            "table 'cacti45', row 'sram' needs the size of the memory",
        ),
        (
            lambda: memory_energy("eyeriss65", size_bits=None, word_bits=16),
            "table 'eyeriss65' has several memories, name one as row: register, array, buffer, dram",
        ),
        (lambda: arithmetic("cacti45"), "table 'cacti45' has no arithmetic; tables that have: eyeriss65, horowitz45, tpuv4i7"),
        (lambda: sram_area_um2(KIB, table="cacti65"), "table 'cacti65' has no areas; tables that have: cacti45"),
        (lambda: node_scale(45, 3), "no energy ratio for a node of 3 nm; known (nm): 7, 16, 28, 45, 65"),
    ],
)  # fmt: skip
def test_what_a_table_does_not_have_is_refused(call, message):
    with pytest.raises(TargetError) as caught:
        call()
    assert str(caught.value) == message


def test_all_energies_are_finite_and_positive():
    for name, table in TABLES.items():
        for row in table.rows:
            access = memory_energy(name, row=row, size_bits=64 * KIB, word_bits=64)
            assert 0 < access.read_j < math.inf
            assert 0 < access.write_j < math.inf

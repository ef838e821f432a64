"""Targets from YAML: presets, a user's file, and every mistake in one message."""
# ruff: noqa: E501 - a mistake and its message on one line read as a table

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.errors import TargetError
from chipfit.hardware.load import MAX_BYTES, load_target, parse_target, target_names
from chipfit.hardware.target import TENSORS, Residence, Target
from chipfit.workload.network import DIMENSIONS

TOY = """\
name: toy
clock: 100 MHz
native_bits: 8
partial_sum_bits: 32
arithmetic: {multiply: 3.1 pJ, multiply_bits: 32, add: 0.1 pJ, add_bits: 32}
levels:
  - name: dram
    word_bits: 64
    bandwidth: 0.8 GB/s
    energy: {table: lpddr4}
  - name: buffer
    size: 32 KiB
    word_bits: 64
    bandwidth: 64 bit/cycle
    energy: {table: cacti45}
    source: a book
  - name: registers
    words: 4
    word_bits: 8
    holds: [weight]
    energy: {read: 1 fJ, write: 2 fJ}
arrays:
  - below: buffer
    rows: 4
    columns: 2
    row_dimensions: [C, R]
    column_dimensions: [K]
    hop_energy: 0.5 pJ
"""

PRESETS = [
    "ampere_2to4_like",
    "edge_npu",
    "ethos_u55_like",
    "eye16",
    "eye3",
    "eyeriss",
    "eyeriss_synergy",
    "eyeriss_v2",
    "sense_zcu102",
    "simba_synergy",
    "swallow_like",
    "tpu_like",
]
DATAFLOWS = sorted((Path(__file__).parents[2] / "examples/dataflows").glob("*.yaml"))


def message_of(text: str) -> str:
    with pytest.raises(TargetError) as caught:
        parse_target(text, "toy.yaml")
    return str(caught.value)


def test_a_file_is_read_in_base_units(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(TOY)
    toy = load_target(path)
    assert load_target(str(path)) == toy
    dram, buffer, registers = toy.levels
    assert toy.clock_hz == 100e6
    assert (dram.size_bits, dram.holds) == (None, TENSORS)
    assert dram.bandwidth_bits_per_cycle == pytest.approx(64)  # 0.8e9 * 8 bit/s / 100e6 cycles/s
    assert dram.read_energy_j == pytest.approx(512e-12)
    assert (buffer.size_bits, buffer.bandwidth_bits_per_cycle) == (32 * 8192, 64)
    assert buffer.read_energy_j == pytest.approx(17.0e-12)  # CACTI 45 nm, 32 KiB, 64 bits
    assert (registers.size_bits, registers.holds) == (32, ("weight",))
    assert (registers.read_energy_j, registers.write_energy_j) == (1e-15, 2e-15)
    (array,) = toy.arrays
    assert (array.name, array.below, array.rows, array.columns) == ("pe", "buffer", 4, 2)
    assert array.hop_energy_j == pytest.approx(0.5e-12)
    assert toy.arithmetic.energy_j(8, 8, 32) == pytest.approx(0.29375e-12)
    assert toy.operand_bits == (2, 3, 4, 5, 6, 7, 8)


def test_a_number_without_a_source_of_its_own_has_the_file_as_source():
    source = {number.key: number.source for number in parse_target(TOY, "toy.yaml").numbers()}
    assert source["clock"] == "stated in toy.yaml"
    assert source["levels.buffer.size"] == "a book"
    assert source["levels.buffer.read_energy"].startswith("CACTI")
    assert source["levels.registers.read_energy"] == "stated in toy.yaml"


def test_left_out_partial_sum_bits_mean_exact_sums():
    toy = parse_target(TOY.replace("partial_sum_bits: 32\n", ""), "toy.yaml")
    assert toy.accumulator_bits(8, 8, exact_bits=23) == 23


def test_arrays_are_ordered_as_the_levels():
    pe = "  - {name: inner, below: registers, rows: 2, columns: 1, row_dimensions: [K], column_dimensions: []}\n"
    toy = parse_target(TOY.replace("arrays:\n", "arrays:\n" + pe), "toy.yaml")
    assert [array.below for array in toy.arrays] == ["buffer", "registers"]


# ---------------------------------------------------------------------------------------------
# Presets


def test_the_presets_are_there():
    assert target_names() == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_a_source_for_every_number_and_survives_json(name):
    target = load_target(name)
    assert target.name == name
    assert target.description
    assert all(number.source for number in target.numbers())
    assert not [number for number in target.numbers() if number.source.startswith("stated in")]
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_chip(name):
    target = load_target(name)
    assert target.main_memory.name == ("flash" if name == "ethos_u55_like" else "dram")
    assert target.levels[0].size_bits is None
    assert all(level.size_bits for level in target.levels[1:])
    assert all(set(a.row_dimensions + a.column_dimensions) <= set(DIMENSIONS) for a in target.arrays)
    # A word further out never takes less than a word of the same tensor further in.
    for tensor in TENSORS:
        energies = [lv.read_energy_j / lv.word_bits for lv in target.levels if tensor in lv.holds]
        if name != "simba_synergy":  # its input buffer takes more a word than its wider global buffer
            assert energies == sorted(energies, reverse=True)


def test_eyeriss_is_the_chip_of_the_paper():
    eyeriss = load_target("eyeriss")
    assert (eyeriss.arrays[0].rows, eyeriss.arrays[0].columns) == (12, 14)
    assert eyeriss.clock_hz == 200e6
    assert [level.size_bits for level in eyeriss.levels] == [None, 819200, 12 * 16, 224 * 16, 24 * 16]
    assert (eyeriss.native_bits, eyeriss.partial_sum_bits) == (16, 16)
    # 1/1/2/6/200 a 16-bit word, with the multiply-accumulate as the unit
    unit_j = eyeriss.arithmetic.energy_j(16, 16, eyeriss.accumulator_bits(16, 16, 40))
    energies = [level.read_energy_j / unit_j for level in eyeriss.levels]
    assert energies == pytest.approx([200, 6, 1, 1, 1])
    assert eyeriss.arrays[0].hop_energy_j / unit_j == pytest.approx(2)


def test_eyeriss_accumulates_narrow_operands_exactly():
    # 8 + 8 + ceil(log2(64 * 3 * 3)) = 26 bits, which takes two words of the 16-bit memories
    assert load_target("eyeriss").accumulator_bits(8, 8, exact_bits=26) == 26


@pytest.mark.parametrize(
    ("name", "elements", "mac_pj"),
    # arXiv 2404.05368: 12 x 14 and 16 x 16 multipliers, 2.20 pJ; ZigZag 32 x 32, 0.04 pJ
    [("eyeriss_synergy", 168, 2.20), ("simba_synergy", 256, 2.20), ("tpu_like", 1024, 0.04)],
)
def test_a_preset_has_the_multipliers_of_its_source(name, elements, mac_pj):
    target = load_target(name)
    assert target.processing_elements == elements
    bits = target.native_bits
    energy_j = target.arithmetic.energy_j(bits, bits, target.partial_sum_bits)
    assert energy_j == pytest.approx(mac_pj * 1e-12, rel=1e-5)


def test_edge_npu_multiplies_128_times_a_cycle():
    edge = load_target("edge_npu")
    assert (edge.processing_elements, edge.clock_hz) == (128, 500e6)
    assert edge.level("sram").bandwidth_bits_per_cycle == pytest.approx(64)  # 4e9 * 8 / 500e6


def test_ethos_u55_like_multiplies_128_times_in_each_of_the_four_cycles_of_a_beat():
    ethos = load_target("ethos_u55_like")
    assert ethos.processing_elements * ethos.clock_hz == 128 * 500e6
    assert ethos.level("sram").bandwidth_bits_per_cycle == pytest.approx(4 * 64)  # 4e9 * 8 / 125e6
    assert ethos.main_memory.bandwidth_bits_per_cycle == pytest.approx(4 * 8)  # 0.5e9 * 8 / 125e6


@pytest.mark.parametrize(
    ("name", "file_words"),
    [("eye3", [(256, TENSORS)]), ("eye16", [(12, ("input",)), (224, ("weight",)), (24, ("output",))])],
)
def test_the_common_targets_are_as_mapping_tools_were_compared_on_them(name, file_words):
    target = load_target(name)
    dram, buffer, *files = target.levels
    # 1 unit = 1 pJ: file 1, buffer 6, DRAM 200, MAC 1
    assert (dram.read_energy_j, dram.write_energy_j) == (200e-12, 200e-12)
    assert (buffer.read_energy_j, buffer.write_energy_j) == (6e-12, 6e-12)
    assert [(f.read_energy_j, f.write_energy_j) for f in files] == [(1e-12, 1e-12)] * len(files)
    assert target.arithmetic.energy_j(16, 16, 16) == 1e-12
    assert {level.word_bits for level in target.levels} == {16}
    assert (dram.bandwidth_bits_per_cycle, buffer.bandwidth_bits_per_cycle) == (4 * 16, 32 * 16)
    assert [level.bandwidth_bits_per_cycle for level in files] == [None] * len(files)
    assert buffer.size_bits == 108 * 1024 * 8 == 55296 * 16
    assert set(buffer.may_bypass) == set(buffer.holds) == set(TENSORS)
    assert [(level.size_bits, level.holds) for level in files] == [(16 * n, holds) for n, holds in file_words]
    (array,) = target.arrays
    assert (array.below, array.rows, array.columns, array.hop_energy_j) == (buffer.name, 14, 12, 0.0)
    assert set(array.row_dimensions) == set(array.column_dimensions) == set(DIMENSIONS)
    assert (target.native_bits, target.partial_sum_bits, target.static_power_w) == (16, 16, 0.0)


def test_eyeriss_synergy_loops_as_its_source():
    # arXiv 2404.05368, with its P Q R S written Q P S R: DRAM R=S=P=1; buffer Q=R=S=1, of which R and S are
    # free here; spads C, M and R
    dram, buffer, *spads = load_target("eyeriss_synergy").levels
    assert set(DIMENSIONS) - set(dram.loops) == {"S", "R", "Q"}
    assert set(DIMENSIONS) - set(buffer.loops) == {"P"}
    assert [set(spad.loops) for spad in spads] == [{"C", "K", "S"}] * 3


def test_the_example_dataflows_are_named_as_their_files():
    assert [path.stem for path in DATAFLOWS] == [
        f"{tensor}_stationary" for tensor in ("input", "output", "row", "weight")
    ]
    assert [load_target(path).name for path in DATAFLOWS] == [path.stem for path in DATAFLOWS]
    assert {load_target(path).processing_elements for path in DATAFLOWS} == {256}


def test_what_a_level_lets_pass_by_loops_over_and_keeps_is_read():
    text = TOY.replace(
        "source: a book",
        "may_bypass: [output]\n    loops: [K, C, P]\n    stationary: [weight, output]\n    double_buffered: true",
    ).replace("holds: [weight]", "holds: [weight]\n    loops: []")
    dram, buffer, registers = parse_target(text, "toy.yaml").levels
    assert (buffer.may_bypass, buffer.loops) == (("output",), ("K", "C", "P"))
    assert buffer.stationary == ("weight", "output")
    assert (buffer.double_buffered, registers.double_buffered) == (True, False)
    assert (registers.loops, registers.stationary) == ((), TENSORS)
    assert (dram.may_bypass, dram.loops, dram.stationary) == ((), DIMENSIONS, TENSORS)


def test_a_dimension_that_no_level_loops_over_must_be_unrolled():
    text = TOY.replace("    word_bits", "    loops: [N, G, K, P, Q, S]\n    word_bits")
    assert {level.loops for level in parse_target(text, "toy.yaml").levels} == {
        ("N", "G", "K", "P", "Q", "S")
    }
    # One row unrolls nothing.
    assert message_of(text.replace("rows: 4", "rows: 1")) == (
        "toy.yaml: no level may loop over C, R, and no array may unroll them"
    )


def test_a_nest_starts_where_activations_stay():
    text = TOY + "activations: {level: buffer}\n"
    inside = text.replace("holds: [weight]", "holds: [weight]\n    loops: [P, Q]")
    assert message_of(inside.replace("source: a book", "loops: [N, G, K]")) == (
        "toy.yaml: no level may loop over S, and no array may unroll it"
    )
    assert message_of(text.replace("source: a book", "may_bypass: [input]")) == (
        "toy.yaml: levels[1].may_bypass: activations stay in 'buffer'"
    )


@pytest.mark.parametrize(
    ("of_sums", "message"),
    [
        ("loops: [K, P]", None),
        ("loops: [K]", "no level may loop over P, and no array may unroll it"),
        (
            "loops: [P], stationary: [output]",
            "levels 'registers', 'sums' lie side by side, but have no stationary tensor in common",
        ),
    ],
)
def test_levels_side_by_side_share_their_loops(of_sums, message):
    text = (
        TOY.replace("bandwidth: 0.8 GB/s", "loops: [N, G]")
        .replace("source: a book", "loops: [Q, S]")
        .replace("holds: [weight]", "holds: [weight]\n    loops: [C, P]\n    stationary: [weight]")
    )
    sums = (
        f"  - {{name: sums, words: 4, word_bits: 16, holds: [output], energy: {{access: 1 fJ}}, {of_sums}}}\n"
    )
    text = text.replace("arrays:\n", sums + "arrays:\n")
    if message is None:
        assert parse_target(text, "toy.yaml").levels[3].loops == ("K", "P")
    else:
        assert message_of(text) == f"toy.yaml: {message}"


def test_where_activations_stay_is_read():
    text = TOY + "activations: {level: buffer, channels: 16}\ncoded_weights: true\nvector_cycles: {Add: 2}\n"
    toy = parse_target(text, "toy.yaml")
    assert toy.activations == Residence(level="buffer", channels=16)
    assert (toy.coded_weights, toy.vector_cycles) == (True, {"Add": 2.0})
    assert {n.key: n.text for n in toy.numbers()}["vector_cycles.Add"] == "2 cycle/element"
    plain = parse_target(TOY, "toy.yaml")
    assert (plain.activations, plain.coded_weights, plain.vector_cycles) == (None, False, {})


# ---------------------------------------------------------------------------------------------
# Names and files


def test_an_unknown_name_has_the_nearest_preset_and_how_to_give_a_file():
    with pytest.raises(TargetError) as caught:
        load_target("eyeris")
    assert str(caught.value) == (
        "unknown target 'eyeris', did you mean 'eyeriss'? Or give a YAML file by its path, ./eyeris.yaml"
    )
    with pytest.raises(TargetError) as caught:
        load_target("zzz")
    assert str(caught.value) == (
        f"unknown target 'zzz'; valid: {', '.join(PRESETS)}; or give a YAML file by its path, ./zzz.yaml"
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TargetError) as caught:
        load_target(tmp_path / "gone.yaml")
    assert str(caught.value) == f"there is no target file {tmp_path / 'gone.yaml'}"


def test_a_folder_is_not_a_target(tmp_path):
    with pytest.raises(TargetError) as caught:
        load_target(tmp_path)
    assert str(caught.value) == f"cannot read target file {tmp_path}: Is a directory"


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(TargetError) as caught:
        load_target(path)
    assert str(caught.value) == f"cannot read target file {path}: it is not UTF-8 text"


def test_a_file_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(TargetError) as caught:
        load_target(path)
    assert str(caught.value) == f"{path}: {MAX_BYTES + 1} bytes are too large for a target"


# ---------------------------------------------------------------------------------------------
# Mistakes in the text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "toy.yaml: a target is a mapping of keys such as 'name' and 'levels'"),
        ("- a\n- b\n", "toy.yaml: a target is a mapping of keys such as 'name' and 'levels'"),
        ("name: [a\nclock", "toy.yaml, line 2, column 6: expected ',' or ']', but got '<stream end>'"),
        ("name: toy\n\tclock: 1", "toy.yaml, line 2, column 1: found character '\\t' that cannot start any token"),
        ("name: toy\nname: toy\n", "toy.yaml, line 2, column 1: key 'name' is given twice"),
        ("a: &x [1]\nb: *x\n", "toy.yaml, line 2, column 4: references (*name) are not allowed in a target"),
        ("a: " + "[" * 40, "toy.yaml, line 1, column 19: nested more than 16 deep"),
        ("a: !!python/name:os.system x", "toy.yaml, line 1, column 4: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("{}: 1", "toy.yaml, line 1, column 1: found unhashable key"),
        ("name: 2020-13-45", "toy.yaml: not YAML: month must be in 1..12"),
        ("name: 0x_", "toy.yaml: not YAML: invalid literal for int() with base 16: ''"),
        ("name: \x01", "toy.yaml: not YAML: unacceptable character #x0001: special characters are not allowed"),
    ],
)  # fmt: skip
def test_what_is_not_yaml_is_refused_with_its_place(text, message):
    assert message_of(text) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    rows: 4", "    pe_row: 4", "unknown key 'pe_row' in arrays[0], did you mean 'rows'?; arrays[0].rows is missing"),
        ("clock:", "clok:", "unknown key 'clok', did you mean 'clock'?; clock is missing"),
        ("{table: lpddr4}", "{tabel: lpddr4}", "unknown key 'tabel' in levels[0].energy, did you mean 'table'?; levels[0].energy needs table or access or read and write"),
        ("add_bits: 32", "adding: 32", "unknown key 'adding' in arithmetic, did you mean 'add'?; arithmetic needs table or multiply and multiply_bits and add and add_bits"),
        ("columns: 2", "columns: four", "arrays[0].columns must be a whole number, got 'four'"),
        ("columns: 2", "columns: 2.5", "arrays[0].columns must be a whole number, got 2.5"),
        ("columns: 2", "columns: yes", "arrays[0].columns must be a whole number, got True"),
        ("columns: 2", "columns:", "arrays[0].columns must be a whole number, got nothing"),
        ("columns: 2", "columns: 0", "arrays[0].columns must be at least 1, got 0"),
        ("rows: 4", "rows: -4", "arrays[0].rows must be at least 1, got -4"),
        ("rows: 4", "rows: 9999999999", "arrays[0].rows must be at most 1000000000, got 9999999999"),
        ("name: toy", "name: 7", "name must be text, got 7"),
        ("name: toy", "name: ''", "name must be text, got ''"),
        ("clock: 100 MHz", "clock: 100", "clock must be a frequency with its unit, such as '200 MHz', got 100"),
        ("clock: 100 MHz", "clock: 0 Hz", "clock must be above 0, got '0 Hz'"),
        ("clock: 100 MHz", "clock: 100 mhz", "clock cannot be read: '100 mhz': unknown unit 'mhz' of frequency, did you mean 'MHz'?"),
        ("multiply: 3.1 pJ", "multiply: -3.1 pJ", "arithmetic.multiply must be at least 0, got '-3.1 pJ'"),
        ("multiply: 3.1 pJ", "multiply: 3.1", "arithmetic.multiply must be an energy with its unit, such as '2.2 pJ', got 3.1"),
        ("multiply: 3.1 pJ, ", "", "arithmetic needs table or multiply and multiply_bits and add and add_bits"),
        ("size: 32 KiB", "size: -32 KiB", "levels[1].size must be above 0, got '-32 KiB'"),
        ("size: 32 KiB", "size: 32", "levels[1].size must be a size with its unit, such as '108 KiB', got 32"),
        ("size: 32 KiB", "size: 0.1 bit", "levels[1].size must be a whole number of bits, got '0.1 bit'"),
        ("size: 32 KiB", "size: 8 bit", "levels[1].size: 8 bit is less than one word of 64 bit"),
        ("size: 32 KiB", "size: 64 MiB", "levels[1].energy: table 'cacti45' covers memories of 512 B to 2 MiB, not of 64 MiB: give the energy itself"),
        ("    size: 32 KiB\n", "", "levels[1].size is missing"),
        ("size: 32 KiB", "size: 32 KiB\n    words: 4096", "levels[1] has both size and words, give one"),
        ("bandwidth: 0.8 GB/s", "size: 1 GiB", "levels[0].size: the main memory is unbounded and takes no size"),
        ("0.8 GB/s", "0.8 GB", "levels[0].bandwidth must be such as '64 bit/cycle' or '3.2 GB/s', got '0.8 GB'"),
        ("0.8 GB/s", "0.8 GB/h", "levels[0].bandwidth is per cycle or per s, got '0.8 GB/h'"),
        ("0.8 GB/s", "0 GB/s", "levels[0].bandwidth must be above 0, got '0 GB'"),
        ("{table: cacti45}", "{table: cacti}", "levels[1].energy: unknown technology table 'cacti', did you mean 'cacti65'?"),
        ("{table: cacti45}", "{table: eyeriss65, row: bufer}", "levels[1].energy: table 'eyeriss65' has no row 'bufer', did you mean 'buffer'?"),
        ("{table: cacti45}", "{table: cacti45, node_nm: 5}", "levels[1].energy: no energy ratio for a node of 5 nm; known (nm): 7, 16, 28, 45, 65"),
        ("{table: cacti45}", "{table: cacti45, read: 1 pJ}", "levels[1].energy has both table and read, give one"),
        ("{table: cacti45}", "cacti45", "levels[1].energy must be a mapping of keys, got 'cacti45'"),
        ("{table: cacti45}", "{access: 1 pJ, row: sram}", "levels[1].energy.row means nothing without table"),
        ("{read: 1 fJ, write: 2 fJ}", "{read: 1 fJ}", "levels[2].energy needs table or access or read and write"),
        ("{read: 1 fJ, write: 2 fJ}", "{access: 1 fJ, read: 1 fJ}", "levels[2].energy needs table or access or read and write"),
        ("holds: [weight]", "holds: [wieght]", "levels[2].holds names unknown tensor 'wieght', did you mean 'weight'?"),
        ("holds: [weight]", "holds: weight", "levels[2].holds must be a list of tensors, got 'weight'"),
        ("holds: [weight]", "holds: [weight, weight]", "levels[2].holds names a tensor twice: weight, weight"),
        ("holds: [weight]", "holds: []", "levels[2].holds must name at least one tensor"),
        ("holds: [weight]", "holds: [weight]\n    loops: [k, C]", "levels[2].loops names unknown dimension 'k', did you mean 'K'?"),
        ("holds: [weight]", "holds: [weight]\n    loops: [K, K]", "levels[2].loops names a dimension twice: K, K"),
        ("holds: [weight]", "holds: [weight]\n    loops: K", "levels[2].loops must be a list of dimensions, got 'K'"),
        ("holds: [weight]", "holds: [weight]\n    lops: [K]", "unknown key 'lops' in levels[2], did you mean 'loops'?"),
        ("holds: [weight]", "holds: [weight]\n    stationary: []", "levels[2].stationary must name at least one tensor"),
        ("holds: [weight]", "holds: [weight]\n    stationary: [wieght]", "levels[2].stationary names unknown tensor 'wieght', did you mean 'weight'?"),
        ("holds: [weight]", "holds: [weight]\n    may_bypass: [wieght]", "levels[2].may_bypass names unknown tensor 'wieght', did you mean 'weight'?"),
        ("holds: [weight]", "holds: [weight]\n    may_bypass: [input, output]", "levels[2].may_bypass: it does not hold input, output"),
        ("bandwidth: 0.8 GB/s", "may_bypass: [input]", "levels[0].may_bypass: nothing passes the main memory by"),
        ("bandwidth: 0.8 GB/s", "holds: [input]", "levels[0].holds: the main memory must hold input, weight, output"),
        ("source: a book", "holds: [weight]", "no level below the main memory holds 'input'; no level below the main memory holds 'output'"),
        ("name: registers", "name: buffer", "levels[2].name 'buffer' is used twice"),
        ("below: buffer", "below: bufer", "arrays[0].below names no level 'bufer', did you mean 'buffer'?"),
        ("arrays:\n", "arrays:\n  - {name: b, below: buffer, rows: 1, columns: 1, row_dimensions: [], column_dimensions: []}\n", "arrays[1].below: level 'buffer' has an array already"),
        ("[C, R]", "[C, Z]", "arrays[0].row_dimensions names unknown dimension 'Z'; valid: C, G, K, N, P, Q, R, S"),
        ("[C, R]", "[c, R]", "arrays[0].row_dimensions names unknown dimension 'c', did you mean 'C'?"),
        ("[C, R]", "[]", "arrays[0].row_dimensions names no dimension for 4 rows"),
        ("native_bits: 8", "native_bits: 64", "partial_sum_bits (32) is below native_bits (64)"),
        ("native_bits: 8", "operand_bits: [2, 2]\nnative_bits: 8", "operand_bits must be a list of different widths of 1 to 64 bits, got [2, 2]"),
        ("native_bits: 8", "sources: {clok: x}\nnative_bits: 8", "unknown key 'clok' in sources, did you mean 'clock'?"),
        ("source: a book", "sources: {sise: x}", "unknown key 'sise' in levels[1].sources, did you mean 'size'?"),
        ("source: a book", "source: 3", "levels[1].source must be text, got 3"),
        ("native_bits: 8", "1: 2\nnative_bits: 8", "unknown key '1'; valid: activations, area, arithmetic, arrays, clock, coded_weights, description, levels, mac_supply, mac_table, name, native_bits, operand_bits, partial_sum_bits, source, sources, sparse, static_power, vector_cycles"),
        ("native_bits: 8", "activations: buffer\nnative_bits: 8", "activations must be a mapping of keys, got 'buffer'"),
        ("native_bits: 8", "activations: {level: buffer, chanels: 4}\nnative_bits: 8", "unknown key 'chanels' in activations, did you mean 'channels'?"),
        ("native_bits: 8", "activations: {level: bufer}\nnative_bits: 8", "activations.level names no level 'bufer', did you mean 'buffer'?"),
        ("native_bits: 8", "sparse: {skp: [weight]}\nnative_bits: 8", "unknown key 'skp' in sparse, did you mean 'skip'?"),
        ("native_bits: 8", "sparse: {skip: [weights]}\nnative_bits: 8", "sparse.skip names unknown operand 'weights', did you mean 'weight'?"),
        ("native_bits: 8", "sparse: {storage: {input: bitmp}}\nnative_bits: 8", "sparse.storage.input names an unknown format, 'bitmp', did you mean 'bitmap'?"),
        ("native_bits: 8", "sparse: {structure: {keep: 5, of: 4}, skip: [weight]}\nnative_bits: 8", "sparse.structure keeps 5 of 4: expected 1 to 4"),
        ("native_bits: 8", "sparse: {structure: {of: 4}}\nnative_bits: 8", "sparse.skip: an array of structured weights does not skip zeros of the input"),
        ("native_bits: 8", "sparse: {storage: {weight: structured}}\nnative_bits: 8", "sparse.storage.weight: 'structured' needs a structure"),
        ("native_bits: 8", "coded_weights: 1\nnative_bits: 8", "coded_weights must be true or false, got 1"),
        ("native_bits: 8", "vector_cycles: {Add: slow}\nnative_bits: 8", "vector_cycles.Add must be a number, got 'slow'"),
        ("native_bits: 8", "vector_cycles: {Add: -1.0}\nnative_bits: 8", "vector_cycles.Add must be at least 0.0, got -1.0"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_the_nearest_valid_one(old, new, message):
    assert old in TOY
    assert message_of(TOY.replace(old, new, 1)) == f"toy.yaml: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOY[: TOY.index("levels:")] + "levels: []\n", "toy.yaml: levels must have at least 1 entry"),
        (TOY[: TOY.index("levels:")] + "levels: 3\n", "toy.yaml: levels must be a list, got 3"),
        (TOY[: TOY.index("levels:")], "toy.yaml: levels is missing"),
        (TOY[: TOY.index("arrays:")] + "arrays: [3]\n", "toy.yaml: arrays[0] must be a mapping of keys, got 3"),
        (TOY.replace("{multiply: 3.1 pJ, multiply_bits: 32, add: 0.1 pJ, add_bits: 32}", "{table: cacti45}"),
         "toy.yaml: arithmetic: table 'cacti45' has no arithmetic; tables that have: eyeriss65, horowitz45, tpuv4i7"),
    ],
)  # fmt: skip
def test_a_part_that_is_no_part_is_named(text, message):
    assert message_of(text) == message


def test_all_mistakes_are_in_one_message():
    text = (
        TOY.replace("rows: 4", "pe_row: 4")
        .replace("columns: 2", "columns: four")
        .replace("below: buffer", "below: cache")
        .replace("clock: 100 MHz", "clock: fast")
        .replace("size: 32 KiB", "size: -1 B")
    )
    assert message_of(text) == (
        "toy.yaml: unknown key 'pe_row' in arrays[0], did you mean 'rows'?; "
        "clock cannot be read: 'fast' is not a quantity: expected a number and a unit of frequency; "
        "levels[1].size must be above 0, got '-1 B'; "
        "arrays[0].rows is missing; "
        "arrays[0].columns must be a whole number, got 'four'; "
        "arrays[0].below names no level 'cache'; valid: buffer, dram, registers"
    )


def test_mistakes_in_what_a_level_may_do_are_in_one_message():
    text = (
        TOY.replace("bandwidth: 0.8 GB/s", "may_bypass: [weight]")
        .replace("source: a book", "loops: [K, c]\n    stationary: []")
        .replace("holds: [weight]", "holds: [weight]\n    may_bypass: [input]")
        .replace("rows: 4", "rows: four")
    )
    assert message_of(text) == (
        "toy.yaml: levels[1].loops names unknown dimension 'c', did you mean 'C'?; "
        "levels[1].stationary must name at least one tensor; "
        "arrays[0].rows must be a whole number, got 'four'; "
        "levels[0].may_bypass: nothing passes the main memory by; "
        "levels[2].may_bypass: it does not hold input"
    )


GARBAGE = [
    "", "~", "[]", "{}", "-1", "0", "1e400", "nan", ".inf", "2020-13-45", "12:30", "yes", "four", "'", '"x',
    "!!binary x", "!!python/object:os.system x", "*a", "&a x", "|", "? x", "- x", "[1, 2", "{a: b", "\\x00",
    "999999999999999999999999", "0x", "0b2", "=", "<<: x", "1 pJ", "-5 KiB", "µ", "\u2028", "[[[[[[[[[[", "!!int x",
]  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(PRESETS), st.integers(0, 2**32), st.integers(1, 4))
def test_a_damaged_preset_is_a_target_or_a_target_error(name, seed, damages):
    text = (Path(__file__).parents[2] / "src/chipfit/hardware/library" / f"{name}.yaml").read_text()
    lines = text.splitlines()
    rng = random.Random(seed)
    for _ in range(damages):
        index = rng.randrange(len(lines))
        key, colon, value = lines[index].partition(":")
        damage = rng.randrange(5)
        if damage == 0 and len(lines) > 1:
            del lines[index]
        elif damage == 1:
            lines[index] = key[:-1] + colon + value
        elif damage == 2:
            lines[index] = f"{key}{colon} {rng.choice(GARBAGE)}"
        elif damage == 3:
            lines.insert(index, lines[rng.randrange(len(lines))])
        else:
            place = rng.randrange(len(lines[index]) + 1)
            lines[index] = lines[index][:place] + rng.choice(GARBAGE) + lines[index][place:]
    try:
        parse_target("\n".join(lines), "damaged.yaml")
        message = "damaged.yaml"
    except TargetError as error:
        message = str(error)
    assert message.startswith("damaged.yaml")


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=60))
def test_any_text_is_a_target_error(text):
    with pytest.raises(TargetError, match=r"^x\.yaml"):
        parse_target(text, "x.yaml")

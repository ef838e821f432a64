"""Targets as data: validated on creation, readable as JSON, every number with its source."""

import json
from dataclasses import replace

import pytest

from chipfit.errors import TargetError
from chipfit.hardware.target import Arithmetic, Array, MemoryLevel, Residence, Target


def level(name: str, **fields) -> MemoryLevel:
    defaults = {"word_bits": 16, "read_energy_j": 1e-12, "write_energy_j": 2e-12, "source": "a book"}
    return MemoryLevel(name=name, **{**defaults, **fields})


DRAM = level("dram", bandwidth_bits_per_cycle=64)
BUFFER = level("buffer", size_bits=8192)
PE = Array(
    name="pe", below="buffer", rows=3, columns=5, row_dimensions=("C",), column_dimensions=("K",), source="s"
)
TOY = Target(
    name="toy",
    description="",
    source="a page",
    clock_hz=1e8,
    native_bits=8,
    partial_sum_bits=24,
    arithmetic=Arithmetic(multiply_j=1e-12, multiply_bits=8, add_j=1e-13, add_bits=16, source="a table"),
    levels=(DRAM, BUFFER),
    arrays=(PE,),
    sources={"clock": "a clock", "levels.buffer.size": "a ruler"},
)


def test_a_target_survives_json_and_can_be_a_key():
    again = Target.from_json(json.loads(json.dumps(TOY.to_json())))
    assert again == TOY
    assert {TOY: 1}[again] == 1


def test_where_activations_stay_survives_json():
    resident = replace(
        TOY,
        activations=Residence(level="buffer", channels=16),
        coded_weights=True,
        vector_cycles={"Add": 0.5},
    )
    again = Target.from_json(json.loads(json.dumps(resident.to_json())))
    assert again == resident
    assert {resident: 1}[again] == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "not a target in JSON: 'levels'"),
        ({**TOY.to_json(), "levels": 3}, "not a target in JSON: 'int' object is not iterable"),
    ],
)
def test_json_that_is_no_target_is_refused(data, message):
    with pytest.raises(TargetError) as caught:
        Target.from_json(data)
    assert str(caught.value) == message


def test_elements_multiply():
    inner = replace(PE, name="inner", below="dram", rows=2, columns=1)
    assert PE.elements == 15
    assert replace(TOY, arrays=(inner, PE)).processing_elements == 30
    assert replace(TOY, arrays=()).processing_elements == 1


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "exact_bits", "expected"),
    [
        (8, 8, 26, 24),  # the chip's own width
        (4, 8, 22, 24),  # one operand of the native width: the chip's own width too
        (4, 4, 18, 18),  # narrow: exact
        (4, 4, 40, 32),  # never wider than 32 bits
    ],
)
def test_the_accumulator_is_native_at_native_width_and_exact_below(
    weight_bits, input_bits, exact_bits, expected
):
    assert TOY.accumulator_bits(weight_bits, input_bits, exact_bits) == expected


def test_arithmetic_follows_the_widths():
    # 1 pJ * (4 * 8) / 64 + 0.1 pJ * 24 / 16 = 0.5 + 0.15 pJ
    assert TOY.arithmetic.energy_j(4, 8, 24) == pytest.approx(0.65e-12)


def test_every_number_has_its_value_its_text_and_its_source():
    numbers = {number.key: number for number in TOY.numbers()}
    assert len(numbers) == len(TOY.numbers())
    assert (numbers["clock"].text, numbers["clock"].source) == ("100 MHz", "a clock")
    assert (numbers["native_bits"].value, numbers["native_bits"].source) == (8, "a page")
    assert (numbers["levels.buffer.size"].text, numbers["levels.buffer.size"].source) == ("1 KiB", "a ruler")
    assert numbers["levels.buffer.write_energy"].text == "2.00 pJ"
    assert numbers["levels.dram.bandwidth"].text == "64 bit/cycle"
    assert "levels.dram.size" not in numbers
    assert (numbers["arrays.pe.columns"].value, numbers["arrays.pe.columns"].source) == (5, "s")
    assert numbers["arithmetic.add"].source == "a table"


def test_numbers_of_where_activations_stay_have_their_sources_too():
    sources = {"activations": "a brick", "vector_cycles": "a stopwatch"}
    resident = replace(
        TOY, activations=Residence(level="buffer", channels=16), vector_cycles={"Add": 0.5}, sources=sources
    )
    numbers = {number.key: number for number in resident.numbers()}
    assert (numbers["activations.channels"].text, numbers["activations.channels"].source) == ("16", "a brick")
    assert numbers["vector_cycles.Add"].text == "0.5 cycle/element"
    assert numbers["vector_cycles.Add"].source == "a stopwatch"


def test_a_level_is_found_by_name():
    assert TOY.level("buffer") is BUFFER
    assert TOY.main_memory is DRAM
    with pytest.raises(TargetError) as caught:
        TOY.level("bufer")
    assert str(caught.value) == "target 'toy' has no memory level 'bufer'"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clock_hz": 0.0}, "clock_hz must be above 0, got 0"),
        ({"clock_hz": float("nan")}, "clock_hz must be above 0, got nan"),
        ({"native_bits": 0}, "native_bits must be at least 1, got 0"),
        ({"static_power_w": -1.0}, "static_power_w must be at least 0, got -1"),
        ({"levels": ()}, "levels must name at least the main memory"),
        ({"levels": (BUFFER, DRAM)}, "levels[0].size: the main memory is unbounded and takes no size"),
        ({"levels": (DRAM, DRAM, BUFFER)}, "levels[1].name 'dram' is used twice"),
        (
            {"levels": (replace(DRAM, holds=("input",)), BUFFER)},
            "levels[0].holds: the main memory must hold input, weight, output",
        ),
        (
            {"levels": (DRAM, replace(BUFFER, size_bits=8))},
            "levels[1].size: 8 bit is less than one word of 16 bit",
        ),
        (
            {"levels": (DRAM, replace(BUFFER, read_energy_j=-1.0))},
            "levels[1].read_energy_j must be at least 0, got -1",
        ),
        (
            {"levels": (DRAM, replace(BUFFER, may_bypass=("wieght", "input"), holds=("weight", "output")))},
            "levels[1].may_bypass names unknown tensor 'wieght', did you mean 'weight'?; "
            "levels[1].may_bypass: it does not hold input",
        ),
        (
            {"levels": (DRAM, replace(BUFFER, loops=("K", "Z")))},
            "levels[1].loops names unknown dimension 'Z'; valid: C, G, K, N, P, Q, R, S",
        ),
        (
            {"levels": (DRAM, replace(BUFFER, stationary=()))},
            "levels[1].stationary must name at least one tensor",
        ),
        (
            {"levels": (replace(DRAM, may_bypass=("input",)), BUFFER)},
            "levels[0].may_bypass: nothing passes the main memory by",
        ),
        (
            {
                "levels": (DRAM, replace(BUFFER, may_bypass=("output",))),
                "activations": Residence(level="buffer"),
            },
            "levels[1].may_bypass: activations stay in 'buffer'",
        ),
        (
            # The array unrolls C and K.
            {"levels": (replace(DRAM, loops=("N", "G", "P")), replace(BUFFER, loops=("Q", "R")))},
            "no level may loop over S, and no array may unroll it",
        ),
        (
            {
                "levels": (
                    DRAM,
                    BUFFER,
                    level("left", size_bits=64, holds=("input",), stationary=("input",)),
                    level("right", size_bits=64, holds=("weight",), stationary=("weight",)),
                )
            },
            "levels 'left', 'right' lie side by side, but have no stationary tensor in common",
        ),
        ({"arrays": (replace(PE, rows=0),)}, "arrays[0].rows must be at least 1, got 0"),
        (
            {"arrays": (replace(PE, below="bufer"),)},
            "arrays[0].below names no level 'bufer', did you mean 'buffer'?",
        ),
        (
            {"activations": Residence(level="bufer")},
            "activations.level names no level 'bufer', did you mean 'buffer'?",
        ),
        (
            {"activations": Residence(level="dram")},
            "activations.level: 'dram' is the main memory, where they stay anyway",
        ),
        (
            {
                "activations": Residence(level="buffer"),
                "levels": (DRAM, replace(BUFFER, holds=("input",))),
                "arrays": (replace(PE, below="dram"),),
            },
            "activations.level: 'buffer' must hold input, weight, output; "
            "activations.level: 'buffer' is inside the array 'pe'",
        ),
        (
            {"activations": Residence(level="buffer", channels=0)},
            "activations.channels must be at least 1, got 0",
        ),
        ({"coded_weights": True}, "coded_weights means nothing without activations"),
        ({"vector_cycles": {"Add": -1.0}}, "vector_cycles.Add must be at least 0, got -1"),
        (
            {"native_bits": 0, "arrays": (PE, replace(PE, rows=0))},
            "native_bits must be at least 1, got 0; arrays[1].rows must be at least 1, got 0; "
            "arrays[1].name 'pe' is used twice; arrays[1].below: level 'buffer' has an array already",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_message(change, message):
    if change.get("levels") == ():
        change = {**change, "arrays": ()}
    with pytest.raises(TargetError) as caught:
        replace(TOY, **change)
    assert str(caught.value) == f"target 'toy': {message}"

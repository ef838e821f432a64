from dataclasses import asdict

import pytest

import chipfit
from chipfit.errors import TargetError
from chipfit.hardware.load import parse_target
from chipfit.hardware.sparse import SparseArray, Structure

YAML = """
name: toy
clock: 1 GHz
native_bits: 8
arithmetic: {table: horowitz45}
levels:
  - {name: dram, word_bits: 64, energy: {table: lpddr4}}
  - {name: buffer, size: 64 KiB, word_bits: 64, energy: {table: cacti45}}
arrays:
  - {below: buffer, rows: 4, columns: 4, row_dimensions: [C], column_dimensions: [K]}
"""


def read(section):
    return parse_target(f"{YAML}sparse: {section}\n", "toy.yaml").sparse


def test_a_section_is_read_whole():
    found = read(
        "{skip: [weight], gate: [input], structure: {keep: 2, of: 4, scope: output}, run_bits: 4, "
        "storage: {weight: structured, input: run_length}, dataflow: weights_first, passes: independent, "
        "fill: none, strips: true, clustering: true}"
    )
    assert found == SparseArray(
        skip=("weight",), gate=("input",), structure=Structure(keep=2, of=4, scope="output"),
        storage={"input": "run_length", "weight": "structured", "output": "dense"}, run_bits=4,
        dataflow="weights_first", passes="independent", fill="none", strips=True, clustering=True,
    )  # fmt: skip


def test_what_is_left_out_is_synchronous_and_skips_both():
    found = read("{}")
    assert found is not None
    assert (found.skip, found.passes, found.pairs) == (("input", "weight"), "synchronous", "matched")
    assert found.format_of("weight") == "dense"


def test_a_target_without_the_section_says_nothing_of_zeros():
    assert chipfit.load_target("eyeriss").sparse is None


def test_options_read_back_from_json():
    for name in ("sense_zcu102", "ampere_2to4_like"):
        found = chipfit.load_target(name).sparse
        assert found is not None
        assert SparseArray.from_json(asdict(found)) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ("weights",)}, "sparse.skip: unknown operand 'weights', did you mean 'weight'?"),
        ({"dataflow": "adaptiv"}, "sparse.dataflow: unknown dataflow 'adaptiv', did you mean 'adaptive'?"),
        ({"run_bits": 0}, "sparse.run_bits must be in 1..16, got 0"),
        (
            {"storage": {"input": "structured"}, "structure": Structure(keep=1, of=4), "skip": ()},
            "sparse.storage.input: only weights are structured",
        ),
        (
            {"structure": Structure(keep=1, of=4, scope="row"), "skip": ()},
            "sparse.structure.scope: unknown scope 'row'; valid: layer, output",
        ),
        (
            {"structure": Structure(keep=1, of=4), "skip": (), "pairs": "cartesian"},
            "sparse.pairs: structured weights are always matched",
        ),
        (
            {"structure": Structure(keep=1, of=4), "skip": (), "consecutive": 4},
            "sparse.consecutive means nothing with a structure",
        ),
    ],
)
def test_contradictions_are_named(options, message):
    with pytest.raises(TargetError) as error:
        SparseArray(**options)
    assert str(error.value) == message


@pytest.mark.parametrize("name", ["sense_zcu102", "swallow_like", "eyeriss_v2", "ampere_2to4_like"])
def test_what_is_ours_is_said_to_be_ours(name):
    target = chipfit.load_target(name)
    assert "ours" in target.sources["sparse"].lower()
    assert target.source.startswith("chipfit's own")


def test_sense_has_the_multipliers_that_its_peak_says():
    target = chipfit.load_target("sense_zcu102")
    # 409.6 GOP/s, two operations a multiply-accumulate, 200 MHz
    assert target.processing_elements * 2 * target.clock_hz == 409.6e9

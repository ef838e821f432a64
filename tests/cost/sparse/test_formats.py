import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_walk import encoded

from chipfit.cost.sparse.formats import expected_bits, stored_bits, structured_bits
from chipfit.errors import MappingError

WRITTEN = ("dense", "bitmap", "run_length", "coordinates", "compressed_rows")


@settings(deadline=None)
@given(
    st.sampled_from(WRITTEN),
    st.integers(1, 6),
    st.integers(1, 40),
    st.floats(0, 1),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_the_size_is_that_of_the_stream_written_out(name, rows, row_elements, density, run_bits, seed):
    mask = np.random.default_rng(seed).random((rows, row_elements)) < density
    metadata, elements = encoded(name, mask, run_bits)
    assert stored_bits(name, mask, 8, run_bits=run_bits) == metadata + 8 * elements


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "run_length"])
def test_what_is_expected_of_a_density_is_exact_where_only_the_number_counts(name):
    mask = np.zeros((4, 32), bool)
    mask[1:3, ::2] = True  # 32 of 128
    assert expected_bits(name, 4, 32, 0.25, 8) == stored_bits(name, mask, 8)


@pytest.mark.parametrize("density", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_runs_of_a_density_are_the_mean_over_a_long_stream(density):
    mask = np.random.default_rng(0).random((1, 2_000_000)) < density
    expected = expected_bits("run_length", 1, mask.size, density, 8, run_bits=3)
    assert stored_bits("run_length", mask, 8, run_bits=3) == pytest.approx(expected, rel=5e-3)


def test_a_run_is_broken_by_a_zero_that_is_written_out():
    # Runs of 0..3 zeros: 00000 1 is (3, 0), (1, x); 00 at the end is (1, 0).
    mask = np.array([[0, 0, 0, 0, 0, 1, 0, 0]], bool)
    assert stored_bits("run_length", mask, 8, run_bits=2) == 3 * (2 + 8)


def test_structured_weights_keep_their_elements_and_two_bits_for_each_place():
    # 2 of 4 of 2 outputs in 3 groups: 12 elements of 8 + 2 bits
    assert structured_bits(np.array([2, 2]), groups=3, of=4, bits=8) == 120


def test_an_unknown_format_is_named_with_the_nearest():
    with pytest.raises(MappingError) as error:
        stored_bits("bitmp", np.ones((1, 1), bool), 8)
    assert str(error.value) == "unknown format 'bitmp', did you mean 'bitmap'?"

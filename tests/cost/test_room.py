"""The size of a map space, and what does not fit where, by how much."""

import math
from dataclasses import replace

import pytest
from every_mapping import chains, nests, targets
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.mapping.model import MapSpace, Widths
from chipfit.cost.mapping.plan import stages, ways_to_hold
from chipfit.cost.mapping.room import check_fits, mappings
from chipfit.errors import MappingError
from chipfit.hardware.load import load_target
from chipfit.hardware.target import TENSORS
from chipfit.testing import eye16, nest_layer, toy_level
from chipfit.workload.network import DIMENSIONS, Loops

NARROW = Widths(input=8, weight=8, output=8, partial_sum=24)


def test_the_size_of_a_space_by_hand():
    # Tiles of K=4 in the register file, elements of the array, tiles of the buffer:
    # 1 x 1: 1, 2, 4; 1 x 2: 2, 4; 1 x 4: 4; 2 x 1: 2, 4; 2 x 2: 4; 4 x 1: 4. Ten ways; the seven other
    # dimensions have one. Three orders in the main memory, three in the buffer; 2 ** 3 ways to pass it by.
    assert mappings(Loops(K=4), load_target("eye3"), MapSpace(ragged=False)) == 10 * 9 * 8
    # Of 3: 1 x 1: 1, 3; 1 x 3: 3; 3 x 1: 3; ragged arrays add 1 x 2, two rounds of which the last is short.
    assert mappings(Loops(K=3), load_target("eye3"), MapSpace(ragged=False)) == 4 * 9 * 8
    assert mappings(Loops(K=3), load_target("eye3"), MapSpace()) == 5 * 9 * 8


def fits_alone(factor, array, name):
    rows = array.rows if name in array.row_dimensions else 1
    columns = array.columns if name in array.column_dimensions else 1
    return any(r * c == factor for r in range(1, rows + 1) for c in range(1, columns + 1))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    targets(),
    nests(24),
    st.sampled_from([MapSpace(), MapSpace(ragged=False), MapSpace(imperfect=True)]),
)
def test_the_size_of_a_space_is_what_there_is(target, loops, space):
    parts = stages(target)
    for part, level in zip(parts, target.levels, strict=True):
        assume(not part.tied or (set(level.loops) == set(DIMENSIONS) and level.stationary == TENSORS))
    size = len(ways_to_hold(target))
    for part, level in zip(parts[:-1], target.levels[:-1], strict=True):
        size *= 1 if part.tied else len(level.stationary)
    for d, bound in enumerate(loops.bounds):
        size *= sum(
            all(
                f == 1 or fits_alone(f, part.array, DIMENSIONS[d])
                for f, part in zip(factors, parts, strict=True)
            )
            for _, factors in chains(bound, parts, target.levels, d, space)
        )
    assert mappings(loops, target, space) == size


def test_the_space_of_a_layer_is_in_its_document():
    layer = nest_layer(Loops(K=64, C=32, P=14, Q=14, R=3, S=3, padding=(2, 2)))
    found = Analytical().layer(layer, load_target("eye3"))
    row = found.to_json()
    assert row["mappings"] == mappings(layer.loops, load_target("eye3"), MapSpace()) > 1e9
    assert row["mappings"] - row["pruned"] == found.priced < 100_000
    assert row["gap"] == 0


RAGGED, EVEN = MapSpace(), MapSpace(ragged=False)


def refused(target, layer, space=RAGGED):
    with pytest.raises(MappingError) as caught:
        Analytical(space=space).layer(layer, target)
    return str(caught.value)


def with_level(target, name, **changes):
    return replace(
        target, levels=tuple(replace(v, **changes) if v.name == name else v for v in target.levels)
    )


def test_an_element_that_does_not_fit_is_named_with_its_words():
    target = replace(eye16(), levels=(*eye16().levels[:4], toy_level("RF_O", 1, 1.0, holds=("output",))))
    with pytest.raises(MappingError) as caught:
        check_fits("conv1", target, NARROW)
    assert str(caught.value) == (
        "layer 'conv1' does not fit eye16: memory 'RF_O' has 1 words of 16 bits, but one element of each "
        "tensor that it must hold takes 2 (output 2), 1 more"
    )


def test_every_memory_that_is_too_small_is_named():
    target = with_level(with_level(eye16(), "GLB", size_bits=3 * 16), "RF_O", size_bits=16)
    with pytest.raises(MappingError) as caught:
        check_fits("conv1", target, NARROW)
    assert str(caught.value) == (
        "layer 'conv1' does not fit eye16: memory 'GLB' has 3 words of 16 bits, but one element of each "
        "tensor that it must hold takes 4 (input 1, weight 1, output 2), 1 more; memory 'RF_O' has 1 words "
        "of 16 bits, but one element of each tensor that it must hold takes 2 (output 2), 1 more"
    )


def test_half_of_a_double_buffered_memory_is_named_as_such():
    target = with_level(eye16(), "GLB", size_bits=6 * 16, double_buffered=True)
    with pytest.raises(
        MappingError, match="memory 'GLB' has 3 words of 16 bits for tiles in use, but one element"
    ):
        check_fits("conv1", target, NARROW)


def test_what_may_pass_by_need_not_fit():
    target = with_level(eye16(shared_file=True), "GLB", size_bits=16, may_bypass=TENSORS)
    found = Analytical().layer(nest_layer(Loops(K=4, C=8)), target)
    assert found.gap == 0
    target = with_level(target, "GLB", may_bypass=("input", "output"))
    found = Analytical().layer(nest_layer(Loops(K=4, C=8), weight_bits=16, input_bits=16), target)
    assert found.plan.tiles[1] != (1,) * 8 or found.plan.holds[1] == ("weight",)


def test_a_memory_of_one_word_for_each_tensor_has_mappings():
    ones = tuple(
        toy_level(f"R_{tensor}", 1, 1.0, holds=(tensor,)) for tensor in ("input", "weight", "output")
    )
    target = replace(eye16(), levels=(*eye16().levels[:2], *ones))
    found = Analytical(objective="energy").layer(
        nest_layer(Loops(K=4, C=8, P=3), weight_bits=16, input_bits=16), target
    )
    assert found.gap == 0
    assert all(extent == 1 for extent in found.plan.tiles[2])


def test_a_tile_that_must_be_large_is_named_with_what_it_takes():
    # The main memory may not loop over C, so the buffer must hold all 64 of it, in 16 words.
    dram, buffer, file = eye16(shared_file=True).levels
    dram, buffer = replace(dram, loops=("K",)), replace(buffer, size_bits=16 * 16)
    target = replace(eye16(shared_file=True), levels=(dram, buffer, file))
    layer = replace(nest_layer(Loops(K=4, C=64), weight_bits=16, input_bits=16), name="conv9")
    assert refused(target, layer) == (
        "layer 'conv9' does not fit eye3: memory 'GLB' has 16 words of 16 bits, but the smallest tile for "
        "its place (C 64) takes 129 (input 64, weight 64, output 1), 113 more; input and weight alone would "
        "not fit"
    )


def test_rows_of_the_input_that_must_stay_are_counted_with_their_halo():
    # Only the file loops over P and R: of a kernel of 3 rows and stride 2, 5 outputs need 11 rows.
    base = eye16(shared_file=True)
    free = tuple(d for d in DIMENSIONS if d not in "PR")
    dram, buffer, file = (replace(v, loops=free) for v in base.levels)
    file = replace(file, loops=DIMENSIONS, size_bits=16 * 16)
    target = replace(base, levels=(dram, buffer, file), arrays=())
    loops = Loops(K=2, P=5, R=3, stride=(2, 1))
    layer = replace(nest_layer(loops, weight_bits=16, input_bits=16), name="conv9")
    assert refused(target, layer) == (
        "layer 'conv9' does not fit eye3: memory 'RF' has 16 words of 16 bits, but the smallest tile for its "
        "place (P 5, R 3) takes 19 (input 11, weight 3, output 5), 3 more"
    )


def looping_only_over_images():
    """A chip whose memories loop over N alone, with 8 elements in a row for the rest."""
    base = eye16(shared_file=True)
    levels = tuple(replace(v, loops=("N",)) for v in base.levels)
    return replace(base, levels=levels, arrays=(replace(base.arrays[0], rows=1, columns=8),))


def test_memories_that_fit_alone_but_not_together_are_said():
    # Each of 5 and 7 fits 8 columns, 35 does not, and no memory may loop over either.
    layer = replace(nest_layer(Loops(K=5, C=7)), name="conv9")
    assert refused(looping_only_over_images(), layer) == (
        "layer 'conv9': no mapping on eye3 keeps to the dimensions over which its levels may loop and its "
        "arrays may unroll; each memory has room for its smallest tile, but not all at once"
    )


def test_a_dimension_that_nothing_takes_is_named():
    layer = replace(nest_layer(Loops(K=11, C=4, S=13)), name="conv9")
    assert refused(looping_only_over_images(), layer) == (
        "layer 'conv9': no mapping on eye3: no level loops over K, S, and no array takes all of it"
    )


def test_sizes_are_counted_beyond_64_bits():
    loops = Loops(N=2**12, G=2**12, K=2**12, C=2**12, P=2**12, Q=2**12, R=2**6, S=2**6)
    size = mappings(loops, eye16(), MapSpace())
    assert size > 2**64
    assert math.isfinite(float(size))

"""Tensors of one memory with tiles of different sizes."""

import contextlib
import json
from dataclasses import asdict, replace

import pytest
from every_mapping import everything, nests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chipfit.cost.base import in_target_format
from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.explain import explain
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import RULES, SPACES, Mapping, Rules, Widths
from chipfit.cost.mapping.parts import arrangements, divided, sharing
from chipfit.cost.mapping.room import mappings
from chipfit.errors import MappingError
from chipfit.hardware.load import load_target
from chipfit.hardware.target import TENSORS, Arithmetic, Array, MemoryLevel, Target
from chipfit.workload.library import load
from chipfit.workload.network import DIMENSIONS, Loops

WIDE = Widths(input=16, weight=16, output=16, partial_sum=16)
NARROW = Widths(input=4, weight=4, output=4, partial_sum=4)
ONES = (1,) * 8


def toy(words: int, columns: int, bypass: tuple[str, ...] = ()) -> Target:
    """A main memory, an array, and a small memory for all tensors, which some may pass by."""
    levels = [
        MemoryLevel(name=name, word_bits=4, read_energy_j=energy, write_energy_j=energy, source="",
                    size_bits=size_bits, may_bypass=passing)
        for name, energy, size_bits, passing in (("main", 64.0, None, ()), ("file", 1.0, 4 * words, bypass))
    ]  # fmt: skip
    array = Array(name="pe", below="main", rows=1, columns=columns, row_dimensions=DIMENSIONS,
                  column_dimensions=DIMENSIONS)  # fmt: skip
    return Target(
        name="toy", description="", source="", clock_hz=1.0, native_bits=4, partial_sum_bits=4,
        arithmetic=Arithmetic(multiply_j=1.0, multiply_bits=4, add_j=0.0, add_bits=16, source=""),
        levels=tuple(levels), arrays=(array,),
    )  # fmt: skip


def cuts(target: Target):
    """The target as it is, and with its memory cut in every way at every word."""
    yield target
    room = target.levels[1].room_words
    for main, outer, inner in arrangements(target):
        for first in range(1, room):
            yield divided(target, (main, (*outer[:2], first), (*inner[:2], room - first)))


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.integers(4, 9),
    st.integers(1, 3),
    st.sampled_from([(), ("input",), ("weight", "output")]),
    nests(12),
    st.sampled_from(["energy", "edp"]),
)
def test_the_search_finds_the_best_of_every_cut_of_a_memory(words, columns, bypass, loops, objective):
    target = toy(words, columns, bypass)
    best = min(
        c.energy_j * (c.cycles if objective == "edp" else 1)
        for cut in cuts(target)
        for c in everything(loops, cut, NARROW, SPACES["even"], RULES["chipfit"])
    )
    extra = {"mac_energy_j": 3.0, "streamed_words": 2.0}
    answer = find(loops, target, NARROW, objective=objective, space=SPACES["uneven"], **extra)
    counts = evaluate(answer.mapping, loops, target, NARROW, **extra)
    found = counts.energy_j * (counts.cycles if objective == "edp" else 1)
    assert found == pytest.approx(answer.score, rel=1e-7)
    assert found == pytest.approx(best, rel=1e-7)
    assert answer.gap == 0


def test_uneven_tiles_win_where_a_word_is_missing():
    """Outputs of 16 channels and 14 rows, and one row of inputs: strides leave gaps in more than one."""
    target, accelforge = load_target("eye3"), RULES["accelforge"]
    loops = Loops(K=256, C=128, P=14, Q=14, stride=(2, 2))
    mapping = Mapping(
        tiles=((1, 1, 256, 128, 14, 14, 1, 1), (1, 1, 256, 128, 14, 7, 1, 1), (1, 1, 16, 1, 14, 1, 1, 1),
               (1, 1, 16, 1, 1, 1, 1, 1), ONES),
        rows=(ONES, (1, 1, 2, 1, 1, 7, 1, 1), ONES, ONES),
        columns=(ONES, (1, 1, 8, 1, 1, 1, 1, 1), ONES, ONES),
        stationary=("weight", "output", "output", "output"),
        holds=(TENSORS, ("weight",), ("weight", "output"), ("input",)),
        parts=(("dram", TENSORS, None), ("global_buffer", TENSORS, 55296),
               ("register_file", ("weight", "output"), 240), ("register_file", ("input",), 16)),
    )  # fmt: skip
    counts = evaluate(mapping, loops, target, WIDE, mac_energy_j=1e-12 * loops.macs, rules=accelforge)
    # What AccelForge 1.0.467 says of its best mapping (facts on mapping, peers' results).
    assert counts.energy_j == pytest.approx(55169024e-12)
    even = find(loops, target, WIDE, space=SPACES["even"], rules=accelforge)
    assert even.gap == 0
    assert counts.energy_j < even.score + 1e-12 * loops.macs
    # One word less, and the outputs do not fit.
    smaller = (*mapping.parts[:2], ("register_file", ("weight", "output"), 239), mapping.parts[3])
    assert evaluate(replace(mapping, parts=smaller), loops, target, WIDE) is None


def test_accelforges_best_mapping_of_a_pointwise_layer():
    """0.2 % below the best even tiles."""
    loops = Loops(K=320, C=960, P=7, Q=7)
    answer = find(
        loops, load_target("eye3"), WIDE, space=SPACES["uneven"], rules=RULES["accelforge"],
        mac_energy_j=1e-12 * loops.macs, effort=2e5,
    )  # fmt: skip
    assert answer.score == pytest.approx(151868800e-12, rel=1e-9)
    assert answer.gap < 0.02
    assert answer.mapping.parts
    assert answer.mappings == mappings(loops, load_target("eye3"), SPACES["uneven"])


def test_files_side_by_side_get_loops_of_their_own():
    target = load_target("eye16")
    beside = arrangements(target)
    assert len(beside) == 6  # the orders of three files
    for parts in beside:
        whole = divided(target, parts)
        assert {level.name for level in whole.levels} == {level.name for level in target.levels}
        assert whole.arrays[0].below == target.arrays[0].below
    loops = Loops(K=32, C=16, P=14, Q=14)
    even, uneven = (
        find(loops, target, WIDE, space=SPACES[name], effort=1e5).score for name in ("even", "uneven")
    )
    assert uneven <= even


def test_a_report_names_the_memories_of_the_target():
    target, network = load_target("eye3"), load("lenet5")
    report = Analytical(objective="energy", space=SPACES["uneven"]).estimate(network, target)
    even = Analytical(objective="energy", space=SPACES["even"]).estimate(network, target)
    known = {level.name for level in target.levels} | {"MAC"}
    cut = 0
    placed, _ = in_target_format(network, target)
    for layer, cost, other in zip(placed.layers, report.layers, even.layers, strict=True):
        assert set(cost.energy_by_component_j) <= known
        assert cost.cost.energy_j == pytest.approx(sum(cost.energy_by_component_j.values()))
        assert cost.cost.energy_j <= other.cost.energy_j * (1 + 1e-9)
        if cost.plan is not None and cost.plan.parts:
            cut += 1
            memories = explain(layer, cost, target)
            assert len(memories) == 4
            assert sum(m.energy_j for m in memories) == pytest.approx(
                sum(v for name, v in cost.energy_by_component_j.items() if name != "MAC")
            )
            assert json.loads(json.dumps(asdict(cost.plan)))["parts"]
    assert cut
    assert "uneven" in report.error


def least_and_every_cut(target, loops, objective, **options):
    """For each way to cut: the score of parts that share a tile, gaps left out, and those of all cuts."""
    room = target.levels[1].room_words
    apart = {"objective": objective, "space": SPACES["even"]}
    for main, outer, inner in arrangements(target):
        shared = find(loops, sharing(target, (main, outer, inner)), NARROW, **apart, **options)
        assert shared.gap == 0
        for first in range(1, room):
            cut = divided(target, (main, (*outer[:2], first), (*inner[:2], room - first)))
            with contextlib.suppress(MappingError):
                yield shared.score, find(loops, cut, NARROW, **apart).score


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(4, 9), st.integers(1, 3), nests(12), st.sampled_from(["energy", "latency", "edp"]))
def test_parts_that_share_a_tile_bound_those_that_do_not(words, columns, loops, objective):
    for least, found in least_and_every_cut(toy(words, columns), loops, objective, rules=Rules(skips=True)):
        assert least <= found * (1 + 1e-7)


def test_strides_leave_gaps_that_a_bound_must_not_count():
    """Two outputs two rows apart: one tile of both fetches three rows, two tiles two."""
    nest, target = Loops(K=2, C=4, P=2, stride=(2, 1)), toy(7, 1)
    counted = list(least_and_every_cut(target, nest, "energy"))
    skipped = list(least_and_every_cut(target, nest, "energy", rules=Rules(skips=True)))
    assert any(least > found for least, found in counted)
    assert all(least <= found * (1 + 1e-7) for least, found in skipped)
    answer = find(nest, target, NARROW, space=SPACES["uneven"])
    assert answer.gap == 0
    assert answer.score == pytest.approx(min(found for _, found in skipped), rel=1e-7)

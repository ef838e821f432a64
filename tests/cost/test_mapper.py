"""The mapper: what it says when stuck, and what its answers are like."""

import math
from dataclasses import replace

import pytest

from chipfit.cost.mapping.mapper import MapSpace, Widths, check_fits, evaluate, find, stages
from chipfit.errors import MappingError
from chipfit.testing import eye16, toy_level, toy_systolic
from chipfit.workload.network import Loops

NATIVE = Widths(input=16, weight=16, output=16, partial_sum=16)


def test_memories_side_by_side_share_one_tile():
    assert [(stage.name, stage.tied) for stage in stages(eye16())] == [
        ("DRAM", False), ("GLB", False), ("RF_I", True), ("RF_W", True), ("RF_O", False),
    ]  # fmt: skip


def test_what_does_not_fit_is_named_with_its_words():
    target = replace(eye16(), levels=(*eye16().levels[:4], toy_level("RF_O", 1, 1.0, holds=("output",))))
    with pytest.raises(MappingError) as caught:
        check_fits("conv1", target, Widths(input=8, weight=8, output=8, partial_sum=24))
    assert str(caught.value) == (
        "layer 'conv1' does not fit eye16: memory 'RF_O' has 1 words of 16 bits, but one element of each "
        "tensor that it holds takes 2 (output 2)"
    )


def test_an_unknown_objective_names_the_nearest():
    with pytest.raises(MappingError) as caught:
        find(Loops(), eye16(), NATIVE, objective="latencie")
    assert str(caught.value) == "unknown objective 'latencie', did you mean 'latency'?"


@pytest.mark.parametrize("objective", ["energy", "latency", "edp", "dram"])
def test_each_objective_is_best_at_its_own(objective):
    loops = Loops(K=16, C=12, P=7, Q=7, R=3, S=3, padding=(2, 2))
    measures = {
        "energy": lambda counts: counts.energy_j,
        "latency": lambda counts: counts.cycles,
        "edp": lambda counts: counts.energy_j * counts.cycles,
        "dram": lambda counts: counts.dram_words,
    }
    for target in (eye16(), toy_systolic()):
        found = {
            name: evaluate(find(loops, target, NATIVE, objective=name).mapping, loops, target, NATIVE)
            for name in measures
        }
        measure = measures[objective]
        assert measure(found[objective]) <= (1 + 1e-7) * min(measure(counts) for counts in found.values())


def test_a_cap_on_cycles_is_kept_at_the_least_energy():
    loops, target = Loops(K=64, C=32, P=14, Q=14, R=3, S=3), eye16()
    free = evaluate(find(loops, target, NATIVE).mapping, loops, target, NATIVE)
    fastest = evaluate(find(loops, target, NATIVE, objective="latency").mapping, loops, target, NATIVE)
    capped = find(loops, target, NATIVE, most_cycles=fastest.cycles)
    counts = evaluate(capped.mapping, loops, target, NATIVE)
    assert counts.cycles == fastest.cycles < free.cycles
    assert free.energy_j < counts.energy_j <= fastest.energy_j
    with pytest.raises(MappingError, match="no mapping on eye16 takes at most 10 cycles"):
        find(loops, target, NATIVE, most_cycles=10)


def test_a_hint_changes_no_score():
    loops, target = Loops(K=12, C=8, P=6, Q=6, R=3, S=3), eye16()
    answer = find(loops, target, NATIVE)
    other = find(loops, target, NATIVE, objective="latency")
    for hint in (answer.mapping, other.mapping):
        assert find(loops, target, NATIVE, hint=hint).score == answer.score


@pytest.mark.parametrize("bound", [1, 997, 2**31 - 1])
def test_bounds_of_one_and_primes_have_mappings(bound):
    for space in (MapSpace(), MapSpace(imperfect=bound < 1000)):
        answer = find(Loops(K=bound, C=2), eye16(), NATIVE, space=space)
        assert answer.gap == 0
        assert math.isfinite(answer.score)

"""The mapper: what it says when stuck, and what its answers are like."""

import math

import pytest

from chipfit.cost.mapping import mapper
from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import MapSpace, Widths
from chipfit.cost.mapping.plan import stages
from chipfit.errors import MappingError
from chipfit.hardware.load import load_target
from chipfit.testing import eye16, toy_systolic
from chipfit.workload.network import Loops

NATIVE = Widths(input=16, weight=16, output=16, partial_sum=16)


def test_memories_side_by_side_share_one_tile():
    assert [(stage.name, stage.tied) for stage in stages(eye16())] == [
        ("DRAM", False), ("GLB", False), ("RF_I", True), ("RF_W", True), ("RF_O", False),
    ]  # fmt: skip


def test_an_unknown_objective_names_the_nearest():
    with pytest.raises(MappingError) as caught:
        find(Loops(), eye16(), NATIVE, objective="latencie")
    assert str(caught.value) == "unknown objective 'latencie', did you mean 'latency'?"


def test_a_search_that_begins_again_counts_what_all_of_it_worked_out(monkeypatch):
    answers = []
    search = mapper._Problem.search

    def noted(problem, space, effort):
        answers.extend(search(problem, space, effort))
        return answers[-1:]

    monkeypatch.setattr(mapper._Problem, "search", noted)
    loops = Loops(K=17, C=12, P=7, Q=7, R=3, S=3, padding=(2, 2))
    quick = find(loops, eye16(), NATIVE)
    assert len(answers) == 1
    assert quick.gap == 0

    monkeypatch.setattr(mapper, "_GLANCE", 1e-9)
    answers.clear()
    again = find(loops, eye16(), NATIVE)
    assert [answer.gap > 0 for answer in answers] == [True, True, False]
    assert again.score == quick.score
    for field in ("cuts", "priced"):
        assert getattr(again, field) == sum(getattr(answer, field) for answer in answers)
        assert getattr(again, field) > getattr(answers[-1], field)


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


def test_more_multiplications_than_64_bits_count():
    loops = Loops(N=2**20, K=2**20, C=2**20, P=2**10)
    assert loops.macs == 2**70
    answer = find(loops, eye16(), NATIVE, space=MapSpace(ragged=False), objective="latency")
    counts = evaluate(answer.mapping, loops, eye16(), NATIVE)
    # No more than 168 processing elements; powers of two that fit 14 x 12 make 64.
    assert counts.compute_cycles == 2**70 / 64
    assert answer.score >= 2**64


@pytest.mark.parametrize("shape", [{"K": 997}, {"P": 997, "R": 3}, {"K": 997, "C": 991, "Q": 13, "S": 7}])
def test_prime_bounds_are_never_cut_into_what_does_not_divide(shape):
    loops = Loops(**shape)
    for space in (MapSpace(), MapSpace(ragged=False), MapSpace(imperfect=True)):
        answer = find(loops, eye16(), NATIVE, space=space)
        counts = evaluate(answer.mapping, loops, eye16(), NATIVE)
        assert counts.compute_cycles >= loops.macs / 168
        assert counts.dram_words >= loops.weight_elements + loops.K * loops.P * loops.Q


def test_a_tolerance_is_kept_and_said():
    loops, target = Loops(K=64, C=32, P=14, Q=14, R=3, S=3, padding=(2, 2)), load_target("eye3")
    exact = find(loops, target, NATIVE, objective="edp")
    quick = find(loops, target, NATIVE, objective="edp", tolerance=0.05)
    assert exact.gap == 0
    assert 0 < quick.gap <= 0.05 + 1e-12
    assert exact.score <= quick.score <= 1.05 * exact.score
    assert quick.priced <= exact.priced


def test_an_answer_says_how_many_mappings_there_are():
    answer = find(Loops(K=4), load_target("eye3"), NATIVE)
    assert answer.mappings == 720  # 8 ways to hold, 10 to cut K (see test_room), 3 x 3 orders
    assert answer.priced < answer.mappings

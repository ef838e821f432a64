"""The search against everything there is: small nests on generated targets, all objectives, all options."""

import itertools

import pytest
from every_mapping import everything, nests, targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chipfit.cost.mapping import setting
from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find, find_all
from chipfit.cost.mapping.model import RULES, Case, MapSpace, Rules, Widths
from chipfit.errors import MappingError
from chipfit.hardware.load import load_target
from chipfit.hardware.target import Arithmetic, Array, MemoryLevel, Target
from chipfit.workload.network import DIMENSIONS, Loops

OBJECTIVES = {
    "energy": lambda c: c.energy_j,
    "latency": lambda c: c.cycles,
    "edp": lambda c: c.energy_j * c.cycles,
    "dram": lambda c: c.dram_words,
}


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    targets(),
    nests(24),
    st.sampled_from([MapSpace(), MapSpace(ragged=False), MapSpace(imperfect=True)]),
    st.sampled_from([(4, 4, 4, 4), (8, 4, 4, 8), (3, 4, 2, 12), (4, 4, 2, 20)]),
    st.sampled_from([*RULES.values(), Rules(skips=True), Rules(union=False, slides=True)]),
)
def test_the_search_finds_the_best_of_everything(target, loops, space, bits, rules):
    widths = Widths(input=bits[0], weight=bits[1], output=bits[2], partial_sum=bits[3])
    counts = list(itertools.islice(everything(loops, target, widths, space, rules), 20_000))
    if len(counts) == 20_000:
        return
    for objective, measure in OBJECTIVES.items():
        best = min(map(measure, counts), default=None)
        if best is None:
            with pytest.raises(MappingError):
                find(loops, target, widths, objective=objective, space=space, rules=rules)
            continue
        extra = {"mac_energy_j": 3.0, "streamed_words": 2.0, "rules": rules}
        answer = find(loops, target, widths, objective=objective, space=space, **extra)
        assert answer.gap == 0
        found = evaluate(answer.mapping, loops, target, widths, **extra)
        assert found is not None
        assert measure(found) == pytest.approx(best, rel=1e-7), objective


@pytest.mark.parametrize("rules", [RULES["timeloop"], RULES["chipfit"]], ids=["tiles", "union"])
def test_rows_that_no_tile_needs_are_not_taken_for_needed(rules):
    """Strides and dilations leave gaps between tiles, so that several take less than one."""
    level = MemoryLevel(name="L0", word_bits=4, read_energy_j=4096.0, write_energy_j=4096.0, source="")
    buffer = MemoryLevel(
        name="L1", word_bits=4, read_energy_j=0.0, write_energy_j=512.0, source="", size_bits=96
    )
    target = Target(
        name="toy", description="", source="", clock_hz=1.0, native_bits=8, partial_sum_bits=16,
        arithmetic=Arithmetic(multiply_j=1.0, multiply_bits=8, add_j=0.0, add_bits=16, source=""),
        levels=(level, buffer),
        arrays=(Array(name="A0", below="L0", rows=3, columns=4, row_dimensions=DIMENSIONS,
                      column_dimensions=DIMENSIONS),),
    )  # fmt: skip
    widths = Widths(input=4, weight=4, output=4, partial_sum=4)
    for loops in (Loops(N=4, P=2, S=2, stride=(2, 1), dilation=(1, 2)), Loops(K=2, P=7, stride=(3, 1))):
        for space in (MapSpace(ragged=False), MapSpace()):
            best = min(c.energy_j for c in everything(loops, target, widths, space, rules))
            answer = find(
                loops, target, widths, mac_energy_j=3.0, streamed_words=2.0, space=space, rules=rules
            )
            counts = evaluate(
                answer.mapping, loops, target, widths, mac_energy_j=3.0, streamed_words=2.0, rules=rules
            )
            assert answer.gap == 0
            assert counts.energy_j == pytest.approx(best, rel=1e-7)


def toy_level(name, write_energy_j, **more):
    """A memory of words of 4 bits, whose reads are free."""
    return MemoryLevel(
        name=name, word_bits=4, read_energy_j=0.0, write_energy_j=write_energy_j, source="", **more
    )  # fmt: skip


def toy_array(below, rows, columns, along=DIMENSIONS, hop_energy_j=0.0):
    return Array(
        name=f"below {below}", below=below, rows=rows, columns=columns, row_dimensions=DIMENSIONS,
        column_dimensions=along, hop_energy_j=hop_energy_j,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "arrays", "loops", "bits", "rules"),
    [
        # A hop of sums that were added up further in costs less: no mapping may be left out for another that
        # is alike but for its hops.
        (
            (
                toy_level("L0", 64.0, stationary=("input",)),
                toy_level("L1", 8.0, size_bits=48, holds=("input",), may_bypass=("input",)),
            ),
            (toy_array("L0", 2, 2, hop_energy_j=1.0), toy_array("L1", 1, 2)),
            Loops(C=4),
            (4, 4, 4, 4),
            Rules(union=False, padding=True),
        ),
        # The main memory keeps weights, and inputs as well while it loops along G and K alone.
        (
            (
                toy_level("L0", 512.0, stationary=("weight",)),
                toy_level("L1", 64.0, size_bits=48, holds=("input",), stationary=("input",)),
                toy_level("L2", 8.0, size_bits=48, holds=("input",), may_bypass=("input",)),
            ),
            (toy_array("L0", 1, 2, along=("K", "P", "R")), toy_array("L1", 1, 2)),
            Loops(G=2, K=3, C=4),
            (8, 4, 4, 8),
            RULES["chipfit"],
        ),
    ],
    ids=["hops", "two tensors stay"],
)
def test_chips_on_which_a_better_mapping_was_once_missed(levels, arrays, loops, bits, rules):
    target = Target(
        name="toy", description="", source="", clock_hz=1.0, native_bits=8, partial_sum_bits=16,
        arithmetic=Arithmetic(multiply_j=1.0, multiply_bits=8, add_j=0.0, add_bits=16, source=""),
        levels=levels, arrays=arrays,
    )  # fmt: skip
    widths = Widths(input=bits[0], weight=bits[1], output=bits[2], partial_sum=bits[3])
    extra = {"mac_energy_j": 3.0, "streamed_words": 2.0, "rules": rules}
    counts = list(everything(loops, target, widths, MapSpace(), rules))
    for objective, measure in OBJECTIVES.items():
        answer = find(loops, target, widths, objective=objective, **extra)
        found = evaluate(answer.mapping, loops, target, widths, **extra)
        assert answer.gap == 0
        assert measure(found) == pytest.approx(min(map(measure, counts)), rel=1e-7), objective


def test_cases_together_have_the_answers_that_they_have_alone():
    """Widths, energies that decide with time, and caps on cycles, with eight ways to hold tensors."""
    loops, target = Loops(K=16, C=12, P=14, Q=7, R=3, S=3, padding=(2, 2)), load_target("eye3")
    fastest = find(loops, target, Widths(input=16, weight=16, output=16, partial_sum=16), objective="latency")
    cases = [
        Case(
            widths=Widths(input=i, weight=w, output=8, partial_sum=16),
            mac_energy_j=1e-9 * i * w,
            most_cycles=cap,
        )
        for i, w in ((2, 8), (5, 3), (16, 16))
        for cap in (float("inf"), 2 * fastest.score)
    ]
    for objective in ("energy", "edp"):
        for case, answer in zip(cases, find_all(loops, target, cases, objective=objective), strict=True):
            alone = find(
                loops, target, case.widths, objective=objective, mac_energy_j=case.mac_energy_j,
                most_cycles=case.most_cycles,
            )  # fmt: skip
            assert answer.gap == alone.gap == 0
            assert answer.score == pytest.approx(alone.score, rel=1e-9)


@pytest.mark.parametrize("target", ["eyeriss", "eyeriss_synergy", "tpu_like", "edge_npu", "eye16"])
@pytest.mark.parametrize("objective", ["energy", "edp", "latency"])
def test_shortcuts_change_no_answer(target, objective, monkeypatch):
    """Bounds on time, and labels left out because others are better, against a search without either."""
    nests = [
        Loops(K=16, C=3, P=32, Q=32, R=3, S=3, padding=(2, 2)),
        Loops(G=24, P=14, Q=14, R=3, S=3, stride=(2, 2)),
        Loops(K=40, C=24, P=7, Q=7),
        Loops(K=10, C=64),
    ]
    chip = load_target(target)
    widths = Widths(input=8, weight=8, output=8, partial_sum=20)
    space = MapSpace(ragged=target == "eyeriss")

    def answers():
        return [find(nest, chip, widths, objective=objective, space=space) for nest in nests]

    quick = answers()
    whole = setting.plan_of

    def without(*args):
        plan = whole(*args)
        return plan._replace(speed=plan.speed * 0, complete=False)

    monkeypatch.setattr(setting, "plan_of", without)
    setting.settings_of.cache_clear()
    slow = answers()
    setting.settings_of.cache_clear()
    for one, other in zip(quick, slow, strict=True):
        if one.gap == other.gap == 0:
            assert one.score == pytest.approx(other.score, rel=1e-9)
    assert sum(answer.gap == 0 for answer in quick) >= 2

"""What is counted if asked: rows that stay, filling and draining. By hand, and by search against everything.

Both are counted against the walk with sets in `test_nest`.
"""

from dataclasses import replace

import pytest

from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import RULES, Mapping, Rules, Widths
from chipfit.hardware.load import load_target
from chipfit.testing import eye16, nest_layer
from chipfit.workload.network import Loops

WIDTHS = Widths(input=16, weight=16, output=16, partial_sum=16)
ONES = (1,) * 8


def line(tile, stationary="weight"):
    """Twelve outputs of a kernel of 3, in tiles of the register file, on a chip without an array."""
    target = replace(eye16(shared_file=True), arrays=())
    sides = ((ONES,) * 3, (ONES,) * 3)
    whole, part = (1, 1, 1, 1, 12, 1, 3, 1), (1, 1, 1, 1, tile, 1, 3, 1)
    mapping = Mapping(
        tiles=(whole, whole, part, ONES), rows=sides[0], columns=sides[1], stationary=(stationary,) * 3
    )
    return mapping, Loops(P=12, R=3), target


def test_a_tile_that_moves_on_fetches_what_is_new():
    mapping, loops, target = line(4)
    plain = evaluate(mapping, loops, target, WIDTHS)
    sliding = evaluate(mapping, loops, target, WIDTHS, rules=RULES["sliding"])
    # Outputs 0..3 need rows 0..5, 4..7 need 4..9, 8..11 need 8..13: three times 6, or 6 + 4 + 4.
    assert plain.writes[2, 0] == plain.reads[1, 0] == 18
    assert sliding.writes[2, 0] == sliding.reads[1, 0] == 14
    # Nothing else changes.
    assert (sliding.reads[:, 1:] == plain.reads[:, 1:]).all()
    assert sliding.reads[2, 0] == plain.reads[2, 0]


def test_a_tile_that_begins_anew_fetches_all():
    mapping, loops, target = line(4)
    tiles = [list(tile) for tile in mapping.tiles]
    tiles[0][2] = tiles[1][2] = 5  # K: the input does not depend on it, and its loop is further out
    loops, mapping = replace(loops, K=5), replace(mapping, tiles=tuple(map(tuple, tiles)))
    found = evaluate(mapping, loops, target, WIDTHS, rules=RULES["sliding"])
    assert found.writes[2, 0] == 5 * 14


def test_the_first_tiles_come_in_and_the_last_outputs_leave():
    mapping, loops, target = line(4)
    plain = evaluate(mapping, loops, target, WIDTHS)
    filling = evaluate(mapping, loops, target, WIDTHS, rules=RULES["filling"])
    # Main memory, 4 words a cycle: 14 inputs, 3 weights, 12 outputs. Buffer, 32: 6, 3 and 4.
    assert filling.cycles - plain.cycles == pytest.approx((14 + 3 + 12) / 4 + (6 + 3 + 4) / 32)
    assert filling.compute_cycles == plain.compute_cycles == 36
    assert (filling.stage_cycles == plain.stage_cycles).all()


def test_the_latency_of_a_layer_has_its_filling():
    layer, target = nest_layer(Loops(K=16, C=12, P=7, Q=7, R=3, S=3)), load_target("eye3")
    found = Analytical(rules=Rules(fills=True), objective="latency").layer(layer, target)
    plain = Analytical(objective="latency").layer(layer, target)
    slowest = max(found.latency_by_component_s.values())
    assert found.cost.latency_s > slowest >= plain.cost.latency_s
    assert found.utilization < layer.macs / (slowest * target.clock_hz * 168)


@pytest.mark.parametrize("rules", ["sliding", "filling", "sliding-filling"])
@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_an_answer_says_how_far_it_may_be_from_the_best(rules, objective):
    loops, target = Loops(K=8, C=4, P=14, Q=14, R=3, S=3, padding=(2, 2)), load_target("eye3")
    answer = find(loops, target, WIDTHS, objective=objective, rules=RULES[rules])
    usual = find(loops, target, WIDTHS, objective=objective)
    counts = evaluate(usual.mapping, loops, target, WIDTHS, rules=RULES[rules])
    as_usual = counts.energy_j * (counts.cycles if objective == "edp" else 1)
    assert answer.score <= as_usual * (1 + 1e-6)
    assert answer.score / (1 + answer.gap) <= as_usual * (1 + 1e-6)  # ties are broken
    assert answer.gap < 1

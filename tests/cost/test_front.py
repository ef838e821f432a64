"""Energy against latency of one layer."""

import math
from itertools import pairwise

import pytest

from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.front import front
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import MapSpace, Widths
from chipfit.errors import MappingError
from chipfit.testing import eye16
from chipfit.workload.network import Loops

LOOPS = Loops(K=16, C=8, P=7, Q=7, R=3, S=3)
WIDTHS = Widths(input=16, weight=16, output=16, partial_sum=16)
EVEN = MapSpace(ragged=False)


@pytest.fixture(scope="module")
def points():
    return front(LOOPS, eye16(shared_file=True), WIDTHS, resolution=0, space=EVEN)


def test_it_goes_from_the_cheapest_to_the_fastest(points):
    target = eye16(shared_file=True)
    cheapest = find(LOOPS, target, WIDTHS, objective="energy", space=EVEN).mapping
    fastest = find(LOOPS, target, WIDTHS, objective="latency", space=EVEN).mapping
    counts = [evaluate(mapping, LOOPS, target, WIDTHS) for mapping in (cheapest, fastest)]
    assert math.isclose(points[0].energy_j, counts[0].energy_j, rel_tol=1e-9)
    assert points[-1].cycles == counts[1].cycles
    assert len(points) > 2


def test_no_point_beats_another(points):
    energies, cycles = [p.energy_j for p in points], [p.cycles for p in points]
    assert energies == sorted(energies)
    assert cycles == sorted(set(cycles), reverse=True)


def test_each_point_is_the_cheapest_within_its_cycles(points):
    for point in points:
        answer = find(LOOPS, eye16(shared_file=True), WIDTHS, most_cycles=point.cycles, space=EVEN)
        counts = evaluate(answer.mapping, LOOPS, eye16(shared_file=True), WIDTHS)
        assert math.isclose(point.energy_j, counts.energy_j, rel_tol=1e-8)
        assert point.gap == 0


def test_a_coarser_front_has_fewer_points_with_the_same_ends(points):
    coarse = front(LOOPS, eye16(shared_file=True), WIDTHS, resolution=0.5, space=EVEN)
    assert 2 <= len(coarse) < len(points)
    assert (coarse[0].cycles, coarse[-1].cycles) == (points[0].cycles, points[-1].cycles)
    # But for the last, which is the fastest, each takes at most two thirds of the cycles of the one before.
    assert all(after.cycles * 1.5 <= before.cycles for before, after in pairwise(coarse[:-1]))


def test_a_resolution_below_zero_is_refused():
    with pytest.raises(MappingError) as info:
        front(LOOPS, eye16(), WIDTHS, resolution=-1)
    assert str(info.value) == "resolution is -1: a fraction of the cycles, at least 0"

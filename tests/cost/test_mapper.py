"""The mapper: its space, what it finds against everything there is, and what it says when stuck."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from chipfit.cost.mapping.mapper import (
    Widths,
    check_fits,
    chip,
    evaluate,
    find,
    geometry,
    scratch,
    stages,
    unrollings,
)
from chipfit.cost.mapping.nest import MAX_CHAINS, count, cuts, prepare
from chipfit.errors import MappingError
from chipfit.hardware.target import Array, Target
from chipfit.testing import eye16, toy_level, toy_systolic
from chipfit.workload.network import DIMENSIONS, Loops

NATIVE = Widths(input=16, weight=16, output=16, partial_sum=16)


def small_eye(words=24) -> Target:
    """A 2 x 2 array with small shared memories, so that capacity binds in small nests."""
    base = eye16(shared_file=True)
    dram, buffer, file = base.levels
    return replace(
        base,
        levels=(dram, replace(buffer, size_bits=words * 16), replace(file, size_bits=8 * 16)),
        arrays=(replace(base.arrays[0], rows=2, columns=2),),
    )


def everything(loops: Loops, target: Target) -> float:
    """The least energy of all unrollings, all cuts of all dimensions, and all orders."""
    parts = stages(target)
    n = len(parts)
    made = chip(target, NATIVE)
    tables = scratch(n, MAX_CHAINS)
    bounds = np.array(loops.bounds, np.int64)
    accesses, out = np.zeros((3, n, 3)), np.zeros(4 + n)
    best = np.inf
    for way in unrollings(loops.bounds, tuple(part.array for part in parts)):
        tables.factors[:] = np.array(way.rows) * np.array(way.columns)
        chains = np.array(
            [
                cuts(bound, tables.factors[:, d].copy(), made.tied, tables.tiles[d], tables.work)
                for d, bound in enumerate(bounds)
            ]
        )
        if chains.min() == 0:
            continue
        prepare(bounds, geometry(loops), chains, tables)
        # The order of the innermost stage and of tied ones moves nothing.
        orders = [range(3) if not made.tied[s] and s < n - 1 else (0,) for s in range(n)]
        for pick in itertools.product(*(range(c) for c in chains)):
            picked = np.array(pick)
            for order in itertools.product(*orders):
                if count(picked, np.array(order), tables, made, accesses, out):
                    best = min(best, out[0])
    return best


@pytest.mark.parametrize(
    "loops",
    [
        Loops(K=4, C=4, P=3, Q=2),
        Loops(K=3, C=2, P=4, R=3, padding=(2, 0)),
        Loops(G=3, P=4, Q=4, R=2),
        Loops(K=6, C=8, N=2),
        Loops(C=4, K=2, P=4, R=2, stride=(2, 1)),
    ],
    ids=["pointwise", "conv", "depthwise", "product", "stride"],
)
def test_the_search_is_near_the_best_of_everything(loops):
    target = small_eye()
    found = evaluate(find(loops, target, NATIVE), loops, target, NATIVE)
    assert found is not None
    best = everything(loops, target)
    assert best <= found.energy_j <= best * 1.02


def test_unrollings_are_diverse_and_fit_their_sides():
    loops = Loops(K=64, C=13, P=7, Q=7, R=3, S=3)
    array = Array(
        name="a", below="m", rows=14, columns=12, row_dimensions=DIMENSIONS, column_dimensions=("K", "C")
    )
    ways = unrollings(loops.bounds, (array,))
    assert ways[-1].rows == ways[-1].columns == ((1,) * 8,)
    for way in ways:
        assert np.prod(way.rows) <= 14
        assert np.prod(way.columns) <= 12
        used = {DIMENSIONS[d] for d in range(8) if way.columns[0][d] > 1}
        assert used <= {"K", "C"}
        assert len(used) <= 2
    families = [tuple(np.array(way.rows[0]) * np.array(way.columns[0]) > 1) for way in ways]
    assert max(families.count(family) for family in families) <= 3


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
            name: evaluate(find(loops, target, NATIVE, objective=name), loops, target, NATIVE)
            for name in measures
        }
        measure = measures[objective]
        assert measure(found[objective]) <= 1.01 * min(measure(counts) for counts in found.values())

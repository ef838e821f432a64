"""NAS-Bench-201 as counts of kernels, against published sizes and a walk over every path."""

import itertools

import numpy as np
import pytest

from chipfit.cost.latency import nb201


def total(label, name):
    space = nb201.space(np.array([nb201.read_label(label)], dtype=np.uint8))
    return float(space.features[name][0])


def paths(cell):
    """Every way from input to output over edges that are not 'none', as sets of edges."""
    found = []
    for middle in ((3,), (1, 3), (2, 3), (1, 2, 3)):
        nodes = (0, *middle)
        edges = [nb201.EDGES.index(pair) for pair in itertools.pairwise(nodes)]
        if all(cell[edge] for edge in edges):
            found.append(set(edges))
    return found


def test_the_largest_network_has_the_published_size():
    # Published (NAS-Bench-201, index of six 3x3 convolutions): 1,531,546 parameters, 220.11969 MFLOP.
    # Beside weights: norms of stem 32, cells 5*6*2*(16+32+64), reductions 2*2*(32+64), last 128; bias 10.
    beside = 32 + 5 * 6 * 2 * (16 + 32 + 64) + 2 * 2 * (32 + 64) + 128 + 10
    assert total("3-3-3-3-3-3", "parameters") + beside == 1_531_546
    # Its FLOP count has the ten biases, and no pools: 2 of 2x2 and the last over 8x8.
    pools = 16 * 16 * 16 * 4 + 32 * 8 * 8 * 4 + 64 * 64
    assert total("3-3-3-3-3-3", "operations") - pools + 10 == 220_119_690


def test_there_are_15625_cells_in_the_order_of_counting():
    space = nb201.space()
    assert len(space) == 15625
    assert space.labels[:2] == ("0-0-0-0-0-0", "0-0-0-0-0-1")
    assert space.places["4-4-4-4-4-4"] == 15624


def test_edges_are_alive_if_a_path_uses_them():
    cells = nb201.every_cell()[::37]
    expected = [[any(edge in path for path in paths(cell)) for edge in range(6)] for cell in cells]
    assert nb201.alive(cells).tolist() == expected


@pytest.mark.parametrize("lengths", [(0, 0, 1, 9, 1), (0, 1, 1, 1, 1)])
def test_the_longest_path_is_as_long_as_the_longest_of_all(lengths):
    cells = nb201.every_cell()[::53]
    marked = nb201._longest(cells, np.ones(cells.shape, dtype=bool) & (cells != 0), lengths)
    for cell, edges in zip(cells, marked, strict=True):
        every = paths(cell)
        longest = max((sum(lengths[cell[edge]] for edge in path) for path in every), default=0)
        assert sum(lengths[cell[edge]] for edge in np.flatnonzero(edges)) == longest
        assert not every or set(np.flatnonzero(edges)) in every


def test_a_framework_that_trims_runs_no_dead_convolution():
    # The 3x3 convolution leads to node 1, from where 'none' leads on.
    space = nb201.space(np.array([(3, 1, 0, 1, 0, 1)], dtype=np.uint8))
    convolutions = "convolution kernels"
    whole, trimmed = space.features[convolutions][0], space.features[f"{convolutions}, way 2"][0]
    assert whole - trimmed == 15


@pytest.mark.parametrize(
    "text",
    [
        "0-0-1-0-0-4",
        "001004",
        "0 0 1 0 0 4",
        "0_0_1_0_0_4",
        "(0, 0, 1, 0, 0, 4)",
        "none,none,skip_connect,none,none,avg_pool_3x3",
        "|none~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|",
    ],
)
def test_labels_may_be_written_in_several_ways(text):
    assert nb201.read_label(text) == (0, 0, 1, 0, 0, 4)


@pytest.mark.parametrize("text", ["", "0-0-1", "0-0-1-0-0-5", "0-0-1-0-0-4-4", "conv", "a.onnx"])
def test_what_is_no_cell_is_none(text):
    assert nb201.read_label(text) is None

"""NAS-Bench-201: cells of six edges, each with one of five operations, 15,625 in all.

Network: a 3x3 stem of 16 channels on 32 x 32 images, three stages of five equal cells (16, 32, 64
channels), a residual block of stride 2 between stages, a classifier.

Source: Dong and Yang, "NAS-Bench-201", ICLR 2020.
"""

from __future__ import annotations

import itertools
import re
from functools import cache

import numpy as np

from chipfit.cost.latency.kernels import Counter, Kernel, convolution, elementwise
from chipfit.cost.latency.space import Space, Way, code_labels, split_label

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
#: From which node to which node each edge leads; node 0 is the input of the cell, 3 its output.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
#: Channels and image size of each stage, and cells in each.
STAGES, CELLS = ((16, 32), (32, 16), (64, 8)), 5
#: Length of each operation by which the longest path through a cell is found: operations, kernels, depth.
_LENGTHS = ((0, 0, 1, 9, 1), (0, 0, 3, 3, 1), (0, 1, 1, 1, 1))


def operation_kernels(operation: int, channels: int, size: int) -> tuple[Kernel, ...]:
    """What one edge runs."""
    elements = channels * size * size
    if operation == 0:
        return (elementwise("scale", elements),)
    if operation == 1:
        return (elementwise("copy", elements),)
    if operation == 4:
        return (Kernel("pool", elements, elements, pixels=size * size, taps=9, groups=channels),)
    window = 1 if operation == 2 else 3
    return (
        elementwise("activation", elements),
        convolution(channels, channels, size, window=window),
        elementwise("norm", elements),
    )


def fixed_kernels() -> tuple[Kernel, ...]:
    """What every network runs besides its cells."""
    found = [convolution(3, 16, 32, window=3), elementwise("norm", 16 * 32 * 32)]
    for (less, size), (more, small) in itertools.pairwise(STAGES):
        elements = more * small * small
        found += [convolution(less, more, size, window=3, stride=2), convolution(more, more, small, window=3)]
        found += [elementwise("activation", elements), elementwise("norm", elements)] * 2
        found += [
            Kernel(
                "pool", less * size * size, less * small * small, pixels=small * small, taps=4, groups=less
            )
        ]
        found += [convolution(less, more, small), elementwise("add", elements, 2)]
    channels, size = STAGES[-1]
    found += [elementwise("norm", channels * size * size), elementwise("activation", channels * size * size)]
    found.append(
        Kernel("pool", channels * size * size, channels, pixels=1, taps=size * size, groups=channels)
    )
    return (*found, convolution(channels, 10, 1))


def alive(codes: np.ndarray) -> np.ndarray:
    """Edges that lie on a path from input to output without 'none', shape (network, edge)."""
    used = codes != 0
    reached, reaching = np.zeros((2, len(codes), 4), dtype=bool)
    reached[:, 0] = reaching[:, 3] = True
    for edge, (start, end) in enumerate(EDGES):  # edges are in the order of the nodes they lead to
        reached[:, end] |= reached[:, start] & used[:, edge]
    for edge, (start, end) in sorted(enumerate(EDGES), key=lambda pair: -pair[1][0]):
        reaching[:, start] |= reaching[:, end] & used[:, edge]
    return np.stack([used[:, e] & reached[:, a] & reaching[:, b] for e, (a, b) in enumerate(EDGES)], axis=1)


def _longest(codes: np.ndarray, present: np.ndarray, lengths: tuple[int, ...]) -> np.ndarray:
    """Edges on the longest path through each cell, shape (network, edge)."""
    rows = np.arange(len(codes))
    length = np.full((len(codes), 4), -np.inf)
    length[:, 0] = 0
    on_path = np.zeros((len(codes), 4, len(EDGES)), dtype=bool)
    for edge, (start, end) in enumerate(EDGES):
        step = length[:, start] + np.array(lengths)[codes[:, edge]]
        better = present[:, edge] & (step > length[:, end])
        length[better, end] = step[better]
        on_path[better, end] = on_path[better, start]
        on_path[rows[better], end, edge] = True
    return on_path[:, 3]


def _usage(codes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """How often each operation runs in one cell, shape (network, operation)."""
    return np.stack([((codes == op) & present).sum(1) for op in range(len(OPERATIONS))], axis=1).astype(float)


def _additions(present: np.ndarray) -> np.ndarray:
    """Additions in one cell, where only these edges are there."""
    into = [present[:, [e for e, (_, end) in enumerate(EDGES) if end == node]].sum(1) for node in (1, 2, 3)]
    return np.asarray(np.maximum(np.stack(into) - 1, 0).sum(0))


@cache
def every_cell() -> np.ndarray:
    """All cells in the order of counting: the first edge changes slowest. Shape (network, edge)."""
    return np.array(list(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES))), dtype=np.uint8)


def space(cells: np.ndarray | None = None) -> Space:
    """The networks with these cells, shape (network, edge); the whole space if left out."""
    codes = every_cell() if cells is None else cells
    counter, parts = Counter(), []
    fixed = counter.places(fixed_kernels())
    for channels, size in STAGES:
        operations = [counter.places(operation_kernels(op, channels, size)) for op in range(len(OPERATIONS))]
        parts.append((operations, counter.place(elementwise("add", channels * size * size, 2))))
    table = counter.table()

    def counts(usage: np.ndarray, additions: np.ndarray) -> np.ndarray:
        found = np.tile(np.bincount(fixed, minlength=len(table)).astype(np.float32), (len(codes), 1))
        for operations, addition in parts:
            for operation, places in enumerate(operations):
                for place in places:
                    found[:, place] += CELLS * usage[:, operation]
            found[:, addition] += CELLS * additions
        return found

    everything, live = np.ones(codes.shape, dtype=bool), alive(codes)
    ways: list[Way] = []
    for present in (everything, live):
        chains = [_longest(codes, present, lengths) for lengths in _LENGTHS]
        paths = np.stack([counts(_usage(codes, on), np.asarray(on.any(axis=1) * 1.0)) for on in chains])
        ways.append(Way(counts(_usage(codes, present), _additions(present)), paths))
    return Space("nb201", tuple(code_labels(codes)), table, tuple(ways), codes)


def read_label(label: str) -> tuple[int, ...] | None:
    """The operations of a cell, from their numbers or names; None if it is no cell of the space.

    Numbers may stand together or be parted by '-', '_', ',', '|' or spaces, in the order of `EDGES`;
    names may stand so too, or as in '|none~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|'.

    >>> read_label("|none~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    (0, 0, 1, 0, 0, 4)
    """
    return split_label(re.sub(r"~\d", "", label), OPERATIONS, len(EDGES))

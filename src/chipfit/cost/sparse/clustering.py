"""Which input channels go through the array together: those with alike numbers of non-zero activations.

A pass lasts as long as its slowest row, so the sum of the largest counts of all passes is what an order
of channels can change.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cluster(nonzeros: NDArray[np.float64]) -> NDArray[np.int64]:
    """The order of channels by falling numbers of non-zeros, cut into passes from its start.

    Of all orders it has the least sum of the largest counts: exchanging a channel of a pass for a
    smaller one of a later pass can lower no largest count that a sorted order has not as low.

    >>> cluster(np.array([3.0, 9.0, 4.0, 8.0]))
    array([1, 3, 2, 0])
    """
    return np.argsort(-nonzeros, kind="stable")


def cut_cost(nonzeros: Sequence[float], rows: int) -> float:
    """Sum of the largest count of each pass of `rows` channels, in the order given.

    >>> cut_cost([9, 8, 4, 3], rows=2)
    13
    """
    return sum(max(nonzeros[i : i + rows]) for i in range(0, len(nonzeros), rows))


def least_cost(nonzeros: Sequence[float], rows: int) -> float:
    """The least `cut_cost` of all orders, by trying each: for a handful of channels."""
    return min(cut_cost(order, rows) for order in itertools.permutations(nonzeros))

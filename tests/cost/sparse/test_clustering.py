import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.cost.sparse.clustering import cluster, cut_cost, least_cost


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=7), st.integers(1, 4))
def test_sorting_is_as_good_as_the_best_of_all_orders(nonzeros, rows):
    counts = np.array(nonzeros, float)
    assert cut_cost(counts[cluster(counts)], rows) == least_cost(nonzeros, rows)


def test_the_order_is_of_all_channels_and_stable():
    assert cluster(np.array([2.0, 5.0, 2.0, 5.0])).tolist() == [1, 3, 0, 2]


def test_a_pass_costs_its_largest():
    assert cut_cost([1, 9, 2, 8, 3], rows=2) == 9 + 8 + 3


def test_the_least_cost_is_by_trial():
    # 9 8 | 3 2 | 1: 9 + 3 + 1, and nothing is below it
    assert least_cost([1, 9, 2, 8, 3], rows=2) == 13
    assert min(cut_cost(o, 2) for o in itertools.permutations([1, 9, 2, 8, 3])) == 13

"""Distributions of operand transitions, and the transitions drawn from them."""

import re

import numpy as np
import pytest
from scipy.stats import halfnorm

from chipfit.cost.gates.statistics import (
    OperandStatistics,
    classes,
    declared,
    every_activation,
    mean_changes,
    merged,
    stratified,
)
from chipfit.errors import NetlistError


def make(name="relu", *, bits=3, signed=False):
    return declared(
        name, weight_bits=bits, activation_bits=bits, sum_bits=2 * bits + 2, activation_signed=signed,
        rng=np.random.default_rng(0),
    )  # fmt: skip


def test_uniform_activations_make_every_transition_as_often():
    assert make("uniform", bits=2).activations.tolist() == [[1 / 16] * 4] * 4


@pytest.mark.parametrize(("signed", "codes"), [(False, 8), (True, 4)])
def test_activations_after_a_relu_are_half_zeros_and_half_of_a_normal_distribution(signed, codes):
    one = make(signed=signed).activations.sum(axis=0)
    largest = codes - 1
    edges = (np.arange(1, codes) - 0.5) * 3 / largest  # in standard deviations: three to the largest code
    below = np.concatenate([[0], halfnorm.cdf(edges), [1]])
    expected = 0.5 * np.diff(below)
    expected[0] += 0.5
    assert one[:codes] == pytest.approx(expected)
    assert one[codes:].tolist() == [0.0] * (8 - codes)


def test_partial_sums_spread_over_three_sixteenths_of_the_largest_product():
    sums = make(bits=8).partial_sums
    assert sums.std() == pytest.approx(3 / 16 * 256 * 128, rel=0.01)
    assert abs(np.corrcoef(sums.T)[0, 1]) < 0.02


def test_stratified_transitions_stand_for_the_distribution():
    statistics = make(bits=4)
    before, after = stratified(statistics, 500, 10, rng=np.random.default_rng(1))
    drawn = np.zeros((16, 16))
    np.add.at(drawn, (before["activation"], after["activation"]), 1)
    assert np.abs(drawn - 500 * statistics.activations).max() < 2
    most, _ = classes(np.stack([before["partial"], after["partial"]], axis=1), 10)
    wanted, _ = classes(statistics.partial_sums, 10)
    for own in np.unique(wanted):
        assert abs((most == own).sum() - 500 * (wanted == own).mean()) < 2


def test_for_delay_every_activation_transition_is_taken_once_and_every_class_equally_often():
    before, after = every_activation(make(bits=4), 10, rng=np.random.default_rng(1))
    assert (before["activation"] * 16 + after["activation"]).tolist() == list(range(256))
    most, _ = classes(np.stack([before["partial"], after["partial"]], axis=1), 10)
    counts = np.unique(most, return_counts=True)
    assert counts[0][0] == -1
    assert np.ptp(counts[1]) <= 1


def test_codes_that_are_kept_follow_one_another_as_often_as_all_do():
    before, after = every_activation(make(bits=3), 8, rng=np.random.default_rng(1), kept=[0, 2, 5])
    pairs = list(zip(before["activation"].tolist(), after["activation"].tolist(), strict=True))
    assert pairs[:10] == [(0, 0), (0, 2), (0, 5), (2, 0), (2, 2), (2, 5), (5, 0), (5, 2), (5, 5), (0, 0)]
    assert len(pairs) == 64


def test_half_the_bits_of_uniform_operands_change():
    activation, partial = mean_changes(make("uniform", bits=6), 14)
    assert activation == pytest.approx(3)
    assert partial == pytest.approx(7, rel=0.01)


def test_layers_count_as_much_as_their_shares():
    rng = np.random.default_rng(0)
    one, other = make("uniform", bits=2), make("relu", bits=2)
    both = merged({"a": (3.0, one), "b": (1.0, other)}, rng=rng)
    assert both.activations == pytest.approx(0.75 * one.activations + 0.25 * other.activations)
    assert both.source == "declared: uniform, 2 layers by their multiplications"
    largest = 3 / 16 * 4 * 2 * 6  # relu's sums stay below: what is beyond is uniform
    assert (np.abs(both.partial_sums[:, 0]) > largest).mean() == pytest.approx(0.75 * (1 - 9 / 64), abs=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activations": np.ones((2, 2))}, "activation transitions of 3 bits are 8 x 8, got 2 x 2"),
        ({"activations": np.ones((8, 8))},
         "probabilities of activation transitions must be at least 0 and add up to 1"),
        ({"partial_sums": np.ones((0, 2), int)}, "partial-sum transitions must be pairs, and at least one"),
    ],
)  # fmt: skip
def test_statistics_that_cannot_be_say_why(change, message):
    good = {"activations": np.full((8, 8), 1 / 64), "partial_sums": np.zeros((1, 2), int)}
    with pytest.raises(NetlistError, match=f"^{re.escape(message)}$"):
        OperandStatistics(source="", activation_bits=3, **{**good, **change})


def test_unknown_distributions_and_different_widths_are_refused():
    with pytest.raises(NetlistError, match=r"^unknown distribution 'relus', did you mean 'relu'\?$"):
        make("relus")
    with pytest.raises(NetlistError, match=r"^distributions of the same width are needed, and at least one$"):
        merged({"a": (1, make(bits=2)), "b": (1, make(bits=3))}, rng=np.random.default_rng(0))

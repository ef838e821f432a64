"""Scores of untrained networks, against small cases by hand."""

import math

import pytest
import torch
from torch import nn

from chipfit.search.zero_cost import grad_norm, naswot, snip, synflow


def linear(*rows):
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


def test_synflow_of_two_layers_is_twice_the_sum_of_their_product():
    # |B| |A| 1 = [[1, 2]] [[1, 2], [3, 4]] 1 = 1*3 + 2*7 = 17; each of the two layers sums to it.
    model = nn.Sequential(linear([1.0, -2.0], [-3.0, 4.0]), linear([-1.0, 2.0]))
    assert synflow(model, torch.randn(3, 2)) == pytest.approx(math.log(34))


def test_gradients_of_a_linear_network_are_those_of_cross_entropy():
    # Weights of zero: each class has probability 1/2; labels are 0, 1; inputs 1, 1.
    # dL/dW = mean over both of (p - label) x: for class 0 (-1/2 + 1/2) / 2 = 0, so all is zero.
    model = linear([0.0], [0.0])
    assert grad_norm(model, torch.ones(2, 1)) == pytest.approx(0.0)
    # Inputs 1 and -1: class 0 gets (-1/2 * 1 + 1/2 * -1) / 2 = -1/2, class 1 as much the other way.
    inputs = torch.tensor([[1.0], [-1.0]])
    assert grad_norm(model, inputs) == pytest.approx(math.sqrt(0.5))
    assert snip(model, inputs) == 0.0  # every weight is zero


def test_snip_weighs_gradients_by_weights():
    model = linear([2.0], [2.0])  # both classes alike, so the gradient is as for weights of zero
    assert snip(model, torch.tensor([[1.0], [-1.0]])) == pytest.approx(2 * 2.0 * 0.5)


def test_inputs_that_switch_all_units_differently_score_the_most():
    # Two units of ReLU: agreement of an input with itself is 2, with its opposite 0: log(2 * 2) = log 4.
    model = nn.Sequential(linear([1.0], [-1.0]), nn.ReLU())
    assert naswot(model, torch.tensor([[1.0], [-1.0]])) == pytest.approx(math.log(4), abs=1e-5)
    assert naswot(model, torch.tensor([[1.0], [2.0]])) < -5


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(linear([1.0, 2.0], [-3.0, 4.0]), nn.ReLU())
    before = model[0].weight.clone()
    for score in (synflow, grad_norm, snip, naswot):
        score(model, torch.randn(2, 2))
    assert torch.equal(model[0].weight, before)
    assert model[0].weight.grad is None

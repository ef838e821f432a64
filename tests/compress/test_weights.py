import json

import numpy as np
import pytest
import torch
from small_models import images, residual
from torch import fx, nn

from chipfit.compress.balance import BalancedPrune, balanced
from chipfit.compress.base import PassContext, apply_recipe
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize, weight_quantizer
from chipfit.compress.values import ValueSet, choose
from chipfit.compress.weights import RestrictWeights, damages, layer_codes, layer_weights
from chipfit.errors import PassError
from chipfit.export.onnx import export
from chipfit.testing import PassSuite
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.network import Network

FEW = ValueSet.nearest([-64, -16, -4, 0, 4, 16, 64])


def few(model, chosen=FEW):
    return RestrictWeights.of(dict.fromkeys(nest_layers(model), chosen))


class TestRestrictWeights(PassSuite):
    def make_model(self) -> nn.Module:
        return residual()

    def make_inputs(self) -> torch.Tensor:
        return images()

    def make_pass(self, model: fx.GraphModule) -> RestrictWeights:
        return few(model)


def codes_of(model):
    found = {}
    for name, layer in nest_layers(model).items():
        quantizer = weight_quantizer(layer)
        found[name] = (layer.weight / quantizer.steps(layer.weight.dim())).round().detach().numpy()
    return found


def quantised(bits=8):
    model = traced(residual())
    context = PassContext(calibration=images())
    return Quantize(bits=tuple((n, bits, 8) for n in nest_layers(model))).apply(model, context), context


def test_every_weight_becomes_the_value_that_the_set_says():
    model, context = quantised()
    before, after = codes_of(model), codes_of(few(model).apply(model, context))
    for name in before:
        expected = np.array([min(FEW.values, key=lambda v: (abs(v - c), -v)) for c in before[name].ravel()])
        found = after[name].ravel()
        # Codes are rounded before, weights are not: they may differ where a code lies on a bound.
        tie = np.isin(before[name].ravel(), FEW.bounds)
        assert np.array_equal(found[~tie], expected[~tie])
        assert set(found) <= set(FEW.values)


def test_gradients_pass_straight_through_inside_the_range_of_the_set():
    model, context = quantised()
    restricted = few(model, ValueSet.nearest([-32, 0, 32])).apply(model, context)
    layer = restricted.conv1
    layer.weight.sum().backward()
    scaled = layer.parametrizations.weight.original / weight_quantizer(layer).steps(4)
    gradient = layer.parametrizations.weight.original.grad
    inside = scaled.abs() < 32
    assert torch.allclose(gradient[inside], torch.ones_like(gradient[inside]))
    assert torch.equal(gradient[~inside], torch.zeros_like(gradient[~inside]))


def test_pruned_weights_stay_zero():
    model = traced(residual())
    context = PassContext(calibration=images())
    recipe = (BalancedPrune(keep=balanced(model, 4 / 9)), few(model))
    found = apply_recipe(recipe, model, context)
    zero = codes_of(found)["conv1"] == 0
    assert zero.reshape(-1, 9).sum(1).min() >= 5  # 4 of 9 are kept


def test_low_widths_keep_their_codes():
    model, context = quantised(bits=4)
    found = codes_of(few(model, ValueSet.nearest([-8, -4, -1, 0, 1, 4])).apply(model, context))
    assert set(np.unique(found["conv2"])) <= {-8, -4, -1, 0, 1, 4}


def test_restricted_models_are_restored_from_their_state():
    model, context = quantised()
    restricted = few(model).apply(model, context)
    again = few(model).apply(model, context)
    with torch.no_grad():
        restricted.conv1.parametrizations.weight.original.mul_(0.5)
    again.load_state_dict(restricted.state_dict())
    assert torch.equal(again(images()), restricted(images()))


def test_the_codes_of_a_layer_are_what_it_multiplies():
    model, _ = quantised()
    inputs = images(3)
    found = layer_codes(model, inputs)
    seen = {}
    model.conv2.register_forward_hook(lambda m, a, o: seen.update(o=o.detach()))
    model(inputs)
    codes = found["conv2"]
    step = model.conv2_input.step * weight_quantizer(model.conv2).steps(4).flatten().detach()
    sums = nn.functional.conv2d(
        torch.tensor(codes.inputs, dtype=torch.float64),
        torch.tensor(codes.weights, dtype=torch.float64),
        padding=codes.padding,
    )
    bias = model.conv2.bias.detach().double().view(1, -1, 1, 1)
    assert torch.allclose(sums * step.double().view(1, -1, 1, 1) + bias, seen["o"].double(), atol=1e-4)
    assert codes.macs_per_weight == 64  # 8 x 8 positions
    assert found["head"].macs_per_weight == 1
    assert found["head"].inputs.shape == (1, 6, 3, 1)


def test_damage_is_half_the_squared_derivative_with_respect_to_a_code():
    model, _ = quantised()
    inputs = images(1)
    found = damages(model, inputs, torch.Generator().manual_seed(3))
    drawn = torch.multinomial(model(inputs).softmax(1), 1, generator=torch.Generator().manual_seed(3))[:, 0]
    nn.functional.cross_entropy(model(inputs), drawn).backward()
    quantizer = weight_quantizer(model.head)
    gradient = model.head.parametrizations.weight.original.grad * quantizer.steps(2)
    expected = 0.5 * gradient.square().mean(1)
    assert torch.allclose(found["head"][:, 0], expected.detach())
    assert torch.equal(found["head"][:, 0], found["head"][:, 1])


def test_counts_of_codes_and_energies_of_narrow_codes_on_a_wide_multiplier():
    model, _ = quantised(bits=4)
    codes = layer_codes(model, images(2))["conv1"]
    energy = np.arange(256.0)
    found = layer_weights(codes, torch.ones(codes.weights.shape), energy, 4)
    assert found.values == range(-8, 8)
    assert found.energy_j.tolist() == [120.0 + k for k in range(16)]  # -8 is the 120th of -128..127
    assert found.counts.sum() == found.damage.sum() == codes.weights.size
    assert found.counts[8] == (codes.weights == 0).sum()
    assert choose(found, size=3, pull=0.0).values


def test_a_table_of_fewer_bits_than_the_weights():
    model, _ = quantised()
    codes = layer_codes(model, images(2))["conv1"]
    with pytest.raises(PassError) as raised:
        layer_weights(codes, torch.ones(codes.weights.shape), np.ones(16), 8)
    assert str(raised.value) == "the table has 16 weight values, weights of 8 bits need 256"


def test_an_unknown_layer():
    model, context = quantised()
    with pytest.raises(PassError) as raised:
        RestrictWeights.of({"conv": FEW}).apply(model, context)
    assert str(raised.value) == "restrict: no layer 'conv', did you mean 'conv2'?"


def test_an_empty_value_set():
    model, context = quantised()
    with pytest.raises(PassError) as raised:
        RestrictWeights(values=(("conv1", (), ()),)).apply(model, context)
    assert str(raised.value) == "the value set is empty: a layer needs at least one weight value"


def test_values_outside_the_width():
    model, context = quantised(bits=4)
    with pytest.raises(PassError) as raised:
        RestrictWeights.of({"conv1": FEW}).apply(model, context)
    assert str(raised.value) == "restrict: layer 'conv1' has weights of 4 bits, -8 to 7, got -64"


def test_some_layers_quantised_and_others_not():
    context = PassContext(calibration=images())
    half = Quantize(bits=(("conv1", 8, 8),)).apply(traced(residual()), context)
    with pytest.raises(PassError) as raised:
        RestrictWeights.of({"conv2": FEW}).apply(half, context)
    assert str(raised.value) == ("restrict: layer 'conv2' is not quantised, others are: quantise all or none")


def test_codes_of_a_layer_that_is_not_quantised():
    with pytest.raises(PassError) as raised:
        layer_codes(traced(residual()), images(1))
    assert str(raised.value) == "layer 'stem' is not quantised"


def test_an_exported_model_says_how_often_each_value_stands_in_each_layer():
    model, context = quantised()
    restricted = few(model).apply(model, context)
    network = load_onnx(export(restricted, images(1), name="few"), name="few")
    for name, codes in codes_of(restricted).items():
        layer = next(layer for layer in network.layers if layer.name == name)
        values, counts = np.unique(codes.astype(int), return_counts=True)
        assert layer.weight.values == tuple(zip(values.tolist(), counts.tolist(), strict=True))
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network
    assert all(layer.weight.values is None for layer in network.with_bits(4, 4).layers if layer.weight)

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import images, residual

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import (
    WIDTHS,
    ActivationQuantizer,
    BiasQuantizer,
    Quantize,
    WeightQuantizer,
    code_range,
    keep_sums,
    quantizers_of,
    short,
    weight_quantizer,
)
from chipfit.errors import PassError

CONTEXT = PassContext(calibration=images())


def all_at(weights: int, activations: int) -> Quantize:
    return Quantize(bits=tuple((n, weights, activations) for n in ("stem", "conv1", "conv2", "head")))


@given(st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_weights_lie_on_the_grid_of_their_width(bits: int, seed: int) -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed))
    quantizer = WeightQuantizer(weight, bits)
    codes = quantizer(weight) / quantizer.steps(2)
    low, high = code_range(bits, signed=True)
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-4)
    assert codes.min() >= low - 1e-4
    assert codes.max() <= high + 1e-4


@given(st.floats(1e-6, 1e6))
def test_a_step_has_a_mantissa_of_four_bits_and_is_near(step: float) -> None:
    got = float(short(torch.tensor(step).log()))
    mantissa, _ = torch.frexp(torch.tensor(got))
    assert float(mantissa) * 16 == round(float(mantissa) * 16)
    # Half a unit of 1/16 in a mantissa of at least 1/2.
    assert abs(got / step - 1) <= 1 / 16 + 1e-5


def test_more_bits_never_hurt_more() -> None:
    weight = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        errors = [float((WeightQuantizer(weight, b)(weight) - weight).square().mean()) for b in WIDTHS]
    assert errors == sorted(errors, reverse=True)


def test_gradients_pass_through_inside_the_range_and_stop_outside() -> None:
    quantizer = ActivationQuantizer(2)  # codes 0..3, step 1
    x = torch.tensor([-0.5, 0.4, 1.6, 7.0], requires_grad=True)
    y = quantizer(x)
    assert y.tolist() == [0.0, 0.0, 2.0, 3.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_the_gradient_of_the_step_is_that_of_the_source() -> None:
    quantizer = ActivationQuantizer(2)
    quantizer(torch.tensor([-0.5, 0.4, 1.6, 7.0])).sum().backward()
    # eq. (3): code - x inside (0 - 0.4, 2 - 1.6), end code outside (0, 3): -0.4 + 0.4 + 3 = 3
    assert float(quantizer.log_step.grad) == pytest.approx(3.0, abs=1e-6)


def test_an_activation_that_is_never_negative_is_unsigned() -> None:
    quantizer = ActivationQuantizer(4)
    quantizer.calibrate(torch.rand(100))
    assert (quantizer.low, quantizer.high) == (0, 15)
    quantizer.calibrate(torch.randn(100))
    assert (quantizer.low, quantizer.high) == (-8, 7)


def test_sign_and_step_come_back_with_the_state() -> None:
    one, other = ActivationQuantizer(4), ActivationQuantizer(4)
    one.calibrate(torch.randn(100))
    other.load_state_dict(one.state_dict())
    x = torch.randn(50)
    assert torch.equal(one(x), other(x))


def test_eight_bits_change_little_and_two_bits_change_much() -> None:
    graph = traced(residual())
    with torch.no_grad():
        outputs = graph(images())
        errors = [
            float((all_at(b, b).apply(graph, CONTEXT)(images()) - outputs).abs().max() / outputs.abs().max())
            for b in (8, 2)
        ]
    assert errors[0] < 0.05 < errors[1]


def test_biases_lie_on_the_grid_of_the_sums() -> None:
    model = all_at(4, 4).apply(traced(residual()), CONTEXT)
    layer = nest_layers(model)["conv1"]
    grid = layer.parametrizations["bias"][0]
    assert isinstance(grid, BiasQuantizer)
    codes = layer.bias / grid.steps()
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)


def test_a_channel_that_is_all_but_zero_gets_no_tiny_step() -> None:
    weight = torch.ones(2, 4)
    weight[1] = 1e-9
    quantizer = WeightQuantizer(weight, 4)
    assert float(quantizer.log_step[1].detach().exp()) > 1e-5
    assert quantizer(weight)[1].abs().max() == 0


def test_sums_of_codes_are_kept_within_their_limit_while_weights_change() -> None:
    # 9 bits: |sum| <= 255 = largest sum * 15, so at most 17 codes of one sign.
    recipe = replace(all_at(4, 4), sum_bits=(("conv1", 9),))
    model = recipe.apply(traced(residual()), CONTEXT)
    layer = nest_layers(model)["conv1"]
    quantizer = weight_quantizer(layer)
    assert quantizer is not None
    original = layer.parametrizations["weight"].original
    assert quantizer.sums(original).max() <= 17
    with torch.no_grad():
        original.mul_(3.0)
    assert quantizer.sums(original).max() > 17
    keep_sums(model)
    assert quantizer.sums(original).max() <= 17


def test_no_input_overflows_the_width_that_sums_are_kept_to() -> None:
    recipe = replace(all_at(4, 4), sum_bits=(("conv1", 10),))
    model = recipe.apply(traced(residual()), CONTEXT)
    layer = nest_layers(model)["conv1"]
    quantizer = weight_quantizer(layer)
    assert quantizer is not None
    codes = quantizer.codes(layer.parametrizations["weight"].original.detach())
    # The worst input: 15 where the code is of one sign, 0 elsewhere.
    rows = codes.detach().flatten(1)
    assert 15 * float(rows.clamp_min(0).sum(1).max()) < 2**9
    assert -15 * float(rows.clamp_max(0).sum(1).min()) <= 2**9


def test_the_pass_leaves_the_model_alone_and_names_its_quantizers() -> None:
    graph = traced(residual())
    model = all_at(4, 3).apply(graph, CONTEXT)
    assert not quantizers_of(graph)
    assert {n: q.bits for n, q in quantizers_of(model).items()} == {
        "stem_input": 3, "relu_stored": 8, "conv1_input": 3, "conv2_input": 3, "relu_2_stored": 8,
        "head_input": 3,
    }  # fmt: skip
    found = weight_quantizer(nest_layers(model)["conv2"])
    assert found is not None
    assert found.bits == 4


def test_a_recipe_reads_back_equal() -> None:
    recipe = all_at(4, 3)
    assert eval(repr(recipe)) == recipe


def test_unknown_layers_and_widths_are_all_named() -> None:
    wrong = Quantize(bits=(("conv3", 4, 4), ("head", 9, 1)))
    expected = (
        "quantize: no layer 'conv3', did you mean 'conv2'?; head: 9 bits, expected 2 to 8; "
        "head: 1 bits, expected 2 to 8"
    )
    with pytest.raises(PassError) as error:
        wrong.apply(traced(residual()), CONTEXT)
    assert str(error.value) == expected


def test_an_untraced_model_is_refused() -> None:
    with pytest.raises(PassError, match="needs a traced model"):
        all_at(4, 4).apply(residual(), CONTEXT)

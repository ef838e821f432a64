import pytest
import torch
from small_models import images, residual
from torch import fx, nn

from chipfit.compress.activation_sparsity import (
    ThresholdActivations,
    activation_l1,
    rectified,
    thresholds_for,
)
from chipfit.compress.base import PassContext
from chipfit.compress.graph import traced
from chipfit.errors import PassError
from chipfit.testing import PassSuite


class TestThresholdActivations(PassSuite):
    def make_model(self) -> nn.Module:
        return residual()

    def make_inputs(self) -> torch.Tensor:
        return images()

    def make_pass(self, model: fx.GraphModule) -> ThresholdActivations:
        return ThresholdActivations(thresholds=(("relu", 0.25), ("relu_2", 0.5)))


def test_what_is_small_is_silenced_and_the_rest_is_as_it_was():
    model = traced(residual())
    found = ThresholdActivations(thresholds=(("relu", 0.5),)).apply(model, PassContext(calibration=images()))
    with torch.no_grad():
        before = torch.relu(model.get_submodule("stem")(images()))
        seen = {}
        found.get_submodule("conv1").register_forward_pre_hook(lambda _, x: seen.setdefault("x", x[0]))
        found(images())
    assert torch.equal(seen["x"], torch.where(before > 0.5, before, 0.0))


@pytest.mark.parametrize("density", [0.0, 0.1, 0.3])
def test_thresholds_let_no_more_through_than_is_asked(density):
    model, inputs = traced(residual()), images(32)
    chosen = thresholds_for(model, inputs, density)
    assert [name for name, _ in chosen] == ["relu", "relu_1", "relu_2"]
    first = ThresholdActivations(thresholds=chosen[:1]).apply(model, PassContext(calibration=inputs))
    seen = {}
    first.get_submodule("conv1").register_forward_pre_hook(lambda _, x: seen.setdefault("x", x[0]))
    with torch.no_grad():
        first(inputs)
    fraction = float((seen["x"] != 0).double().mean())
    assert density - 0.01 <= fraction <= density


def test_the_penalty_is_the_mean_activation_and_has_a_gradient():
    model = traced(residual())
    with rectified(model) as activations:
        model(images(4))
        penalty = activation_l1(activations)
    means = [float(a.detach().mean()) for a in activations.values()]
    assert float(penalty.detach()) == pytest.approx(sum(means) / 3)
    penalty.backward()
    gradient = model.get_parameter("stem.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_watching_leaves_the_model_as_it_was():
    model = traced(residual())
    with rectified(model), torch.no_grad():
        watched = model(images(4))
    assert "forward" not in vars(model)
    with torch.no_grad():
        assert torch.equal(model(images(4)), watched)


class TestMistakes:
    def message(self, *thresholds):
        with pytest.raises(PassError) as error:
            ThresholdActivations(thresholds=thresholds).apply(
                traced(residual()), PassContext(calibration=images(2))
            )
        return str(error.value)

    def test_names_and_thresholds_out_of_range(self):
        assert self.message(("relu_3", 0.1), ("relu", -1.0)) == (
            "threshold: no rectifier 'relu_3', did you mean 'relu_2'?; relu: threshold -1 is below 0"
        )

    def test_a_density_out_of_range(self):
        with pytest.raises(PassError) as error:
            thresholds_for(traced(residual()), images(2), 1.5)
        assert str(error.value) == "threshold: density must be in 0..1, got 1.5"

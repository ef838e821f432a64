import itertools

import numpy as np
import pytest
import torch
from small_models import images, residual
from torch import fx, nn
from torch.nn.utils import parametrize

from chipfit.compress.balance import BalancedPrune, balanced, masks_of, schedule
from chipfit.compress.base import PassContext
from chipfit.compress.graph import traced
from chipfit.compress.quantize import Quantize
from chipfit.errors import PassError
from chipfit.testing import PassSuite


class Suite(PassSuite):
    def make_model(self) -> nn.Module:
        return residual()

    def make_inputs(self) -> torch.Tensor:
        return images()


class TestOfOutputError(Suite):
    def make_pass(self, model: fx.GraphModule) -> BalancedPrune:
        return BalancedPrune(keep=balanced(model, 4 / 9, consecutive=4))


class TestOfMagnitude(Suite):
    def make_pass(self, model: fx.GraphModule) -> BalancedPrune:
        return BalancedPrune(keep=balanced(model, 0.5, consecutive=2), criterion="magnitude")


class TestUnstructured(Suite):
    def make_pass(self, model: fx.GraphModule) -> BalancedPrune:
        return BalancedPrune(keep=balanced(model, 1 / 3, consecutive=4), pattern="layer")


def pruned(model, **options):
    return BalancedPrune(**options).apply(model, PassContext(calibration=images(32)))


@pytest.mark.parametrize("criterion", ["output_error", "magnitude"])
def test_every_kernel_keeps_exactly_as_many(criterion):
    model = pruned(traced(residual()), keep=(("conv1", 4, 9), ("conv2", 1, 9)), criterion=criterion)
    masks = masks_of(model)
    assert (masks["conv1"].sum((2, 3)) == 4).all()
    assert (masks["conv2"].sum((2, 3)) == 1).all()
    assert masks["stem"].all()


@pytest.mark.parametrize("criterion", ["output_error", "magnitude"])
def test_consecutive_inputs_of_an_output_keep_exactly_as_many(criterion):
    model = pruned(traced(residual()), keep=(("head", 2, 4),), criterion=criterion)
    mask = masks_of(model)["head"]
    # Six inputs: a cell of four keeps two, the last of two keeps one.
    assert (mask[:, :4].sum(1) == 2).all()
    assert (mask[:, 4:].sum(1) == 1).all()


@pytest.mark.parametrize("criterion", ["output_error", "magnitude"])
def test_two_of_four_channels_at_each_place_of_a_kernel(criterion):
    model = pruned(traced(residual()), keep=(("conv1", 2, 4),), pattern="channels", criterion=criterion)
    mask = masks_of(model)["conv1"]
    assert (mask[:, :4].sum(1) == 2).all()
    assert (mask[:, 4:].sum(1) == 1).all()


def test_unstructured_pruning_keeps_the_same_fraction_of_the_layer():
    model = pruned(traced(residual()), keep=(("conv1", 4, 9),), pattern="layer")
    mask = masks_of(model)["conv1"]
    assert int(mask.sum()) == 6 * 24  # 4 / 9 of 6 * 9 weights of each of 6 outputs
    assert len(set(mask.sum((2, 3)).flatten().tolist())) > 1


def test_magnitude_keeps_the_largest():
    model = traced(residual())
    before = model.get_parameter("conv1.weight").detach().abs().flatten(2)
    mask = masks_of(pruned(model, keep=(("conv1", 3, 9),), criterion="magnitude"))["conv1"].flatten(2)
    stays, goes = before.masked_fill(~mask, torch.inf).amin(2), before.masked_fill(mask, 0).amax(2)
    assert (stays >= goes).all()


def error(model, other, layer="conv1"):
    """Squared error of a layer's outputs on the calibration inputs."""
    outputs = {}
    for key, one in (("a", model), ("b", other)):
        handle = one.get_submodule(layer).register_forward_hook(
            lambda _, __, y, key=key: outputs.__setitem__(key, y)
        )
        with torch.no_grad():
            one(images(32))
        handle.remove()
    return float((outputs["a"] - outputs["b"]).square().sum())


def test_output_error_errs_less_than_magnitude():
    model = traced(residual())
    by_error, by_magnitude = (
        error(pruned(model, keep=(("conv1", 3, 9),), criterion=c), model)
        for c in ("output_error", "magnitude")
    )
    assert by_error < 0.7 * by_magnitude


class Single(nn.Module):
    """One convolution of one input channel, whose patterns can all be tried."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, bias=False)

    def forward(self, x):
        return self.conv(x)


def test_the_pattern_of_a_single_cell_is_the_best_of_all():
    torch.manual_seed(0)
    model = traced(Single())
    inputs = torch.randn(64, 1, 4, 4).cumsum(3)
    mask = masks_of(BalancedPrune(keep=(("conv", 2, 4),)).apply(model, PassContext(calibration=inputs)))[
        "conv"
    ].flatten(1)
    weights = model.get_parameter("conv.weight").detach().flatten(1).double().numpy()
    rows = torch.nn.functional.unfold(inputs, 2).transpose(1, 2).flatten(0, 1).double().numpy()
    for row, chosen in zip(weights, mask.numpy(), strict=True):
        errors = {}
        for pattern in itertools.combinations(range(4), 2):
            fit = np.linalg.lstsq(rows[:, pattern], rows @ row, rcond=None)[0]
            errors[pattern] = np.square(rows[:, pattern] @ fit - rows @ row).sum()
        assert tuple(np.flatnonzero(chosen)) == min(errors, key=errors.__getitem__)


def test_large_cells_lose_weights_one_by_one():
    torch.manual_seed(0)

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(32, 5)

        def forward(self, x):
            return self.fc(x)

    model, inputs = traced(Wide()), torch.randn(200, 32) @ torch.randn(32, 32)
    context = PassContext(calibration=inputs)
    found = {
        criterion: BalancedPrune(keep=(("fc", 8, 16),), criterion=criterion).apply(model, context)
        for criterion in ("output_error", "magnitude")
    }
    assert all((masks_of(one)["fc"].reshape(5, 2, 16).sum(2) == 8).all() for one in found.values())
    with torch.no_grad():
        errors = {key: float((one(inputs) - model(inputs)).square().sum()) for key, one in found.items()}
    assert errors["output_error"] < 0.3 * errors["magnitude"]


def test_depthwise_kernels_are_fitted_one_by_one():
    torch.manual_seed(0)

    class Depthwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, groups=4, padding=1)

        def forward(self, x):
            return self.conv(x)

    model = traced(Depthwise())
    found = BalancedPrune(keep=(("conv", 5, 9),)).apply(
        model, PassContext(calibration=torch.randn(8, 4, 6, 6))
    )
    assert (masks_of(found)["conv"].sum((2, 3)) == 5).all()


def test_masks_hold_while_weights_train_and_compose_with_quantisers():
    model = pruned(traced(residual()), keep=(("conv1", 4, 9),))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(images(8)).square().sum().backward()
    optimizer.step()
    assert (masks_of(model)["conv1"].sum((2, 3)) <= 4).all()
    quantised = Quantize(bits=(("conv1", 4, 4),)).apply(model, PassContext(calibration=images(8)))
    assert (masks_of(quantised)["conv1"].sum((2, 3)) <= 4).all()


def test_pruning_again_replaces_the_mask():
    once = pruned(traced(residual()), keep=(("conv1", 6, 9),))
    twice = pruned(once, keep=(("conv1", 3, 9),))
    assert (masks_of(twice)["conv1"].sum((2, 3)) == 3).all()
    assert len(twice.get_submodule("conv1").parametrizations["weight"]) == 1


def test_kernels_of_nothing_but_zeros_stay_zero():
    model = traced(residual())
    with torch.no_grad():
        model.get_parameter("conv1.weight")[0] = 0
    found = pruned(model, keep=(("conv1", 4, 9),))
    assert (found.get_submodule("conv1").weight[0] == 0).all()
    assert torch.isfinite(found(images(4))).all()


def test_inputs_that_are_always_zero_do_no_harm():
    found = BalancedPrune(keep=(("conv1", 4, 9),)).apply(
        traced(residual()), PassContext(calibration=torch.zeros(4, 3, 8, 8))
    )
    assert torch.isfinite(found(images(4))).all()


def test_keeping_all_changes_only_by_rounding():
    model = traced(residual())
    found = pruned(model, keep=(("conv1", 9, 9),))
    assert torch.allclose(found(images(4)), model(images(4)), atol=1e-4)


def test_the_schedule_ends_where_it_should_and_never_rises():
    steps = schedule(3, 9, 6)
    assert steps[-1] == 3
    assert list(steps) == sorted(steps, reverse=True)


class TestMistakes:
    def message(self, **options):
        with pytest.raises(PassError) as error:
            pruned(traced(residual()), **options)
        return str(error.value)

    def test_k_larger_than_the_kernel(self):
        assert self.message(keep=(("conv1", 10, 9),)) == (
            "prune: layer 'conv1': 10 of 9 weights cannot be kept, expected 1 to 9"
        )

    def test_cells_of_another_size_than_the_kernel(self):
        assert self.message(keep=(("conv1", 2, 4),)) == (
            "prune: layer 'conv1': its kernels hold 9 weights, not 4"
        )

    def test_names_that_are_not_known(self):
        assert self.message(keep=(("conv9", 2, 9),), criterion="magnitud", pattern="kernels") == (
            "prune: unknown criterion 'magnitud', did you mean 'magnitude'?; "
            "unknown pattern 'kernels', did you mean 'kernel'?; no layer 'conv9', did you mean 'conv2'?"
        )

    def test_a_quantised_layer(self):
        context = PassContext(calibration=images(8))
        model = Quantize(bits=(("conv1", 4, 4),)).apply(traced(residual()), context)
        with pytest.raises(PassError) as error:
            BalancedPrune(keep=(("conv1", 4, 9),)).apply(model, context)
        assert str(error.value) == "prune: layer 'conv1' is quantised: prune before"
        assert parametrize.is_parametrized(model.get_submodule("conv1"), "weight")

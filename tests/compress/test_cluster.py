import pytest
import torch
from small_models import images, residual
from test_channels import Mixed
from torch import fx, nn
from torch.nn.utils import parametrize

from chipfit.compress.balance import BalancedPrune, masks_of
from chipfit.compress.base import PassContext, apply_recipe
from chipfit.compress.cluster import ClusterChannels, nonzero_fractions
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.errors import PassError
from chipfit.testing import PassSuite
from chipfit.train import cifar10


class TestClusterChannels(PassSuite):
    def make_model(self) -> nn.Module:
        return residual()

    def make_inputs(self) -> torch.Tensor:
        return images()

    def make_pass(self, model: fx.GraphModule) -> ClusterChannels:
        return ClusterChannels()


def whole(model, seed=0):
    """The model with small whole numbers for weights, so that sums are exact in any order."""
    generator = torch.Generator().manual_seed(seed)
    model = traced(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator).float())
    return model


def numbers(count=6, seed=1):
    return torch.randint(-3, 4, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).float()


class Reused(nn.Module):
    """One layer that runs twice, and a gate on channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.gate = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        x = x * torch.relu(self.gate(x.sum((2, 3), keepdim=True)))
        return self.head(x.sum((2, 3)))


@pytest.mark.parametrize("kind", [residual, Mixed, Reused])
def test_the_function_stays_the_same_bit_for_bit(kind):
    model, inputs = whole(kind()), numbers()
    found = ClusterChannels().apply(model, PassContext(calibration=inputs))
    with torch.no_grad():
        assert torch.equal(found(inputs), model(inputs))
    moved = [n for n, p in found.named_parameters() if not torch.equal(p, model.get_parameter(n))]
    assert moved


@pytest.mark.parametrize("kind", [residual, Mixed, Reused])
@pytest.mark.parametrize("bits", [3, 8])
def test_so_does_that_of_a_quantised_network(kind, bits):
    context = PassContext(calibration=images(32))
    model = traced(kind())
    layers = nest_layers(model)
    prune = BalancedPrune(keep=tuple((name, 4, 9) for name in layers if kernel(layers[name]) == 9))
    quantize = Quantize(bits=tuple((name, bits, bits) for name in layers))
    model = apply_recipe([prune, quantize], model, context)
    found = ClusterChannels().apply(model, context)
    inputs = images(64, seed=3)
    with torch.no_grad():
        assert torch.equal(found(inputs), model(inputs))
    moved = [n for n, p in found.named_parameters() if not torch.equal(p, model.get_parameter(n))]
    assert any(name.endswith("log_step") for name in moved)
    assert any(name.endswith("weight.original") for name in moved)


@pytest.mark.data
def test_so_does_that_of_a_trained_and_quantised_resnet(shared_data):
    task = cifar10.task(data=shared_data)
    inputs = next(iter(task.test))[0][:32]
    context = PassContext(calibration=inputs[:16])
    model = traced(task.model)
    model = Quantize(bits=tuple((name, 4, 4) for name in nest_layers(model))).apply(model, context)
    found = ClusterChannels().apply(model, context)
    with torch.no_grad():
        assert torch.equal(found(inputs), model(inputs))
    moved = [n for n, p in found.named_parameters() if not torch.equal(p, model.get_parameter(n))]
    assert sum(name.endswith("weight.original") for name in moved) >= 18


def kernel(layer):
    return layer.weight[0, 0].numel()


@pytest.mark.parametrize("kind", [residual, Mixed, Reused])
def test_in_floating_point_it_moves_by_rounding_only(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = traced(kind())
    found = ClusterChannels().apply(model, PassContext(calibration=images(32)))
    inputs = images(64, seed=3)
    with torch.no_grad():
        expected, got = model(inputs), found(inputs)
    assert (got - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_channels_are_sorted_by_what_is_not_zero():
    model, inputs = whole(Mixed()), numbers()
    found = ClusterChannels().apply(model, PassContext(calibration=inputs))
    fractions = nonzero_fractions(found, inputs)
    assert sorted(fractions["d"].tolist(), reverse=True) != nonzero_fractions(model, inputs)["d"].tolist()
    b = fractions["depthwise"]
    assert len(b) == 6


def test_the_one_reader_of_a_layer_sees_falling_numbers():
    model, inputs = traced(residual()), images(32)
    found = ClusterChannels().apply(model, PassContext(calibration=inputs))
    fractions = nonzero_fractions(found, inputs)["conv2"]  # conv2 alone reads conv1
    assert torch.equal(fractions, fractions.sort(descending=True).values)


def test_masks_move_with_their_weights():
    context = PassContext(calibration=images(16))
    pruned = BalancedPrune(keep=(("conv1", 4, 9), ("conv2", 4, 9))).apply(traced(residual()), context)
    found = ClusterChannels().apply(pruned, context)
    assert (masks_of(found)["conv1"].sum((2, 3)) == 4).all()
    assert torch.allclose(found(images(4)), pruned(images(4)), atol=1e-4)


class TestMistakes:
    def test_a_model_that_is_not_traced(self):
        with pytest.raises(PassError) as error:
            ClusterChannels().apply(residual(), PassContext(calibration=images(2)))
        assert str(error.value) == ("cluster needs a traced model: call chipfit.compress.graph.traced first")

    def test_weights_that_pass_through_something_else(self):
        model = traced(residual())
        parametrize.register_parametrization(model.conv1, "weight", nn.Tanh(), unsafe=True)
        with pytest.raises(PassError) as error:
            ClusterChannels().apply(model, PassContext(calibration=images(2)))
        assert str(error.value) == (
            "cluster: weights of layer 'conv1' pass through Tanh, of which the channels are not known here"
        )

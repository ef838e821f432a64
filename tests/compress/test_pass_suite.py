from dataclasses import dataclass

import pytest
import torch
from small_models import images, residual
from torch import fx, nn

from chipfit.compress.base import AbstractPass, PassContext
from chipfit.compress.graph import nest_layers
from chipfit.compress.prune import PruneChannels, channel_groups
from chipfit.compress.quantize import Quantize
from chipfit.testing import PassSuite


class SmallModel(PassSuite):
    """The laws on a random residual network."""

    def make_model(self) -> nn.Module:
        return residual()

    def make_inputs(self) -> torch.Tensor:
        return images()


class TestPruneChannels(SmallModel):
    def make_pass(self, model: fx.GraphModule) -> PruneChannels:
        groups, _ = channel_groups(model, images(2))
        return PruneChannels(keep=tuple((g.name, tuple(range(0, g.channels, 2))) for g in groups))


class TestPruneChannelsWithoutRefit(SmallModel):
    def make_pass(self, model: fx.GraphModule) -> PruneChannels:
        group = channel_groups(model, images(2))[0][-1]
        return PruneChannels(keep=((group.name, (0,)),), refit=False)


class TestQuantizeTo8Bits(SmallModel):
    def make_pass(self, model: fx.GraphModule) -> Quantize:
        return Quantize(bits=tuple((name, 8, 8) for name in nest_layers(model)))


class TestQuantizeToFewBits(SmallModel):
    def make_pass(self, model: fx.GraphModule) -> Quantize:
        widths = ((4, 4), (3, 2), (2, 5), (4, 8))
        bits = tuple((name, *w) for name, w in zip(nest_layers(model), widths, strict=True))
        return Quantize(bits=bits, stored_bits=6, sum_bits=(("conv1", 12),))


@dataclass(frozen=True, kw_only=True)
class Spoil(AbstractPass):
    """Breaks the contract: changes the given model, each time a little more."""

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        with torch.no_grad():
            model.get_parameter("stem.weight").mul_(2)
        return model


class SpoiltSuite(SmallModel):
    def make_pass(self, model: fx.GraphModule) -> Spoil:
        return Spoil()


def test_the_suite_catches_a_pass_that_changes_its_argument() -> None:
    with pytest.raises(AssertionError):
        SpoiltSuite().test_the_given_model_is_left_as_it_was()

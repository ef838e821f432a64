import pytest
import torch
from small_models import images, residual
from torch import fx, nn

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.levels import RestrictActivations
from chipfit.compress.quantize import Quantize, input_quantizer
from chipfit.compress.weights import layer_codes
from chipfit.errors import PassError
from chipfit.export.onnx import agreement, export
from chipfit.testing import PassSuite
from chipfit.train.task import TensorLoader

CONTEXT = PassContext(calibration=images())


def quantised():
    model = traced(residual())
    return Quantize(bits=tuple((n, 8, 8) for n in nest_layers(model))).apply(model, CONTEXT)


class TestRestrictActivations(PassSuite):
    def make_model(self) -> nn.Module:
        return residual()

    def make_inputs(self) -> torch.Tensor:
        return images()

    def make_pass(self, model: fx.GraphModule) -> RestrictActivations:
        return RestrictActivations(largest=(("conv1", 63), ("conv2", 100)))


def test_no_code_is_above_the_largest_and_only_those_layers_change():
    before = quantised()
    after = RestrictActivations(largest=(("conv1", 63), ("stem", 50))).apply(before, CONTEXT)
    codes = layer_codes(after, images())
    assert codes["conv1"].inputs.min() == 0
    # 63 has six bits, which stand on the upper six of eight wires; 50 has six, beside a sign.
    assert codes["conv1"].inputs.max() == 63 * 4
    assert (codes["conv1"].inputs % 4 == 0).all()
    assert abs(codes["stem"].inputs).max() == 50 * 2
    assert codes["conv2"].inputs.max() > 100
    assert input_quantizer(before, "conv1").high == 255


def test_steps_cover_what_the_lost_codes_covered():
    before = quantised()
    after = RestrictActivations(largest=(("conv1", 63),)).apply(before, CONTEXT)
    old, new = (input_quantizer(model, "conv1").step for model in (before, after))
    # 63 codes of the old step would cover a quarter of the range.
    assert 2 < new / old <= 4.2


def test_weights_read_back_into_a_model_keep_the_range():
    model = RestrictActivations(largest=(("conv1", 63),)).apply(quantised(), CONTEXT)
    model.load_state_dict(model.state_dict())
    assert input_quantizer(model, "conv1").high == 63


def test_the_exported_model_clips_as_the_torch_model_does():
    model = RestrictActivations(largest=(("conv1", 100), ("stem", 50))).apply(quantised(), CONTEXT)
    inputs = images(8)
    loader = TensorLoader(inputs, torch.zeros(8, dtype=torch.long), batch=8)
    assert agreement(export(model, inputs[:1], name="m"), model, loader).largest_difference < 1e-5


@pytest.mark.parametrize(
    ("largest", "message"),
    [
        ((("conv3", 63),), "restrict activations: no layer 'conv3', did you mean 'conv2'?"),
        ((("conv1", 256),), "restrict activations: layer 'conv1' reads codes up to 255, got 256"),
        ((("conv1", 0),), "restrict activations: layer 'conv1' reads codes up to 255, got 0"),
        ((("stem", 128),), "restrict activations: layer 'stem' reads codes up to 127, got 128"),
    ],
)
def test_what_cannot_be(largest, message):
    with pytest.raises(PassError) as raised:
        RestrictActivations(largest=largest).apply(quantised(), CONTEXT)
    assert str(raised.value) == message


def test_a_layer_that_is_not_quantised_where_others_are():
    model = traced(residual())
    some = Quantize(bits=(("stem", 8, 8),)).apply(model, CONTEXT)
    with pytest.raises(PassError) as raised:
        RestrictActivations(largest=(("conv1", 63),)).apply(some, CONTEXT)
    assert str(raised.value) == (
        "restrict activations: layer 'conv1' is not quantised, others are: quantise all or none"
    )

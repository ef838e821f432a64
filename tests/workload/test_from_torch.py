"""Torch modules as networks."""

import warnings

import pytest
import torch
from torch import nn

from chipfit.errors import NetworkError
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.from_torch import export_bytes, load_torch


class Small(nn.Module):
    """A residual network with every kind of layer that has weights."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.block(x)
        return self.head(self.up(x).mean((2, 3)))


def randomised(module):
    """Away from zeros and ones, which exporters may merge."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return module


def test_layers_have_the_paths_of_their_modules():
    network = load_torch(randomised(Small()), torch.zeros(1, 3, 8, 8), name="small")
    assert network.name == "small"
    assert [layer.name for layer in network.layers if layer.loops] == ["stem", "block.0", "up", "head"]
    assert network.layers[0].fused == ("BatchNormalization", "Relu")
    assert network.layers[1].fused == ("Relu", "Add")
    assert network.warnings == ()


def test_counts_equal_those_of_torch():
    module = randomised(Small())
    network = load_torch(module, torch.zeros(1, 3, 8, 8), name="small")
    assert network.parameters == sum(p.numel() for p in module.parameters())
    # 64 pixels: 8*27 and 8*9; 64 pixels * 8 * 4 * 4; 4*10
    assert network.macs == 64 * (216 + 72 + 128) + 40


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        # 6 steps, 2 directions, 4 gates of 5: the input (8) and the state (5)
        (nn.LSTM(8, 5, bidirectional=True, batch_first=True), (1, 6, 8), 6 * 2 * 20 * (8 + 5)),
        (nn.GRU(8, 5), (6, 1, 8), 6 * 15 * (8 + 5)),
        # 6 tokens: 4 projections of 8 x 8, scores and mix of 6 x 6 x 8, and 8 x 16 twice
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 6, 8), 6 * 256 + 2 * 288 + 6 * 256),
        (nn.Conv1d(4, 6, 5, stride=2), (1, 4, 21), 9 * 6 * 20),
    ],
    ids=["lstm", "gru", "transformer", "conv1d"],
)
def test_whole_layers_of_torch(module, shape, macs):
    network = load_torch(randomised(module), torch.zeros(shape), name="layer")
    assert network.macs == macs
    assert network.parameters == sum(p.numel() for p in module.parameters())
    assert network.warnings == ()


def test_export_prints_nothing_and_leaves_the_module_as_it_is(capfd):
    module = Small().train()
    module.block.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_bytes(module, torch.zeros(1, 3, 8, 8))
    assert capfd.readouterr() == ("", "")
    assert (module.training, module.norm.training, module.block.training) == (True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_an_open_batch_must_be_given():
    data = export_bytes(Small(), torch.zeros(1, 3, 8, 8), dynamic_batch=True)
    with pytest.raises(NetworkError) as error:
        load_onnx(data)
    assert str(error.value) == (
        "the model: dimension 0 ('batch') of input 'input' is not known; give its shape, "
        "such as --shape input=1,3,8,8"
    )
    assert load_onnx(data, shapes={"input": (4, 3, 8, 8)}).macs == 4 * (64 * (216 + 72 + 128) + 40)


def test_a_module_that_cannot_be_exported_is_named():
    class Moody(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(NetworkError, match=r"^cannot export Moody to ONNX: "):
        export_bytes(Moody(), torch.zeros(2))

"""Normalisation by the batch while a folded model is retrained.

A model whose batch normalisation was folded into its layers trains badly: a change of one layer moves the
means and scales that all later ones have come to expect. So each convolution with a bias gets a normalisation
of its own for the time of training, which at first changes nothing, and is folded away at the end.

Of a quantised layer the codes stay as they are: its steps and its bias take up the scale. Steps have short
mantissas, so this is exact but for their rounding, and a little training after it mends that.

Source: Ioffe & Szegedy, "Batch normalization", ICML 2015. Differs: put into a trained model, with scale and
shift such that its outputs are what they were.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import fx, nn
from torch.nn.utils import parametrize

from chipfit.compress.graph import nest_layers
from chipfit.compress.quantize import weight_quantizer

#: Values of a channel in a batch, below which its own statistics say too little.
_FEW = 16
_NORMALIZED = (nn.Conv1d, nn.Conv2d)


class Normalization(nn.Module):
    """Batch normalisation of channels (n, c, ...) that passes on what it gets until it is trained."""

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("variance", variance.clone())
        self.weight = nn.Parameter((variance + 1e-5).sqrt())
        self.bias = nn.Parameter(mean.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised by the batch while training, else by the running mean and variance."""
        enough = x.numel() >= _FEW * x.shape[1]
        own = self.training and enough
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, training=own)

    def scale(self) -> torch.Tensor:
        """What multiplies each channel where the running statistics hold."""
        return self.weight.detach() / (self.variance + 1e-5).sqrt()


def normalized(graph: fx.GraphModule, inputs: torch.Tensor) -> fx.GraphModule:
    """A copy with a normalisation after each convolution; on these inputs it does what the model does.

    Convolutions without a bias, and those that are called more than once, stay as they are.
    """
    graph = copy.deepcopy(graph).eval()
    moments: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            rows = output.float().transpose(0, 1).flatten(1)
            moments[name] = (rows.mean(1), rows.var(1, unbiased=False))

        return hook

    called = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
    handles = [
        layer.register_forward_hook(watch(name))
        for name, layer in nest_layers(graph).items()
        if isinstance(layer, _NORMALIZED) and layer.bias is not None and called[name] == 1
    ]
    try:
        with torch.no_grad():
            graph(inputs)
    finally:
        for handle in handles:
            handle.remove()
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or node.target not in moments:
            continue
        name = _normalization(node.target)
        graph.add_module(name, Normalization(*moments[node.target]))
        with graph.graph.inserting_after(node):
            after = graph.graph.call_module(name, (node,))
        node.replace_all_uses_with(after)
        after.args = (node,)
    graph.recompile()
    return graph.eval()


def folded(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy of what `normalized` made and training changed, without the normalisations."""
    graph = copy.deepcopy(graph).eval()
    layers = nest_layers(graph)
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(graph.get_submodule(node.target), Normalization):
            continue
        layer = node.args[0]
        _fold(layers[layer.target], cast("Normalization", graph.get_submodule(node.target)))
        node.replace_all_uses_with(layer)
        graph.graph.erase_node(node)
        graph.delete_submodule(node.target)
    graph.recompile()
    return graph


def _fold(layer: nn.Module, norm: Normalization) -> None:
    scale = norm.scale()
    weight, bias = _stored(layer, "weight"), _stored(layer, "bias")
    with torch.no_grad():
        weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))
        bias.copy_((bias - norm.mean) * scale + norm.bias)
        quantizer = weight_quantizer(layer)
        if quantizer is not None:
            quantizer.log_step.data += scale.abs().log()


def _stored(layer: nn.Module, name: str) -> torch.Tensor:
    """The tensor behind a weight or bias."""
    if parametrize.is_parametrized(layer, name):
        return cast("Any", layer).parametrizations[name].original
    return cast("torch.Tensor", getattr(layer, name))


def _normalization(layer: str) -> str:
    return layer.replace(".", "_") + "_normalization"

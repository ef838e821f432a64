"""Channels in another order, so that those with alike numbers of zeros pass a sparse array together.

Weights move with their channels through the whole graph: what writes a channel, what reads it, what works on
it alone, and every tensor that it is added to. The function stays the same bit for bit where sums are exact,
as those of a network after `Quantize` are; in floating point, sums of the same terms in another order round
otherwise (the tests see a millionth of the largest output).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from chipfit.compress.balance import Mask
from chipfit.compress.base import AbstractPass, PassContext
from chipfit.compress.channels import Block, Channels, Permutation, leaves, permutation, trace_channels
from chipfit.compress.graph import nest_layers
from chipfit.compress.quantize import BiasQuantizer, WeightQuantizer
from chipfit.cost.sparse.clustering import cluster
from chipfit.errors import PassError

#: How far the outputs may move, for the order of sums (relative to the largest, in 64 bits).
TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class ClusterChannels(AbstractPass):
    """Sort the channels of every layer by their non-zero activations on the calibration inputs, most first.

    Channels that several layers read are sorted by what all of them read together. Inputs and outputs of the
    network keep their order, and so does what this package cannot follow.
    """

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """The model with its channels in another order.

        Raises:
            PassError: the model is not traced, a layer has weights of a kind that is not known here, or the
                function would change.
        """
        if not isinstance(model, fx.GraphModule):
            raise PassError("cluster needs a traced model: call chipfit.compress.graph.traced first")
        for name, layer in nest_layers(model).items():
            for step in _steps(layer, "weight") + _steps(layer, "bias"):
                if not isinstance(step, (Mask, WeightQuantizer, BiasQuantizer)):
                    raise PassError(
                        f"cluster: weights of layer '{name}' pass through {type(step).__name__}, "
                        "of which the channels are not known here"
                    )
        channels = trace_channels(copy.deepcopy(model), context.calibration[:1])
        orders = _orders(channels, nonzero_fractions(model, context.calibration))
        found = copy.deepcopy(model).eval()
        with torch.no_grad():
            _permute(found, channels, orders)
        _check_same(model, found, context.calibration[:2])
        return found


def nonzero_fractions(model: nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The fraction of each input channel of each layer that is not zero; shape (channels,) by layer."""
    sums: dict[str, torch.Tensor] = {}
    layers = nest_layers(model)

    def watch(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            nonzero = (
                (args[0] != 0).double().flatten(2).mean(2) if args[0].dim() > 2 else (args[0] != 0).double()
            )
            sums[name] = sums.get(name, torch.zeros(nonzero.shape[1])) + nonzero.sum(0) / len(inputs)

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            for batch in inputs.split(64):
                model.eval()(batch)
    finally:
        for handle in handles:
            handle.remove()
    return sums


def _orders(channels: Channels, fractions: dict[str, torch.Tensor]) -> dict[Block, Permutation]:
    """The order of each block that may move."""
    scores: dict[Block, torch.Tensor] = {}
    for name, layout in (*channels.reads.items(), *channels.alike.items()):
        if name not in fractions:
            continue
        start = 0
        for block, repeat in leaves(layout):
            size = block.size * repeat
            part = fractions[name][start : start + size].reshape(block.size, repeat).mean(1)
            scores[block] = scores.get(block, torch.zeros(block.size)) + part
            start += size
    return {block: cluster(score.numpy()).tolist() for block, score in scores.items() if not block.frozen}


def _permute(model: nn.Module, channels: Channels, orders: dict[Block, Permutation]) -> None:
    """In place."""
    for name, layout in channels.writes.items():
        layer = model.get_submodule(name)
        _take(layer, permutation(layout, orders), 1 if _is_transposed(layer) else 0)
    for name, layout in channels.reads.items():
        layer = model.get_submodule(name)
        _take(layer, permutation(layout, orders), 0 if _is_transposed(layer) else 1, bias=False)
    for name, layout in channels.alike.items():
        _take(model.get_submodule(name), permutation(layout, orders), 0)


def _take(layer: Any, order: Permutation, axis: int, *, bias: bool = True) -> None:
    """Put what a layer keeps of each channel into another order, along an axis of its weights."""
    index = torch.tensor(order)
    if _steps(layer, "weight"):
        _select(layer.parametrizations["weight"].original, axis, index)
    elif getattr(layer, "weight", None) is not None:
        _select(layer.weight, axis, index)
    for step in _steps(layer, "weight"):
        if isinstance(step, Mask):
            _select(step.mask, axis, index)
        elif step.axis == axis:
            _select(step.log_step, 0, index)
    if bias and _steps(layer, "bias"):
        _select(layer.parametrizations["bias"].original, 0, index)
    elif bias:
        for name in ("bias", "running_mean", "running_var"):
            if getattr(layer, name, None) is not None:
                _select(getattr(layer, name), 0, index)


def _select(tensor: torch.Tensor, axis: int, index: torch.Tensor) -> None:
    tensor.copy_(tensor.index_select(axis, index))


def _steps(layer: Any, name: str) -> list[Any]:
    """The parametrisations of one tensor of a layer."""
    return list(layer.parametrizations[name]) if parametrize.is_parametrized(layer, name) else []


def _is_transposed(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d))


def _check_same(model: nn.Module, other: nn.Module, inputs: torch.Tensor) -> None:
    """Refuse a model that is another function."""
    exact, moved = (copy.deepcopy(one).double().eval() for one in (model, other))
    with torch.no_grad():
        expected, got = exact(inputs.double()), moved(inputs.double())
    scale = expected.abs().max().clamp_min(1e-12)
    if not (got - expected).abs().max() <= TOLERANCE * scale:
        raise PassError("cluster: this model computes something else with its channels in another order")

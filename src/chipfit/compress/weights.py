"""Weights restricted to a few values a layer: those that cost little in a multiplier.

A value is a code of the layer's weight quantiser, so this pass comes after `Quantize`, or quantises what is
not quantised yet. Weights go to the values straight through (the gradient of a weight is that of its value
inside the range of the set), and steps go on being learned. Zeros of pruned weights stay zero if zero
is a value.

Source: Petri, Zhang, Chen, Schlichtmann, Li, "PowerPruning", DAC 2023. Differs: values are chosen jointly
(`values`), for each layer, instead of by a threshold on power.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from chipfit.compress.base import AbstractPass, PassContext
from chipfit.compress.graph import NESTS, nest_layers
from chipfit.compress.quantize import (
    WeightQuantizer,
    code_range,
    input_quantizer,
    quantised,
    weight_quantizer,
)
from chipfit.compress.values import LayerWeights, ValueSet
from chipfit.cost.gates.streams import LayerCodes, linear_codes
from chipfit.errors import PassError, nearest

#: Inputs of a gradient that damage is measured with, each by itself.
_GRADIENTS = 128


@dataclass(frozen=True, kw_only=True)
class RestrictWeights(AbstractPass):
    """Let the weights of layers have some values only.

    `values` has (layer, its values, the bounds between them: see `values.ValueSet`). Layers that are not
    quantised yet get weights and activations of `bits`, and what other layers read `stored_bits`.
    """

    values: tuple[tuple[str, tuple[int, ...], tuple[float, ...]], ...]
    bits: int = 8
    stored_bits: int = 8

    @classmethod
    def of(cls, sets: Mapping[str, ValueSet], **options: int) -> RestrictWeights:
        """The pass for value sets by layer."""
        return cls(values=tuple((name, one.values, one.bounds) for name, one in sets.items()), **options)

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """The model with quantisers whose codes are those values.

        Raises:
            PassError: an unknown layer, an empty set, or values that do not fit the layer's width.
        """
        layers = nest_layers(model)
        unknown = [f"no layer '{n}'{nearest(n, layers)}" for n, _, _ in self.values if n not in layers]
        if unknown:
            raise PassError("restrict: " + "; ".join(unknown))
        restricted = copy.deepcopy(quantised(model, context, bits=self.bits, stored_bits=self.stored_bits))
        for name, values, bounds in self.values:
            quantizer = weight_quantizer(nest_layers(restricted)[name])
            if quantizer is None:
                raise PassError(
                    f"restrict: layer '{name}' is not quantised, others are: quantise all or none"
                )
            _check(name, ValueSet(values=values, bounds=bounds), quantizer)
            quantizer.restrict(values, bounds)
        return restricted


def _check(name: str, chosen: ValueSet, quantizer: WeightQuantizer) -> None:
    low, high = code_range(quantizer.bits, signed=True)
    wrong = [value for value in chosen.values if not low <= value <= high]
    if wrong:
        raise PassError(
            f"restrict: layer '{name}' has weights of {quantizer.bits} bits, {low} to {high}, got {wrong[0]}"
        )


def layer_codes(model: nn.Module, inputs: torch.Tensor) -> dict[str, LayerCodes]:
    """The codes that a quantised model multiplies on some inputs, layer by layer, as on the wires.

    Raises:
        PassError: a layer is not quantised, or neither linear nor a 2-D convolution.
    """
    found: dict[str, LayerCodes] = {}
    handles = [
        layer.register_forward_pre_hook(_watch(name, model, found))
        for name, layer in nest_layers(model).items()
    ]
    try:
        with torch.no_grad():
            model.eval()(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _watch(name: str, model: nn.Module, found: dict[str, LayerCodes]) -> Any:
    def hook(layer: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(layer, NESTS)
        quantizer = weight_quantizer(layer)
        if quantizer is None:
            raise PassError(f"layer '{name}' is not quantised")
        reader = input_quantizer(model, name)
        weights = _whole(layer.weight / quantizer.steps(layer.weight.dim()))
        codes = _whole(args[0] / reader.step) << reader.shift
        if isinstance(layer, nn.Linear):
            found[name] = linear_codes(codes.reshape(-1, codes.shape[-1]), weights, bits=reader.bits)
        elif isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str):
            found[name] = LayerCodes(
                inputs=codes,
                weights=weights,
                bits=reader.bits,
                stride=_pair(layer.stride),
                padding=_pair(layer.padding),
                dilation=_pair(layer.dilation),
                groups=layer.groups,
            )
        else:
            raise PassError(f"layer '{name}' is neither linear nor a 2-D convolution with numbers as padding")

    return hook


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = sizes
    return rows, columns


def _whole(values: torch.Tensor) -> np.ndarray:
    return values.detach().round().long().numpy()


def damages(model: nn.Module, inputs: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """What a squared error of one code of each weight does to the likelihood; by layer, as its weights.

    Half the mean squared derivative with respect to the code (Fisher information of the outputs that the
    model itself would draw), averaged over the weights of an output channel.

    Args:
        model: with quantisers.
        inputs: as many as are worth the time.
        generator: for the outputs that are drawn.
    """
    model = copy.deepcopy(model).eval()
    layers = nest_layers(model)
    squares = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    for one in inputs[:_GRADIENTS].split(1):
        outputs = model(one)
        if outputs.dim() == 2 and outputs.shape[1] > 1:
            drawn = torch.multinomial(outputs.detach().softmax(1), 1, generator=generator)[:, 0]
            loss = nn.functional.cross_entropy(outputs, drawn)
        else:
            loss = (outputs * torch.randn(outputs.shape, generator=generator)).sum()
        originals = {name: _original(layer) for name, layer in layers.items()}
        gradients = torch.autograd.grad(
            loss, list(originals.values()), materialize_grads=True, allow_unused=True
        )
        for name, gradient in zip(originals, gradients, strict=True):
            squares[name] += gradient.square()
    found: dict[str, torch.Tensor] = {}
    for name, square in squares.items():
        quantizer = weight_quantizer(layers[name])
        assert quantizer is not None
        mean = square.movedim(quantizer.axis, 0).flatten(1).mean(1) / min(len(inputs), _GRADIENTS)
        shape = [1] * square.dim()
        shape[quantizer.axis] = -1
        steps = quantizer.steps(square.dim()).detach()
        found[name] = (0.5 * mean.view(shape) * steps.square()).expand_as(square)
    return found


def _original(layer: Any) -> torch.Tensor:
    """The parameter beneath a layer's parametrisations."""
    return layer.parametrizations["weight"].original


def layer_weights(codes: LayerCodes, damage: torch.Tensor, energy_j: np.ndarray, bits: int) -> LayerWeights:
    """What choosing values for a layer needs, from its codes.

    Args:
        codes: of the layer.
        damage: of each weight, from `damages`.
        energy_j: of every value of the multiplier from its lowest on.
        bits: width of the weights, at most that of the multiplier: narrow codes go to it as they are.

    Raises:
        PassError: the table has fewer values than the width.
    """
    low, high = code_range(bits, signed=True)
    lowest = -len(energy_j) // 2
    if low < lowest:
        raise PassError(
            f"the table has {len(energy_j)} weight values, weights of {bits} bits need {1 << bits}"
        )
    count = high - low + 1
    places = codes.weights.reshape(-1) - low
    weights = damage.detach().numpy().reshape(-1).astype(np.float64)
    return LayerWeights(
        values=range(low, high + 1),
        counts=np.bincount(places, minlength=count).astype(np.float64),
        damage=np.bincount(places, weights=weights, minlength=count),
        energy_j=np.ascontiguousarray(energy_j[low - lowest : high + 1 - lowest]),
        macs_per_weight=codes.macs_per_weight,
        allowed=np.ones(count, dtype=np.bool_),
    )

"""Activations restricted to fewer codes, with which a multiplier settles sooner.

The codes that are left go from 0 to a largest one, which an exported model says with one `Clip` before its
quantiser. Steps are calibrated anew: fewer and larger ones cover the activation. In the multiplier such codes
stand on the upper wires: they are multiples of a power of two there, whose products leave the lowest columns
still, so that carries start later. (Other sets of codes may be quick, too, but rounding to them takes a table
of all codes in the model and in the chip.)

Source: Petri, Zhang, Chen, Schlichtmann, Li, "PowerPruning", DAC 2023, which drops activation values of long
delay. Differs: only such codes are kept as a narrower activation has.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from chipfit.compress.base import AbstractPass, PassContext
from chipfit.compress.graph import nest_layers
from chipfit.compress.quantize import ActivationQuantizer, input_quantizer, quantised, weight_quantizer
from chipfit.errors import PassError, nearest


@dataclass(frozen=True, kw_only=True)
class RestrictActivations(AbstractPass):
    """Let the activations that layers read have no codes above a largest one.

    `largest` has (layer, code). Layers that are not quantised yet get weights and activations of `bits`, and
    what other layers read `stored_bits`.
    """

    largest: tuple[tuple[str, int], ...]
    bits: int = 8
    stored_bits: int = 8

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """The model with quantisers of that range, calibrated on the context's inputs.

        Raises:
            PassError: an unknown layer, one that is not quantised though others are, or a code that its width
                does not have.
        """
        layers = nest_layers(model)
        unknown = [f"no layer '{n}'{nearest(n, layers)}" for n, _ in self.largest if n not in layers]
        if unknown:
            raise PassError("restrict activations: " + "; ".join(unknown))
        restricted = copy.deepcopy(quantised(model, context, bits=self.bits, stored_bits=self.stored_bits))
        layers = nest_layers(restricted)
        readers: list[ActivationQuantizer] = []
        for name, largest in self.largest:
            if weight_quantizer(layers[name]) is None:
                raise PassError(
                    f"restrict activations: layer '{name}' is not quantised, others are: quantise all or none"
                )
            reader = input_quantizer(restricted, name)
            if not 1 <= largest <= reader.high:
                raise PassError(
                    f"restrict activations: layer '{name}' reads codes up to {reader.high}, got {largest}"
                )
            reader.restrict(largest)
            readers.append(reader)
        _calibrate(restricted, readers, context.calibration)
        return restricted


def _calibrate(model: nn.Module, readers: list[ActivationQuantizer], inputs: torch.Tensor) -> None:
    """Choose the steps of some quantisers from what they see, in the order of the model."""

    def watch(reader: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(reader, ActivationQuantizer)
        reader.calibrate(args[0])

    handles = [reader.register_forward_pre_hook(watch) for reader in readers]
    try:
        with torch.no_grad():
            model.eval()(inputs)
    finally:
        for handle in handles:
            handle.remove()

"""How much each single choice hurts, measured on the network itself.

The loss of a choice is the divergence of the outputs from those of the original, on calibration
inputs, when nothing else is changed: one layer's weights at a width, one layer's input at a width,
or one group with fewer channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers
from chipfit.compress.prune import keep_best
from chipfit.compress.quantize import ActivationQuantizer, Quantize, WeightQuantizer
from chipfit.search.space import Codes, Group, LayerChoice
from chipfit.train.finetune import divergence


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One single choice: `kind` 'weights' or 'activations' at `value` bits, 'channels' kept, or all
    'stored' activations (layer '*') at `value` bits.
    """

    layer: str
    kind: str
    value: int


def probes(
    widths: Mapping[str, Sequence[int]], groups: Sequence[Group], stored: Sequence[int] = ()
) -> list[Probe]:
    """All single choices: every width of every layer, and every level of every group."""
    found = [Probe(layer=n, kind=kind, value=b) for n, bits in widths.items() for kind in KINDS for b in bits]
    found += [Probe(layer="*", kind="stored", value=b) for b in stored]
    return found + [Probe(layer=g.name, kind="channels", value=c) for g in groups for c in g.levels[1:]]


KINDS = ("weights", "activations")


def weight_codes(
    model: nn.Module, widths: Mapping[str, Sequence[LayerChoice]]
) -> dict[tuple[str, int], Codes]:
    """The codes of weights, by layer and weight width."""
    layers = nest_layers(model)
    found: dict[tuple[str, int], Codes] = {}
    for name, options in widths.items():
        weight = layers[name].weight.detach()
        for bits in {option.weight_bits for option in options}:
            quantizer = WeightQuantizer(weight, bits)
            values, counts = quantizer.codes(weight).detach().long().unique(return_counts=True)
            found[name, bits] = Codes(
                largest_sum=int(quantizer.sums(weight).max()),
                values=tuple(zip(values.tolist(), counts.tolist(), strict=True)),
            )
    return found


def measure(
    model: nn.Module,
    inputs: torch.Tensor,
    wanted: Sequence[Probe],
    scores: Mapping[str, torch.Tensor],
    found: Callable[[Probe, float], None],
) -> None:
    """Measure the loss of each wanted choice, and hand each to `found` as soon as it is known.

    Args:
        model: a traced model in floating point.
        inputs: calibration inputs, shape (images, ...).
        wanted: the choices to try.
        scores: importance of the channels of each group.
        found: called with the choice and its loss (nat, or squared error).
    """
    model = copy.deepcopy(model).eval()
    if inputs.dim() == 4:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    layers = nest_layers(model)
    with torch.no_grad():
        original = _outputs(model, inputs)
        for probe in wanted:
            layer = layers.get(probe.layer)
            if probe.kind == "channels":
                context = PassContext(calibration=inputs[:128])
                changed = keep_best(scores, {probe.layer: probe.value}).apply(model, context)
                outputs = _outputs(changed, inputs)
            elif probe.kind == "stored":
                context = PassContext(calibration=inputs)
                outputs = _outputs(Quantize(bits=(), stored_bits=probe.value).apply(model, context), inputs)
            elif probe.kind == "weights":
                assert layer is not None
                kept = layer.weight.data
                layer.weight.data = WeightQuantizer(kept, probe.value)(kept)
                outputs = _outputs(model, inputs)
                layer.weight.data = kept
            else:
                assert layer is not None
                outputs = _with_narrow_input(model, layer, probe.value, inputs)
            found(probe, float(divergence(outputs, original)))


def _outputs(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(batch) for batch in inputs.split(128)])


def _with_narrow_input(model: nn.Module, layer: nn.Module, bits: int, inputs: torch.Tensor) -> torch.Tensor:
    quantizer = ActivationQuantizer(bits)
    state = {"calibrated": False}

    def narrow(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if not state["calibrated"]:
            quantizer.calibrate(args[0])
            state["calibrated"] = True
        return (quantizer(args[0]), *args[1:])

    handle = layer.register_forward_pre_hook(narrow)
    try:
        return _outputs(model, inputs)
    finally:
        handle.remove()

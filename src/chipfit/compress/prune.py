"""Whole channels cut out of a network, and which of them matter least.

Channels that must go together (a layer's outputs and every layer that reads them, through
additions, depthwise convolutions and flattening) form a group; torch-pruning finds the groups.
A group counts only if cutting it does exactly what silencing it does: each is tried on a copy and
compared, because graph tools can be wrong about padded shortcuts, and a wrong cut must never pass.

Channels go in the order of the error that they leave in the layers that read them (`output_errors`), or
of their importance: the squared first-order effect of removing one on the model's own likelihood.

Source: Molchanov et al., "Importance estimation for neural network pruning", CVPR 2019, eq. (8),
with gates on channels. Differs: labels are drawn from the model itself, so that none are needed.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import fx, nn

from chipfit.compress.base import AbstractPass, PassContext
from chipfit.compress.graph import NESTS, nest_layers
from chipfit.compress.reconstruct import can_be_solved, removal_errors, take_over
from chipfit.errors import PassError, nearest

#: How far a cut model may be from a silenced one (relative to the largest output).
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels that must be cut together.

    `name` is the first layer that produces them; `producers` and `consumers` are the nest layers
    whose output or input channels they are; `channels` counts them.
    """

    name: str
    channels: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PruneChannels(AbstractPass):
    """Cut channels: `keep` has (group name, indices of the channels that stay).

    With `refit`, the layers that read them take over what linear prediction from the channels that
    stay can give (least squares on the calibration inputs).
    """

    keep: tuple[tuple[str, tuple[int, ...]], ...]
    refit: bool = True

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """The smaller model.

        Raises:
            PassError: a layer is unknown, nothing would stay, or the cut would change more than
                the channels (the message names the group).
        """
        small = copy.deepcopy(model)
        sample = context.calibration[:2]
        for name, kept in self.keep:
            layer = _layer(small, name)
            channels = _outputs(layer)
            gone = sorted(set(range(channels)) - set(kept))
            if not kept or not set(kept) <= set(range(channels)):
                raise PassError(f"prune '{name}': keep some of channels 0..{channels - 1}, got {kept}")
            if gone and self.refit:
                _take_over(small, name, gone, context.calibration)
            if gone:
                small = _cut_checked(small, name, gone, sample)
        return small


def channel_groups(model: nn.Module, sample: torch.Tensor) -> tuple[list[ChannelGroup], list[str]]:
    """The groups that can be cut safely, and a note on each layer whose channels cannot."""
    groups: list[ChannelGroup] = []
    notes: list[str] = []
    covered: set[str] = set()
    layers = nest_layers(model)
    for name in list(layers)[:-1]:
        if name in covered:
            continue
        try:
            group = _group(model, name, sample)
            covered.update(group.producers)
            _cut_checked(model, name, [group.channels - 1], sample)
            _cut_checked(model, name, [0], sample)
        except PassError as error:
            notes.append(str(error))
        else:
            groups.append(group)
    return groups, notes


def importance(
    model: nn.Module, groups: Sequence[ChannelGroup], inputs: torch.Tensor, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """How much the likelihood would change without each channel; shape (channels,) by group.

    The gate of a channel multiplies the outputs of all its producers; the score is the mean over
    images of the squared derivative with respect to the gate.
    """
    model = copy.deepcopy(model).eval()
    outputs: dict[str, list[torch.Tensor]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            output.retain_grad()
            outputs.setdefault(name, []).append(output)

        return hook

    modules = nest_layers(model)
    for group in groups:
        for name in group.producers:
            modules[name].register_forward_hook(watch(name))
    scores = {group.name: torch.zeros(group.channels) for group in groups}
    for batch in inputs.split(64):
        outputs.clear()
        _self_loss(model(batch), generator).backward()
        for group in groups:
            gates = sum(_gate_gradient(o) for name in group.producers for o in outputs[name])
            assert isinstance(gates, torch.Tensor)
            scores[group.name] += gates.square().sum(0) / len(inputs)
        model.zero_grad()
    return scores


def output_errors(
    model: nn.Module, groups: Sequence[ChannelGroup], inputs: torch.Tensor, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """The error of the layers that read a group when a channel goes and those that stay take over.

    Shape (channels,) by group; channels that go later have the larger score. Groups that some layer
    reads which least squares do not fit (grouped, one-dimensional, very large) get `importance`.
    """
    found: dict[str, torch.Tensor] = {}
    for group in groups:
        members = _members(model, group.name, range(group.channels), inputs[:2])
        readers = [(layer, index) for layer, index, is_output in members if not is_output]
        if all(can_be_solved(layer) for layer, _ in readers):
            found[group.name] = removal_errors(model, readers, group.channels, inputs)
        else:
            found |= importance(model, [group], inputs, generator)
    return found


def magnitude(model: nn.Module, groups: Sequence[ChannelGroup]) -> dict[str, torch.Tensor]:
    """The Euclidean norm of each channel's weights over all producers; shape (channels,)."""
    modules = nest_layers(model)
    return {
        group.name: sum(
            (modules[n].weight.detach().flatten(1).square().sum(1) for n in group.producers),
            start=torch.zeros(group.channels),
        ).sqrt()
        for group in groups
    }


def keep_best(scores: Mapping[str, torch.Tensor], counts: Mapping[str, int]) -> PruneChannels:
    """The pass that keeps the `counts[group]` most important channels of each group."""
    keep: list[tuple[str, tuple[int, ...]]] = []
    for name, count in counts.items():
        if count < len(scores[name]):
            best = torch.argsort(scores[name], descending=True, stable=True)[:count]
            keep.append((name, tuple(sorted(best.tolist()))))
    return PruneChannels(keep=tuple(keep))


def silence(model: nn.Module, name: str, channels: Sequence[int], sample: torch.Tensor) -> None:
    """In place: every reader of these channels ignores them, as if they were cut."""
    for layer, index, is_output in _members(model, name, channels, sample):
        if not is_output:
            with torch.no_grad():
                layer.weight[:, index] = 0.0


def _take_over(model: nn.Module, name: str, gone: Sequence[int], inputs: torch.Tensor) -> None:
    """In place: readers of the group predict the channels that go from those that stay."""
    for layer, index, is_output in _members(model, name, gone, inputs[:2]):
        if not is_output and can_be_solved(layer):
            take_over(model, layer, index, inputs)


def _self_loss(outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if outputs.dim() == 2 and outputs.shape[1] > 1:
        drawn = torch.multinomial(outputs.detach().softmax(1), 1, generator=generator)[:, 0]
        return F.cross_entropy(outputs, drawn, reduction="sum")
    noise = torch.randn(outputs.shape, generator=generator)
    return (outputs * noise).sum()


def _gate_gradient(output: torch.Tensor) -> torch.Tensor:
    assert output.grad is not None
    product = output.detach() * output.grad
    return product.flatten(2).sum(2) if product.dim() > 2 else product


def _layer(model: nn.Module, name: str) -> Any:
    layers = nest_layers(model)
    if name not in layers:
        raise PassError(f"prune: no layer '{name}'{nearest(name, layers)}")
    return layers[name]


def _outputs(layer: Any) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def _tp_group(model: nn.Module, name: str, channels: Sequence[int], sample: torch.Tensor) -> Any:
    import torch_pruning as tp

    layer = _layer(model, name)
    cut = tp.prune_linear_out_channels if isinstance(layer, nn.Linear) else tp.prune_conv_out_channels
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            graph = tp.DependencyGraph().build_dependency(model, example_inputs=sample)
            return graph.get_pruning_group(layer, cut, idxs=list(channels))
        except Exception as error:  # the library raises whatever its graph walk runs into
            raise PassError(f"channels of '{name}' stay: no group found ({error})") from error


def _members(
    model: nn.Module, name: str, channels: Sequence[int], sample: torch.Tensor
) -> list[tuple[Any, list[int], bool]]:
    """The nest layers of a group with the channels concerned, and whether these are outputs."""
    found: list[tuple[Any, list[int], bool]] = []
    for dependency, index in _tp_group(model, name, channels, sample):
        layer = dependency.target.module
        if isinstance(layer, NESTS):
            is_output = "out_channels" in dependency.handler.__name__
            found.append((layer, list(index), is_output))
    return found


def _group(model: nn.Module, name: str, sample: torch.Tensor) -> ChannelGroup:
    names = {id(module): path for path, module in nest_layers(model).items()}
    channels = _outputs(_layer(model, name))
    members = _members(model, name, range(channels), sample)
    producers = [names[id(layer)] for layer, _, is_output in members if is_output]
    consumers = [names[id(layer)] for layer, _, is_output in members if not is_output]
    last = list(nest_layers(model))[-1]
    if last in producers:
        raise PassError(f"channels of '{name}' stay: they are the outputs of the network")
    if not consumers:
        raise PassError(f"channels of '{name}' stay: no layer reads them")
    return ChannelGroup(
        name=name,
        channels=channels,
        producers=tuple(dict.fromkeys(producers)),
        consumers=tuple(dict.fromkeys(consumers)),
    )


def _cut_checked(model: nn.Module, name: str, gone: Sequence[int], sample: torch.Tensor) -> nn.Module:
    """A copy without these channels; refuses when that differs from silencing them."""
    silent = copy.deepcopy(model).eval()
    silence(silent, name, gone, sample)
    small = copy.deepcopy(model).eval()
    _tp_group(small, name, gone, sample).prune()
    if isinstance(small, fx.GraphModule):
        small.recompile()
    try:
        with torch.no_grad():
            expected, got = silent(sample), small(sample)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise PassError(f"channels of '{name}' stay: the cut model does not run ({reason})") from error
    scale = expected.abs().max().clamp_min(1e-12)
    if got.shape != expected.shape or not (got - expected).abs().max() <= TOLERANCE * scale:
        raise PassError(f"channels of '{name}' stay: cutting them would change other channels as well")
    return small

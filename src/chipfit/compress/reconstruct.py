"""What layers that read some channels can still do without them, by least squares.

With inputs X = [K G] of a layer (kept, gone) and its weights [W; V], the outputs K W + G V are nearest to
K W' for W' = W + (K'K)^-1 K'G V. The squared error that stays is tr(V' S V), S the inverse of the block of
(X'X)^-1 that belongs to G: so the channel that costs least is known without solving for each.

Source: Hassibi & Stork, "Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992,
for blocks of weights and the outputs of one layer, as in Frantar & Alistarh, "Optimal brain compression",
NeurIPS 2022. Differs: a block is a channel with all its readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import nn

from chipfit.errors import PassError

#: Larger sums of squares do not fit a memory (inputs of an output).
MOST_INPUTS = 4096
#: A share of the mean square of a layer's inputs that is added to each, so that the inverse exists.
RIDGE = 1e-3
#: Groups of more channels lose several at a time.
STEPS = 64

Reader = nn.Conv2d | nn.Linear


def can_be_solved(layer: nn.Module) -> TypeGuard[Reader]:
    """Whether least squares work for a layer: dense, in two dimensions, not too large."""
    if isinstance(layer, nn.Linear):
        return layer.in_features <= MOST_INPUTS
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1 or isinstance(layer.padding, str):
        return False
    if layer.padding_mode != "zeros":
        return False
    return layer.weight[0].numel() <= MOST_INPUTS


def take_over(model: nn.Module, layer: Reader, gone: Sequence[int], inputs: torch.Tensor) -> None:
    """In place: a reader predicts the input channels (or features) that go from those that stay."""
    gram = _gram(model, layer, inputs)
    taps = layer.weight[0, 0].numel()
    goes = torch.zeros(layer.weight.shape[1], taps, dtype=torch.bool)
    goes[list(gone)] = True
    goes = goes.flatten()
    stays = ~goes
    flat = layer.weight.detach().flatten(1).T.double()
    within = gram[stays][:, stays]
    ridge = RIDGE * within.diagonal().mean() * torch.eye(len(within), dtype=gram.dtype)
    flat[stays] += torch.linalg.solve(within + ridge, gram[stays][:, goes] @ flat[goes])
    with torch.no_grad():
        layer.weight.copy_(flat.T.float().reshape(layer.weight.shape))


def removal_errors(
    model: nn.Module, readers: Sequence[tuple[Reader, Sequence[int]]], channels: int, inputs: torch.Tensor
) -> torch.Tensor:
    """The error of the readers when a channel goes, in the order in which they go; shape (channels,).

    Channels go one by one, each time that of the least error when its readers take over what they can.
    The error of a channel is that of all that are gone by then, as a share of the squares of the
    readers' outputs, added over readers. `readers` have the inputs that belong to the channels, channel
    after channel.
    """
    problems = [_Problem(model, layer, list(index), channels, inputs) for layer, index in readers]
    errors = torch.zeros(channels, dtype=torch.float64)
    alive = torch.ones(channels, dtype=torch.bool)
    at_once, total = -(-channels // STEPS), 0.0
    while alive.any():
        more = torch.stack([problem.errors() for problem in problems]).sum(0)
        more[~alive] = torch.inf
        for channel in torch.argsort(more, stable=True)[: min(at_once, int(alive.sum()))].tolist():
            total += float(more[channel].clamp_min(0.0))
            errors[channel] = total
            alive[channel] = False
            for problem in problems:
                problem.remove(channel)
    return errors


class _Problem:
    """One reader's least squares while channels go: its weights, and the inverse of its sums of squares."""

    def __init__(
        self, model: nn.Module, layer: Reader, index: Sequence[int], channels: int, inputs: torch.Tensor
    ) -> None:
        gram = _gram(model, layer, inputs)
        self.weight = layer.weight.detach().flatten(1).double()
        self.scale = float(torch.trace(self.weight @ gram @ self.weight.T).clamp_min(1e-30))
        ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-30)
        self.inverse = torch.linalg.inv(gram + ridge * torch.eye(len(gram), dtype=gram.dtype))
        taps = layer.weight[0, 0].numel()
        features = torch.tensor(list(index)).view(channels, -1, 1) * taps + torch.arange(taps)
        self.features = features.flatten(1)

    def errors(self) -> torch.Tensor:
        """What each channel would cost if it went next; shape (channels,)."""
        blocks = self.inverse[self.features[:, :, None], self.features[:, None, :]]
        weight = self.weight[:, self.features].permute(1, 2, 0)
        return (weight * torch.linalg.solve(blocks, weight)).sum((1, 2)) / self.scale

    def remove(self, channel: int) -> None:
        """Take a channel out; the others take over."""
        own = self.features[channel]
        columns = torch.linalg.solve(self.inverse[own][:, own], self.inverse[own])
        self.weight -= self.weight[:, own] @ columns
        self.inverse -= self.inverse[:, own] @ columns
        self.weight[:, own] = 0.0
        self.inverse[own] = 0.0
        self.inverse[:, own] = 0.0
        self.inverse[own, own] = 1.0


def _gram(model: nn.Module, layer: Reader, inputs: torch.Tensor) -> torch.Tensor:
    """Sum over all positions of the outer product of a layer's unfolded inputs; (features, features)."""
    sums: list[torch.Tensor] = []

    def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        rows = unfolded(layer, args[0])
        sums.append((rows.T @ rows).double())

    handle = layer.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            for batch in inputs.split(64):
                model(batch)
    finally:
        handle.remove()
    return torch.stack(sums).sum(0)


def unfolded(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Inputs of a layer as rows, one a place of the output; inputs of groups side by side."""
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2)
    if isinstance(layer, nn.Conv1d):
        x = x[:, :, None]
        sizes = [(1, *pair) for pair in (layer.kernel_size, layer.dilation, layer.stride)]
        padding: Any = (0, *layer.padding)
    else:
        sizes = [layer.kernel_size, layer.dilation, layer.stride]
        padding = layer.padding
    kernel, dilation, stride = sizes
    if isinstance(padding, str) or layer.padding_mode != "zeros":
        raise PassError(f"prune: padding '{layer.padding}' of mode '{layer.padding_mode}' is not known here")
    return F.unfold(x, kernel, dilation, padding, stride).transpose(1, 2).flatten(0, 1)

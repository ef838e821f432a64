"""Pruning that leaves every processing element of a sparse array as much to do as the others.

Weights are cut into cells, and every cell keeps equally many: the R x S weights of each 2-D kernel; where
kernels are 1 x 1, so many consecutive input channels of an output. Which of a cell stay is decided by their
magnitude, or by the error of the layer's outputs: of the patterns of a cell, the one with the least error
when the other cells of the output are what they are, cell after cell; then the weights that stay are fitted
to the outputs of the unpruned model by least squares.

With inputs X of the pruned model and X0 of the unpruned one (rows: places of the output), weights w0 and
H = X'X + r, the error of weights w is (w − w1)' H (w − w1) and a constant, where H w1 = X'X0 w0 + r w0.

Source: least squares on calibration data as in Frantar & Alistarh, "Optimal brain compression", NeurIPS
2022. Differs: all patterns of a small cell are tried; cells that see each other's errors are swept over.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from chipfit.compress.base import AbstractPass, PassContext
from chipfit.compress.graph import nest_layers
from chipfit.compress.reconstruct import unfolded
from chipfit.errors import PassError, nearest

#: What is decided by.
CRITERIA = ("output_error", "magnitude")
#: What a cell is: a 2-D kernel, consecutive input channels at each place of the kernel, or the whole layer.
PATTERNS = ("kernel", "channels", "layer")
_BALANCED = (nn.Conv1d, nn.Conv2d, nn.Linear)
#: More patterns of a cell are not tried: weights then leave one by one, each time that of the least error.
_MOST_PATTERNS = 1000
#: Larger sums of squares do not fit a memory (inputs of an output).
_MOST_INPUTS = 8192


class Mask(nn.Module):
    """A parametrisation that holds pruned weights at zero."""

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights, zero where the mask is."""
        return weight * self.mask

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights as they are set."""
        return weight


@dataclass(frozen=True, kw_only=True)
class BalancedPrune(AbstractPass):
    """Keep equally many weights of every cell: `keep` has (layer, kept, of).

    `pattern` 'kernel': `of` is the number of weights of a 2-D kernel, and of consecutive inputs where
    kernels are 1 x 1 and in linear layers. 'channels': of consecutive input channels, at each place of a
    kernel (N:M). 'layer': that fraction of the layer, wherever (unstructured, to compare with). A last cell
    that is smaller keeps as large a part, rounded up. `criterion` is 'output_error' (with `sweeps` over
    all cells) or 'magnitude'.
    """

    keep: tuple[tuple[str, int, int], ...]
    pattern: str = "kernel"
    criterion: str = "output_error"
    sweeps: int = 2

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """The model with masks as parametrisations of its weights.

        Raises:
            PassError: a layer or an option is not known, is quantised already, or cells do not fit it.
        """
        layers = nest_layers(model)
        self._check(layers)
        pruned = copy.deepcopy(model).eval()
        unpruned = copy.deepcopy(model).eval()
        given = {name: (kept, of) for name, kept, of in self.keep}
        for name, layer in nest_layers(pruned).items():
            if name not in given:
                continue
            kept, of = given[name]
            flat = layer.weight.detach().flatten(1).double()
            cells = _cells(layer, self.pattern, kept, of)
            if self.criterion == "magnitude":
                mask = _largest(flat.abs(), cells, whole=self.pattern == "layer")
            else:
                moments = _moments(unpruned, pruned, name, context.calibration)
                flat, mask = self._fitted(flat, cells, moments)
            _set(layer, flat, mask)
        return pruned

    def _fitted(
        self, flat: torch.Tensor, cells: Sequence[_Cell], moments: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and mask of the least error found, group by group of the convolution."""
        rows = len(flat) // len(moments)
        weights, masks = torch.zeros_like(flat), torch.zeros_like(flat, dtype=torch.bool)
        for place, (own, across) in enumerate(moments):
            part = slice(place * rows, (place + 1) * rows)
            curvature, best = _quadratic(flat[part], own, across)
            if self.pattern == "layer":
                mask = _largest(best.square() * curvature.diagonal(), cells, whole=True)
            else:
                mask = _swept(best, curvature, cells, self.sweeps)
            weights[part], masks[part] = _refitted(best, curvature, mask), mask
        return weights, masks

    def _check(self, layers: dict[str, Any]) -> None:
        wrong: list[str] = []
        for what, given, valid in (
            ("criterion", self.criterion, CRITERIA),
            ("pattern", self.pattern, PATTERNS),
        ):
            if given not in valid:
                wrong.append(f"unknown {what} '{given}'{nearest(given, valid)}")
        for name, kept, of in self.keep:
            if name not in layers:
                wrong.append(f"no layer '{name}'{nearest(name, layers)}")
            else:
                wrong += _layer_problems(name, layers[name], self.pattern, self.criterion, kept, of)
        if wrong:
            raise PassError("prune: " + "; ".join(wrong))


def balanced(
    model: nn.Module, keep: float, *, consecutive: int = 16, skip: Sequence[str] = ()
) -> tuple[tuple[str, int, int], ...]:
    """One ratio for all layers but `skip`, as `BalancedPrune.keep`: at least one weight of a cell stays.

    Args:
        model: the model.
        keep: fraction of the weights that stay.
        consecutive: size of a cell where kernels are 1 x 1.
        skip: layers that stay dense.
    """
    found: list[tuple[str, int, int]] = []
    for name, layer in nest_layers(model).items():
        size = _kernel(layer)
        of = size if size > 1 else consecutive
        if name not in skip:
            found.append((name, max(1, round(keep * of)), of))
    return tuple(found)


def schedule(kept: int, of: int, steps: int) -> tuple[int, ...]:
    """How many of a cell to keep after each of `steps` rounds of pruning and retraining: fast, then slow.

    Source: the cubic of Zhu & Gupta, "To prune, or not to prune", 2017. Differs: whole weights of a cell.

    >>> schedule(3, 9, 4)
    (6, 4, 3, 3)
    """
    part = [(1 - (step + 1) / steps) ** 3 for step in range(steps)]
    return tuple(max(kept, round(kept + (of - kept) * p)) for p in part)


def masks_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Where the weights of each layer that multiplies are not zero, by its name."""
    return {name: layer.weight.detach() != 0 for name, layer in nest_layers(model).items()}


def _set(layer: Any, flat: torch.Tensor, mask: torch.Tensor) -> None:
    """Give a layer these weights, in place, and hold those outside the mask at zero."""
    shaped = mask.reshape(layer.weight.shape).to(layer.weight.dtype)
    values = flat.reshape(layer.weight.shape).to(layer.weight.dtype) * shaped
    with torch.no_grad():
        if parametrize.is_parametrized(layer, "weight"):
            # Removing a parametrisation would take it from all copies of the layer: they share a class.
            layer.parametrizations["weight"].original.copy_(values)
            layer.parametrizations["weight"][0].mask.copy_(shaped)
        else:
            layer.weight.copy_(values)
            parametrize.register_parametrization(layer, "weight", Mask(shaped))


# ---------------------------------------------------------------------------------------------
# Cells


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cell:
    """Places of the weights of a cell among those of an output, and how many stay."""

    places: torch.Tensor
    kept: int


def _kernel(layer: Any) -> int:
    return 1 if isinstance(layer, nn.Linear) else math.prod(layer.kernel_size)


def _cells(layer: Any, pattern: str, kept: int, of: int) -> list[_Cell]:
    size = _kernel(layer)
    places = torch.arange(layer.weight[0].numel()).reshape(-1, size)  # (channel, tap)
    if pattern == "layer":
        return [_Cell(places=places.flatten(), kept=round(places.numel() * kept / of))]
    if pattern == "kernel" and size > 1:
        groups = list(places)
    else:
        groups = [part for tap in places.T for part in tap.split(of)]
    return [_Cell(places=group, kept=math.ceil(len(group) * kept / of)) for group in groups]


def _layer_problems(name: str, layer: Any, pattern: str, criterion: str, kept: int, of: int) -> list[str]:
    found: list[str] = []
    if not isinstance(layer, _BALANCED):
        return [f"layer '{name}' is a {type(layer).__name__}, which has no kernels to balance"]
    if not 1 <= kept <= of:
        found.append(f"layer '{name}': {kept} of {of} weights cannot be kept, expected 1 to {of}")
    size = _kernel(layer)
    if pattern == "kernel" and size > 1 and of != size:
        found.append(f"layer '{name}': its kernels hold {size} weights, not {of}")
    if criterion == "output_error" and layer.weight[0].numel() > _MOST_INPUTS:
        found.append(
            f"layer '{name}' has {layer.weight[0].numel()} inputs an output, more than {_MOST_INPUTS}: "
            "prune it by magnitude"
        )
    if parametrize.is_parametrized(layer, "weight"):
        steps = cast("Any", layer).parametrizations["weight"]
        if not all(isinstance(step, Mask) for step in steps):
            found.append(f"layer '{name}' is quantised: prune before")
    return found


def _largest(scores: torch.Tensor, cells: Sequence[_Cell], *, whole: bool) -> torch.Tensor:
    """True where a score is among the largest of its cell; with `whole`, of those of all rows together."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for cell in cells:
        part = scores[:, cell.places]
        if whole:
            chosen = torch.zeros(part.numel(), dtype=torch.bool)
            chosen[part.flatten().topk(cell.kept * len(part)).indices] = True
            mask[:, cell.places] = chosen.reshape(part.shape)
        else:
            order = part.argsort(dim=1, descending=True, stable=True)[:, : cell.kept]
            mask[:, cell.places] = torch.zeros_like(part, dtype=torch.bool).scatter(1, order, value=True)
    return mask


# ---------------------------------------------------------------------------------------------
# The error of the outputs


def _quadratic(
    flat: torch.Tensor, own: torch.Tensor, across: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """H, and the weights of the least error without a mask, shape (row, input)."""
    ridge = 1e-2 * own.diagonal().mean().clamp_min(1e-12)
    curvature = own + ridge * torch.eye(len(own), dtype=own.dtype)
    best = torch.linalg.solve(curvature, across @ flat.T + ridge * flat.T).T
    return curvature, best.contiguous()


def _swept(best: torch.Tensor, curvature: torch.Tensor, cells: Sequence[_Cell], sweeps: int) -> torch.Tensor:
    """The mask: each cell in turn takes its best pattern while the others are what they are."""
    weights = best.clone()
    mask = torch.ones_like(best, dtype=torch.bool)
    for _ in range(sweeps):
        for cell in cells:
            within = curvature[cell.places][:, cell.places]
            inverse = torch.linalg.inv(within)
            others = weights - best
            others[:, cell.places] = 0
            # Without a pattern, the cell would make up for the errors of all others.
            free = best[:, cell.places] - others @ curvature[:, cell.places] @ inverse
            chosen = _best_pattern(free, inverse, cell.kept)
            mask[:, cell.places] = chosen
            weights[:, cell.places] = _projected(free, inverse, chosen)
    return mask


def _best_pattern(free: torch.Tensor, inverse: torch.Tensor, kept: int) -> torch.Tensor:
    """Which weights of a cell to keep for the least error, row by row."""
    size = free.shape[1]
    if kept == size:
        return torch.ones_like(free, dtype=torch.bool)
    if math.comb(size, kept) > _MOST_PATTERNS:
        return _one_by_one(free, inverse, kept)
    patterns = torch.tensor(list(itertools.combinations(range(size), size - kept)))
    # Setting the weights z to zero costs free_z' (inverse_zz)^-1 free_z.
    costs = torch.linalg.inv(inverse[patterns[:, :, None], patterns[:, None, :]])
    gone = free[:, patterns]
    errors = torch.einsum("rpz,pzy,rpy->rp", gone, costs, gone)
    mask = torch.ones_like(free, dtype=torch.bool)
    return mask.scatter(1, patterns[errors.argmin(dim=1)], value=False)


def _one_by_one(free: torch.Tensor, inverse: torch.Tensor, kept: int) -> torch.Tensor:
    """Weights leave one after the other, each time that of the least error; the others make up for it."""
    weights, mask = free.clone(), torch.ones_like(free, dtype=torch.bool)
    inverses = inverse.expand(len(free), -1, -1).clone()
    rows = torch.arange(len(free))
    for _ in range(free.shape[1] - kept):
        diagonal = inverses.diagonal(dim1=1, dim2=2)
        errors = (weights.square() / diagonal.clamp_min(1e-300)).masked_fill(~mask, torch.inf)
        gone = errors.argmin(dim=1)
        column = inverses[rows, :, gone]
        pivot = column[rows, gone][:, None]
        weights = weights - column * (weights[rows, gone][:, None] / pivot)
        inverses = inverses - column[:, :, None] * column[:, None, :] / pivot[:, :, None]
        mask[rows, gone] = False
    return mask


def _projected(free: torch.Tensor, inverse: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The weights of the least error under a mask, row by row."""
    gone = (~mask).to(free.dtype)
    # Where a weight stays, the system is the identity and its multiplier zero.
    system = inverse * gone[:, :, None] * gone[:, None, :] + torch.diag_embed(1 - gone)
    multipliers = torch.linalg.solve(system, (free * gone)[:, :, None])
    return (free - (inverse @ multipliers)[:, :, 0]) * mask


def _refitted(best: torch.Tensor, curvature: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Least squares for the weights that stay, of all cells of a row together."""
    wanted = best @ curvature
    weights = torch.zeros_like(best)
    for row, stays in enumerate(mask):
        within = curvature[stays][:, stays]
        weights[row, stays] = torch.linalg.solve(within, wanted[row, stays])
    return weights


def _moments(
    unpruned: nn.Module, pruned: nn.Module, name: str, inputs: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """X'X and X'X0 of the inputs of a layer, for each group of a convolution."""
    layer: Any = nest_layers(pruned)[name]
    groups = getattr(layer, "groups", 1)
    seen: dict[str, torch.Tensor] = {}

    def watch(key: str) -> Any:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            seen[key] = unfolded(layer, args[0])

        return hook

    handles = [
        nest_layers(model)[name].register_forward_pre_hook(watch(key))
        for key, model in (("own", pruned), ("other", unpruned))
    ]
    size = layer.weight[0].numel()
    sums = [
        (torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64))
    ] * groups
    try:
        with torch.no_grad():
            for batch in inputs.split(16):
                pruned(batch)
                unpruned(batch)
                for group in range(groups):
                    part = slice(group * size, (group + 1) * size)
                    own, other = seen["own"][:, part], seen["other"][:, part]
                    before = sums[group]
                    sums[group] = (before[0] + own.T @ own, before[1] + own.T @ other)
    finally:
        for handle in handles:
            handle.remove()
    return sums

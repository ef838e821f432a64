"""How many weights each layer keeps: the least loss for the time or energy that a sparse array may take.

    minimise    sum over layers of the loss of the chosen option
    subject to  one option a layer, and the sum of their costs at most the limit

Costs are the array's own, from the masks of each option; the loss of an option is how far the outputs of the
network move when that layer alone is pruned. Solved by HiGHS.

Source: losses of single layers added up as in Yao et al., "HAWQ-V3", ICML 2021, there for bit widths.
Differs: costs are those of one array with these very masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint
from torch import nn

from chipfit.compress.balance import BalancedPrune, masks_of
from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers
from chipfit.cost.sparse.estimator import SparseEstimator
from chipfit.errors import PassError, nearest
from chipfit.hardware.target import Target
from chipfit.milp import milp
from chipfit.workload.network import Network
from chipfit.workload.zeros import Zeros, weight_shape

QUANTITIES = ("latency_s", "energy_j", "dram_bits")


@dataclass(frozen=True, kw_only=True)
class KeepOption:
    """A layer that keeps `kept` of `of` weights of each cell: its loss, and what it costs by quantity."""

    layer: str
    kept: int
    of: int
    loss: float
    latency_s: float
    energy_j: float
    dram_bits: float


def keep_options(
    model: nn.Module,
    network: Network,
    target: Target,
    context: PassContext,
    levels: Mapping[str, Sequence[tuple[int, int]]],
    *,
    zeros: Zeros,
    prune: BalancedPrune,
) -> list[KeepOption]:
    """What every level of every layer loses and costs.

    Args:
        model: the traced model.
        network: the same, as imported; layers have the names of modules.
        target: a chip with a `sparse` section.
        context: calibration inputs.
        levels: (kept, of) to try, by layer.
        zeros: what is known of activations.
        prune: how a layer is pruned; its `keep` is replaced.

    Raises:
        PassError: a layer is not known to both, or cannot be pruned so.
        MappingError: the target has no `sparse` section.
    """
    priced = {layer.name: layer for layer in network.layers if layer.loops is not None}
    modules = nest_layers(model)
    wrong = [f"no layer '{n}'{nearest(n, priced)}" for n in levels if n not in priced or n not in modules]
    if wrong:
        raise PassError("keep options: " + "; ".join(wrong))
    with torch.no_grad():
        expected = model.eval()(context.calibration)
    found: list[KeepOption] = []
    for name, choices in levels.items():
        layer = priced[name]
        for kept, of in choices:
            pruned = replace(prune, keep=((name, kept, of),)).apply(model, context)
            mask = masks_of(pruned)[name].reshape(weight_shape(layer)).numpy()
            known = replace(zeros, weights={**zeros.weights, name: mask})
            cost = SparseEstimator(zeros=known).layer(layer, target).cost
            found.append(
                KeepOption(
                    layer=name,
                    kept=kept,
                    of=of,
                    loss=_distance(expected, pruned, context.calibration),
                    latency_s=cost.latency_s,
                    energy_j=cost.energy_j,
                    dram_bits=cost.dram_bits,
                )
            )
    return found


def choose_keep(
    options: Sequence[KeepOption], limits: Mapping[str, float]
) -> tuple[tuple[str, int, int], ...]:
    """The choice of least loss within the limits, as `BalancedPrune.keep`.

    Args:
        options: of all layers.
        limits: the most that the chosen options may take together, by quantity.

    Raises:
        PassError: a quantity is not known, or no choice keeps the limits.
    """
    wrong = [f"unknown quantity '{q}'{nearest(q, QUANTITIES)}" for q in limits if q not in QUANTITIES]
    if wrong:
        raise PassError("keep options: " + "; ".join(wrong))
    layers = list(dict.fromkeys(option.layer for option in options))
    one_each = np.array([[option.layer == layer for option in options] for layer in layers], float)
    constraints = [LinearConstraint(one_each, 1, 1)]  # pyright: ignore[reportArgumentType]
    for quantity, limit in limits.items():
        row = np.array([[getattr(option, quantity) / limit for option in options]])
        constraints.append(LinearConstraint(row, -np.inf, 1))  # pyright: ignore[reportArgumentType]
    losses = np.array([option.loss for option in options])
    result = milp(
        losses / max(float(losses.max()), 1e-30),
        integrality=np.ones(len(options)),
        bounds=Bounds(0, 1),
        constraints=constraints,
    )
    if result.x is None:
        least = {q: _least(options, layers, q) for q in limits}
        text = ", ".join(f"{q} {limits[q]:.4g} (at least {value:.4g})" for q, value in least.items())
        raise PassError(f"keep options: no choice keeps {text}")
    return tuple(
        (option.layer, option.kept, option.of)
        for option, chosen in zip(options, result.x, strict=True)
        if chosen > 0.5
    )


def _least(options: Sequence[KeepOption], layers: Sequence[str], quantity: str) -> float:
    """The least that any choice takes of one quantity alone."""
    return sum(min(getattr(o, quantity) for o in options if o.layer == layer) for layer in layers)


def _distance(expected: torch.Tensor, model: nn.Module, inputs: torch.Tensor) -> float:
    """Squared difference of the outputs, relative to their size."""
    with torch.no_grad():
        got = model.eval()(inputs)
    return float((got - expected).square().sum() / expected.square().sum().clamp_min(1e-30))

"""More zeros among activations: rectifiers with thresholds, and a penalty on what they let through.

Source: thresholds on rectified activations as in Kurtz et al., "Inducing and exploiting activation sparsity",
ICML 2020; L1 as in Georgiadis, "Accelerating convolutional neural networks via activation map compression",
CVPR 2019. Differs: thresholds are quantiles of calibration activations, a layer at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import fx, nn

from chipfit.compress.base import AbstractPass, PassContext
from chipfit.errors import PassError, nearest

_RECTIFIERS: tuple[object, ...] = (torch.relu, F.relu, "relu", "relu_")


@dataclass(frozen=True, kw_only=True)
class ThresholdActivations(AbstractPass):
    """Rectifiers that also silence what is small: `thresholds` has (rectifier, least value that passes)."""

    thresholds: tuple[tuple[str, float], ...]

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """The model with thresholds in place of these rectifiers.

        Raises:
            PassError: the model is not traced, a rectifier is not known, or a threshold is negative.
        """
        graph = _traced(model)
        nodes = _rectifiers(graph)
        wrong = [f"no rectifier '{n}'{nearest(n, nodes)}" for n, _ in self.thresholds if n not in nodes]
        wrong += [f"{n}: threshold {t:g} is below 0" for n, t in self.thresholds if not t >= 0]
        if wrong:
            raise PassError("threshold: " + "; ".join(wrong))
        for name, threshold in self.thresholds:
            node = nodes[name]
            path = f"{name}_threshold"
            graph.add_submodule(path, nn.Threshold(threshold, 0.0))
            with graph.graph.inserting_after(node):
                replacement = graph.graph.call_module(path, (node.args[0],))
            node.replace_all_uses_with(replacement)
            graph.graph.erase_node(node)
        graph.delete_all_unused_submodules()
        graph.recompile()
        return graph


def thresholds_for(model: nn.Module, inputs: torch.Tensor, density: float) -> tuple[tuple[str, float], ...]:
    """The threshold of each rectifier that lets at most this fraction of its activations through.

    Raises:
        PassError: the model is not traced, or `density` is not in 0..1.
    """
    if not 0 <= density <= 1:
        raise PassError(f"threshold: density must be in 0..1, got {density:g}")
    found: list[tuple[str, float]] = []
    with rectified(model) as activations, torch.no_grad():
        model.eval()(inputs)
        for name, values in activations.items():
            flat = values.flatten().sort().values
            place = min(len(flat) - 1, len(flat) - 1 - int(density * len(flat)))
            found.append((name, max(0.0, float(flat[place]))))
    return tuple(found)


@contextmanager
def rectified(model: nn.Module) -> Generator[dict[str, torch.Tensor]]:
    """While it lasts, what each rectifier of a traced model wrote in its last run, by name.

    `activation_l1` of it is a penalty for training.

    Raises:
        PassError: the model is not traced.
    """
    if not isinstance(model, fx.GraphModule):
        raise PassError("rectifiers are found in traced models: call chipfit.compress.graph.traced first")
    names = {id(node): name for name, node in _rectifiers(model).items()}
    seen: dict[str, torch.Tensor] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if id(n) in names:
                seen[names[id(n)]] = result
            return result

    def forward(*args: Any) -> Any:
        seen.clear()
        return Watch(model).run(*args)

    model.forward = forward
    try:
        yield seen
    finally:
        del model.forward


def activation_l1(activations: dict[str, torch.Tensor]) -> torch.Tensor:
    """The mean over rectifiers of the mean activation: add a multiple of it to the loss."""
    parts = [values.abs().mean() for values in activations.values()]
    return torch.stack(parts).mean() if parts else torch.zeros(())


def _traced(model: nn.Module) -> fx.GraphModule:
    if not isinstance(model, fx.GraphModule):
        raise PassError("threshold needs a traced model: call chipfit.compress.graph.traced first")
    return copy.deepcopy(model)


def _rectifiers(graph: fx.GraphModule) -> dict[str, fx.Node]:
    """Nodes that rectify, by their names."""
    found: dict[str, fx.Node] = {}
    for node in graph.graph.nodes:
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, (nn.ReLU, nn.Threshold)) or (module is None and node.target in _RECTIFIERS):
            found[node.name] = node
    return found

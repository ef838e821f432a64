"""Scores of untrained networks: guesses at how well each would do, from one batch of random inputs.

Higher is better. None needs data or training; none is an accuracy. How far each agrees with accuracies
differs from space to space, and operations and parameters (of the shapes alone) are seldom far behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import nn

#: Inputs that scores are taken over, and classes of their made-up labels.
_BATCH = 16


def synflow(model: nn.Module, inputs: torch.Tensor) -> float:
    """Sum over the weights of weight times gradient, all weights made positive, inputs all ones.

    Source:
        Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic
        flow", NeurIPS 2020; as a score: Abdelfattah et al., "Zero-cost proxies", ICLR 2021.
        Differs: the logarithm is returned, since products over many layers overflow otherwise.
    """
    double = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for value in double.parameters():
            value.abs_()
    double.zero_grad()
    double(torch.ones_like(inputs[:1], dtype=torch.float64)).sum().backward()
    total = sum(float((value * g).sum()) for value, g in _gradients(double))
    return float(torch.log(torch.tensor(max(total, 1e-300), dtype=torch.float64)))


def grad_norm(model: nn.Module, inputs: torch.Tensor) -> float:
    """Norm of the gradient of the loss over all weights (Abdelfattah et al., ICLR 2021)."""
    squares = [float((g.double() ** 2).sum()) for _, g in _gradients(_backward(model, inputs))]
    return sum(squares) ** 0.5


def snip(model: nn.Module, inputs: torch.Tensor) -> float:
    """Sum over the weights of |weight times gradient| (Lee et al., "SNIP", ICLR 2019)."""
    return sum(float((value * g).abs().sum()) for value, g in _gradients(_backward(model, inputs)))


def naswot(model: nn.Module, inputs: torch.Tensor) -> float:
    """How differently the activations are switched from input to input.

    The logarithm of the determinant of the matrix of agreements: how many ReLUs are in the same state
    for each pair of inputs.

    Source:
        Mellor et al., "Neural architecture search without training", ICML 2021, eq. (2).
    """
    model = copy.deepcopy(model).train()
    count = len(inputs)
    agreement = torch.zeros(count, count, dtype=torch.float64)

    def collect(_module: nn.Module, given: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
        on = (given[0].reshape(count, -1) > 0).double()
        agreement.add_(on @ on.T + (1 - on) @ (1 - on).T)

    hooks = [m.register_forward_hook(collect) for m in model.modules() if isinstance(m, nn.ReLU)]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    sign, log_determinant = torch.linalg.slogdet(agreement + 1e-6 * torch.eye(count, dtype=torch.float64))
    return float(log_determinant) if float(sign) > 0 else -1e9


def _gradients(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each weight that has a gradient, with it."""
    return [(value.detach(), value.grad) for value in model.parameters() if value.grad is not None]


def _backward(model: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """A copy of the model after one backward pass, with made-up labels."""
    model = copy.deepcopy(model).train()
    model.zero_grad()
    outputs = model(inputs)
    labels = torch.arange(len(inputs)) % outputs.shape[1]
    nn.functional.cross_entropy(outputs, labels).backward()
    return model


#: The scores by their names.
SCORES: Mapping[str, Callable[[nn.Module, torch.Tensor], float]] = {
    "synflow": synflow,
    "naswot": naswot,
    "grad_norm": grad_norm,
    "snip": snip,
}


def random_inputs(seed: int = 0) -> torch.Tensor:
    """A batch of small images of noise."""
    return torch.randn(_BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(seed))

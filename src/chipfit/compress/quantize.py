"""Weights and activations on integer grids, with steps that are learned in training.

A quantised value is `step * code`, `code` a whole number of the width: symmetric for weights (one
step per output channel), unsigned for activations that are never negative (one step per tensor),
signed otherwise. Rounding passes gradients straight through; the step gets the gradient of eq. (3)
of the source, in its logarithm, so that it stays positive.

Steps have mantissas of four bits, and biases are whole multiples of (weight step × activation
step), as int32 biases are. Sums of a few million such products are exact in 32-bit floating point, so
that torch, ONNX Runtime and integer hardware compute the same network, whatever the order of additions.

Source: Esser et al., "Learned step size quantization", ICLR 2020. Differs: steps are learned as
logarithms with Adam, without the gradient scale of the paper; they start from the least squared
error on weights and calibration data; short mantissas are ours.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from chipfit.compress.base import AbstractPass, PassContext
from chipfit.compress.graph import NESTS, insert_input, insert_stored, nest_layers
from chipfit.errors import PassError, nearest

WIDTHS = tuple(range(2, 9))


def code_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """Smallest and largest code of a width.

    Two and eight signed bits leave out the lowest code, so that zero is in the middle: a ternary
    weight, and the range that int8 kernels expect.

    >>> code_range(4, signed=True), code_range(8, signed=True), code_range(3, signed=False)
    ((-8, 7), (-127, 127), (0, 7))
    """
    if not signed:
        return 0, 2**bits - 1
    high = 2 ** (bits - 1) - 1
    return (-high if bits in (2, 8) else -high - 1), high


def short(log_step: torch.Tensor) -> torch.Tensor:
    """The step nearest to `exp(log_step)` whose mantissa has four bits.

    >>> short(torch.tensor([0.0, 0.1]).log()), short(torch.tensor(1.03).log())
    (tensor([0.0000, 0.1016]), tensor(1.))
    """
    # 0.1 = 12.8 / 128 becomes 13 / 128; 1.03 = 8.24 / 8 becomes 8 / 8.
    mantissa, exponent = torch.frexp(log_step.detach().exp())
    return torch.ldexp((mantissa * 16).round() / 16, exponent)


@torch.library.custom_op("chipfit::quantize", mutates_args=())
def quantize(x: torch.Tensor, step: float, low: int, high: int) -> torch.Tensor:
    """Values rounded to the grid `step * [low..high]`; what exported models compute."""
    width = torch.tensor(step, dtype=x.dtype)
    return torch.clamp(torch.round(x / width), low, high) * width


@quantize.register_fake
def _(x: torch.Tensor, step: float, low: int, high: int) -> torch.Tensor:  # pyright: ignore[reportUnusedFunction]
    return torch.empty_like(x)


class _LearnedStep(torch.autograd.Function):
    """Fake quantisation of a tensor with one learned step; few passes over the tensor, most in place."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, log_step: torch.Tensor, low: int, high: int) -> torch.Tensor:
        step = short(log_step).to(x.dtype)
        scaled = x / step
        code = scaled.round().clamp_(low, high)
        ctx.save_for_backward(scaled, code, log_step)
        ctx.range = low, high
        return code * step

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scaled, code, log_step = ctx.saved_tensors
        low, high = ctx.range
        # In the layout of the values: a gradient from pooling has another, with which all is slow.
        grad = torch.empty_like(scaled).copy_(grads[0])
        # Ends are inside: zeros, of which activations have many, are the low end of an unsigned range.
        passed = torch.ops.aten.hardtanh_backward(grad, scaled, low - 1e-3, high + 1e-3)
        # eq. (3): d(value)/d(step) is code - x/step inside the range and the end code outside;
        # the factor step makes it the derivative in the logarithm.
        slope = (grad * code).addcmul_(passed, scaled, value=-1.0).sum()
        return passed, (slope * log_step.exp()).reshape(log_step.shape), None, None


class ActivationQuantizer(nn.Module):
    """Puts an activation on a grid whose step is calibrated, then learned."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.log_step = nn.Parameter(torch.zeros(()))
        self.register_buffer("signed", torch.tensor(False))
        self.low, self.high = 0, 2**bits - 1
        self.largest: int | None = None
        self.frozen_step: float | None = None

    def restrict(self, largest: int) -> None:
        """Let codes be no larger than this one, of either sign."""
        self.largest = largest
        self.set_signed(bool(self.signed))

    @property
    def shift(self) -> int:
        """By how many wires its codes stand above the lowest: few codes take the upper wires."""
        if self.largest is None:
            return 0
        return self.bits - bool(self.signed) - self.high.bit_length()

    @property
    def step(self) -> float:
        """The step that values are multiples of."""
        return float(short(self.log_step))

    def freeze(self) -> None:
        """Fix the step, as a model for export needs it."""
        self.frozen_step = self.step

    def calibrate(self, values: torch.Tensor) -> None:
        """Choose sign and step for the least squared error on sample values."""
        signed = bool(values.min() < 0)
        self.set_signed(signed)
        flat = values.detach().flatten().float()
        if len(flat) > 40_000:
            chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:40_000]
            flat = flat[chosen]
        step = _best_step(flat[None], self.low, self.high)
        self.log_step.data = step.log().reshape(())

    def set_signed(self, signed: bool) -> None:
        """Use signed or unsigned codes."""
        self.signed.fill_(signed)  # pyright: ignore[reportCallIssue]
        self.low, self.high = code_range(self.bits, signed=signed)
        if self.largest is not None:
            self.low, self.high = max(self.low, -self.largest), min(self.high, self.largest)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.set_signed(bool(self.signed))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Values of the grid, in the shape of `x`."""
        if self.frozen_step is not None:
            return quantize(x, self.frozen_step, self.low, self.high)
        return _LearnedStep.apply(x, self.log_step, self.low, self.high)  # pyright: ignore[reportReturnType]

    def extra_repr(self) -> str:
        """Width and sign."""
        return f"bits={self.bits}, signed={bool(self.signed)}"


class WeightQuantizer(nn.Module):
    """A parametrisation that puts weights on a grid with one step per output channel."""

    def __init__(
        self, weight: torch.Tensor, bits: int, *, axis: int = 0, sum_limit: int | None = None
    ) -> None:
        super().__init__()
        self.bits, self.axis, self.sum_limit = bits, axis, sum_limit
        self.low, self.high = code_range(bits, signed=True)
        rows = weight.detach().movedim(axis, 0).flatten(1)
        steps = _best_step(rows, self.low, self.high)
        # A channel that is all but zero would get a step so small that its bias overflows int32.
        self.log_step = nn.Parameter(steps.clamp_min(float(steps.max()) * 1e-3).log())
        self.values: torch.Tensor | None
        self.bounds: torch.Tensor | None
        self.register_buffer("values", None)
        self.register_buffer("bounds", None)

    def restrict(self, values: Sequence[int], bounds: Sequence[float]) -> None:
        """Let codes be these values only, increasing; `bounds` are where one ends and the next begins."""
        self.values = torch.tensor(values, dtype=torch.float32)
        self.bounds = torch.tensor(bounds, dtype=torch.float32)
        self.low, self.high = min(values), max(values)

    def _rounded(self, scaled: torch.Tensor) -> torch.Tensor:
        """The code of each weight, given in steps."""
        if self.values is None or self.bounds is None:
            return scaled.round().clamp(self.low, self.high)
        return self.values[torch.bucketize(scaled.detach().contiguous(), self.bounds, right=True)]

    def steps(self, dimensions: int) -> torch.Tensor:
        """The step of each output channel, in a shape that multiplies weights."""
        shape = [1] * dimensions
        shape[self.axis] = -1
        smooth = self.log_step.exp()
        return (smooth + (short(self.log_step) - smooth).detach()).view(shape)

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """The whole numbers that stand for these weights."""
        return self._rounded(weight / self.steps(weight.dim()))

    def sums(self, weight: torch.Tensor) -> torch.Tensor:
        """The larger of the sums of positive and of negative codes; shape (output channels,)."""
        rows = self.codes(weight.detach()).detach().movedim(self.axis, 0).flatten(1)
        return torch.maximum(rows.clamp_min(0).sum(1), -rows.clamp_max(0).sum(1))

    def keep_sums(self, weight: torch.Tensor) -> None:
        """Widen the steps of channels whose sums of codes pass `sum_limit`, until none does."""
        if self.sum_limit is None:
            return
        for _ in range(100):
            excess = self.sums(weight) / self.sum_limit
            if excess.max() <= 1:
                return
            # A step of a short mantissa moves in jumps, so each round goes a little further.
            self.log_step.data += torch.where(excess > 1, excess.log() + 0.01, 0.0)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights of the grid; gradients pass straight through the rounding."""
        step = self.steps(weight.dim())
        scaled = weight / step
        clipped = scaled.clamp(self.low, self.high)
        return (clipped + (self._rounded(scaled) - clipped).detach()) * step


class BiasQuantizer(nn.Module):
    """A parametrisation that puts a bias on the grid of the sums that it is added to."""

    def __init__(self, weights: WeightQuantizer, activations: ActivationQuantizer) -> None:
        super().__init__()
        # In a tuple, so that they do not count as submodules twice.
        self.operands = (weights, activations)

    def steps(self) -> torch.Tensor:
        """The step of each output channel."""
        weights, activations = self.operands
        return short(weights.log_step) * short(activations.log_step)

    def forward(self, bias: torch.Tensor) -> torch.Tensor:
        """The bias on its grid; gradients pass straight through."""
        step = self.steps()
        return bias + ((bias / step).round() * step - bias).detach()


def _best_step(rows: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """The step of each row with the least squared error, from 80 fractions of the full range."""
    largest = rows.abs().amax(1).clamp_min(1e-8)
    best = torch.full_like(largest, torch.inf)
    found = largest / max(high, 1)
    for fraction in torch.linspace(0.1, 1.05, 80):
        step = largest * fraction / max(high, 1)
        values = (rows / step[:, None]).round().clamp(low, high) * step[:, None]
        error = (values - rows).square().sum(1)
        better = error < best
        best, found = torch.where(better, error, best), torch.where(better, step, found)
    return found


@dataclass(frozen=True, kw_only=True)
class Quantize(AbstractPass):
    """Give each layer its weight and activation width.

    `bits` has (layer, weight bits, activation bits); layers that are not named stay as they are.
    Activations that something other than a multiplying layer reads (additions, pooling) are kept at
    `stored_bits`. `sum_bits` has (layer, width) for layers whose partial sums must fit a width: the
    codes of a channel are kept small enough that no input can overflow it.

    Source: the guarantee on sums is that of Colbert et al., "A2Q", ICCV 2023. Differs: the step of a
    channel that would pass its limit is widened, instead of a norm being learned.
    """

    bits: tuple[tuple[str, int, int], ...]
    stored_bits: int = 8
    sum_bits: tuple[tuple[str, int], ...] = ()

    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """The model with quantisers, calibrated on the context's inputs."""
        if not isinstance(model, fx.GraphModule):
            raise PassError("quantize needs a traced model: call chipfit.compress.graph.traced first")
        graph = copy.deepcopy(model)
        layers = nest_layers(graph)
        self._check(layers)
        sums = dict(self.sum_bits)
        insert_stored(graph, lambda: ActivationQuantizer(self.stored_bits))
        for name, weight_bits, activation_bits in self.bits:
            layer = layers[name]
            axis = 1 if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)) else 0
            limit = sums.get(name)
            # |sum| <= largest sum of codes of one sign * largest input code < 2^(width - 1)
            largest = None if limit is None else (2 ** (limit - 1) - 1) // (2**activation_bits - 1)
            quantizer = WeightQuantizer(layer.weight, weight_bits, axis=axis, sum_limit=largest)
            quantizer.keep_sums(layer.weight)
            insert_input(graph, name, lambda bits=activation_bits: ActivationQuantizer(bits))
            parametrize.register_parametrization(layer, "weight", quantizer, unsafe=True)
            if layer.bias is not None:
                bias = BiasQuantizer(quantizer, input_quantizer(graph, name))
                parametrize.register_parametrization(layer, "bias", bias, unsafe=True)
        _calibrate(graph, context.calibration)
        return graph

    def _check(self, layers: dict[str, Any]) -> None:
        wrong = [f"no layer '{n}'{nearest(n, layers)}" for n, _, _ in self.bits if n not in layers]
        for name, *widths in self.bits:
            wrong += [f"{name}: {b} bits, expected 2 to 8" for b in widths if b not in WIDTHS]
        if wrong:
            raise PassError("quantize: " + "; ".join(wrong))


def quantised(model: nn.Module, context: PassContext, *, bits: int, stored_bits: int) -> nn.Module:
    """The model as it is, or, where no layer is quantised yet, with all layers at one width."""
    layers = nest_layers(model)
    if any(weight_quantizer(layer) for layer in layers.values()):
        return model
    widths = tuple((name, bits, bits) for name in layers)
    return Quantize(bits=widths, stored_bits=stored_bits).apply(model, context)


def _calibrate(graph: nn.Module, inputs: torch.Tensor) -> None:
    """Set each activation quantiser from what it sees when nothing before it is rounded."""
    quantizers = [m for m in graph.modules() if isinstance(m, ActivationQuantizer)]

    def watch(module: nn.Module, args: tuple[torch.Tensor, ...], _: torch.Tensor) -> torch.Tensor:
        assert isinstance(module, ActivationQuantizer)
        module.calibrate(args[0])
        return args[0]

    handles = [q.register_forward_hook(watch) for q in quantizers]
    try:
        with torch.no_grad():
            graph.eval()(inputs)
    finally:
        for handle in handles:
            handle.remove()


def quantizers_of(model: nn.Module) -> dict[str, ActivationQuantizer]:
    """The activation quantisers, by module path."""
    return {n: m for n, m in model.named_modules() if isinstance(m, ActivationQuantizer)}


def keep_sums(model: nn.Module) -> None:
    """Restore the limits on sums of codes after the weights have changed."""
    for layer in nest_layers(model).values():
        quantizer = weight_quantizer(layer)
        if quantizer is not None and quantizer.sum_limit is not None:
            quantizer.keep_sums(_parametrizations(layer, "weight").original)


def weight_quantizer(layer: nn.Module) -> WeightQuantizer | None:
    """The weight quantiser of a layer, or None."""
    assert isinstance(layer, NESTS)
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    steps = _parametrizations(layer, "weight")
    return next((m for m in steps if isinstance(m, WeightQuantizer)), None)


def input_quantizer(model: nn.Module, layer: str) -> ActivationQuantizer:
    """The quantiser of what a layer of a quantised model reads."""
    reader = model.get_submodule(f"{layer}_input")
    assert isinstance(reader, ActivationQuantizer)
    return reader


def bias_quantizer(layer: nn.Module) -> BiasQuantizer | None:
    """The bias quantiser of a layer, or None."""
    if not parametrize.is_parametrized(layer, "bias"):
        return None
    return next((m for m in _parametrizations(layer, "bias") if isinstance(m, BiasQuantizer)), None)


def _parametrizations(layer: Any, name: str) -> Any:
    return layer.parametrizations[name]

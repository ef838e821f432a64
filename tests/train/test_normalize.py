"""Normalisation that is there while a folded model is trained, and leaves only what was learned."""

import pytest
import torch
from small_models import images, residual
from torch import nn

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize, weight_quantizer
from chipfit.train.normalize import Normalization, folded, normalized

BITS = tuple((n, 4, 4) for n in ("stem", "conv1", "conv2", "head"))


def model(*, quantised: bool) -> torch.fx.GraphModule:
    graph = traced(residual())
    return Quantize(bits=BITS).apply(graph, PassContext(calibration=images())) if quantised else graph


def trained(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """A few steps towards nothing in particular, by the batch."""
    for module in graph.modules():
        if isinstance(module, Normalization):
            module.train()
    optimizer = torch.optim.Adam(graph.parameters(), lr=3e-3)
    for seed in range(5):
        optimizer.zero_grad()
        (graph(images(seed=seed)) - 1).square().mean().backward()
        optimizer.step()
    return graph.eval()


def norms(graph: nn.Module) -> list[Normalization]:
    return [module for module in graph.modules() if isinstance(module, Normalization)]


@pytest.mark.parametrize("quantised", [False, True])
def test_at_first_it_changes_nothing(quantised: bool) -> None:
    graph = model(quantised=quantised)
    made = normalized(graph, images())
    convolutions = [m for m in nest_layers(graph).values() if isinstance(m, nn.Conv2d)]
    assert len(norms(made)) == len(convolutions) > 0
    assert not norms(graph)
    with torch.no_grad():
        torch.testing.assert_close(made(images(seed=5)), graph(images(seed=5)), rtol=1e-3, atol=1e-3)


def test_the_batch_decides_while_it_trains_and_the_running_mean_afterwards() -> None:
    norm = Normalization(torch.tensor([2.0]), torch.tensor([4.0]))
    x = torch.arange(32.0).view(8, 1, 2, 2)
    torch.testing.assert_close(norm.eval()(x), x, rtol=1e-4, atol=1e-4)
    assert norm.mean.item() == 2.0
    by_hand = (x - x.mean()) / x.std(unbiased=False) * 2 + 2
    torch.testing.assert_close(norm.train()(x), by_hand, rtol=1e-4, atol=1e-4)
    assert norm.mean.item() == pytest.approx(0.9 * 2 + 0.1 * 15.5)
    few = norm.mean.clone()
    norm(x[:1])  # four values are no batch
    assert torch.equal(norm.mean, few)


def test_folded_does_what_the_normalised_did() -> None:
    graph = trained(normalized(model(quantised=False), images()))
    plain = folded(graph)
    assert not norms(plain)
    with torch.no_grad():
        wanted, before = graph(images(seed=7)), model(quantised=False)(images(seed=7))
        torch.testing.assert_close(plain(images(seed=7)), wanted, rtol=1e-3, atol=1e-3)
    assert float((wanted - before).abs().max()) > 0.1  # it has learned something
    assert {n for n, _ in plain.named_parameters()} == {
        n for n, _ in model(quantised=False).named_parameters()
    }


def test_codes_stay_and_steps_take_up_the_scale() -> None:
    graph = trained(normalized(model(quantised=True), images()))
    plain = folded(graph)
    for name, layer in nest_layers(graph).items():
        other = nest_layers(plain)[name]
        before, after = weight_quantizer(layer), weight_quantizer(other)
        assert before is not None
        assert after is not None
        codes = [
            q.codes(m.parametrizations.weight.original) for q, m in ((before, layer), (after, other))
        ]  # fmt: skip
        # Steps of short mantissas differ from the scaled ones by rounding, which moves few codes.
        assert float((codes[0] != codes[1]).double().mean()) < 0.15
        norm = graph.get_submodule(f"{name}_normalization") if name != "head" else None
        scale = norm.scale() if isinstance(norm, Normalization) else torch.ones(())
        torch.testing.assert_close(after.log_step, before.log_step + scale.log(), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        wanted = graph(images(seed=7))
        far = (plain(images(seed=7)) - wanted).square().mean() / wanted.var()
    assert float(far) < 0.1

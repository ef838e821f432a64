import pytest
import torch
import torch.nn.functional as F
from small_models import images, residual
from torch import nn

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.prune import (
    PruneChannels,
    channel_groups,
    importance,
    keep_best,
    magnitude,
    output_errors,
    silence,
)
from chipfit.errors import PassError

CONTEXT = PassContext(calibration=images())


class PaddedShortcut(nn.Module):
    """A shortcut that pads channels: graph tools cut it wrongly, without an error."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x) + F.pad(x, (0, 0, 0, 0, 2, 2)))
        return self.head(x.mean((2, 3)))


def test_groups_join_what_an_addition_joins() -> None:
    groups, notes = channel_groups(traced(residual()), images(2))
    found = {g.name: (g.channels, set(g.producers), set(g.consumers)) for g in groups}
    assert found == {
        "stem": (6, {"stem", "conv2"}, {"conv1", "head"}),
        "conv1": (6, {"conv1"}, {"conv2"}),
    }
    assert notes == []


def test_a_group_that_cannot_be_cut_safely_is_named_not_cut() -> None:
    torch.manual_seed(0)
    groups, notes = channel_groups(traced(PaddedShortcut().eval()), images(2))
    assert groups == []
    assert notes[0].startswith("channels of 'conv1' stay:")


def test_cutting_does_what_silencing_does() -> None:
    graph = traced(residual())
    cut = PruneChannels(keep=(("stem", (0, 2, 3, 5)), ("conv1", (1, 4))), refit=False).apply(graph, CONTEXT)
    silent = traced(residual())
    silence(silent, "stem", [1, 4], images(2))
    silence(silent, "conv1", [0, 2, 3, 5], images(2))
    with torch.no_grad():
        torch.testing.assert_close(cut(images()), silent(images()), rtol=1e-4, atol=1e-5)
    assert [tuple(layer.weight.shape[:2]) for layer in nest_layers(cut).values()] == [
        (4, 3), (2, 4), (4, 2), (4, 4),
    ]  # fmt: skip


def test_refitting_brings_outputs_nearer_to_the_original() -> None:
    graph = traced(residual())
    with torch.no_grad():
        outputs = graph(images())
        errors = [
            float((step.apply(graph, CONTEXT)(images()) - outputs).square().mean())
            for step in (PruneChannels(keep=(("conv1", (0, 1, 2)),), refit=r) for r in (True, False))
        ]
    assert errors[0] < errors[1]


def test_a_channel_that_another_repeats_is_taken_over_entirely() -> None:
    model = residual()
    with torch.no_grad():
        model.conv1.weight[5] = model.conv1.weight[2]
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(model.bn1, name)[5] = getattr(model.bn1, name)[2]
    graph = traced(model)
    cut = PruneChannels(keep=(("conv1", (0, 1, 2, 3, 4)),)).apply(graph, PassContext(calibration=images(64)))
    with torch.no_grad():
        difference = (cut(images()) - graph(images())).abs().max() / graph(images()).abs().max()
    assert difference < 0.01  # the ridge of the least squares keeps it above zero


def test_a_dead_channel_has_no_importance() -> None:
    graph = traced(residual())
    with torch.no_grad():
        graph.conv1.weight[3] = 0.0
        graph.conv1.bias[3] = -1.0
    groups, _ = channel_groups(graph, images(2))
    scores = importance(graph, groups, images(), torch.Generator().manual_seed(0))
    assert float(scores["conv1"][3]) == 0.0
    assert float(scores["conv1"].max()) > 0.0


def test_importance_is_the_same_for_the_same_seed() -> None:
    graph = traced(residual())
    groups, _ = channel_groups(graph, images(2))
    one, other = (importance(graph, groups, images(), torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_magnitude_is_the_norm_of_the_channels_weights() -> None:
    graph = traced(residual())
    groups, _ = channel_groups(graph, images(2))
    weights = [graph.stem.weight[0].flatten(), graph.conv2.weight[0].flatten()]
    assert float(magnitude(graph, groups)["stem"][0]) == pytest.approx(
        float(torch.cat(weights).detach().norm())
    )


def test_the_best_channels_are_kept_in_their_order() -> None:
    scores = {"a": torch.tensor([3.0, 1.0, 2.0]), "b": torch.tensor([1.0, 1.0])}
    assert keep_best(scores, {"a": 2, "b": 2}) == PruneChannels(keep=(("a", (0, 2)),))


def test_a_recipe_reads_back_equal() -> None:
    recipe = PruneChannels(keep=(("conv1", (0, 1)),))
    assert eval(repr(recipe)) == recipe


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ((("conv9", (0,)),), "prune: no layer 'conv9', did you mean 'conv2'?"),
        ((("conv1", ()),), "prune 'conv1': keep some of channels 0..5, got ()"),
        ((("conv1", (0, 6)),), "prune 'conv1': keep some of channels 0..5, got (0, 6)"),
    ],
)
def test_what_cannot_be_kept_is_named(keep: tuple[tuple[str, tuple[int, ...]], ...], message: str) -> None:
    with pytest.raises(PassError) as error:
        PruneChannels(keep=keep).apply(traced(residual()), CONTEXT)
    assert str(error.value) == message


def removed_one_by_one(graph: nn.Module, keep: int) -> tuple[int, ...]:
    """The slow twin: each time the channel of conv1 whose loss the reader mends best, tried one by one."""
    with torch.no_grad():
        wanted = outputs_of_conv2(graph)
        kept = list(range(6))
        while len(kept) > keep:
            errors = {}
            for channel in kept:
                rest = tuple(c for c in kept if c != channel)
                cut = PruneChannels(keep=(("conv1", rest),)).apply(graph, CONTEXT)
                errors[channel] = float((outputs_of_conv2(cut) - wanted).square().sum())
            kept.remove(min(errors, key=lambda c: errors[c]))
    return tuple(kept)


def outputs_of_conv2(graph: nn.Module) -> torch.Tensor:
    found: list[torch.Tensor] = []
    handle = graph.get_submodule("conv2").register_forward_hook(lambda m, args, output: found.append(output))
    graph(images())
    handle.remove()
    return found[0]


@pytest.mark.parametrize("keep", [1, 3, 5])
def test_channels_of_the_least_output_error_go_first(keep: int) -> None:
    graph = traced(residual())
    groups, _ = channel_groups(graph, images(2))
    scores = output_errors(graph, groups, images(), torch.Generator().manual_seed(0))
    found = keep_best(scores, {"conv1": keep}).keep
    assert found == (("conv1", removed_one_by_one(graph, keep)),)


def test_a_channel_that_another_repeats_goes_first_and_costs_next_to_nothing() -> None:
    model = residual()
    with torch.no_grad():
        model.conv1.weight[5] = model.conv1.weight[2]
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(model.bn1, name)[5] = getattr(model.bn1, name)[2]
    graph = traced(model)
    groups, _ = channel_groups(graph, images(2))
    errors = output_errors(graph, groups, images(), torch.Generator().manual_seed(0))["conv1"]
    first = int(errors.argmin())
    assert first in (2, 5)
    assert float(errors[first]) < 1e-3 * float(errors.max())


def test_a_group_that_a_one_dimensional_layer_reads_is_judged_by_importance() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Conv1d(4, 2, 1), nn.Flatten(), nn.Linear(12, 3))
    sample = torch.randn(8, 3, 8, generator=torch.Generator().manual_seed(0))
    graph = traced(model.eval())
    groups, _ = channel_groups(graph, sample[:2])
    first = [group for group in groups if group.name == "0"]
    one, other = (
        score(graph, first, sample, torch.Generator().manual_seed(3)) for score in (output_errors, importance)
    )
    assert torch.equal(one["0"], other["0"])


def test_what_a_flattened_channel_feeds_goes_with_it() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    sample = torch.randn(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model[3].weight.view(3, 4, 36)[:, 2] *= 0.001
    graph = traced(model.eval())
    groups, _ = channel_groups(graph, sample[:2])
    errors = output_errors(graph, groups, sample, torch.Generator().manual_seed(3))["0"]
    assert int(errors.argmin()) == 2
    assert float(errors[2]) < 1e-3 * float(errors.max())

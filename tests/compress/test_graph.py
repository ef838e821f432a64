import pytest
import torch
from small_models import images, residual
from torch import nn

from chipfit.compress.graph import insert_stored, nest_layers, traced
from chipfit.errors import PassError


def test_a_traced_model_computes_what_the_model_computes() -> None:
    model = residual()
    with torch.no_grad():
        torch.testing.assert_close(traced(model)(images()), model(images()), rtol=1e-5, atol=1e-5)


def test_normalisation_is_folded_into_the_layer_before_it() -> None:
    graph = traced(residual())
    assert not [m for m in graph.modules() if isinstance(m, nn.BatchNorm2d)]
    assert list(nest_layers(graph)) == ["stem", "conv1", "conv2", "head"]


def test_normalisation_of_a_tensor_with_another_reader_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.bn = nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.bn(y) + y

    model = Shared().eval()
    model.bn.running_mean.fill_(1.0)
    graph = traced(model)
    assert isinstance(graph.bn, nn.BatchNorm2d)
    with torch.no_grad():
        torch.testing.assert_close(graph(images()), model(images()))


def test_tracing_leaves_the_model_alone() -> None:
    model = residual()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    traced(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_model_whose_flow_depends_on_its_data_is_refused() -> None:
    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    message = "cannot trace Branch as a graph \\(torch.fx\\): symbolically traced variables cannot be used"
    with pytest.raises(PassError, match=message):
        traced(Branch())


def test_only_activations_that_are_stored_get_a_module() -> None:
    # relu(stem) waits for the addition, and the sum waits for the pooling; conv2's outputs are
    # added on their way out.
    graph = traced(residual())
    assert insert_stored(graph, nn.Identity) == ["relu_stored", "relu_2_stored"]

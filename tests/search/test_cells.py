"""Networks of the known spaces in torch."""

import numpy as np
import pytest
import torch

from chipfit.cost.latency import fbnet, nb201
from chipfit.errors import MeasurementError
from chipfit.search.cells import build


def weights_of_convolutions(model):
    return sum(p.numel() for p in model.parameters() if p.dim() > 1)


def test_the_largest_cell_has_the_published_parameters():
    # NAS-Bench-201 states 1.531546 M for the cell of six 3 x 3 convolutions.
    model = build("nb201", "3-3-3-3-3-3")
    assert sum(p.numel() for p in model.parameters()) == 1_531_546


@pytest.mark.parametrize("space", ["nb201", "fbnet"])
def test_parameters_are_those_that_the_space_counts(space):
    rng = np.random.default_rng(4)
    if space == "nb201":
        codes = nb201.every_cell()[rng.integers(0, 5**6, 3)]
        counted = nb201.space(codes).features["parameters"]
    else:
        codes = rng.integers(0, 9, (3, 22), dtype=np.uint8)
        counted = fbnet.space(codes).features["parameters"]
    for row, parameters in zip(codes.tolist(), counted, strict=True):
        assert weights_of_convolutions(build(space, "-".join(map(str, row)))) == parameters


@pytest.mark.parametrize(
    ("space", "label"), [("nb201", "0-3-1-4-2-1"), ("fbnet", "01234567801234567801" + "28")]
)
def test_networks_run(space, label):
    outputs = build(space, label)(torch.zeros(2, 3, 32, 32))
    assert outputs.shape == (2, 10 if space == "nb201" else 100)


def test_the_same_seed_has_the_same_weights():
    one, same = (next(build("nb201", "111111", seed=3).parameters()) for _ in range(2))
    assert torch.equal(one, same)


def test_other_spaces_and_labels_are_refused():
    with pytest.raises(MeasurementError, match="'9-9' is no network of the space 'nb201'"):
        build("nb201", "9-9")
    with pytest.raises(MeasurementError, match="networks of 'mine' cannot be built in torch"):
        build("mine", "a")

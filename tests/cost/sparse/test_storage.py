from dataclasses import replace

import numpy as np
import pytest
from sparse_walk import encoded
from test_estimator import layer_with, toy_sparse

from chipfit.cost.sparse.estimator import SparseEstimator
from chipfit.hardware.sparse import Structure
from chipfit.workload.zeros import Zeros

FORMATS = ("bitmap", "run_length", "coordinates", "compressed_rows")


def stored(layer, zeros=None, **options):
    found = SparseEstimator(zeros=zeros or Zeros()).layer(layer, toy_sparse(**options)).sparse
    assert found is not None
    return dict(found.stored_bits)


@pytest.mark.parametrize("name", FORMATS)
def test_sizes_are_those_of_masks_written_out(name):
    rng = np.random.default_rng(0)
    layer = layer_with(K=3, C=4, P=5, Q=5, R=3, S=3)
    inputs, weights = rng.random((1, 1, 4, 7, 7)) < 0.3, rng.random((1, 3, 4, 3, 3)) < 0.3
    zeros = Zeros(activations={"layer.x": inputs}, weights={"layer": weights})
    found = stored(layer, zeros, storage={"input": name, "weight": name}, run_bits=3)
    for key, mask in (("input", inputs.reshape(4, 49)), ("weight", weights.reshape(3, 36))):
        metadata, elements = encoded(name, mask, 3)
        assert found[key] == metadata + 8 * elements


def test_outputs_are_stored_as_the_next_layer_finds_them():
    layer = layer_with(K=2, P=4, Q=4)
    mask = np.zeros((1, 1, 2, 4, 4), bool)
    mask[..., 0, 0] = True
    assert (
        stored(layer, Zeros(activations={"layer.y": mask}), storage={"output": "bitmap"})["output"] == 32 + 16
    )


def test_structured_weights_are_half_and_their_places():
    weights = np.zeros((1, 2, 8, 1, 1), bool)
    weights[:, :, ::2] = True
    options = {
        "skip": ("weight",), "structure": Structure(keep=2, of=4), "storage": {"weight": "structured"}
    }  # fmt: skip
    assert stored(layer_with(K=2, C=8), Zeros(weights={"layer": weights}), **options)["weight"] == 8 * (8 + 2)
    weights[0, 0, 1] = True  # three of four: the layer is stored dense
    assert stored(layer_with(K=2, C=8), Zeros(weights={"layer": weights}), **options)["weight"] == 16 * 8


def test_activations_as_second_operand_are_stored_as_weights_are():
    layer = layer_with(K=2, C=4)
    assert layer.weight is not None
    layer = replace(layer, weight=replace(layer.weight, constant=False, zeros=0.5))
    assert stored(layer, storage={"weight": "bitmap"})["weight"] == 8 + 4 * 8

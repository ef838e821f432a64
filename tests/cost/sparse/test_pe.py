import itertools

import numpy as np
import pytest

from chipfit.cost.sparse.pe import load_masks, pair_cycles, uniform_cycles
from chipfit.errors import NetworkError

#: Wu et al., Sparseloop, MICRO 2022, artifact: cycles of the designers' simulator of Eyeriss v2.
PUBLISHED = {"L07": 1_702_140, "L21": 1_677_684, "L27": 775_316}


@pytest.mark.data
@pytest.mark.parametrize("layer", PUBLISHED)
def test_cycles_are_those_of_the_designers_simulator(layer, shared_data):
    masks = load_masks(shared_data / "eyeriss_v2_pe" / f"{layer}.npz")
    assert masks.cycles == PUBLISHED[layer]
    assert pair_cycles(masks.inputs, masks.weights) == PUBLISHED[layer]


@pytest.mark.data
@pytest.mark.parametrize("layer", PUBLISHED)
def test_densities_alone_say_too_little(layer, shared_data):
    masks = load_masks(shared_data / "eyeriss_v2_pe" / f"{layer}.npz")
    # A uniform-density model was 1.4 to 6.5 % low.
    assert 0.93 < uniform_cycles(masks.inputs, masks.weights) / PUBLISHED[layer] < 0.99


def test_cycles_are_the_pairs_one_by_one():
    rng = np.random.default_rng(0)
    inputs, weights = rng.random((6, 5)) < 0.5, rng.random((4, 5)) < 0.4
    pairs = sum(
        bool(inputs[p, c] and weights[k, c]) for p, k, c in itertools.product(range(6), range(4), range(5))
    )
    assert pair_cycles(inputs, weights) == pairs


def test_uniform_densities_are_exact_where_channels_are_alike():
    inputs, weights = np.ones((3, 4), bool), np.eye(4, dtype=bool)
    assert uniform_cycles(inputs, weights) == pair_cycles(inputs, weights) == 12


def test_channels_that_differ_are_refused():
    with pytest.raises(NetworkError) as error:
        pair_cycles(np.ones((2, 3), bool), np.ones((2, 4), bool))
    assert str(error.value) == (
        "masks of shapes (2, 3) and (2, 4) do not fit: expected (positions, channels) and (kernels, channels)"
    )


def test_a_file_of_masks_reads_back(tmp_path):
    inputs, weights = np.eye(3, dtype=bool), np.ones((2, 3), bool)
    path = tmp_path / "masks.npz"
    np.savez(path, shape=(3, 2, 3), inputs=np.packbits(inputs), weights=np.packbits(weights))
    masks = load_masks(path)
    assert (masks.inputs == inputs).all()
    assert (masks.weights == weights).all()
    assert masks.cycles is None


def test_a_file_that_is_none_is_named(tmp_path):
    path = tmp_path / "masks.npz"
    with pytest.raises(NetworkError) as error:
        load_masks(path)
    assert str(error.value) == f"{path}: no such file"
    np.savez(path, shape=(3, 2, 3), inputs=np.zeros(1, np.uint8), weights=np.zeros(1, np.uint8))
    with pytest.raises(NetworkError) as error:
        load_masks(path)
    assert str(error.value) == f"{path}: not the masks of a pointwise layer: 8 bits are too few for 3 x 3"

import numpy as np
import pytest

import chipfit
from chipfit.errors import NetworkError
from chipfit.workload.network import Network
from chipfit.workload.zeros import Zeros, assumed, by_channel, check, with_zeros


def lenet():
    return chipfit.load_network("lenet5")


def test_a_network_file_carries_its_zeros():
    network = lenet()
    conv = network.layers[0]
    mask = np.zeros((1, 6, 1, 5, 5), bool)
    mask[:, :3] = True
    counts = np.array([[196, 0, 98, 0, 0, 0], [196, 0, 0, 0, 0, 0]])  # of 28 x 28 = 784 a channel
    found = with_zeros(network, Zeros(weights={conv.name: mask}, channels={conv.outputs[0].name: counts}))
    layer = Network.from_json(found.to_json()).layers[0]
    assert layer.weight is not None
    assert layer.weight.zeros == 0.5
    assert layer.outputs[0].zeros_by_channel == (0.75, 1.0, 1 - 49 / 784, 1.0, 1.0, 1.0)
    assert layer.outputs[0].zeros == pytest.approx((0.75 + 1 - 49 / 784 + 4) / 6)


def test_a_channel_is_the_second_axis():
    mask = np.zeros((2, 3, 2), bool)
    mask[:, 1] = True
    mask[0, 2, 0] = True
    assert by_channel(mask).tolist() == [0, 4, 1]


class TestAssumed:
    network = chipfit.load_network("resnet8")

    def draw(self, seed=0, spread=0.1):
        kept = {"conv2d": (4, 9), "dense": (8, 16)}
        return assumed(self.network, np.random.default_rng(seed), kept=kept, density=0.4, spread=spread)

    def test_every_kernel_keeps_the_same_number(self):
        assert (self.draw().weights["conv2d"].sum(axis=(3, 4)) == 4).all()

    def test_so_does_every_group_of_consecutive_channels(self):
        mask = self.draw().weights["dense"]
        assert (mask.reshape(10, 4, 16).sum(axis=2) == 8).all()

    def test_activations_have_the_density_and_the_input_none(self):
        found = self.draw()
        assert "input" not in found.activations
        assert np.mean([mask.mean() for mask in found.activations.values()]) == pytest.approx(0.4, abs=0.03)

    def test_channels_differ_as_asked(self):
        layer = self.network.layers[1]
        wide, none = (self.draw(spread=s).channels[layer.inputs[0].name][0] / 1024 for s in (0.2, 0.0))
        assert wide.std() > 0.1
        assert none.std() < 0.03

    def test_the_same_seed_draws_the_same(self):
        assert all((self.draw(5).activations[n] == m).all() for n, m in self.draw(5).activations.items())


def test_masks_of_a_network_are_checked_in_one_message():
    network = lenet()
    zeros = Zeros(
        weights={"conv1": np.ones((1, 6, 1, 3, 3), bool), "conv3": np.ones((1, 1, 1, 1, 1), bool)},
        activations={"input": np.ones((2, 1, 1, 30, 30), bool), "inptu": np.ones((1, 1), bool)},
    )
    with pytest.raises(NetworkError) as error:
        check(zeros, network)
    assert str(error.value) == (
        "network 'lenet5': a weight mask is of 'conv3', no layer that multiplies, did you mean 'conv2'?; "
        "a mask is of 'inptu', no activation of a layer, did you mean 'input'?; "
        "the weight mask of layer 'conv1' has shape (1, 6, 1, 3, 3), "
        "expected (1, 6, 1, 5, 5) (G, K, C, R, S); "
        "the mask of tensor 'input' has shape (2, 1, 1, 30, 30), expected (runs, 1, 1, 28, 28)"
    )


def test_masks_that_fit_pass():
    check(assumed(lenet(), np.random.default_rng(0), kept={"conv1": (5, 25)}, density=0.5, spread=0), lenet())

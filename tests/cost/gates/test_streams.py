import itertools

import numpy as np
import pytest

from chipfit.cost.gates.characterise import characterise
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.streams import LayerCodes, layer_energies, linear_codes, streams
from chipfit.errors import NetlistError


def a_layer(seed=0, **options):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 16, (2, 3, 6, 5)) * rng.integers(0, 2, (2, 3, 6, 5))
    weights = rng.integers(-8, 8, (4, 3, 3, 3))
    return LayerCodes(**{"inputs": inputs, "weights": weights, "bits": 4, "padding": (1, 1), **options})


def every_transition(layer, gated):
    """Activation and partial-sum transitions of all units, by loops over everything."""
    kernels, channels, high, wide = layer.weights.shape
    rows, columns = layer.positions
    found = set()
    for image in layer.inputs:
        for kernel in range(kernels):
            first = kernel // (kernels // layer.groups) * channels
            for product in range(channels * high * wide):
                walk = []
                for p in range(rows):
                    for q in range(columns):
                        total = 0
                        for place in range(product + 1):
                            c, r, s = np.unravel_index(place, (channels, high, wide))
                            y = p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0]
                            x = q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1]
                            inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
                            value = int(image[first + c, y, x]) if inside else 0
                            value += layer.zero_point
                            if place < product:
                                total += value * int(layer.weights[kernel, c, r, s])
                        if value or not gated:
                            walk.append((value, total))
                found |= set(itertools.pairwise(walk))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (2, 1), "padding": (0, 1)},
        {"dilation": (2, 1)},
        {"weights": np.arange(-6, 6).reshape(12, 1, 1, 1), "groups": 3, "padding": (0, 0)},
    ],
)
def test_transitions_are_those_of_the_nest(options):
    layer = a_layer(**options)
    found = streams(layer, "test", rng=np.random.default_rng(1))
    for statistics, gated in ((found.plain, False), (found.gated, True)):
        expected = every_transition(layer, gated)
        activations = {(a, b) for (a, _), (b, _) in expected}
        sums = {(a, b) for (_, a), (_, b) in expected}
        assert {tuple(pair) for pair in np.argwhere(statistics.activations > 0).tolist()} <= activations
        assert {tuple(pair) for pair in statistics.partial_sums.tolist()} <= sums


def test_zeros_do_not_pass_a_gated_unit():
    found = streams(a_layer(), "test", rng=np.random.default_rng(1))
    assert found.gated.activations[0].sum() == found.gated.activations[:, 0].sum() == 0
    assert found.plain.activations[0].sum() > 0.3
    assert found.active == pytest.approx(1 - found.plain.activations.sum(axis=1)[0], abs=0.05)


def test_nothing_follows_where_all_activations_are_zero():
    found = streams(a_layer(inputs=np.zeros((2, 3, 6, 5), dtype=int)), "test", rng=np.random.default_rng(1))
    assert found.gated is None
    assert found.active == 0


def test_codes_below_zero_get_a_zero_point():
    layer = a_layer(inputs=np.random.default_rng(0).integers(-8, 8, (2, 3, 6, 5)))
    found = streams(layer, "test", rng=np.random.default_rng(1))
    expected = every_transition(layer, gated=False)
    assert {tuple(p) for p in found.plain.partial_sums.tolist()} <= {(a, b) for (_, a), (_, b) in expected}


def test_images_follow_one_another_in_a_linear_layer():
    codes = linear_codes(np.array([[1, 2], [3, 4], [5, 6]]), np.array([[1, -1]]), bits=4)
    found = streams(codes, "test", rng=np.random.default_rng(0))
    pairs = {tuple(p) for p in np.argwhere(found.plain.activations > 0).tolist()}
    assert pairs == {(1, 3), (3, 5), (2, 4), (4, 6)}
    # the sum before the second product is the first one: 1, 3, 5; before the first it is 0
    assert {tuple(p) for p in found.plain.partial_sums.tolist()} == {(0, 0), (1, 3), (3, 5)}
    assert codes.macs_per_weight == 1


def test_energies_are_those_of_a_characterisation():
    netlist = generate_mac(MacDesign(weight_bits=4, activation_bits=4, sum_bits=12, activation_signed=False))
    library = embedded_library()
    stream = streams(a_layer(), "test", rng=np.random.default_rng(1))
    found = layer_energies(netlist, library, {"a": stream}, transitions=512)["a"]
    table = characterise(netlist, library, stream.plain, transitions=512)
    assert found.plain_j == pytest.approx(table.energy_j)
    gated = characterise(netlist, library, stream.gated, transitions=512)
    expected = stream.active * np.array(gated.energy_j)
    expected[8] = 0  # weight 0 of -8..7
    assert found.gated_j == pytest.approx(expected)
    assert found.weights == tuple(range(-8, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: a_layer(bits=2),
            "activation codes 0 to 15 do not fit 2 bits",
        ),
        (lambda: a_layer(groups=2), "inputs have 3 channels, 2 groups of weights need 6"),
        (
            lambda: a_layer(inputs=np.zeros((3, 3))),
            "codes have four axes, got (3, 3) and (4, 3, 3, 3)",
        ),
        (
            lambda: streams(
                linear_codes(np.ones((1, 2), dtype=int), np.ones((1, 2), dtype=int)),
                "fc",
                rng=np.random.default_rng(0),
            ),
            "fc: a layer with a single output position has no transitions",
        ),
        (
            lambda: layer_energies(
                generate_mac(MacDesign(weight_bits=4, activation_bits=4, sum_bits=12)), embedded_library(), {}
            ),
            "netlist 'mac_array_s4_s4_12' has signed activations, layers have unsigned ones",
        ),
        (
            lambda: layer_energies(
                generate_mac(
                    MacDesign(weight_bits=4, activation_bits=3, sum_bits=12, activation_signed=False)
                ),
                embedded_library(),
                {"a": streams(a_layer(), "test", rng=np.random.default_rng(1))},
            ),
            "netlist 'mac_array_s4_u3_12' has activations of 3 bits, the statistics are of 4",
        ),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(NetlistError) as raised:
        make()
    assert str(raised.value) == message

"""The network as data: what it refuses, what it adds up, and its JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipfit.errors import NetworkError
from chipfit.workload.network import Layer, Loops, Network, Tensor

sizes = st.integers(1, 64)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def tensors(draw, constant=None):
    zeros = st.none() | st.floats(0, 1)
    return Tensor(
        name=draw(st.text(max_size=8)),
        shape=tuple(draw(st.lists(sizes, max_size=5))),
        bits=draw(st.integers(1, 64)),
        floating=draw(st.booleans()),
        constant=draw(st.booleans()) if constant is None else constant,
        zeros=draw(zeros),
        largest_sum=draw(st.none() | st.integers(0, 10**6)),
    )


@st.composite
def layers(draw):
    nest = draw(st.booleans())
    loops = Loops(
        **{d: draw(sizes) for d in "NGKCPQRS"}, stride=draw(pairs), dilation=draw(pairs), padding=draw(pairs)
    )
    least = 1 if nest else 0
    return Layer(
        name=draw(st.text(max_size=8)),
        operator=draw(st.sampled_from(["Conv", "MatMul", "Softmax"])),
        loops=loops if nest else None,
        inputs=tuple(draw(st.lists(tensors(), min_size=least, max_size=3))),
        weight=draw(tensors()) if nest else None,
        outputs=tuple(draw(st.lists(tensors(), min_size=least, max_size=2))),
        parameters=draw(st.integers(0, 10**9)),
        fused=tuple(draw(st.lists(st.sampled_from(["Relu", "Add"]), max_size=2))),
        tables=tuple(draw(st.lists(tensors(constant=True), max_size=1))),
    )


networks = st.builds(
    Network,
    name=st.text(max_size=8),
    layers=st.lists(layers(), min_size=1, max_size=4, unique_by=lambda layer: layer.name).map(tuple),
    warnings=st.lists(st.text(max_size=8), max_size=2).map(tuple),
)


@given(networks)
def test_json_gives_the_same_network_back(network):
    assert Network.from_json(json.loads(json.dumps(network.to_json()))) == network


@given(networks)
def test_totals_are_sums(network):
    assert network.macs == sum(layer.loops.macs for layer in network.layers if layer.loops)
    assert network.parameters == sum(layer.parameters for layer in network.layers)
    assert network.peak_activation_bits <= sum(
        t.size_bits
        for layer in network.layers
        for t in (*layer.inputs, *layer.outputs, *((layer.weight,) if layer.weight else ()))
    )


@given(networks, st.integers(1, 16), st.integers(1, 16))
def test_stated_widths_reach_every_tensor(network, weights, activations):
    for layer in network.with_bits(weights, activations).layers:
        for tensor in (
            *layer.inputs,
            *layer.outputs,
            *layer.tables,
            *((layer.weight,) if layer.weight else ()),
        ):
            assert tensor.bits == (weights if tensor.constant else activations)
            assert not tensor.floating


def tensor(name, elements=1, bits=8, constant=False):
    return Tensor(name=name, shape=(elements,), bits=bits, constant=constant)


def traffic(name, reads, writes):
    return Layer(
        name=name,
        operator="Relu",
        inputs=tuple(tensor(*t) for t in reads),
        outputs=tuple(tensor(*t) for t in writes),
    )


def test_the_peak_is_the_largest_set_alive_at_once():
    # a(10) -> b(20) -> c(5); d(1) = c + a: 30, then a + b + c = 35, then a + c + d = 16; 8 bits each
    network = Network(
        name="n",
        layers=(
            traffic("1", [("a", 10)], [("b", 20)]),
            traffic("2", [("b", 20)], [("c", 5)]),
            traffic("3", [("c", 5), ("a", 10)], [("d", 1)]),
        ),
    )
    assert network.peak_activation_bits == 35 * 8


def test_a_layer_that_reads_a_part_does_not_shrink_the_tensor():
    network = Network(
        name="n",
        layers=(traffic("1", [("a", 1)], [("b", 20)]), traffic("2", [("b", 5)], [("c", 5)])),
    )
    assert network.peak_activation_bits == (20 + 5) * 8


def test_constants_are_stored_once_and_tables_whole():
    rows = Tensor(name="t", shape=(2, 4), bits=8, constant=True)
    table = Tensor(name="t", shape=(100, 4), bits=8, constant=True)
    lookup = Layer(name="1", operator="Gather", inputs=(rows,), outputs=(tensor("x", 8),), tables=(table,))
    again = Layer(name="2", operator="Gather", inputs=(rows,), outputs=(tensor("y", 8),), tables=(table,))
    assert Network(name="n", layers=(lookup, again)).weight_memory_bits == 400 * 8


def test_rows_behind_padding_are_not_fetched():
    loops = Loops(P=4, Q=4, R=3, S=3, padding=(2, 2))
    assert (loops.input_rows, loops.input_columns, loops.input_elements) == (4, 4, 16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tensor(name="x", shape=(0,), bits=8), "tensor 'x': every size must be at least 1, got (0,)"),
        (lambda: Tensor(name="x", shape=(1,), bits=0), "tensor 'x': bits must be in 1..64, got 0"),
        (lambda: Tensor(name="x", shape=(1,), bits=65), "tensor 'x': bits must be in 1..64, got 65"),
        (lambda: Tensor(name="x", shape=(), bits=8, zeros=1.5), "tensor 'x': zeros must be in 0..1, got 1.5"),
        (
            lambda: Tensor(name="x", shape=(), bits=8, stored_bits=65.0),
            "tensor 'x': stored_bits must be in 0..64, got 65.0",
        ),
        (lambda: Loops(K=0, P=-1), "loop bounds out of range: K=0, P=-1"),
        (lambda: Loops(stride=(0, 1)), "loop bounds out of range: stride=(0, 1)"),
        (lambda: Loops(padding=(-1, 0)), "loop bounds out of range: padding=(-1, 0)"),
        (
            lambda: Layer(name="l", operator="Conv", loops=Loops()),
            "layer 'l': a loop nest needs an input, a weight and an output",
        ),
        (lambda: Network(name="n", layers=()), "network 'n' has no layers"),
        (
            lambda: Network(name="n", layers=(traffic("a", [], []), traffic("a", [], []))),
            "network 'n': layer names are not unique: a",
        ),
    ],
)
def test_what_is_not_sound_is_refused(make, message):
    with pytest.raises(NetworkError) as error:
        make()
    assert str(error.value) == message


GOOD = {"name": "n", "layers": [{"name": "l", "operator": "Relu"}]}


def changed(**layer):
    return {"name": "n", "layers": [{"name": "l", "operator": "Relu", **layer}]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "n"}, "no key 'layers'"),
        ({**GOOD, "name": 3}, "'name' must be str, got 3"),
        (changed(fuse=[]), "unknown key 'fuse', did you mean 'fused'?"),
        (changed(parameters="9"), "'parameters' must be int, got '9'"),
        (changed(parameters=True), "'parameters' must be int, got True"),
        (changed(loops={"K": 1.5}), "'K' must be int, got 1.5"),
        (changed(inputs=[{"name": "x", "shape": ["1"], "bits": 8}]), "sizes must be int, got ('1',)"),
        (changed(inputs=[{"name": "x", "shape": [1]}]), "no key 'bits'"),
    ],
)
def test_json_that_is_no_network_is_refused(data, message):
    with pytest.raises(NetworkError) as error:
        Network.from_json(data)
    assert str(error.value) == f"not a network in JSON: {message}"

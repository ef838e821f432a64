from dataclasses import replace

import pytest
import torch

from chipfit.cost.roofline import Roofline
from chipfit.hardware.load import load_target
from chipfit.search.candidates import levels, table_cost, widths_for
from chipfit.search.space import (
    Choice,
    Codes,
    Group,
    LayerChoice,
    Space,
    cost_tables,
    stored_tensors,
    true_cost,
    with_channels,
)
from chipfit.workload.network import Layer, Loops, Network, Tensor


def activation(name: str, channels: int, bits: int) -> Tensor:
    return Tensor(name=name, shape=(1, channels, 8, 8), bits=bits)


def conv(name: str, source: Tensor, outputs: tuple[Tensor, ...]) -> Layer:
    c, k = source.shape[1], outputs[0].shape[1]
    return Layer(
        name=name,
        operator="Conv",
        loops=Loops(K=k, C=c, P=8, Q=8, R=3, S=3, padding=(2, 2)),
        inputs=(source,),
        weight=Tensor(name=f"{name}.w", shape=(k, c, 3, 3), bits=8, constant=True),
        outputs=outputs,
        parameters=k * c * 9,
    )


@pytest.fixture
def space() -> Space:
    x, y, z = activation("x", 4, 4), activation("y_q", 8, 4), activation("z", 4, 8)
    kept = activation("y_kept", 8, 8)
    network = Network(name="two", layers=(conv("a", x, (y, kept)), conv("b", y, (z,))))
    widths = tuple(LayerChoice(weight_bits=w, activation_bits=a) for w in (4, 8) for a in (4, 8))
    group = Group(name="a", levels=(8, 4), producers=("a",), consumers=("b",))
    return Space(template=network, widths={"a": widths, "b": widths}, groups=(group,))


def choose(a: tuple[int, int], b: tuple[int, int], channels: int = 8) -> Choice:
    pairs = {"a": a, "b": b}
    widths = {n: LayerChoice(weight_bits=w, activation_bits=x) for n, (w, x) in pairs.items()}
    return Choice(widths=widths, channels={"a": channels})


def test_a_choice_sets_widths_of_weights_and_of_what_readers_read(space: Space) -> None:
    a, b = space.network(choose((4, 8), (8, 4))).layers
    assert (a.weight_bits, a.input_bits, b.weight_bits, b.input_bits) == (4, 8, 8, 4)
    assert [t.bits for t in a.outputs] == [4, 8]


def test_two_readers_at_one_width_share_one_copy(space: Space) -> None:
    a, _ = space.network(choose((4, 8), (8, 8))).layers
    assert [t.bits for t in a.outputs] == [8]


def test_fewer_channels_shrink_the_writer_and_the_reader(space: Space) -> None:
    a, b = space.network(choose((8, 8), (8, 8), channels=4)).layers
    assert a.loops is not None
    assert b.loops is not None
    assert (a.loops.K, b.loops.C) == (4, 4)
    # 4*4*9 each, half of 4*8*9
    assert (a.parameters, b.parameters) == (144, 144)
    assert a.outputs[0].shape == (1, 4, 8, 8)


def test_a_depthwise_layer_loses_groups() -> None:
    x = activation("x", 8, 8)
    layer = replace(conv("d", x, (x,)), loops=Loops(G=8, P=8, Q=8, R=3, S=3, padding=(2, 2)))
    loops = with_channels(layer, 0.5, 0.5).loops
    assert loops is not None
    assert (loops.G, loops.K, loops.C) == (4, 1, 1)


def test_weights_that_add_up_to_little_have_narrow_sums(space: Space) -> None:
    # 8 * 3 * 3 = 72 terms: 4 + 4 + 7 = 15 bits; with codes that add up to 50: 50 * 15 = 750, 11 bits.
    known = replace(space, codes={("b", 4): Codes(largest_sum=50)})
    choice = choose((4, 4), (4, 4))
    assert [s.network(choice).layers[1].exact_sum_bits for s in (space, known)] == [15, 11]
    # Half of the channels add up to half: 25 * 15 = 375, 10 bits.
    assert known.network(choose((4, 4), (4, 4), channels=4)).layers[1].exact_sum_bits == 10


def test_what_is_stored_for_others_has_one_width(space: Space) -> None:
    stored = stored_tensors(space.template, space.widths)
    assert stored == {"y_kept", "z"}
    a, b = replace(space, stored=stored).network(replace(choose((4, 4), (4, 4)), stored_bits=5)).layers
    assert [t.bits for t in (*a.outputs, *b.outputs)] == [4, 5, 5]


@pytest.mark.parametrize("name", ["eyeriss", "ethos_u55_like"])
def test_the_tables_add_up_to_the_cost_of_the_network(space: Space, name: str) -> None:
    # The roofline is additive, so the tables are exact; with a mapper they only lead the search.
    target = load_target(name)
    tables, fixed = cost_tables(space, target, Roofline())
    for choice in (choose((4, 8), (8, 4)), choose((8, 8), (8, 8), channels=4), choose((4, 4), (4, 4))):
        report = true_cost(space, choice, target, Roofline())
        cost = table_cost(tables, fixed, choice)
        assert cost["energy"] == pytest.approx(report.total.energy_j, rel=1e-9)
        assert cost["dram"] == pytest.approx(report.total.dram_bits, rel=1e-9)


def test_the_first_layer_reads_its_input_as_it_is() -> None:
    found = widths_for(["a", "b", "c"], load_target("eyeriss"))
    assert {w.activation_bits for w in found["a"]} == {8}
    assert min(w.weight_bits for w in found["a"]) == min(w.weight_bits for w in found["c"]) == 4
    assert min(w.weight_bits for w in found["b"]) == 2


def test_channels_that_do_nothing_make_a_level_of_their_own() -> None:
    scores = torch.ones(16)
    scores[3:6] = 0.0
    assert levels(16, scores) == (16, 14, 13, 12, 10, 8, 6, 4)

"""Mappings in plain data, against a case worked by hand."""

from dataclasses import replace

import pytest

from chipfit.cost.base import Cost, LayerCost
from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.mapping.explain import Held, Loop, Parallel, document, explain
from chipfit.cost.mapping.model import Mapping
from chipfit.cost.roofline import Roofline
from chipfit.hardware.load import load_target
from chipfit.testing import eye16, nest_layer
from chipfit.workload.library import resolve
from chipfit.workload.network import Loops, Network, Tensor

ONES = (1,) * 8
#     N  G  K  C  P  Q  R  S
LAYER = nest_layer(Loops(K=4, C=2, P=6, R=3), weight_bits=16, input_bits=16)
MAPPING = Mapping(
    tiles=((1, 1, 4, 2, 6, 1, 3, 1), (1, 1, 2, 2, 6, 1, 3, 1), (1, 1, 1, 2, 2, 1, 3, 1), ONES),
    rows=(ONES, (1, 1, 2, 1, 1, 1, 1, 1), ONES),
    columns=(ONES, ONES, ONES),
    stationary=("input", "weight", "output"),
)


def explained(mapping=MAPPING, layer=LAYER, target=None):
    cost = LayerCost(
        name="layer",
        operator="Conv",
        cost=Cost(),
        macs=layer.macs,
        utilization=0.0,
        input_bits=16,
        weight_bits=16,
        accumulator_bits=16,
        plan=mapping,
    )
    return explain(layer, cost, target or eye16(shared_file=True))


def loop(dimension, iterations, step, stays="", *, ragged=False):
    return Loop(dimension=dimension, iterations=iterations, step=step, ragged=ragged, stays=stays)


def test_each_memory_has_its_loops_and_what_stays_meanwhile():
    dram, buffer, file = explained()
    assert dram.loops == (loop("K", 2, 2, "input"),)
    assert buffer.loops == (loop("P", 3, 2, "weight"),)
    # Below the file is the datapath, which keeps nothing.
    assert file.loops == (loop("P", 2, 1), loop("C", 2, 1), loop("R", 3, 1))


def test_an_array_has_what_runs_side_by_side_and_who_shares():
    array = explained()[1].array
    assert array.parallel == (Parallel(dimension="K", elements=2, side="rows", shares="input"),)
    assert (array.name, array.rows, array.columns, array.used) == ("PE", 14, 12, 2)
    assert [m.array is None for m in explained()] == [True, False, True]


def test_a_memory_has_tiles_and_accesses():
    dram, buffer, file = explained()

    def held(tensor, tile, words, stays, read, written, energy_j):
        return Held(
            tensor=tensor, bits=16, tile=tile, words=words, stays=stays, read_words=read,
            written_words=written, energy_j=energy_j,
        )  # fmt: skip

    # 6 output rows and 3 kernel rows take 8 input rows. The input is fetched once, as it stays over K.
    assert dram.holds == (
        held("input", (("C", 2), ("H", 8)), None, 1, 16, 0, 16 * 200.0),
        held("weight", (("K", 4), ("C", 2), ("R", 3)), None, 1, 24, 0, 24 * 200.0),
        held("output", (("K", 4), ("P", 6)), None, 1, 0, 24, 24 * 200.0),
    )
    # Down: 2 turns of K times 3 tiles of 4 rows of 2 channels, once for both elements.
    assert buffer.holds == (
        held("input", (("C", 2), ("H", 8)), 16, 2, 48, 16, 64 * 6.0),
        held("weight", (("K", 2), ("C", 2), ("R", 3)), 12, 1, 24, 24, 48 * 6.0),
        held("output", (("K", 2), ("P", 6)), 12, 1, 24, 24, 48 * 6.0),
    )
    # 144 products; each of the 24 sums starts without a read and is read on its way out.
    assert file.holds == (
        held("input", (("C", 2), ("H", 4)), 8, 1, 144, 96, 240.0),
        held("weight", (("K", 1), ("C", 2), ("R", 3)), 6, 3, 144, 24, 168.0),
        held("output", (("K", 1), ("P", 2)), 2, 1, 144, 144, 288.0),
    )
    assert (buffer.energy_j, file.energy_j) == (384.0 + 288 + 288, 240.0 + 168 + 288)


def test_a_memory_exists_once_per_processing_element():
    dram, buffer, file = explained()
    assert [(m.instances, m.available) for m in (dram, buffer, file)] == [(1, 1), (1, 1), (2, 14 * 12)]
    assert (dram.capacity_words, buffer.capacity_words, file.capacity_words) == (None, 55296, 256)


def test_a_loop_whose_last_turn_is_shorter_says_so():
    tiles = (MAPPING.tiles[0], MAPPING.tiles[0], *MAPPING.tiles[2:])
    buffer = explained(replace(MAPPING, tiles=tiles, rows=(ONES, (1, 1, 3, 1, 1, 1, 1, 1), ONES)))[1]
    # Three elements for four channels.
    assert buffer.loops[0] == loop("K", 2, 3, ragged=True)


def test_a_tensor_that_passes_a_memory_by_is_named():
    holds = (("input", "weight", "output"), ("input", "output"), ("input", "weight", "output"))
    dram, buffer, file = explained(replace(MAPPING, holds=holds))
    assert [m.passing for m in (dram, buffer, file)] == [(), ("weight",), ()]
    assert [h.tensor for h in buffer.holds] == ["input", "output"]
    # The file's weights stay as long as before; now they come from the main memory.
    assert [h.stays for h in file.holds] == [1, 3, 1]


def test_memories_that_share_a_tile_are_tied():
    tiles = (*MAPPING.tiles[:3], *[MAPPING.tiles[2]] * 2, ONES)
    rows = (*MAPPING.rows, ONES, ONES)
    mapping = Mapping(
        tiles=tiles, rows=rows, columns=(ONES,) * 5, stationary=("input", "weight", *("output",) * 3)
    )
    found = explained(mapping, target=eye16())
    assert [(m.name, m.tied) for m in found[2:]] == [("RF_I", True), ("RF_W", True), ("RF_O", False)]
    assert [len(m.loops) for m in found[2:]] == [0, 0, 3]
    assert found[2].passing == ("weight", "output")


def test_nothing_is_explained_where_there_is_no_mapping():
    target = eye16()
    assert explain(LAYER, Roofline().layer(LAYER, target), target) == ()


def test_energies_are_those_of_the_estimate_less_what_is_beside_the_nest():
    target = eye16(shared_file=True)
    beside = Tensor(name="skip", shape=(1, 4, 6, 1), bits=16)
    layer = replace(LAYER, inputs=(*LAYER.inputs, beside))
    found = Analytical().layer(layer, target)
    energy = {m.name: m.energy_j for m in explain(layer, found, target)}
    rest = {name: found.energy_by_component_j[name] - energy_j for name, energy_j in energy.items()}
    # 4 * 6 words that the fused addition reads
    assert rest == pytest.approx({"DRAM": 24 * 200.0, "GLB": 0.0, "RF": 0.0}, abs=1e-6)


def test_where_activations_stay_on_the_chip_the_nest_begins_there():
    target, network = load_target("ethos_u55_like"), resolve("lenet5", {}).with_bits(8, 8)
    found = document(Analytical().estimate(network, target), network, target)
    assert [memories[0]["name"] if memories else None for memories in found["memories"]] == [
        *("sram", None, "sram", None, "sram", "sram", "sram"),
    ]
    row, memories = found["layers"][0], found["memories"][0]
    inside = {m["name"]: m["energy_j"] for m in memories[1:]}
    assert inside == pytest.approx({name: row["energy_by_component_j"][name] for name in inside})
    # 6 * 25 weights written once, 8 in a word
    written = 19 * target.level("sram").write_energy_j
    assert row["energy_by_component_j"]["sram"] - memories[0]["energy_j"] == pytest.approx(written)


def test_the_document_has_what_limits_every_layer():
    target, network = eye16(), Network(name="net", layers=(LAYER,))
    found = document(Roofline().estimate(network, target), network, target)
    # 168 elements at 1 Hz; 4 words of 16 bits a cycle
    assert found["bounds"] == {"macs_per_s": 168.0, "dram_bits_per_s": 64.0}
    assert (found["main_memory"], found["memories"]) == ("DRAM", [[]])
    unlimited = replace(
        target, levels=tuple(replace(x, bandwidth_bits_per_cycle=None) for x in target.levels)
    )
    found = document(Roofline().estimate(network, unlimited), network, unlimited)
    assert found["bounds"]["dram_bits_per_s"] is None

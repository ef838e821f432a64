"""Spaces of any networks."""

import sys

import numpy as np
import onnx
import pytest

from chipfit.cost.latency import fbnet, nb201
from chipfit.cost.latency.models import fbnet_model, nb201_model
from chipfit.cost.latency.networks import layer_kernels, longest_chain, named, network_space, open_space
from chipfit.errors import MeasurementError
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.library import load


def nests(space):
    """Operations of convolutions and products, without pools."""
    conv = space.kernels.is_kind("conv")
    return space.ways[-1].counts @ (conv * space.kernels.column("macs"))


@pytest.mark.parametrize("quantized", [False, True])
def test_cells_have_the_operations_that_the_importer_counts(quantized):
    cells = nb201.every_cell()[[311, 5000, 9999, 15600]]
    expected = nests(nb201.space(cells))
    for cell, operations in zip(cells.tolist(), expected, strict=True):
        model = nb201_model(cell, rng=np.random.default_rng(0), quantized=quantized)
        assert load_onnx(model).macs == pytest.approx(operations)


def test_blocks_have_the_operations_that_the_importer_counts():
    codes = np.random.default_rng(1).integers(0, 9, (3, 22), dtype=np.uint8)
    for blocks, operations in zip(codes.tolist(), nests(fbnet.space(codes)), strict=True):
        assert load_onnx(fbnet_model(blocks, rng=np.random.default_rng(0))).macs == operations


def test_a_batch_has_as_many_times_the_operations():
    one, four = (nb201_model((3, 1, 2, 1, 0, 4), rng=np.random.default_rng(0), batch=b) for b in (1, 4))
    assert load_onnx(four).macs == 4 * load_onnx(one).macs


def test_a_cell_without_a_path_still_runs():
    ort = pytest.importorskip("onnxruntime")
    model = nb201_model((0,) * 6, rng=np.random.default_rng(0))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"x": np.ones((1, 3, 32, 32), np.float32)})
    assert np.isfinite(out).all()


def test_a_network_runs_the_operations_of_its_layers():
    network = load("mobilenetv2")
    space = network_space("mine", [("a", network), ("b", load("resnet20"))])
    assert nests(space).tolist() == [network.macs, load("resnet20").macs]
    assert space.features["depthwise kernels"].tolist() == [17, 0]


def test_what_is_fused_is_a_kernel_of_its_own():
    layer = next(layer for layer in load("resnet20").layers if "Relu" in layer.fused)
    kernels = layer_kernels(layer)
    assert kernels[0].kind == "conv"
    assert "activation" in {kernel.kind for kernel in kernels[1:]}


def test_labels_must_differ():
    with pytest.raises(MeasurementError, match="space 'mine': more than one network is called 'a'"):
        network_space("mine", [("a", load("lenet5")), ("a", load("resnet8"))])


def test_a_folder_of_files_is_a_space(tmp_path):
    for index, cell in enumerate([(3,) * 6, (1,) * 6]):
        onnx.save(nb201_model(cell, rng=np.random.default_rng(0)), tmp_path / f"{index}.onnx")
    space = open_space(str(tmp_path))
    assert space.labels == ("0.onnx", "1.onnx")
    assert space.features["operations"][0] > 10 * space.features["operations"][1]


def test_an_empty_folder_is_no_space(tmp_path):
    with pytest.raises(MeasurementError, match="there is no ONNX file in"):
        open_space(str(tmp_path))


def test_a_function_may_yield_networks_or_pairs(tmp_path, monkeypatch):
    (tmp_path / "own_space.py").write_text(
        "from chipfit import load_network\n"
        "def plain():\n    yield load_network('lenet5')\n    yield load_network('resnet8')\n"
        "def pairs():\n    yield 'small', load_network('lenet5')\n"
        "def wrong():\n    yield 3\n"
    )
    monkeypatch.chdir(tmp_path)
    try:
        assert open_space("own_space:plain").labels == ("lenet5", "resnet8")
        assert open_space("own_space:pairs").labels == ("small",)
        with pytest.raises(MeasurementError, match=r"must yield networks, or pairs .* got int"):
            open_space("own_space:wrong")
        with pytest.raises(MeasurementError, match="module 'own_space' has no 'none'"):
            open_space("own_space:none")
    finally:
        sys.modules.pop("own_space", None)


def test_an_unknown_space_names_the_nearest():
    with pytest.raises(MeasurementError, match="no space 'nb202', did you mean 'nb201'"):
        open_space("nb202")
    with pytest.raises(MeasurementError, match="there is no module 'nowhere'"):
        open_space("nowhere:f")


def test_one_network_is_a_label_a_name_or_a_file(tmp_path):
    assert named("3-3-3-3-3-3", "nb201").codes is not None
    assert named("lenet5", "nb201").codes is None
    onnx.save(nb201_model((3,) * 6, rng=np.random.default_rng(0)), tmp_path / "a.onnx")
    assert nests(named(str(tmp_path / "a.onnx"), "nb201")) == pytest.approx(nests(named("333333", "nb201")))


def test_many_networks_are_a_table_or_a_space(tmp_path):
    table = tmp_path / "some.csv"
    table.write_text("arch;other\n3-3-3-3-3-3;1\n333333;2\n1-1-1-1-1-1;3\n")
    assert named(str(table), "nb201").labels == ("3-3-3-3-3-3", "1-1-1-1-1-1")
    assert len(named("nb201", "nb201")) == 15625
    table.write_text("arch\n9-9\n")
    with pytest.raises(MeasurementError, match="'9-9' is no network of the space 'nb201'"):
        named(str(table), "nb201")
    table.write_text("arch\n")
    with pytest.raises(MeasurementError, match="names no network"):
        named(str(table), "nb201")


def chains(network, lengths):
    """The longest of all chains, by trying every one."""
    reads = [
        {t.name for t in (*layer.inputs, *([layer.weight] if layer.weight else []))}
        for layer in network.layers
    ]
    writes = [{t.name for t in layer.outputs} for layer in network.layers]

    def longest(place):
        after = [p for p in range(place + 1, len(reads)) if writes[place] & reads[p]]
        return lengths[place] + max(map(longest, after), default=0)

    return max(map(longest, range(len(reads))))


@pytest.mark.parametrize("name", ["lenet5", "resnet8"])
def test_the_longest_chain_is_as_long_as_the_longest_of_all(name):
    network = load(name)
    for lengths in ([float(layer.macs) for layer in network.layers], [1.0] * len(network.layers)):
        found = longest_chain(network, lengths)
        assert sum(lengths[place] for place in found) == chains(network, lengths)


def test_branches_are_off_the_longest_chain():
    space = network_space("mine", [("a", load("googlenet")), ("b", load("lenet5"))])
    (way,) = space.ways
    whole, chain = way.counts.sum(1), way.paths[2].sum(1)
    assert chain[0] < 0.7 * whole[0]
    assert chain[1] == whole[1]

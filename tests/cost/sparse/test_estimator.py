from dataclasses import replace

import numpy as np
import pytest

import chipfit
from chipfit.cost.sparse.estimator import SparseEstimator
from chipfit.errors import MappingError, NetworkError
from chipfit.hardware.sparse import SparseArray, Structure
from chipfit.testing import EstimatorSuite, eye16, nest_layer, toy_level, toy_systolic
from chipfit.workload.network import Layer, Loops, Network, Tensor
from chipfit.workload.zeros import Zeros, assumed, with_zeros


def toy_sparse(**options):
    """Two rows of three elements between a memory for each tensor and registers."""
    target = toy_systolic()
    levels = (
        target.levels[0],
        toy_level("inputs", 64, 1e-11, word_bits=64, holds=("input",)),
        toy_level("weights", 64, 1e-11, word_bits=64, holds=("weight",)),
        toy_level("outputs", 64, 1e-11, word_bits=64, holds=("output",)),
        toy_level("register", 3, 2e-14, word_bits=32),
    )
    array = replace(target.arrays[0], below="outputs", rows=2, columns=3, hop_energy_j=0.0)
    return replace(target, name="toy_sparse", levels=levels, arrays=(array,), sparse=SparseArray(**options))


class Suite(EstimatorSuite):
    """The laws, where no zero is known: then nothing is skipped, and the roofline holds."""

    estimator = SparseEstimator()

    def targets(self):
        return (toy_sparse(), toy_sparse(strips=True, consecutive=4, clustering=True, fill="layer"))


class TestMatched(Suite):
    pass


class TestCompressed(Suite):
    """A dense tensor in a compressed format is larger than it is as it stands."""

    def targets(self):
        names = ("bitmap", "run_length", "coordinates", "compressed_rows")
        dataflows = ("adaptive", "inputs_first", "weights_first", "adaptive")
        return tuple(
            toy_sparse(storage=dict.fromkeys(("input", "weight", "output"), name), dataflow=dataflow)
            for name, dataflow in zip(names, dataflows, strict=True)
        )


class TestIndependentOrGated(Suite):
    def targets(self):
        return (
            toy_sparse(passes="independent"),
            toy_sparse(skip=(), gate=("input", "weight")),
            toy_sparse(skip=("weight",), gate=("input",)),
            toy_sparse(skip=("weight",), structure=Structure(keep=2, of=4), storage={"weight": "structured"}),
        )


class TestCartesian(Suite):
    """On layers of stride 1; at a stride, non-zeros meet that never share an output, which costs more."""

    estimator = SparseEstimator(pairs="cartesian")


PRESETS = ("sense_zcu102", "swallow_like", "eyeriss_v2", "ampere_2to4_like")


class TestPresets(Suite):
    def targets(self):
        return tuple(chipfit.load_target(name) for name in PRESETS)


def layer_with(zeros_of_input=None, zeros_of_weight=None, **bounds):
    layer = nest_layer(Loops(**bounds))
    assert layer.weight is not None
    return replace(
        layer,
        inputs=(replace(layer.inputs[0], zeros=zeros_of_input),),
        weight=replace(layer.weight, zeros=zeros_of_weight),
    )


def priced(layer, target, zeros=None, pairs=""):
    return SparseEstimator(zeros=zeros or Zeros(), pairs=pairs).layer(layer, target)


def test_a_layer_by_hand():
    # 4 channels, 6 kernels, 8 x 8 places on 2 x 3 elements: 2 x 2 passes. Half of the inputs and a
    # quarter of the weights are not zero: 64 * 1/2 * 1/4 = 8 cycles a pass, and 2 + 3 - 2 to fill.
    layer = layer_with(0.5, 0.75, K=6, C=4, P=8, Q=8)
    target = toy_sparse(storage={"input": "bitmap", "weight": "bitmap"})
    found = priced(layer, target)
    assert found.sparse is not None
    assert found.sparse.cycles == 4 * (8 + 3)
    assert found.sparse.pairs == 64 * 4 * 6 / 8
    assert found.sparse.passes == 4
    # Bitmaps: 256 + 128 * 8 = 1280 bits of inputs, 24 + 6 * 8 = 72 of weights; 384 * 8 of outputs.
    assert dict(found.sparse.stored_bits) == {"input": 1280.0, "weight": 72.0, "output": 3072.0}
    # Both fit 4096 bits: once each, in words of 64 bits. 20 + 2 + 48 words.
    assert found.cost.dram_bits == 70 * 64
    assert found.utilization == 192 / (70 * 6)  # main memory takes 70 cycles, longer than 44
    # Partial sums of 32 bits: two in a word, 192 words, added to twice.
    # Inputs: 20 words written, read for 2 groups of kernels; weights: 2 words in and out.
    energy = found.energy_by_component_j
    assert energy["MAC"] == pytest.approx(192 * 3e-13)
    assert energy["DRAM"] == pytest.approx(70e-9)
    assert energy["inputs input"] == pytest.approx(60e-11)
    assert energy["weights weight"] == pytest.approx(4e-11)
    assert energy["outputs output"] == pytest.approx(((192 + 48) + (192 + 48)) * 1e-11)
    assert energy["register"] == pytest.approx(192 * 4 * 2e-14)


@pytest.mark.parametrize(
    ("dataflow", "words"),
    # Inputs take 2 parts of 4096 bits, weights 3: 128 + 2 * 144 or 3 * 128 + 144 words, and the output.
    [("inputs_first", 128 + 2 * 144), ("weights_first", 3 * 128 + 144), ("adaptive", 128 + 2 * 144)],
)
def test_what_stays_is_fetched_once_and_what_passes_as_often_as_it_has_parts(dataflow, words):
    layer = layer_with(K=9, C=128, P=1, Q=8)
    found = priced(layer, toy_sparse(dataflow=dataflow))
    assert found.cost.dram_bits == (words + 9) * 64
    assert found.sparse is not None
    assert found.sparse.dataflow == ("weights_first" if dataflow == "weights_first" else "inputs_first")


def test_adaptive_is_never_worse_than_either():
    for layer in Suite().layers():
        if layer.loops is not None:
            first, second, best = (
                priced(layer, toy_sparse(dataflow=name)).cost.dram_bits
                for name in ("inputs_first", "weights_first", "adaptive")
            )
            assert best == min(first, second)


def test_masks_count_before_what_the_network_states():
    layer = layer_with(0.0, 0.0, K=2, C=2, P=4, Q=4)
    inputs, weights = np.zeros((1, 1, 2, 4, 4), bool), np.zeros((1, 2, 2, 1, 1), bool)
    empty = Zeros(activations={"layer.x": inputs}, weights={"layer": weights})
    found = priced(layer, toy_sparse(), empty)
    assert found.sparse is not None
    assert found.sparse.pairs == 0
    assert found.utilization == 0


def test_counts_by_channel_make_channels_differ():
    layer = layer_with(K=1, C=2, P=4, Q=4)
    zeros = Zeros(channels={"layer.x": np.array([[16, 4]])})
    found = priced(layer, toy_sparse(fill="none"), zeros)
    assert found.sparse is not None
    assert (found.sparse.cycles, found.sparse.pairs) == (16, 20)
    assert found.sparse.imbalance == 16 * 2 / 20


def test_a_network_that_carries_its_zeros_costs_what_the_counts_say():
    network = chipfit.load_network("resnet8")
    kept = {layer.name: (4, 9) for layer in network.layers if layer.loops and layer.loops.R == 3}
    zeros = assumed(network, np.random.default_rng(0), kept=kept, density=0.5, spread=0.2)
    target = chipfit.load_target("sense_zcu102")
    counted = SparseEstimator(zeros=Zeros(channels=zeros.channels)).estimate(network, target)
    carried = Network.from_json(with_zeros(network, Zeros(channels=zeros.channels)).to_json())
    assert SparseEstimator().estimate(carried, target).total.latency_s == pytest.approx(
        counted.total.latency_s
    )


def test_several_runs_cost_their_mean():
    layer = layer_with(K=1, C=1, P=4, Q=4)
    mask = np.zeros((2, 1, 1, 4, 4), bool)
    mask[0] = True
    target = toy_sparse(storage={"input": "bitmap"}, fill="none")
    found = priced(layer, target, Zeros(activations={"layer.x": mask}))
    assert found.sparse is not None
    assert found.sparse.cycles == (16 + 0) / 2
    assert dict(found.sparse.stored_bits)["input"] == (16 + 128 + 16) / 2


def test_a_product_takes_its_mask_from_rows_of_terms():
    x = Tensor(name="x", shape=(2, 3), bits=8)
    w = Tensor(name="w", shape=(3, 1), bits=8, constant=True)
    y = Tensor(name="y", shape=(2, 1), bits=8)
    layer = Layer(
        name="fc", operator="MatMul", loops=Loops(K=1, C=3, P=2), inputs=(x,), weight=w, outputs=(y,)
    )
    mask = np.array([[[1, 1, 0], [0, 1, 0]]], bool)
    found = priced(layer, toy_sparse(fill="none"), Zeros(activations={"x": mask}))
    assert found.sparse is not None
    # Terms 0, 1, 2 have one, two and no activation; two rows: passes of terms 0 and 1, and of 2.
    assert (found.sparse.cycles, found.sparse.pairs) == (2, 3)


def test_the_report_says_what_is_not_known():
    network = Network(name="n", layers=(layer_with(K=2, C=2), replace(layer_with(0.5, 0.5, K=2), name="b")))
    report = SparseEstimator().estimate(network, toy_sparse())
    assert report.warnings == (
        "zeros of 1 of 2 inputs and 1 of 2 weights are not known: taken as none; "
        "--calibration DIR finds those of inputs",
    )


def test_the_json_has_what_the_array_did():
    row = priced(layer_with(0.5, 0.5, K=2, C=2), toy_sparse()).to_json()
    assert set(row["sparse"]) == {
        "cycles", "cartesian_cycles", "pairs", "passes", "imbalance", "dataflow", "stored_bits", "dense_bits"
    }  # fmt: skip


def test_utilisation_of_a_network_counts_what_is_done():
    layers = (
        layer_with(0.5, 0.5, K=3, C=2, P=8, Q=8),
        replace(layer_with(0.5, 0.5, K=3, C=2, P=4, Q=4), name="b"),
    )
    report = SparseEstimator().estimate(Network(name="n", layers=layers), toy_sparse())
    pairs = sum(layer.sparse.pairs for layer in report.layers if layer.sparse)
    assert report.utilization == pytest.approx(pairs / (report.total.latency_s * 1e9 * 6))


class TestMistakes:
    def message(self, layer, target, zeros=None, kind=MappingError):
        with pytest.raises(kind) as error:
            priced(layer, target, zeros)
        return str(error.value)

    def test_a_target_without_the_section(self):
        assert self.message(nest_layer(Loops(K=2)), eye16()) == (
            "target 'eye16' does not say what its array does about zeros: it has no 'sparse' section"
        )

    def test_a_tensor_without_a_memory_on_the_chip(self):
        target = toy_sparse()
        target = replace(target, levels=(target.levels[0], *target.levels[2:]))
        assert self.message(nest_layer(Loops(K=2)), target) == (
            "layer 'layer': target 'toy_sparse' has no memory on the chip for input"
        )

    def test_a_weight_mask_of_another_shape(self):
        zeros = Zeros(weights={"layer": np.ones((1, 2, 2, 3, 3), bool)})
        assert self.message(nest_layer(Loops(K=2)), toy_sparse(), zeros, NetworkError) == (
            "the weight mask of layer 'layer' has shape (1, 2, 2, 3, 3), "
            "expected (1, 2, 1, 1, 1) (G, K, C, R, S)"
        )

    def test_an_activation_mask_of_another_shape(self):
        zeros = Zeros(activations={"layer.x": np.ones((1, 1, 1, 2, 2), bool)})
        assert self.message(nest_layer(Loops(K=2)), toy_sparse(), zeros, NetworkError) == (
            "the mask of tensor 'layer.x' has shape (1, 1, 1, 2, 2), expected (runs, 1, 1, 1, 1)"
        )

    def test_an_unknown_way_to_count(self):
        with pytest.raises(MappingError) as error:
            SparseEstimator(pairs="match")
        assert str(error.value) == "unknown way to count pairs 'match', did you mean 'matched'?"

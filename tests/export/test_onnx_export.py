import onnx
import pytest
import torch
from onnx import numpy_helper
from small_models import images, residual

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize, code_range
from chipfit.errors import ExportError
from chipfit.export.onnx import BITS, agreement, export
from chipfit.train.task import TensorLoader
from chipfit.workload.from_onnx import load_onnx

WIDTHS = {"stem": (8, 8), "conv1": (4, 3), "conv2": (2, 5), "head": (6, 8)}


@pytest.fixture(scope="module")
def quantized() -> torch.nn.Module:
    bits = tuple((n, w, a) for n, (w, a) in WIDTHS.items())
    return Quantize(bits=bits).apply(traced(residual()), PassContext(calibration=images()))


@pytest.fixture(scope="module")
def data(quantized: torch.nn.Module) -> bytes:
    return export(quantized, images(1), name="small")


def test_onnx_runtime_computes_the_same_network_bit_for_bit(quantized: torch.nn.Module, data: bytes) -> None:
    loader = TensorLoader(images(64, seed=5), torch.zeros(64), batch=16)
    found = agreement(data, quantized, loader)
    assert (found.images, found.same, found.largest_difference) == (64, 64, 0.0)


def test_weights_are_stored_as_codes_of_their_width(data: bytes) -> None:
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(data).graph.initializer}
    for name, (bits, _) in WIDTHS.items():
        codes = tensors[f"{name}.weight_quantized"]
        low, high = code_range(bits, signed=True)
        assert codes.dtype == "int8"
        assert low <= codes.min() <= codes.max() <= high
        assert tensors[f"{name}.bias_quantized"].dtype == "int32"


def test_the_importer_sees_the_largest_sum_of_the_stored_codes(data: bytes) -> None:
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(data).graph.initializer}
    for layer in load_onnx(data).layers:
        if layer.loops is None:
            continue
        assert layer.weight is not None
        rows = tensors[f"{layer.name}.weight_quantized"].astype(int)
        rows = rows.reshape(len(rows), -1)
        assert layer.weight.largest_sum == max(rows.clip(min=0).sum(1).max(), -rows.clip(max=0).sum(1).min())


def test_the_true_width_stands_beside_each_quantizer(data: bytes) -> None:
    nodes = onnx.load_from_string(data).graph.node
    stated = [
        next(p.value for p in n.metadata_props if p.key == BITS)
        for n in nodes
        if n.op_type == "QuantizeLinear"
    ]
    # stem, conv1 and the stored copy (in either order), conv2, stored sum, head
    assert sorted(stated) == sorted(["8", "3", "8", "5", "8", "8"])


def test_exporting_leaves_the_model_usable(quantized: torch.nn.Module, data: bytes) -> None:
    assert nest_layers(quantized)["conv1"].weight.shape == (6, 6, 3, 3)
    assert export(quantized, images(1), name="small") == data


def test_a_float_model_is_exported_as_it_is() -> None:
    model = traced(residual())
    kinds = {n.op_type for n in onnx.load_from_string(export(model, images(1), name="small")).graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}


def test_a_file_that_does_something_else_is_found_out(data: bytes) -> None:
    other = traced(residual(seed=3))
    found = agreement(data, other, TensorLoader(images(64), torch.zeros(64), batch=16))
    assert found.ratio < 1


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(ExportError, match="ONNX Runtime does not run the exported model"):
        agreement(b"nonsense", residual(), TensorLoader(images(2), torch.zeros(2)))

"""A quantised model as an ONNX file with QuantizeLinear and DequantizeLinear, checked by running it.

Weights are stored as int8 codes with one step per output channel; an activation of fewer than
eight bits is clipped to its range before an 8-bit QuantizeLinear. The true width stands in the
metadata property `chipfit.bits` of each DequantizeLinear and QuantizeLinear node.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxscript import opset18
from torch import nn
from torch.nn.utils import parametrize

from chipfit.compress.graph import nest_layers
from chipfit.compress.quantize import bias_quantizer, quantizers_of, short, weight_quantizer
from chipfit.errors import ExportError
from chipfit.train.task import Loader

BITS = "chipfit.bits"
OPSET = 18


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How an exported model compares with the torch model on the same inputs.

    `same` counts inputs with the same predicted class (or, without classes, outputs within 1e-3 of
    the largest); `largest_difference` is over all outputs.
    """

    images: int
    same: int
    largest_difference: float

    @property
    def ratio(self) -> float:
        """Fraction of the inputs that agree."""
        return self.same / self.images


def export(model: nn.Module, example: torch.Tensor, *, name: str) -> bytes:
    """The model as an ONNX file for one input at a time.

    Args:
        model: a traced model, with or without quantisers.
        example: one input, with its batch axis of size 1.
        name: the name of the graph.

    Raises:
        ExportError: the exporter of torch cannot express the model.
    """
    model = copy.deepcopy(model).eval()
    model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    stored = _bake(model)
    for quantizer in quantizers_of(model).values():
        quantizer.freeze()
    proto = _torch_export(model, example)
    proto.graph.name = name
    _store_codes(proto, stored)
    _state_widths(proto)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def agreement(data: bytes, model: nn.Module, loader: Loader) -> Agreement:
    """Run an exported model in ONNX Runtime on a whole set, beside the torch model.

    Raises:
        ExportError: ONNX Runtime cannot load or run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        key = session.get_inputs()[0].name

        def run(one: torch.Tensor) -> np.ndarray[Any, Any]:
            return np.asarray(session.run(None, {key: one[None].numpy()})[0])

        pairs = [_compare(model, inputs, run) for inputs, _ in loader]
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        raise ExportError(f"ONNX Runtime does not run the exported model: {error}") from error
    return Agreement(
        images=sum(count for count, _, _ in pairs),
        same=sum(same for _, same, _ in pairs),
        largest_difference=max(difference for _, _, difference in pairs),
    )


def _compare(
    model: nn.Module, inputs: torch.Tensor, run: Callable[[torch.Tensor], np.ndarray[Any, Any]]
) -> tuple[int, int, float]:
    with torch.no_grad():
        expected = model.eval()(inputs).numpy()
    got = np.concatenate([run(one) for one in inputs])
    difference = np.abs(got - expected)
    if expected.ndim == 2 and expected.shape[1] > 1:
        same = int((got.argmax(1) == expected.argmax(1)).sum())
    else:
        close = difference.reshape(len(got), -1).max(1) <= 1e-3 * np.abs(expected).max()
        same = int(close.sum())
    return len(inputs), same, float(difference.max())


@dataclass(frozen=True, kw_only=True)
class _Codes:
    """What is stored in place of a float tensor."""

    codes: np.ndarray[Any, Any]
    steps: np.ndarray[Any, Any]
    axis: int
    bits: int


def _bake(model: nn.Module) -> dict[str, _Codes]:
    """Replace parametrised weights and biases by their values; returns the codes of quantised ones."""
    stored: dict[str, _Codes] = {}
    for name, layer in nest_layers(model).items():
        if not parametrize.is_parametrized(layer):
            continue
        quantizer = weight_quantizer(layer)
        if quantizer is not None:
            weight, steps = layer.weight.detach(), short(quantizer.log_step)
            codes = (weight / quantizer.steps(weight.dim()).detach()).round()
            stored[f"{name}.weight"] = _Codes(
                codes=codes.numpy().astype(np.int8),
                steps=steps.numpy(),
                axis=quantizer.axis,
                bits=quantizer.bits,
            )
        grid = bias_quantizer(layer)
        if grid is not None:
            assert layer.bias is not None
            codes = (layer.bias.detach() / grid.steps()).round()
            if codes.abs().max() >= 2**31:
                raise ExportError(f"layer '{name}': a bias does not fit 32 bits at its step")
            stored[f"{name}.bias"] = _Codes(
                codes=codes.numpy().astype(np.int32), steps=grid.steps().numpy(), axis=0, bits=32
            )
        _replace(model, name, _without_parametrization(layer))
    return stored


def _without_parametrization(layer: Any) -> nn.Module:
    # torch's remove_parametrizations changes the class, which copies of the layer share with it.
    kind: Any = parametrize.type_before_parametrizations(layer)
    plain = kind.__new__(kind)
    plain.__dict__.update(layer.__dict__)
    plain._modules = {}
    plain._parameters = {
        key: value if value is None else nn.Parameter(value.detach().clone())
        for key, value in (("weight", layer.weight), ("bias", layer.bias))
    }
    return plain


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _torch_export(model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    op: Any = opset18

    def translate(x: Any, step: float, low: int, high: int) -> Any:
        storage = TensorProto.UINT8 if low >= 0 else TensorProto.INT8
        kind = np.uint8 if low >= 0 else np.int8
        scale = op.Constant(value=helper.make_tensor("step", TensorProto.FLOAT, [], [step]))
        zero = op.Constant(value=helper.make_tensor("zero", storage, [], [0]))
        if (low, high) != (np.iinfo(kind).min, np.iinfo(kind).max):
            bounds = [
                op.Constant(
                    value=helper.make_tensor(n, TensorProto.FLOAT, [], [float(np.float32(step)) * end])
                )
                for n, end in (("low", low), ("high", high))
            ]
            x = op.Clip(x, *bounds)
        return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero), scale, zero)

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                verbose=False,
                input_names=["input"],
                output_names=["output"],
                custom_translation_table={torch.ops.chipfit.quantize.default: translate},
            )
    except Exception as error:  # the exporter raises many unrelated kinds
        raise ExportError(f"cannot export to ONNX: {str(error).splitlines()[0]}") from error
    assert program is not None
    return program.model_proto


def _store_codes(proto: onnx.ModelProto, stored: dict[str, _Codes]) -> None:
    """Replace float tensors by their codes and a DequantizeLinear node each."""
    graph = proto.graph
    nodes: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        if tensor.name not in stored:
            continue
        kept = stored[tensor.name]
        quantized, scale, zero = (f"{tensor.name}_{part}" for part in ("quantized", "scale", "zero"))
        graph.initializer.remove(tensor)
        graph.initializer.extend(
            [
                numpy_helper.from_array(kept.codes, quantized),
                numpy_helper.from_array(kept.steps.astype(np.float32), scale),
                numpy_helper.from_array(np.zeros(len(kept.steps), kept.codes.dtype), zero),
            ]
        )
        node = helper.make_node(
            "DequantizeLinear", [quantized, scale, zero], [tensor.name], name=f"{tensor.name}_dequantize",
            axis=kept.axis,
        )  # fmt: skip
        _state(node, kept.bits)
        nodes.append(node)
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _state_widths(proto: onnx.ModelProto) -> None:
    """Write the width of each activation quantiser beside its nodes."""
    values = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    producer = {output: node for node in proto.graph.node for output in node.output}
    for node in proto.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        clip = producer.get(node.input[0])
        bits = 8
        if clip is not None and clip.op_type == "Clip":
            high = float(values[clip.input[2]]) / float(values[node.input[1]])
            low = float(values[clip.input[1]]) / float(values[node.input[1]])
            bits = round(high).bit_length() + (low < 0)
        _state(node, bits)
        for reader in proto.graph.node:
            if node.output[0] in reader.input:
                _state(reader, bits)


def _state(node: onnx.NodeProto, bits: int) -> None:
    node.metadata_props.append(onnx.StringStringEntryProto(key=BITS, value=str(bits)))

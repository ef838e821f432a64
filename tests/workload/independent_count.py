"""Multiply-accumulates and parameters of an ONNX graph, counted the short and obvious way.

Shares nothing with the importer. Shapes come from ONNX's own inference over the whole graph, or, where
that stops (`run=True`), from running the graph in ONNX Runtime and looking at every tensor. The count
is (elements of the output) x (terms of each sum). Parameters are the weights and biases of layers that
multiply, and all other floating-point constants of more than one element, but for running means and
variances and the scales of quantisers.
"""

import math

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference

MULTIPLY = ("Conv", "Gemm", "MatMul")


def count(model, shapes=None, *, run=False, branch=None):
    """(multiply-accumulates, parameters); of an `If`, the branch of that name."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for value in model.graph.input:
        if value.name in (shapes or {}):
            kind = helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shapes[value.name])
            value.type.CopyFrom(kind)
    if branch:
        _put_in_place_of_if(model.graph, branch)
    parameters = _parameters(model.graph)
    for node in model.graph.node:  # ONNX knows nothing of quantisers, whose output has the input's shape
        if node.op_type == "Quant":
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    known = _run_shapes(model) if run else _inferred_shapes(model)
    return _macs(model.graph, known), parameters


def _put_in_place_of_if(graph, branch):
    (node,) = (node for node in graph.node if node.op_type == "If")
    (body,) = (a.g for a in node.attribute if a.name == branch)
    outputs = dict(zip((o.name for o in body.output), node.output, strict=True))
    graph.node.remove(node)
    graph.initializer.extend(body.initializer)
    for inner in body.node:
        inner.output[:] = [outputs.get(name, name) for name in inner.output]
        inner.input[:] = [outputs.get(name, name) for name in inner.input]
        graph.node.append(inner)


def _inferred_shapes(model):
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    known = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in [*graph.input, *graph.value_info, *graph.output]
    }
    return known | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _run_shapes(model):
    names = [name for node in model.graph.node for name in node.output if name]
    kept = {output.name for output in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names if n not in kept)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    feeds = {i.name: np.ones(i.shape, kinds[i.type]) * 0.5 for i in session.get_inputs()}
    feeds = {i.name: np.asarray(feeds[i.name], kinds[i.type]) for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]
    known = {n: np.shape(v) for n, v in zip(outputs, session.run(outputs, feeds), strict=True)}
    known |= {name: value.shape for name, value in feeds.items()}
    return known | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def _macs(graph, known):
    total = 0
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type not in MULTIPLY:
            continue
        if node.op_type == "Conv":
            terms = math.prod(known[node.input[1]][1:])
        elif node.op_type == "MatMul":
            terms = known[node.input[0]][-1]
        else:
            terms = known[node.input[0]][0 if attributes.get("transA") else 1]
        assert all(known[node.output[0]]), f"shape of {node.output[0]} unknown"
        total += math.prod(known[node.output[0]]) * terms
    return total


def _parameters(graph):
    sizes = {t.name: math.prod(t.dims) for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type == TensorProto.FLOAT:
                sizes[node.output[0]] = math.prod(attribute.t.dims)
        if node.op_type == "ConstantOfShape":
            shape = next(t for t in graph.initializer if t.name == node.input[0])
            sizes[node.output[0]] = math.prod(numpy_helper.to_array(shape).tolist())
    used = set()
    for node in graph.node:
        inputs = list(node.input)
        if node.op_type == "BatchNormalization":
            inputs = inputs[:3]
        if node.op_type in ("Quant", "BipolarQuant", "Pad", "Clip", "Resize"):
            inputs = inputs[:1]
        least = 0 if node.op_type in MULTIPLY else 1
        used |= {name for name in inputs if sizes.get(name, 0) > least}
    return sum(sizes[name] for name in used)

"""Small ONNX graphs by hand, for the tests."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def node(operator, inputs, outputs, name="", domain="", metadata=None, **attributes):
    made = helper.make_node(operator, inputs.split(), outputs.split(), name=name, domain=domain, **attributes)
    for key, value in (metadata or {}).items():
        made.metadata_props.add(key=key, value=value)
    return made


def model(nodes, inputs, outputs, constants=None, opset=18, types=None, value_info=(), domains=()):
    """`inputs` and `outputs`: shape by name; `constants`: array by name; `types`: ONNX type by name."""
    kind = types or {}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind.get(name, FLOAT), shape) for name, shape in inputs.items()],
        [
            helper.make_tensor_value_info(name, kind.get(name, FLOAT), shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
        value_info=list(value_info),
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)

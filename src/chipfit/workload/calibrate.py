"""The zeros of an ONNX file: in its weights, and in what calibration inputs make of its activations.

`weight_masks` evaluates the constant part of the graph, so quantised weights are zero where their codes
are. `calibrate` runs the graph in ONNX Runtime and keeps, of every input and output of a layer that
multiplies, how many elements of each channel are not zero, and the whole mask if asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from chipfit.errors import NetworkError, nearest
from chipfit.workload import onnx_file
from chipfit.workload.network import Layer, Network, Tensor
from chipfit.workload.qonnx import in_standard_operators
from chipfit.workload.zeros import CONVOLUTIONS, Counts, Flags, Zeros, by_channel, weight_shape

_PRODUCTS = ("Gemm", "FusedGemm", "MatMul", "MatMulInteger", "QLinearMatMul")
#: Inputs of a node that are its two operands; the third is the zero point of the output, if it has one.
_SLOTS = {"QLinearConv": (0, 3, 7), "QLinearMatMul": (0, 3, 7)}

# ---------------------------------------------------------------------------------------------
# Weights


def weight_masks(source: onnx_file.Source, network: Network) -> Zeros:
    """Masks of the constant weights of the layers that `load_onnx` made of a file.

    Layers whose weights are not two-dimensional in a product, and transposed convolutions, have none.

    Raises:
        NetworkError: the file cannot be read.
    """
    model, _ = onnx_file.read(source)
    standard = in_standard_operators(model)
    masks: dict[str, Flags] = {}
    begin: dict[str, tuple[int, int]] = {}
    for layer, node in _nests(model, network):
        if (pads := _begin(layer, node)) is not None:
            begin[layer.name] = pads
        values = _evaluated(standard, node.input[_slots(node)[1]])
        mask = None if values is None else _in_nest_order(values, layer, node, model)
        if mask is not None:
            masks[layer.name] = mask
    return Zeros(weights=masks, begin=begin)


def _slots(node: onnx.NodeProto) -> tuple[int, int, int | None]:
    return _SLOTS.get(node.op_type, (0, 1, None))


def _nests(model: onnx.ModelProto, network: Network) -> Iterator[tuple[Layer, onnx.NodeProto]]:
    """Layers of constant weights with the node of each, by the weights that both name."""
    producers = {output: node for node in model.graph.node for output in node.output}
    waiting: dict[str, list[Layer]] = {}
    for layer in network.layers:
        if layer.loops is not None and layer.weight is not None and layer.weight.constant:
            waiting.setdefault(layer.weight.name, []).append(layer)
    for node in model.graph.node:
        if node.op_type not in (*CONVOLUTIONS, *_PRODUCTS):
            continue
        name = node.input[_slots(node)[1]]
        while name not in waiting and name in producers and producers[name].input:
            name = producers[name].input[0]
        if waiting.get(name):
            yield waiting[name].pop(0), node


def _evaluated(model: onnx.ModelProto, name: str) -> NDArray[Any] | None:
    """The elements of a constant, computed from initialisers; None if it is none."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    if name in initializers:
        return numpy_helper.to_array(initializers[name])
    producers = {output: node for node in model.graph.node for output in node.output}
    needed: list[onnx.NodeProto] = []
    waiting, seen = [name], set[str]()
    while waiting:
        key = waiting.pop()
        if not key or key in seen or key in initializers:
            continue
        seen.add(key)
        if key not in producers:
            return None
        needed.append(producers[key])
        waiting += producers[key].input
    order = {id(node): place for place, node in enumerate(model.graph.node)}
    nodes = sorted({id(node): node for node in needed}.values(), key=lambda node: order[id(node)])
    used = {key for node in nodes for key in node.input}
    graph = helper.make_graph(
        nodes, "weights", [], [onnx.ValueInfoProto(name=name)],
        [tensor for key, tensor in initializers.items() if key in used],
    )  # fmt: skip
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        return np.asarray(_session(part).run(None, {})[0])
    except Exception:  # operators of other domains: what ONNX Runtime does not know has no mask
        return None


def _session(model: onnx.ModelProto) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _in_nest_order(
    values: NDArray[Any], layer: Layer, node: onnx.NodeProto, model: onnx.ModelProto
) -> Flags | None:
    """The mask of weights as (G, K, C, R, S), or None where their order is not known."""
    shape = weight_shape(layer)
    mask = values.astype(np.float64) != _zero_point(node, model)
    if node.op_type in CONVOLUTIONS:
        return mask.reshape(shape) if mask.size == math.prod(shape) else None
    groups, kernels, channels, *_ = shape
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    matrix = mask if transposed or mask.ndim != 2 else mask.T
    return (
        np.ascontiguousarray(matrix).reshape(shape)
        if matrix.shape == (kernels, channels) and groups == 1
        else None
    )


def _zero_point(node: onnx.NodeProto, model: onnx.ModelProto) -> float:
    """What stands for zero among the codes of weights that a node takes as integers."""
    place = {"QLinearConv": 5, "QLinearMatMul": 5, "ConvInteger": 3, "MatMulInteger": 3}.get(node.op_type)
    name = node.input[place] if place is not None and place < len(node.input) else ""
    return _code_of_zero(model, name)


def _code_of_zero(model: onnx.ModelProto, name: str) -> float:
    values = _evaluated(model, name) if name else None
    return float(values.reshape(-1)[0]) if values is not None and values.size else 0.0


def _begin(layer: Layer, node: onnx.NodeProto) -> tuple[int, int] | None:
    """Padding before the first row and column, as a convolution states it."""
    if node.op_type not in CONVOLUTIONS or layer.loops is None:
        return None
    options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    auto = options.get("auto_pad", b"NOTSET").decode()
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        extra = 1 if auto == "SAME_LOWER" else 0
        return (layer.loops.padding[0] + extra) // 2, (layer.loops.padding[1] + extra) // 2
    pads = list(options.get("pads", ())) if auto == "NOTSET" else []
    rank = len(pads) // 2
    return (pads[0] if rank else 0, pads[1] if rank > 1 else 0)


# ---------------------------------------------------------------------------------------------
# Activations


def calibrate(
    source: onnx_file.Source,
    network: Network,
    runs: Sequence[Mapping[str, NDArray[Any]]],
    *,
    whole: bool = False,
) -> Zeros:
    """Non-zeros of the inputs and outputs of every layer that multiplies, run in ONNX Runtime.

    Args:
        source: the ONNX file that `network` was made of.
        network: what `load_onnx` made of it.
        runs: inputs of each run by name, in the shapes that the network was imported with.
        whole: keep whole masks, not only the numbers of each channel.

    Raises:
        NetworkError: no runs, an input that is missing or has another shape, or a file that ONNX Runtime does
            not run.
    """
    if not runs:
        raise NetworkError("calibration needs at least one input")
    model = in_standard_operators(onnx_file.read(source)[0])
    wanted = _wanted(model, network)
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    stated = {output.name for output in proto.graph.output}
    inputs = {i.name for i in proto.graph.input}
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in wanted if name not in stated and name not in inputs
    )
    fetched = [name for name in wanted if name not in inputs]
    zero_of = {name: _written_zero(model, name) for name in wanted}
    found: dict[str, list[Flags]] = {name: [] for name in wanted}
    counts: dict[str, list[Counts]] = {name: [] for name in wanted}
    try:
        session = _session(proto)
        for run in runs:
            feeds = _feeds(run, session.get_inputs())
            values = dict(zip(fetched, session.run(fetched, feeds), strict=True)) if fetched else {}
            for name, tensor in wanted.items():
                value = np.asarray(values[name] if name in values else feeds[name])
                mask = (value != zero_of[name]).reshape(tensor.shape)
                counts[name].append(by_channel(mask))
                if whole:
                    found[name].append(mask)
    except NetworkError:
        raise
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(f"calibration: ONNX Runtime does not run the network: {reason}") from error
    return Zeros(
        channels={name: np.stack(rows) for name, rows in counts.items()},
        activations={name: np.stack(masks) for name, masks in found.items() if masks},
    )


def _feeds(run: Mapping[str, NDArray[Any]], inputs: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """The arrays of a run as ONNX Runtime takes them, in the types of its inputs."""
    for given in inputs:
        if given.name not in run:
            raise NetworkError(f"calibration: a run has no input '{given.name}'{nearest(given.name, run)}")
        shape = run[given.name].shape
        # A dimension that is not known has a name, or None.
        expected = tuple(n if isinstance(n, int) else "?" for n in given.shape)
        if len(shape) != len(expected) or any(
            e not in ("?", n) for e, n in zip(expected, shape, strict=True)
        ):
            text = ", ".join(map(str, expected))
            raise NetworkError(f"calibration: input '{given.name}' has shape {shape}, expected ({text})")
    return {given.name: run[given.name].astype(_dtype(given.type)) for given in inputs}


def _wanted(model: onnx.ModelProto, network: Network) -> dict[str, Tensor]:
    """Activations that layers which multiply read or write, by the name that they have in the file too."""
    known = {output for node in model.graph.node for output in node.output}
    known |= {i.name for i in model.graph.input} - {t.name for t in model.graph.initializer}
    found: dict[str, Tensor] = {}
    for layer in network.layers:
        if layer.loops is not None:
            for tensor in (*layer.inputs[:1], *layer.outputs[:1]):
                if not tensor.constant and tensor.name in known:
                    found.setdefault(tensor.name, tensor)
    return found


def _written_zero(model: onnx.ModelProto, name: str) -> float:
    """What stands for zero in a tensor of the file: the zero point of the node that writes it."""
    places = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QLinearAdd": 7}
    for node in model.graph.node:
        if name in node.output:
            place = places.get(node.op_type)
            return (
                _code_of_zero(model, node.input[place])
                if place is not None and place < len(node.input)
                else 0.0
            )
    return 0.0


_DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int8)": np.int8, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}  # fmt: skip


def _dtype(kind: str) -> type[np.generic]:
    return _DTYPES.get(kind, np.float32)


# ---------------------------------------------------------------------------------------------
# Calibration data


def read_runs(
    directory: Path, shapes: Mapping[str, Sequence[int]], *, most: int = 64
) -> list[dict[str, NDArray[Any]]]:
    """Inputs for calibration from a folder: `.npy` files of the one input, `.npz` files of all by name.

    A file may hold several runs one after the other along the first axis.

    Args:
        directory: the folder; files are read in the order of their names.
        shapes: the shape of each input of the network by name.
        most: runs to stop after.

    Raises:
        NetworkError: no such folder, no files in it, one that cannot be read, or another shape.
    """
    if not directory.is_dir():
        raise NetworkError(f"calibration: there is no folder {directory}")
    files = sorted(p for p in directory.iterdir() if p.suffix in (".npy", ".npz"))
    if not files:
        raise NetworkError(f"calibration: no .npy or .npz files in {directory}")
    runs: list[dict[str, NDArray[Any]]] = []
    for path in files:
        parts = {
            name: _split(array, tuple(shapes[name]), name, path)
            for name, array in _arrays(path, shapes).items()
        }
        lengths = {name: len(part) for name, part in parts.items()}
        if len(set(lengths.values())) > 1:
            raise NetworkError(f"calibration: {path.name} has different numbers of runs: {lengths}")
        runs += [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
        if len(runs) >= most:
            break
    return runs[:most]


def _arrays(path: Path, shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[Any]]:
    try:
        if path.suffix == ".npy":
            if len(shapes) != 1:
                names = ", ".join(shapes)
                raise NetworkError(f"calibration: {path.name} has one input of {names}: give a .npz of all")
            return {next(iter(shapes)): np.load(path, allow_pickle=False)}
        with np.load(path, allow_pickle=False) as data:
            missing = [name for name in shapes if name not in data]
            if missing:
                hint = nearest(missing[0], data.files) if data.files else ""
                raise NetworkError(f"calibration: {path.name} has no input '{missing[0]}'{hint}")
            return {name: data[name] for name in shapes}
    except (OSError, ValueError, EOFError) as error:
        raise NetworkError(f"calibration: {path.name} cannot be read: {error}") from error


def _split(array: NDArray[Any], shape: tuple[int, ...], name: str, path: Path) -> NDArray[Any]:
    """An array as (runs, *shape)."""
    if array.shape == shape[1:]:
        array = array[None]
    if array.ndim != len(shape) or array.shape[1:] != shape[1:] or not len(array) or len(array) % shape[0]:
        raise NetworkError(
            f"calibration: {path.name} has shape {array.shape}, but input '{name}' has {shape}"
        )
    return array.reshape(-1, *shape)


def network_inputs(
    source: onnx_file.Source, shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, tuple[int, ...]]:
    """The shape of each input of an ONNX file.

    Raises:
        NetworkError: the file cannot be read, or a dimension is not known.
    """
    model, name = onnx_file.read(source)
    return onnx_file.input_shapes(model.graph, shapes or {}, name)

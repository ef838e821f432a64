"""Spaces of any networks: ONNX files in a folder, what a user's function yields, or a known space.

A layer is a kernel for its loop nest or its traffic, and one for each operator fused into it.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from chipfit.cost.latency import fbnet, nb201
from chipfit.cost.latency.kernels import Counter, Kernel, elementwise
from chipfit.cost.latency.measurements import read_labels
from chipfit.cost.latency.space import Space, Way
from chipfit.errors import MeasurementError, nearest
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.library import resolve
from chipfit.workload.network import Layer, Network

#: What an operator does, by its ONNX name; any other costs traffic alone.
_KINDS = {
    "Add": "add",
    "Sub": "add",
    "Sum": "add",
    "BatchNormalization": "norm",
    "InstanceNormalization": "norm",
    "LayerNormalization": "norm",
    "GroupNormalization": "norm",
    "Relu": "activation",
    "LeakyRelu": "activation",
    "PRelu": "activation",
    "Clip": "activation",
    "Sigmoid": "activation",
    "HardSigmoid": "activation",
    "HardSwish": "activation",
    "Tanh": "activation",
    "Gelu": "activation",
    "Elu": "activation",
    "Mul": "scale",
    "Div": "scale",
    "MaxPool": "pool",
    "AveragePool": "pool",
    "GlobalAveragePool": "pool",
    "GlobalMaxPool": "pool",
    "ReduceMean": "pool",
    "Concat": "copy",
    "Transpose": "copy",
    "Pad": "copy",
    "Slice": "copy",
    "Split": "copy",
    "Gather": "copy",
    "Resize": "copy",
}


#: By what the longest chain of layers is found: operations, traffic, layers.
_LENGTHS: tuple[Callable[[Layer], float], ...] = (
    lambda layer: float(layer.macs),
    lambda layer: float(sum(tensor.elements for tensor in (*layer.inputs, *layer.outputs))),
    lambda layer: 1.0,
)
#: What reads the labels of a known space.
_READERS = {"nb201": nb201.read_label, "fbnet": fbnet.read_label}


def layer_kernels(layer: Layer) -> tuple[Kernel, ...]:
    """What one layer runs: its nest or its traffic, and each operator fused into it."""
    written = sum(tensor.elements for tensor in layer.outputs[:1])
    fused = tuple(elementwise(_KINDS.get(name, "other"), max(written, 1)) for name in layer.fused)
    return (_own_kernel(layer, written), *fused)


def _own_kernel(layer: Layer, written: int) -> Kernel:
    read = sum(tensor.elements for tensor in layer.inputs if not tensor.constant)
    if layer.loops is None:
        kind = _KINDS.get(layer.operator, "other")
        if kind != "pool":
            return Kernel(kind, read, written, pixels=max(written, 1))
        shape = layer.outputs[0].shape
        channels = shape[1] if len(shape) > 1 else 1
        taps = max(1, read // max(written, 1))
        return Kernel(kind, read, written, groups=channels, pixels=max(written // channels, 1), taps=taps)
    loops = layer.loops
    return Kernel(
        kind="conv",
        read=loops.input_elements,
        written=loops.output_elements,
        weights=loops.weight_elements,
        channels=loops.C,
        filters=loops.K,
        groups=loops.G,
        pixels=loops.N * loops.P * loops.Q,
        taps=loops.R * loops.S,
        stride=max(loops.stride),
    )


def network_space(name: str, networks: Sequence[tuple[str, Network]]) -> Space:
    """A space of networks with labels.

    Raises:
        MeasurementError: there are none, or two have one label.
    """
    labels = [label for label, _ in networks]
    if not labels:
        raise MeasurementError(f"space '{name}' has no networks")
    if double := sorted({label for label in labels if labels.count(label) > 1}):
        raise MeasurementError(
            f"space '{name}': more than one network is called {', '.join(map(repr, double))}"
        )
    counter = Counter()
    rows = [[counter.places(layer_kernels(layer)) for layer in network.layers] for _, network in networks]
    table = counter.table()
    counts = np.zeros((len(rows), len(table)), dtype=np.float32)
    paths = np.zeros((len(_LENGTHS), *counts.shape), dtype=np.float32)
    for row, (places, (_, network)) in enumerate(zip(rows, networks, strict=True)):
        _count(counts[row], places)
        for path, length in zip(paths, _LENGTHS, strict=True):
            chain = longest_chain(network, [length(layer) for layer in network.layers])
            _count(path[row], [places[layer] for layer in chain])
    return Space(name, tuple(labels), table, (Way(counts, paths),))


def _count(row: np.ndarray, places: Sequence[Sequence[int]]) -> None:
    """Count kernels, listed by layer, into a row."""
    np.add.at(row, [place for mine in places for place in mine], 1)


def longest_chain(network: Network, lengths: Sequence[float]) -> list[int]:
    """The layers that wait for each other and take longest together, in their order.

    Args:
        network: its layers, each after those that it reads from.
        lengths: of the layers.
    """
    writer: dict[str, int] = {}
    total: list[float] = []
    before: list[int] = []
    for place, layer in enumerate(network.layers):
        operands = (*layer.inputs, *((layer.weight,) if layer.weight else ()))
        waited = [writer[tensor.name] for tensor in operands if tensor.name in writer]
        last = max(waited, key=lambda one: total[one], default=-1)
        before.append(last)
        total.append(lengths[place] + (total[last] if last >= 0 else 0.0))
        writer |= {tensor.name: place for tensor in layer.outputs}
    chain = [max(range(len(total)), key=lambda place: total[place])]
    while before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return chain[::-1]


def open_space(text: str, labels: Iterable[str] = ()) -> Space:
    """The space that a user names.

    Args:
        text: 'nb201', 'fbnet', a folder of ONNX files, or 'module:function', where the function
            takes nothing and yields networks, or pairs of a label and a network.
        labels: networks that must be in it, where a space is too large to be whole (fbnet).

    Raises:
        MeasurementError: there is no such space, or it is empty or not sound.
        NetworkError: an ONNX file cannot be read.
    """
    if text == "nb201":
        return nb201.space()
    if text == "fbnet":
        return fbnet.sampled(labels)
    folder = Path(text)
    if folder.is_dir():
        files = sorted(folder.glob("*.onnx"))
        if not files:
            raise MeasurementError(f"there is no ONNX file in {folder}")
        return network_space(text, [(file.name, load_onnx(file)) for file in files])
    if re.fullmatch(r"[\w.]+:\w+", text):
        return network_space(text, _generated(text))
    raise MeasurementError(
        f"no space '{text}'{nearest(text, ('fbnet', 'nb201'))} "
        "(or a folder of ONNX files, or module:function)"
    )


def _generated(text: str) -> list[tuple[str, Network]]:
    """What a user's function yields, with labels."""
    module, _, name = text.partition(":")
    sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MeasurementError(f"'{text}': there is no module '{module}'") from None
    except AttributeError:
        raise MeasurementError(f"'{text}': module '{module}' has no '{name}'") from None
    finally:
        sys.path.remove("")
    found: list[tuple[str, Network]] = []
    for item in function():
        pair = (item.name, item) if isinstance(item, Network) else item
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Network)):
            raise MeasurementError(
                f"'{text}' must yield networks, or pairs of a label and a network, got {type(item).__name__}"
            )
        found.append((str(pair[0]), pair[1]))
    return found


def named(text: str, space: str) -> Space:
    """The networks that a user names: one of a known space by its label, a reference network, an ONNX file,
    the networks of a table, or all of a space.

    Args:
        text: the label, name or path; of a table, a CSV file with a column that names networks.
        space: of the device that is asked.

    Raises:
        MeasurementError: it is none of them.
        NetworkError: an ONNX file cannot be read.
    """
    if text in _READERS or Path(text).is_dir() or re.fullmatch(r"[\w.]+:\w+", text):
        return open_space(text)
    if text.endswith(".csv"):
        return _tabled(Path(text), space)
    codes = _READERS[space](text) if space in _READERS else None
    if codes is not None and not Path(text).exists():
        return _coded(space, [codes])
    return network_space("", [(text, resolve(text))])


def _coded(space: str, codes: Sequence[tuple[int, ...]]) -> Space:
    rows = np.array(codes, dtype=np.uint8)
    return nb201.space(rows) if space == "nb201" else fbnet.space(rows)


def _tabled(path: Path, space: str) -> Space:
    """The networks that a table names, each once."""
    labels = list(dict.fromkeys(read_labels(path)))
    if not labels:
        raise MeasurementError(f"{path} names no network")
    if space not in _READERS:
        return network_space(space, [(label, resolve(label)) for label in labels])
    codes = {label: _READERS[space](label) for label in labels}
    if wrong := [label for label, found in codes.items() if found is None]:
        raise MeasurementError(f"{path}: '{wrong[0]}' is no network of the space '{space}'")
    return _coded(space, [found for found in dict.fromkeys(codes.values()) if found is not None])

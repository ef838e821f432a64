"""Reading an ONNX file: from a path, bytes or a model in memory to a graph that can be walked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner

from chipfit.errors import NetworkError, nearest

Source = Path | str | bytes | onnx.ModelProto

#: Sizes of the example in the message about an unknown dimension.
_EXAMPLE = (1, 3, 224, 224)


def read(source: Source) -> tuple[onnx.ModelProto, str]:
    """The model, with its external data and without its own functions; and a name for it.

    Raises:
        NetworkError: no such file, not an ONNX file, an empty graph, or external data that is
            absent, or outside the folder of the file.
    """
    if isinstance(source, onnx.ModelProto):
        model, name, where, folder = source, "", "the model", None
    elif isinstance(source, bytes):
        model, name, where, folder = _parse(source, "the model"), "", "the model", None
    else:
        path = Path(source)
        where = str(path)
        model, name, folder = _parse(_bytes(path), where), path.stem, path.parent
    _check(model, where)
    _load_external(model, where, folder)
    if model.functions:
        model = inliner.inline_local_functions(model)
    return model, name or model.graph.name or "network"


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise NetworkError(f"{path} is a directory, expected an ONNX file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such file") from None
    except OSError as error:
        raise NetworkError(f"{path} cannot be read: {error.strerror}") from error


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise NetworkError(f"{where} is empty, expected an ONNX model")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise NetworkError(f"{where} is not an ONNX model, or is cut off") from error
    return model


def _check(model: onnx.ModelProto, where: str) -> None:
    if not model.graph.node:
        raise NetworkError(f"{where}: the graph has no nodes, or the file is cut off")
    if not model.opset_import:
        raise NetworkError(f"{where} states no operator set, or is cut off")
    if not model.graph.output:
        raise NetworkError(f"{where}: the graph has no outputs, or the file is cut off")


def _load_external(model: onnx.ModelProto, where: str, folder: Path | None) -> None:
    tensors = [t for t in _tensors(model.graph) if external_data_helper.uses_external_data(t)]
    if not tensors:
        return
    if folder is None:
        raise NetworkError(f"{where} keeps '{tensors[0].name}' in another file: give its path, not its bytes")
    base = folder.resolve()
    for tensor in tensors:
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        path = (base / location).resolve()
        if not path.is_relative_to(base):
            raise NetworkError(
                f"{where}: the data of '{tensor.name}' is outside the folder of the file: {location}"
            )
        if not path.is_file():
            raise NetworkError(
                f"{where}: the data of '{tensor.name}' is missing: no file {location} beside it"
            )
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(base))
        except Exception as error:  # onnx raises its own and built-in kinds, by version
            raise NetworkError(
                f"{where}: the data of '{tensor.name}' in {location} cannot be read: {error}"
            ) from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Initializers and constants, those of inner graphs included."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            if attribute.HasField("g"):
                found += _tensors(attribute.g)
    return found


def input_shapes(
    graph: onnx.GraphProto, given: Mapping[str, Sequence[int]], where: str
) -> dict[str, tuple[int, ...]]:
    """The shape of each input of the graph, all known.

    A named dimension that the given shapes settle for one input is settled for the others too.

    Raises:
        NetworkError: a shape is given for no input, has the wrong rank, or contradicts the file; or
            a dimension stays unknown.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {i.name: i.type for i in graph.input if i.name not in constants}
    for name in given:
        if name not in inputs:
            raise NetworkError(f"{where} has no input '{name}'{nearest(name, inputs)}")
    stated = {name: _stated(name, kind, where) for name, kind in inputs.items()}
    bound: dict[str, int] = {}
    for name, shape in given.items():
        _agree(name, stated[name], shape, where)
        for dimension, size in zip(stated[name] or shape, shape, strict=True):
            if isinstance(dimension, str) and dimension.isidentifier():
                bound.setdefault(dimension, size)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, dimensions in stated.items():
        known = given.get(name, dimensions)
        if known is None:
            raise NetworkError(
                f"{where}: the number of dimensions of input '{name}' is not known; give its shape, "
                f"such as --shape {name}=1,3,224,224"
            )
        sizes = [bound.get(d, 0) if isinstance(d, str) else d for d in known]
        if 0 in sizes:
            example = ",".join(str(size or _example(i, len(sizes))) for i, size in enumerate(sizes))
            index = sizes.index(0)
            label = f" ('{known[index]}')" if known[index] else ""
            raise NetworkError(
                f"{where}: dimension {index}{label} of input '{name}' is not known; give its shape, "
                f"such as --shape {name}={example}"
            )
        shapes[name] = tuple(sizes)
    return shapes


def _example(index: int, rank: int) -> int:
    return _EXAMPLE[index] if rank == len(_EXAMPLE) else 1


def _stated(name: str, kind: onnx.TypeProto, where: str) -> list[int | str] | None:
    """The dimensions in the file: a size, a name, or '' where there is neither."""
    if not kind.HasField("tensor_type"):
        raise NetworkError(f"{where}: input '{name}' is not a tensor")
    if not kind.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.dim_value > 0 else d.dim_param for d in kind.tensor_type.shape.dim]


def _agree(name: str, stated: list[int | str] | None, shape: Sequence[int], where: str) -> None:
    text = ",".join(str(size) for size in shape)
    if any(size < 1 for size in shape):
        raise NetworkError(f"--shape {name}={text}: every size must be at least 1")
    if stated is None:
        return
    if len(stated) != len(shape):
        raise NetworkError(
            f"--shape {name}={text} has {len(shape)} dimensions, but input '{name}' of {where} has "
            f"{len(stated)}"
        )
    for index, (dimension, size) in enumerate(zip(stated, shape, strict=True)):
        if isinstance(dimension, int) and dimension != size:
            raise NetworkError(
                f"--shape {name}={text}: dimension {index} of input '{name}' is {dimension} in {where}"
            )

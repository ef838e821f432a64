"""A torch module as a `Network`: exported to ONNX in memory, then through the one importer."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING

from chipfit.errors import NetworkError
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.network import Network

if TYPE_CHECKING:
    import torch
    from torch import nn

OPSET = 18


def load_torch(module: nn.Module, example_input: torch.Tensor, *, name: str, fuse: bool = True) -> Network:
    """The network of a torch module.

    Layers have the paths of their modules as names. The module itself stays as it is.

    Args:
        module: any module that `torch.onnx.export` can express.
        example_input: one input, with its batch axis.
        name: of the network.
        fuse: put elementwise layers into the layers that multiply before them.

    Raises:
        NetworkError: the module cannot be exported, or the exported graph cannot be read.
    """
    return load_onnx(export_bytes(module, example_input), name=name, fuse=fuse)


def export_bytes(module: nn.Module, example_input: torch.Tensor, dynamic_batch: bool = False) -> bytes:
    """A torch module in evaluation mode as an ONNX file in memory; nothing is printed.

    Args:
        module: any module that `torch.onnx.export` can express.
        example_input: one input, with its batch axis.
        dynamic_batch: leave the size of the batch axis open, under the name 'batch'.

    Raises:
        NetworkError: the module cannot be exported.
    """
    import torch

    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), _silence():
            program = torch.onnx.export(
                module,
                # torch.export takes a size of 1 for a constant.
                (torch.cat([example_input] * 2) if dynamic_batch else example_input,),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                optimize=False,  # folding and merging constants loses the names of the weights
                verbose=False,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch")},) if dynamic_batch else None,
            )
    except Exception as error:  # the exporter raises many unrelated kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NetworkError(f"cannot export {type(module).__name__} to ONNX: {reason}") from error
    finally:
        for part, was_training in training.items():
            part.training = was_training
    assert program is not None
    return program.model_proto.SerializeToString()


@contextlib.contextmanager
def _silence() -> Generator[None]:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

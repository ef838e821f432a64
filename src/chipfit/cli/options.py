"""Arguments and options that several commands share, and how their texts are read."""

from __future__ import annotations

import re
from typing import Annotated

import typer


def read_bits(text: str) -> tuple[int, int]:
    """Bits of weights and of activations from W,A."""
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if match is None:
        raise typer.BadParameter(f"'{text}' is not two widths: expected W,A, such as 4,8")
    return int(match[1]), int(match[2])


def read_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """An input's name and shape from NAME=SIZE,SIZE,...."""
    match = re.fullmatch(r"(.+)=\s*(\d+(?:\s*,\s*\d+)*)\s*", text)
    if match is None:
        raise typer.BadParameter(
            f"'{text}' is not a shape: expected NAME=SIZE,SIZE,..., such as x=1,3,224,224"
        )
    return match[1].strip(), tuple(int(size) for size in match[2].split(","))


NetworkArgument = Annotated[str, typer.Argument(help="An ONNX file, or the name of a reference network.")]
TargetOption = Annotated[
    str, typer.Option("--target", "-t", help="A YAML file, or a name that 'chipfit targets' lists.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=N,C,H,W", help="Shape of an input that the file leaves open."),
]

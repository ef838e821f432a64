"""Targets from YAML: a preset by name, or a file by path.

    name: toy                                    what `chipfit cost --target` is told
    description: a chip to learn on
    source: made up                              of every number that names no source of its own
    clock: 200 MHz
    native_bits: 8                               operand width of the multipliers
    partial_sum_bits: 32                         accumulator at that width; left out: exact sums
    operand_bits: [2, 4, 8]                      widths that quantised operands may have
    arithmetic: {table: horowitz45}              or {multiply: 3.1 pJ, multiply_bits: 32, add: …, add_bits: …}
    levels:                                      from the main memory inwards
      - name: dram
        word_bits: 64
        bandwidth: 64 bit/cycle                  or such as 3.2 GB/s
        energy: {table: lpddr4}                  or {access: 512 pJ}, or {read: …, write: …}
      - name: buffer
        size: 64 KiB                             or words: 8192
        word_bits: 64
        energy: {table: cacti45, node_nm: 28}    computed from size and word width
        holds: [input, output]                   left out: all of input, weight, output
        may_bypass: [output]                     what may pass by if that is better; left out: nothing
        loops: [K, C, P, Q]                      dimensions it may loop over; left out: N G K C P Q R S
        stationary: [weight]                     of what one tile may stay; left out: any tensor
        double_buffered: true                    half is for the tiles that come next; left out: false
    arrays:
      - name: pe
        below: buffer                            what is further in exists once per element
        rows: 12
        columns: 14
        row_dimensions: [C, R]
        column_dimensions: [K, P]
        hop_energy: 0.1 pJ
    activations: {level: buffer, channels: 16}   where they stay between layers; left out: main memory
    coded_weights: true                          in the main memory; left out: false
    vector_cycles: {Add: 0.5}                    of operators that take the datapath, per output element
    sparse: {skip: [input, weight]}              what the array does about zeros: hardware/sparse.py
    mac_table: booth.json                        what each weight value takes, from chipfit gates --out;
                                                 of a list, the best for the network is taken
    mac_supply: {threshold: 0.35 V, least: 0.6 V, alpha: 1.3, margin: 0.1}
                                                 as low as weight values allow; fixed: 0.9 V says it

Any part may have `source: text`, and `sources: {key: text}` for single keys.
All mistakes of a file are reported in one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from chipfit.errors import TargetError, nearest
from chipfit.hardware.build import build
from chipfit.hardware.contradictions import contradictions
from chipfit.hardware.schema import UNKNOWN, TargetEntry, problem
from chipfit.hardware.target import Target

#: A chip fits into a few KiB of YAML; what is larger or deeper is not a chip.
MAX_BYTES = 256 * 1024
MAX_DEPTH = 16


def target_names() -> list[str]:
    """Names of the targets that come with the package, sorted.

    >>> "eyeriss" in target_names()
    True
    """
    files = resources.files("chipfit.hardware").joinpath("library").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_target(name_or_path: str | Path) -> Target:
    """A target of the package by name, or of a YAML file by path.

    Raises:
        TargetError: no such target or file, or mistakes in the file: all of them in one message.

    >>> load_target("eyeriss").processing_elements
    168
    """
    return build_target(*read_target(name_or_path))


def read_target(name_or_path: str | Path) -> tuple[dict[Any, Any], str]:
    """What the YAML of a target says, for `build_target`, and the name of the file.

    Raises:
        TargetError: no such target or file, or no YAML.

    >>> read_target("eyeriss")[0]["clock"]
    '200 MHz'
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    if text in target_names():
        preset = resources.files("chipfit.hardware").joinpath("library", f"{text}.yaml")
        return _mapping(preset.read_text(encoding="utf-8"), f"{text}.yaml"), f"{text}.yaml"
    names_file = isinstance(name_or_path, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    if not names_file and not path.is_file():
        hint = nearest(text, target_names())
        join = " Or" if hint.endswith("?") else "; or"
        raise TargetError(f"unknown target '{text}'{hint}{join} give a YAML file by its path, ./{text}.yaml")
    data = _mapping(_read(path), path.name)
    if isinstance(given := data.get("mac_table"), (str, list)):
        tables = cast("list[object]", given) if isinstance(given, list) else [given]
        # Beside the file of the target.
        data["mac_table"] = [
            str(path.parent / name) if isinstance(name, str) and name else name for name in tables
        ]
    return data, path.name


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TargetError(f"{path}: {path.stat().st_size} bytes are too large for a target")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise TargetError(f"there is no target file {path}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TargetError(f"cannot read target file {path}: {reason}") from error


def parse_target(text: str, file: str) -> Target:
    """The target that a YAML text describes.

    Args:
        text: the content of the file.
        file: its name, for messages and as the source of numbers that name none.

    Raises:
        TargetError: mistakes in the text: all of them in one message.
    """
    return build_target(_mapping(text, file), file)


def _mapping(text: str, file: str) -> dict[Any, Any]:
    raw = _parse_yaml(text, file)
    if not isinstance(raw, dict):
        raise TargetError(f"{file}: a target is a mapping of keys such as 'name' and 'levels'")
    return cast("dict[Any, Any]", raw)


def build_target(data: Mapping[Any, Any], file: str) -> Target:
    """The target that the YAML of a file describes.

    Args:
        data: what `read_target` read.
        file: its name, for messages and as the source of numbers that name none.

    Raises:
        TargetError: mistakes in the data: all of them in one message.
    """
    problems: list[str] = []
    model = None
    try:
        model = TargetEntry.model_validate(data)
    except ValidationError as error:
        entries = error.errors(include_url=False)
        # An unknown key stands before the missing key that it was probably meant to be.
        problems += [problem(e) for e in sorted(entries, key=lambda e: e["type"] not in UNKNOWN)]
    problems += contradictions(data)
    target = None
    if model is not None:
        target, more = build(model, file, sound=not problems)
        problems += more
    if problems or target is None:
        raise TargetError(f"{file}: " + "; ".join(dict.fromkeys(problems)))
    return target


# ---------------------------------------------------------------------------------------------
# YAML


class _Loader(yaml.SafeLoader):
    """Plain YAML in which a key given twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key '{key.value}' is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, file: str) -> object:
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = error.problem or error.context or "not YAML"
        raise TargetError(f"{file}{place}: {reason}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # SafeLoader lets through what int(), float() and date() make of odd scalars.
        reason = str(error).splitlines()[0]
        raise TargetError(f"{file}: not YAML: {reason}") from error


def _check_events(text: str) -> None:
    """Refuse references and deep nesting before anything is built of them."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="references (*name) are not allowed in a target", problem_mark=event.start_mark
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.MarkedYAMLError(
                    problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1

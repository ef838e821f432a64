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
    mac_table: booth.json                        what each weight value takes, from chipfit gates --out

Any part may have `source: text`, and `sources: {key: text}` for single keys.
All mistakes of a file are reported in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from chipfit.errors import TargetError, UnitError, nearest
from chipfit.hardware import technology
from chipfit.hardware.sparse import (
    DATAFLOWS,
    FILLS,
    FORMATS,
    OPERANDS,
    PAIRS,
    PASSES,
    SCOPES,
    SparseArray,
    Structure,
    sparse_problems,
)
from chipfit.hardware.target import (
    TENSORS,
    Arithmetic,
    Array,
    MemoryLevel,
    Residence,
    Target,
    freedom_problems,
    structure_problems,
)
from chipfit.units import parse
from chipfit.workload.network import DIMENSIONS

#: A chip fits into a few KiB of YAML; what is larger or deeper is not a chip.
MAX_BYTES = 256 * 1024
MAX_DEPTH = 16

_EXAMPLES = {
    "energy": "2.2 pJ",
    "size": "108 KiB",
    "frequency": "200 MHz",
    "power": "30 mW",
    "area": "12.25 mm2",
}


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
    if isinstance(table := data.get("mac_table"), str) and table:
        data["mac_table"] = str(path.parent / table)  # beside the file of the target
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
        model = _Target.model_validate(data)
    except ValidationError as error:
        entries = error.errors(include_url=False)
        # An unknown key stands before the missing key that it was probably meant to be.
        problems += [_problem(e) for e in sorted(entries, key=lambda e: e["type"] not in _UNKNOWN)]
    problems += _structure(data)
    target = None
    if model is not None:
        target, more = _build(model, file, sound=not problems)
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


# ---------------------------------------------------------------------------------------------
# The shape of the file


def _quantity(kind: str, *, zero: bool = True) -> Callable[[object], float]:
    def read(value: object) -> float:
        if not isinstance(value, str):
            article = "an" if kind in ("energy", "area") else "a"
            expected = f"{article} {kind} with its unit, such as '{_EXAMPLES[kind]}'"
            raise ValueError(f"must be {expected}, got {_given(value)}")
        try:
            number = parse(value, kind)
        except UnitError as error:
            raise ValueError(f"cannot be read: {error}") from error
        if number < 0 or (number == 0 and not zero):
            raise ValueError(f"must be {'at least' if zero else 'above'} 0, got '{value}'")
        return number

    return read


def _size(value: object) -> int:
    bits = _quantity("size", zero=False)(value)
    if bits != int(bits):
        raise ValueError(f"must be a whole number of bits, got '{value}'")
    return int(bits)


def _bandwidth(value: object) -> tuple[float, str]:
    """Bits, and per what: 'cycle' or 's'."""
    if not isinstance(value, str) or value.count("/") != 1:
        raise ValueError(f"must be such as '64 bit/cycle' or '3.2 GB/s', got {_given(value)}")
    amount, per = (part.strip() for part in value.split("/"))
    if per not in ("cycle", "s"):
        raise ValueError(f"is per cycle or per s, got '{value}'")
    return _quantity("size", zero=False)(amount), per


def _one_of(what: str, valid: Sequence[str], *, empty: bool) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of {what}s, got {_given(value)}")
        names = cast("list[object]", value)
        wrong = [
            f"unknown {what} {_given(n)}{nearest(str(n), valid)}"
            for n in names
            if not isinstance(n, str) or n not in valid
        ]
        if wrong:
            raise ValueError("names " + "; ".join(wrong))
        found = [str(n) for n in names]
        if not found and not empty:
            raise ValueError(f"must name at least one {what}")
        if len(set(found)) < len(found):
            raise ValueError(f"names a {what} twice: {', '.join(found)}")
        return tuple(found)

    return read


def _widths(value: object) -> tuple[int, ...]:
    numbers = cast("list[object]", value) if isinstance(value, list) else []
    whole = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 64]
    if not whole or len(whole) < len(numbers) or len(set(whole)) < len(whole):
        raise ValueError(f"must be a list of different widths of 1 to 64 bits, got {_given(value)}")
    return tuple(sorted(whole))


_Text = Annotated[str, Field(strict=True, min_length=1)]
_Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
_Width = Annotated[int, Field(strict=True, ge=1, le=65536)]
_Energy = Annotated[float, BeforeValidator(_quantity("energy"))]
_Sources = dict[_Text, _Text]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)


class _Access(_Part):
    table: _Text | None = None
    row: _Text | None = None
    node_nm: _Count | None = None
    access: _Energy | None = None
    read: _Energy | None = None
    write: _Energy | None = None
    source: _Text | None = None


class _Mac(_Part):
    table: _Text | None = None
    node_nm: _Count | None = None
    multiply: _Energy | None = None
    multiply_bits: _Width | None = None
    add: _Energy | None = None
    add_bits: _Width | None = None
    source: _Text | None = None


_Tensors = Annotated[tuple[str, ...], BeforeValidator(_one_of("tensor", TENSORS, empty=False))]
_TensorsIfAny = Annotated[tuple[str, ...], BeforeValidator(_one_of("tensor", TENSORS, empty=True))]
_Dimensions = Annotated[tuple[str, ...], BeforeValidator(_one_of("dimension", DIMENSIONS, empty=True))]


class _Level(_Part):
    name: _Text
    word_bits: _Width
    energy: _Access
    size: Annotated[int, BeforeValidator(_size)] | None = None
    words: _Count | None = None
    bandwidth: Annotated[tuple[float, str], BeforeValidator(_bandwidth)] | None = None
    holds: _Tensors = TENSORS
    may_bypass: _TensorsIfAny = ()
    loops: _Dimensions = DIMENSIONS
    stationary: _Tensors = TENSORS
    double_buffered: Annotated[bool, Field(strict=True)] = False
    source: _Text | None = None
    sources: _Sources = Field(default_factory=dict)


class _Array(_Part):
    name: _Text = "pe"
    below: _Text
    rows: _Count
    columns: _Count
    row_dimensions: _Dimensions
    column_dimensions: _Dimensions
    hop_energy: _Energy = 0.0
    source: _Text | None = None
    sources: _Sources = Field(default_factory=dict)


class _Activations(_Part):
    level: _Text
    channels: _Count = 1


def _name(what: str, valid: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in valid:
            raise ValueError(f"names an unknown {what}, {_given(value)}{nearest(str(value), valid)}")
        return value

    return read


_Operands = Annotated[tuple[str, ...], BeforeValidator(_one_of("operand", OPERANDS, empty=True))]
_Format = Annotated[str, BeforeValidator(_name("format", FORMATS))]


class _Structure(_Part):
    of: _Count
    keep: _Count | None = None
    scope: Annotated[str, BeforeValidator(_name("scope", SCOPES))] = "layer"


class _Storage(_Part):
    input: _Format = "dense"
    weight: _Format = "dense"
    output: _Format = "dense"


class _Sparse(_Part):
    skip: _Operands = OPERANDS
    gate: _Operands = ()
    structure: _Structure | None = None
    storage: _Storage = _Storage()
    run_bits: _Count = 5
    dataflow: Annotated[str, BeforeValidator(_name("dataflow", DATAFLOWS))] = "adaptive"
    passes: Annotated[str, BeforeValidator(_name("kind of passes", PASSES))] = "synchronous"
    fill: Annotated[str, BeforeValidator(_name("fill", FILLS))] = "pass"
    pairs: Annotated[str, BeforeValidator(_name("way to count pairs", PAIRS))] = "matched"
    consecutive: _Count = 1
    strips: Annotated[bool, Field(strict=True)] = False
    clustering: Annotated[bool, Field(strict=True)] = False

    def options(self) -> dict[str, Any]:
        """The fields of a `SparseArray`."""
        given = self.structure
        structure = None if given is None else Structure(
            keep=given.of if given.keep is None else given.keep, of=given.of, scope=given.scope
        )  # fmt: skip
        return {**dict(self), "structure": structure, "storage": dict(self.storage)}


class _Target(_Part):
    name: _Text
    clock: Annotated[float, BeforeValidator(_quantity("frequency", zero=False))]
    native_bits: _Width
    arithmetic: _Mac
    levels: Annotated[list[_Level], Field(min_length=1, max_length=16)]
    arrays: Annotated[list[_Array], Field(max_length=8)] = Field(default_factory=list[_Array])
    description: _Text = ""
    source: _Text | None = None
    sources: _Sources = Field(default_factory=dict)
    partial_sum_bits: _Width | None = None
    operand_bits: Annotated[tuple[int, ...], BeforeValidator(_widths)] = tuple(range(2, 9))
    static_power: Annotated[float, BeforeValidator(_quantity("power"))] = 0.0
    area: Annotated[float, BeforeValidator(_quantity("area", zero=False))] | None = None
    activations: _Activations | None = None
    coded_weights: Annotated[bool, Field(strict=True)] = False
    vector_cycles: dict[_Text, Annotated[float, Field(strict=True, ge=0)]] = Field(
        default_factory=dict[str, float]
    )
    sparse: _Sparse | None = None
    mac_table: _Text | None = None


_PARTS: Mapping[str, type[_Part]] = {
    "": _Target,
    "levels": _Level,
    "arrays": _Array,
    "energy": _Access,
    "arithmetic": _Mac,
    "activations": _Activations,
    "sparse": _Sparse,
    "structure": _Structure,
    "storage": _Storage,
}

_UNKNOWN = ("extra_forbidden", "invalid_key")

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing_size": "a whole number of a sensible size",
    "string_type": "text",
    "string_too_short": "text",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "bool_type": "true or false",
    "float_type": "a number",
}


def _problem(entry: Any) -> str:
    """One mistake that pydantic found, in our words."""
    kind: str = entry["type"]
    loc: tuple[int | str, ...] = entry["loc"]
    path, value, context = _path(loc), entry["input"], entry.get("ctx", {})
    if kind in _UNKNOWN:
        words = [part for part in loc[:-1] if isinstance(part, str)]
        valid = _PARTS[words[-1] if words else ""].model_fields
        where = f" in {_path(loc[:-1])}" if loc[:-1] else ""
        return f"unknown key '{loc[-1]}'{where}{nearest(str(loc[-1]), valid)}"
    if kind == "missing":
        return f"{path} is missing"
    if kind == "value_error":
        return f"{path} {context['error']}"
    if kind in _EXPECTED:
        return f"{path} must be {_EXPECTED[kind]}, got {_given(value)}"
    if kind == "greater_than_equal":
        return f"{path} must be at least {context['ge']}, got {_given(value)}"
    if kind == "less_than_equal":
        return f"{path} must be at most {context['le']}, got {_given(value)}"
    if kind == "too_short":
        return f"{path} must have at least {context['min_length']} entry"
    if kind == "too_long":
        return f"{path} must have at most {context['max_length']} entries"
    return f"{path}: {entry['msg']}, got {_given(value)}"


def _path(loc: Sequence[int | str]) -> str:
    """`('arrays', 0, 'rows')` as 'arrays[0].rows'."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")


def _given(value: object) -> str:
    """A value of the file as a message shows it: short, and on one line."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


# ---------------------------------------------------------------------------------------------
# What no single key shows


def _structure(data: Mapping[Any, Any]) -> list[str]:
    """Contradictions between parts, as far as they can be seen in a file with other mistakes."""
    levels = _mappings(data.get("levels"))
    arrays = _mappings(data.get("arrays"))
    if not levels:
        return []
    holds = [
        _names(level, "holds", TENSORS, empty=False) if "holds" in level else TENSORS for level in levels
    ]
    problems = structure_problems(
        [_text(level, "name") for level in levels],
        holds[0],
        [_text(array, "name") or "pe" for array in arrays],
        [_text(array, "below") for array in arrays],
    )
    if None not in holds[1:]:
        held = {tensor for held in holds[1:] for tensor in held or ()}
        problems += [f"no level below the main memory holds '{t}'" for t in TENSORS if t not in held]
    problems += _freedom(levels, arrays, data.get("activations"))
    for index, level in enumerate(levels):
        given = [key for key in ("size", "words") if key in level]
        if index == 0 and given:
            problems.append(f"levels[0].{given[0]}: the main memory is unbounded and takes no size")
        if index > 0 and not given:
            problems.append(f"levels[{index}].size is missing")
        if len(given) > 1:
            problems.append(f"levels[{index}] has both size and words, give one")
        if isinstance(energy := level.get("energy"), dict):
            problems += _reference_problems(
                f"levels[{index}].energy",
                cast("dict[Any, Any]", energy),
                [["access"], ["read", "write"]],
                ["row", "node_nm"],
            )
    if isinstance(mac := data.get("arithmetic"), dict):
        values = [["multiply", "multiply_bits", "add", "add_bits"]]
        problems += _reference_problems("arithmetic", cast("dict[Any, Any]", mac), values, ["node_nm"])
    for index, array in enumerate(arrays):
        for side, key in (("rows", "row_dimensions"), ("columns", "column_dimensions")):
            size = array.get(side)
            if isinstance(size, int) and size > 1 and array.get(key) == []:
                problems.append(f"arrays[{index}].{key} names no dimension for {size} {side}")
    return problems


def _reference_problems(
    path: str, given: Mapping[Any, Any], choices: list[list[str]], with_table: list[str]
) -> list[str]:
    """Energies come from a table or are stated in full: one of `choices`, and nothing else."""
    values = [key for choice in choices for key in choice if key in given]
    wanted = " or ".join(["table", *(" and ".join(choice) for choice in choices)])
    if "table" in given:
        return [f"{path} has both table and {values[0]}, give one"] if values else []
    lost = [f"{path}.{key} means nothing without table" for key in with_table if key in given]
    if values not in choices:
        return [*lost, f"{path} needs {wanted}"]
    return lost


def _mappings(value: object) -> list[dict[Any, Any]]:
    if not isinstance(value, list):
        return []
    entries = cast("list[object]", value)
    return [
        cast("dict[Any, Any]", e) if isinstance(e, dict) else {"name": None, "holds": None} for e in entries
    ]


def _text(data: Mapping[Any, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) else None


def _names(data: Mapping[Any, Any], key: str, valid: Sequence[str], *, empty: bool) -> tuple[str, ...] | None:
    """A list of tensors or dimensions, if the file has a valid one there."""
    try:
        return _one_of("name", valid, empty=empty)(data[key])
    except (KeyError, ValueError):
        return None


def _freedom(
    levels: Sequence[Mapping[Any, Any]], arrays: Sequence[Mapping[Any, Any]], activations: object
) -> list[str]:
    """Contradictions in what levels let pass by, loop over and keep. What cannot be read allows all."""
    return freedom_problems(
        [_sketched_level(level) for level in levels],
        [_sketched_array(array) for array in arrays],
        Residence(level=_text(cast("dict[Any, Any]", activations), "level") or "")
        if isinstance(activations, dict)
        else None,
    )


def _sketched_level(level: Mapping[Any, Any]) -> MemoryLevel:
    lists: dict[str, Any] = {
        "holds": _names(level, "holds", TENSORS, empty=False),
        "may_bypass": _names(level, "may_bypass", TENSORS, empty=True),
        "loops": _names(level, "loops", DIMENSIONS, empty=True),
        "stationary": _names(level, "stationary", TENSORS, empty=False),
    }
    return MemoryLevel(
        name=_text(level, "name") or "",
        word_bits=1,
        read_energy_j=0.0,
        write_energy_j=0.0,
        source="",
        **{key: names for key, names in lists.items() if names is not None},
    )


def _sketched_array(array: Mapping[Any, Any]) -> Array:
    sizes = [array.get(key) for key in ("rows", "columns")]
    sides = [_names(array, key, DIMENSIONS, empty=True) for key in ("row_dimensions", "column_dimensions")]
    rows, columns = (size if isinstance(size, int) else 2 for size in sizes)
    row_dimensions, column_dimensions = (DIMENSIONS if side is None else side for side in sides)
    return Array(
        name="",
        below=_text(array, "below") or "",
        rows=rows,
        columns=columns,
        row_dimensions=row_dimensions,
        column_dimensions=column_dimensions,
    )


# ---------------------------------------------------------------------------------------------
# From the file to the target


def _build(model: _Target, file: str, *, sound: bool) -> tuple[Target | None, list[str]]:
    """The target, or what (else, if it is not sound) keeps it from being one."""
    whole = model.source or f"stated in {file}"
    problems = list(_source_problems(model))
    sources = dict(model.sources)
    levels: list[MemoryLevel] = []
    for index, level in enumerate(model.levels):
        if index > 0 and level.size is None and level.words is None:
            continue  # reported with the structure
        try:
            levels.append(_level(level, model.clock, whole))
        except TargetError as error:
            problems.append(f"levels[{index}].energy: {error}")
        except _SizeError as error:
            problems.append(f"levels[{index}].{error}")
        sources |= _level_sources(level, whole)
    arrays: list[Array] = []
    order = [level.name for level in model.levels]
    for array in model.arrays:
        own = array.source or whole
        sources |= {f"arrays.{array.name}.{key}": text for key, text in array.sources.items()}
        arrays.append(
            Array(
                name=array.name,
                below=array.below,
                rows=array.rows,
                columns=array.columns,
                row_dimensions=array.row_dimensions,
                column_dimensions=array.column_dimensions,
                hop_energy_j=array.hop_energy,
                source=own,
            )
        )
    try:
        arithmetic = _arithmetic(model.arithmetic, whole)
    except TargetError as error:
        arithmetic = None
        problems.append(f"arithmetic: {error}")
    partial = model.partial_sum_bits
    if partial is not None and partial < model.native_bits:
        problems.append(f"partial_sum_bits ({partial}) is below native_bits ({model.native_bits})")
    if model.sparse is not None:
        problems += sparse_problems(model.sparse.options())
    complete = len(levels) == len(order) and all(array.below in order for array in arrays)
    if problems or arithmetic is None or not complete or not sound:
        return None, problems
    try:
        target = Target(
            name=model.name,
            description=" ".join(model.description.split()),
            source=whole,
            clock_hz=model.clock,
            native_bits=model.native_bits,
            partial_sum_bits=partial or 0,
            arithmetic=arithmetic,
            levels=tuple(levels),
            arrays=tuple(sorted(arrays, key=lambda array: order.index(array.below))),
            operand_bits=model.operand_bits,
            static_power_w=model.static_power,
            area_um2=model.area,
            activations=_residence(model.activations),
            coded_weights=model.coded_weights,
            vector_cycles=model.vector_cycles,
            sparse=None if model.sparse is None else SparseArray(**model.sparse.options()),
            mac_table=model.mac_table,
            sources=sources,
        )
    except TargetError as error:
        return None, [str(error).removeprefix(f"target '{model.name}': ")]
    return target, []


def _residence(given: _Activations | None) -> Residence | None:
    return None if given is None else Residence(level=given.level, channels=given.channels)


class _SizeError(Exception):
    """The size of a level contradicts its words."""


def _level(level: _Level, clock_hz: float, whole: str) -> MemoryLevel:
    size_bits = level.words * level.word_bits if level.words else level.size
    if size_bits is not None and size_bits < level.word_bits:
        raise _SizeError(f"size: {size_bits} bit is less than one word of {level.word_bits} bit")
    read_j, write_j, source = _access(level, size_bits, whole)
    per_cycle = None
    if level.bandwidth:
        bits, per = level.bandwidth
        per_cycle = bits if per == "cycle" else bits / clock_hz
    return MemoryLevel(
        name=level.name,
        word_bits=level.word_bits,
        read_energy_j=read_j,
        write_energy_j=write_j,
        source=source,
        size_bits=size_bits,
        bandwidth_bits_per_cycle=per_cycle,
        holds=level.holds,
        may_bypass=level.may_bypass,
        loops=level.loops,
        stationary=level.stationary,
        double_buffered=level.double_buffered,
    )


def _access(level: _Level, size_bits: int | None, whole: str) -> tuple[float, float, str]:
    """Energies of a read and a write, and their source."""
    energy = level.energy
    if energy.table is not None:
        found = technology.memory_energy(
            energy.table,
            row=energy.row,
            size_bits=size_bits,
            word_bits=level.word_bits,
            node_nm=energy.node_nm,
        )
        return found.read_j, found.write_j, found.source
    source = energy.source or level.source or whole
    read = energy.access if energy.access is not None else energy.read
    write = energy.access if energy.access is not None else energy.write
    return read or 0.0, write or 0.0, source


def _level_sources(level: _Level, whole: str) -> dict[str, str]:
    """Sources of the numbers of a level whose energies have another source than its sizes."""
    own = level.source or whole
    keys = ("size", "word_bits", "bandwidth")
    found = {f"levels.{level.name}.{key}": level.sources.get(key, own) for key in keys}
    found |= {
        f"levels.{level.name}.{key}": level.sources["energy"]
        for key in ("read_energy", "write_energy")
        if "energy" in level.sources
    }
    return found


def _arithmetic(mac: _Mac, whole: str) -> Arithmetic:
    if mac.table is not None:
        return technology.arithmetic(mac.table, node_nm=mac.node_nm)
    return Arithmetic(
        multiply_j=mac.multiply or 0.0,
        multiply_bits=mac.multiply_bits or 1,
        add_j=mac.add or 0.0,
        add_bits=mac.add_bits or 1,
        source=mac.source or whole,
    )


def _source_problems(model: _Target) -> Iterator[str]:
    """Keys under `sources` that name no number of their part."""
    numbers = ("clock", "native_bits", "partial_sum_bits", "static_power", "area")
    numbers += ("activations", "vector_cycles", "sparse")
    of_level, of_array = ("size", "word_bits", "bandwidth", "energy"), ("rows", "columns", "hop_energy")
    parts: list[tuple[str, Mapping[str, str], Sequence[str]]] = [("sources", model.sources, numbers)]
    parts += [(f"levels[{i}].sources", level.sources, of_level) for i, level in enumerate(model.levels)]
    parts += [(f"arrays[{i}].sources", array.sources, of_array) for i, array in enumerate(model.arrays)]
    for path, sources, valid in parts:
        yield from (f"unknown key '{k}' in {path}{nearest(k, valid)}" for k in sources if k not in valid)

"""What is wrong with a target's file that no single key shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from chipfit.hardware.schema import one_of
from chipfit.hardware.target import (
    TENSORS,
    Array,
    MemoryLevel,
    Residence,
    freedom_problems,
    structure_problems,
)
from chipfit.workload.network import DIMENSIONS


def contradictions(data: Mapping[Any, Any]) -> list[str]:
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
        return one_of("name", valid, empty=empty)(data[key])
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

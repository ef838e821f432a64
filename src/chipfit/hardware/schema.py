"""The shape of a target's file, and what is said of a key that does not have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from chipfit.errors import UnitError, nearest
from chipfit.hardware.sparse import (
    DATAFLOWS,
    FILLS,
    FORMATS,
    OPERANDS,
    PAIRS,
    PASSES,
    SCOPES,
    Structure,
)
from chipfit.hardware.target import TENSORS
from chipfit.hardware.voltage import MacSupply
from chipfit.units import parse
from chipfit.workload.network import DIMENSIONS

_EXAMPLES = {
    "energy": "2.2 pJ",
    "size": "108 KiB",
    "frequency": "200 MHz",
    "power": "30 mW",
    "area": "12.25 mm2",
    "voltage": "1.1 V",
}


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


def one_of(what: str, valid: Sequence[str], *, empty: bool) -> Callable[[object], tuple[str, ...]]:
    """A reader of lists of different names out of `valid`; not of empty ones unless said so."""

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


class ArithmeticEntry(_Part):
    """The energies of the multipliers as a file states them."""

    table: _Text | None = None
    node_nm: _Count | None = None
    multiply: _Energy | None = None
    multiply_bits: _Width | None = None
    add: _Energy | None = None
    add_bits: _Width | None = None
    source: _Text | None = None


_Tensors = Annotated[tuple[str, ...], BeforeValidator(one_of("tensor", TENSORS, empty=False))]
_TensorsIfAny = Annotated[tuple[str, ...], BeforeValidator(one_of("tensor", TENSORS, empty=True))]
_Dimensions = Annotated[tuple[str, ...], BeforeValidator(one_of("dimension", DIMENSIONS, empty=True))]


class LevelEntry(_Part):
    """A memory as a file states it."""

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


class ActivationsEntry(_Part):
    """Where activations stay, as a file states it."""

    level: _Text
    channels: _Count = 1


def _name(what: str, valid: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in valid:
            raise ValueError(f"names an unknown {what}, {_given(value)}{nearest(str(value), valid)}")
        return value

    return read


_Operands = Annotated[tuple[str, ...], BeforeValidator(one_of("operand", OPERANDS, empty=True))]
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


def _files(value: object) -> tuple[str, ...]:
    names = cast("list[object]", value) if isinstance(value, list) else [value]
    found = [name for name in names if isinstance(name, str) and name]
    if not names or len(found) < len(names) or len(set(found)) < len(found):
        raise ValueError(f"must be a file or a list of different ones, got {_given(value)}")
    return tuple(found)


_Volts = Annotated[float, BeforeValidator(_quantity("voltage"))]
_Number = Annotated[float, Field(strict=True, ge=0)]


class _Supply(_Part):
    threshold: _Volts = MacSupply.threshold_v
    alpha: _Number = MacSupply.alpha
    least: _Volts = MacSupply.least_v
    margin: _Number = MacSupply.margin
    fixed: _Volts | None = None

    def read(self) -> MacSupply:
        """What it says.

        Raises:
            TargetError: the numbers contradict each other.
        """
        return MacSupply(
            threshold_v=self.threshold,
            alpha=self.alpha,
            least_v=self.least,
            margin=self.margin,
            fixed_v=self.fixed,
        )


class TargetEntry(_Part):
    """A target as a file states it."""

    name: _Text
    clock: Annotated[float, BeforeValidator(_quantity("frequency", zero=False))]
    native_bits: _Width
    arithmetic: ArithmeticEntry
    levels: Annotated[list[LevelEntry], Field(min_length=1, max_length=16)]
    arrays: Annotated[list[_Array], Field(max_length=8)] = Field(default_factory=list[_Array])
    description: _Text = ""
    source: _Text | None = None
    sources: _Sources = Field(default_factory=dict)
    partial_sum_bits: _Width | None = None
    operand_bits: Annotated[tuple[int, ...], BeforeValidator(_widths)] = tuple(range(2, 9))
    static_power: Annotated[float, BeforeValidator(_quantity("power"))] = 0.0
    area: Annotated[float, BeforeValidator(_quantity("area", zero=False))] | None = None
    activations: ActivationsEntry | None = None
    coded_weights: Annotated[bool, Field(strict=True)] = False
    vector_cycles: dict[_Text, Annotated[float, Field(strict=True, ge=0)]] = Field(
        default_factory=dict[str, float]
    )
    sparse: _Sparse | None = None
    mac_table: Annotated[tuple[str, ...], BeforeValidator(_files)] = ()
    mac_supply: _Supply | None = None


_PARTS: Mapping[str, type[_Part]] = {
    "": TargetEntry,
    "levels": LevelEntry,
    "arrays": _Array,
    "energy": _Access,
    "arithmetic": ArithmeticEntry,
    "activations": ActivationsEntry,
    "sparse": _Sparse,
    "structure": _Structure,
    "storage": _Storage,
    "mac_supply": _Supply,
}

UNKNOWN = ("extra_forbidden", "invalid_key")

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


def problem(entry: Any) -> str:
    """One mistake that pydantic found, in our words."""
    kind: str = entry["type"]
    loc: tuple[int | str, ...] = entry["loc"]
    path, value, context = _path(loc), entry["input"], entry.get("ctx", {})
    if kind in UNKNOWN:
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

"""Variants of a target: each number of a sweep set to each of its values, priced, and the best marked.

An axis is `NAME=LOW..HIGH` (doubling; both ends included, also where doubling does not meet HIGH),
`NAME=LOW..HIGH:STEP` (equal steps; HIGH included where a step meets it) or `NAME=A,B,C`. A variant
is read like a target's file that states the new numbers: energies that a table gives by capacity
follow the capacity, a bandwidth per second stays one per second, and everything else stays as it is.
What stays although it might not on a real chip is said in the report's warnings.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from chipfit.errors import TargetError, UnitError, nearest
from chipfit.hardware.load import build_target, read_target
from chipfit.hardware.target import Array, MemoryLevel, Target
from chipfit.units import parse

#: A sweep of more variants is refused: it is a mistake more often than a plan.
MAX_VARIANTS = 10_000

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_AMOUNT = re.compile(rf"\s*({_NUMBER})\s*([^\s\d.+-][^\s]*)?\s*")
_RANGE = re.compile(r"(?P<low>.+?)\.\.(?P<high>[^:]+)(?::(?P<step>.+))?")

#: The kind of unit of a number, by the last part of its key; every other number is a whole one.
_KINDS = {
    "clock": "frequency",
    "static_power": "power",
    "area": "area",
    "multiply": "energy",
    "add": "energy",
    "size": "size",
    "bandwidth": "bandwidth",
    "read_energy": "energy",
    "write_energy": "energy",
    "hop_energy": "energy",
}
_WHOLE_TARGET = ("clock", "native_bits", "partial_sum_bits", "static_power", "area")
_ARITHMETIC = ("multiply", "multiply_bits", "add", "add_bits")
_LEVEL = ("size", "word_bits", "bandwidth", "read_energy", "write_energy")
_ARRAY = ("rows", "columns", "hop_energy")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One number of a target, by the name that it was asked for and by its key, and its values in `unit`."""

    name: str
    key: str
    unit: str
    values: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "key": self.key, "unit": self.unit, "values": list(self.values)}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A target, what its file says, and the numbers of it that are varied; see `read_sweep`."""

    file: str
    data: Mapping[Any, Any]
    target: Target
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """Variants."""
        return math.prod(len(axis.values) for axis in self.axes)

    def variants(self) -> Iterator[tuple[float, ...]]:
        """The values of each variant in the order of the axes; the last axis changes fastest."""
        return itertools.product(*(axis.values for axis in self.axes))

    def build(self, values: Sequence[float]) -> Target:
        """The target with these values.

        Raises:
            TargetError: there is no such chip, or no table says what its memories take.
        """
        return _build(self, tuple(zip(self.axes, values, strict=True)))


def read_sweep(name_or_path: str | Path, texts: Sequence[str]) -> Sweep:
    """A sweep of a target, from texts such as 'glb_kib=32..256'.

    Args:
        name_or_path: a target of the package, or a YAML file.
        texts: the axes.

    Raises:
        TargetError: no such target; an axis that cannot be read or names no number of the target;
            two axes for one number; more than `MAX_VARIANTS` variants.

    >>> sweep = read_sweep("eyeriss", ["glb_kib=32..128", "rows=6,12"])
    >>> sweep.axes[0].key, sweep.axes[0].values, sweep.size
    ('levels.global_buffer.size', (32, 64, 128), 6)
    """
    data, file = read_target(name_or_path)
    target = build_target(data, file)
    axes = tuple(parse_axis(text, target) for text in texts)
    for index, axis in enumerate(axes):
        for other in axes[:index]:
            if axis.key == other.key:
                same = "twice" if axis.name == other.name else f"as '{other.name}' and as '{axis.name}'"
                raise TargetError(
                    f"the sweep names {axis.key} {same}; give all its values at once: NAME=A,B,C"
                )
    sweep = Sweep(file=file, data=data, target=target, axes=axes)
    if sweep.size > MAX_VARIANTS:
        counts = " x ".join(str(len(axis.values)) for axis in axes)
        raise TargetError(
            f"the sweep has {counts} = {sweep.size:,} variants; at most {MAX_VARIANTS:,}: "
            "take larger steps, or fewer numbers at once"
        )
    return sweep


def parse_axis(text: str, target: Target) -> Axis:
    """One axis of a sweep.

    Args:
        text: 'NAME=LOW..HIGH', 'NAME=LOW..HIGH:STEP' or 'NAME=A,B,C', where NAME is a key of
            `Target.numbers` or one of `short_names`.
        target: the target that it is about.

    Raises:
        TargetError: the text is none of these, the target has no such number, or a value is none.

    >>> from chipfit.hardware.load import load_target
    >>> parse_axis("rows=8..24", load_target("eyeriss")).values
    (8, 16, 24)
    >>> parse_axis("levels.global_buffer.size=64KiB..128KiB:32KiB", load_target("eyeriss")).values
    (64, 96, 128)
    """
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not (name and equals and rest):
        raise TargetError(f"{_not_an_axis(text)}")
    key, implied = _resolve(name, target)
    kind = _KINDS.get(key.rpartition(".")[2], "")
    match = _RANGE.fullmatch(rest)
    if match is None and (".." in rest or ":" in rest):
        raise TargetError(_not_an_axis(text))
    parts = [p for p in match.groups() if p is not None] if match else rest.split(",")
    amounts, unit = _amounts(text, parts, name, kind, implied)
    if match is None:
        values = amounts
    elif len(amounts) == 3:
        values = _stepped(text, *amounts)
    else:
        values = _doubled(text, *amounts)
    return Axis(name=name, key=key, unit=unit, values=_checked(text, name, values, kind))


def short_names(target: Target) -> dict[str, tuple[str, str]]:
    """Short names of numbers of a target: the key that each stands for, and the unit that it implies.

    `rows` and `columns` are of the outermost array that has more than one; `glb` is the largest
    memory on the chip, `dram` the main memory, unless levels have these names.

    >>> from chipfit.hardware.load import load_target
    >>> short_names(load_target("tpu_like"))["glb_kib"]
    ('levels.sram.size', 'KiB')
    """
    found: dict[str, tuple[str, str]] = {"clock_mhz": ("clock", "MHz")}
    found |= {key.removeprefix("sparse."): (key, "") for key in _sparse_keys(target)}
    for side in ("rows", "columns"):
        several = [array for array in target.arrays if getattr(array, side) > 1] or target.arrays[:1]
        if several:
            found[side] = (f"arrays.{several[0].name}.{side}", "")
    on_chip = target.levels[1:]
    named = {"dram": target.main_memory.name}
    if on_chip:
        named["glb"] = max(on_chip, key=lambda level: level.size_bits or 0).name
    for short, name in {**named, **{level.name: level.name for level in target.levels}}.items():
        if name != target.main_memory.name:
            found[f"{short}_kib"] = (f"levels.{name}.size", "KiB")
        found[f"{short}_bandwidth"] = (f"levels.{name}.bandwidth", "")
    return found


def keys(target: Target) -> list[str]:
    """Keys of the numbers of a target that can be varied, as `chipfit targets NAME` lists them."""
    found = [*_WHOLE_TARGET, *(f"arithmetic.{name}" for name in _ARITHMETIC)]
    for index, level in enumerate(target.levels):
        found += [f"levels.{level.name}.{name}" for name in _LEVEL if index or name != "size"]
    found += _sparse_keys(target)
    return found + [f"arrays.{array.name}.{name}" for array in target.arrays for name in _ARRAY]


def _sparse_keys(target: Target) -> list[str]:
    return [number.key for number in target.numbers() if number.key.startswith("sparse.")]


def _not_an_axis(text: str) -> str:
    return (
        f"'{text}' is not a sweep: expected NAME=LOW..HIGH (doubling), NAME=LOW..HIGH:STEP or NAME=A,B,C, "
        "such as glb_kib=32..256"
    )


def _resolve(name: str, target: Target) -> tuple[str, str]:
    """The key and the implied unit of a name."""
    long, short = keys(target), short_names(target)
    if name in long:
        return name, ""
    if name in short:
        return short[name]
    valid = [*short, *long]
    hint = nearest(name, valid)
    everything = "" if hint.startswith(";") else f" All names: {', '.join(sorted(valid))}"
    raise TargetError(f"target '{target.name}' has no number '{name}'{hint}{everything}")


def _amounts(
    text: str, parts: Sequence[str], name: str, kind: str, implied: str
) -> tuple[list[Decimal], str]:
    """The numbers of an axis in one unit, and that unit. A number without one has that of the last."""
    found: list[tuple[Decimal, str]] = []
    for part in parts:
        match = _AMOUNT.fullmatch(part)
        if match is None:
            raise TargetError(f"'{text}': '{part.strip()}' is not a number")
        if not math.isfinite(float(match[1])):
            raise TargetError(f"'{text}': {match[1]} is too large")
        found.append((Decimal(match[1]) if float(match[1]) else Decimal(0), match[2] or ""))
    stated = [unit for _, unit in found if unit]
    if implied or not kind:
        if any(unit != implied for unit in stated):
            wrong = next(unit for unit in stated if unit != implied)
            own = f"is in {implied} already" if implied else "is a plain number"
            raise TargetError(f"'{text}': {name} {own}, without '{wrong}'")
        return [number for number, _ in found], implied
    unit = stated[-1] if stated else ""
    scale = _scale(text, unit, kind)
    return [n if u in ("", unit) else n * _scale(text, u, kind, unit) / scale for n, u in found], unit


def _scale(text: str, unit: str, kind: str, other: str = "") -> Decimal:
    """A unit in base units; bandwidths are compared with `other` per the same time only."""
    amount, slash, per = unit.partition("/")
    try:
        if kind != "bandwidth":
            return Decimal(repr(parse(f"1 {unit}", kind)))
        if slash and per in ("cycle", "s") and (not other or other.endswith(f"/{per}")):
            return Decimal(repr(parse(f"1 {amount}", "size")))
    except UnitError as error:
        raise TargetError(f"'{text}': {str(error).partition(': ')[2]}") from None
    if other and per in ("cycle", "s"):
        raise TargetError(f"'{text}': bandwidths per cycle and per second cannot stand in one axis")
    raise TargetError(f"'{text}': a bandwidth is such as 64bit/cycle or 3.2GB/s")


def _doubled(text: str, low: Decimal, high: Decimal) -> list[Decimal]:
    _ordered(text, low, high)
    if low <= 0:
        raise TargetError(
            f"'{text}': doubling starts above 0, not at {low:f}; name a step, or list the values"
        )
    found = [low]
    while found[-1] * 2 < high:
        found.append(found[-1] * 2)
        _few(text, len(found))
    return [*found, high] if high > low else found


def _stepped(text: str, low: Decimal, high: Decimal, step: Decimal) -> list[Decimal]:
    _ordered(text, low, high)
    if step <= 0:
        raise TargetError(f"'{text}': the step must be above 0")
    count = int((high - low) / step) + 1
    _few(text, count)
    return [low + step * index for index in range(count)]


def _ordered(text: str, low: Decimal, high: Decimal) -> None:
    if low > high:
        raise TargetError(f"'{text}': the low end is above the high end")


def _few(text: str, count: int) -> None:
    if count > MAX_VARIANTS:
        raise TargetError(f"'{text}' has more than {MAX_VARIANTS:,} values")


def _checked(text: str, name: str, values: Sequence[Decimal], kind: str) -> tuple[float, ...]:
    found: list[float] = []
    for value in values:
        if value < 0 or (value == 0 and kind not in ("energy", "power")):
            raise TargetError(f"'{text}': {name} must be above 0, got {value:g}")
        whole = value == value.to_integral_value() and value < 10**15
        if not kind and not whole:
            raise TargetError(f"'{text}': {name} must be a whole number, got {value:g}")
        plain = int(value) if whole else float(value)
        if plain in found:
            raise TargetError(f"'{text}' names {value:g} twice")
        found.append(plain)
    return tuple(found)


# ---------------------------------------------------------------------------------------------
# From values to a target


def _build(sweep: Sweep, chosen: Iterable[tuple[Axis, float]]) -> Target:
    data = copy.deepcopy(dict(sweep.data))
    energies: list[tuple[Axis, float]] = []
    for axis, value in chosen:
        part, _, rest = axis.key.partition(".")
        name, _, number = rest.rpartition(".")
        given = f"{value!r} {axis.unit}" if axis.unit else int(value)
        if part == "arithmetic" or number in ("read_energy", "write_energy"):
            energies.append((axis, value))  # set where tables have been read: nothing depends on them
        elif part == "levels":
            _set_level(_entry(data["levels"], name), sweep.target.level(name), number, given)
        elif part == "arrays":
            _entry(data["arrays"], name)[number] = given
        elif part == "sparse":
            data["sparse"][number] = given
        else:
            data[part] = given
    target = build_target(data, sweep.file)
    for axis, value in energies:
        target = _with_energy(target, axis, value)
    return target


def _entry(entries: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry.get("name", "pe") == name)


def _set_level(entry: dict[str, Any], level: MemoryLevel, number: str, given: str | int) -> None:
    if "words" in entry and number in ("size", "word_bits"):
        del entry["words"]  # a size in words would change with the width of a word
        entry["size"] = f"{level.size_bits} bit"
    entry[number] = given


def _with_energy(target: Target, axis: Axis, value: float) -> Target:
    part, _, rest = axis.key.partition(".")
    name, _, number = rest.rpartition(".")
    if not axis.unit:  # a width of the arithmetic
        return replace(target, arithmetic=replace(target.arithmetic, **{number: int(value)}))
    energy_j = parse(f"{value!r} {axis.unit}", "energy")
    if part == "arithmetic":
        return replace(target, arithmetic=replace(target.arithmetic, **{f"{number}_j": energy_j}))
    levels = [
        replace(level, **{f"{number}_j": energy_j}) if level.name == name else level
        for level in target.levels
    ]
    return replace(target, levels=tuple(levels))


def kept(sweep: Sweep) -> list[str]:
    """What stays as it is, or follows, when the numbers of a sweep change; for people to read."""
    found: list[str] = []
    for axis in sweep.axes:
        found += _kept(sweep, axis)
    return list(dict.fromkeys(found))


def _kept(sweep: Sweep, axis: Axis) -> Iterator[str]:
    part, _, rest = axis.key.partition(".")
    name, _, number = rest.rpartition(".")
    base, changed = sweep.target, _changed(sweep, axis)
    if not changed:
        return
    if part == "levels" and number in ("size", "word_bits"):
        what = {"size": "size", "word_bits": "word width"}[number]
        level = base.level(name)
        energies = {(level.read_energy_j, level.write_energy_j)}
        energies |= {(x.level(name).read_energy_j, x.level(name).write_energy_j) for x in changed}
        if len(energies) == 1:
            yield f"an access of {name} takes the same energy at every {what}: its source has only one"
        else:
            yield f"the energy of an access of {name} follows its {what}: {level.source.partition(';')[0]}"
    if axis.key == "clock":
        but = "" if base.mac_supply is None or base.mac_supply.fixed_v is not None else " but of multipliers"
        yield f"energies stay as they are at every clock: one supply voltage{but}"
        per_cycle = [
            level.name
            for i, level in enumerate(base.levels)
            if level.bandwidth_bits_per_cycle is not None
            and all(x.levels[i].bandwidth_bits_per_cycle == level.bandwidth_bits_per_cycle for x in changed)
        ]
        if per_cycle:
            yield f"bandwidths stated per cycle stay so at every clock: {', '.join(per_cycle)}"
    if part == "arrays" and number != "hop_energy" and _array(base, name).hop_energy_j:
        yield f"a hop in {name} takes the same energy at every number of {number}"
    if base.static_power_w and axis.key not in ("static_power", "native_bits", "partial_sum_bits"):
        yield "the static power is the same for all variants"


def _changed(sweep: Sweep, axis: Axis) -> list[Target]:
    """The target with the first and the last value of an axis, as far as there is such a chip."""
    found: list[Target] = []
    for value in (axis.values[0], axis.values[-1]):
        try:
            target = _build(sweep, [(axis, value)])
        except TargetError:
            continue
        if target != sweep.target:
            found.append(target)
    return found


def _array(target: Target, name: str) -> Array:
    return next(array for array in target.arrays if array.name == name)

"""A chip: memories from the outermost to the innermost, arrays of processing elements between
them, and what each access and each operation takes.

The order of `Target.levels` is the hierarchy. `levels[0]` is the main memory: unbounded, holding
every tensor. A tensor that a level does not hold passes it by. An `Array` belongs below the memory
that it names: everything further in exists once per processing element. Energy is per access of one
word; a word holds `word_bits // bits` elements, never split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from chipfit.errors import TargetError, nearest
from chipfit.hardware.sparse import SparseArray
from chipfit.hardware.voltage import MacSupply
from chipfit.units import binary, si

#: The names by which a level says what it holds; 'output' stands for partial sums and outputs.
TENSORS = ("input", "weight", "output")
#: The dimensions of a loop nest.
LOOPS = ("N", "G", "K", "C", "P", "Q", "R", "S")


def words(elements: int, bits: int, word_bits: int) -> int:
    """Words that hold so many elements, none of them split.

    >>> words(10, 5, 16)  # three in a word
    4
    >>> words(10, 20, 16)  # two words each
    20
    """
    if bits > word_bits:
        return elements * -(-bits // word_bits)
    return -(-elements // (word_bits // bits))


@dataclass(frozen=True, kw_only=True)
class MemoryLevel:
    """One level of storage. `size_bits` (None: unbounded) and bandwidth are per instance.

    A tensor in `may_bypass` passes by if that is better. `loops` are the dimensions over which the
    level may loop; `stationary` the tensors of which one tile may stay while others change. A level that
    is `double_buffered` takes the next tiles in while it works on these. Levels side by side (of
    different tensors, with nothing between them) share their loops, what all allow, unless one has
    `own_loops`.
    """

    name: str
    word_bits: int
    read_energy_j: float
    write_energy_j: float
    source: str
    size_bits: int | None = None
    bandwidth_bits_per_cycle: float | None = None
    holds: tuple[str, ...] = TENSORS
    may_bypass: tuple[str, ...] = ()
    loops: tuple[str, ...] = LOOPS
    stationary: tuple[str, ...] = TENSORS
    double_buffered: bool = False
    own_loops: bool = False

    @property
    def room_words(self) -> int | None:
        """Words that tiles in use may take: half of all if the next ones come in meanwhile."""
        if self.size_bits is None:
            return None
        return self.size_bits // self.word_bits // (2 if self.double_buffered else 1)


@dataclass(frozen=True, kw_only=True)
class Array:
    """Processing elements in rows and columns below the memory named `below`.

    `row_dimensions` and `column_dimensions` say which loop dimensions may be unrolled along each
    side. A tensor that does not depend on an unrolled dimension is multicast (operands) or
    reduced on the way (partial sums); each word that enters or leaves costs `hop_energy_j` per
    processing element reached. Several dimensions may share one side.
    """

    name: str
    below: str
    rows: int
    columns: int
    row_dimensions: tuple[str, ...]
    column_dimensions: tuple[str, ...]
    hop_energy_j: float = 0.0
    source: str = ""

    @property
    def elements(self) -> int:
        """Processing elements."""
        return self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """What one multiply-accumulate takes, by the widths of both operands and the accumulator.

    multiply_j · (weight_bits · input_bits) / multiply_bits²  +  add_j · accumulator_bits / add_bits

    which is the shape that Horowitz' table supports: a multiplier grows with the product of its
    operand widths, an adder with its own.
    """

    multiply_j: float
    multiply_bits: int
    add_j: float
    add_bits: int
    source: str

    def energy_j(self, weight_bits: int, input_bits: int, accumulator_bits: int) -> float:
        """Energy of one multiply-accumulate (J).

        >>> horowitz = Arithmetic(multiply_j=3.1e-12, multiply_bits=32, add_j=0.1e-12, add_bits=32, source="")
        >>> round(horowitz.energy_j(8, 8, 32) * 1e12, 3)
        0.294
        """
        # 3.1 * 64/1024 + 0.1 * 32/32 = 0.19375 + 0.1 = 0.29375 pJ
        product = self.multiply_j * weight_bits * input_bits / self.multiply_bits**2
        return product + self.add_j * accumulator_bits / self.add_bits


@dataclass(frozen=True, kw_only=True)
class Residence:
    """Where activations stay between layers: in the memory `level`, if those alive at once fit it.

    What a layer writes and another reads is stored there in multiples of `channels` channels.
    """

    level: str
    channels: int = 1


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a target as people read it, in base units, and where it comes from."""

    key: str
    text: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """A chip, as read from YAML by `chipfit.hardware.load.load_target`.

    `native_bits` is the operand width at which floating-point networks run; `partial_sum_bits` is
    the accumulator of native operation (0: exact). Quantised operands accumulate exactly: see
    `accumulator_bits`. `sources` has the source of single numbers by the keys of `numbers`, where
    it is not that of the whole part.

    `activations` says where activations stay between layers; without it every layer reads its input
    from the main memory and writes its output there. With it, `coded_weights` says that constants lie
    in the main memory entropy coded (`Tensor.stored_bits`). `vector_cycles` are the cycles per output
    element of operators that occupy the datapath on their own, fused into a nest or not. `sparse` says
    what the array does about zeros; without it, a multiplication by zero is one like any other. `mac_tables`
    are files of tables of weight values, one for each multiplier that the chip may be built with:
    multiplications then cost what the best of them says for a network, instead of `arithmetic`, at the
    voltage of `mac_supply` (without it: at that of the table).

    Raises:
        TargetError: sizes, energies or names contradict each other; all of it in one message.
    """

    name: str
    description: str
    source: str
    clock_hz: float
    native_bits: int
    partial_sum_bits: int
    arithmetic: Arithmetic
    levels: tuple[MemoryLevel, ...]
    arrays: tuple[Array, ...]
    operand_bits: tuple[int, ...] = tuple(range(2, 9))
    static_power_w: float = 0.0
    area_um2: float | None = None
    activations: Residence | None = None
    coded_weights: bool = False
    vector_cycles: Mapping[str, float] = field(default_factory=dict[str, float], hash=False)
    sources: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    sparse: SparseArray | None = None
    mac_tables: tuple[str, ...] = ()
    mac_supply: MacSupply | None = None

    def __post_init__(self) -> None:
        problems = [*_range_problems(self), *_size_problems(self.levels)]
        problems += structure_problems(
            [level.name for level in self.levels],
            self.levels[0].holds if self.levels else None,
            [array.name for array in self.arrays],
            [array.below for array in self.arrays],
        )
        problems += freedom_problems(self.levels, self.arrays, self.activations)
        problems += _residence_problems(self)
        if self.mac_supply is not None and not self.mac_tables:
            problems.append("mac_supply means nothing without mac_table")
        if problems:
            raise TargetError(f"target '{self.name}': " + "; ".join(problems))

    @property
    def processing_elements(self) -> int:
        """Multipliers that can work at once."""
        return math.prod(array.elements for array in self.arrays)

    @property
    def main_memory(self) -> MemoryLevel:
        """The outermost level (DRAM)."""
        return self.levels[0]

    def accumulator_bits(self, weight_bits: int, input_bits: int, exact_bits: int) -> int:
        """Width of a partial sum of a nest with these operand widths (bits).

        At the target's own operand width, what the chip does (it may truncate products);
        for narrower operands `exact_bits`, what no sum can overflow: an integer network means
        exact integer arithmetic. Never wider than 32 bits or the native accumulator.
        """
        if max(weight_bits, input_bits) >= self.native_bits:
            return self.partial_sum_bits if self.partial_sum_bits else exact_bits
        return min(exact_bits, max(32, self.partial_sum_bits))

    def level(self, name: str) -> MemoryLevel:
        """The level of that name.

        Raises:
            TargetError: there is none.
        """
        for level in self.levels:
            if level.name == name:
                return level
        raise TargetError(f"target '{self.name}' has no memory level '{name}'")

    def numbers(self) -> tuple[Number, ...]:
        """Every number of this target with its source, in the order of the file."""
        return tuple(_numbers(self))

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back equal."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        """The target that `to_json` wrote.

        Raises:
            TargetError: a key is missing, unknown, or has a value of the wrong type.
        """
        try:
            levels = [
                _part(MemoryLevel, level, "holds", "may_bypass", "loops", "stationary")
                for level in data["levels"]
            ]
            sides = ("row_dimensions", "column_dimensions")
            arrays = [_part(Array, array, *sides) for array in data["arrays"]]
            residence, sparse, supply = (data.get(key) for key in ("activations", "sparse", "mac_supply"))
            parts: dict[str, Any] = {
                "mac_tables": tuple(data.get("mac_tables", ())),
                "mac_supply": None if supply is None else MacSupply(**supply),
                "sparse": None if sparse is None else SparseArray.from_json(sparse),
                "activations": None if residence is None else Residence(**residence),
                "arithmetic": Arithmetic(**data["arithmetic"]),
                "levels": tuple(levels),
                "arrays": tuple(arrays),
                "operand_bits": tuple(data["operand_bits"]),
            }
            return cls(**{**data, **parts})
        except (KeyError, TypeError) as error:
            raise TargetError(f"not a target in JSON: {error}") from error


_Part = TypeVar("_Part", MemoryLevel, Array)


def _part(kind: type[_Part], data: Mapping[str, Any], *lists: str) -> _Part:
    """A level or an array from JSON, where the fields named in `lists` are tuples."""
    values: dict[str, Any] = {**data, **{key: tuple(data[key]) for key in lists}}
    return kind(**values)


def structure_problems(
    level_names: Sequence[str | None],
    main_memory_holds: Sequence[str] | None,
    array_names: Sequence[str | None],
    array_below: Sequence[str | None],
) -> list[str]:
    """What is wrong between the parts of a target; None stands for what is not known."""
    problems: list[str] = []
    for part, names in (("levels", level_names), ("arrays", array_names)):
        for index, name in enumerate(names):
            if name is not None and name in names[:index]:
                problems.append(f"{part}[{index}].name '{name}' is used twice")
    if not level_names:
        return [*problems, "levels must name at least the main memory"]
    known = [name for name in level_names if name is not None]
    for index, below in enumerate(array_below):
        if below is None:
            continue
        if below not in known and len(known) == len(level_names):
            problems.append(f"arrays[{index}].below names no level '{below}'{nearest(below, known)}")
        elif below in array_below[:index]:
            problems.append(f"arrays[{index}].below: level '{below}' has an array already")
    if main_memory_holds is not None and set(main_memory_holds) != set(TENSORS):
        problems.append(f"levels[0].holds: the main memory must hold {', '.join(TENSORS)}")
    return problems


def freedom_problems(
    levels: Sequence[MemoryLevel], arrays: Sequence[Array], activations: Residence | None
) -> list[str]:
    """What is wrong with what levels let pass by, loop over and keep."""
    resident = activations.level if activations is not None else ""
    problems: list[str] = []
    for index, level in enumerate(levels):
        for key, kind, given, valid in (
            ("may_bypass", "tensor", level.may_bypass, TENSORS),
            ("loops", "dimension", level.loops, LOOPS),
            ("stationary", "tensor", level.stationary, TENSORS),
        ):
            wrong = [f"unknown {kind} '{name}'{nearest(name, valid)}" for name in given if name not in valid]
            if wrong:
                problems.append(f"levels[{index}].{key} names " + "; ".join(wrong))
        if not level.stationary:
            problems.append(f"levels[{index}].stationary must name at least one tensor")
        strange = [name for name in level.may_bypass if name in TENSORS and name not in level.holds]
        if level.may_bypass and index == 0:
            problems.append("levels[0].may_bypass: nothing passes the main memory by")
        elif level.may_bypass and level.name == resident:
            problems.append(f"levels[{index}].may_bypass: activations stay in '{resident}'")
        elif strange:
            problems.append(f"levels[{index}].may_bypass: it does not hold {', '.join(strange)}")
    # A nest starts where activations stay, or at the main memory.
    names = [level.name for level in levels]
    start = names.index(resident) if resident in names else 0
    return problems + _loop_problems(_side_by_side(levels[start:], arrays), arrays)


def _side_by_side(levels: Sequence[MemoryLevel], arrays: Sequence[Array]) -> list[list[MemoryLevel]]:
    """Levels in groups that share one tile: of different tensors, with nothing between them."""
    above = {array.below for array in arrays}
    apart = not above <= {level.name for level in levels}  # an array is in no known place
    groups: list[list[MemoryLevel]] = []
    for index, level in enumerate(levels):
        before = levels[index - 1]
        between = before.own_loops or before.name in above or set(before.holds) & set(level.holds)
        if index < 2 or apart or between:
            groups.append([])
        groups[-1].append(level)
    return groups


def _loop_problems(groups: Sequence[Sequence[MemoryLevel]], arrays: Sequence[Array]) -> list[str]:
    """Dimensions that nothing may cut, and groups of levels that agree on nothing that stays."""
    problems: list[str] = []
    cut: set[str] = set()
    for group in groups:
        cut |= set(LOOPS).intersection(*(level.loops for level in group))
        stay = set(TENSORS).intersection(*(level.stationary for level in group))
        if not stay and all(level.stationary for level in group):
            names = ", ".join(f"'{level.name}'" for level in group)
            problems.append(f"levels {names} lie side by side, but have no stationary tensor in common")
    for array in arrays:
        cut |= set(array.row_dimensions) if array.rows > 1 else set()
        cut |= set(array.column_dimensions) if array.columns > 1 else set()
    lost = [dimension for dimension in LOOPS if dimension not in cut]
    if lost and groups:
        it = "it" if len(lost) == 1 else "them"
        problems.append(f"no level may loop over {', '.join(lost)}, and no array may unroll {it}")
    return problems


def _residence_problems(target: Target) -> list[str]:
    residence, names = target.activations, [level.name for level in target.levels]
    if residence is None:
        return ["coded_weights means nothing without activations"] if target.coded_weights else []
    if residence.level not in names:
        return [f"activations.level names no level '{residence.level}'{nearest(residence.level, names)}"]
    place = names.index(residence.level)
    if place == 0:
        return [f"activations.level: '{residence.level}' is the main memory, where they stay anyway"]
    problems: list[str] = []
    if set(target.levels[place].holds) != set(TENSORS):
        problems.append(f"activations.level: '{residence.level}' must hold {', '.join(TENSORS)}")
    outside = [array.name for array in target.arrays if array.below in names[:place]]
    if outside:
        problems.append(f"activations.level: '{residence.level}' is inside the array '{outside[0]}'")
    return problems


def _range_problems(target: Target) -> list[str]:
    least: dict[str, tuple[float, float]] = {
        "native_bits": (target.native_bits, 1),
        "partial_sum_bits": (target.partial_sum_bits, 0),
        "static_power_w": (target.static_power_w, 0),
        "arithmetic.multiply_j": (target.arithmetic.multiply_j, 0),
        "arithmetic.multiply_bits": (target.arithmetic.multiply_bits, 1),
        "arithmetic.add_j": (target.arithmetic.add_j, 0),
        "arithmetic.add_bits": (target.arithmetic.add_bits, 1),
    }
    if target.activations is not None:
        least["activations.channels"] = (target.activations.channels, 1)
    for operator, cycles in target.vector_cycles.items():
        least[f"vector_cycles.{operator}"] = (cycles, 0)
    for index, level in enumerate(target.levels):
        least[f"levels[{index}].word_bits"] = (level.word_bits, 1)
        least[f"levels[{index}].read_energy_j"] = (level.read_energy_j, 0)
        least[f"levels[{index}].write_energy_j"] = (level.write_energy_j, 0)
    for index, array in enumerate(target.arrays):
        least[f"arrays[{index}].rows"] = (array.rows, 1)
        least[f"arrays[{index}].columns"] = (array.columns, 1)
        least[f"arrays[{index}].hop_energy_j"] = (array.hop_energy_j, 0)
    wrong = [f"{key} must be at least {low:g}, got {v:g}" for key, (v, low) in least.items() if not low <= v]
    positive: dict[str, float | None] = {"clock_hz": target.clock_hz, "area_um2": target.area_um2}
    for index, level in enumerate(target.levels):
        positive[f"levels[{index}].bandwidth_bits_per_cycle"] = level.bandwidth_bits_per_cycle
    wrong += [
        f"{key} must be above 0, got {v:g}" for key, v in positive.items() if v is not None and not v > 0
    ]
    return wrong


def _size_problems(levels: Sequence[MemoryLevel]) -> list[str]:
    problems: list[str] = []
    for index, level in enumerate(levels):
        if index == 0 and level.size_bits is not None:
            problems.append("levels[0].size: the main memory is unbounded and takes no size")
        if level.size_bits is not None and level.size_bits < level.word_bits:
            problems.append(
                f"levels[{index}].size: {level.size_bits} bit is less than one word of {level.word_bits} bit"
            )
    return problems


def _numbers(target: Target) -> list[Number]:
    found: list[Number] = []

    def add(key: str, value: float | None, unit: str, text: str, source: str) -> None:
        if value is not None:
            own = target.sources.get(key, source)
            found.append(Number(key=key, text=text, value=value, unit=unit, source=own))

    def energy(key: str, value: float, source: str) -> None:
        add(key, value, "J", si(value, "J"), source)

    def count(key: str, value: int, unit: str, source: str) -> None:
        add(key, value, unit, f"{value} {unit}".strip(), source)

    whole = target.source
    add("clock", target.clock_hz, "Hz", si(target.clock_hz, "Hz"), whole)
    count("native_bits", target.native_bits, "bit", whole)
    count("partial_sum_bits", target.partial_sum_bits, "bit", whole)
    add("static_power", target.static_power_w, "W", si(target.static_power_w, "W"), whole)
    if target.area_um2 is not None:
        add("area", target.area_um2, "µm²", f"{target.area_um2 / 1e6:.4g} mm²", whole)
    energy("arithmetic.multiply", target.arithmetic.multiply_j, target.arithmetic.source)
    count("arithmetic.multiply_bits", target.arithmetic.multiply_bits, "bit", target.arithmetic.source)
    energy("arithmetic.add", target.arithmetic.add_j, target.arithmetic.source)
    count("arithmetic.add_bits", target.arithmetic.add_bits, "bit", target.arithmetic.source)
    if target.activations is not None:
        own = target.sources.get("activations", whole)
        count("activations.channels", target.activations.channels, "", own)
    for operator, cycles in target.vector_cycles.items():
        own = target.sources.get("vector_cycles", whole)
        add(f"vector_cycles.{operator}", cycles, "cycle", f"{cycles:.4g} cycle/element", own)
    if target.sparse is not None:
        own = target.sources.get("sparse", whole)
        if "run_length" in target.sparse.storage.values():
            count("sparse.run_bits", target.sparse.run_bits, "bit", own)
        if target.sparse.structure is None:
            count("sparse.consecutive", target.sparse.consecutive, "", own)
    if (supply := target.mac_supply) is not None:
        own = target.sources.get("mac_supply", whole)
        for key, voltage in (("threshold", supply.threshold_v), ("least", supply.least_v)):
            add(f"mac_supply.{key}", voltage, "V", f"{voltage:g} V", own)
        add("mac_supply.alpha", supply.alpha, "", f"{supply.alpha:g}", own)
        add("mac_supply.margin", supply.margin, "", f"{supply.margin:g}", own)
        if (fixed_v := supply.fixed_v) is not None:
            add("mac_supply.fixed", fixed_v, "V", f"{fixed_v:g} V", own)
    for level in target.levels:
        key = f"levels.{level.name}"
        if level.size_bits is not None:
            size = binary(level.size_bits) + (
                ", half of it for tiles to come" if level.double_buffered else ""
            )
            add(f"{key}.size", level.size_bits, "bit", size, level.source)
        count(f"{key}.word_bits", level.word_bits, "bit", level.source)
        if (bits := level.bandwidth_bits_per_cycle) is not None:
            add(f"{key}.bandwidth", bits, "bit/cycle", f"{bits:.4g} bit/cycle", level.source)
        energy(f"{key}.read_energy", level.read_energy_j, level.source)
        energy(f"{key}.write_energy", level.write_energy_j, level.source)
    for array in target.arrays:
        key = f"arrays.{array.name}"
        count(f"{key}.rows", array.rows, "", array.source)
        count(f"{key}.columns", array.columns, "", array.source)
        energy(f"{key}.hop_energy", array.hop_energy_j, array.source)
    return found

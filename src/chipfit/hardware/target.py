"""A chip: memories from the outermost to the innermost, arrays of processing elements between
them, and what each access and each operation takes.

The order of `Target.levels` is the hierarchy. `levels[0]` is the main memory: unbounded, holding
every tensor. A tensor that a level does not hold passes it by. An `Array` belongs below the memory
that it names: everything further in exists once per processing element. Energy is per access of one
word; a word holds `word_bits // bits` elements, never split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chipfit.errors import TargetError

#: The names by which a level says what it holds; 'output' stands for partial sums and outputs.
TENSORS = ("input", "weight", "output")


@dataclass(frozen=True, kw_only=True)
class MemoryLevel:
    """One level of storage. `size_bits` (None: unbounded) and bandwidth are per instance."""

    name: str
    word_bits: int
    read_energy_j: float
    write_energy_j: float
    source: str
    size_bits: int | None = None
    bandwidth_bits_per_cycle: float | None = None
    holds: tuple[str, ...] = TENSORS


@dataclass(frozen=True, kw_only=True)
class Array:
    """Processing elements in rows and columns below the memory named `below`.

    `row_dimensions` and `column_dimensions` say which loop dimensions may be unrolled along each
    side. A tensor that does not depend on an unrolled dimension is multicast (operands) or
    reduced on the way (partial sums); each word that enters or leaves costs `hop_energy_j` per
    processing element reached. `vectors` says whether several dimensions may share one side.
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
class Target:
    """A chip, as read from YAML by `chipfit.hardware.load_target`.

    `native_bits` is the operand width at which floating-point networks run; `partial_sum_bits` is
    the accumulator of native operation. Quantised operands accumulate exactly: see
    `accumulator_bits`.
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
    sources: Mapping[str, str] | None = None

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

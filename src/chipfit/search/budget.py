"""What is allowed: limits on energy, latency, DRAM traffic and memory.

Written 'energy=50%' (relative to the 8-bit original) or 'energy=1.5mJ', 'latency=5ms',
'dram=200KiB', 'memory=64KiB'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chipfit import units
from chipfit.cost.base import CostReport
from chipfit.errors import BudgetError, UnitError, nearest

#: Quantities that a budget may limit, and the kind of unit of each.
QUANTITIES: Mapping[str, str] = {"energy": "energy", "latency": "time", "dram": "size", "memory": "size"}


def quantities(report: CostReport) -> dict[str, float]:
    """The quantities of a budget, from a report (J, s, bit, bit)."""
    total = report.total
    return {
        "energy": total.energy_j,
        "latency": total.latency_s,
        "dram": total.dram_bits,
        "memory": float(report.memory_bits),
    }


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One quantity and the most of it that is allowed: a fraction of the original's if `relative`,
    else in base units (J, s, bit).
    """

    quantity: str
    value: float
    relative: bool

    def absolute(self, original: Mapping[str, float]) -> float:
        """The limit in base units."""
        return self.value * original[self.quantity] if self.relative else self.value

    def __str__(self) -> str:
        if self.relative:
            return f"{self.quantity} {100 * self.value:g} % of the 8-bit original"
        if self.quantity == "energy":
            return f"energy {units.si(self.value, 'J')}"
        if self.quantity == "latency":
            return f"latency {units.si(self.value, 's')}"
        return f"{self.quantity} {units.binary(self.value)}"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits that must all be kept."""

    limits: tuple[Limit, ...]

    def over(self, cost: Mapping[str, float], original: Mapping[str, float]) -> dict[str, float]:
        """By how much a cost is over each limit that it breaks, as a ratio: 1.25 is 25 % over."""
        ratios = {limit.quantity: cost[limit.quantity] / limit.absolute(original) for limit in self.limits}
        return {quantity: ratio for quantity, ratio in ratios.items() if ratio > 1 + 1e-9}

    def to_json(self) -> dict[str, Any]:
        """Limits by quantity, as the records hold them."""
        return {
            limit.quantity: {
                "limit": limit.value,
                "unit": "ratio"
                if limit.relative
                else {"energy": "J", "latency": "s"}.get(limit.quantity, "bit"),
                "relative": limit.relative,
            }
            for limit in self.limits
        }


def parse_budget(texts: Sequence[str]) -> Budget:
    """The budget that these limits make, each 'quantity=value'.

    Raises:
        BudgetError: a limit cannot be read, is not positive, or contradicts another; all problems
            in one message.

    >>> print(*parse_budget(["energy=50%", "latency=2 ms"]).limits, sep="; ")
    energy 50 % of the 8-bit original; latency 2.00 ms
    """
    if not texts:
        raise BudgetError("no budget: give at least one limit, such as --budget energy=50%")
    limits: list[Limit] = []
    wrong: list[str] = []
    for text in texts:
        try:
            limits.append(_limit(text))
        except BudgetError as error:
            wrong.append(str(error))
    for quantity in QUANTITIES:
        same = {str(limit) for limit in limits if limit.quantity == quantity}
        if sum(limit.quantity == quantity for limit in limits) > 1:
            wrong.append(f"{quantity} is limited more than once: {' and '.join(sorted(same))}")
    if wrong:
        raise BudgetError("; ".join(wrong))
    return Budget(limits=tuple(limits))


def _limit(text: str) -> Limit:
    quantity, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise BudgetError(f"'{text}' is not a limit: expected QUANTITY=VALUE, such as energy=50%")
    if quantity not in QUANTITIES:
        raise BudgetError(f"'{text}': unknown quantity '{quantity}'{nearest(quantity, QUANTITIES)}")
    if value.endswith("%"):
        try:
            ratio = float(value[:-1]) / 100
        except ValueError as error:
            raise BudgetError(f"'{text}': '{value}' is not a percentage") from error
        if not 0 < ratio <= 1:
            raise BudgetError(f"'{text}': a relative limit lies above 0 % and at most at 100 %")
        return Limit(quantity=quantity, value=ratio, relative=True)
    try:
        amount = units.parse(value, QUANTITIES[quantity])
    except UnitError as error:
        raise BudgetError(f"'{text}': {error}, or a percentage") from error
    if not amount > 0:
        raise BudgetError(f"'{text}': a limit must be positive")
    return Limit(quantity=quantity, value=amount, relative=False)

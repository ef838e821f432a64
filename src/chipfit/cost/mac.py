"""Energy of one multiply-accumulate of a layer on a target.

Most targets price it by widths (`Target.arithmetic`). A target that names tables of weight values
(`Target.mac_tables`, from `chipfit gates --out`) prices it by the weights that the layer has: the mean of the
table over the values of its weights, and what registers, their nets and their clock take in a cycle. Codes of
narrow weights stand on the low wires of the multiplier as they are. Leakage is not in it: `static_power` is.

Of several tables, one for each multiplier that the chip may be built with, a network gets the one that takes
least energy for it. Where the target says how its multipliers are supplied (`Target.mac_supply`), the voltage
falls until the slowest weight value of the network just fits the period of the clock, and energy with its
square: a network of quick values costs less.

Where the values are not known (floating-point weights, reference networks, products of two activations),
they are taken to be normal, with a standard deviation of a quarter of the largest code: a declaration, ours.
Any of them may then be the slowest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chipfit.errors import TableError, TargetError
from chipfit.hardware.target import Target
from chipfit.units import si
from chipfit.workload.network import Layer

if TYPE_CHECKING:
    from jaxtyping import Float64

    from chipfit.cost.gates.table import WeightTable

_SPREAD = 1 / 4


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """The multiplier of a network: the file of its table, its name there, and how many there were to choose
    from; its supply (V), and the latest change (s) of its sum with the network's weights, at the voltage of
    the table. `warnings` are those of the table.
    """

    table: str
    name: str
    choices: int
    supply_v: float
    delay_s: float
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The entry 'multiplier' of `chipfit cost --json`."""
        found = {**asdict(self), "table": Path(self.table).name, "text": str(self)}
        del found["warnings"]  # the report has them among its own
        return found

    def __str__(self) -> str:
        file = Path(self.table).name
        best = f", of {self.choices} the one of least energy" if self.choices > 1 else ""
        return (
            f"{self.name} ({file}) at {self.supply_v:.3g} V{best}; the slowest weight value settles in "
            f"{si(self.delay_s, 's')} at the table's voltage"
        )


def settled(layers: Sequence[Layer], target: Target) -> tuple[Target, Multiplier | None]:
    """The target with one multiplier at one voltage for all these layers, and which.

    Raises:
        TableError: a table cannot be read, or no multiplier is wide and quick enough.
    """
    nests = [layer for layer in layers if layer.loops is not None]
    if not target.mac_tables or not nests:
        return target, None
    found: list[tuple[float, Target, Multiplier]] = []
    reasons: list[str] = []
    tables = {file: _table(file) for file in target.mac_tables}
    for file, table in tables.items():
        try:
            found.append(_settled(nests, target, file, table))
        except TableError as error:
            reasons.append(str(error))
    if not found:
        raise TableError("; ".join(reasons))
    _, one, multiplier = min(found, key=lambda option: option[0])
    return one, multiplier


def _settled(
    nests: Sequence[Layer], target: Target, file: str, table: WeightTable
) -> tuple[float, Target, Multiplier]:
    """The energy of all multiplications (J) with a multiplier, and what `settled` returns for it.

    Raises:
        TableError: it is too narrow, or too slow.
    """
    supply = target.mac_supply
    delay_s = max(float(_Weights.of(layer, table, file).delay_s.max()) for layer in nests)
    supply_v = table.supply_v
    if supply is not None:
        try:
            supply_v = supply.at(delay_s, 1 / target.clock_hz, table.supply_v).supply_v
        except TargetError as error:
            raise TableError(f"{file}: the slowest weight value: {error}") from None
        supply = replace(supply, fixed_v=supply_v)
    one = replace(target, mac_tables=(file,), mac_supply=supply)
    multiplier = Multiplier(
        table=file,
        name=table.multiplier,
        choices=len(target.mac_tables),
        supply_v=supply_v,
        delay_s=delay_s,
        warnings=table.warnings,
    )
    return sum(layer.macs * mac_energy_j(layer, one, 0) for layer in nests), one, multiplier


def mac_energy_j(layer: Layer, target: Target, accumulator_bits: int) -> float:
    """Energy of one multiply-accumulate (J) of a layer, alone on the target if that is not `settled`.

    Raises:
        TableError: the table of the target cannot be read, or the layer is wider than its unit.
    """
    if not target.mac_tables:
        return target.arithmetic.energy_j(layer.weight_bits, layer.input_bits, accumulator_bits)
    if not _is_settled(target):
        target, _ = settled((layer,), target)
    file, supply = target.mac_tables[0], target.mac_supply
    table = _table(file)
    energy_j = _Weights.of(layer, table, file).mean_j + table.beside_j
    scale = 1.0 if supply is None or supply.fixed_v is None else (supply.fixed_v / table.supply_v) ** 2
    return scale * energy_j


def _is_settled(target: Target) -> bool:
    supply = target.mac_supply
    return len(target.mac_tables) == 1 and (supply is None or supply.fixed_v is not None)


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """Energy of a cycle (J) and latest change (s) with each weight value of a layer, and how often it occurs,
    up to a factor.
    """

    energy_j: Float64[np.ndarray, " value"]
    delay_s: Float64[np.ndarray, " value"]
    shares: Float64[np.ndarray, " value"]

    @classmethod
    def of(cls, layer: Layer, table: WeightTable, file: str) -> _Weights:
        """Those of a layer.

        Raises:
            TableError: the unit is too narrow.
        """
        for what, given, most in (
            ("weights", layer.weight_bits, table.weight_bits),
            ("activations", layer.input_bits, table.activation_bits),
        ):
            if given > most:
                raise TableError(
                    f"{file}: the unit has {what} of {most} bits, layer '{layer.name}' has {given}"
                )
        values = _known(layer) or _declared(layer.weight_bits, signed=table.weight_signed)
        codes, shares = (np.array(column) for column in zip(*values, strict=True))
        codes = codes.astype(np.int64)
        try:
            return cls(
                energy_j=table.energy_of(codes),
                delay_s=table.delay_of(codes),
                shares=shares.astype(np.float64),
            )
        except TableError as error:
            raise TableError(f"{file}: layer '{layer.name}': {error}") from None

    @property
    def mean_j(self) -> float:
        """Mean energy of a cycle."""
        return float(self.energy_j @ self.shares / self.shares.sum())


def unknown_weights(layers: Sequence[Layer], target: Target) -> tuple[str, ...]:
    """A note on layers whose weight values a target would price and are not known."""
    if not target.mac_tables:
        return ()
    nests = [layer for layer in layers if layer.loops is not None]
    unknown = [layer.name for layer in nests if _known(layer) is None]
    if not unknown:
        return ()
    return (
        f"{target.name} prices multiplications by weight value; the weights of {len(unknown)} of "
        f"{len(nests)} layers are not known ('{unknown[0]}' first): taken to be normal, a quarter of the "
        "largest code wide",
    )


def _known(layer: Layer) -> tuple[tuple[int, float], ...] | None:
    return layer.weight.values if layer.weight is not None else None


@functools.lru_cache(maxsize=64)
def _declared(bits: int, *, signed: bool) -> tuple[tuple[int, float], ...]:
    """Codes of a width and the probability of each, up to a factor."""
    low = -(1 << bits - 1) if signed else 0
    high = low + (1 << bits) - 1
    spread = _SPREAD * max(high, 1)
    return tuple((code, math.exp(-0.5 * (code / spread) ** 2)) for code in range(low, high + 1))


def _table(file: str) -> WeightTable:
    path = Path(file)
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return _read(path, changed)


@functools.lru_cache(maxsize=16)
def _read(path: Path, changed: int) -> WeightTable:
    from chipfit.cost.gates.table import load_table  # few targets have a table

    return load_table(path)

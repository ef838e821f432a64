"""Energy of one multiply-accumulate of a layer on a target.

Most targets price it by widths (`Target.arithmetic`). A target that names a table of weight values
(`Target.mac_table`, from `chipfit gates --out`) prices it by the weights that the layer has: the mean of the
table over the values of its weights, and what registers, their nets and their clock take in a cycle. Codes of
narrow weights stand on the low wires of the multiplier as they are. Leakage is not in it: `static_power` is.

Where the values are not known (floating-point weights, reference networks, products of two activations), they
are taken to be normal, with a standard deviation of a quarter of the largest code: a declaration, ours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chipfit.errors import TableError
from chipfit.hardware.target import Target
from chipfit.workload.network import Layer

if TYPE_CHECKING:
    from chipfit.cost.gates.table import WeightTable

_SPREAD = 1 / 4


def mac_energy_j(layer: Layer, target: Target, accumulator_bits: int) -> float:
    """Energy of one multiply-accumulate (J) of a layer.

    Raises:
        TableError: the table of the target cannot be read, or the layer is wider than its unit.
    """
    if target.mac_table is None:
        return target.arithmetic.energy_j(layer.weight_bits, layer.input_bits, accumulator_bits)
    table = _table(target.mac_table)
    for what, given, most in (
        ("weights", layer.weight_bits, table.weight_bits),
        ("activations", layer.input_bits, table.activation_bits),
    ):
        if given > most:
            raise TableError(
                f"{target.mac_table}: the unit has {what} of {most} bits, layer '{layer.name}' has {given}"
            )
    values = _known(layer) or _declared(layer.weight_bits, signed=table.weight_signed)
    codes, shares = (np.array(column) for column in zip(*values, strict=True))
    try:
        energy_j = float(table.energy_of(codes.astype(np.int64)) @ shares / shares.sum())
    except TableError as error:
        raise TableError(f"{target.mac_table}: layer '{layer.name}': {error}") from None
    return energy_j + table.input_energy_j + table.register_energy_j + table.clock_energy_j


def unknown_weights(layers: Sequence[Layer], target: Target) -> tuple[str, ...]:
    """A note on layers whose weight values a target would price and are not known."""
    if target.mac_table is None:
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

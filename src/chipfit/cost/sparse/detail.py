"""What an array that skips zeros did on a layer, in plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SparseDetail:
    """The work of an array on a layer, and what it moves.

    `cycles` are those of all passes, `pairs` the multiplications that were done for them, `passes` their
    number. `imbalance` is how much longer the passes last than if the elements in use shared the work
    evenly. `cartesian_cycles` is what multiplying all non-zeros with each other would take, where both are
    skipped. `dataflow` is 'inputs_first' or 'weights_first'; `stored_bits` has the size of each tensor as
    it is stored, and `dense_bits` as it would be with its zeros. `loads` are the pairs of each element of
    the array, row by row.
    """

    cycles: float
    pairs: float
    passes: int
    imbalance: float
    dataflow: str
    stored_bits: tuple[tuple[str, float], ...]
    dense_bits: tuple[tuple[str, float], ...]
    cartesian_cycles: float | None = None
    loads: tuple[tuple[float, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What the row of a layer says of it; without the loads of single elements."""
        return {
            "cycles": self.cycles,
            "cartesian_cycles": self.cartesian_cycles,
            "pairs": self.pairs,
            "passes": self.passes,
            "imbalance": self.imbalance,
            "dataflow": self.dataflow,
            "stored_bits": dict(self.stored_bits),
            "dense_bits": dict(self.dense_bits),
        }

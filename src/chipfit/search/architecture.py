"""The best networks of a space that a device probably runs within a latency budget.

The device is known by a few measured networks; each other network has a latency with an interval, and so
a probability to meet the budget. Among those that meet it surely enough, the best by a score are
returned: an accuracy that is known, or a score that needs no training (`chipfit.search.zero_cost`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chipfit.cost.latency.device import Device
from chipfit.cost.latency.space import Space
from chipfit.errors import MeasurementError, nearest

#: Scores that the analytic costs of a space hold.
ANALYTIC = ("parameters", "operations")
#: Networks predicted at once.
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network that probably meets the budget: latencies in ms, the interval that of `chipfit latency`."""

    network: str
    score: float
    latency_ms: float
    low_ms: float
    high_ms: float
    probability: float

    def to_json(self) -> dict[str, Any]:
        """The row of the document of `chipfit latency search --json`."""
        return {
            "network": self.network,
            "score": self.score,
            "latency_s": self.latency_ms / 1e3,
            "low_s": self.low_ms / 1e3,
            "high_s": self.high_ms / 1e3,
            "probability_within_budget": self.probability,
        }


def analytic_score(space: Space, name: str) -> np.ndarray:
    """A score that follows from the shapes alone, shape (network,).

    Raises:
        MeasurementError: there is none of this name.
    """
    if name not in ANALYTIC:
        raise MeasurementError(f"no score '{name}'{nearest(name, ANALYTIC)}")
    return space.features[name].astype(np.float64)


def search(
    device: Device,
    space: Space,
    score: np.ndarray,
    *,
    budget_ms: float,
    confidence: float = 0.95,
    count: int = 10,
    rescore: Callable[[str], float] | None = None,
    shortlist: int = 50,
) -> list[Found]:
    """The best networks that meet a budget as surely as is asked, the best first.

    Args:
        device: that runs them.
        space: the networks to choose from.
        score: of each, higher is better, NaN for those that are not to be chosen, shape (network,).
        budget_ms: the most that a network may take (ms).
        confidence: least probability that a measurement is within the budget.
        count: how many to return; there may be fewer, or none.
        rescore: a score that takes long, for the best by `score` only.
        shortlist: how many these are.

    Raises:
        MeasurementError: the budget or the confidence is out of range.
    """
    if not (budget_ms > 0 and np.isfinite(budget_ms)):
        raise MeasurementError(f"the budget must be a positive time, got {budget_ms:g} ms")
    if not 0 < confidence < 1:
        raise MeasurementError(f"the confidence must lie between 0 and 1, got {confidence:g}")
    if len(score) != len(space):
        raise MeasurementError(f"{len(score)} scores for {len(space)} networks")
    columns = [
        _columns(device, space.take(np.arange(start, min(start + _CHUNK, len(space)))), budget_ms)
        for start in range(0, len(space), _CHUNK)
    ]
    mean, low, high, probability = np.concatenate(columns, axis=1)
    rows = np.flatnonzero((probability >= confidence) & np.isfinite(score))
    # Of equal scores, the one that meets the budget more surely.
    rows = rows[np.lexsort((-probability[rows], -score[rows]))]
    values: Mapping[int, float] = {int(row): float(score[row]) for row in rows[: max(count, shortlist)]}
    if rescore is not None:
        values = {row: rescore(space.labels[row]) for row in list(values)[:shortlist]}
    best = sorted(values, key=lambda row: -values[row])[:count]
    return [
        Found(
            network=space.labels[row],
            score=values[row],
            latency_ms=float(mean[row]),
            low_ms=float(low[row]),
            high_ms=float(high[row]),
            probability=float(probability[row]),
        )
        for row in best
    ]


def _columns(device: Device, networks: Space, budget_ms: float) -> np.ndarray:
    found = device.predict(networks, budget_ms=budget_ms)
    assert found.probability is not None
    return np.stack([found.mean_ms, found.low_ms, found.high_ms, found.probability])


def rescorer(name: str, space: str) -> Callable[[str], float] | None:
    """A score that needs weights, of a network of a known space by its label; None if it needs none.

    Raises:
        MeasurementError: there is no score of this name.
    """
    if name in (*ANALYTIC, "accuracy"):
        return None
    from chipfit.search import cells, zero_cost

    if name not in zero_cost.SCORES:
        raise MeasurementError(
            f"no score '{name}'{nearest(name, (*ANALYTIC, *zero_cost.SCORES, 'accuracy'))}"
        )
    inputs = zero_cost.random_inputs()
    return lambda label: zero_cost.SCORES[name](cells.build(space, label), inputs)

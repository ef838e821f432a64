"""What to measure next, and when to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chipfit.cost.latency.device import Device
from chipfit.cost.latency.interval import deviations, widths
from chipfit.cost.latency.measurements import FEWEST, Measurements
from chipfit.cost.latency.prior import Prior
from chipfit.cost.latency.select import select
from chipfit.cost.latency.space import Space

#: Networks of the space on which uncertainty is judged, and the interval that is looked at.
_JUDGED, _SHARE = 500, 0.9
#: Part of the whole variance below which more samples change little: the rest is the stopwatch's.
_SETTLED = 0.25


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Networks to measure next, the most telling first.

    `uncertainty` is half the 90 % interval of a typical network over its latency; `stop` says why no
    more measuring is needed, or is empty.
    """

    space: str
    networks: tuple[str, ...]
    measured: int = 0
    uncertainty: float | None = None
    stop: str = ""

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit latency select`."""
        return {
            "space": self.space,
            "networks": list(self.networks),
            "measured": self.measured,
            "uncertainty": self.uncertainty,
            "stop": self.stop,
        }


def plan(
    space: Space,
    known: Prior,
    samples: int,
    *,
    measured: Measurements | None = None,
    device: Device | None = None,
    tolerance: float = 0.05,
) -> Plan:
    """Which networks to measure, given those measured already.

    Args:
        space: the networks to choose from.
        known: its prior.
        samples: how many to choose.
        measured: what is known already.
        device: fitted to what is known already, if that is enough for a fit.
        tolerance: relative uncertainty that is good enough.
    """
    before = np.zeros(0, dtype=int) if measured is None else measured.rows
    rows = select(known, min(samples, len(space) - len(before)), measured=before)
    labels = tuple(space.labels[row] for row in rows)
    if measured is None or device is None or len(measured) < FEWEST:
        return Plan(space=space.name, networks=labels, measured=len(before))
    uncertainty, reason = _judge(space, device, tolerance)
    return Plan(space=space.name, networks=labels, measured=len(before), uncertainty=uncertainty, stop=reason)


def _judge(space: Space, device: Device, tolerance: float) -> tuple[float, str]:
    """How uncertain a typical network is, and why that is enough, if it is."""
    rows = np.unique(np.linspace(0, len(space) - 1, min(_JUDGED, len(space))).astype(int))
    some = space.take(rows)
    mean, variances = device.uncertainty(some)
    half = widths(_SHARE) * device.inference.scale * deviations(variances)
    uncertainty = float(np.median(half / mean))
    if uncertainty <= tolerance:
        return (
            uncertainty,
            f"half the 90 % interval is {uncertainty:.1%} of the latency, within {tolerance:.1%}",
        )
    if float(np.median(variances[0] / variances.sum(0))) < _SETTLED:
        return (
            uncertainty,
            "most of the uncertainty is the noise of the stopwatch: measure more carefully, not more",
        )
    return uncertainty, ""

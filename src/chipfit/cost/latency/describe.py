"""What there is to say of a fitted device: the document of `chipfit latency fit --json`, and of its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chipfit.cost.latency.device import Device
from chipfit.cost.latency.interval import deviations, widths
from chipfit.cost.latency.process import PARTS

#: The interval that the document has of each network.
SHARE = 0.9


def describe(device: Device, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The document of a fit: every sample as the others predict it, and what the fit believes in.

    `informative` is how much surer the latency of the samples became by this one; `trust` how much it is
    believed (1: as much as the noise says).
    """
    found = device.inference
    predicted = found.fit.left_out_ms
    half = widths(SHARE) * found.scale * deviations(found.fit.left_out_variances)
    error = predicted / device.latency_ms - 1
    told = _informative(device)
    rows = [
        {
            "network": label,
            "measured_s": measured / 1e3,
            "predicted_s": mean / 1e3,
            "low_s": max(mean - width, 0.0) / 1e3,
            "high_s": (mean + width) / 1e3,
            "error": off,
            "trust": trust,
            "informative": part,
        }
        for label, measured, mean, width, off, trust, part in zip(
            device.measured.labels,
            device.latency_ms.tolist(),
            predicted.tolist(),
            half.tolist(),
            error.tolist(),
            found.fit.trust.tolist(),
            told.tolist(),
            strict=True,
        )
    ]
    scales = found.fit.weights @ found.fit.scales
    return {
        "name": device.name,
        "space": device.measured.name,
        "networks": rows,
        "median_error": float(np.median(np.abs(error))),
        "within_10_percent": float((np.abs(error) <= 0.1).mean()),
        "noise_s": float(np.sqrt(found.fit.weights @ found.fit.noise[:, 0])) * found.fit.spread_ms / 1e3,
        "belief": {part: float(scale) for part, scale in zip(PARTS, scales, strict=True) if scale},
        "operators": _by_operator(device, error),
        "warnings": list(warnings),
    }


def _informative(device: Device) -> np.ndarray:
    """How much of all that the samples say comes from each: its share of the explained variance."""
    fit = device.inference.fit
    best = int(np.argmax(fit.weights))
    precision = (fit.inverses[best] ** 2).sum(0)
    noise = fit.noise[best, 0] / fit.trust
    # 1 - noise * precision is how far a sample determines its own fitted value (its leverage).
    leverage = np.clip(1 - noise * precision, 0.0, 1.0)
    return leverage / max(float(leverage.sum()), 1e-12)


def _by_operator(device: Device, error: np.ndarray) -> list[dict[str, Any]]:
    """The error of samples that run more of an operator than the others do, and of those that run less."""
    found: list[dict[str, Any]] = []
    for name, column in device.measured.features.items():
        if not name.endswith(" kernels") or name == "kernels" or np.ptp(column) == 0:
            continue
        more = column > np.median(column)
        if 0 < more.sum() < len(more):
            found.append(
                {
                    "operator": name.removesuffix(" kernels"),
                    "error_more": float(np.mean(error[more])),
                    "error_less": float(np.mean(error[~more])),
                    "correlation": float(np.corrcoef(column, error)[0, 1]) if error.std() else 0.0,
                }
            )
    return found

"""What a network takes on each variant of a target, and which variants no other beats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import joblib
import numpy as np
from jaxtyping import Bool, Float

from chipfit.cost.base import AbstractEstimator, Cost
from chipfit.cost.sweep.axes import Axis, Sweep, kept
from chipfit.errors import ChipfitError, MappingError, TableError, TargetError, nearest
from chipfit.hardware.target import Target
from chipfit.report.variants import COMPARED
from chipfit.workload.network import Network

#: What variants are compared in, and its key in the document. All are better when smaller.
QUANTITIES: Mapping[str, str] = MappingProxyType({name: key for name, (key, _, _) in COMPARED.items()})


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant and what the network takes on it; or, in `error`, why it cannot run there.

    `parameters` are by the names of the axes, in their units. `pareto`: no other variant is at
    least as good in every quantity of the front and better in one.
    """

    parameters: Mapping[str, float] = field(default_factory=dict[str, float])
    cost: Cost | None = None
    capacity_bits: int | None = None
    processing_elements: int | None = None
    pareto: bool = False
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The row of this variant in the document of `chipfit cost --sweep --json`."""
        cost = self.cost
        return {
            "parameters": dict(self.parameters),
            "energy_j": cost.energy_j if cost else None,
            "latency_s": cost.latency_s if cost else None,
            "edp_js": cost.edp if cost else None,
            "dram_bits": cost.dram_bits if cost else None,
            "capacity_bits": self.capacity_bits,
            "processing_elements": self.processing_elements,
            "pareto": self.pareto,
            "error": self.error,
        }


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """What a network takes on each variant of a target; `baseline` is the target as it is."""

    network: str
    target: str
    method: str
    error: str
    axes: tuple[Axis, ...]
    front: tuple[str, ...]
    baseline: Variant
    variants: tuple[Variant, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit cost --sweep --json`."""
        return {
            "network": self.network,
            "target": self.target,
            "method": self.method,
            "error": self.error,
            "axes": [axis.to_json() for axis in self.axes],
            "front": list(self.front),
            "baseline": self.baseline.to_json(),
            "variants": [variant.to_json() for variant in self.variants],
            "warnings": list(self.warnings),
        }


def price(
    sweep: Sweep,
    network: Network,
    estimator: AbstractEstimator,
    *,
    jobs: int | None = None,
    front: Sequence[str] = ("energy", "latency"),
    advance: Callable[[], object] | None = None,
) -> SweepReport:
    """What a network takes on each variant, in parallel under joblib's current backend.

    Args:
        sweep: the variants.
        network: what runs on them.
        estimator: prices them.
        jobs: processes, as joblib's `n_jobs`; left out: those of the backend that is set around this
            call (`joblib.parallel_config`, `workers`), and one without it.
        front: two or more of `QUANTITIES`: variants that no other beats in all of them are marked.
        advance: called as each variant is done.

    Raises:
        ChipfitError: an unknown quantity, or fewer than two; or a worker was ended from outside.
    """
    check_front(front)
    points: list[tuple[float, ...] | None] = [None, *sweep.variants()]
    outcomes: dict[int, _Outcome] = {}
    calls = (joblib.delayed(_price)(i, sweep, network, estimator, values) for i, values in enumerate(points))
    try:
        for index, outcome in _parallel(jobs)(calls):
            outcomes[index] = outcome
            if index and advance is not None:
                advance()
    except BrokenExecutor as error:
        raise ChipfitError(
            "a worker was ended from outside, most often for want of memory: try again with fewer jobs"
        ) from error
    found = [
        replace(
            outcomes[index].variant,
            parameters=dict(zip((axis.name for axis in sweep.axes), values or (), strict=values is not None)),
        )
        for index, values in enumerate(points)
    ]
    warnings = dict.fromkeys(w for index in range(len(points)) for w in outcomes[index].warnings)
    return SweepReport(
        network=network.name,
        target=sweep.target.name,
        method=estimator.method,
        error=estimator.error,
        axes=sweep.axes,
        front=tuple(front),
        baseline=found[0],
        variants=tuple(_marked(found[1:], front)),
        warnings=(*warnings, *kept(sweep)),
    )


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    variant: Variant
    warnings: tuple[str, ...] = ()


def _price(
    index: int, sweep: Sweep, network: Network, estimator: AbstractEstimator, values: tuple[float, ...] | None
) -> tuple[int, _Outcome]:
    """What one variant takes (or the target itself, without values); runs in another process."""
    try:
        target = sweep.target if values is None else sweep.build(values)
    except TargetError as error:
        return index, _Outcome(variant=Variant(error=str(error)))
    size, elements = capacity_bits(target), target.processing_elements
    try:
        report = estimator.estimate(network, target)
    except (MappingError, TargetError, TableError) as error:
        variant = Variant(capacity_bits=size, processing_elements=elements, error=str(error))
        return index, _Outcome(variant=variant)
    variant = Variant(cost=report.total, capacity_bits=size, processing_elements=elements)
    return index, _Outcome(variant=variant, warnings=report.warnings)


def _parallel(jobs: int | None) -> Any:
    try:
        return joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    except ValueError:  # this backend, such as Ray's, has results only when all are done
        return joblib.Parallel(n_jobs=jobs)


def check_front(front: Sequence[str]) -> None:
    """Refuse what is not a front.

    Raises:
        ChipfitError: an unknown quantity, one that is named twice, or fewer than two.
    """
    for name in front:
        if name not in QUANTITIES:
            raise ChipfitError(f"unknown quantity '{name}'{nearest(name, QUANTITIES)}")
    if len(set(front)) < max(2, len(front)):
        raise ChipfitError(f"'{','.join(front)}' is not a front: name two or more different quantities")


def _marked(variants: Sequence[Variant], front: Sequence[str]) -> list[Variant]:
    rows = [variant.to_json() for variant in variants]
    able = [i for i, variant in enumerate(variants) if variant.cost is not None]
    best = pareto(np.array([[rows[i][QUANTITIES[name]] for name in front] for i in able], dtype=float))
    marked = {i for i, mark in zip(able, best, strict=True) if mark}
    return [replace(variant, pareto=i in marked) for i, variant in enumerate(variants)]


def pareto(points: Float[np.ndarray, "point quantity"]) -> Bool[np.ndarray, " point"]:
    """Which points no other point beats: at least as small everywhere, and smaller somewhere.

    >>> pareto(np.array([[1.0, 3.0], [2.0, 1.0], [2.0, 3.0], [1.0, 3.0]])).tolist()
    [True, True, False, True]
    """
    best = np.ones(len(points), dtype=bool)
    for i, point in enumerate(points):
        beaten_by = (points <= point).all(axis=1) & (points < point).any(axis=1)
        best[i] = not beaten_by.any()
    return best


def capacity_bits(target: Target) -> int:
    """Capacity of all memories on the chip together (bits): each as often as it exists.

    >>> from chipfit.hardware.load import load_target
    >>> capacity_bits(load_target("tpu_like")) // 8  # 2 MiB, 32 accumulators of 4 B, 1024 x 128 B
    2228352
    """
    instances, total = 1, 0
    below = {array.below: array.elements for array in target.arrays}
    for level in target.levels:
        total += instances * (level.size_bits or 0)
        instances *= below.get(level.name, 1)
    return total

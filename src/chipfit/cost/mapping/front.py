"""Mappings of a layer that no other beats in both energy and latency."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import RULES, SPACES, Counts, Mapping, MapSpace, Rules, Widths
from chipfit.errors import MappingError
from chipfit.hardware.target import Target
from chipfit.workload.network import Loops


@dataclass(frozen=True, kw_only=True)
class Point:
    """A mapping and what it takes; `gap` is how far its energy may lie above the least for its cycles."""

    mapping: Mapping
    energy_j: float
    cycles: float
    gap: float


def front(
    loops: Loops,
    target: Target,
    widths: Widths,
    *,
    resolution: float = 0.02,
    mac_energy_j: float = 0.0,
    streamed_words: float = 0.0,
    streamed_energy_j: float = 0.0,
    space: MapSpace = SPACES["ragged"],
    rules: Rules = RULES["chipfit"],
) -> tuple[Point, ...]:
    """Mappings from the cheapest to the fastest, each the cheapest within its cycles.

    Args:
        loops: the nest.
        target: the chip.
        widths: bits of the tensors.
        resolution: each point is faster than the one before by at least this fraction; 0 leaves none out.
        mac_energy_j: energy of all multiply-accumulates (J).
        streamed_words: words that cross the main memory besides.
        streamed_energy_j: their energy (J).
        space: which mappings are looked at.
        rules: what is counted.

    Raises:
        MappingError: nothing fits, or the resolution is below 0.
    """
    if not resolution >= 0:
        raise MappingError(f"resolution is {resolution:g}: a fraction of the cycles, at least 0")

    def best(objective: str, most_cycles: float, hint: Mapping | None) -> Point:
        answer = find(
            loops, target, widths, objective=objective, mac_energy_j=mac_energy_j,
            streamed_words=streamed_words, streamed_energy_j=streamed_energy_j, space=space,
            rules=rules, most_cycles=most_cycles, hint=hint,
        )  # fmt: skip
        counts = _counts(answer.mapping)
        return Point(mapping=answer.mapping, energy_j=counts.energy_j, cycles=counts.cycles, gap=answer.gap)

    def _counts(mapping: Mapping) -> Counts:
        counts = evaluate(
            mapping, loops, target, widths, mac_energy_j=mac_energy_j,
            streamed_words=streamed_words, streamed_energy_j=streamed_energy_j, rules=rules,
        )  # fmt: skip
        assert counts is not None, "the mapper returned a mapping that does not fit"
        return counts

    fastest = best("latency", math.inf, None)
    found = [best("energy", math.inf, None)]
    while found[-1].cycles > fastest.cycles:
        # Never below the fastest, so there is always a mapping; the fastest is a good one to begin with.
        cap = max(fastest.cycles, math.nextafter(found[-1].cycles / (1 + resolution), 0))
        found.append(best("energy", cap, fastest.mapping))
    return tuple(found)

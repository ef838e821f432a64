"""The slow, obvious twin of `chipfit.cost.mapping.nest`: walks a mapped loop nest step by step with
real sets of elements, and counts what moves. Shares only the conventions with it, no formula.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field

from chipfit.cost.mapping.model import Mapping, Rules
from chipfit.workload.network import DIMENSIONS, RELEVANT, Loops

TENSORS = ("input", "weight", "output")
#: Innermost loops of each stationary tensor, as nest.ORDER documents: outermost first.
ORDERS = {"input": "GNPQCRSK", "weight": "GKCRSNPQ", "output": "GKNPQCRS"}


@dataclass
class Walk:
    """Elements moved, by (stage, tensor, 'operand' | 'sum' | 'finished').

    `first`, by (stage, tensor): what one instance of a memory sends (of outputs: gets) at the first step.
    """

    reads: Counter = field(default_factory=Counter)
    writes: Counter = field(default_factory=Counter)
    hops: Counter = field(default_factory=Counter)
    first: Counter = field(default_factory=Counter)
    steps: int = 0


def walk(loops: Loops, mapping: Mapping, holds: list[set[str]], rules: Rules) -> Walk:
    """Everything that moves when a nest runs as mapped.

    `holds[stage]` = the tensors that a stage holds. `rules` = what is counted.
    """
    stages = len(holds)
    bound = dict(zip(DIMENSIONS, loops.bounds, strict=True))
    tile = [dict(zip(DIMENSIONS, row, strict=True)) for row in mapping.tiles]
    side = [
        {d: r * c for d, r, c in zip(DIMENSIONS, rows, columns, strict=True)}
        for rows, columns in zip(mapping.rows, mapping.columns, strict=True)
    ]
    block = [{d: tile[s + 1][d] * side[s][d] for d in DIMENSIONS} for s in range(stages)]
    trips = [{d: math.ceil(tile[s][d] / block[s][d]) for d in DIMENSIONS} for s in range(stages)]
    nest = [(s, d) for s in range(stages) for d in ORDERS[mapping.stationary[s]]]
    elements = [(s, d) for s in range(stages) for d in DIMENSIONS]

    def interval(d: str, depth: int, loop: dict, element: dict) -> tuple[int, int]:
        """Extent along d of one instance of stage `depth`; empty if it idles."""
        low, high = 0, bound[d]
        for s in range(depth):
            low += loop[s, d] * block[s][d]
            high = min(high, low + block[s][d])
            low += element[s, d] * tile[s + 1][d]
            high = min(high, low + tile[s + 1][d])
        return low, high

    def lines(p: tuple[int, int], r: tuple[int, int], axis: int) -> set[int]:
        """Rows of the real input that these outputs and kernel rows span."""
        outputs, kernel = (loops.P, loops.R) if axis == 0 else (loops.Q, loops.S)
        stride, dilation, padding = loops.stride[axis], loops.dilation[axis], loops.padding[axis]
        padding = 0 if rules.padding else padding
        hull = (outputs - 1) * stride + (kernel - 1) * dilation + 1
        before = (padding + 1) // 2
        real = set(range(before, before + max(1, hull - padding)))
        wanted = range(p[0] * stride + r[0] * dilation, (p[1] - 1) * stride + (r[1] - 1) * dilation + 1)
        if rules.skips:
            wanted = {y * stride + k * dilation for y in range(*p) for k in range(*r)}
        return set(wanted) & real

    def contents(tensor: str, span: dict[str, tuple[int, int]]) -> set[tuple]:
        if tensor == "input":
            rows, columns = lines(span["P"], span["R"], 0), lines(span["Q"], span["S"], 1)
            return set(itertools.product(*(range(*span[d]) for d in "NGC"), rows, columns))
        names = "GKCRS" if tensor == "weight" else "NGKPQ"
        return set(itertools.product(*(range(*span[d]) for d in names)))

    result = Walk()
    times = [
        dict(zip(nest, index, strict=True))
        for index in itertools.product(*(range(trips[s][d]) for s, d in nest))
    ]
    first_element = dict.fromkeys(elements, 0)
    times = [
        t
        for t in times
        if all(low < high for d in DIMENSIONS for low, high in [interval(d, stages, t, first_element)])
    ]
    result.steps = len(times)

    for tensor in TENSORS:
        holders = [s for s in range(stages) if tensor in holds[s]]
        for number, parent in enumerate(holders):
            child = holders[number + 1] if number + 1 < len(holders) else stages
            datapath = child == stages
            innermost = number + 2 >= len(holders)
            # Loops that decide when a tile is fetched anew.
            deciding = [loop for loop in nest if loop[0] < child]
            if not datapath:
                while deciding and not (
                    deciding[-1][1] in RELEVANT[tensor] and trips[deciding[-1][0]][deciding[-1][1]] > 1
                ):
                    deciding.pop()
            reach = [e for e in elements if e[0] < child]
            instances = [
                dict(zip(reach, index, strict=True))
                for index in itertools.product(*(range(side[s][d]) for s, d in reach))
            ]
            seen: dict[str, Counter] = {"parent": Counter(), "child": Counter()}
            held_by: dict[str, dict[tuple, set]] = {"parent": {}, "child": {}}
            hop_seen: dict[int, Counter] = {a: Counter() for a in range(parent, child)}
            hop_by: dict[int, dict[tuple, set]] = {a: {} for a in range(parent, child)}
            key = None
            held: dict[tuple, dict] = {}  # what each instance has
            for time in times:
                now = tuple(time[loop] for loop in deciding)
                if now == key:
                    continue
                before, key = key, now
                # Rows stay if nothing but the innermost loop moved on, along outputs.
                slides = rules.slides and tensor == "input" and not datapath and before is not None
                if slides:
                    level, d = deciding[-1]
                    wide = [
                        side[s][name]
                        for s in range(level, child)
                        for name in (d, {"P": "R", "Q": "S"}.get(d, d))
                    ]
                    slides = d in "PQ" and max(wide) == 1
                    slides = slides and now[:-1] == before[:-1] and now[-1] == before[-1] + 1
                was, held = held, {}
                spans = []
                for instance in instances:
                    span = {d: interval(d, child, time, instance) for d in DIMENSIONS}
                    if all(low < high for low, high in span.values()):
                        spans.append((instance, span))
                        held[tuple(instance.values())] = span

                def delivered(
                    depth: int,
                    spans: list = spans,
                    tensor: str = tensor,
                    child: int = child,
                    parent: int = parent,
                    slides: bool = slides,
                    was: dict = was,
                ):
                    """What reaches each instance of stage `depth`, as what it sends on at once."""
                    groups: dict[tuple, list] = {}
                    there: dict[tuple, set] = {}
                    for instance, span in spans:
                        own = tuple(v for (s, _), v in instance.items() if s < depth)
                        apart = tuple(
                            v
                            for (s, d), v in instance.items()
                            if depth <= s < child - 1 and d in RELEVANT[tensor]
                        )
                        groups.setdefault((own, apart), []).append(span)
                        if slides:
                            kept = contents(tensor, was[tuple(instance.values())])
                            there.setdefault((own, apart), set()).update(kept)
                    for (own, apart), members in groups.items():
                        known = there.get((own, apart), set())
                        union = {
                            d: (min(m[d][0] for m in members), max(m[d][1] for m in members))
                            for d in DIMENSIONS
                        }
                        if rules.union or tensor != "input" or depth > parent:
                            yield own, contents(tensor, union) - known
                            continue
                        # Each tile that differs in what the input depends on leaves by itself.
                        tiles = {tuple(m[d] for d in DIMENSIONS if d in RELEVANT[tensor]): m for m in members}
                        for member in tiles.values():
                            yield own, contents(tensor, member) - known

                if before is None and not datapath:
                    for own, moved in delivered(parent):
                        if not any(own):
                            result.first[parent, tensor] += len(moved)
                if tensor != "output":
                    for _, moved in delivered(parent):
                        result.reads[parent, tensor, "operand"] += len(moved)
                    for array in range(parent, child):
                        for _, moved in delivered(array + 1):
                            result.hops[array, parent, tensor, "operand"] += len(moved)
                    if not datapath:
                        for _, moved in delivered(child):
                            result.writes[child, tensor, "operand"] += len(moved)
                    continue
                for own, moved in delivered(parent):
                    for element in moved:
                        result.writes[parent, tensor, "sum"] += 1
                        if seen["parent"][own, element]:
                            result.reads[parent, tensor, "sum"] += 1
                        seen["parent"][own, element] += 1
                        held_by["parent"].setdefault(element, set()).add(own)
                for array in range(parent, child):
                    for own, moved in delivered(array + 1):
                        for element in moved:
                            result.hops[array, parent, tensor, "sum"] += 1  # out
                            if hop_seen[array][own, element] and not datapath:
                                result.hops[array, parent, tensor, "sum"] += 1  # back in
                            hop_seen[array][own, element] += 1
                            hop_by[array].setdefault(element, set()).add(own)
                if not datapath:
                    for own, moved in delivered(child):
                        for element in moved:
                            result.reads[child, tensor, "sum"] += rules.drains
                            if seen["child"][own, element]:
                                result.writes[child, tensor, "sum"] += 1
                            seen["child"][own, element] += 1
                            held_by["child"].setdefault(element, set()).add(own)
            if tensor == "output":
                # The last write of a sum that only one instance has is the finished output.
                if not datapath or parent == 0:
                    last = sum(len(owners) == 1 for owners in held_by["parent"].values())
                    result.writes[parent, tensor, "sum"] -= last
                    result.writes[parent, tensor, "finished"] += last
                # A memory that got finished outputs from further in sends those.
                if not datapath and not innermost:
                    last = sum(len(owners) == 1 for owners in held_by["child"].values())
                    result.reads[child, tensor, "sum"] -= last * rules.drains
                    result.reads[child, tensor, "finished"] += last * rules.drains
                    for array in range(parent, child):
                        last = sum(len(owners) == 1 for owners in hop_by[array].values())
                        result.hops[array, parent, tensor, "sum"] -= last
                        result.hops[array, parent, tensor, "finished"] += last
    return result

"""Uneven tiles: the tensors of one memory with tiles of different sizes.

A memory that holds several tensors is cut into two parts, each of which holds some of them and has loops of
its own: the tile of the part further in is cut from that of the part further out. Where the memory is cut is
found by branch and bound: parts that may both take all the room there is are a relaxation, and of mappings
that take too much together, either the one part must take less, or the other must. Memories side by side,
each of other tensors, are taken in every order, each with loops of its own.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import replace

from chipfit.cost.mapping.model import Mapping, Outcome, Parts
from chipfit.cost.mapping.parts import arrangements
from chipfit.hardware.target import Target

#: Relaxations that are looked at, besides the first of each way to cut a memory.
LOOKS = 4


def improved(
    best: Outcome,
    target: Target,
    search: Callable[[Parts, float], Outcome],
    least: Callable[[Parts, float], float],
    taken: Callable[[Mapping, int], int],
) -> Outcome:
    """The best of an outcome and of all mappings with uneven tiles in one memory.

    Args:
        best: what is best with even tiles.
        target: the chip.
        search: the best mapping of the target in some parts, if there is one below a score.
        least: what no mapping in some parts is below, or the score that is given if that is less.
        taken: words that a mapping takes in a part.
    """
    low, cuts, priced = best.low, best.cuts, best.priced
    numbers = itertools.count()
    # Whether another cut was looked at, bound, number, parts: each arrangement is looked at once first.
    waiting = [(False, least(parts, best.score), next(numbers), parts) for parts in arrangements(target)]
    heapq.heapify(waiting)
    looks = LOOKS + len(waiting)
    while waiting and looks:
        _, bound, _, parts = heapq.heappop(waiting)
        if bound >= best.score:
            continue
        looks -= 1
        found = search(parts, best.score)
        bound = max(bound, found.low)
        cuts, priced = cuts + found.cuts, priced + found.priced
        if found.mapping is None:
            low = min(low, bound)
            continue
        cut = next((i for i, (a, b) in enumerate(itertools.pairwise(parts)) if a[0] == b[0]), None)
        room = None if cut is None else target.level(parts[cut][0]).room_words
        if cut is not None and room is not None:
            outer, inner = (taken(replace(found.mapping, parts=parts), cut + i) for i in (0, 1))
            if outer + inner > room:
                for change in ((outer - 1, None), (None, room - outer)):
                    if 0 not in change:
                        heapq.heappush(waiting, (True, bound, next(numbers), _with(parts, cut, *change)))
                continue
            parts = _with(parts, cut, outer, room - outer)
        best, low = replace(found, mapping=replace(found.mapping, parts=parts)), min(low, bound)
    low = min(low, best.score, *(bound for _, bound, _, _ in waiting))
    return replace(best, low=low, cuts=cuts, priced=priced)


def _with(parts: Parts, cut: int, outer: int | None, inner: int | None) -> Parts:
    """The same with other words for the two parts of a memory; None: as many as before."""
    (name, outside, most), (_, inside, rest) = parts[cut], parts[cut + 1]
    first = (name, outside, most if outer is None else outer)
    second = (name, inside, rest if inner is None else inner)
    return (*parts[:cut], first, second, *parts[cut + 2 :])

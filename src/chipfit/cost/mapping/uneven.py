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

#: Relaxations that are looked at for one way to cut a memory.
LOOKS = 6


def improved(
    best: Outcome,
    target: Target,
    search: Callable[[Parts, float], Outcome],
    taken: Callable[[Mapping, int], int],
) -> Outcome:
    """The best of an outcome and of all mappings with uneven tiles in one memory.

    Args:
        best: what is best with even tiles.
        target: the chip.
        search: the best mapping of the target in some parts, if there is one below a score.
        taken: words that a mapping takes in a part.
    """
    low, cuts, priced = best.low, best.cuts, best.priced
    numbers = itertools.count()
    for start in arrangements(target):
        cut = next((i for i, (a, b) in enumerate(itertools.pairwise(start)) if a[0] == b[0]), None)
        waiting: list[tuple[float, int, Parts]] = [(0.0, next(numbers), start)]
        for _ in range(LOOKS):
            if not waiting or waiting[0][0] >= best.score:
                break
            parts = heapq.heappop(waiting)[2]
            found = search(parts, best.score)
            cuts, priced = cuts + found.cuts, priced + found.priced
            if found.mapping is None:
                low = min(low, found.low)
                continue
            mapping = replace(found.mapping, parts=parts)
            if cut is not None:
                room = target.level(parts[cut][0]).room_words
                outer, inner = taken(mapping, cut), taken(mapping, cut + 1)
                if room is not None and outer + inner > room:
                    changes = (outer - 1, None), (None, room - outer)
                    for changed in (_with(parts, cut, *change) for change in changes if 0 not in change):
                        heapq.heappush(waiting, (found.low, next(numbers), changed))
                    continue
                if room is not None:
                    mapping = replace(mapping, parts=_with(parts, cut, outer, room - outer))
            best, low = replace(found, mapping=mapping), min(low, found.low)
        if waiting:
            low = min(low, waiting[0][0])
    return replace(best, low=min(low, best.score), cuts=cuts, priced=priced)


def _with(parts: Parts, cut: int, outer: int | None, inner: int | None) -> Parts:
    """The same with other words for the two parts of a memory; None: as many as before."""
    (name, outside, most), (_, inside, rest) = parts[cut], parts[cut + 1]
    first = (name, outside, most if outer is None else outer)
    second = (name, inside, rest if inner is None else inner)
    return (*parts[:cut], first, second, *parts[cut + 2 :])

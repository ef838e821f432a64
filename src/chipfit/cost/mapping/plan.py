"""A target as the search reads it: its memories in groups, and the links between those that hold a tensor."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chipfit.cost.mapping.model import INPUT, POSITION, RELEVANT, Flags, Floats, Holds, Ints
from chipfit.hardware.target import TENSORS, Array, Target
from chipfit.workload.network import DIMENSIONS

if TYPE_CHECKING:
    from chipfit.cost.mapping.nest import Chip


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A memory and the array below it. One that is tied has no loops of its own."""

    name: str
    array: Array | None
    tied: bool


def stages(target: Target) -> tuple[Stage, ...]:
    """The stages of a target, from the main memory inwards.

    Memories side by side, of different tensors with nothing between them, share one tile: all but the
    last are tied, unless they have loops of their own.
    """
    arrays = {array.below: array for array in target.arrays}
    found: list[Stage] = []
    for index, level in enumerate(target.levels):
        array = arrays.get(level.name)
        last = index == len(target.levels) - 1
        tied = index > 0 and array is None and not last and not level.own_loops
        tied = tied and not set(level.holds) & set(target.levels[index + 1].holds)
        found.append(Stage(name=level.name, array=array, tied=tied))
    return tuple(found)


def per_element(per_word: float) -> float:
    """Words that an element takes."""
    return 1 / per_word if per_word > 0 else -per_word


@functools.lru_cache(maxsize=256)
def ways_to_hold(target: Target) -> tuple[Holds, ...]:
    """Which tensors each memory may keep: first all that it can."""
    options: list[list[tuple[str, ...]]] = []
    for level in target.levels:
        free = [t for t in level.holds if t in level.may_bypass]
        passing = [gone for n in range(len(free) + 1) for gone in itertools.combinations(free, n)]
        options.append([tuple(t for t in level.holds if t not in gone) for gone in passing])
    return tuple(itertools.product(*options))


class Plan(NamedTuple):
    """A target at given widths, in groups.

    stage_group: group of each stage (stages). last_stage: of each group (groups).
    sides: [group, rows | columns] of the array below, (1, 1) if none. may: [group, row | column, d]
        whether a side may unroll a dimension.
    loopable: [group, d] whether a memory may loop over it. allowed: [group, t] stationary tensors.
    stays: [group, t, d] whether a tensor may stay where the memory loops over a dimension: any if it is
        allowed, else, of those it depends on, such as are further out than the others in the order of one
        that is.
    link: [l, tensor | step | parent group | to the datapath | hull of the block | whether its parent's words
        wait for an array further out] (links, 6).
    price: [l, parent write (operands: read) | parent read (operands: 0) | child read | child write | hop
        at the step's array] of an element (J), then what a finished output takes less: [parent, child and
        hop] (links, 7).
    main_words: words of the main memory an element takes, where that is the parent, else 0 (links).
    fans: [l, parent | child] most copies that arrays further out make of a partial sum (links, 2).
    pending: [step, t] link whose parent lies further out behind an array, or -1 (groups, 3).
    discount: [l, g] most elements that read one word of it at once, in arrays from its parent down to
        group g, which is excluded (links, groups + 1).
    hops: [step, t] price of an element of a pending link at the array of the step (J) (groups, 3).
    most_copies: most copies of a partial sum in arrays of groups before (groups + 1).
    speed: [l, parent | child | main memory] cycles that an element takes there, then what a finished output
        takes less in each (links, 6).
    complete: whether `speed` has all cycles of memories of finite bandwidth; for a search, whether what
        partial mappings take is known so well that one may rule out another. drains: 1 if sums are read on
        their way out, else 0.
    """

    stage_group: Ints
    last_stage: Ints
    sides: Ints
    may: Flags
    loopable: Flags
    allowed: Flags
    stays: Flags
    link: Ints
    price: Floats
    main_words: Floats
    fans: Floats
    pending: Ints
    discount: Floats
    hops: Floats
    most_copies: Floats
    speed: Floats
    complete: bool
    drains: float


def _stage_groups(parts: tuple[Stage, ...]) -> list[int]:
    groups: list[int] = []
    g = 0
    for part in parts:
        groups.append(g)
        g += not part.tied
    return groups


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The parts of a plan that depend on the target alone, those fields of `Plan`, and links that are known.

    `copies`: [group, t] most copies by an array, its elements if it may unroll a dimension that the tensor
    lacks.
    """

    shared: dict[str, Ints | Flags | Floats]
    parts: tuple[Stage, ...]
    copies: Floats
    known: dict[tuple[object, ...], _Chain] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        """Groups of memories."""
        return len(self.copies)

    @property
    def elements(self) -> list[int]:
        """Processing elements of the array of each group."""
        return [int(n) for n in self.shared["sides"].prod(axis=1)]


@functools.lru_cache(maxsize=256)
def skeleton(target: Target) -> Skeleton:
    """The parts of a plan that depend on the target alone."""
    parts = stages(target)
    stage_group = np.array(_stage_groups(parts), np.int64)
    groups = int(stage_group[-1]) + 1
    sides, may = np.ones((groups, 2), np.int64), np.zeros((groups, 2, 8), np.bool_)
    loopable, allowed = np.ones((groups, 8), np.bool_), np.ones((groups, 3), np.bool_)
    last = np.zeros(groups, np.int64)
    for stage, (part, level) in enumerate(zip(parts, target.levels, strict=True)):
        g = stage_group[stage]
        last[g] = stage
        loopable[g] &= [d in level.loops for d in DIMENSIONS]
        allowed[g] &= [t in level.stationary for t in TENSORS]
        if part.array is not None:
            sides[g] = part.array.rows, part.array.columns
            may[g, 0] = [d in part.array.row_dimensions and part.array.rows > 1 for d in DIMENSIONS]
            may[g, 1] = [d in part.array.column_dimensions and part.array.columns > 1 for d in DIMENSIONS]
    copies = np.ones((groups, 3))
    for g in range(groups):
        for t in range(3):
            if (may[g].any(axis=0) & (RELEVANT[t] == 0)).any():
                copies[g, t] = sides[g].prod()
    shared: dict[str, Ints | Flags | Floats] = {
        "stage_group": stage_group,
        "last_stage": last,
        "sides": sides,
        "may": may,
        "loopable": loopable,
        "allowed": allowed,
        "stays": np.array([[_stays(t, of_group) for t in range(3)] for of_group in allowed]),
        "most_copies": np.array([float(copies[:g, 2].prod()) for g in range(groups + 1)]),
    }
    return Skeleton(shared=shared, parts=parts, copies=copies)


def _stays(t: int, allowed: Flags) -> Flags:
    """`Plan.stays` of a tensor in a group."""
    free = RELEVANT[t] == 0
    if allowed[t]:
        return np.ones_like(free)
    found = free.copy()
    for order in np.flatnonzero(allowed):
        found |= POSITION[order] < POSITION[order][free].min()
    return found


@dataclass(frozen=True, kw_only=True)
class _Link:
    """A row of `link`, `price`, `main_words`, `fans`, `discount` and `speed` of a plan.

    `waits`: steps at which it is pending, with the price of a hop there. `complete`: as `Plan.complete`.
    """

    link: tuple[int, ...]
    price: tuple[float, ...]
    main_words: float
    fans: tuple[float, float]
    discount: tuple[float, ...]
    speed: tuple[float, ...]
    waits: tuple[tuple[int, float], ...]
    complete: bool


@dataclass(frozen=True, eq=False)
class _Chain:
    """The links of a tensor: rows of the fields of a plan, and steps at which its n-th link is pending."""

    rows: tuple[Ints | Floats, ...]
    waits: tuple[tuple[int, int, float], ...]
    complete: bool

    @classmethod
    def of(cls, links: Sequence[_Link]) -> _Chain:
        return cls(
            rows=tuple(np.array([getattr(link, name) for link in links]) for name in _ROWS),
            waits=tuple((g, n, hop) for n, link in enumerate(links) for g, hop in link.waits),
            complete=all(link.complete for link in links),
        )


#: Fields of a plan that have a row for each link.
_ROWS = ("link", "price", "main_words", "fans", "discount", "speed")


def plan_of(target: Target, made: Chip, holds: Holds) -> Plan:
    """A target in groups, with the links between memories that hold a tensor next to each other."""
    base = skeleton(target)
    # Of each group the memory whose bandwidth is counted on the way; others count at the end.
    limited = [-1] * base.groups
    complete = True
    for stage, speed in enumerate(made.price[3].tolist()):
        if speed > 0:
            g = int(base.shared["stage_group"][stage])
            complete = complete and limited[g] < 0
            limited[g] = stage
    prices = made.price.tobytes(), made.union, made.drains
    tensors: list[_Chain] = []
    pending = np.full((base.groups, 3), -1, np.int64)
    hops = np.zeros((base.groups, 3))
    before = 0
    for t, tensor in enumerate(TENSORS):
        chain = tuple(i for i, names in enumerate(holds) if i == 0 or tensor in names)
        per_word = made.per_word[:, 2:].tobytes() if t == 2 else made.per_word[:, t].tobytes()
        key = (t, chain, per_word, prices)
        found = base.known.get(key)
        if found is None:
            if len(base.known) > _MOST_KNOWN:
                base.known.clear()
            found = base.known[key] = _Chain.of(list(_links(t, chain, base, made, limited)))
        for g, n, hop in found.waits:
            pending[g, t], hops[g, t] = before + n, hop
        complete = complete and found.complete
        before += len(chain)
        tensors.append(found)
    rows = [np.concatenate(parts) for parts in zip(*(found.rows for found in tensors), strict=True)]
    return Plan(
        **base.shared,  # pyright: ignore[reportArgumentType]
        **dict(zip(_ROWS, rows, strict=True)),
        pending=pending,
        hops=hops,
        complete=complete,
        drains=1.0 if made.drains else 0.0,
    )


#: Links that are kept for a target.
_MOST_KNOWN = 4096


def _links(
    t: int, chain: tuple[int, ...], base: Skeleton, made: Chip, limited: Sequence[int]
) -> Iterator[_Link]:
    """The links of a tensor that the memories of a chain hold."""
    stage_group, last, elements = base.shared["stage_group"], base.shared["last_stage"], base.elements
    copies, parts, groups = base.copies, base.parts, base.groups
    read, write, hop = made.price[0], made.price[1], made.price[2]
    n = len(parts)
    for i, h in enumerate(chain):
        datapath = i == len(chain) - 1
        c = n if datapath else chain[i + 1]
        child = groups if datapath else int(stage_group[c])
        step, parent = child - 1, int(stage_group[h])
        kind = t if t < 2 else 3
        at_parent = per_element(made.per_word[h, kind])
        out_parent = per_element(made.per_word[h, 2])
        at_child = 0.0 if datapath else per_element(made.per_word[c, kind])
        out_child = 0.0 if datapath else per_element(made.per_word[c, 2])
        hop_here = hop[last[step]] if parent <= step else 0.0
        fan_h, fan_c = float(copies[:parent, 2].prod()), float(copies[:step, 2].prod())
        if t == 2:
            finish = write[h] * (at_parent - out_parent) if not datapath or h == 0 else 0.0
            further = not datapath and i + 2 < len(chain)
            finish_child = read[c] * (at_child - out_child) if further and made.drains else 0.0
            finish_child += hop_here * (at_parent - out_parent) if further else 0.0
            price = [
                write[h] * at_parent,
                read[h] * at_parent,
                0.0 if datapath or not made.drains else read[c] * at_child,
                0.0 if datapath else write[c] * at_child,
                hop_here * at_parent,
                finish if fan_h == 1 else max(finish, 0.0),
                finish_child if fan_c == 1 else max(finish_child, 0.0),
            ]
            if parent > step:  # side by side: both see the same copies
                price[2], price[3] = price[2] + price[0], price[3] + price[1]
                price[6], price[5], price[0], price[1] = price[6] + price[5], 0.0, 0.0, 0.0
        else:
            arriving = 0.0 if datapath else write[c] * at_child
            price = [read[h] * at_parent, 0.0, 0.0, arriving, hop_here * at_parent, 0.0, 0.0]
            if parent > step:
                price[3], price[0] = price[3] + price[0], 0.0
        behind = any(elements[g] > 1 for g in range(parent, step))
        behind = behind or bool(h > 0 and parent < step and made.price[3, h] > 0)
        discount, waits, exact = [1.0] * (groups + 1), (), True
        if behind:
            for g in range(parent + 1, groups + 1):
                discount[g] = float(copies[parent:g, t].prod())
            # With identical tiles alone, what of the input passes an array further out is not known.
            known = made.union or t != INPUT
            waits = tuple((g, float(hop[last[g]] * at_parent * known)) for g in range(parent, step))
            exact = known or all(hop[last[g]] == 0 for g in range(parent, step))
        hull = made.union and parts[c - 1].array is not None
        slow = [0.0] * 6
        if made.price[3, h] > 0:
            slow[0] = at_parent / made.price[3, h]
            if t == 2 and (not datapath or h == 0):
                slow[3] = max(0.0, (at_parent - out_parent) / made.price[3, h])
        if not datapath and limited[min(child, groups - 1)] == c:
            slow[1] = at_child / made.price[3, c]
            if t == 2 and i + 2 < len(chain) and made.drains:
                slow[4] = max(0.0, (at_child - out_child) / made.price[3, c])
        if h == 0 and not behind:
            slow[2], slow[5], slow[0], slow[3] = slow[0], slow[3], 0.0, 0.0
        beside = parent > step or (h == 0 and behind)
        complete = exact and (not beside or slow[0] == slow[1] == 0.0)
        if h > 0 and limited[parent] != h:
            slow[0] = slow[3] = 0.0
        yield _Link(
            link=(t, step, parent if behind else min(parent, step), int(datapath), int(hull), int(behind)),
            price=tuple(map(float, price)),
            main_words=min(at_parent, out_parent) if h == 0 and t == 2 else at_parent if h == 0 else 0.0,
            fans=(fan_h, fan_c),
            discount=tuple(discount),
            speed=tuple(map(float, slow)),
            waits=waits,
            complete=complete,
        )

"""Memories in parts: each part holds some of the tensors, and has loops and tiles of its own."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chipfit.cost.mapping.model import Part, Parts
from chipfit.cost.mapping.plan import stages
from chipfit.hardware.target import MemoryLevel, Target


@functools.lru_cache(maxsize=4096)
def divided(target: Target, parts: Parts) -> Target:
    """The target with a level for each part; the target itself if there are none."""
    if not parts:
        return target
    names = [name for name, _, _ in parts]
    levels: list[MemoryLevel] = []
    last: dict[str, str] = {}
    for group in _groups(target):
        here = [part for part in parts if part[0] in {level.name for level in group}]
        uneven = here != _even(group)
        levels += [_level(target.level(part[0]), part, names.count(part[0]) > 1, uneven) for part in here]
        last[group[-1].name] = levels[-1].name
    arrays = tuple(replace(array, below=last[array.below]) for array in target.arrays)
    return replace(target, levels=tuple(levels), arrays=arrays)


@functools.lru_cache(maxsize=256)
def arrangements(target: Target) -> tuple[Parts, ...]:
    """Ways to cut one memory into two, or to give memories side by side loops of their own, in every order.

    Parts of one memory may each take all the room. Memories of limited bandwidth stay as they are: their
    parts would share it.
    """
    groups = _groups(target)
    resident = target.activations.level if target.activations else ""
    found: list[Parts] = []
    for i, group in enumerate(groups):
        if i == 0 or any(level.bandwidth_bits_per_cycle or level.name == resident for level in group):
            continue
        before = [part for other in groups[:i] for part in _even(other)]
        after = [part for other in groups[i + 1 :] for part in _even(other)]
        found += [(*before, *here, *after) for here in _uneven(group)]
    return tuple(found)


def sharing(target: Target, parts: Parts) -> Target | None:
    """A target on which the best mapping is no worse than all mappings in these parts, and soon found.

    The parts share the tile of the first, and the others have all the room that they need: a tensor that has
    the tile of a part further in comes in at least as often as one whose larger tile stays, if rows between
    those that a tile needs are not fetched. None where the parts are not those of the innermost memory: how
    often tiles leave it depends on loops of both.
    """
    inmost = _groups(target)[-1]
    count = sum(name in {level.name for level in inmost} for name, _, _ in parts)
    if list(parts[-count:]) == _even(inmost):
        return None
    first, *others = divided(target, parts).levels[-count:]
    beside = [replace(level, size_bits=None, own_loops=False) for level in others]
    outside = divided(target, parts).levels[:-count]
    return replace(divided(target, parts), levels=(*outside, replace(first, own_loops=False), *beside))


def _uneven(group: Sequence[MemoryLevel]) -> Iterator[tuple[Part, ...]]:
    if len(group) > 1:
        yield from itertools.permutations(_even(group))
        return
    level = group[0]
    for count in range(1, len(level.holds)):
        for outer in itertools.combinations(level.holds, count):
            inner = tuple(t for t in level.holds if t not in outer)
            yield (level.name, outer, level.room_words), (level.name, inner, level.room_words)


def _even(group: Sequence[MemoryLevel]) -> list[Part]:
    return [(level.name, level.holds, level.room_words) for level in group]


def _groups(target: Target) -> list[list[MemoryLevel]]:
    """Memories one by one, and those side by side, which share a tile, together."""
    groups: list[list[MemoryLevel]] = [[]]
    for stage, level in zip(stages(target), target.levels, strict=True):
        groups[-1].append(level)
        if not stage.tied:
            groups.append([])
    return groups[:-1]


def _level(level: MemoryLevel, part: Part, several: bool, uneven: bool) -> MemoryLevel:
    name, tensors, room = part
    size_bits = level.size_bits
    if several and room is not None:
        size_bits = room * level.word_bits * (2 if level.double_buffered else 1)
    return replace(
        level,
        name=f"{name} ({', '.join(tensors)})" if several else name,
        size_bits=size_bits,
        holds=tensors,
        may_bypass=tuple(t for t in level.may_bypass if t in tensors),
        own_loops=uneven,
    )

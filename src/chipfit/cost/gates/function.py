"""Boolean functions of up to six pins, as truth tables: read, restricted, matched.

A truth table is an integer whose bit i is the output when pin k has bit k of i.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence

from chipfit.errors import LibraryError, nearest

_MAX_DEPTH = 64
_TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w\[\]]*)|([!~'&*|+^()])|([01])(?!\w))\s*")


def ones(pins: int) -> int:
    """The table of constant 1."""
    return (1 << (1 << pins)) - 1


@functools.cache
def variable(pin: int, pins: int) -> int:
    """The table of one pin by itself.

    >>> bin(variable(0, 2)), bin(variable(1, 2))
    ('0b1010', '0b1100')
    """
    return sum(1 << i for i in range(1 << pins) if i >> pin & 1)


def depends_on(table: int, pin: int, pins: int) -> bool:
    """Whether the output follows a pin at all."""
    return restrict(table, pin, 0, pins) != restrict(table, pin, 1, pins)


def restrict(table: int, pin: int, value: int, pins: int) -> int:
    """The table with one pin held at 0 or 1, of one pin fewer.

    >>> bin(restrict(0b0111, 0, 1, 2))  # a NAND gate with one pin at 1 inverts the other
    '0b1'
    """
    low = (1 << pin) - 1
    result = 0
    for i in range(1 << (pins - 1)):
        result |= (table >> ((i & low) | value << pin | (i & ~low) << 1) & 1) << i
    return result


def permute(table: int, order: Sequence[int]) -> int:
    """The table with pin `order[k]` of the old one as pin k.

    >>> bin(permute(0b0010, [1, 0]))  # a·!b becomes b·!a
    '0b100'
    """
    result = 0
    for i in range(1 << len(order)):
        old = sum((i >> k & 1) << pin for k, pin in enumerate(order))
        result |= (table >> old & 1) << i
    return result


@functools.cache
def match(table: int, wanted: int, pins: int) -> tuple[int, ...] | None:
    """An order of the pins of `table` that makes it `wanted`; None if there is none.

    >>> match(0b0010, 0b0100, 2)
    (1, 0)
    """
    if table.bit_count() != wanted.bit_count():
        return None
    for order in itertools.permutations(range(pins)):
        if permute(table, order) == wanted:
            return order
    return None


def read_function(text: str, pins: Sequence[str]) -> int:
    """The truth table of an expression as Liberty files write it.

    `!a`, `~a` and `a'` invert; then `^`, then `*`, `&` or a space, then `+` or `|`.

    Raises:
        LibraryError: not an expression, or it names what is no pin.

    >>> bin(read_function("!(A B)", ["A", "B"]))
    '0b111'
    """
    tokens = list[str]()
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise LibraryError(f"function '{text}': cannot read '{text[position:]}'")
        tokens.append(next(group for group in found.groups() if group))
        position = found.end()
    reader = _Reader(text, tokens, list(pins))
    table = reader.either()
    if reader.tokens:
        raise LibraryError(f"function '{text}': '{reader.tokens[0]}' is not expected there")
    return table


class _Reader:
    """Recursive descent; each method reads one level of precedence."""

    def __init__(self, text: str, tokens: list[str], pins: list[str]) -> None:
        self.text, self.tokens, self.pins = text, tokens, pins
        self.depth = 0

    def either(self) -> int:
        table = self.both()
        while self.tokens and self.tokens[0] in "+|":
            self.tokens.pop(0)
            table |= self.both()
        return table

    def both(self) -> int:
        table = self.odd()
        while self.tokens and self.tokens[0] not in ("+", "|", ")"):
            if self.tokens[0] in "*&":
                self.tokens.pop(0)
            table &= self.odd()
        return table

    def odd(self) -> int:
        table = self.one()
        while self.tokens and self.tokens[0] == "^":
            self.tokens.pop(0)
            table ^= self.one()
        return table

    def one(self) -> int:
        everything, table = ones(len(self.pins)), 0
        word, flip = self._next(), 0
        while word in ("!", "~"):
            word, flip = self._next(), flip ^ everything
        if word == "(":
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise LibraryError(f"function with more than {_MAX_DEPTH} brackets in each other")
            table = self.either()
            self.depth -= 1
            if self._next() != ")":
                raise LibraryError(f"function '{self.text}': a bracket is not closed")
        elif word in ("0", "1"):
            table = everything * int(word)
        elif word in self.pins:
            table = variable(self.pins.index(word), len(self.pins))
        elif re.match(r"\w", word) and word != "its end":
            raise LibraryError(f"function '{self.text}': no input '{word}'{nearest(word, self.pins)}")
        else:
            raise LibraryError(f"function '{self.text}': '{word}' is not expected there")
        while self.tokens and self.tokens[0] == "'":
            self.tokens.pop(0)
            table ^= everything
        return table ^ flip

    def _next(self) -> str:
        return self.tokens.pop(0) if self.tokens else "its end"

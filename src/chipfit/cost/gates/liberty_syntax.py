"""The syntax of Liberty files: nested groups of attributes, with the line of each.

A reader of our own, because of what the packaged ones do with a file that is cut in half:
`libparse` ends the whole process or never returns, `eda-liberty-parser` takes it for complete or
raises a KeyError; neither says the line. Values are kept as they are written; `liberty` reads
what they mean. A line break ends an attribute whose semicolon is missing, as in files of ASAP7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from chipfit.errors import LibraryError

#: Quantifiers give nothing back ('++'), or text without an end would take ages.
_TOKEN = re.compile(
    r"((?:[ \t\r]++|\\[ \t\r]*\n|/\*.*?\*/|//[^\n]*+)*+)"
    r'(?:"((?:[^"\\]|\\.)*+)"|(\n\s*|[(){};:,])|((?!/\*)[^\s(){};:,"]+)|)',
    re.DOTALL,
)
_MAX_DEPTH = 64
_SKIPPED, _TEXT, _MARK, _WORD = 1, 2, 3, 4


@dataclass(kw_only=True)
class Group:
    """A group such as `cell (INV) { … }`.

    Attributes:
        name: 'cell'.
        arguments: what stands in its brackets.
        line: where it begins.
        attributes: values of each attribute, simple or in brackets; of one given twice the last.
        groups: the groups in it.
    """

    name: str
    arguments: list[str]
    line: int
    attributes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    groups: list[Group] = field(default_factory=list["Group"])

    def named(self, *names: str) -> list[Group]:
        """The groups in it that have one of these names."""
        return [group for group in self.groups if group.name in names]

    def text(self, attribute: str, default: str = "") -> str:
        """The value of a simple attribute."""
        return " ".join(self.attributes[attribute]) if attribute in self.attributes else default


def parse_groups(text: str, file: str) -> Group:
    """The outermost group of a file.

    Raises:
        LibraryError: the text is cut off or no Liberty at all; the message names the line.

    >>> parse_groups("library (tiny) { area : 2; }", "tiny.lib").attributes
    {'area': ['2']}
    """
    return _Parser(text, file).parse()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self.text, self.file, self.line = text, file, 1
        self.tokens = self._scan()
        self.kind, self.word = "", ""
        self.next()

    def _scan(self) -> Iterator[tuple[str, str]]:
        """Kind ('text', 'mark' or 'word') and text of each token; a line break is a mark."""
        position, text = 0, self.text
        while found := _TOKEN.match(text, position):
            kind = found.lastindex or _SKIPPED
            self.line += text.count("\n", position, found.end(_SKIPPED))
            if kind == _TEXT:
                yield "text", found[_TEXT]
            elif kind == _MARK:
                yield "mark", text[found.start(_MARK)]
            elif kind == _WORD:
                yield "word", found[_WORD]
            else:
                break  # the end, or text in quotes or a comment without an end
            self.line += text.count("\n", found.end(_SKIPPED), found.end())
            position = found.end()
        yield "end", ""

    def next(self) -> None:
        self.kind, self.word = next(self.tokens)

    def error(self, what: str) -> LibraryError:
        return LibraryError(f"{self.file}, line {self.line}: {what}")

    def at_end(self) -> bool:
        return self.kind == "end"

    def at(self, marks: str) -> bool:
        return self.kind == "mark" and self.word in marks

    def skip(self, marks: str) -> None:
        while self.at(marks):
            self.next()

    def parse(self) -> Group:
        self.skip("\n")
        if self.at_end():
            raise self.error("the file is empty")
        outermost = Group(name="", arguments=[], line=1)
        if self.word == "library":
            self.statement(outermost, [])
        if not outermost.groups:
            raise self.error(f"expected 'library (name) {{', got {self.word[:20]!r}")
        self.skip("\n;")
        if not self.at_end():
            raise self.error(f"'{self.word}' after the end of the library")
        return outermost.groups[0]

    def statement(self, into: Group, path: list[Group]) -> None:
        """One attribute or group."""
        if self.kind not in ("word", "text"):
            raise self.cut(path) if self.at_end() else self.error(f"'{self.word}' is not expected here")
        name, line = self.word, self.line
        self.next()
        self.skip("\n")
        if self.at(":"):
            into.attributes[name] = self.value(path)
            return
        if not self.at("("):
            raise self.cut(path) if self.at_end() else self.error(f"expected ':' or '(' after '{name}'")
        arguments = self.arguments(path)
        self.skip("\n")
        if not self.at("{"):
            into.attributes[name] = arguments
            return
        group = Group(name=name, arguments=arguments, line=line)
        into.groups.append(group)
        self.next()
        inside = [*path, group]
        if len(inside) > _MAX_DEPTH:
            raise self.error(f"more than {_MAX_DEPTH} groups in each other")
        self.skip("\n;")
        while not self.at("}"):
            self.statement(group, inside)
            self.skip("\n;")
        self.next()

    def value(self, path: list[Group]) -> list[str]:
        """What stands behind a colon, up to a semicolon, a line break or the end of the group."""
        self.next()
        words = list[str]()
        while not self.at(";}") and not (words and self.at("\n")):
            if self.at_end():
                raise self.cut(path)
            if not self.at("\n"):
                words.append(self.word)
            self.next()
        return words

    def arguments(self, path: list[Group]) -> list[str]:
        self.next()
        words = list[str]()
        while not self.at(")"):
            if self.at_end():
                raise self.cut(path)
            if self.at("{};"):
                raise self.error(f"'{self.word}' before the bracket is closed")
            if not self.at(",\n"):
                words.append(self.word)
            self.next()
        self.next()
        return words

    def cut(self, path: list[Group]) -> LibraryError:
        """The end of the file within a group."""
        where = next((group for group in path if group.name == "cell"), path[-1] if path else None)
        if where is None:
            return self.error("the file ends too early")
        name = f"{where.name} ({', '.join(where.arguments)})"
        return self.error(f"the file ends within {name}, which begins in line {where.line}; is it cut off?")

"""The syntax of structural Verilog: one flat module of cells, wires and constant assignments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from chipfit.errors import NetlistError, nearest

#: A wire: its name and its index, None for one that is no bus; or a constant, 0 or 1.
Bit = tuple[str, int | None] | int

_TOKEN = re.compile(
    r"(?:\s++|//[^\n]*+|/\*.*?\*/|\(\*.*?\*\)|`[^\n]*+)*+"
    r"(?:\\(\S+)|([A-Za-z_$][\w$]*)|(\d*\s*'\s*[sS]?[bodhBODH]\s*[\w?]+)|(\d+)|([()\[\]{},;:.=#])|(\Z))",
    re.DOTALL,
)
_BASES = {"b": 2, "o": 8, "d": 10, "h": 16}
_BEHAVIOUR = (
    "always", "always_comb", "always_ff", "function", "generate", "initial", "integer", "inout",
    "localparam", "logic", "parameter", "reg", "task",
)  # fmt: skip
_UNSIZED = 32
_WIDEST = 1 << 16
_MAX_DEPTH = 64


@dataclass(kw_only=True)
class Instance:
    """A cell: `NAND2 u1 (.A(x), .B(y), .Y(z));`, with the wires of each pin, bit 0 first."""

    cell: str
    name: str
    line: int
    pins: dict[str, list[Bit]]


@dataclass(kw_only=True)
class Module:
    """A module as it is written.

    Attributes:
        name, line: of the module.
        ports: their names in order.
        directions: 'input' or 'output' of each port.
        ranges: first and last index of each wire; None for one that is no bus.
        assigns: left side, right side (bit 0 first) and line of each assignment.
        instances: the cells.
    """

    name: str
    line: int
    ports: list[str] = field(default_factory=list[str])
    directions: dict[str, str] = field(default_factory=dict[str, str])
    ranges: dict[str, tuple[int, int] | None] = field(default_factory=dict[str, tuple[int, int] | None])
    assigns: list[tuple[list[Bit], list[Bit], int]] = field(
        default_factory=list[tuple[list[Bit], list[Bit], int]]
    )
    instances: list[Instance] = field(default_factory=list[Instance])

    def bits(self, name: str) -> list[Bit]:
        """All wires of a name, bit 0 first."""
        span = self.ranges[name]
        if span is None:
            return [(name, None)]
        return [(name, index) for index in _indices(*span)]


def _indices(first: int, last: int) -> range:
    """Indices of `[first:last]` from the least significant, which is the last."""
    return range(last, first + 1) if first >= last else range(last, first - 1, -1)


def parse_modules(text: str, file: str) -> list[Module]:
    """The modules of a Verilog text.

    Raises:
        NetlistError: not structural Verilog; the message names file and line.

    >>> [module.name for module in parse_modules("module m (y); output y; assign y = 1'b0; endmodule", "m.v")]
    ['m']
    """
    return _Parser(text, file).modules()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self.text, self.file, self.line, self.depth = text, file, 1, 0
        self.tokens = self._scan()
        self.kind, self.word = "", ""
        self.next()

    def _scan(self) -> Iterator[tuple[str, str, int]]:
        position, line = 0, 1
        kinds = ("", "name", "word", "constant", "number", "mark", "end")
        while True:
            found = _TOKEN.match(self.text, position)
            if found is None:
                line += len(re.match(r"\s*", self.text[position:])[0].split("\n")) - 1  # pyright: ignore[reportOptionalSubscript]
                given = self.text[position:].split(None, 1)[0][:20]
                self.line = line
                raise self.error(f"cannot read '{given}': expected structural Verilog")
            which = found.lastindex or 6
            line += self.text.count("\n", position, found.start(which))
            position = found.start(which)
            yield kinds[which], found[which], line
            line += self.text.count("\n", position, found.end())
            position = found.end()

    def next(self) -> str:
        word = self.word
        self.kind, self.word, self.line = next(self.tokens)
        return word

    def error(self, what: str, line: int | None = None) -> NetlistError:
        return NetlistError(f"{self.file}, line {line or self.line}: {what}")

    def given(self) -> str:
        return "the end of the file" if self.kind == "end" else f"'{self.word}'"

    def at(self, mark: str) -> bool:
        return self.kind == "mark" and self.word == mark

    def expect(self, mark: str) -> None:
        if not self.at(mark):
            raise self.error(f"expected '{mark}', got {self.given()}")
        self.next()

    def took(self, mark: str) -> bool:
        found = self.at(mark)
        if found:
            self.next()
        return found

    def name(self, what: str) -> str:
        if self.kind not in ("name", "word"):
            raise self.error(f"expected {what}, got {self.given()}")
        return self.next()

    def index(self) -> int:
        if self.kind != "number":
            raise self.error(f"expected an index, got {self.given()}")
        return int(self.next())

    def modules(self) -> list[Module]:
        found = list[Module]()
        while self.kind != "end":
            if self.word != "module":
                raise self.error(f"expected 'module', got {self.given()}")
            found.append(self.module())
        if not found:
            raise self.error("there is no module")
        return found

    def module(self) -> Module:
        self.next()
        module = Module(line=self.line, name=self.name("the name of the module"))
        if self.took("("):
            self.port_list(module)
        self.expect(";")
        while self.word != "endmodule" or self.kind != "word":
            self.statement(module)
        self.next()
        return module

    def port_list(self, module: Module) -> None:
        """`(a, b)` or `(input [7:0] a, output b)`."""
        direction, span = "", None
        while not self.took(")"):
            if self.kind == "word" and self.word in ("input", "output", "inout"):
                direction = self.direction()
                span = self.span()
            port = self.name("the name of a port")
            if port in module.ports:
                raise self.error(f"port '{port}' is there twice")
            module.ports.append(port)
            if direction:
                module.directions[port], module.ranges[port] = direction, span
            if not self.at(")"):
                self.expect(",")

    def direction(self) -> str:
        """The first of words such as 'output wire signed', all of which are read."""
        if self.word == "inout":
            raise self.error("'inout' ports are not for multiply-accumulate units")
        direction = self.next()
        while self.kind == "word" and self.word in ("wire", "signed", "logic", "var"):
            self.next()
        return direction

    def span(self) -> tuple[int, int] | None:
        if not self.took("["):
            return None
        first = self.index()
        self.expect(":")
        last = self.index()
        self.expect("]")
        if abs(first - last) >= _WIDEST:
            raise self.error(f"[{first}:{last}] is too wide")
        return first, last

    def statement(self, module: Module) -> None:
        if self.took(";"):
            return
        if self.kind == "word" and self.word in _BEHAVIOUR:
            raise self.error(f"'{self.word}' is no structural Verilog: synthesise the circuit first")
        if self.kind == "word" and self.word in ("input", "output"):
            self.declare(module, self.direction())
        elif self.kind == "word" and self.word in ("wire", "tri"):
            self.direction()
            self.declare(module, "")
        elif self.kind == "word" and self.word in ("supply0", "supply1"):
            value = int(self.next()[-1])
            name = self.name("a name")
            module.ranges[name] = None
            module.assigns.append(([(name, None)], [value], self.line))
            self.expect(";")
        elif self.kind == "word" and self.word == "assign":
            self.next()
            self.assign(module)
            while self.took(","):
                self.assign(module)
            self.expect(";")
        else:
            self.instance(module)

    def declare(self, module: Module, direction: str) -> None:
        span = self.span()
        while True:
            name = self.name("a name")
            if direction and name not in module.ports:
                raise self.error(f"'{name}' is not in the port list of the module")
            if span is not None or name not in module.ranges:  # 'wire y;' repeats 'output [7:0] y;'
                module.ranges[name] = span
            if direction:
                module.directions[name] = direction
            if self.took("="):
                module.assigns.append((module.bits(name), self.expression(module), self.line))
            if not self.took(","):
                break
        self.expect(";")

    def assign(self, module: Module) -> None:
        line = self.line
        left = self.expression(module)
        self.expect("=")
        right = self.expression(module)
        if len(right) == _UNSIZED and all(isinstance(bit, int) for bit in right):
            right = right[: len(left)]  # a number without a size fits any
        if len(left) != len(right):
            raise self.error(f"{len(right)} bits are assigned to {len(left)}", line)
        module.assigns.append((left, right, line))

    def instance(self, module: Module) -> None:
        line = self.line
        cell = self.name("a cell")
        if self.at("#"):
            raise self.error(f"parameters of cell '{cell}' are not understood")
        name = self.name(f"the name of the '{cell}'")
        self.expect("(")
        pins = dict[str, list[Bit]]()
        while not self.took(")"):
            if not self.took("."):
                raise self.error(f"cell '{name}': expected named pins, such as .A(net), got {self.given()}")
            pin = self.name("the name of a pin")
            if pin in pins:
                raise self.error(f"cell '{name}': pin '{pin}' is there twice")
            self.expect("(")
            pins[pin] = [] if self.at(")") else self.expression(module)
            self.expect(")")
            if not self.at(")"):
                self.expect(",")
        self.expect(";")
        module.instances.append(Instance(cell=cell, name=name, line=line, pins=pins))

    # -----------------------------------------------------------------------------------------
    # Expressions: wires, their bits, constants, and lists of these

    def expression(self, module: Module) -> list[Bit]:
        if self.took("{"):
            return self.concatenation(module)
        if self.kind in ("constant", "number"):
            return self.constant()
        name = self.name("a wire or a constant")
        if name not in module.ranges:
            if self.at("["):
                raise self.error(f"bus '{name}' is not declared{nearest(name, module.ranges)}")
            module.ranges[name] = None  # Verilog declares it so
        if not self.took("["):
            return module.bits(name)
        first = last = self.index()
        if self.took(":"):
            last = self.index()
        self.expect("]")
        span = module.ranges[name]
        if span is None or not {first, last} <= set(_indices(*span)):
            size = "one bit" if span is None else f"[{span[0]}:{span[1]}]"
            raise self.error(
                f"'{name}' is {size}: there is no [{first if first == last else f'{first}:{last}'}]"
            )
        return [(name, index) for index in _indices(first, last)]

    def concatenation(self, module: Module) -> list[Bit]:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error(f"more than {_MAX_DEPTH} lists in each other")
        parts = list[list[Bit]]()
        while True:
            if self.kind == "number":
                times = self.index()
                self.expect("{")
                part = self.concatenation(module)
                if times * len(part) > _WIDEST:
                    raise self.error(f"{times} times {len(part)} bits are too wide")
                parts.append(part * times)
            else:
                parts.append(self.expression(module))
            if not self.took(","):
                break
        self.expect("}")
        self.depth -= 1
        return [bit for part in reversed(parts) for bit in part]

    def constant(self) -> list[Bit]:
        text = self.next()
        if "'" not in text:
            width, value = _UNSIZED, int(text)
        else:
            size, digits = text.split("'")
            digits = digits.strip().lstrip("sS")
            width = int(size or _UNSIZED)
            try:
                value = int(digits[1:].strip(), _BASES[digits[0].lower()])
            except ValueError:
                raise self.error(f"constant {text} is neither 0 nor 1 in each bit") from None
        if not 1 <= width <= _WIDEST:
            raise self.error(f"constant {text} has {width} bits")
        return [value >> bit & 1 for bit in range(width)]

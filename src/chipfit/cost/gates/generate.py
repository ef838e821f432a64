"""Multiply-accumulate units as netlists: sum = partial + activation·weight, modulo 2^sum_bits.

All styles add up terms ±bit·2^k. A negative term is −b·2^k = (1 − b)·2^k − 2^k, so that the
complement of the bit is added and all the −2^k together are one constant; for the AND array this
is the multiplier of Baugh and Wooley (1973), and it serves any mix of signed and unsigned operands.
Columns are reduced by carry-save adders of the three bits that settle first (Oklobdzija, Villeger,
Liu, 1996), until two rows are left for the final adder. The partial sum is one more addend, or is added to
the finished product by an adder of its own.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from chipfit.cost.gates.fold import Circuit
from chipfit.cost.gates.netlist import ONE, ZERO, Netlist
from chipfit.errors import NetlistError, nearest

STYLES: tuple[str, ...] = ("array", "booth")
ADDERS: tuple[str, ...] = ("ripple", "prefix")
ACCUMULATES: tuple[str, ...] = ("tree", "adder")
OPERAND_BITS = (2, 8)
SUM_BITS_MAX = 48


@dataclass(frozen=True, kw_only=True)
class MacDesign:
    """A multiply-accumulate unit to generate.

    Attributes:
        style: 'array': AND gates for all pairs of bits; 'booth': radix-4 Booth digits of the weight.
        weight_bits, activation_bits: width of the operands, 2 to 8.
        sum_bits: width of the partial sum and of the sum, at least that of the product, at most 48.
        weight_signed, activation_signed: two's complement, or unsigned.
        adder: the final one. 'ripple': smallest; 'prefix': Sklansky's, fastest.
        accumulate: where the partial sum comes in. 'tree': with the terms of the product, one final adder for
            all; 'adder': after the product, which a final adder has finished, by a second one.

    Raises:
        NetlistError: a width or a name that cannot be.
    """

    style: str = "array"
    weight_bits: int = 8
    activation_bits: int = 8
    sum_bits: int = 22
    weight_signed: bool = True
    activation_signed: bool = True
    adder: str = "ripple"
    accumulate: str = "tree"

    def __post_init__(self) -> None:
        for what, given, valid in (
            ("style", self.style, STYLES),
            ("adder", self.adder, ADDERS),
            ("way to accumulate", self.accumulate, ACCUMULATES),
        ):
            if given not in valid:
                raise NetlistError(f"unknown {what} '{given}'{nearest(given, valid)}")
        low, high = OPERAND_BITS
        for name in ("weight_bits", "activation_bits"):
            if not low <= getattr(self, name) <= high:
                raise NetlistError(f"{name} must be {low} to {high}, got {getattr(self, name)}")
        product = self.weight_bits + self.activation_bits
        if not product <= self.sum_bits <= SUM_BITS_MAX:
            raise NetlistError(f"sum_bits must be {product} to {SUM_BITS_MAX}, got {self.sum_bits}")

    @property
    def name(self) -> str:
        """Of the module, such as 'mac_booth_s8_u8_22'.

        >>> MacDesign(style="booth", activation_signed=False).name
        'mac_booth_s8_u8_22'
        """
        weight, activation = "us"[self.weight_signed], "us"[self.activation_signed]
        tail = "" if self.accumulate == "tree" else f"_{self.accumulate}"
        tail += "" if self.adder == "ripple" else f"_{self.adder}"
        widths = f"{weight}{self.weight_bits}_{activation}{self.activation_bits}_{self.sum_bits}"
        return f"mac_{self.style}_{widths}{tail}"


def generate_mac(design: MacDesign) -> Netlist:
    """The netlist of a unit, of the embedded cells.

    Its input buses are `weight`, `activation` and `partial`, its output bus is `sum`.

    >>> sorted(generate_mac(MacDesign(weight_bits=2, activation_bits=2, sum_bits=4)).output_ports)
    ['sum']
    """
    circuit = Circuit()
    weight = circuit.input_port("weight", design.weight_bits)
    activation = circuit.input_port("activation", design.activation_bits)
    partial = circuit.input_port("partial", design.sum_bits)
    separate = design.accumulate == "adder"
    product_bits = design.weight_bits + design.activation_bits
    terms = _Terms(circuit, product_bits if separate else design.sum_bits)
    if not separate:
        for column, net in enumerate(partial):
            terms.add(net, column)
    fill = _array if design.style == "array" else _booth
    fill(terms, weight, activation, design)
    add = _ripple if design.adder == "ripple" else _prefix
    total = add(circuit, _compress(circuit, terms.columns()))
    if separate:
        signed = design.weight_signed or design.activation_signed
        total += [total[-1] if signed else ZERO] * (design.sum_bits - product_bits)
        total = add(
            circuit, [[net for net in pair if net != ZERO] for pair in zip(total, partial, strict=True)]
        )
    circuit.output_port("sum", total)
    return circuit.build(design.name)


class _Terms:
    """Bits to add, by column, and the constant that their signs leave."""

    def __init__(self, circuit: Circuit, columns: int) -> None:
        self.circuit = circuit
        self._columns = [list[int]() for _ in range(columns)]
        self._constant = 0

    def add(self, net: int, column: int, *, negative: bool = False) -> None:
        """Add bit·2^column, or subtract it."""
        if column >= len(self._columns) or net == ZERO:
            return
        if negative:
            net = self.circuit.gate("INV", net)
            self._constant -= 1 << column
        self._columns[column].append(net)

    def add_product(self, a: int, b: int, column: int, *, negative: bool) -> None:
        """Add a·b·2^column, or subtract it: then the gate is a NAND."""
        if negative:
            self._constant -= 1 << column
        self.add(self.circuit.gate("NAND2" if negative else "AND2", a, b), column)

    def columns(self) -> list[list[int]]:
        """All bits, with those of the constant."""
        return [nets + [ONE] * (self._constant >> column & 1) for column, nets in enumerate(self._columns)]


def _array(terms: _Terms, weight: tuple[int, ...], activation: tuple[int, ...], design: MacDesign) -> None:
    """One product of bits for each pair; that of a sign bit with another bit is negative."""
    for i, a in enumerate(activation):
        for j, w in enumerate(weight):
            signs = design.activation_signed and a == activation[-1], design.weight_signed and w == weight[-1]
            terms.add_product(a, w, i + j, negative=signs[0] != signs[1])


def _booth(terms: _Terms, weight: tuple[int, ...], activation: tuple[int, ...], design: MacDesign) -> None:
    """One row for each pair of weight bits: digit·activation, digit = −2x + y + z in −2..2.

    x, y, z are weight bits 2j + 1, 2j, 2j − 1. The row is 0, a or 2a; a negative one is its
    complement with one more bit of 1 in its lowest column. Where x = y = z = 1, nothing is negated.
    """
    gate = terms.circuit.gate
    above = weight[-1] if design.weight_signed else ZERO
    extended = (*weight, above, above)
    sign = activation[-1] if design.activation_signed else ZERO
    bits = (*activation, sign)
    digits = len(weight) // 2 + (0 if design.weight_signed and len(weight) % 2 == 0 else 1)
    for j in range(digits):
        x, y, z = extended[2 * j + 1], extended[2 * j], extended[2 * j - 1] if j else ZERO
        one = gate("XOR2", y, z)
        two = gate("NOR2", one, gate("XNOR2", x, y))
        minus = gate("AND2", x, gate("NAND2", y, z))
        row = [
            gate("XNOR2", gate("AOI22", one, bit, two, below), minus)
            for bit, below in zip(bits, (ZERO, *activation), strict=True)
        ]
        row += [] if design.activation_signed else [minus]
        for i, net in enumerate(row):
            terms.add(net, 2 * j + i, negative=i == len(row) - 1)
        terms.add(minus, 2 * j)


def _full_adder(circuit: Circuit, a: int, b: int, late: int) -> tuple[int, int]:
    """Sum and carry of three bits; `late` goes through one gate less."""
    gate = circuit.gate
    half = gate("XOR2", a, b)
    carry = gate("NAND2", gate("NAND2", a, b), gate("NAND2", half, late))
    return gate("XOR2", half, late), carry


def _add_bits(circuit: Circuit, nets: list[int]) -> tuple[int, int]:
    """Sum and carry of up to three bits."""
    gate = circuit.gate
    nets = sorted(nets, key=lambda net: circuit.arrival[net])
    if len(nets) == 3:
        if ONE in nets:
            nets.remove(ONE)
            return gate("XNOR2", *nets), gate("OR2", *nets)
        return _full_adder(circuit, *nets)
    if len(nets) == 2:
        return gate("XOR2", *nets), gate("AND2", *nets)
    return (nets[0] if nets else ZERO), ZERO


def _compress(circuit: Circuit, columns: list[list[int]]) -> list[list[int]]:
    """The columns with at most two bits each: the three that settle first are added, time and again."""
    carries = list[int]()
    rows = list[list[int]]()
    for column in columns:
        queue = [(circuit.arrival[net], net) for net in column + carries]
        heapq.heapify(queue)
        carries = []
        while len(queue) > 2:
            total, carry = _add_bits(circuit, [heapq.heappop(queue)[1] for _ in range(3)])
            heapq.heappush(queue, (circuit.arrival[total], total))
            if carry != ZERO:
                carries.append(carry)
        rows.append([net for _, net in queue if net != ZERO])
    return rows


def _ripple(circuit: Circuit, rows: list[list[int]]) -> list[int]:
    """The sum of two rows by a chain of full adders."""
    carry, sums = ZERO, list[int]()
    for nets in rows:
        total, carry = _add_bits(circuit, [*nets, *([carry] if carry != ZERO else [])])
        sums.append(total)
    return sums


def _prefix(circuit: Circuit, rows: list[list[int]]) -> list[int]:
    """The sum of two rows by Sklansky's tree of carries."""
    gate = circuit.gate
    pairs = [_add_bits(circuit, nets) for nets in rows]
    propagate, generate = [p for p, _ in pairs], [g for _, g in pairs]
    group = list(propagate)
    span = 1
    while span < len(rows):
        for i in range(len(rows)):
            if i & span:
                low = i // span * span - 1  # the last column of the span below
                generate[i] = gate("INV", gate("AOI21", group[i], generate[low], generate[i]))
                group[i] = gate("AND2", group[i], group[low])
        span *= 2
    return [propagate[0]] + [gate("XOR2", p, g) for p, g in zip(propagate[1:], generate, strict=False)]

"""The innermost loops of the simulators: 512 cases of one gate at once, one row a time step.

A buffer is a flat array of 64-bit words on a 64-byte boundary; a *row* is eight of them, 512 cases.
Each loop is written as vector code for LLVM, because what keeps it fast - the state of a filter in
registers, one load and one store a row - cannot be said in plain numba. On processors without
512-bit registers LLVM splits the vectors.

A gate of n pins is its algebraic normal form: the exclusive or of products of inputs, of which
`forms` says by all-ones or zero words which ones there are. Product i is that of the inputs whose
bits are set in i. Any truth table is thus one straight line without a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WORDS = 8
LANES = 64 * WORDS
#: Pins of a gate that a loop evaluates and filters in one go, and widest filter that it does so with.
FUSED_PINS, FUSED_WIDTH = 3, 6

_intrinsic = cast("Any", intrinsic)  # its types miss that the first argument is given by numba
_WORD = ir.IntType(64)
_ROW = ir.VectorType(_WORD, WORDS)
_BUFFER = types.Array(types.uint64, 1, "C")
_ALIGN = 8 * WORDS


def empty_rows(rows: int) -> np.ndarray:
    """A buffer of so many rows."""
    words = np.empty((rows + 1) * WORDS, dtype=np.uint64)
    skip = (-words.ctypes.data % _ALIGN) // 8
    return words[skip : skip + rows * WORDS]


class _Code:
    """Writes vector code into a function that numba compiles."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.ones = ir.Constant(_ROW, [-1] * WORDS)
        self.zeros = ir.Constant(_ROW, [0] * WORDS)

    def pointer(self, data: Any, row: Any) -> Any:
        word = self.builder.mul(row, ir.Constant(_WORD, WORDS))
        return self.builder.bitcast(self.builder.gep(data, [word]), _ROW.as_pointer())

    def load(self, data: Any, row: Any) -> Any:
        return self.builder.load(self.pointer(data, row), align=_ALIGN)

    def store(self, value: Any, data: Any, row: Any) -> None:
        self.builder.store(value, self.pointer(data, row), align=_ALIGN)

    def variable(self, value: Any) -> Any:
        """A value that loops change; LLVM keeps it in a register."""
        return cgutils.alloca_once_value(self.builder, value)

    def broadcast(self, data: Any, word: Any) -> Any:
        value = self.builder.load(self.builder.gep(data, [word]))
        undefined = ir.Constant(_ROW, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), WORDS), [0] * WORDS)
        return self.builder.shuffle_vector(first, undefined, order)

    def fill(self, value: Any, data: Any, row: Any, rows: Any) -> None:
        with cgutils.for_range(self.builder, rows, intp=_WORD) as body:
            self.store(value, data, self.builder.add(row, body.index))

    def polynomial(self, form: Sequence[Any], inputs: Sequence[Any]) -> Any:
        """Exclusive or of the products that `form` has, by Horner's rule."""
        if not inputs:
            return form[0]
        half = len(form) // 2
        low, high = self.polynomial(form[:half], inputs[:-1]), self.polynomial(form[half:], inputs[:-1])
        return self.builder.xor(low, self.builder.and_(high, inputs[-1]))

    def select(self, which: Any, yes: Any, no: Any) -> Any:
        """Lane by lane `yes` where `which` is set."""
        b = self.builder
        return b.xor(b.and_(b.xor(yes, no), which), no)

    def ones_of(self, value: Any) -> Any:
        """Set bits of each word."""
        name = f"llvm.ctpop.v{WORDS}i64"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(_ROW, [_ROW]), name)
        return self.builder.call(function, [value])

    def sum_of(self, counts: Any) -> Any:
        """Sum of the words of a row."""
        words = [self.builder.extract_element(counts, ir.Constant(ir.IntType(32), i)) for i in range(WORDS)]
        total = words[0]
        for word in words[1:]:
            total = self.builder.add(total, word)
        return total


def _data(context: Any, builder: Any, array: Any) -> Any:
    return context.make_array(_BUFFER)(context, builder, array).data


def _int(value: int) -> Any:
    return ir.Constant(_WORD, value)


def _gate_loop(
    write: _Code, width: int, form: Sequence[Any], inputs: Callable[[Any], list[Any]],
    target: Any, out: Any, rows: Any, ahead: Any, behind: Any,
) -> Any:  # fmt: skip
    """Code of the loop of one gate whose output takes a value that has held for `width` rows."""
    b = write.builder
    start = write.polynomial(form, inputs(_int(0)))
    before, output, changes = write.variable(start), write.variable(start), write.variable(write.zeros)
    # held[k]: the value has not changed for k + 1 rows.
    held = [write.variable(write.ones) for _ in range(width - 1)]
    first_out = b.sub(out, _int(width - 1))

    def put(after: Any, row: Any) -> None:
        changed = write.ones_of(b.xor(after, b.load(output)))
        b.store(b.add(b.load(changes), changed), changes)
        b.store(after, output)
        write.store(after, target, b.add(first_out, row))

    write.fill(start, target, b.sub(out, ahead), ahead)
    with cgutils.for_range(b, rows, intp=_WORD) as body:
        now = write.polynomial(form, inputs(body.index))
        if width == 1:
            put(now, body.index)
        else:
            same = b.not_(b.xor(now, b.load(before)))
            lasting = [b.and_(same, h) for h in (write.ones, *map(b.load, held[:-1]))]
            for variable, value in zip(held, lasting, strict=True):
                b.store(value, variable)
            b.store(now, before)
            put(write.select(lasting[-1], now, b.load(output)), body.index)
    for step in range(width - 1):  # the value stays; the last rows of the output
        stays = b.load(held[width - 3 - step]) if step < width - 2 else write.ones
        put(write.select(stays, b.load(before), b.load(output)), b.add(rows, _int(step)))
    write.fill(b.load(output), target, b.add(out, rows), behind)
    return write.sum_of(b.load(changes))


#: Places of what a loop needs to know of a gate, among its `STEP` numbers: see `gate_loop`.
PINS, WIDTH, OUT, ROWS, AHEAD, BEHIND, FORM, FIRST = range(8)
STEP = 16


@_intrinsic
def gate_loop(typingctx: Any, program: Any, at: Any, forms: Any, source: Any, target: Any) -> Any:
    """Evaluate a gate row by row, filter its output, and count the output's changes over all lanes.

    Args (in compiled code):
        program, at: numbers of gates, and the position of this one's:
            PINS of the gate, 1 to 6;
            WIDTH: rows for which a value must hold before the output takes it: 1 for no filter; at
            most `FUSED_WIDTH`, and 1 if there are more than `FUSED_PINS` pins;
            OUT, ROWS: first row of the output, and how many: at least 1. The first is what the
            output is before anything happens;
            AHEAD, BEHIND: rows before and after these that hold the same as the first and the last.
            `WIDTH - 1` rows before the first are written in any case;
            FORM: position of the algebraic normal form;
            FIRST and the five next: the row of each pin's first value.
        forms: all algebraic normal forms.
        source, target: buffers of the inputs and of the output.
    """
    del typingctx, program, at, forms, source, target
    signature = types.uint64(types.Array(types.int64, 1, "C"), types.int64, *[_BUFFER] * 3)

    def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        program = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        forms, source, target = (_data(context, builder, array) for array in arguments[2:])
        write = _Code(builder)

        def number(place: int) -> Any:
            return builder.load(builder.gep(program, [builder.add(arguments[1], _int(place))]))

        found = cgutils.alloca_once_value(builder, _int(0))
        end = builder.append_basic_block("end")
        cases = builder.switch(builder.add(builder.mul(number(PINS), _int(64)), number(WIDTH)), end)
        for pins, width in _cases():
            block = builder.append_basic_block(f"pins{pins}width{width}")
            cases.add_case(_int(64 * pins + width), block)
            builder.position_at_end(block)
            firsts = [number(FIRST + pin) for pin in range(pins)]
            form = [write.broadcast(forms, builder.add(number(FORM), _int(i))) for i in range(1 << pins)]

            def inputs(row: Any, firsts: Sequence[Any] = firsts) -> list[Any]:
                return [write.load(source, builder.add(first, row)) for first in firsts]

            places = (number(place) for place in (OUT, ROWS, AHEAD, BEHIND))
            builder.store(_gate_loop(write, width, form, inputs, target, *places), found)
            builder.branch(end)
        builder.position_at_end(end)
        return builder.load(found)

    return signature, code


def _cases() -> list[tuple[int, int]]:
    fused = [(pins, width) for pins in range(1, FUSED_PINS + 1) for width in range(1, FUSED_WIDTH + 1)]
    return fused + [(pins, 1) for pins in range(FUSED_PINS + 1, 7)]


@_intrinsic
def settle_loop(typingctx: Any, values: Any, unsettled: Any, target: Any, out: Any, rows: Any) -> Any:
    """Take a value where it is settled, keep the last one elsewhere; count the changes over all lanes.

    Args (in compiled code):
        values: buffer of what the output follows, from row 0 on.
        unsettled: lanes of each row in which it does not hold long enough.
        target, out: buffer and first row of the output.
        rows: at least 1.
    """
    del typingctx, values, unsettled, target, out, rows
    signature = types.uint64(_BUFFER, _BUFFER, _BUFFER, types.int64, types.int64)

    def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        del signature
        values, unsettled, target = (_data(context, builder, array) for array in arguments[:3])
        out, rows = arguments[3:]
        write = _Code(builder)
        output = write.variable(write.load(values, _int(0)))
        changes = write.variable(write.zeros)
        with cgutils.for_range(builder, rows, intp=_WORD) as body:
            before = builder.load(output)
            after = write.select(write.load(unsettled, body.index), before, write.load(values, body.index))
            changed = write.ones_of(builder.xor(after, before))
            builder.store(builder.add(builder.load(changes), changed), changes)
            builder.store(after, output)
            write.store(after, target, builder.add(out, body.index))
        return write.sum_of(builder.load(changes))

    return signature, code


@_intrinsic
def fill_loop(typingctx: Any, target: Any, out: Any, rows: Any, source: Any, row: Any) -> Any:
    """Write one row of `source` to `rows` rows of `target`, from `out` on."""
    del typingctx, target, out, rows, source, row
    signature = types.void(_BUFFER, types.int64, types.int64, _BUFFER, types.int64)

    def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        del signature
        target, source = _data(context, builder, arguments[0]), _data(context, builder, arguments[3])
        write = _Code(builder)
        write.fill(write.load(source, arguments[4]), target, arguments[1], arguments[2])
        return context.get_dummy_value()

    return signature, code


@_intrinsic
def differ_loop(typingctx: Any, source: Any, first: Any, second: Any, rows: Any) -> Any:
    """Lanes in which `rows` rows from `first` on differ from those from `second` on."""
    del typingctx, source, first, second, rows
    signature = types.uint64(_BUFFER, types.int64, types.int64, types.int64)

    def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        del signature
        source = _data(context, builder, arguments[0])
        write = _Code(builder)
        total = write.variable(write.zeros)
        with cgutils.for_range(builder, arguments[3], intp=_WORD) as body:
            one, other = (write.load(source, builder.add(a, body.index)) for a in arguments[1:3])
            differing = write.ones_of(builder.xor(one, other))
            builder.store(builder.add(builder.load(total), differing), total)
        return write.sum_of(builder.load(total))

    return signature, code


@_intrinsic
def lowest_bit(typingctx: Any, word: Any) -> Any:
    """Position of the lowest set bit of a word that is not 0."""
    del typingctx, word

    def code(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
        del context, signature
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), code

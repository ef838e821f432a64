"""Which rows of which nets a simulation needs, and the run through them, in compiled code.

A net's *window* is the time from the earliest to the latest step in which it can change. Its rows
lie together in one buffer, from step `low` to step `high`: the window, one row before it, and what the gates
that read it need beyond, where it is constant.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chipfit.cost.gates.lanes import (
    AHEAD,
    BEHIND,
    FIRST,
    FORM,
    FUSED_PINS,
    FUSED_WIDTH,
    LANES,
    OUT,
    PINS,
    ROWS,
    STEP,
    WIDTH,
    WORDS,
    differ_loop,
    fill_loop,
    gate_loop,
    lowest_bit,
    settle_loop,
)
from chipfit.jit import njit

#: Value of a net that is not constant.
FREE = -1
#: Blocks of transitions that a run without delays takes at once.
ABREAST = 8

_PINS, _FORM = 6, 64
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
#: Truth table of each pin alone.
_PIN_TABLES = np.array(
    [sum(1 << i for i in range(64) if i >> pin & 1) for pin in range(_PINS)], dtype=np.uint64
)


class Gates(NamedTuple):
    """Gates that can switch, in topological order; their constant pins are left out.

    Attributes:
        gate: position in the netlist.
        output: net driven.
        pins: how many are left.
        inputs, delay: net and steps of each pin left, six a gate.
        width: steps for which a value must hold; 1 for no filter.
        forms: algebraic normal forms as words, 64 a gate; last that of a gate that copies its pin.
        earliest, latest: window of each net; 0 for inputs.
        values: of each net: 0, 1 or `FREE`.
    """

    gate: np.ndarray
    output: np.ndarray
    pins: np.ndarray
    inputs: np.ndarray
    delay: np.ndarray
    width: np.ndarray
    forms: np.ndarray
    earliest: np.ndarray
    latest: np.ndarray
    values: np.ndarray


class Layout(NamedTuple):
    """Rows of a buffer, and what the loops do in it.

    Attributes:
        low, high: first and last step of the rows of each net.
        start: row of each net's first step; -1 where nothing reads or drives it.
        program: numbers for `gate_loop`, `STEP` a gate.
        rows: of the buffer.
        longest: most rows of a window.
    """

    low: np.ndarray
    high: np.ndarray
    start: np.ndarray
    program: np.ndarray
    rows: int
    longest: int


@njit
def _of_six(table: np.uint64, pins: int) -> np.uint64:
    """The truth table over six pins of which the last do not matter."""
    for pin in range(pins, _PINS):
        table |= table << np.uint64(1 << pin)
    return table


@njit
def _held(table: np.uint64, pin: int, value: int) -> np.uint64:
    """The truth table over six pins with one held: it does not matter any more."""
    shift = np.uint64(1 << pin)
    if value:
        upper = table & _PIN_TABLES[pin]
        return upper | upper >> shift
    lower = table & ~_PIN_TABLES[pin]
    return lower | lower << shift


@njit
def _matters(table: np.uint64, pin: int) -> bool:
    return _held(table, pin, 0) != _held(table, pin, 1)


@njit
def _write_form(table: np.uint64, pins: np.ndarray, forms: np.ndarray, form: int) -> None:
    """Algebraic normal form of a truth table over six pins in those that matter, by the Möbius transform."""
    own = np.uint64(0)
    for i in range(1 << len(pins)):
        case = 0
        for k in range(len(pins)):
            case |= (i >> k & 1) << pins[k]
        own |= (table >> np.uint64(case) & np.uint64(1)) << np.uint64(i)
    for k in range(len(pins)):
        own ^= own << np.uint64(1 << k) & _PIN_TABLES[k]
    for i in range(1 << len(pins)):
        forms[form + i] = _ALL if own >> np.uint64(i) & np.uint64(1) else np.uint64(0)


@njit
def plan(
    inputs: np.ndarray,
    pins: np.ndarray,
    tables: np.ndarray,
    outputs: np.ndarray,
    delay_steps: np.ndarray,
    values: np.ndarray,
    filtered: bool,
) -> Gates:
    """The gates that can switch when some nets are held.

    Args:
        inputs: of the netlist, as the three next.
        pins: how many of each gate.
        tables: truth tables.
        outputs: nets driven.
        delay_steps: from each pin to the output.
        values: of each net: 0, 1 or `FREE`; what follows from them is filled in.
        filtered: whether gates swallow pulses shorter than their fastest pin's delay.
    """
    gates = len(outputs)
    kept = 0
    gate, output = np.empty(gates, np.int64), np.empty(gates, np.int64)
    left, width = np.empty(gates, np.int64), np.empty(gates, np.int64)
    nets, delay = np.zeros((gates, _PINS), np.int64), np.zeros((gates, _PINS), np.int64)
    forms = np.zeros((gates + 1) * _FORM, np.uint64)
    earliest, latest = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64)
    places = np.empty(_PINS, np.int64)
    for g in range(gates):
        whole = _of_six(tables[g], pins[g])
        table, fastest = whole, np.int64(1 << 62)
        for pin in range(pins[g]):
            if _matters(whole, pin):
                fastest = min(fastest, delay_steps[g, pin])
            if values[inputs[g, pin]] != FREE:
                table = _held(table, pin, int(values[inputs[g, pin]]))
        n, q = 0, outputs[g]
        first, last = np.int64(1 << 62), np.int64(0)
        for pin in range(pins[g]):
            if _matters(table, pin):
                net, steps = inputs[g, pin], delay_steps[g, pin]
                places[n], nets[kept, n], delay[kept, n] = pin, net, steps
                first, last = min(first, earliest[net] + steps), max(last, latest[net] + steps)
                n += 1
        if n == 0:
            values[q] = np.int8(table & np.uint64(1))
            continue
        gate[kept], output[kept], left[kept] = g, q, n
        width[kept] = fastest if filtered else 1
        _write_form(table, places[:n], forms, kept * _FORM)
        earliest[q], latest[q] = first, last
        kept += 1
    forms[kept * _FORM + 1] = _ALL
    return Gates(
        gate[:kept].copy(), output[:kept].copy(), left[:kept].copy(), nets[:kept].copy(), delay[:kept].copy(),
        width[:kept].copy(), forms, earliest, latest, values,
    )  # fmt: skip


@njit
def lay_out(gates: Gates) -> Layout:
    """Places of the windows of all nets in one buffer."""
    nets = len(gates.values)
    low, high, start = gates.earliest - 1, gates.latest.copy(), np.full(nets, -1, np.int64)
    longest = 2
    for g in range(len(gates.gate)):
        q = gates.output[g]
        begin, end = gates.earliest[q] - 1, gates.latest[q]
        longest = max(longest, end - begin + 1)
        low[q] = min(low[q], begin - (gates.width[g] - 1))  # rows that the loop of the gate writes
        start[q] = 0
        for k in range(gates.pins[g]):
            net, steps = gates.inputs[g, k], gates.delay[g, k]
            low[net], high[net] = min(low[net], begin - steps), max(high[net], end - steps)
            start[net] = 0
    rows = 0
    for net in range(nets):
        if start[net] == 0:
            start[net] = rows
            rows += high[net] - low[net] + 1
    program = np.zeros(len(gates.gate) * STEP, np.int64)
    for g in range(len(gates.gate)):
        q, own = gates.output[g], g * STEP
        begin, end = gates.earliest[q] - 1, gates.latest[q]
        program[own + PINS], program[own + WIDTH], program[own + FORM] = (
            gates.pins[g],
            gates.width[g],
            g * _FORM,
        )
        program[own + OUT], program[own + ROWS] = start[q] + begin - low[q], end - begin + 1
        program[own + AHEAD], program[own + BEHIND] = begin - low[q], high[q] - end
        for k in range(gates.pins[g]):
            net = gates.inputs[g, k]
            program[own + FIRST + k] = start[net] + begin - gates.delay[g, k] - low[net]
    return Layout(low, high, start, program, int(rows), int(longest))


@njit
def _unsettled(values: np.ndarray, found: np.ndarray, rows: int, width: int) -> None:
    """Lanes of each row whose value changes within the next `width - 1` steps."""
    words, last = rows * WORDS, (rows - 1) * WORDS
    for i in range(last):
        found[i] = values[i] ^ values[i + WORDS]
    for i in range(last, words):
        found[i] = np.uint64(0)
    seen, wanted = 1, width - 1
    while seen < wanted:
        step = min(seen, wanted - seen)
        for i in range(words - step * WORDS):
            found[i] |= found[i + step * WORDS]
        seen += step


@njit
def _run_slowly(
    program: np.ndarray, at: int, forms: np.ndarray, copy: int, buffer: np.ndarray, values: np.ndarray,
    spare: np.ndarray,
) -> np.uint64:  # fmt: skip
    """Run a gate of more pins, or with a longer filter, than one loop takes."""
    width, rows, out = program[at + WIDTH], program[at + ROWS], program[at + OUT]
    ahead, behind = program[at + AHEAD], program[at + BEHIND]
    steps = np.zeros(2 * STEP, np.int64)
    steps[:STEP] = program[at : at + STEP]
    steps[OUT], steps[WIDTH], steps[AHEAD], steps[BEHIND] = 0, 1, 0, 0
    gate_loop(steps, 0, forms, buffer, values)
    if width <= FUSED_WIDTH:
        steps[STEP + PINS], steps[STEP + WIDTH], steps[STEP + FORM] = 1, width, copy
        steps[STEP + OUT], steps[STEP + ROWS] = out, rows
        steps[STEP + AHEAD], steps[STEP + BEHIND] = ahead, behind
        return gate_loop(steps, STEP, forms, values, buffer)
    _unsettled(values, spare, rows, width)
    changes = settle_loop(values, spare, buffer, out, rows)
    fill_loop(buffer, out - ahead, ahead, values, 0)
    fill_loop(buffer, out + rows, behind, values, rows - 1)
    return changes


@njit
def _arrivals(
    gates: Gates, layout: Layout, outputs: np.ndarray, changed: np.ndarray, buffer: np.ndarray,
    found: np.ndarray,
) -> None:  # fmt: skip
    """The last step in which any output changes, lane by lane; `found` stays as it is where none does."""
    changed[:] = np.uint64(0)
    for net in outputs:
        first, words = gates.earliest[net], (gates.latest[net] - gates.earliest[net] + 1) * WORDS
        here = (layout.start[net] + first - layout.low[net]) * WORDS
        for i in range(words):
            changed[first * WORDS + i] |= buffer[here + i] ^ buffer[here - WORDS + i]
    for w in range(WORDS):
        left = _ALL  # lanes of which the last change is not found yet
        for step in range(len(changed) // WORDS - 1, -1, -1):
            fresh = changed[step * WORDS + w] & left
            left ^= fresh
            while fresh:
                found[w * 64 + lowest_bit(fresh)] = step
                fresh &= fresh - np.uint64(1)
            if left == 0:
                break


@njit
def run(
    gates: Gates, layout: Layout, sources: np.ndarray, before: np.ndarray, after: np.ndarray, blocks: int,
    outputs: np.ndarray, buffers: tuple[np.ndarray, np.ndarray, np.ndarray], toggles: np.ndarray,
    arrival: np.ndarray,
) -> None:  # fmt: skip
    """Simulate all blocks with delays.

    Args:
        gates: from `plan`.
        layout: from `lay_out`.
        sources: nets that are driven; they and their values as in `Stimulus`.
        before: their values until time 0.
        after: their values from then on.
        blocks: rows of a net in these.
        outputs: nets whose last change is asked for.
        buffers: rows of the layout, and twice the longest window.
        toggles: changes of each gate of the netlist; added to.
        arrival: step of each lane; written where an output changes.
    """
    buffer, values, spare = buffers
    program, forms, low, high, start = layout.program, gates.forms, layout.low, layout.high, layout.start
    bound = 0
    for net in outputs:
        bound = max(bound, gates.latest[net])
    changed = np.empty((bound + 1) * WORDS, np.uint64)
    for block in range(blocks):
        for i in range(len(sources)):
            net = sources[i]
            if start[net] >= 0:
                fill_loop(buffer, start[net], -low[net], before, i * blocks + block)
                fill_loop(buffer, start[net] - low[net], high[net] + 1, after, i * blocks + block)
        for g in range(len(gates.gate)):
            pins, width = gates.pins[g], gates.width[g]
            if width == 1 or (pins <= FUSED_PINS and width <= FUSED_WIDTH):
                changes = gate_loop(program, g * STEP, forms, buffer, buffer)
            else:
                copy = len(gates.gate) * _FORM
                changes = _run_slowly(program, g * STEP, forms, copy, buffer, values, spare)
            toggles[gates.gate[g]] += changes
        if len(outputs):
            _arrivals(gates, layout, outputs, changed, buffer, arrival[block * LANES : (block + 1) * LANES])


@njit
def run_zero(
    gates: Gates, sources: np.ndarray, before: np.ndarray, after: np.ndarray, blocks: int, buffer: np.ndarray,
    toggles: np.ndarray,
) -> None:  # fmt: skip
    """Simulate all blocks without delays: what is given is as in `run`, but for the buffer.

    That has `2 * ABREAST` rows a net: the values before of so many blocks, then those after.
    """
    wide = 2 * ABREAST
    program = np.zeros(len(gates.gate) * STEP, np.int64)
    for g in range(len(gates.gate)):
        own = g * STEP
        program[own + PINS], program[own + WIDTH], program[own + FORM] = gates.pins[g], 1, g * _FORM
        program[own + OUT] = gates.output[g] * wide
        for k in range(gates.pins[g]):
            program[own + FIRST + k] = gates.inputs[g, k] * wide
    for block in range(0, blocks, ABREAST):
        rows = min(ABREAST, blocks - block)
        for i in range(len(sources)):
            for row in range(rows):
                at = sources[i] * wide + row
                fill_loop(buffer, at, 1, before, i * blocks + block + row)
                fill_loop(buffer, at + rows, 1, after, i * blocks + block + row)
        for g in range(len(gates.gate)):
            program[g * STEP + ROWS] = 2 * rows
            gate_loop(program, g * STEP, gates.forms, buffer, buffer)
            out = program[g * STEP + OUT]
            toggles[gates.gate[g]] += differ_loop(buffer, out, out + rows, rows)

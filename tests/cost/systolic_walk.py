"""A systolic array cycle by cycle: the slow twin of `chipfit.cost.mapping.systolic`.

Values move one element a cycle through an array of real registers, and what passes the edge of the
array is counted where it passes. A fold is over when no value is left in the array; the next one
starts after it. Elements outside a fold carry zeros that nobody read.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Walk:
    """What happened; `result` is the product that the array computed."""

    result: np.ndarray
    cycles: int = 0
    held_reads: int = 0
    moving_reads: int = 0
    writes: int = 0


def hold_operand(moving: np.ndarray, held: np.ndarray, rows: int, columns: int) -> Walk:
    """`moving @ held`, where blocks of `held` stay in the array and sums run down its columns."""
    waves, terms = moving.shape
    walk = Walk(np.zeros((waves, held.shape[1]), dtype=int))
    for column in range(0, held.shape[1], columns):
        for row in range(0, terms, rows):
            block = held[row : row + rows, column : column + columns]
            _one_held_block(walk, moving[:, row : row + rows], block, column, rows, columns)
    return walk


def _one_held_block(
    walk: Walk, moving: np.ndarray, block: np.ndarray, column: int, rows: int, columns: int
) -> None:
    waves, used_rows, used_columns = len(moving), *block.shape
    stay = [[0] * columns for _ in range(rows)]
    for row in reversed(range(rows)):  # a row a cycle from the top, the last one first
        stay = [[0] * columns, *stay[:-1]]
        if row < used_rows:
            stay[0] = [*map(int, block[row]), *[0] * (columns - used_columns)]
            walk.held_reads += used_columns
        walk.cycles += 1
    across = [[None] * columns for _ in range(rows)]  # (wave, value) on its way to the right
    down = [[0] * columns for _ in range(rows)]  # the sum below each element
    for cycle in range(10**6):
        entering = []
        for row in range(rows):
            wave = cycle - row
            entering.append(
                (wave, int(moving[wave, row]) if row < used_rows else 0) if 0 <= wave < waves else None
            )
            walk.moving_reads += 0 <= wave < waves and row < used_rows
        across = [[entering[row], *across[row][:-1]] for row in range(rows)]
        if not any(value for line in across for value in line):
            return
        above = [[0] * columns, *down[:-1]]
        down = [
            [above[r][c] + (across[r][c][1] * stay[r][c] if across[r][c] else 0) for c in range(columns)]
            for r in range(rows)
        ]
        for c in range(used_columns):
            if across[-1][c]:
                walk.result[across[-1][c][0], column + c] += down[-1][c]
                walk.writes += 1
        walk.cycles += 1


def hold_sums(left: np.ndarray, top: np.ndarray, rows: int, columns: int) -> Walk:
    """`left @ top`, where sums stay, `left` runs to the right and `top` down; sums leave when finished.

    `moving_reads` are those of `left`, `held_reads` those of `top`.
    """
    walk = Walk(np.zeros((left.shape[0], top.shape[1]), dtype=int))
    for column in range(0, top.shape[1], columns):
        for row in range(0, left.shape[0], rows):
            _one_block_of_sums(walk, left, top, row, column, rows, columns)
    return walk


def _one_block_of_sums(
    walk: Walk, left: np.ndarray, top: np.ndarray, row: int, column: int, rows: int, columns: int
) -> None:
    terms = left.shape[1]
    used_rows, used_columns = min(rows, left.shape[0] - row), min(columns, top.shape[1] - column)
    across = [[None] * columns for _ in range(rows)]
    down = [[None] * columns for _ in range(rows)]
    for cycle in range(10**6):
        from_left, from_top = [None] * rows, [None] * columns
        for r in range(rows):
            if 0 <= (k := cycle - r) < terms:
                from_left[r] = (k, int(left[row + r, k]) if r < used_rows else 0)
                walk.moving_reads += r < used_rows
        for c in range(columns):
            if 0 <= (k := cycle - c) < terms:
                from_top[c] = (k, int(top[k, column + c]) if c < used_columns else 0)
                walk.held_reads += c < used_columns
        across = [[from_left[r], *across[r][:-1]] for r in range(rows)]
        down = [from_top, *down[:-1]]
        if not any(value for line in (*across, *down) for value in line):
            return
        for r in range(used_rows):
            for c in range(used_columns):
                if across[r][c]:
                    (k, a), (k_top, b) = across[r][c], down[r][c]
                    assert k == k_top, "operands of different terms met"
                    walk.result[row + r, column + c] += a * b
                    walk.writes += k == terms - 1
        walk.cycles += 1

"""Every mapping of a small nest, one by one: what the search is held against."""

import itertools
import math

from hypothesis import reject
from hypothesis import strategies as st

from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.model import Mapping
from chipfit.cost.mapping.plan import stages, ways_to_hold
from chipfit.cost.mapping.question import split
from chipfit.errors import TargetError
from chipfit.hardware.target import TENSORS, Arithmetic, Array, MemoryLevel, Target
from chipfit.workload.network import DIMENSIONS, Loops


@st.composite
def targets(draw):
    count = draw(st.integers(1, 4))
    word = draw(st.sampled_from([4, 8]))
    levels, arrays = [], []
    for i in range(count):
        holds = TENSORS if i == 0 else tuple(sorted(draw(st.sets(st.sampled_from(TENSORS), min_size=1))))
        some = st.sets(st.sampled_from(DIMENSIONS), min_size=5)
        free = draw(st.booleans())
        levels.append(
            MemoryLevel(
                name=f"L{i}",
                word_bits=word,
                read_energy_j=draw(st.sampled_from([0.0, 1.0, 3.0])) * 8.0 ** (count - i),
                write_energy_j=draw(st.sampled_from([1.0, 2.0])) * 8.0 ** (count - i),
                source="",
                size_bits=None if i == 0 else draw(st.integers(6, 14)) * 2 * word,
                bandwidth_bits_per_cycle=draw(st.sampled_from([None, 0.5 * word, 2.0 * word])),
                holds=holds,
                may_bypass=() if i == 0 or draw(st.booleans()) else holds[:1],
                loops=DIMENSIONS if free or i == 0 else tuple(sorted(draw(some))),
                stationary=TENSORS
                if free
                else tuple(sorted(draw(st.sets(st.sampled_from(TENSORS), min_size=1)))),
            )
        )
        if draw(st.sampled_from([True, False])) and len(arrays) < 2:
            sides = st.sampled_from([DIMENSIONS, ("K", "C"), ("K", "P", "R"), ("C", "R", "S")])
            arrays.append(
                Array(
                    name=f"A{i}",
                    below=f"L{i}",
                    rows=draw(st.integers(1, 3)),
                    columns=draw(st.integers(2, 4)),
                    row_dimensions=draw(sides),
                    column_dimensions=draw(sides),
                    hop_energy_j=draw(st.sampled_from([0.0, 1.0])),
                )
            )
    try:
        return Target(
            name="toy",
            description="",
            source="",
            clock_hz=1.0,
            native_bits=8,
            partial_sum_bits=16,
            arithmetic=Arithmetic(multiply_j=1.0, multiply_bits=8, add_j=0.0, add_bits=16, source=""),
            levels=tuple(levels),
            arrays=tuple(arrays),
            static_power_w=draw(st.sampled_from([0.0, 5.0])),
        )
    except TargetError:  # memories side by side that have no tensor in common that may stay
        reject()


@st.composite
def nests(draw, largest):
    budget = largest
    bounds = dict.fromkeys(DIMENSIONS, 1)
    for d in draw(st.permutations(DIMENSIONS))[:4]:
        bounds[d] = draw(st.integers(1, min(4, budget)))
        budget //= bounds[d]
    return Loops(
        **bounds,
        stride=(draw(st.integers(1, 2)), 1),
        dilation=(1, draw(st.integers(1, 2))),
        padding=(draw(st.integers(0, 1)), 0),
    )


def chains(bound, parts, levels, d, space):
    """All ways to cut one dimension: (tiles by stage and of the datapath, factors by stage)."""
    name = DIMENSIONS[d]
    sizes = {s for s in range(1, bound + 1) if bound % s == 0}
    if space.imperfect:
        sizes |= {math.ceil(bound / n) for n in range(1, bound + 1)}
    found = [([1], [])]
    for stage in range(len(parts) - 1, -1, -1):
        array, grown = parts[stage].array, []
        for tiles, factors in found:
            most = 1
            if array is not None:
                most = array.rows if name in array.row_dimensions else 1
                most *= array.columns if name in array.column_dimensions else 1
            for f in range(1, most + 1):
                block = tiles[0] * f
                rounds = math.ceil(bound / block)
                even = block in sizes
                # Whole bound, or not even: of all that take as many rounds only the fewest elements.
                fewest = f == math.ceil(math.ceil(bound / tiles[0]) / rounds)
                allowed = even or (fewest and (space.ragged or (space.imperfect and block >= bound)))
                if not (f == 1 or allowed):
                    continue
                for outer in [bound] if stage == 0 else sorted(sizes):
                    fits = outer == bound or (outer % block == 0)
                    if parts[stage].tied or name not in levels[stage].loops:
                        fits = fits and outer == min(block, bound)
                    if fits:
                        grown.append(([outer, *tiles], [f, *factors]))
        found = grown
    return found


def everything(loops, target, widths, space, rules):
    """Every mapping of the space."""
    parts = stages(target)
    last = len(parts) - 1
    per_dimension = [chains(b, parts, target.levels, d, space) for d, b in enumerate(loops.bounds)]
    orders = [
        [TENSORS.index(t) for t in level.stationary] if not part.tied and i < last else [2]
        for i, (part, level) in enumerate(zip(parts, target.levels, strict=True))
    ]
    for holds in ways_to_hold(target):
        for picks in itertools.product(*per_dimension):
            factors = list(zip(*(pick[1] for pick in picks), strict=True))
            try:
                sides = [split(f, part.array) for f, part in zip(factors, parts, strict=True)]
            except AssertionError:
                continue
            for order in itertools.product(*orders):
                mapping = Mapping(
                    tiles=tuple(zip(*(pick[0] for pick in picks), strict=True)),
                    rows=tuple(rows for rows, _ in sides),
                    columns=tuple(columns for _, columns in sides),
                    stationary=tuple(TENSORS[t] for t in order),
                    holds=holds,
                )
                counts = evaluate(
                    mapping, loops, target, widths, mac_energy_j=3.0, streamed_words=2.0, rules=rules
                )
                if counts is not None:
                    yield counts

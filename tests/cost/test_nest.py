"""The closed-form counts against a walk through the nest, and against cases worked by hand."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_walk import TENSORS, walk

from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.model import Mapping, Rules, Widths
from chipfit.hardware.target import Arithmetic, Array, MemoryLevel, Target
from chipfit.workload.network import DIMENSIONS, Loops

ONES = (1,) * 8


def make_target(holds, arrays, *, word_bits=1, bandwidths=None):
    """A target whose level i holds holds[i] and has arrays[i] processing elements below it."""
    levels = tuple(
        MemoryLevel(
            name=f"L{i}",
            word_bits=word_bits,
            read_energy_j=10.0 ** -(i + 1),
            write_energy_j=3.0 * 10.0 ** -(i + 1),
            source="",
            holds=tuple(sorted(held)),
            bandwidth_bits_per_cycle=None if bandwidths is None else bandwidths[i],
        )
        for i, held in enumerate(holds)
    )
    below = tuple(
        Array(
            name=f"A{i}",
            below=f"L{i}",
            rows=64,
            columns=64,
            row_dimensions=DIMENSIONS,
            column_dimensions=DIMENSIONS,
            hop_energy_j=0.01,
        )
        for i, used in enumerate(arrays)
        if used
    )
    return Target(
        name="toy",
        description="",
        source="",
        clock_hz=1.0,
        native_bits=8,
        partial_sum_bits=16,
        arithmetic=Arithmetic(multiply_j=1.0, multiply_bits=8, add_j=0.0, add_bits=16, source=""),
        levels=levels,
        arrays=below,
    )


@st.composite
def cases(draw):
    count = draw(st.integers(1, 4))
    holds = [set(TENSORS)]
    holds += [draw(st.sets(st.sampled_from(TENSORS))) for _ in range(count - 1)]
    arrays = [draw(st.booleans()) for _ in range(count)]
    budget = 128
    bounds = [1] * 8
    for d in draw(st.permutations(range(8))):
        bounds[d] = draw(st.integers(1, min(5, budget)))
        budget //= bounds[d]
    tiles, factors = [], []
    for bound in bounds:
        chain, sides = [1], []
        for level in reversed(range(count)):
            inner = chain[0]
            most = math.ceil(bound / inner) if arrays[level] else 1
            factor = draw(st.integers(1, min(most, 3)))
            block = inner * factor
            options = [bound] if level == 0 or block >= bound else [*range(block, bound, block), bound]
            chain.insert(0, draw(st.sampled_from(options)))
            sides.insert(0, factor)
        tiles.append(chain)
        factors.append(sides)
    loops = Loops(
        **dict(zip(DIMENSIONS, bounds, strict=True)),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        padding=(draw(st.integers(0, 3)), draw(st.integers(0, 2))),
    )
    mapping = Mapping(
        tiles=tuple(zip(*tiles, strict=True)),
        rows=tuple(zip(*factors, strict=True)),
        columns=(ONES,) * count,
        stationary=tuple(draw(st.sampled_from(TENSORS)) for _ in range(count)),
    )
    widths = Widths(
        input=draw(st.integers(1, 10)),
        weight=draw(st.integers(1, 10)),
        output=draw(st.integers(1, 10)),
        partial_sum=draw(st.sampled_from([3, 8, 16, 20])),
    )
    rules = Rules(
        union=draw(st.booleans()),
        drains=draw(st.booleans()),
        padding=draw(st.booleans()),
        skips=draw(st.booleans()),
        slides=draw(st.booleans()),
        fills=draw(st.booleans()),
    )
    bandwidths = [draw(st.sampled_from([None, 1.0, 3.0])) for _ in holds]
    return loops, mapping, holds, make_target(holds, arrays, bandwidths=bandwidths), widths, rules


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cases())
def test_counts_equal_a_walk_through_the_nest(case):
    loops, mapping, holds, target, widths, rules = case
    counts = evaluate(mapping, loops, target, widths, rules=rules)
    assert counts is not None
    seen = walk(loops, mapping, holds, rules)
    # Words of one bit, so that every element counts for its width and nothing is rounded.
    bits = {"operand": 0, "sum": widths.partial_sum, "finished": widths.output}
    assert counts.compute_cycles == seen.steps
    energy_j = 0.0
    for stage, level in enumerate(target.levels):
        hop_energy_j = sum(array.hop_energy_j for array in target.arrays if array.below == level.name)
        for t, tensor in enumerate(TENSORS):
            bits["operand"] = {"input": widths.input, "weight": widths.weight, "output": 0}[tensor]
            reads = sum(seen.reads[stage, tensor, kind] * width for kind, width in bits.items())
            writes = sum(seen.writes[stage, tensor, kind] * width for kind, width in bits.items())
            hops = sum(
                n * bits[kind]
                for (array, _, name, kind), n in seen.hops.items()
                if (array, name) == (stage, tensor)
            )
            assert counts.reads[stage, t] == reads, (stage, tensor)
            assert counts.writes[stage, t] == writes, (stage, tensor)
            assert counts.hops[stage, t] == hops, (stage, tensor)
            energy_j += reads * level.read_energy_j + writes * level.write_energy_j + hops * hop_energy_j
    assert counts.energy_j == pytest.approx(energy_j, rel=1e-12)
    assert counts.cycles == pytest.approx(slowest(seen, counts, target, bits, widths, rules), rel=1e-12)


def slowest(seen, counts, target, bits, widths, rules):
    """The cycles of the slowest part, and those in which the first tiles come in and the last ones leave."""
    cycles, filling = seen.steps, 0.0
    wide = {"input": widths.input, "weight": widths.weight}
    for stage, level in enumerate(target.levels):
        if rate := level.bandwidth_bits_per_cycle:
            cycles = max(cycles, counts.stage_cycles[stage])
            wide["output"] = bits["finished"] if stage == 0 else bits["sum"]
            filling += sum(seen.first[stage, tensor] * width for tensor, width in wide.items()) / rate
    return cycles + filling * rules.fills

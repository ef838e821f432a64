"""Mixed quantisation and mapping (arXiv 2404.05368, DDECS 2024): its reference runs of MobileNetV1.

Mappings and counts as its public reports state them for 2-bit weights, 8-bit activations and words of 16
bits on its Eyeriss-like chip; per instance there, times the instances here. Its P, Q, R, S are Q, P, S, R.
"""

import csv

import numpy as np
import pytest

from chipfit.cost.mapping.evaluate import evaluate
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import RULES, Mapping, MapSpace, Widths
from chipfit.hardware.load import load_target
from chipfit.workload.network import Loops

ONES = (1,) * 8
WIDTHS = Widths(input=8, weight=2, output=8, partial_sum=8)


def mapping(bounds, buffer, spads, rows, columns):
    #       N  G  K  C  P  Q  R  S
    return Mapping(
        tiles=(bounds, buffer, spads, spads, spads, ONES),
        rows=(ONES, rows, ONES, ONES, ONES),
        columns=(ONES, columns, ONES, ONES, ONES),
        stationary=("output", "weight", "output", "output", "output"),
    )


def counted(loops, chosen):
    counts = evaluate(chosen, loops, load_target("eyeriss_synergy"), WIDTHS, rules=RULES["timeloop"])
    assert counts is not None
    return counts


# Layer 28, 1024 to 1000 channels on 6 x 6: M = 5 (spads) x 5 (down) x 2 (across) x 4 (buffer) x 5 (DRAM),
# C = 16 x 2 (down) x 32 (DRAM), Q = 6 across, P = 6 in the buffer; 120 elements work.
MATRIX = Loops(K=1000, C=1024, P=6, Q=6)
MATRIX_RUN = mapping(
    MATRIX.bounds,
    (1, 1, 200, 32, 6, 6, 1, 1),
    (1, 1, 5, 16, 1, 1, 1, 1),
    rows=(1, 1, 5, 2, 1, 1, 1, 1),
    columns=(1, 1, 2, 1, 6, 1, 1, 1),
)


def test_counts_of_a_pointwise_layer_are_those_of_the_report():
    counts = counted(MATRIX, MATRIX_RUN)
    assert counts.compute_cycles == 307200
    assert list(counts.reads[0]) == [92160, 128000, 0]
    assert list(counts.reads[1]) == [368640, 0, 558000]
    assert list(counts.reads[2:].sum(0)) == [153600 * 120, 38400 * 120, 153300 * 120]
    assert list(counts.writes[0]) == [0, 0, 18000]
    assert counts.writes[1, 0] == 92160
    assert list(counts.writes[2:].sum(0)[:2]) == [30720 * 120, 6400 * 120]
    # It also writes each sum of 36,000 once before there is one: two to a word; in the array, where two
    # elements share the channels, twice.
    assert counts.writes[1, 2] + 36000 // 2 == 576000 + 18000
    assert counts.writes[4, 2] + 2 * 36000 // 2 == (153600 + 9600) * 120


# Layer 2, 32 to 32 channels on 112 x 112, 3 x 3: M = 16 (spads) x 2 (down), C = 8 x 2 (down) x 2 (DRAM),
# Q = 14 across x 8 (DRAM), P = 112 in the buffer, R in the spads, S down; 168 elements work.
KERNEL = Loops(K=32, C=32, P=112, Q=112, R=3, S=3)
KERNEL_RUN = mapping(
    KERNEL.bounds,
    (1, 1, 32, 16, 14, 112, 3, 3),
    (1, 1, 16, 8, 1, 1, 1, 3),
    rows=(1, 1, 2, 2, 1, 1, 3, 1),
    columns=(1, 1, 1, 1, 14, 1, 1, 1),
)


def test_counts_of_a_layer_with_a_kernel_are_those_of_the_report():
    counts = counted(KERNEL, KERNEL_RUN)
    assert counts.compute_cycles == 688128
    assert list(counts.reads[0]) == [233472, 9216, 0]
    assert list(counts.reads[2:].sum(0)) == [344064 * 168, 86016 * 168, 336896 * 168]
    assert list(counts.writes[0]) == [0, 0, 200704]
    assert (counts.writes[1, 0], counts.reads[1, 2]) == (233472, 200704)
    assert counts.writes[3, 1] == 768 * 168
    # Its spads keep two of three columns from one step of P to the next: 114 instead of 112 x 3.
    assert counts.reads[1, 0] * 114 == 612864 * 336
    assert counts.writes[2, 0] * 114 == 7296 * 168 * 336
    # First visits of 401,408 sums, as above: six elements share an output.
    assert counts.writes[1, 2] + 401408 // 2 == 401408 + 200704
    assert counts.writes[4, 2] + 6 * 401408 // 2 == (344064 + 14336) * 168


def test_energy_of_a_pointwise_layer_is_that_of_the_report():
    target = load_target("eyeriss_synergy")
    counts = counted(MATRIX, MATRIX_RUN)
    counts.writes[1, 2] += 18000
    counts.writes[4, 2] += 36000
    each = [
        float(r) * level.read_energy_j + float(w) * level.write_energy_j
        for r, w, level in zip(counts.reads.sum(1), counts.writes.sum(1), target.levels, strict=True)
    ]
    # uJ: shared_glb inputs and outputs, ifmap_spad, weights_spad, psum_spad
    theirs = [7.84516608 + 19.68686235, 5.22702029, 4.40285952, 11.4551478]
    assert np.array(each[1:]) * 1e6 == pytest.approx(theirs, rel=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(("layer", "channels", "filters", "size"), [(5, 64, 128, 55), (15, 512, 512, 13)])
def test_the_best_mapping_takes_no_more_than_that_of_the_study(shared_data, layer, channels, filters, size):
    with (shared_data / "synergy" / "mobilenetv1_timeloop.csv").open() as file:
        theirs = next(
            row
            for row in csv.DictReader(file)
            if (row["target"], row["word_bits"], row["weight_bits"]) == ("eyeriss-like", "16", "8")
            and row["layer"] == str(layer)
        )
    loops = Loops(K=filters, C=channels, P=size, Q=size)
    assert loops.macs == int(theirs["macs"])
    target = load_target("eyeriss_synergy")
    answer = find(
        loops,
        target,
        Widths(input=8, weight=8, output=8, partial_sum=8),
        mac_energy_j=loops.macs * 2.20035e-12,  # the same at all widths
        rules=RULES["timeloop"],
        space=MapSpace(ragged=False),
    )
    # With the first visits that only they count: words of all outputs into the buffer and the spads of at
    # most 12 elements that share one.
    first = loops.K * loops.P * loops.Q / 2 * (17.1878 + 12 * 0.30161) * 1e-12
    assert (answer.score + first) * 1e6 <= float(theirs["energy_uj"])

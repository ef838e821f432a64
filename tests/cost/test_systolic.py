"""Systolic arrays: SCALE-Sim's own figures, a cycle-by-cycle twin, and energies by hand."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from systolic_walk import hold_operand, hold_sums
from typer.testing import CliRunner

from chipfit.cli import app
from chipfit.cost.mapping.systolic import Product, Systolic, array_size, edge, product
from chipfit.errors import MappingError
from chipfit.hardware.load import load_target
from chipfit.testing import EstimatorSuite, eye16, nest_layer, toy_systolic
from chipfit.workload.library import resolve
from chipfit.workload.network import Loops

SIZES = st.integers(1, 9)


class TestWeightStationary(EstimatorSuite):
    estimator = Systolic(dataflow="ws")


class TestInputStationary(EstimatorSuite):
    estimator = Systolic(dataflow="is")


class TestOutputStationary(EstimatorSuite):
    estimator = Systolic(dataflow="os")


def counts(found: Product) -> tuple[int, int, int, int]:
    return found.cycles, found.input_reads, found.weight_reads, found.output_writes


@pytest.mark.parametrize("dataflow", ["ws", "is", "os"])
@settings(max_examples=100, derandomize=True, deadline=None)
@given(m=SIZES, k=SIZES, n=SIZES, rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_equal_to_a_walk_cycle_by_cycle(dataflow, m, k, n, rows, columns):
    rng = np.random.default_rng(m + 10 * k + 100 * n)
    inputs, weights = rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (k, n))
    if dataflow == "ws":
        walk = hold_operand(inputs, weights, rows, columns)
        result, reads = walk.result, (walk.moving_reads, walk.held_reads)
    elif dataflow == "is":
        walk = hold_operand(weights.T, inputs.T, rows, columns)
        result, reads = walk.result.T, (walk.held_reads, walk.moving_reads)
    else:
        walk = hold_sums(inputs, weights, rows, columns)
        result, reads = walk.result, (walk.moving_reads, walk.held_reads)
    assert (result == inputs @ weights).all(), "the walk must compute the product"
    # SCALE-Sim reports the number of the last cycle, counted from 0.
    found = product(dataflow, m, k, n, rows=rows, columns=columns)
    assert counts(found) == (walk.cycles - 1, *reads, walk.writes)


# Reports that SCALE-Sim's authors keep as the expected output of their own tests (repository
# scalesim-project/scale-sim-v2, test/general/golden_trace*/{COMPUTE,DETAILED_ACCESS}_REPORT.csv): 32 x 32,
# topologies GEMM_mnk/test_mnk_input.csv (256 x 256 by 256 x 128) and AlexNet's first layer
# (55*55 positions, 11*11*3 terms, 96 filters). Cycles are their totals less their stalls.
@pytest.mark.parametrize(
    ("dataflow", "shape", "cycles", "input_reads", "weight_reads", "output_writes"),
    [
        ("ws", (256, 256, 128), 52447 - 41248, 262144, 32768, 262144),
        ("is", (256, 256, 128), 19984 - 5777, 65536, 262144, 262144),
        # Its report has 34816 writes, 32 + 32 a fold too many; 32768 in main memory.
        ("os", (256, 256, 128), 52447 - 42272, 262144, 262144, 34816 - 32 * (32 + 32)),
        ("ws", (3025, 363, 96), 112283, 3294225, 34848, 3484800),
    ],
)
def test_equal_to_the_reports_that_scale_sim_is_tested_against(
    dataflow, shape, cycles, input_reads, weight_reads, output_writes
):
    found = product(dataflow, *shape, rows=32, columns=32)
    assert counts(found) == (cycles, input_reads, weight_reads, output_writes)


# SCALE-Sim 3.0.0 on a 4 x 3 array, layers "a" (7x7x4, 6 filters 3x3, stride 1) and "c" (a product
# of one row, 64 terms and 20 columns): Total Cycles, SRAM IFMAP Reads, SRAM Filter Reads, SRAM OFMAP Writes.
@pytest.mark.parametrize(
    ("dataflow", "shape", "report"),
    [
        ("ws", (25, 36, 6), (611, 1800, 216, 1350)),
        ("is", (25, 36, 6), (1214, 900, 1944, 1350)),
        ("os", (25, 36, 6), (573, 1800, 1512, 248 - 14 * (4 + 3))),
        ("ws", (1, 64, 20), (1119, 448, 1280, 320)),
        ("is", (1, 64, 20), (463, 64, 1280, 320)),
        ("os", (1, 64, 20), (482, 448, 1280, 69 - 7 * (4 + 3))),
    ],
)
def test_equal_to_scale_sim_on_small_layers(dataflow, shape, report):
    assert counts(product(dataflow, *shape, rows=4, columns=3)) == report


# The same tool on "DP_b", 9x9 and one 3x3 filter at stride 2, which it runs as 5 layers of one channel.
@pytest.mark.parametrize(
    ("dataflow", "report"),
    [("ws", (74, 144, 9, 48)), ("is", (179, 144, 54, 48)), ("os", (55, 144, 36, 44 - 4 * (4 + 3)))],
)
def test_depthwise_is_a_product_a_channel(dataflow, report):
    array = replace(toy_systolic().arrays[0], rows=4, columns=3)
    target = replace(toy_systolic(), arrays=(array,), clock_hz=1.0)
    layer = nest_layer(Loops(G=5, P=4, Q=4, R=3, S=3, stride=(2, 2)))
    found = Systolic(dataflow=dataflow).layer(layer, target)
    assert found.latency_by_component_s["compute"] == 5 * report[0]
    assert re.findall(r"(\d+) (?:reads|writes)", found.mapping) == [str(5 * count) for count in report[1:]]


NAMES = {"l1": "layer1", "l2": "layer2", "l3": "layer3", "l4": "layer4"}


def test_equal_to_scale_sim_on_resnet18(shared_data):
    """The twelve layers run through the tool on its Eyeriss configuration, through the estimator."""
    with (shared_data / "peers" / "mapping.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["tool"] == "scalesim-3.0.0"]
    assert len(rows) == 12
    target = replace(load_target("eyeriss"), clock_hz=1.0)
    report = Systolic().estimate(resolve("resnet18", {}), target)
    found = {layer.name: layer for layer in report.layers}
    for row in rows:
        stage, _, rest = row["layer"].partition(".")
        name = f"{NAMES[stage]}.{rest.replace('down', 'downsample.0')}" if rest else stage
        text = ";".join(str(value) for value in row.values())
        measured = dict(re.findall(r"([\w ]+)=(\d+)(?:;|$)", text))
        assert found[name].latency_by_component_s["compute"] == int(measured["Total Cycles"])
        assert re.findall(r"(\d+) (?:reads|writes)", found[name].mapping) == [
            measured["SRAM IFMAP Reads"],
            measured["SRAM Filter Reads"],
            measured["SRAM OFMAP Writes"],
        ]


def test_a_product_by_hand():
    # 4 rows, 8 columns: 20 terms in 5 folds, 10 channels in 2; 8-bit words of 64 bits hold 8.
    layer = nest_layer(Loops(K=10, C=20, P=3), weight_bits=8, input_bits=8)
    found = Systolic(dataflow="ws").layer(layer, toy_systolic())
    assert found.mapping == (
        "weight-stationary 4 x 8: 5 x 2 folds, 169 cycles | input: 120 reads of buffer"
        " | weight: 200 reads of buffer | output: 150 writes of buffer"
    )
    # 5 * 2 * (3 + 2*4 + 8 - 2) - 1 = 169 cycles at 1 GHz; main memory: 8 + 25 + 4 = 37 words, one a cycle.
    assert found.latency_by_component_s == {"compute": pytest.approx(169e-9), "DRAM": pytest.approx(37e-9)}
    assert found.energy_by_component_j == {
        # 600 multiplies at 0.2 pJ, additions of 32 bits at 0.1 pJ
        "MAC": pytest.approx(600 * 0.3e-12),
        "DRAM": pytest.approx(37e-9),
        "buffer input": pytest.approx(15e-11),  # 120 in words of 8
        "buffer weight": pytest.approx(25e-11),  # 200
        "buffer output": pytest.approx((4 + 60) * 1e-11),  # 30 results of 8 bits, 120 sums of 32 bits
        "static": pytest.approx(1e-3 * 169e-9),
    }
    assert found.utilization == pytest.approx(600 / (169 * 32))
    assert found.cost.dram_bits == 37 * 64


def test_a_batch_is_more_rows_of_the_input():
    one = nest_layer(Loops(N=5, K=10, C=20, P=3))
    rows = nest_layer(Loops(K=10, C=20, P=15))
    for dataflow in ("ws", "is", "os"):
        estimator = Systolic(dataflow=dataflow)
        assert estimator.layer(one, toy_systolic()).mapping == estimator.layer(rows, toy_systolic()).mapping


def test_an_operand_without_a_memory_on_the_chip_comes_from_main_memory_at_every_access():
    target = load_target("tpu_like")  # its buffer holds no weights
    assert [edge(target, tensor).name for tensor in ("input", "weight", "output")] == ["sram", "dram", "sram"]
    # 40 input positions in 2 folds of 32: weights stream by twice.
    layer = nest_layer(Loops(K=8, C=16, P=40))
    found = Systolic(dataflow="is").layer(layer, target)
    assert "weight: 256 reads of dram" in found.mapping
    # 64-bit words of eight: 2 * 128 weights, 640 inputs, 320 outputs.
    assert found.cost.dram_bits == (32 + 80 + 40) * 64


def test_arrays_within_arrays_count_as_one():
    assert array_size(load_target("tpu_like")) == (32, 32)
    assert array_size(load_target("eyeriss")) == (12, 14)
    assert array_size(load_target("simba_synergy")) == (16, 16)
    assert array_size(replace(eye16(), arrays=())) == (1, 1)


def test_one_element_is_never_busier_than_always():
    target = replace(eye16(), arrays=())
    found = Systolic(dataflow="os").layer(nest_layer(Loops(K=2, C=3, P=4)), target)
    # SCALE-Sim numbers cycles from 0 and would say 23 for 24 multiplies.
    assert found.latency_by_component_s["compute"] == 24
    assert product("os", 4, 3, 2, rows=1, columns=1).cycles == 23


@pytest.mark.parametrize("dataflow", ["ws", "is", "os"])
def test_the_command_line_has_each_dataflow(dataflow):
    text = ("cost", "lenet5", "--target", "tpu_like", "--estimator", f"systolic-{dataflow}", "--json")
    result = CliRunner().invoke(app, text)
    assert result.exit_code == 0
    report = Systolic(dataflow=dataflow).estimate(resolve("lenet5", {}), load_target("tpu_like"))
    assert json.loads(result.stdout) == report.to_json()


def test_an_unknown_dataflow_is_named():
    with pytest.raises(MappingError) as caught:
        Systolic(dataflow="rs")
    assert str(caught.value) == "unknown dataflow 'rs'; valid: is, os, ws"
    with pytest.raises(MappingError) as caught:
        product("WS", 1, 1, 1, rows=1, columns=1)
    assert str(caught.value) == "unknown dataflow 'WS', did you mean 'ws'?"

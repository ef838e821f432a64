"""Sweeps: axes as they are written, variants of a target, what they take, and which none beats."""
# ruff: noqa: E501 - an axis and its message on one line read as a table

import contextlib
import json
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chipfit.cost.base import AbstractEstimator, Cost, LayerCost
from chipfit.cost.roofline import Roofline
from chipfit.cost.sweep.axes import Axis, kept, keys, parse_axis, read_sweep, short_names
from chipfit.cost.sweep.variants import QUANTITIES, capacity_bits, pareto, price
from chipfit.cost.sweep.workers import workers
from chipfit.errors import ChipfitError, MappingError, TargetError
from chipfit.hardware.load import load_target, target_names
from chipfit.workload.library import resolve

KIB = 8192  # bits
EYERISS, EDGE, TPU = (load_target(name) for name in ("eyeriss", "edge_npu", "tpu_like"))
SENSE = load_target("sense_zcu102")
LENET = resolve("lenet5")

TOY = """
name: toy
clock: 100 MHz
native_bits: 8
arithmetic: {multiply: 1 pJ, multiply_bits: 8, add: 0 pJ, add_bits: 32}
levels:
  - {name: dram, word_bits: 16, bandwidth: 0.2 GB/s, energy: {access: 100 pJ}}
  - {name: buffer, size: 8 KiB, word_bits: 64, bandwidth: 64 bit/cycle, energy: {table: cacti45}}
  - {name: file, words: 4, word_bits: 16, energy: {access: 1 pJ}}
arrays:
  - {name: pe, below: buffer, rows: 4, columns: 2, row_dimensions: [C], column_dimensions: [K], hop_energy: 1 pJ}
"""


@pytest.fixture
def toy(tmp_path):
    file = tmp_path / "toy.yaml"
    file.write_text(TOY)
    return file


def values(text, target=EYERISS):
    return parse_axis(text, target).values


class TestAxes:
    def test_a_range_doubles_and_has_both_ends(self):
        assert values("rows=8..64") == (8, 16, 32, 64)
        assert values("rows=12..40") == (12, 24, 40)
        assert values("rows=3..3") == (3,)

    def test_a_range_with_a_step_has_the_high_end_where_a_step_meets_it(self):
        assert values("rows=8..12:2") == (8, 10, 12)
        assert values("rows=8..13:2") == (8, 10, 12)
        assert values("rows=8..9:5") == (8,)

    def test_steps_are_decimal(self):
        assert values("clock=0.1GHz..0.5GHz:0.1GHz") == (0.1, 0.2, 0.3, 0.4, 0.5)

    def test_a_list_keeps_its_order(self):
        assert values(" columns = 14, 7 ,28 ") == (14, 7, 28)

    @pytest.mark.parametrize(
        ("text", "unit", "expected"),
        [
            ("levels.global_buffer.size=32KiB..128KiB", "KiB", (32, 64, 128)),
            ("levels.global_buffer.size=32..128KiB", "KiB", (32, 64, 128)),
            ("levels.global_buffer.size=512 KiB..2 MiB", "MiB", (0.5, 1, 2)),
            ("levels.global_buffer.size=512KiB,1MiB,256KiB", "KiB", (512, 1024, 256)),
            ("clock=100MHz..0.4GHz:100MHz", "MHz", (100, 200, 300, 400)),
            ("clock_mhz=100..400", "MHz", (100, 200, 400)),
            ("dram_bandwidth=32..128bit/cycle", "bit/cycle", (32, 64, 128)),
            ("dram_bandwidth=0.5GB/s..2000MB/s", "MB/s", (500, 1000, 2000)),
            ("levels.dram.read_energy=0pJ,100pJ", "pJ", (0, 100)),
            ("static_power=0mW,1mW", "mW", (0, 1)),
        ],
    )
    def test_values_are_in_the_unit_stated_last(self, text, unit, expected):
        axis = parse_axis(text, EYERISS)
        assert (axis.unit, axis.values) == (unit, pytest.approx(expected))

    @pytest.mark.parametrize(
        ("target", "name", "key"),
        [
            (EYERISS, "rows", "arrays.pe.rows"),
            (EYERISS, "glb_kib", "levels.global_buffer.size"),
            (EYERISS, "weight_spad_kib", "levels.weight_spad.size"),
            (EYERISS, "dram_bandwidth", "levels.dram.bandwidth"),
            (EYERISS, "arithmetic.multiply_bits", "arithmetic.multiply_bits"),
            # 1 row x 32 columns above 32 rows x 1 column
            (TPU, "rows", "arrays.rows.rows"),
            (TPU, "columns", "arrays.columns.columns"),
            (TPU, "glb_kib", "levels.sram.size"),
            (EDGE, "glb_bandwidth", "levels.sram.bandwidth"),
            (SENSE, "consecutive", "sparse.consecutive"),
        ],
    )
    def test_names_are_keys_or_short_names(self, target, name, key):
        unit = "bit/cycle" if name.endswith("bandwidth") else ""
        assert parse_axis(f"{name}=1{unit}", target).key == key

    @pytest.mark.parametrize("name", target_names())
    def test_every_number_that_a_target_lists_can_be_varied(self, name):
        target = load_target(name)
        listed = {number.key for number in target.numbers()}
        parts = (
            "levels.",
            "arrays.",
            "arithmetic.",
            "sparse.",
            "clock",
            "native_bits",
            "partial_sum_bits",
            "static_power",
            "area",
        )
        assert {key for key in listed if key.startswith(parts)} <= set(keys(target))
        assert {key for key, _ in short_names(target).values()} <= set(keys(target))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (text, f"'{text}' is not a sweep: expected NAME=LOW..HIGH (doubling), NAME=LOW..HIGH:STEP or NAME=A,B,C, such as glb_kib=32..256")
            for text in ("", "rows", "rows=", "=8", "rows=8..", "rows=..8", "rows=8:2", "rows=8..16:")
        ]
        + [
            ("rows=8,,9", "'rows=8,,9': '' is not a number"),
            ("rows=a..b", "'rows=a..b': 'a' is not a number"),
            ("rows=8..16..32", "'rows=8..16..32': '16..32' is not a number"),
            ("rows=0..8", "'rows=0..8': doubling starts above 0, not at 0; name a step, or list the values"),
            ("rows=-8..8", "'rows=-8..8': doubling starts above 0, not at -8; name a step, or list the values"),
            ("glb_kib=0", "'glb_kib=0': glb_kib must be above 0, got 0"),
            ("glb_kib=-32,32", "'glb_kib=-32,32': glb_kib must be above 0, got -32"),
            ("rows=0..8:4", "'rows=0..8:4': rows must be above 0, got 0"),
            ("rows=8.5", "'rows=8.5': rows must be a whole number, got 8.5"),
            ("rows=8,8", "'rows=8,8' names 8 twice"),
            ("rows=16..8", "'rows=16..8': the low end is above the high end"),
            ("rows=8..16:0", "'rows=8..16:0': the step must be above 0"),
            ("rows=8..16:-1", "'rows=8..16:-1': the step must be above 0"),
            ("rows=8KiB", "'rows=8KiB': rows is a plain number, without 'KiB'"),
            ("glb_kib=1MiB", "'glb_kib=1MiB': glb_kib is in KiB already, without 'MiB'"),
            ("clock=100", "'clock=100': no unit of frequency; valid: GHz, Hz, MHz, kHz"),
            ("clock=100mhz", "'clock=100mhz': unknown unit 'mhz' of frequency, did you mean 'MHz'?"),
            ("dram_bandwidth=64", "'dram_bandwidth=64': a bandwidth is such as 64bit/cycle or 3.2GB/s"),
            ("dram_bandwidth=1bit/h", "'dram_bandwidth=1bit/h': a bandwidth is such as 64bit/cycle or 3.2GB/s"),
            ("dram_bandwidth=1GB/s,8bit/cycle", "'dram_bandwidth=1GB/s,8bit/cycle': bandwidths per cycle and per second cannot stand in one axis"),
            ("rows=1..1e9:1", "'rows=1..1e9:1' has more than 10,000 values"),
            ("rows=1..1e9999", "'rows=1..1e9999': 1e9999 is too large"),
            ("clock_mhz=1e99999999999999999999", "'clock_mhz=1e99999999999999999999': 1e99999999999999999999 is too large"),
            ("clock_mhz=1e-9999999999999", "'clock_mhz=1e-9999999999999': clock_mhz must be above 0, got 0"),
            ("rows=1e30", "'rows=1e30': rows must be a whole number, got 1e+30"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_said(self, text, message):
        with pytest.raises(TargetError) as error:
            parse_axis(text, EYERISS)
        assert str(error.value) == message

    def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(self):
        with pytest.raises(TargetError) as error:
            parse_axis("row=8..16", EYERISS)
        said = str(error.value)
        assert said.startswith(
            "target 'eyeriss' has no number 'row', did you mean 'rows'? All names: area, arithmetic.add, "
        )
        assert "glb_kib" in said
        # The main memory is unbounded.
        with pytest.raises(TargetError, match="has no number 'dram_kib'"):
            parse_axis("dram_kib=8", EYERISS)

    @settings(deadline=None, derandomize=True)
    @given(st.text(max_size=20))
    def test_no_text_breaks_it(self, text):
        for whole in (text, f"rows={text}", f"clock={text}", f"dram_bandwidth={text}"):
            with contextlib.suppress(TargetError):
                assert parse_axis(whole, EYERISS).values


class TestReading:
    def test_variants_are_all_combinations_the_last_axis_fastest(self):
        sweep = read_sweep("eyeriss", ["glb_kib=32,64", "rows=6,12"])
        assert (sweep.size, list(sweep.variants())) == (4, [(32, 6), (32, 12), (64, 6), (64, 12)])

    def test_one_number_has_one_axis(self):
        with pytest.raises(TargetError) as error:
            read_sweep("eyeriss", ["glb_kib=32", "levels.global_buffer.size=64KiB"])
        assert str(error.value) == (
            "the sweep names levels.global_buffer.size as 'glb_kib' and as 'levels.global_buffer.size'; "
            "give all its values at once: NAME=A,B,C"
        )
        with pytest.raises(TargetError, match=r"^the sweep names arrays\.pe\.rows twice; "):
            read_sweep("eyeriss", ["rows=4", "rows=8"])

    def test_too_many_variants_are_refused(self):
        assert read_sweep("eyeriss", ["rows=1..100:1", "columns=1..100:1"]).size == 10_000
        with pytest.raises(TargetError) as error:
            read_sweep("eyeriss", ["rows=1..101:1", "columns=1..100:1"])
        assert str(error.value) == (
            "the sweep has 101 x 100 = 10,100 variants; at most 10,000: take larger steps, or fewer numbers at once"
        )


def built(file, *axes):
    """The only variant of a sweep of single values."""
    sweep = read_sweep(file, axes)
    return sweep.build(next(sweep.variants()))


class TestVariants:
    def test_a_variant_with_the_values_of_the_target_is_the_target(self):
        axes = [
            "clock_mhz=200",
            "rows=12",
            "glb_kib=100",
            "levels.weight_spad.size=448B",
            "levels.dram.read_energy=400pJ",
        ]
        assert built("eyeriss", *axes, "dram_bandwidth=64bit/cycle") == EYERISS

    def test_numbers_are_set(self, toy):
        found = built(
            toy, "rows=8", "levels.file.size=32B", "levels.file.read_energy=2pJ", "levels.dram.word_bits=32",
            "arrays.pe.hop_energy=3pJ", "arithmetic.multiply=0.5pJ", "arithmetic.add_bits=16", "native_bits=4",
            "static_power=5mW", "partial_sum_bits=24",
        )  # fmt: skip
        file = found.level("file")
        assert (file.size_bits, file.read_energy_j, file.write_energy_j) == (256, pytest.approx(2e-12), 1e-12)
        assert (found.arrays[0].rows, found.arrays[0].columns) == (8, 2)
        assert (found.level("dram").word_bits, found.arrays[0].hop_energy_j) == (32, pytest.approx(3e-12))
        assert (found.arithmetic.multiply_j, found.arithmetic.add_bits) == (pytest.approx(0.5e-12), 16)
        assert (found.native_bits, found.static_power_w, found.partial_sum_bits) == (4, 0.005, 24)

    def test_numbers_of_a_sparse_array_are_set(self):
        found = built("sense_zcu102", "consecutive=4")
        assert found.sparse == replace(SENSE.sparse, consecutive=4)

    def test_the_energy_of_a_memory_from_a_table_follows_its_size(self, toy):
        # CACTI 45 nm, 64-bit port: 8 KiB 6.14 pJ, 32 KiB 17.0 pJ, 256 KiB 44.7 pJ
        for kib, read_pj in ((8, 6.14), (32, 17.0), (256, 44.7)):
            assert built(toy, f"glb_kib={kib}").level("buffer").read_energy_j == pytest.approx(
                read_pj * 1e-12
            )

    def test_a_stated_energy_stays(self, toy):
        assert built(toy, "file_kib=1").level("file").read_energy_j == 1e-12

    def test_a_bandwidth_per_second_is_kept_per_second_at_another_clock(self, toy):
        # 0.2 GB/s = 1.6e9 bit/s: at 100 MHz 16 bits a cycle, at 200 MHz 8
        assert [built(toy, f"clock_mhz={f}").level("dram").bandwidth_bits_per_cycle for f in (100, 200)] == [
            16,
            8,
        ]
        assert built(toy, "clock_mhz=200").level("buffer").bandwidth_bits_per_cycle == 64

    def test_a_size_in_words_stays_in_bits_when_words_get_wider(self, toy):
        assert built(toy, "levels.file.word_bits=32").level("file").size_bits == 4 * 16

    def test_a_chip_that_cannot_be_is_an_error_of_its_file(self, toy):
        with pytest.raises(TargetError) as error:
            built(toy, "glb_kib=4096")
        assert str(error.value) == (
            "toy.yaml: levels[1].energy: table 'cacti45' covers memories of 512 B to 2 MiB, not of 4 MiB: "
            "give the energy itself"
        )

    def test_capacity_counts_each_memory_as_often_as_it_exists(self, toy):
        # one buffer of 8 KiB, a file of 4 x 16 bits beside each of 4 x 2 elements
        assert capacity_bits(load_target(toy)) == 8 * KIB + 64 * 8


class TestWhatStays:
    @pytest.mark.parametrize(
        ("axis", "notes"),
        [
            ("glb_kib=8..32", ["the energy of an access of buffer follows its size: CACTI run through hwcomponents-cacti 1.0.40, 45 nm"]),
            ("file_kib=1,2", ["an access of file takes the same energy at every size: its source has only one"]),
            ("levels.dram.word_bits=32", ["an access of dram takes the same energy at every word width: its source has only one"]),
            ("clock_mhz=100,200", ["energies stay as they are at every clock: one supply voltage", "bandwidths stated per cycle stay so at every clock: buffer"]),
            ("rows=4,8", ["a hop in pe takes the same energy at every number of rows"]),
            ("glb_kib=8", []),
            ("levels.dram.read_energy=1pJ", []),
        ],
    )  # fmt: skip
    def test_it_is_said(self, toy, axis, notes):
        assert kept(read_sweep(toy, [axis])) == notes

    def test_multipliers_are_supplied_as_the_clock_allows(self, toy):
        toy.write_text(TOY + "mac_table: table.json\nmac_supply: {margin: 0.1}\n")
        said = kept(read_sweep(toy, ["clock_mhz=100,200"]))
        assert said[0] == "energies stay as they are at every clock: one supply voltage but of multipliers"

    def test_a_static_power_that_does_not_grow_with_the_chip_is_named(self, toy):
        toy.write_text(TOY + "static_power: 1 mW\n")
        assert "the static power is the same for all variants" in kept(read_sweep(toy, ["rows=8"]))
        assert kept(read_sweep(toy, ["static_power=2mW"])) == []


@dataclass(frozen=True, kw_only=True)
class Made(AbstractEstimator):
    """Energy as the buffer is large, time as the rows are few; 16 KiB at least."""

    method = error = "made up"

    def layer(self, layer, target):
        kib = target.level("buffer").size_bits / KIB
        if kib < 16:
            raise MappingError(f"'{layer.name}' does not fit: buffer has {kib:g} KiB")
        cost = Cost(energy_j=kib, latency_s=8 / target.arrays[0].rows, dram_bits=1.0)
        return LayerCost(name=layer.name, operator="Conv", cost=cost, macs=0, utilization=0.0)


class TestPrices:
    def test_each_variant_has_what_the_estimator_says(self):
        sweep = read_sweep("edge_npu", ["columns=8,32", "clock_mhz=100,200"])
        report = price(sweep, LENET, Roofline())
        expected = [Roofline().estimate(LENET, sweep.build(values)).total for values in sweep.variants()]
        assert [variant.cost for variant in report.variants] == expected
        assert report.baseline.cost == Roofline().estimate(LENET, EDGE).total
        assert [variant.processing_elements for variant in report.variants] == [64, 64, 256, 256]

    def test_a_variant_that_cannot_run_is_a_row_with_its_reason(self, toy):
        report = price(read_sweep(toy, ["glb_kib=8..32", "rows=4"]), LENET, Made())
        first = LENET.layers[0].name
        assert [v.error for v in report.variants] == [f"'{first}' does not fit: buffer has 8 KiB", None, None]
        assert report.variants[0].to_json() == {
            "parameters": {"glb_kib": 8, "rows": 4}, "energy_j": None, "latency_s": None, "edp_js": None,
            "dram_bits": None, "capacity_bits": 8 * KIB + 64 * 8, "processing_elements": 8, "pareto": False,
            "error": f"'{first}' does not fit: buffer has 8 KiB",
        }  # fmt: skip
        assert report.baseline.error == report.variants[0].error

    def test_a_chip_that_cannot_be_is_a_row_with_its_reason(self, toy):
        found = price(read_sweep(toy, ["glb_kib=16,4096"]), LENET, Made()).variants
        assert (found[0].error, found[1].capacity_bits) == (None, None)
        assert found[1].error.startswith("toy.yaml: levels[1].energy: table 'cacti45' covers")

    def test_those_that_none_beats_are_marked(self, toy):
        # energy grows with the buffer, time falls with the rows: the smallest buffer with the most rows wins
        sweep = read_sweep(toy, ["glb_kib=8..32", "rows=4,8"])

        def marked(*front):
            return [
                tuple(v.parameters.values())
                for v in price(sweep, LENET, Made(), front=front).variants
                if v.pareto
            ]

        assert marked("energy", "latency") == [(16, 8)]
        # fewer rows are a smaller chip
        assert marked("energy", "latency", "multipliers") == [(16, 4), (16, 8)]
        assert marked("latency", "capacity") == [(16, 4), (16, 8)]

    def test_a_front_has_two_known_quantities(self):
        sweep = read_sweep("eyeriss", ["rows=4"])
        for front, message in (
            (("energy",), "'energy' is not a front: name two or more different quantities"),
            (("energy", "energy"), "'energy,energy' is not a front: name two or more different quantities"),
            (("energy", "latenci"), "unknown quantity 'latenci', did you mean 'latency'?"),
        ):
            with pytest.raises(ChipfitError) as error:
                price(sweep, LENET, Roofline(), front=front)
            assert str(error.value) == message

    def test_the_document_is_plain_data(self, toy):
        found = price(read_sweep(toy, ["glb_kib=8..16"]), LENET, Made()).to_json()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["axes"] == [
            {"name": "glb_kib", "key": "levels.buffer.size", "unit": "KiB", "values": [8, 16]}
        ]
        assert {"network", "target", "method", "error", "front", "baseline", "variants", "warnings"} <= set(
            found
        )
        assert set(QUANTITIES.values()) <= set(found["variants"][0])

    def test_warnings_of_the_network_stand_once_before_what_stays(self, toy):
        warnings = price(read_sweep(toy, ["rows=4,8", "glb_kib=16,32"]), LENET, Made()).warnings
        assert len(set(warnings)) == len(warnings)
        assert warnings[-2] == "a hop in pe takes the same energy at every number of rows"

    def test_progress_is_told_once_a_variant(self, toy):
        told = []
        price(read_sweep(toy, ["rows=4,8,16"]), LENET, Made(), advance=lambda: told.append(1))
        assert len(told) == 3


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=12))
def test_the_front_is_what_no_point_beats(points):
    # The definition, point by point.
    def beats(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    expected = [not any(beats(other, point) for other in points) for point in points]
    assert pareto(np.array(points, dtype=float).reshape(-1, 3)).tolist() == expected


class TestWorkers:
    @pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
    def test_every_backend_finds_the_same(self, backend):
        sweep = read_sweep("edge_npu", ["columns=8..64"])
        alone = price(sweep, LENET, Roofline())
        with workers(backend, jobs=2):
            assert price(sweep, LENET, Roofline()) == alone

    def test_the_backend_that_is_set_around_the_call_is_used(self, monkeypatch):
        used = []

        class Recording(joblib.parallel.ThreadingBackend):
            def submit(self, func, callback=None):
                used.append(func)
                return super().submit(func, callback)

        monkeypatch.setitem(joblib.parallel.BACKENDS, "recording", Recording)
        with joblib.parallel_config(backend="recording", n_jobs=2):
            price(read_sweep("edge_npu", ["columns=8,16"]), LENET, Roofline())
        assert used

    def test_dask_finds_the_same(self):
        distributed = pytest.importorskip(
            "distributed", reason="NO DASK: install chipfit[cluster] to test it"
        )
        sweep = read_sweep("edge_npu", ["columns=8,16"])
        with (
            distributed.Client(processes=False, dashboard_address=None),
            joblib.parallel_config(backend="dask"),
        ):
            found = price(sweep, LENET, Roofline())
        assert found == price(sweep, LENET, Roofline())

    def test_a_worker_that_is_ended_is_one_message(self, monkeypatch):
        def ended(self, calls):
            raise BrokenProcessPool("one was killed")

        monkeypatch.setattr(joblib.Parallel, "__call__", ended)
        with pytest.raises(ChipfitError) as error:
            price(read_sweep("edge_npu", ["columns=8,16"]), LENET, Roofline())
        assert str(error.value) == (
            "a worker was ended from outside, most often for want of memory: try again with fewer jobs"
        )

    def test_an_unknown_backend_is_a_mistake(self):
        with pytest.raises(ChipfitError) as error, workers("lokky"):
            pass
        assert str(error.value) == "unknown backend 'lokky', did you mean 'loky'?"

    @pytest.mark.parametrize(
        ("backend", "module", "package"),
        [("dask", "distributed", "chipfit[cluster]"), ("ray", "ray.util.joblib", "ray")],
    )
    def test_a_cluster_that_is_not_installed_is_a_mistake(self, monkeypatch, backend, module, package):
        def missing(name):
            raise ModuleNotFoundError(name=name)

        monkeypatch.setattr("chipfit.cost.sweep.workers.import_module", missing)
        with pytest.raises(ChipfitError) as error, workers(backend):
            pass
        assert str(error.value) == (
            f"the backend '{backend}' needs '{module}', which is not installed: pip install '{package}'"
        )


def test_axes_are_plain_data():
    axis = Axis(name="rows", key="arrays.pe.rows", unit="", values=(1, 2))
    assert axis.to_json() == {"name": "rows", "key": "arrays.pe.rows", "unit": "", "values": [1, 2]}

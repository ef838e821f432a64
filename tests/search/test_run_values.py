"""A whole run on a chip whose multiplications cost what their weight values switch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chipfit.cost.gates.characterise import characterise
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.statistics import declared
from chipfit.cost.gates.table import load_table, save_table
from chipfit.cost.mapping.analytical import Analytical
from chipfit.hardware.load import load_target
from chipfit.report.record import Records
from chipfit.search.config import FitConfig
from chipfit.search.run import fit
from chipfit.workload.from_onnx import load_onnx

CHIP = """
name: priced
clock: 150 MHz
native_bits: 8
operand_bits: [4, 6, 8]
arithmetic: {table: horowitz45}
mac_table: [array.json, booth.json]
mac_supply: {least: 0.7 V, margin: 0.05}
levels:
  - {name: dram, word_bits: 64, energy: {access: 20 pJ, source: "made up, so that multiplications matter"}}
  - {name: buffer, size: 64 KiB, word_bits: 64, energy: {access: 1 pJ, source: "made up"}}
"""


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chip of array or Booth multipliers, whose partial sum is added behind the product."""
    folder = tmp_path_factory.mktemp("chip")
    operands = declared(
        "relu", weight_bits=8, activation_bits=8, sum_bits=22, activation_signed=False,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    library = embedded_library("ihp_sg13g2")
    for style in ("array", "booth"):
        unit = generate_mac(MacDesign(style=style, accumulate="adder", activation_signed=False))
        table = characterise(unit, library, operands, mode="zero", transitions=512)
        save_table(table, folder / f"{style}.json")
    (folder / "priced.yaml").write_text(CHIP)
    return folder / "priced.yaml"


def test_a_run_trades_weight_values_multiplier_and_voltage_against_all_else(
    priced: Path, tmp_path: Path
) -> None:
    fit(
        FitConfig(
            task="small_models:task", target=str(priced), budget=("energy=60%",), out=tmp_path, max_drop=1.0
        )
    )
    records = Records(tmp_path / "records.jsonl")
    target, final, asked = load_target(str(priced)), records.last("final"), records.last("asked")
    assert final is not None
    assert asked is not None
    by_values = [c for c in asked["candidates"] if c["origin"] == "values"]
    assert by_values
    assert all(c["values"] for c in by_values)
    tried = {r["name"] for r in records.read() if r["kind"] == "candidate"}
    assert {c["name"] for c in by_values} <= tried
    # The file that is written costs what the run says, its weights at the energies of their values.
    written = load_onnx(tmp_path / "model.onnx")
    after = Analytical().estimate(written, target)
    assert after.total.energy_j == pytest.approx(final["cost"]["totals"]["energy_j"], rel=1e-9)
    # Which multiplier and at what voltage is a matter of the weights: the dearer one costs more.
    used = final["cost"]["multiplier"]
    assert used == after.multiplier.to_json()
    assert used["choices"] == 2
    assert used["supply_v"] < load_table(Path(after.multiplier.table)).supply_v
    other = [file for file in target.mac_tables if Path(file).name != used["table"]]
    dearer = Analytical().estimate(written, replace(target, mac_tables=tuple(other)))
    assert dearer.total.energy_j > after.total.energy_j
    notes = [r["text"] for r in records.read() if r["kind"] == "note" and "values, from" in r["text"]]
    assert all(" V, of 2 the one of least energy" in note for note in notes)
    assert "Multiplications of the result" in (tmp_path / "report.html").read_text()
    plain = Analytical().estimate(written, replace(target, mac_tables=(), mac_supply=None))
    multiplying = [sum(x.energy_by_component_j.get("MAC", 0.0) for x in r.layers) for r in (after, plain)]
    assert multiplying[0] != pytest.approx(multiplying[1], rel=0.01)
    before = Analytical().estimate(load_onnx(tmp_path / "original.onnx"), target)
    assert final["ratios"]["energy"] == pytest.approx(after.total.energy_j / before.total.energy_j, rel=1e-9)
    assert final["budget_met"] == (final["ratios"]["energy"] <= 0.6)
    assert final["agreement"] == 1.0

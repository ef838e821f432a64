"""A whole run on a chip whose multiplications cost what their weight values switch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chipfit.cost.gates.characterise import characterise
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.statistics import declared
from chipfit.cost.gates.table import save_table
from chipfit.cost.mapping.analytical import Analytical
from chipfit.hardware.load import load_target
from chipfit.report.record import Records
from chipfit.search.config import FitConfig
from chipfit.search.run import fit
from chipfit.workload.from_onnx import load_onnx

CHIP = """
name: priced
clock: 200 MHz
native_bits: 8
operand_bits: [4, 6, 8]
arithmetic: {table: horowitz45}
mac_table: booth.json
levels:
  - {name: dram, word_bits: 64, energy: {access: 20 pJ, source: "made up, so that multiplications matter"}}
  - {name: buffer, size: 64 KiB, word_bits: 64, energy: {access: 1 pJ, source: "made up"}}
"""


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chip of Booth multipliers, whose partial sum is added behind the product."""
    folder = tmp_path_factory.mktemp("chip")
    unit = generate_mac(MacDesign(style="booth", accumulate="adder", activation_signed=False))
    operands = declared(
        "relu", weight_bits=8, activation_bits=8, sum_bits=22, activation_signed=False,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    library = embedded_library("ihp_sg13g2")
    save_table(characterise(unit, library, operands, mode="zero", transitions=512), folder / "booth.json")
    (folder / "priced.yaml").write_text(CHIP)
    return folder / "priced.yaml"


def test_a_run_trades_weight_values_against_all_else(priced: Path, tmp_path: Path) -> None:
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
    plain = Analytical().estimate(written, replace(target, mac_table=None))
    multiplying = [sum(x.energy_by_component_j.get("MAC", 0.0) for x in r.layers) for r in (after, plain)]
    assert multiplying[0] != pytest.approx(multiplying[1], rel=0.01)
    before = Analytical().estimate(load_onnx(tmp_path / "original.onnx"), target)
    assert final["ratios"]["energy"] == pytest.approx(after.total.energy_j / before.total.energy_j, rel=1e-9)
    assert final["budget_met"] == (final["ratios"]["energy"] <= 0.6)
    assert final["agreement"] == 1.0

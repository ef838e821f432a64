import json
from dataclasses import replace

import numpy as np
import pytest

from chipfit.cost.gates.table import load_table, save_table
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.roofline import Roofline
from chipfit.errors import TableError, TargetError
from chipfit.hardware.load import load_target
from chipfit.testing import eye16, nest_layer
from chipfit.workload.network import Loops, Network

# Weights of 3 bits, -4..3: each takes its distance from zero in femtojoules, and every cycle 0.5 fJ besides.
DOCUMENT = {
    "format": "chipfit weight table 1",
    "multiplier": "toy",
    "library": "toy",
    "supply_v": 1.0,
    "weight_bits": 3,
    "activation_bits": 4,
    "sum_bits": 8,
    "weight_signed": True,
    "activation_signed": False,
    "mode": "inertial",
    "grid_ps": 10.0,
    "seed": 0,
    "operands": "toy",
    "energy_transitions": 1,
    "delay_transitions": 1,
    "weights": [*range(-4, 4)],
    "energy_j": [1e-15 * abs(w) for w in range(-4, 4)],
    "delay_s": [1e-9] * 8,
    "bound_s": [1e-9] * 8,
    "static_delay_s": 1e-9,
    "input_energy_j": 1e-16,
    "register_energy_j": 2e-16,
    "clock_energy_j": 2e-16,
    "leakage_w": 0.0,
    "area_um2": None,
    "gates": 1,
    "arrivals": [1.0],
    "class_delays_s": [],
}


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(DOCUMENT))
    return replace(eye16(), mac_table=str(path))


def a_layer(values, *, weight_bits=3, input_bits=4):
    layer = nest_layer(Loops(K=2, C=4, P=3), weight_bits=weight_bits, input_bits=input_bits)
    return replace(layer, weight=replace(layer.weight, values=values))


def test_the_mean_over_the_weights_that_the_layer_has(target):
    # (4 * 0 + 2 * 3 + 2 * 1) / 8 = 1 fJ, and 0.5 fJ
    layer = a_layer(((-3, 2), (0, 4), (1, 2)))
    assert mac_energy_j(layer, target, 16) == pytest.approx(1.5e-15)


@pytest.mark.parametrize("estimator", [Analytical(), Roofline()])
def test_estimators_take_the_energy_of_the_table(target, estimator):
    network = Network(name="net", layers=(a_layer(((1, 8),)),))
    report = estimator.estimate(network, target)
    # 2 * 4 * 3 multiplications of 1.5 fJ
    assert report.energy_by_component_j["MAC"] == pytest.approx(24 * 1.5e-15)
    assert report.warnings == ()


def test_cheaper_weights_cost_less_in_the_same_mapping(target):
    dear, cheap = (
        Analytical().estimate(Network(name="net", layers=(a_layer(values),)), target)
        for values in (((3, 8),), ((1, 8),))
    )
    assert dear.total.energy_j - cheap.total.energy_j == pytest.approx(24 * 2e-15)


def test_unknown_weights_are_normal_and_said_to_be(target):
    layer = a_layer(None)
    codes = np.arange(-4, 4)
    shares = np.exp(-0.5 * (codes / 0.75) ** 2)
    expected = (np.abs(codes) @ shares / shares.sum()) * 1e-15 + 5e-16
    assert mac_energy_j(layer, target, 16) == pytest.approx(expected)
    report = Roofline().estimate(Network(name="net", layers=(layer,)), target)
    assert report.warnings == (
        f"eye16 prices multiplications by weight value; the weights of 1 of 1 layers are not known "
        f"('{layer.name}' first): taken to be normal, a quarter of the largest code wide",
    )


def test_without_a_table_nothing_changes():
    layer = a_layer(None)
    assert mac_energy_j(layer, eye16(), 16) == eye16().arithmetic.energy_j(3, 4, 16)
    assert Roofline().estimate(Network(name="net", layers=(layer,)), eye16()).warnings == ()


@pytest.mark.parametrize(
    ("widths", "what"), [((4, 4), "weights of 3 bits"), ((3, 5), "activations of 4 bits")]
)
def test_a_layer_wider_than_the_unit(target, widths, what):
    layer = a_layer(None, weight_bits=widths[0], input_bits=widths[1])
    with pytest.raises(TableError) as raised:
        mac_energy_j(layer, target, 16)
    given = max(w for w, most in zip(widths, (3, 4), strict=True) if w > most)
    assert str(raised.value) == f"{target.mac_table}: the unit has {what}, layer '{layer.name}' has {given}"


def test_a_weight_that_the_table_does_not_have(target):
    layer = a_layer(((7, 8),))
    with pytest.raises(TableError) as raised:
        mac_energy_j(layer, target, 16)
    assert str(raised.value) == (
        f"{target.mac_table}: layer '{layer.name}': weight 7 is not in the table: -4 to 3"
    )


def test_a_table_with_nan(target, tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**DOCUMENT, "leakage_w": float("nan")}))
    with pytest.raises(TableError) as raised:
        mac_energy_j(a_layer(None), target, 16)
    assert str(raised.value) == f"{path}: leakage_w must be finite and at least 0"


def test_no_such_table(target, tmp_path):
    gone = replace(target, mac_table=str(tmp_path / "gone.json"))
    with pytest.raises(TableError) as raised:
        mac_energy_j(a_layer(None), gone, 16)
    assert str(raised.value) == f"there is no weight table {tmp_path / 'gone.json'}"


def test_a_table_that_is_written_anew_is_read_anew(target, tmp_path):
    layer = a_layer(((1, 8),))
    assert mac_energy_j(layer, target, 16) == pytest.approx(1.5e-15)
    table = load_table(tmp_path / "table.json")
    save_table(replace(table, clock_energy_j=1.2e-15), tmp_path / "table.json")
    assert mac_energy_j(layer, target, 16) == pytest.approx(2.5e-15)


def test_a_target_names_its_table_beside_its_own_file(target, tmp_path):
    text = """
        name: chip
        source: toy
        clock: 1 MHz
        native_bits: 8
        arithmetic: {multiply: 1 pJ, multiply_bits: 8, add: 1 pJ, add_bits: 8}
        levels:
          - {name: dram, word_bits: 8, energy: {access: 1 pJ}}
          - {name: buffer, size: 1 KiB, word_bits: 8, energy: {access: 1 pJ}}
        mac_table: table.json
    """
    (tmp_path / "chip.yaml").write_text(text)
    chip = load_target(tmp_path / "chip.yaml")
    assert chip.mac_table == target.mac_table
    assert type(chip).from_json(json.loads(json.dumps(chip.to_json()))).mac_table == chip.mac_table
    assert mac_energy_j(a_layer(((1, 8),)), chip, 16) == pytest.approx(1.5e-15)


def test_a_table_that_is_no_name(tmp_path):
    (tmp_path / "chip.yaml").write_text("mac_table: 3")
    with pytest.raises(TargetError, match="mac_table must be text, got 3"):
        load_target(tmp_path / "chip.yaml")

import json
from dataclasses import replace

import numpy as np
import pytest

from chipfit.cost.gates.table import load_table, save_table
from chipfit.cost.mac import mac_energy_j
from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.roofline import Roofline
from chipfit.cost.sweep.axes import read_sweep
from chipfit.cost.sweep.variants import price
from chipfit.errors import TableError, TargetError
from chipfit.hardware.load import load_target
from chipfit.hardware.voltage import MacSupply
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


def write_chip(folder, *lines, clock="200 MHz", native_bits=8):
    """A chip.yaml of two memories, with more lines of its own."""
    text = f"""
name: chip
source: toy
clock: {clock}
native_bits: {native_bits}
arithmetic: {{multiply: 1 pJ, multiply_bits: 8, add: 1 pJ, add_bits: 8}}
levels:
  - {{name: dram, word_bits: 8, energy: {{access: 1 pJ}}}}
  - {{name: buffer, size: 1 KiB, word_bits: 8, energy: {{access: 1 pJ}}}}
"""
    (folder / "chip.yaml").write_text("\n".join([text, *lines]))


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(DOCUMENT))
    return replace(eye16(), mac_tables=(str(path),))


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
    assert (
        str(raised.value) == f"{target.mac_tables[0]}: the unit has {what}, layer '{layer.name}' has {given}"
    )


def test_a_weight_that_the_table_does_not_have(target):
    layer = a_layer(((7, 8),))
    with pytest.raises(TableError) as raised:
        mac_energy_j(layer, target, 16)
    assert str(raised.value) == (
        f"{target.mac_tables[0]}: layer '{layer.name}': weight 7 is not in the table: -4 to 3"
    )


def test_a_table_with_nan(target, tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**DOCUMENT, "leakage_w": float("nan")}))
    with pytest.raises(TableError) as raised:
        mac_energy_j(a_layer(None), target, 16)
    assert str(raised.value) == f"{path}: leakage_w must be finite and at least 0"


def test_no_such_table(target, tmp_path):
    gone = replace(target, mac_tables=(str(tmp_path / "gone.json"),))
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
    write_chip(tmp_path, "mac_table: table.json", clock="1 MHz")
    chip = load_target(tmp_path / "chip.yaml")
    assert chip.mac_tables == target.mac_tables
    assert type(chip).from_json(json.loads(json.dumps(chip.to_json()))).mac_tables == chip.mac_tables
    assert mac_energy_j(a_layer(((1, 8),)), chip, 16) == pytest.approx(1.5e-15)


def test_a_table_that_is_no_name(tmp_path):
    (tmp_path / "chip.yaml").write_text("mac_table: 3")
    with pytest.raises(TargetError, match="mac_table must be a file or a list of different ones, got 3"):
        load_target(tmp_path / "chip.yaml")


class TestOneMultiplierForANetwork:
    @pytest.fixture
    def both(self, target, tmp_path):
        """A second multiplier: 2 fJ for every weight but zero, and 0.1 fJ besides."""
        other = {
            **DOCUMENT,
            "multiplier": "flat",
            "energy_j": [2e-15 * (w != 0) for w in range(-4, 4)],
            "input_energy_j": 1e-16,
            "register_energy_j": 0.0,
            "clock_energy_j": 0.0,
        }
        (tmp_path / "flat.json").write_text(json.dumps(other))
        return replace(target, mac_tables=(*target.mac_tables, str(tmp_path / "flat.json")))

    @pytest.mark.parametrize("estimator", [Analytical(), Roofline()])
    @pytest.mark.parametrize(
        ("values", "name", "mac_j"), [(((1, 8),), "toy", 1.5e-15), (((3, 8),), "flat", 2.1e-15)]
    )
    def test_the_one_of_least_energy(self, both, estimator, values, name, mac_j):
        report = estimator.estimate(Network(name="net", layers=(a_layer(values),)), both)
        assert report.energy_by_component_j["MAC"] == pytest.approx(24 * mac_j)
        assert report.multiplier.name == name
        assert report.to_json()["multiplier"]["choices"] == 2

    def test_all_layers_share_it(self, both):
        # 24 · (1.5 + 3.5) fJ on the first, 24 · (2.1 + 2.1) fJ on the second: each layer alone would differ.
        cheap, dear = a_layer(((1, 8),)), replace(a_layer(((3, 8),)), name="other")
        alone = [mac_energy_j(layer, both, 16) for layer in (cheap, dear)]
        assert alone == pytest.approx([1.5e-15, 2.1e-15])
        report = Roofline().estimate(Network(name="net", layers=(cheap, dear)), both)
        assert [layer.energy_by_component_j["MAC"] for layer in report.layers] == pytest.approx(
            2 * [24 * 2.1e-15]
        )
        apart = Roofline().table([cheap, dear], both)[:, 0]
        assert apart == pytest.approx([layer.cost.energy_j for layer in report.layers])

    def test_one_that_is_too_narrow_is_left_out(self, both, tmp_path):
        document = {**DOCUMENT, "activation_bits": 3, "energy_j": [0.0] * 8, "multiplier": "narrow"}
        (tmp_path / "narrow.json").write_text(json.dumps(document))
        three = replace(both, mac_tables=(str(tmp_path / "narrow.json"), *both.mac_tables))
        network = Network(name="net", layers=(a_layer(((1, 8),)),))
        assert Roofline().estimate(network, three).multiplier.name == "toy"
        narrow = replace(both, mac_tables=three.mac_tables[:1])
        with pytest.raises(TableError, match="the unit has activations of 3 bits, layer 'layer' has 4"):
            Roofline().estimate(network, narrow)

    def test_one_that_cannot_be_read_is_not_left_out(self, both, tmp_path):
        gone = replace(both, mac_tables=(*both.mac_tables, str(tmp_path / "gone.json")))
        with pytest.raises(TableError, match=r"there is no weight table .*gone.json"):
            Roofline().estimate(Network(name="net", layers=(a_layer(((1, 8),)),)), gone)

    def test_what_its_table_warns_of_is_said(self, target, tmp_path):
        document = {**DOCUMENT, "warnings": ["delays hold for few activations"]}
        (tmp_path / "table.json").write_text(json.dumps(document))
        report = Roofline().estimate(Network(name="net", layers=(a_layer(((1, 8),)),)), target)
        assert report.warnings == ("table.json: delays hold for few activations",)


class TestSupply:
    @pytest.fixture
    def chip(self, tmp_path):
        """A multiplier in which weight w settles after 1 + |w| ns at 1 V, and a period of 5 ns."""
        document = {**DOCUMENT, "delay_s": [1e-9 * (1 + abs(w)) for w in range(-4, 4)]}
        path = tmp_path / "table.json"
        path.write_text(json.dumps(document))
        return replace(eye16(), mac_tables=(str(path),), mac_supply=MacSupply(), clock_hz=200e6)

    @pytest.mark.parametrize("margin", [0.0, 0.2])
    @pytest.mark.parametrize(("values", "slowest_s"), [(((0, 4), (3, 4)), 4e-9), (((-2, 8),), 3e-9)])
    def test_as_low_as_the_slowest_weight_allows(self, chip, values, slowest_s, margin):
        chip = replace(chip, mac_supply=MacSupply(margin=margin))
        report = Analytical().estimate(Network(name="net", layers=(a_layer(values),)), chip)
        supply_v = report.multiplier.supply_v
        assert report.multiplier.delay_s == pytest.approx(slowest_s)

        def delay(voltage):
            return voltage / (voltage - 0.35) ** 1.3

        assert slowest_s * (1 + margin) * delay(supply_v) / delay(1.0) == pytest.approx(5e-9)
        mean_fj = sum(abs(w) * count for w, count in values) / 8 + 0.5
        assert report.energy_by_component_j["MAC"] == pytest.approx(24e-15 * mean_fj * supply_v**2)

    def test_all_layers_run_at_the_voltage_of_the_slowest(self, chip):
        quick, slow = a_layer(((0, 8),)), replace(a_layer(((3, 8),)), name="slow")
        report = Roofline().estimate(Network(name="net", layers=(quick, slow)), chip)
        alone = Roofline().estimate(Network(name="net", layers=(quick,)), chip)
        assert alone.multiplier.supply_v == 0.6  # never below the least
        scale = (report.multiplier.supply_v / 0.6) ** 2
        assert report.layers[0].energy_by_component_j["MAC"] == pytest.approx(
            scale * alone.layers[0].energy_by_component_j["MAC"]
        )

    def test_unknown_weights_may_be_the_slowest(self, chip):
        report = Roofline().estimate(Network(name="net", layers=(a_layer(None),)), chip)
        assert (report.multiplier.delay_s, report.multiplier.supply_v) == (5e-9, 1.0)

    def test_weights_that_are_too_slow_for_the_clock(self, chip):
        fast = replace(chip, clock_hz=250e6)
        with pytest.raises(TableError) as raised:
            Roofline().estimate(Network(name="net", layers=(a_layer(None),)), fast)
        assert str(raised.value) == (
            f"{chip.mac_tables[0]}: the slowest weight value: a delay of 5.00 ns with a margin of 0 does not "
            "fit a period of 4.00 ns, not even at the nominal 1 V"
        )

    def test_a_clock_that_leaves_too_little_time_is_no_variant(self, chip, tmp_path):
        write_chip(tmp_path, "mac_table: table.json", "mac_supply: {}", native_bits=3)
        network = Network(name="net", layers=(a_layer(((3, 8),)),))
        sweep = read_sweep(tmp_path / "chip.yaml", ["clock_mhz=100,200,300"])
        slow, usual, fast = price(sweep, network, Roofline(), jobs=1).variants
        assert slow.cost.energy_j < usual.cost.energy_j
        assert fast.cost is None
        assert "does not fit a period of 3.33 ns" in fast.error

    def test_a_fixed_voltage(self, chip):
        fixed = replace(chip, mac_supply=MacSupply(fixed_v=0.9))
        layer = a_layer(((1, 8),))
        assert mac_energy_j(layer, fixed, 16) == pytest.approx(1.5e-15 * 0.81)
        with pytest.raises(
            TableError, match=r"needs 1 V to fit a period of 5.00 ns; the supply is fixed at 0.9"
        ):
            Roofline().estimate(Network(name="net", layers=(a_layer(((-4, 8),)),)), fixed)

    def test_in_a_file(self, tmp_path):
        write_chip(
            tmp_path,
            "mac_table: [a.json, b.json]",
            "mac_supply: {threshold: 300 mV, least: 0.7 V, alpha: 1.4, margin: 0.1}",
        )
        chip = load_target(tmp_path / "chip.yaml")
        assert chip.mac_tables == (str(tmp_path / "a.json"), str(tmp_path / "b.json"))
        assert chip.mac_supply == MacSupply(threshold_v=0.3, least_v=0.7, alpha=1.4, margin=0.1)
        assert type(chip).from_json(json.loads(json.dumps(chip.to_json()))) == chip
        shown = {number.key: number.text for number in chip.numbers()}
        assert (shown["mac_supply.threshold"], shown["mac_supply.margin"]) == ("0.3 V", "0.1")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("{threshold: 0.35}", "mac_supply.threshold must be a voltage with its unit, such as '1.1 V'"),
            ("{least: 0.2 V}", "mac_supply: voltages must be threshold < least <= nominal, got 0.35, 0.2"),
            ("{treshold: 0.2 V}", "unknown key 'treshold' in mac_supply, did you mean 'threshold'?"),
            ("{fixed: 0.5 V}", "mac_supply: the supply is fixed at 0.5 V, below the least, 0.6 V"),
            ("{margin: -1}", "mac_supply.margin must be at least 0"),
            ("{}", "mac_supply means nothing without mac_table"),
        ],
    )
    def test_a_supply_that_makes_no_sense(self, tmp_path, given, message):
        write_chip(tmp_path, f"mac_supply: {given}")
        with pytest.raises(TargetError) as raised:
            load_target(tmp_path / "chip.yaml")
        assert message in str(raised.value)

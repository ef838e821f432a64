import math

import pytest

from chipfit.errors import TargetError
from chipfit.hardware.voltage import DelayLaw

LAW = DelayLaw()


def test_nominal_voltage_changes_nothing():
    assert LAW.slowdown(1.1) == 1
    assert LAW.lowest(1e-9, 1e-9).energy_scale == pytest.approx(1)
    assert LAW.lowest(1e-9, 1e-9).leakage_scale == pytest.approx(1)


def test_the_law_by_hand():
    # alpha 2, threshold 0: V / V² = 1/V, so that twice the delay is half the voltage.
    law = DelayLaw(nominal_v=1.0, threshold_v=0.0, alpha=2.0, least_v=0.1)
    supply = law.lowest(1e-9, 2e-9)
    assert supply.supply_v == pytest.approx(0.5)
    assert supply.energy_scale == pytest.approx(0.25)
    assert supply.leakage_scale == pytest.approx(0.5)


@pytest.mark.parametrize(("share", "volts"), [(0.95, 1.04), (0.90, 0.99), (0.85, 0.93)])
def test_voltages_worked_out_beforehand(share, volts):
    # shared facts, V_t 0.35 V, alpha 1.3, 1.1 V nominal; to their two digits
    assert LAW.lowest(share * 1e-9, 1e-9).supply_v == pytest.approx(volts, abs=0.0101)


def test_a_margin_is_added_to_the_delay():
    assert LAW.lowest(0.8e-9, 1e-9, margin=0.25).supply_v == pytest.approx(1.1)
    with_margin = LAW.lowest(0.8e-9, 1e-9, margin=0.1)
    assert with_margin.supply_v == pytest.approx(LAW.lowest(0.88e-9, 1e-9).supply_v)


def test_no_voltage_is_below_the_least():
    assert LAW.lowest(0.0, 1e-9).supply_v == 0.6
    assert LAW.lowest(1e-12, 1e-9).supply_v == 0.6


def test_the_voltage_found_just_meets_the_clock():
    supply = LAW.lowest(0.7e-9, 1e-9)
    assert LAW.slowdown(supply.supply_v) * 0.7 == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LAW.lowest(1e-9, 1.05e-9, margin=0.1),
            "a delay of 1.00 ns with a margin of 0.1 does not fit a period of 1.05 ns, not even at the "
            "nominal 1.1 V",
        ),
        (
            lambda: LAW.lowest(math.nan, 1e-9),
            "a delay of at least 0, a period above 0 and a margin of at least 0 are needed, got "
            "nan s, 1e-09 s, 0",
        ),
        (
            lambda: DelayLaw(threshold_v=0.7),
            "voltages must be threshold < least <= nominal, got 0.7, 0.6, 1.1 V",
        ),
        (lambda: DelayLaw(alpha=0), "alpha of the delay law must be above 0, got 0"),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(TargetError) as raised:
        make()
    assert str(raised.value) == message

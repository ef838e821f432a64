"""How far the supply voltage may fall where circuits have time to spare.

The delay of a gate follows the alpha-power law: proportional to V / (V − V_t)^alpha. The threshold voltage
V_t, alpha and the nominal voltage are declared, not measured: another process has others. Switching energy
goes with V². Leakage power goes with V: its current is taken to stay, where in fact it falls (conservative).

Source: Sakurai, Newton, "Alpha-power law MOSFET model and its applications to CMOS inverter delay and other
formulas", IEEE JSSC 25(2), 1990.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chipfit.errors import TargetError
from chipfit.units import si


@dataclass(frozen=True, kw_only=True)
class DelayLaw:
    """The alpha-power law with its constants.

    `least_v` is the lowest voltage at all: the law knows none above the threshold, memories and noise do. The
    default constants are an assumption for a 45 nm process (ours).

    Raises:
        TargetError: voltages out of order, or alpha not above 0.
    """

    nominal_v: float = 1.1
    threshold_v: float = 0.35
    alpha: float = 1.3
    least_v: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.threshold_v < self.least_v <= self.nominal_v < math.inf:
            raise TargetError(
                "voltages must be threshold < least <= nominal, got "
                f"{self.threshold_v:g}, {self.least_v:g}, {self.nominal_v:g} V"
            )
        if not 0 < self.alpha < math.inf:
            raise TargetError(f"alpha of the delay law must be above 0, got {self.alpha:g}")

    def slowdown(self, supply_v: float) -> float:
        """Delay at a voltage over delay at the nominal one.

        >>> round(DelayLaw().slowdown(0.99), 3)
        1.106
        """

        def delay(voltage: float) -> float:
            return voltage / (voltage - self.threshold_v) ** self.alpha

        return delay(supply_v) / delay(self.nominal_v)

    def lowest(self, delay_s: float, period_s: float, *, margin: float = 0.0) -> Supply:
        """The lowest voltage at which a delay, with a margin, still fits a clock period.

        Args:
            delay_s: latest change at the nominal voltage.
            period_s: of the clock.
            margin: of the delay; 0.1 adds a tenth.

        Raises:
            TargetError: the delay does not fit at the nominal voltage, or an argument makes no sense.
        """
        if not (0 <= delay_s < math.inf and 0 < period_s < math.inf and 0 <= margin < math.inf):
            raise TargetError(
                "a delay of at least 0, a period above 0 and a margin of at least 0 are needed, got "
                f"{delay_s:g} s, {period_s:g} s, {margin:g}"
            )
        needed_s = delay_s * (1 + margin)
        if needed_s > period_s * (1 + 1e-12):
            raise TargetError(
                f"a delay of {si(delay_s, 's')} with a margin of {margin:g} does not fit a period of "
                f"{si(period_s, 's')}, not even at the nominal {self.nominal_v:g} V"
            )
        if needed_s == 0 or self.slowdown(self.least_v) * needed_s <= period_s:
            return Supply(law=self, supply_v=self.least_v)
        if needed_s >= period_s:
            return Supply(law=self, supply_v=self.nominal_v)
        low, high = self.least_v, self.nominal_v
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.slowdown(middle) * needed_s <= period_s else (middle, high)
        return Supply(law=self, supply_v=high)


@dataclass(frozen=True, kw_only=True)
class Supply:
    """A supply voltage and what it does to energy and leakage."""

    law: DelayLaw
    supply_v: float

    @property
    def energy_scale(self) -> float:
        """Switching energy over that at the nominal voltage."""
        return (self.supply_v / self.law.nominal_v) ** 2

    @property
    def leakage_scale(self) -> float:
        """Leakage power over that at the nominal voltage."""
        return self.supply_v / self.law.nominal_v

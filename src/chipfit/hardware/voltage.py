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
class MacSupply:
    """How a chip supplies its multipliers: as low as the weight values of a network allow.

    `threshold_v`, `alpha` and `least_v` are those of the delay law, `margin` is that of every delay. With
    `fixed_v` the voltage is given, and weight values must settle in time with it.

    Raises:
        TargetError: voltages out of order, or numbers that make no sense.
    """

    threshold_v: float = DelayLaw.threshold_v
    alpha: float = DelayLaw.alpha
    least_v: float = DelayLaw.least_v
    margin: float = 0.0
    fixed_v: float | None = None

    def __post_init__(self) -> None:
        self.law(self.least_v)
        if not 0 <= self.margin < math.inf:
            raise TargetError(f"the margin of delays must be at least 0, got {self.margin:g}")
        if self.fixed_v is not None and not self.least_v <= self.fixed_v < math.inf:
            raise TargetError(
                f"the supply is fixed at {self.fixed_v:g} V, below the least, {self.least_v:g} V"
            )

    def law(self, nominal_v: float) -> DelayLaw:
        """The delay law of a unit whose delays hold at a voltage.

        Raises:
            TargetError: that is below the least voltage.
        """
        return DelayLaw(
            nominal_v=nominal_v, threshold_v=self.threshold_v, alpha=self.alpha, least_v=self.least_v
        )

    def at(self, delay_s: float, period_s: float, nominal_v: float) -> Supply:
        """The supply with which a delay at the nominal voltage fits a period of the clock.

        Raises:
            TargetError: there is none, or it does not fit at the fixed voltage.
        """
        law = self.law(nominal_v)
        lowest = law.lowest(delay_s, period_s, margin=self.margin)
        if self.fixed_v is None:
            return lowest
        if self.fixed_v > nominal_v:
            raise TargetError(f"the supply is fixed at {self.fixed_v:g} V, above the nominal {nominal_v:g} V")
        if self.fixed_v < lowest.supply_v - 1e-9:
            raise TargetError(
                f"a delay of {si(delay_s, 's')} with a margin of {self.margin:g} needs "
                f"{lowest.supply_v:.4g} V to fit a period of {si(period_s, 's')}; the supply is fixed at "
                f"{self.fixed_v:g} V"
            )
        return Supply(law=law, supply_v=self.fixed_v)


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

"""What can be chosen for multiplications: multiplier, bound on delay, largest activation, and weight values
for each of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from chipfit.compress.values import LayerWeights, ValueSet, choose_within, within_delay
from chipfit.compress.weights import damages, layer_codes, layer_weights
from chipfit.cost.gates.cells import CellLibrary
from chipfit.cost.gates.characterise import characterise, latest_changes
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.statistics import merged
from chipfit.cost.gates.streams import LayerCodes, LayerEnergy, Streams, streams
from chipfit.cost.gates.table import WeightTable
from chipfit.errors import PassError, TargetError
from chipfit.hardware.voltage import DelayLaw, Supply


@dataclass(frozen=True, kw_only=True)
class ValuesConfig:
    """What to choose values for, and how.

    Attributes:
        task: as for a fit.
        budget: most energy of the gates, of that of the original on plain hardware and the first multiplier.
        out: folder for the model, the table and the result.
        multipliers: that may be chosen: a style, or one with '+adder' for a partial sum that is added to the
            finished product.
        library: embedded cells.
        bits: of weights and activations.
        size: values of a layer at most.
        gated: units whose weight or activation is zero do not switch.
        delays: bounds on the delay of values that are tried, of the slowest weight.
        activations: largest activation codes that are tried with them, of the largest of the width: fewer
            codes stand on the upper wires, and weights settle sooner. Layers with signed inputs keep all.
        margin: of every delay.
        period_s: of the clock; None for what the slowest multiplier needs.
        law: from time to spare to voltage.
        one_set: the same values for all layers.
        epochs: of retraining; None for the task's.
        seed: of everything that is random.
        data: folder of the task's data.
        resume: go on with the run in the folder.
    """

    task: str
    budget: float
    out: Path
    multipliers: tuple[str, ...] = ("array", "booth")
    library: str = "generic"
    bits: int = 8
    size: int = 16
    gated: bool = True
    delays: tuple[float, ...] = (1.0, 0.9, 0.85)
    activations: tuple[float, ...] = (1.0, 0.125)
    margin: float = 0.0
    period_s: float | None = None
    law: DelayLaw = field(default_factory=DelayLaw)
    one_set: bool = False
    epochs: int | None = None
    seed: int = 0
    data: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise PassError(f"the budget of values must be above 0, got {self.budget:g}")
        if self.size < 1:
            raise PassError(f"the value set is empty: {self.size} weight values were asked for")
        if not self.multipliers or not self.delays or not self.activations:
            raise PassError("at least one multiplier, bound on delay and largest activation are needed")
        wrong = [share for share in self.activations if not 0 < share <= 1]
        if wrong:
            raise PassError(f"largest activations must be above 0 and at most 1, got {wrong[0]:g}")

    @property
    def asked(self) -> dict[str, Any]:
        """What a run is asked, in plain data."""
        apart = ("task", "seed", "out", "resume", "data")
        given = {name: value for name, value in asdict(self).items() if name not in apart}
        plain = {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}  # pyright: ignore[reportUnknownArgumentType]
        data = None if self.data is None else str(self.data)
        return {"task": self.task, "options": {**plain, "data": data}, "seed": self.seed}

    @property
    def whole(self) -> int:
        """The largest activation code there is."""
        return (1 << self.bits) - 1

    @property
    def largest(self) -> tuple[int, ...]:
        """The largest activation codes that are tried."""
        return tuple(max(1, int(share * self.whole)) for share in self.activations)


class Operands:
    """A quantised model with what its operands do and what a squared error of its weights damages."""

    def __init__(self, model: nn.Module, inputs: torch.Tensor, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.codes: dict[str, LayerCodes] = layer_codes(model, inputs)
        self.streams: dict[str, Streams] = {n: streams(c, n, rng=rng) for n, c in self.codes.items()}
        self._model, self._inputs, self._seed = model, inputs, seed

    @cached_property
    def damage(self) -> dict[str, torch.Tensor]:
        """By layer, as its weights."""
        return damages(self._model, self._inputs, torch.Generator().manual_seed(self._seed))

    @property
    def macs(self) -> dict[str, float]:
        """Multiplications of each layer for one input of the network."""
        return {name: codes.macs_per_weight * codes.weights.size for name, codes in self.codes.items()}

    def layers(
        self, energies: Mapping[str, LayerEnergy], bits: int, *, gated: bool
    ) -> dict[str, LayerWeights]:
        """What choosing values needs, with the energies of a multiplier."""
        return {
            name: layer_weights(
                codes, self.damage[name], energies[name].gated_j if gated else energies[name].plain_j, bits
            )
            for name, codes in self.codes.items()
        }

    def energy_j(self, energies: Mapping[str, LayerEnergy], *, gated: bool) -> float:
        """Energy of all multiplications for one input of the network."""
        total = 0.0
        for name, codes in self.codes.items():
            by_weight = energies[name].gated_j if gated else energies[name].plain_j
            places = codes.weights - energies[name].weights[0]
            total += codes.macs_per_weight * float(by_weight[places].sum())
        return total


@dataclass(frozen=True, kw_only=True)
class Option:
    """A multiplier, a bound on delay, the voltage it allows, and a largest activation; and values for them.

    `energy_j` and `damage` are those before retraining; `sets` is None where no values meet the budget.
    """

    multiplier: str
    delay: float
    supply: Supply
    largest: int
    energy_j: float = float("inf")
    damage: float = float("inf")
    sets: Mapping[str, ValueSet] | None = None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A multiplier's table under the operands of all layers, and its delays with fewer activation codes.

    `delay_s` has the latest change by weight value for each largest code that is tried.
    """

    whole: WeightTable
    delay_s: Mapping[int, np.ndarray]

    @classmethod
    def of(cls, unit: Netlist, library: CellLibrary, operands: Operands, config: ValuesConfig) -> Timing:
        """Those of a multiplier."""
        rng = np.random.default_rng(config.seed)
        parts = {name: (operands.macs[name], stream.plain) for name, stream in operands.streams.items()}
        statistics = merged(parts, rng=rng)
        whole = characterise(unit, library, statistics, seed=config.seed)
        delays = {
            largest: latest_changes(
                unit, library, statistics, _on_wires(largest, config.bits), seed=config.seed
            )
            for largest in config.largest
            if largest < config.whole
        }
        # What is seen with fewer codes can happen with all.
        seen_s = np.maximum.reduce([np.array(whole.delay_s), *delays.values()])
        return cls(whole=replace(whole, delay_s=tuple(seen_s.tolist())), delay_s=delays)

    def table(self, largest: int) -> WeightTable:
        """The table with the delays that hold up to a largest activation."""
        if largest not in self.delay_s:
            return self.whole
        note = (
            f"delays hold for activations up to {largest} on the upper wires; layers with signed inputs have "
            "quicker values"
        )
        warnings = (*self.whole.warnings, note)
        return replace(self.whole, delay_s=tuple(self.delay_s[largest].tolist()), warnings=warnings)


def _on_wires(largest: int, bits: int) -> range:
    """Codes up to a largest one, on the upper wires of an activation."""
    shift = bits - largest.bit_length()
    return range(0, (largest + 1) << shift, 1 << shift)


def options(
    operands: Mapping[int, Operands],
    energies: Mapping[tuple[str, int], Mapping[str, LayerEnergy]],
    timings: Mapping[str, Timing],
    config: ValuesConfig,
    budget_j: float,
    hurt: Mapping[int, float],
    advance: Callable[[], None] = lambda: None,
) -> list[Option]:
    """Every multiplier, bound on delay and largest activation, and values of least damage inside the budget.

    `operands` are those with each largest activation, `energies` what each multiplier takes for them, and
    `hurt` is the damage of each; `advance` is called as each option is taken up.
    """
    slowest_s = {style: max(timing.whole.delay_s) for style, timing in timings.items()}
    period_s = config.period_s or max(slowest_s.values()) * (1 + config.margin)
    found: list[Option] = []
    reasons: list[str] = []
    for style, share, largest in itertools.product(timings, config.delays, config.largest):
        advance()
        layers = operands[largest].layers(energies[style, largest], config.bits, gated=config.gated)
        limit_s = share * slowest_s[style]
        try:
            supply = config.law.lowest(limit_s, period_s, margin=config.margin)
            fast = _in_time(layers, timings[style], operands[largest], largest, limit_s)
        except (TargetError, PassError) as error:
            reasons.append(f"{style}, delay {share:g}: {error}")
            continue
        option = Option(multiplier=style, delay=share, supply=supply, largest=largest)
        found.append(_with_values(option, fast, config, budget_j, hurt[largest]))
    if not found:
        raise PassError("; ".join(dict.fromkeys(reasons)))
    return found


def _in_time(
    layers: Mapping[str, LayerWeights], timing: Timing, operands: Operands, largest: int, limit_s: float
) -> dict[str, LayerWeights]:
    """The layers with those values that settle in time: with all activation codes where inputs are signed."""
    all_codes, fewer = timing.whole, timing.table(largest)
    found: dict[str, LayerWeights] = {}
    for name, layer in layers.items():
        table = all_codes if operands.codes[name].zero_point else fewer
        found[name] = within_delay(layer, table.delay_of(layer.values), limit_s)
    return found


def _with_values(
    option: Option,
    layers: Mapping[str, LayerWeights],
    config: ValuesConfig,
    budget_j: float,
    hurt: float,
) -> Option:
    scale = option.supply.energy_scale
    try:
        sets = choose_within(layers, budget_j / scale, size=config.size, one_set=config.one_set)
    except PassError:
        return option
    return replace(
        option,
        sets=sets,
        energy_j=scale * sum(layer.energy_with(sets[name]) for name, layer in layers.items()),
        damage=hurt + sum(layer.damage_with(sets[name]) for name, layer in layers.items()),
    )

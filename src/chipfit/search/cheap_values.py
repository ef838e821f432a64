"""Weight values that bring a network inside a limit of energy, on a target that prices them.

For every multiplier that the target may be built with, and every bound on how late a value may settle,
values of all layers are chosen that settle in time and whose energy, at the voltage that the bound allows,
keeps the limit together with all that is not multiplication. The choice of least damage is taken, so that
multiplier, values and voltage are chosen together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from chipfit.compress.graph import nest_layers
from chipfit.compress.quantize import weight_quantizer
from chipfit.compress.values import HEADROOM, LayerWeights, ValueSet, choose_within, within_delay
from chipfit.compress.weights import damages, layer_codes, layer_weights
from chipfit.cost.base import CostReport
from chipfit.cost.gates.table import WeightTable, load_table
from chipfit.errors import PassError, TargetError
from chipfit.hardware.target import Target
from chipfit.search.value_options import ValuesConfig


def values_within(
    model: nn.Module,
    inputs: torch.Tensor,
    target: Target,
    report: CostReport,
    limit_j: float,
    *,
    size: int = 16,
) -> dict[str, ValueSet] | None:
    """Values of the layers of a quantised model that bring its energy on a target within a limit.

    Args:
        model: with quantisers.
        inputs: of the model.
        target: one with tables of weight values.
        report: what the model costs there.
        limit_j: most energy of the whole network.
        size: values of a layer at most.

    Returns:
        Sets of least damage, or None where no values save enough.

    Raises:
        TableError: a table of the target cannot be read.
    """
    codes = layer_codes(model, inputs)
    hurt = damages(model, inputs, torch.Generator().manual_seed(0))
    bits = {
        name: quantizer.bits
        for name, layer in nest_layers(model).items()
        if (quantizer := weight_quantizer(layer))
    }
    rest_j = report.total.energy_j - report.energy_by_component_j["MAC"]
    found: list[tuple[float, dict[str, ValueSet]]] = []
    for file in target.mac_tables:
        table = load_table(Path(file))
        if max(bits.values()) > table.weight_bits:
            continue  # no weights of this network fit its multiplier
        energy_j = np.array(table.energy_j)
        layers = {name: layer_weights(codes[name], hurt[name], energy_j, bits[name]) for name in codes}
        macs = sum(layer.macs_per_weight * float(layer.counts.sum()) for layer in layers.values())
        for option in _options(layers, table, target):
            most_j = (limit_j - rest_j) / option.energy_scale - macs * table.beside_j
            try:
                sets = choose_within(option.layers, HEADROOM * most_j, size=size)
            except PassError:
                continue
            found.append((sum(layer.damage_with(sets[name]) for name, layer in layers.items()), sets))
    return min(found, key=lambda option: option[0])[1] if found else None


@dataclass(frozen=True, kw_only=True)
class _Option:
    """Layers with the values that settle in time, and energy at the voltage over that of the table."""

    layers: Mapping[str, LayerWeights]
    energy_scale: float


def _options(layers: Mapping[str, LayerWeights], table: WeightTable, target: Target) -> Iterator[_Option]:
    """Each bound on delay, of the slowest value, that leaves values and that the clock has time for."""
    supply = target.mac_supply
    if supply is None:
        yield _Option(layers=layers, energy_scale=1.0)
        return
    delays = {name: table.delay_of(layer.values) for name, layer in layers.items()}
    slowest_s = max(float(delay_s.max()) for delay_s in delays.values())
    for share in ValuesConfig.delays:
        limit_s = share * slowest_s
        try:
            scale = supply.at(limit_s, 1 / target.clock_hz, table.supply_v).energy_scale
            fast = {name: within_delay(layer, delays[name], limit_s) for name, layer in layers.items()}
        except (PassError, TargetError):
            continue
        yield _Option(layers=fast, energy_scale=scale)

"""Multiplier, weight values and supply voltage of a network, chosen together; then retraining.

1. The network is quantised; its layers say what multipliers see (`cost.gates.streams`).
2. Every multiplier is priced with these operands, weight value by weight value, and timed.
3. For every multiplier, bound on delay and largest activation, values of all layers are chosen that settle
   in time and whose energy, at the voltage that the bound allows, is inside the budget (`value_options`). The
   choice of least damage is taken.
4. The model is retrained with these values, its operands are measured anew, and it is exported beside the
   table of its multiplier, which a target can name as its `mac_table`.

The clock is the same for all: the slowest weight of the slowest multiplier, with the margin, just fits a
period at the nominal voltage, unless `period_s` says otherwise. Energy is that of the gates of
multiply-accumulate units, for one input of the network; leakage, registers and clock are in the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from chipfit.compress.base import PassContext, apply_recipe
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.levels import RestrictActivations
from chipfit.compress.quantize import Quantize
from chipfit.compress.values import HEADROOM
from chipfit.compress.weights import RestrictWeights
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.streams import LayerEnergy, layer_energies
from chipfit.cost.gates.table import WeightTable, save_table
from chipfit.errors import PassError
from chipfit.export.onnx import export
from chipfit.hardware.voltage import Supply
from chipfit.report.record import write_atomically
from chipfit.search.value_options import Operands, Option, Timing, ValuesConfig, options
from chipfit.train.finetune import FineTuning, divergence, finetune, outputs_of
from chipfit.train.task import Task, inputs_of, load_task

CALIBRATION, IMAGES = 256, 32


@dataclass(frozen=True, kw_only=True)
class ValuesResult:
    """What was found. Energies are those of the gates for one input of the network (J), after retraining.

    `steps_j` has the energy after each step, from the original on plain hardware on.
    """

    task: str
    multiplier: str
    delay: float
    largest_activation: int
    supply_v: float
    budget_j: float
    energy_j: float
    steps_j: Mapping[str, float]
    accuracy_before: float
    accuracy_after: float
    values: Mapping[str, tuple[int, ...]]
    options: tuple[Mapping[str, Any], ...]
    model: Path
    table: Path

    @property
    def budget_met(self) -> bool:
        """Whether the retrained network keeps the budget."""
        return self.energy_j <= self.budget_j

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit values --json`."""
        found = {**asdict(self), "model": str(self.model), "table": str(self.table)}
        return {**found, "budget_met": self.budget_met}


def fit_values(config: ValuesConfig) -> ValuesResult:
    """Choose multiplier, values and voltage, retrain, and write model, table and result.

    Raises:
        ChipfitError: the task or an option is not usable, or no values meet the budget.
    """
    torch.set_num_threads(1)
    task = load_task(config.task, config.data, config.seed)
    original = traced(task.model)
    context = PassContext(calibration=inputs_of(task.validation, CALIBRATION))
    inputs = inputs_of(task.probe or task.train, IMAGES)
    widths = tuple((name, config.bits, config.bits) for name in nest_layers(original))
    quantised = Quantize(bits=widths).apply(original, context)
    before = Operands(quantised, inputs, seed=config.seed)
    library = embedded_library(config.library)
    units = {style: _unit(style, config) for style in config.multipliers}
    timings = {style: Timing.of(unit, library, before, config) for style, unit in units.items()}
    energies = {s: layer_energies(u, library, before.streams, seed=config.seed) for s, u in units.items()}
    first = config.multipliers[0]
    whole_j = before.energy_j(energies[first], gated=False)
    fewer = {largest: _fewer(before, largest, config) for largest in config.largest}
    hurt = {largest: _damage(quantised, a_pass, context) for largest, a_pass in fewer.items()}
    found = options(before, energies, timings, config, HEADROOM * config.budget * whole_j, hurt)
    chosen = min(found, key=lambda option: option.damage)
    if chosen.sets is None:
        raise PassError(
            f"no multiplier has values that take at most {config.budget:.3g} of the original's energy"
        )
    model = apply_recipe([fewer[chosen.largest], RestrictWeights.of(chosen.sets)], quantised, context)
    _retrain(model, original, task, config)
    after = Operands(model, inputs, seed=config.seed)
    own = layer_energies(units[chosen.multiplier], library, after.streams, seed=config.seed)
    scale = chosen.supply.energy_scale
    steps_j = {
        f"{config.bits}-bit original on {first}": whole_j,
        f"original on {chosen.multiplier}": before.energy_j(energies[chosen.multiplier], gated=False),
        "zero gating": before.energy_j(energies[chosen.multiplier], gated=config.gated),
        "values, retrained": after.energy_j(own, gated=config.gated),
        "voltage": after.energy_j(own, gated=config.gated) * scale,
    }
    config.out.mkdir(parents=True, exist_ok=True)
    timed = timings[chosen.multiplier].table(chosen.largest)
    table = _table(timed, own, after, chosen.supply, gated=config.gated)
    data = export(model, inputs[:1], name=f"{task.name}-values")
    write_atomically(config.out / "model.onnx", data)
    result = ValuesResult(
        task=config.task,
        multiplier=chosen.multiplier,
        delay=chosen.delay,
        largest_activation=chosen.largest,
        supply_v=chosen.supply.supply_v,
        budget_j=config.budget * whole_j,
        energy_j=steps_j["voltage"],
        steps_j=steps_j,
        accuracy_before=_accuracy(quantised, task),
        accuracy_after=_accuracy(model, task),
        values={name: one.values for name, one in chosen.sets.items()},
        options=tuple(_told(option) for option in found),
        model=config.out / "model.onnx",
        table=save_table(table, config.out / "table.json"),
    )
    document = json.dumps(result.to_json(), indent=1).encode()
    write_atomically(config.out / "values.json", document + b"\n")
    return result


def _fewer(operands: Operands, largest: int, config: ValuesConfig) -> RestrictActivations:
    """The pass that leaves activations up to a code, where it is not the last one there is."""
    fewer = largest < config.whole
    names = [name for name, codes in operands.codes.items() if fewer and not codes.zero_point]
    return RestrictActivations(largest=tuple((name, largest) for name in names))


def _damage(model: nn.Module, a_pass: RestrictActivations, context: PassContext) -> float:
    """How far a pass takes the outputs of a model away."""
    if not a_pass.largest:
        return 0.0
    with torch.no_grad():
        outputs, wanted = (one.eval()(context.calibration) for one in (a_pass.apply(model, context), model))
    return float(divergence(outputs, wanted))


def _told(option: Option) -> dict[str, Any]:
    met = option.sets is not None
    return {
        "multiplier": option.multiplier,
        "delay": option.delay,
        "largest_activation": option.largest,
        "supply_v": option.supply.supply_v,
        "energy_j": option.energy_j if met else None,
        "damage": option.damage if met else None,
    }


def _unit(multiplier: str, config: ValuesConfig) -> Netlist:
    bits = config.bits
    style, _, accumulate = multiplier.partition("+")
    design = MacDesign(
        style=style,
        accumulate=accumulate or "tree",
        weight_bits=bits,
        activation_bits=bits,
        sum_bits=2 * bits + 6,
        activation_signed=False,
    )
    return generate_mac(design)


def _table(
    table: WeightTable,
    energies: Mapping[str, LayerEnergy],
    operands: Operands,
    supply: Supply,
    *,
    gated: bool,
) -> WeightTable:
    """The table of the multiplier with the energies of a model's own operands, at another voltage."""
    macs = operands.macs
    by_layer = [one.gated_j if gated else one.plain_j for one in (energies[name] for name in macs)]
    mean_j = np.average(by_layer, axis=0, weights=list(macs.values()))
    scale, slower = supply.energy_scale, supply.law.slowdown(supply.supply_v)
    return replace(
        table,
        supply_v=round(table.supply_v * supply.supply_v / supply.law.nominal_v, 6),
        operands=f"{len(macs)} layers, retrained, {'zero-gated' if gated else 'plain'} hardware",
        energy_j=tuple((scale * mean_j).tolist()),
        delay_s=tuple(slower * delay for delay in table.delay_s),
        bound_s=tuple(slower * bound for bound in table.bound_s),
        static_delay_s=slower * table.static_delay_s,
        input_energy_j=scale * table.input_energy_j,
        register_energy_j=scale * table.register_energy_j,
        clock_energy_j=scale * table.clock_energy_j,
        leakage_w=supply.leakage_scale * table.leakage_w,
    )


def _retrain(model: nn.Module, original: nn.Module, task: Task, config: ValuesConfig) -> None:
    epochs = task.epochs if config.epochs is None else config.epochs
    teacher = original.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if epochs:
        finetune(model, teacher, task, FineTuning(epochs=epochs, learning_rate=task.learning_rate))


def _accuracy(model: nn.Module, task: Task) -> float:
    return task.metric(*outputs_of(model, task.test))

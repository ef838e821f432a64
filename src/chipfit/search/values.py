"""Multiplier, weight values and supply voltage of a network, chosen together; then retraining.

1. The network is quantised; its layers say what multipliers see (`cost.gates.streams`).
2. Every multiplier is priced with these operands, weight value by weight value, and timed.
3. For every multiplier, bound on delay and largest activation, values of all layers are chosen that settle
   in time and whose energy, at the voltage that the bound allows, is inside the budget (`value_options`). The
   choice of least damage is taken.
4. The model is retrained with these values, its operands are measured anew, and it is exported beside the
   table of its multiplier, which a target can name as its `mac_table`, and a page.

What was chosen and every epoch are in the records at once; with `resume` a run goes on from them.

The clock is the same for all: the slowest weight of the slowest multiplier, with the margin, just fits a
period at the nominal voltage, unless `period_s` says otherwise. Energy is that of the gates of
multiply-accumulate units, for one input of the network; leakage, registers and clock are in the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from chipfit.compress.base import PassContext, apply_recipe
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.levels import RestrictActivations
from chipfit.compress.quantize import Quantize
from chipfit.compress.values import HEADROOM, ValueSet
from chipfit.compress.weights import RestrictWeights
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.streams import LayerEnergy, layer_energies
from chipfit.cost.gates.table import WeightTable, save_table
from chipfit.errors import PassError
from chipfit.export.onnx import export
from chipfit.hardware.voltage import Supply
from chipfit.report.record import Records, write_atomically
from chipfit.search.config import Progress, Silent
from chipfit.search.opening import begin, opened
from chipfit.search.value_options import Operands, Option, Timing, ValuesConfig, options
from chipfit.train.finetune import FineTuning, divergence, finetune, judge, outputs_of
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
    page: Path

    @property
    def budget_met(self) -> bool:
        """Whether the retrained network keeps the budget."""
        return self.energy_j <= self.budget_j

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit values --json`."""
        files = {name: str(getattr(self, name)) for name in ("model", "table", "page")}
        return {**asdict(self), **files, "budget_met": self.budget_met}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ValuesResult:
        """The result that `to_json` wrote."""
        found: dict[str, Any] = {key: value for key, value in data.items() if key != "budget_met"}
        found |= {name: Path(data[name]) for name in ("model", "table", "page")}
        found["values"] = {name: tuple(values) for name, values in data["values"].items()}
        found["options"] = tuple(data["options"])
        return cls(**found)


def fit_values(config: ValuesConfig, progress: Progress | None = None) -> ValuesResult:
    """Choose multiplier, values and voltage, retrain, and write model, table, page and result.

    Raises:
        ChipfitError: the task or an option is not usable, no values meet the budget, or the folder holds
            another run.
    """
    torch.set_num_threads(1)
    records = opened(config.out, config.asked, resume=config.resume)
    finished = records.last("result")
    if finished is not None:
        return ValuesResult.from_json(finished["document"])
    run = _Run(config, records, progress or Silent())
    chosen = run.chosen()
    return run.written(chosen, run.retrained(chosen))


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What was chosen before retraining."""

    multiplier: str
    delay: float
    largest_activation: int
    supply_v: float
    sets: Mapping[str, ValueSet]
    options: tuple[Mapping[str, Any], ...]
    budget_j: float
    steps_j: Mapping[str, float]
    accuracy_before: float

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back equal."""
        return {**asdict(self), "sets": {n: [list(s.values), list(s.bounds)] for n, s in self.sets.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> _Chosen:
        """What `to_json` wrote."""
        found: dict[str, Any] = dict(data)
        found["sets"] = {n: ValueSet(values=tuple(v), bounds=tuple(b)) for n, (v, b) in data["sets"].items()}
        found["options"] = tuple(data["options"])
        return cls(**found)


class _Run:
    """One run: what it was asked, what it has, and where its records are."""

    def __init__(self, config: ValuesConfig, records: Records, progress: Progress) -> None:
        self.config, self.records, self.progress = config, records, progress
        self.task: Task = load_task(config.task, config.data, config.seed)
        self.original = traced(self.task.model)
        self.context = PassContext(calibration=inputs_of(self.task.validation, CALIBRATION))
        self.inputs = inputs_of(self.task.probe or self.task.train, IMAGES)
        self.library = embedded_library(config.library)
        self.units = {style: _unit(style, config) for style in config.multipliers}

    @cached_property
    def quantised(self) -> nn.Module:
        """The original at the width that was asked."""
        widths = tuple((name, self.config.bits, self.config.bits) for name in nest_layers(self.original))
        return Quantize(bits=widths).apply(self.original, self.context)

    @cached_property
    def before(self) -> Operands:
        """What multipliers see of it."""
        return Operands(self.quantised, self.inputs, seed=self.config.seed)

    def energies(self, multiplier: str, operands: Operands) -> dict[str, LayerEnergy]:
        """What a multiplier takes for such operands, by layer."""
        return layer_energies(self.units[multiplier], self.library, operands.streams, seed=self.config.seed)

    def timing(self, multiplier: str) -> Timing:
        """How late a multiplier is."""
        return Timing.of(self.units[multiplier], self.library, self.before, self.config)

    def chosen(self) -> _Chosen:
        """What is chosen before retraining, or what was."""
        known = self.records.last("chosen")
        if known is not None:
            return _Chosen.from_json({key: value for key, value in known.items() if key != "kind"})
        config, styles = self.config, self.config.multipliers
        operands, hurt = self._bounded()
        self.progress.start("Pricing and timing multipliers", len(styles) * (1 + len(operands)))
        energies: dict[tuple[str, int], dict[str, LayerEnergy]] = {}
        timings: dict[str, Timing] = {}
        for style in styles:
            for largest, seen in operands.items():
                energies[style, largest] = self.energies(style, seen)
                self.progress.advance()
            timings[style] = self.timing(style)
            self.progress.advance()
        self.progress.done()
        whole_j = self.before.energy_j(energies[styles[0], config.whole], gated=False)
        self.progress.start("Choosing values", len(styles) * len(config.delays) * len(config.largest))
        found = options(
            operands,
            energies,
            timings,
            config,
            HEADROOM * config.budget * whole_j,
            hurt,
            self.progress.advance,
        )
        self.progress.done()
        best = min(found, key=lambda option: option.damage)
        if best.sets is None:
            raise PassError(
                f"no multiplier has values that take at most {config.budget:.3g} of the original's energy"
            )
        own = energies[best.multiplier, config.whole]
        chosen = _Chosen(
            multiplier=best.multiplier,
            delay=best.delay,
            largest_activation=best.largest,
            supply_v=best.supply.supply_v,
            sets=best.sets,
            options=tuple(_told(option) for option in found),
            budget_j=config.budget * whole_j,
            steps_j={
                f"{config.bits}-bit original on {styles[0]}": whole_j,
                f"original on {best.multiplier}": self.before.energy_j(own, gated=False),
                "zero gating": self.before.energy_j(own, gated=config.gated),
            },
            accuracy_before=_accuracy(self.quantised, self.task),
        )
        if not self.records.last("run"):
            begin(self.records, config.asked)
        self.records.append("chosen", **chosen.to_json())
        return chosen

    def _fewer(self, largest: int) -> RestrictActivations:
        """The pass that leaves activations up to a code, where it is not the last one there is."""
        fewer = largest < self.config.whole
        names = [name for name, codes in self.before.codes.items() if fewer and not codes.zero_point]
        return RestrictActivations(largest=tuple((name, largest) for name in names))

    def _bounded(self) -> tuple[dict[int, Operands], dict[int, float]]:
        """What multipliers see with each largest activation, and how far that takes the outputs away."""
        operands, hurt = {self.config.whole: self.before}, {self.config.whole: 0.0}
        with torch.no_grad():
            wanted = self.quantised.eval()(self.context.calibration)
        for largest in self.config.largest:
            if largest < self.config.whole:
                model = self._fewer(largest).apply(self.quantised, self.context).eval()
                operands[largest] = Operands(model, self.inputs, seed=self.config.seed)
                with torch.no_grad():
                    hurt[largest] = float(divergence(model(self.context.calibration), wanted))
        return operands, hurt

    def retrained(self, chosen: _Chosen) -> nn.Module:
        """The model with the values that were chosen, retrained to follow the original."""
        steps = [self._fewer(chosen.largest_activation), RestrictWeights.of(chosen.sets)]
        model = apply_recipe(steps, self.quantised, self.context)
        epochs = self.task.epochs if self.config.epochs is None else self.config.epochs
        if not epochs:
            return model
        teacher = self.original.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        wanted, _ = outputs_of(teacher, self.task.validation)
        done = sum(record["kind"] == "epoch" for record in self.records.read())
        self.progress.start("Retraining", epochs)
        self.progress.advance(done)

        def noted(epoch: int, loss: float, averaged: nn.Module) -> None:
            if self.records.last("epoch", epoch=epoch):
                return  # this run was stopped before the state after this epoch was on the disk
            found = judge(averaged, self.task.validation, wanted, self.task)
            self.records.append(
                "epoch",
                epoch=epoch,
                loss=loss,
                accuracy_validation=found.metric,
                loss_validation=found.loss,
            )
            self.progress.advance()

        options = FineTuning(epochs=epochs, learning_rate=self.task.learning_rate)
        checkpoint = self.config.out / "checkpoints" / "values.pt"
        trained = finetune(model, teacher, self.task, options, checkpoint=checkpoint, after_epoch=noted)
        self.progress.done()
        return trained

    def written(self, chosen: _Chosen, model: nn.Module) -> ValuesResult:
        """Measure the operands of the retrained model, and write down what it is and takes."""
        from chipfit.report.html import write_values

        config, out = self.config, self.config.out
        self.progress.start("Measuring the result", 3)
        after = Operands(model, self.inputs, seed=config.seed)
        own = self.energies(chosen.multiplier, after)
        self.progress.advance()
        supply = Supply(law=config.law, supply_v=chosen.supply_v)
        retrained_j = after.energy_j(own, gated=config.gated)
        energy_j = retrained_j * supply.energy_scale
        timed = self.timing(chosen.multiplier).table(chosen.largest_activation)
        save_table(_table(timed, own, after, supply, gated=config.gated), out / "table.json")
        write_atomically(out / "model.onnx", export(model, self.inputs[:1], name=f"{self.task.name}-values"))
        self.progress.advance()
        result = ValuesResult(
            task=config.task,
            multiplier=chosen.multiplier,
            delay=chosen.delay,
            largest_activation=chosen.largest_activation,
            supply_v=chosen.supply_v,
            budget_j=chosen.budget_j,
            energy_j=energy_j,
            steps_j={**chosen.steps_j, "values, retrained": retrained_j, "voltage": energy_j},
            accuracy_before=chosen.accuracy_before,
            accuracy_after=_accuracy(model, self.task),
            values={name: one.values for name, one in chosen.sets.items()},
            options=chosen.options,
            model=out / "model.onnx",
            table=out / "table.json",
            page=out / "report.html",
        )
        document = result.to_json()
        write_atomically(out / "values.json", json.dumps(document, indent=1).encode() + b"\n")
        epochs = [record for record in self.records.read() if record["kind"] == "epoch"]
        write_values(document, epochs, result.page)
        self.records.append("result", document=document)
        self.progress.advance()
        self.progress.done()
        return result


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


def _accuracy(model: nn.Module, task: Task) -> float:
    return task.metric(*outputs_of(model, task.test))

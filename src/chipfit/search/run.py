"""Fit a trained network to a chip: ask, apply, estimate, train, tell, record.

1. The original at 8 bits is priced on the target: the yardstick of relative budgets.
2. Single choices are measured for what they hurt (`sensitivity`) and for what they cost (`space`).
3. An integer program asks for the best choices inside the budget, under several beliefs about how
   well retraining mends narrow widths against missing channels; uniform choices stand beside them.
4. Each candidate is built, exported and priced, then retrained for a few epochs; validation data
   decides which is retrained to the end, by several students at once, and returned. Lost channels
   are mended before widths are narrowed.
5. The model is exported, run in ONNX Runtime on the test set, and judged there once.

Every step is in the records as soon as it is done; a run that finds its records goes on from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import joblib
import torch
from torch import nn

from chipfit.compress.base import PassContext, apply_recipe
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.prune import ChannelGroup, channel_groups, keep_best, output_errors
from chipfit.compress.weights import RestrictWeights
from chipfit.cost.base import CostReport
from chipfit.cost.mac import settled
from chipfit.cost.mapping.analytical import Analytical
from chipfit.errors import ExportError
from chipfit.export.onnx import Agreement, agreement, export
from chipfit.hardware.load import load_target
from chipfit.hardware.target import Target
from chipfit.report.record import Records, write_atomically
from chipfit.search.budget import Budget, parse_budget, quantities
from chipfit.search.candidates import (
    BELIEFS,
    STORED,
    Candidate,
    Question,
    candidates,
    levels,
    recipe,
    uniform,
    widths_for,
)
from chipfit.search.cheap_values import values_within
from chipfit.search.config import FitConfig, FitResult, Progress, Silent
from chipfit.search.opening import begin, opened
from chipfit.search.retrain import CALIBRATION, Job, build, retrain, watching
from chipfit.search.sensitivity import Probe, measure, probes, weight_codes
from chipfit.search.space import Choice, Group, Space, cost_tables, stored_difference, stored_tensors
from chipfit.train.finetune import load_state, outputs_of
from chipfit.train.task import Task, inputs_of, load_task
from chipfit.units import si
from chipfit.workload.from_onnx import load_onnx

#: Fraction of the test set on which an exported model must predict what the torch model does.
AGREEMENT = 0.999
#: How much larger than the limits choices are whose weight values are then made cheap (ours).
LARGER = (1.1, 1.3)
#: Students that retrain the best candidate side by side, whatever the machine (see `FineTuning`).
STUDENTS = 2
#: Inputs that tell how much a changed weight value hurts.
VALUE_INPUTS = 32


def fit(config: FitConfig, progress: Progress | None = None) -> FitResult:
    """Fit a task's network to a target inside a budget, and write model, records and page.

    Raises:
        ChipfitError: the task, target, budget or output folder is not usable, or the exported model
            does not do what the trained one does.
    """
    torch.set_num_threads(1)
    run = Run.open(config, progress or Silent())
    finished = run.records.last("final")
    if finished is None:
        run.search()
        run.finish()
    return run.result()


class Run:
    """One run: what it was asked, what it has, and where its records are."""

    def __init__(
        self,
        config: FitConfig,
        budget: Budget,
        target: Target,
        task: Task,
        records: Records,
        progress: Progress,
    ) -> None:
        self.config, self.budget, self.target, self.task = config, budget, target, task
        self.records, self.progress = records, progress
        self.estimator = Analytical()
        self.model = traced(task.model)
        self.inputs = inputs_of(task.probe or task.train, CALIBRATION)
        self.context = PassContext(calibration=inputs_of(task.validation, CALIBRATION))

    @classmethod
    def open(cls, config: FitConfig, progress: Progress) -> Run:
        """A new run in an empty folder, or an old one to go on with."""
        budget, target = parse_budget(config.budget), load_target(config.target)
        task = load_task(config.task, config.data, config.seed)
        asked = _asked(config, budget)
        records = opened(config.out, asked, resume=config.resume)
        if not records.last("run"):
            begin(records, asked)
        return cls(config, budget, target, task, records, progress)

    def price(self, model: nn.Module, name: str) -> tuple[CostReport, bytes]:
        """What the target's estimator says of a model as it is exported."""
        data = export(model, self.inputs[:1], name=name)
        return self.estimator.estimate(load_onnx(data, name=name), self.target), data

    def search(self) -> None:
        """Everything up to retrained candidates."""
        self.price_original()
        groups, scores = self.groups()
        space = self.space(groups)
        losses = self.losses(space, scores)
        asked = self._candidates(space, losses, scores)
        self._screen(asked)

    def price_original(self) -> None:
        """Price the network at 8 bits, and keep its file as a yardstick that anyone can price again."""
        if self.records.last("original"):
            return
        self.progress.start("Pricing the 8-bit original", 2)
        _, before = self._wanted()
        names = list(nest_layers(self.model))
        eight = Choice(widths={n: uniform(8) for n in names}, channels={})
        model = apply_recipe(recipe(eight, {}), self.model, self.context)
        self.progress.advance()
        report, data = self.price(model, f"{self.task.name}-8bit")
        write_atomically(self.config.out / "original.onnx", data)
        self.records.append("original", accuracy_validation=before, cost=report.to_json())
        self.progress.done()

    def _wanted(self) -> tuple[torch.Tensor, float]:
        outputs, labels = outputs_of(self.model, self.task.validation)
        return outputs, self.task.metric(outputs, labels)

    @property
    def original(self) -> dict[str, float]:
        """The quantities of the 8-bit original (J, s, bit, bit)."""
        record = self.records.last("original")
        assert record is not None
        return _quantities(record["cost"])

    def groups(self) -> tuple[tuple[Group, ...], dict[str, torch.Tensor]]:
        """Channels that can be cut together, and the importance of each; notes on what cannot."""
        found, notes = channel_groups(self.model, self.inputs[:2])
        for note in notes:
            if not self.records.last("note", text=note):
                self.records.append("note", text=note)
        generator = torch.Generator().manual_seed(self.config.seed)
        scores = output_errors(self.model, found, self.inputs, generator)
        return tuple(_with_levels(group, scores[group.name]) for group in found), scores

    def space(self, groups: tuple[Group, ...]) -> Space:
        """All choices, around a 4-bit network in which every width stands apart from the others."""
        names = list(nest_layers(self.model))
        narrow = Choice(widths={n: uniform(4) for n in names}, channels={})
        template_model = apply_recipe(recipe(narrow, {}), self.model, self.context)
        data = export(template_model, self.inputs[:1], name=self.task.name)
        template = load_onnx(data, name=self.task.name)
        widths = {
            layer.name: options
            for layer in template.layers
            for name, options in widths_for(names, self.target).items()
            if layer.loops and layer.name == name
        }
        return Space(
            template=template,
            widths=widths,
            groups=groups,
            codes=weight_codes(self.model, widths),
            stored=stored_tensors(template, widths),
        )

    def losses(self, space: Space, scores: Mapping[str, torch.Tensor]) -> dict[tuple[str, str, int], float]:
        """The measured loss of every single choice, by (layer, kind, value)."""
        bits = {
            name: sorted({b for w in options for b in (w.weight_bits, w.activation_bits)})
            for name, options in space.widths.items()
        }
        wanted = probes(bits, space.groups, STORED if space.stored else ())
        losses = {
            (r["layer"], r["choice"], r["value"]): r["loss"]
            for r in self.records.read()
            if r["kind"] == "sensitivity"
        }
        missing = [p for p in wanted if (p.layer, p.kind, p.value) not in losses]
        self.progress.start("Measuring what each choice hurts", len(wanted))
        self.progress.advance(len(wanted) - len(missing))

        def found(probe: Probe, loss: float) -> None:
            losses[probe.layer, probe.kind, probe.value] = loss
            self.records.append(
                "sensitivity", layer=probe.layer, choice=probe.kind, value=probe.value, loss=loss
            )
            self.progress.advance()

        measure(self.model, self.inputs, missing, scores, found)
        self.progress.done()
        return losses

    def question(self, space: Space, losses: Mapping[tuple[str, str, int], float]) -> Question:
        """What candidates are asked of: costs from the target, losses, and the limits."""
        target = self._with_one_multiplier(space)
        tables, fixed = cost_tables(space, target, self.estimator, self.progress.advance)
        stored = STORED if space.stored else STORED[:1]
        return Question(
            space=space,
            tables=tables,
            fixed=fixed,
            stored={b: stored_difference(space, b, target, self.estimator) for b in stored},
            losses=losses,
            limits={limit.quantity: limit.absolute(self.original) for limit in self.budget.limits},
            sum_word_bits=[level for level in self.target.levels if "output" in level.holds][-1].word_bits,
        )

    def _with_one_multiplier(self, space: Space) -> Target:
        """The target with the multiplier of the original: tables add up only for one. Candidates are priced
        with the one that is best for them.
        """
        eight = Choice(widths={name: uniform(8) for name in space.widths}, channels={})
        one, _ = settled(space.network(eight).layers, self.target)
        return replace(self.target, mac_tables=one.mac_tables)

    def _candidates(
        self, space: Space, losses: Mapping[tuple[str, str, int], float], scores: Mapping[str, torch.Tensor]
    ) -> list[Candidate]:
        known = self.records.last("asked")
        if known is not None:
            return [Candidate.from_json(c) for c in known["candidates"]]
        self.progress.start("Asking what each choice costs on the target", len(space.widths) + 1)
        question = self.question(space, losses)

        def price(choice: Choice, name: str) -> dict[str, float]:
            model = apply_recipe(recipe(choice, scores), self.model, self.context)
            return quantities(self.price(model, name)[0])

        asked = candidates(question, scores, price) + self._with_values(question, scores)
        self.progress.advance()
        self.progress.done()
        self.records.append("asked", candidates=[c.to_json() for c in asked])
        return asked

    def _with_values(self, question: Question, scores: Mapping[str, torch.Tensor]) -> list[Candidate]:
        """On a target that prices weight values: larger choices whose values bring them inside the limit."""
        limit_j = question.limits.get("energy")
        if not self.target.mac_tables or limit_j is None:
            return []
        found: list[Candidate] = []
        for scale in LARGER:
            name = f"values, from {scale:.0%} of the limits"
            choice = question.best(BELIEFS["as measured"], scale)
            model = apply_recipe(recipe(choice, scores), self.model, self.context)
            before = self.price(model, name)[0]
            sets = values_within(model, self.inputs[:VALUE_INPUTS], self.target, before, limit_j)
            if sets is None:
                continue
            last = RestrictWeights.of(sets)
            after = self.price(last.apply(model, self.context), name)[0]
            most = max(len(chosen.values) for chosen in sets.values())
            energies = [si(report.total.energy_j, "J") for report in (after, before)]
            self.records.append(
                "note",
                text=f"{name}: with at most {most} weight values a layer, energy is {energies[0]} instead of "
                f"{energies[1]}, before retraining; {after.multiplier}",
            )
            found.append(
                Candidate(
                    name=name,
                    origin="values",
                    choice=choice,
                    keep=keep_best(scores, choice.channels).keep,
                    channels_before={g.name: g.channels for g in question.space.groups},
                    cost=quantities(after),
                    values=last.values,
                )
            )
        return found

    def _screen(self, asked: Sequence[Candidate]) -> None:
        """Retrain every candidate for a little, then the best of them to the end."""
        few = self.config.screening_epochs or self.task.screening_epochs
        many = self.config.epochs or self.task.epochs
        screened = self._train(asked, few, "screen", "Trying candidates")
        inside = [c for c in screened if c["over"] == {}] or screened
        best = min(inside, key=lambda c: c["loss_validation"])["name"]
        (chosen,) = self._train(
            [c for c in asked if c.name == best], many, "train", "Retraining the best", students=STUDENTS
        )
        if not self.records.last("candidate", chosen=True):
            self.records.append("candidate", **{**chosen, "chosen": True})

    def _workers(self) -> int:
        return self.config.workers or min(2, joblib.cpu_count())

    def _train(
        self, asked: Sequence[Candidate], epochs: int, stage: str, title: str, *, students: int = 1
    ) -> list[dict[str, Any]]:
        done = {
            r["name"]: {k: v for k, v in r.items() if k != "kind"}
            for r in self.records.read()
            if r["kind"] == "candidate" and r["stage"] == stage and not r["chosen"]
        }
        jobs = [
            Job(
                parent=os.getpid(),
                config=self.config,
                candidate=c,
                epochs=epochs,
                stage=stage,
                original=self.original,
                students=students,
            )
            for c in asked
            if c.name not in done
        ]
        if jobs:
            self.progress.start(title, len(asked) * epochs)
            with watching(self.records, stage, self.progress):
                parallel: Any = joblib.Parallel(n_jobs=self._workers(), return_as="generator_unordered")
                for outcome in parallel(joblib.delayed(retrain)(job) for job in jobs):
                    self.records.append("candidate", **outcome)
                    done[outcome["name"]] = outcome
            self.progress.done()
        return [done[c.name] for c in asked]

    def finish(self) -> None:
        """Export the chosen candidate, judge it on the test set once, and write it down."""
        chosen = self.records.last("candidate", chosen=True)
        assert chosen is not None
        self.progress.start("Exporting and checking", 3)
        candidate = Candidate.from_json(chosen["candidate"])
        model = build(candidate, self.model, self.context)
        model.load_state_dict(
            load_state(self.config.out / "checkpoints" / f"{candidate.name}-train.pt")["model"]
        )
        report, data = self.price(model, self.task.name)
        write_atomically(self.config.out / "model.onnx", data)
        self.progress.advance()
        agreed = agreement(data, model, self.task.test)
        if agreed.ratio < AGREEMENT:
            different = f"{agreed.images - agreed.same} of {agreed.images} test images"
            raise ExportError(
                f"the exported model predicts another class than the trained one on {different}; "
                f"at most {1 - AGREEMENT:.1%} may differ"
            )
        self.progress.advance()
        before, labels = outputs_of(self.model, self.task.test)
        after, _ = outputs_of(model, self.task.test)
        accuracy = [self.task.metric(outputs, labels) for outputs in (before, after)]
        self._record_final(candidate, report, agreed, accuracy)
        self.progress.advance()
        self.progress.done()

    def _record_final(
        self, candidate: Candidate, report: CostReport, agreed: Agreement, accuracy: Sequence[float]
    ) -> None:
        original, cost = self.original, quantities(report)
        shortfall = self.budget.over(cost, original)
        drop = accuracy[0] - accuracy[1]
        if drop > self.config.max_drop + 1e-12:
            shortfall["accuracy"] = (accuracy[0] - self.config.max_drop) / max(accuracy[1], 1e-9)
        self.records.append(
            "final",
            budget_met=not shortfall,
            shortfall=shortfall,
            ratios={q: cost[q] / original[q] for q in cost},
            accuracy_before=accuracy[0],
            accuracy_after=accuracy[1],
            test_images=agreed.images,
            agreement=agreed.ratio,
            largest_difference=agreed.largest_difference,
            model="model.onnx",
            cost=report.to_json(),
            recipe=candidate.recipe,
            choices=candidate.choices,
            seconds=self._seconds(),
        )

    def _seconds(self) -> float:
        started = datetime.fromisoformat(self.records.read()[0]["started"])
        return (datetime.now(UTC) - started).total_seconds()

    def result(self) -> FitResult:
        """The result as the final record has it; the page is rebuilt from the records."""
        from chipfit.report.html import build as build_page

        final = self.records.last("final")
        assert final is not None
        page = build_page(self.config.out)
        ratios = final["ratios"]
        return FitResult(
            task=self.config.task,
            target=self.target.name,
            budget_met=final["budget_met"],
            shortfall=final["shortfall"],
            energy_ratio=ratios["energy"],
            latency_ratio=ratios["latency"],
            dram_ratio=ratios["dram"],
            memory_ratio=ratios["memory"],
            accuracy_before=final["accuracy_before"],
            accuracy_after=final["accuracy_after"],
            model=self.config.out / final["model"],
            page=page,
            seconds=final["seconds"],
        )


def _with_levels(group: ChannelGroup, scores: torch.Tensor) -> Group:
    return Group(
        name=group.name,
        levels=levels(group.channels, scores),
        producers=group.producers,
        consumers=group.consumers,
    )


def _quantities(cost: Mapping[str, Any]) -> dict[str, float]:
    totals = cost["totals"]
    keys = {"energy": "energy_j", "latency": "latency_s", "dram": "dram_bits", "memory": "memory_bits"}
    return {quantity: float(totals[key]) for quantity, key in keys.items()}


def _asked(config: FitConfig, budget: Budget) -> dict[str, Any]:
    """What a run was asked, in plain data."""
    return {
        "task": config.task,
        "target": config.target,
        "budget": budget.to_json(),
        "options": {
            "max_drop": config.max_drop,
            "epochs": config.epochs,
            "screening_epochs": config.screening_epochs,
            "data": str(config.data) if config.data else None,
            "mapping_objective": Analytical().objective,
        },
        "seed": config.seed,
    }

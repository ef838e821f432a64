"""How a loop nest runs on a target: mappings, their exact counts, and the search for the best one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from chipfit.cost.mapping import pricing
from chipfit.cost.mapping.evaluate import geometry, scratch
from chipfit.cost.mapping.lattice import Lattice, lattice_of
from chipfit.cost.mapping.model import (
    EVEN,
    OBJECTIVES,
    RULES,
    SPACES,
    Answer,
    Floats,
    Ints,
    Mapping,
    MapSpace,
    Outcome,
    Parts,
    Rules,
    Widths,
)
from chipfit.cost.mapping.nest import Chip
from chipfit.cost.mapping.parts import divided, sharing
from chipfit.cost.mapping.plan import per_element, stages
from chipfit.cost.mapping.pricing import Goal
from chipfit.cost.mapping.question import Question, found_of, work_of
from chipfit.cost.mapping.room import check_fits, elements_of, mappings, why_none
from chipfit.cost.mapping.setting import inner_parts, settings_of, unit_of, ways_of
from chipfit.cost.mapping.uneven import improved
from chipfit.errors import MappingError, nearest
from chipfit.hardware.target import Target, words
from chipfit.workload.network import Loops

#: Candidates after which a search gives up and says how far it may be from the best.
EFFORT = 5e6


#: Of this, what a search may take before it begins again from a better mapping.
_GLANCE = 0.2


def find(
    loops: Loops,
    target: Target,
    widths: Widths,
    *,
    objective: str = "energy",
    mac_energy_j: float = 0.0,
    streamed_words: float = 0.0,
    streamed_energy_j: float = 0.0,
    label: str = "layer",
    space: MapSpace = SPACES["ragged"],
    most_cycles: float = math.inf,
    hint: Mapping | None = None,
    rules: Rules = RULES["chipfit"],
    effort: float | None = None,
    tolerance: float = 0.0,
) -> Answer:
    """The best mapping of a nest onto a target.

    Args:
        loops: the nest.
        target: the chip.
        widths: bits of the tensors.
        objective: 'energy', 'latency', 'edp' (energy times latency) or 'dram' (traffic). Among equals the
            faster one, or the one of less energy, is taken.
        mac_energy_j: energy of all multiply-accumulates (J); counts for 'edp'.
        streamed_words: words that cross the main memory besides.
        streamed_energy_j: their energy (J).
        label: what to call the nest in an error message.
        space: which mappings are looked at.
        most_cycles: no mapping that takes longer.
        hint: a mapping that may be good: it speeds up the search and never changes the score.
        rules: what is counted.
        effort: candidates looked at for each way to hold tensors, after which the best so far is taken
            (default: EFFORT).
        tolerance: how far the score may lie above the best, as a fraction; `gap` says so.

    Raises:
        MappingError: an unknown objective, or even the smallest tiles do not fit, or nothing is as fast as
            asked.
    """
    if objective not in OBJECTIVES:
        raise MappingError(f"unknown objective '{objective}'{nearest(objective, OBJECTIVES)}")
    check_fits(label, target, widths)
    effort = EFFORT if effort is None else effort
    problem = _Problem(
        loops=loops,
        target=target,
        widths=widths,
        objective=objective,
        extra=(mac_energy_j, target.static_power_w / target.clock_hz, streamed_words, streamed_energy_j),
        label=label,
        most_cycles=most_cycles,
        rules=rules,
        tolerance=tolerance,
    )
    hint = None if hint is None or hint.parts else hint  # that of parts is for another target
    even = replace(space, uneven=False)
    found = problem.best(even, hint, effort)
    if space.uneven:
        found = improved(
            found,
            target,
            search=lambda parts, below: problem.divided(parts).search(even, None, effort, below),
            least=lambda parts, below: problem.least(parts, even, effort, below),
            taken=problem.words_of,
        )
    assert found.mapping is not None
    return Answer(
        mapping=found.mapping,
        score=found.score,
        gap=found.gap,
        cuts=found.cuts,
        priced=found.priced,
        mappings=mappings(loops, target, space),
    )


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """What is asked of every search for a nest; fields as the arguments of `find`.

    `extra` is what comes on top of the nest: energy of all multiply-accumulates (J), static energy of a
    cycle (J), words that cross the main memory besides, and their energy (J).
    """

    loops: Loops
    target: Target
    widths: Widths
    objective: str
    extra: tuple[float, float, float, float]
    label: str
    most_cycles: float
    rules: Rules
    tolerance: float

    def divided(self, parts: Parts) -> _Problem:
        """The same with memories in parts."""
        return replace(self, target=divided(self.target, parts))

    def least(self, parts: Parts, space: MapSpace, effort: float, below: float) -> float:
        """What no mapping with memories in parts is below, or the given score if that is less."""
        shared = sharing(self.target, parts)
        if shared is None or self.rules.fills or self.rules.slides:  # small tiles are there sooner
            return 0.0
        # Strides leave gaps in a tile that several smaller ones do not fetch: bounds count none.
        rules = replace(self.rules, skips=True)
        return replace(self, target=shared, rules=rules).search(space, None, effort, below).low

    def words_of(self, mapping: Mapping, stage: int) -> int:
        """Words that the tiles of a stage take in one instance."""
        level = divided(self.target, mapping.parts).levels[stage]
        elements = elements_of(self.loops, mapping.tiles[stage], geometry(self.loops, self.rules))
        bits = {"input": self.widths.input, "weight": self.widths.weight, "output": self.widths.partial_sum}
        return sum(words(elements[t], bits[t], level.word_bits) for t in mapping.holds[stage])

    def best(self, space: MapSpace, hint: Mapping | None, effort: float) -> Outcome:
        """The best mapping of a space, from a hint if there is one."""
        if hint is not None or space == EVEN:
            return self.search(space, hint, effort)
        found = [self.search(space, None, _GLANCE * effort)]
        if found[0].gap <= self.tolerance:
            return found[0]
        # It takes long: begin again from the best mapping at hand, of these or of those whose factors divide.
        with suppress(MappingError):
            found.append(self.search(EVEN, None, _GLANCE * effort))
        hint = min(found, key=lambda outcome: outcome.score).mapping
        found.append(self.search(space, hint, effort))
        return replace(
            found[-1],
            cuts=sum(outcome.cuts for outcome in found),
            priced=sum(outcome.priced for outcome in found),
        )

    def search(
        self, space: MapSpace, hint: Mapping | None, effort: float, below: float = math.inf
    ) -> Outcome:
        """The best mapping below a score, from a hint if there is one.

        Raises:
            MappingError: there is no mapping of any score.
        """
        loops, rules, parts = self.loops, self.rules, stages(self.target)
        shape = geometry(loops, rules)
        most = max(part.array.elements if part.array else 1 for part in parts)
        lattice = lattice_of(loops, shape, most, space, union=rules.union, slides=rules.slides)
        # Tiles fetched whole.
        whole = lattice_of(loops, shape, most, space) if rules.slides else lattice
        settings = settings_of(self.target, self.widths, rules, self._traffic_alone)
        goal = self._goal(settings[0].chip, lattice)
        exact = not rules.slides and not (rules.fills and goal.timed)
        settings = [setting.comparing(exact, goal.timed) for setting in settings]
        inner, ways = inner_parts(settings, lattice), ways_of(settings[0].plan, lattice)
        questions = [
            Question(
                setting=setting,
                inner=inner[number],
                goal=goal,
                ways=ways,
                effort=effort,
                slack=1 / (1 + self.tolerance),
                chip=setting.chip._replace(scalars=self._scalars),
                lattice=lattice,
                work=work_of(number, len(setting.plan.last_stage), lattice.hull.shape[0]),
                found=found_of(len(parts)),
                tables=scratch(len(parts), 1, shape)._replace(rows=whole.rows, columns=whole.columns),
            )
            for number, setting in enumerate(settings)
        ]
        best, score = self._best(questions, hint, below)
        if best is None and below == math.inf:
            raise self._none(space, shape)
        return Outcome(
            mapping=best,
            score=score,
            low=min(score * questions[0].slack, *(float(q.found.numbers[7]) for q in questions)),
            cuts=sum(int(q.found.numbers[1]) for q in questions),
            priced=sum(int(q.found.numbers[3]) for q in questions),
        )

    @property
    def _traffic_alone(self) -> bool:
        return self.objective == "dram"

    @property
    def _scalars(self) -> Floats:
        return np.array([0.0, 0.0, self.extra[2], 0.0] if self._traffic_alone else self.extra)

    def _goal(self, made: Chip, lattice: Lattice) -> Goal:
        # Rows that no product needs may be skipped where they lie between tiles.
        least_input = (
            lattice.bounds[[0, 1, 3]].prod() * lattice.rows[..., 0].min() * lattice.columns[..., 0].min()
        )
        amounts = (least_input, lattice.elements[1, -1], lattice.elements[2, -1])
        compulsory = sum(amount * per_element(made.per_word[0, t]) for t, amount in enumerate(amounts))
        kind, static_j, unit = OBJECTIVES[self.objective], self.extra[1], unit_of(made)
        return Goal(
            kind=kind,
            cap=float(self.most_cycles),
            static=0.0 if self._traffic_alone else float(static_j),
            streamed=float(self.extra[2]),
            bandwidth=float(made.price[3, 0]),
            tie=pricing.TIE / unit if self.objective == "latency" else 0.1 * pricing.TIE * unit,
            words=float(compulsory),
            timed=kind != pricing.ENERGY or math.isfinite(self.most_cycles) or static_j > 0,
        )

    def _best(
        self, questions: Sequence[Question], hint: Mapping | None, below: float
    ) -> tuple[Mapping | None, float]:
        """The best mapping below a score and its score, or none and that score.

        First the most promising mapping of each way to hold tensors, so that the proof is short.
        """
        best, score = hint, below
        if hint is not None:
            score = min(q.score_of(hint) for q in questions if hint.holds in ((), q.setting.holds))
        for exactly in (False, True):
            if exactly and best is not None and questions[0].goal.timed and _waits(best, questions):
                for question in questions:
                    question.fill_floor(self.target)
            for question in questions:
                reached = question.search(score, exactly=exactly)
                if reached < score:
                    best, score = question.mapping(stages(self.target)), reached
        return best, score

    def _none(self, space: MapSpace, shape: Ints) -> MappingError:
        if math.isfinite(self.most_cycles):
            return MappingError(
                f"layer '{self.label}': no mapping on {self.target.name} takes at most "
                f"{self.most_cycles:g} cycles"
            )
        return MappingError(why_none(self.label, self.loops, self.target, self.widths, space, shape))


def _waits(mapping: Mapping, questions: Sequence[Question]) -> bool:
    """Whether a memory takes longer than the multiplications."""
    for question in questions:
        if mapping.holds in ((), question.setting.holds):
            question.score_of(mapping)
            out = question.found.out
            return bool(out[1] > out[3])
    return False

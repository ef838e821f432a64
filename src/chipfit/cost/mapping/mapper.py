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
    Case,
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
from chipfit.cost.mapping.plan import Stage, per_element, stages, ways_to_hold
from chipfit.cost.mapping.pricing import Goal
from chipfit.cost.mapping.question import Question, ask
from chipfit.cost.mapping.room import check_fits, elements_of, mappings, why_none
from chipfit.cost.mapping.setting import settings_of, unit_of, ways_of
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
    case = Case(
        widths=widths, mac_energy_j=mac_energy_j, streamed_words=streamed_words,
        streamed_energy_j=streamed_energy_j, label=label, most_cycles=most_cycles, hint=hint,
    )  # fmt: skip
    (answer,) = find_all(
        loops,
        target,
        (case,),
        objective=objective,
        space=space,
        rules=rules,
        effort=effort,
        tolerance=tolerance,
    )
    return answer


def find_all(
    loops: Loops,
    target: Target,
    cases: Sequence[Case],
    *,
    objective: str = "energy",
    space: MapSpace = SPACES["ragged"],
    rules: Rules = RULES["chipfit"],
    effort: float | None = None,
    tolerance: float = 0.0,
) -> list[Answer]:
    """The best mapping of a nest in each of several cases, such as widths: much of the work is shared.

    Arguments and errors are those of `find`.
    """
    if objective not in OBJECTIVES:
        raise MappingError(f"unknown objective '{objective}'{nearest(objective, OBJECTIVES)}")
    for case in cases:
        check_fits(case.label, target, case.widths)
    effort = EFFORT if effort is None else effort
    # A hint in parts is for another target.
    cases = [replace(case, hint=None) if case.hint and case.hint.parts else case for case in cases]
    problem = _Problem(
        loops=loops, target=target, cases=tuple(cases), objective=objective, rules=rules, tolerance=tolerance
    )
    even = replace(space, uneven=False)
    found = problem.best(even, effort)
    if space.uneven:
        found = [problem.only([i]).uneven(one, even, effort) for i, one in enumerate(found)]
    many = mappings(loops, target, space)
    return [_answer(one, many) for one in found]


def _answer(found: Outcome, many: int) -> Answer:
    assert found.mapping is not None
    return Answer(
        mapping=found.mapping,
        score=found.score,
        gap=found.gap,
        cuts=found.cuts,
        priced=found.priced,
        mappings=many,
    )


#: Entries of a table of bounds: of more, cases are searched for a few at a time.
_ENTRIES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """What is asked of every search for a nest; fields as the arguments of `find_all`."""

    loops: Loops
    target: Target
    cases: tuple[Case, ...]
    objective: str
    rules: Rules
    tolerance: float

    def only(self, which: Sequence[int], hints: Sequence[Mapping | None] | None = None) -> _Problem:
        """The same of some cases, with other hints if they are given."""
        cases = [self.cases[i] for i in which]
        if hints is not None:
            cases = [replace(case, hint=hint) for case, hint in zip(cases, hints, strict=True)]
        return replace(self, cases=tuple(cases))

    def uneven(self, best: Outcome, space: MapSpace, effort: float) -> Outcome:
        """The best of an outcome and of all mappings with uneven tiles in one memory, of the only case."""
        return improved(
            best,
            self.target,
            search=lambda parts, below: self.divided(parts).search(space, effort, below)[0],
            least=lambda parts, below: self.least(parts, space, effort, below),
            taken=self.words_of,
        )

    def divided(self, parts: Parts) -> _Problem:
        """The same with memories in parts, and nothing known."""
        return replace(self, target=divided(self.target, parts)).only(range(len(self.cases)), [None])

    def least(self, parts: Parts, space: MapSpace, effort: float, below: float) -> float:
        """What no mapping with memories in parts is below, or the given score if that is less."""
        shared = sharing(self.target, parts)
        if shared is None or self.rules.fills or self.rules.slides:  # small tiles are there sooner
            return 0.0
        # Strides leave gaps in a tile that several smaller ones do not fetch: bounds count none.
        problem = replace(self.only([0], [None]), target=shared, rules=replace(self.rules, skips=True))
        return problem.search(space, effort, below)[0].low

    def words_of(self, mapping: Mapping, stage: int) -> int:
        """Words that the tiles of a stage take in one instance."""
        level, widths = divided(self.target, mapping.parts).levels[stage], self.cases[0].widths
        elements = elements_of(self.loops, mapping.tiles[stage], geometry(self.loops, self.rules))
        bits = {"input": widths.input, "weight": widths.weight, "output": widths.partial_sum}
        return sum(words(elements[t], bits[t], level.word_bits) for t in mapping.holds[stage])

    def best(self, space: MapSpace, effort: float) -> list[Outcome]:
        """The best mappings of a space, from hints if there are any."""
        if space == EVEN or any(case.hint is not None for case in self.cases):
            return self.search(space, effort)
        found = self.search(space, _GLANCE * effort)
        slow = [i for i, outcome in enumerate(found) if outcome.gap > self.tolerance]
        if not slow:
            return found
        # It takes long: begin again from the best mapping at hand, of these or of those whose factors divide.
        looks = [[found[i]] for i in slow]
        with suppress(MappingError):
            for look, outcome in zip(looks, self.only(slow).search(EVEN, _GLANCE * effort), strict=True):
                look.append(outcome)
        hints = [min(look, key=lambda outcome: outcome.score).mapping for look in looks]
        for i, look, last in zip(slow, looks, self.only(slow, hints).search(space, effort), strict=True):
            look.append(last)
            cuts, priced = (sum(getattr(one, name) for one in look) for name in ("cuts", "priced"))
            found[i] = replace(last, cuts=cuts, priced=priced)
        return found

    def search(self, space: MapSpace, effort: float, below: float = math.inf) -> list[Outcome]:
        """The best mappings below a score, from hints if there are any.

        Raises:
            MappingError: there is no mapping of any score.
        """
        loops, rules, parts = self.loops, self.rules, stages(self.target)
        shape = geometry(loops, rules)
        most = max(part.array.elements if part.array else 1 for part in parts)
        lattice = lattice_of(loops, shape, most, space, union=rules.union, slides=rules.slides)
        # Tiles fetched whole.
        whole = lattice_of(loops, shape, most, space) if rules.slides else lattice
        tables = scratch(len(parts), 1, shape)._replace(rows=whole.rows, columns=whole.columns)
        ways: tuple[Ints, Ints] | None = None
        found: list[Outcome] = []
        most_at_once = max(1, _ENTRIES // (len(lattice.hull) * len(ways_to_hold(self.target))))
        at_once = math.ceil(len(self.cases) / math.ceil(len(self.cases) / most_at_once))
        for start in range(0, len(self.cases), at_once):
            cases = self.cases[start : start + at_once]
            settings = [settings_of(self.target, case.widths, rules, self._traffic_alone) for case in cases]
            goals = [self._goal(case, s[0].chip, lattice) for case, s in zip(cases, settings, strict=True)]
            timed = any(goal.timed for goal in goals)
            exact = not rules.slides and not (rules.fills and timed)
            settings = [[setting.comparing(exact, timed) for setting in one] for one in settings]
            ways = ways or ways_of(settings[0][0].plan, lattice)
            question = ask(
                settings, goals, [self._scalars(case) for case in cases], lattice, ways, tables,
                effort=effort, slack=1 / (1 + self.tolerance), limits=[below] * len(cases),
            )  # fmt: skip
            found += self._outcomes(question, cases, parts)
            for case, outcome in zip(cases, found[start:], strict=True):
                if outcome.mapping is None and below == math.inf:
                    raise self._none(case, space, shape)
        return found

    def _outcomes(self, question: Question, cases: Sequence[Case], parts: tuple[Stage, ...]) -> list[Outcome]:
        found, slack = question.found, question.slack
        for i, case in enumerate(cases):
            if case.hint is not None:
                found.reached[i] = question.score_of(i, case.hint)
                found.best[i] = found.reached[i] * slack
        question.search(self.target)
        numbers = found.numbers.reshape(-1, len(cases), 8)
        return [
            Outcome(
                mapping=question.mapping(i, parts) if found.lane[i] >= 0 else case.hint,
                score=float(found.reached[i]),
                low=min(float(found.reached[i]) * slack, float(numbers[:, i, 7].min())),
                cuts=int(numbers[:, i, 1].sum()),
                priced=int(numbers[:, i, 3].sum()),
            )
            for i, case in enumerate(cases)
        ]

    @property
    def _traffic_alone(self) -> bool:
        return self.objective == "dram"

    def _scalars(self, case: Case) -> Floats:
        """`Chip.scalars` of a case."""
        if self._traffic_alone:
            return np.array([0.0, 0.0, case.streamed_words, 0.0])
        static_j = self.target.static_power_w / self.target.clock_hz
        return np.array([case.mac_energy_j, static_j, case.streamed_words, case.streamed_energy_j])

    def _goal(self, case: Case, made: Chip, lattice: Lattice) -> Goal:
        # Rows that no product needs may be skipped where they lie between tiles.
        least_input = (
            lattice.bounds[[0, 1, 3]].prod() * lattice.rows[..., 0].min() * lattice.columns[..., 0].min()
        )
        amounts = (least_input, lattice.elements[1, -1], lattice.elements[2, -1])
        compulsory = sum(amount * per_element(made.per_word[0, t]) for t, amount in enumerate(amounts))
        kind, static_j, unit = OBJECTIVES[self.objective], self._scalars(case)[1], unit_of(made)
        return Goal(
            kind=kind,
            cap=float(case.most_cycles),
            static=float(static_j),
            streamed=float(case.streamed_words),
            bandwidth=float(made.price[3, 0]),
            tie=pricing.TIE / unit if self.objective == "latency" else 0.1 * pricing.TIE * unit,
            words=float(compulsory),
            timed=kind != pricing.ENERGY or math.isfinite(case.most_cycles) or self.target.static_power_w > 0,
        )

    def _none(self, case: Case, space: MapSpace, shape: Ints) -> MappingError:
        if math.isfinite(case.most_cycles):
            return MappingError(
                f"layer '{case.label}': no mapping on {self.target.name} takes at most "
                f"{case.most_cycles:g} cycles"
            )
        return MappingError(why_none(case.label, self.loops, self.target, case.widths, space, shape))

"""The records of a run, checked and typed; later records take the place of earlier ones.

A resumed run may repeat what the killed one had written: a candidate is known by its name, an epoch
by candidate, stage and number, a sensitivity by layer, choice and value. Every part may be missing: a
run that goes on, or was killed, has none of what comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chipfit.errors import RecordError

#: The quantities of a budget, with the field of a cost document that holds each and its unit.
QUANTITIES: Mapping[str, tuple[str, str]] = {
    "energy": ("energy_j", "J"),
    "latency": ("latency_s", "s"),
    "dram": ("dram_bits", "bit"),
    "memory": ("memory_bits", "bit"),
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class Limit(_Record):
    """What a budget allows of one quantity: a ratio to the original, or an amount in base units."""

    limit: float
    unit: str = ""
    relative: bool = True


class Run(_Record):
    """What was asked for, and with what it was run."""

    task: str = "unknown task"
    target: str = "unknown target"
    budget: dict[str, Limit] = Field(default_factory=dict[str, Limit])
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    seed: int | None = None
    started: str = ""


class Totals(_Record):
    """The sums of a cost document."""

    energy_j: float = 0.0
    latency_s: float = 0.0
    dram_bits: float = 0.0
    memory_bits: float = 0.0
    macs: float = 0.0
    parameters: float = 0.0
    energy_by_component_j: dict[str, float] = Field(default_factory=dict[str, float])

    def amount(self, quantity: str) -> float:
        """The amount of a budget's quantity, in base units."""
        return float(getattr(self, QUANTITIES[quantity][0]))


class LayerRow(_Record):
    """One layer of a cost document."""

    name: str
    operator: str = ""
    energy_j: float = 0.0
    latency_s: float = 0.0
    macs: float = 0.0
    weight_bits: int = 0
    input_bits: int = 0


class Multiplier(_Record):
    """The multiplier of a network, in words."""

    text: str = ""


class CostDocument(_Record):
    """What `chipfit cost --json` prints."""

    method: str = ""
    error: str = ""
    totals: Totals = Totals()
    layers: tuple[LayerRow, ...] = ()
    warnings: tuple[str, ...] = ()
    multiplier: Multiplier | None = None


class Choice(_Record):
    """What was chosen for one layer; `values` are those of its weights, where they are restricted."""

    layer: str
    weight_bits: int | None = None
    activation_bits: int | None = None
    channels: int | None = None
    channels_before: int | None = None
    values: tuple[int, ...] | None = None


class Original(_Record):
    """The 8-bit original."""

    accuracy_validation: float | None = None
    cost: CostDocument = CostDocument()


class Sensitivity(_Record):
    """The loss when one layer alone is changed."""

    layer: str
    choice: str
    value: float
    loss: float


class Candidate(_Record):
    """A network that was tried; `cost` is in base units, `ratios` are to the 8-bit original."""

    name: str
    stage: str = ""
    recipe: str = ""
    origin: str = ""
    choices: tuple[Choice, ...] = ()
    cost: dict[str, float] = Field(default_factory=dict[str, float])
    ratios: dict[str, float] = Field(default_factory=dict[str, float])
    accuracy_validation: float | None = None
    epochs: float = 0
    students: float = 1
    chosen: bool = False

    @property
    def training(self) -> str:
        """How long it was trained, and by how many at once."""
        return f"{self.epochs:g}" if self.students == 1 else f"{self.students:g} × {self.epochs:g}"


class Epoch(_Record):
    """One epoch of training of one candidate."""

    candidate: str
    stage: str = ""
    epoch: float
    loss: float | None = None
    accuracy_validation: float | None = None
    loss_validation: float | None = None


class Final(_Record):
    """The result."""

    budget_met: bool
    shortfall: dict[str, float] = Field(default_factory=dict[str, float])
    ratios: dict[str, float] = Field(default_factory=dict[str, float])
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    test_images: int | None = None
    agreement: float | None = None
    model: str = ""
    cost: CostDocument = CostDocument()
    recipe: str = ""
    choices: tuple[Choice, ...] = ()
    seconds: float | None = None


class Note(_Record):
    """Something the reader must know."""

    text: str


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything a run has left, in order of first appearance."""

    run: Run
    original: Original | None
    sensitivities: tuple[Sensitivity, ...]
    candidates: tuple[Candidate, ...]
    epochs: tuple[Epoch, ...]
    final: Final | None
    notes: tuple[Note, ...]

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that the run chose, if it has come so far."""
        return next((c for c in reversed(self.candidates) if c.chosen), None)

    @property
    def before(self) -> dict[str, float]:
        """The original's amount of each quantity (base units), where it is known and not zero."""
        totals = self.original.cost.totals if self.original else Totals()
        return {q: amount for q in QUANTITIES if (amount := totals.amount(q))}

    @property
    def after(self) -> dict[str, float]:
        """The amounts of the result, or of the chosen candidate, or nothing yet (base units)."""
        if self.final:
            return {quantity: self.final.cost.totals.amount(quantity) for quantity in QUANTITIES}
        return self.chosen.cost if self.chosen else {}

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What the result, or the chosen candidate, has for each layer."""
        if self.final and self.final.choices:
            return self.final.choices
        return self.chosen.choices if self.chosen else ()

    def limit(self, quantity: str) -> float | None:
        """The budget for a quantity as a ratio to the 8-bit original, or None without one."""
        limit = self.run.budget.get(quantity)
        if limit is None or limit.relative:
            return limit.limit if limit else None
        before = self.before.get(quantity)
        return limit.limit / before if before else None


T = TypeVar("T", bound=_Record)


def read_history(records: Iterable[Mapping[str, Any]]) -> History:
    """The history that records tell.

    Raises:
        RecordError: a record lacks a field or has one of the wrong type.

    >>> read_history([{"kind": "run", "task": "digits", "target": "eyeriss"}]).run.task
    'digits'
    """
    numbered = list(enumerate(records, start=1))

    def all_of(kind: str, model: type[T]) -> list[T]:
        return [_checked(model, number, record) for number, record in numbered if record["kind"] == kind]

    def last_of(kind: str, model: type[T]) -> T | None:
        return next(reversed(all_of(kind, model)), None)

    return History(
        run=last_of("run", Run) or Run(),
        original=last_of("original", Original),
        sensitivities=tuple(
            {(s.layer, s.choice, s.value): s for s in all_of("sensitivity", Sensitivity)}.values()
        ),
        candidates=tuple({c.name: c for c in all_of("candidate", Candidate)}.values()),
        epochs=tuple({(e.candidate, e.stage, e.epoch): e for e in all_of("epoch", Epoch)}.values()),
        final=last_of("final", Final),
        notes=tuple({n.text: n for n in all_of("note", Note)}.values()),
    )


def _checked(model: type[T], number: int, record: Mapping[str, Any]) -> T:
    try:
        return model.model_validate(record)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()[:5])
        raise RecordError(f"record {number} ({record['kind']}): {wrong}") from error

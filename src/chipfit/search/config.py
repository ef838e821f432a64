"""What a fit is asked, what it answers, and how it tells how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What to fit, where to, and how.

    `budget` are limits such as 'energy=50%'; `max_drop` is the most accuracy that may be lost (a
    fraction of 1); `epochs` and `screening_epochs` override the task's.
    """

    task: str
    target: str
    budget: tuple[str, ...]
    out: Path
    max_drop: float = 0.01
    resume: bool = False
    seed: int = 0
    data: Path | None = None
    workers: int | None = None
    epochs: int | None = None
    screening_epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a run found. `energy_ratio` and `latency_ratio` are to the 8-bit original's."""

    task: str
    target: str
    budget_met: bool
    shortfall: Mapping[str, float]
    energy_ratio: float
    latency_ratio: float
    dram_ratio: float
    memory_ratio: float
    accuracy_before: float
    accuracy_after: float
    model: Path
    page: Path
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit fit --json`."""
        return {
            **asdict(self),
            "shortfall": dict(self.shortfall),
            "model": str(self.model),
            "page": str(self.page),
        }


class Progress(Protocol):
    """What a run tells about how far it is."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` steps begins."""
        ...

    def advance(self, n: int = 1, note: str = "") -> None:
        """`n` steps are done."""
        ...

    def done(self) -> None:
        """The stage is over."""
        ...


class Silent:
    """Progress that nobody watches."""

    def start(self, stage: str, total: int) -> None:
        """Ignored."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Ignored."""

    def done(self) -> None:
        """Ignored."""

"""What a multiply-accumulate unit costs with each weight value, on disk and in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, Integer
from pydantic import TypeAdapter, ValidationError

from chipfit.errors import TableError, nearest
from chipfit.report.record import write_atomically

Values = Integer[np.ndarray, "*shape"] | Sequence[int]
FORMAT = "chipfit weight table 1"
#: Keys of the file that follow from the others.
_TOLD = ("format", "method", "error")

KNOWN_ERROR = (
    "a grid of which gates take 4 steps and more ranks weights as a fine one to 0.998 (Spearman), embedded "
    "cells as OSU018 to 0.99; absolute figures are as good as the library's calibration"
)


@dataclass(frozen=True, kw_only=True)
class WeightTable:
    """Energy and delay of every weight value of one multiply-accumulate unit.

    Attributes:
        multiplier: name of the netlist.
        library: name of the cell library.
        supply_v: voltage that the figures hold for.
        weight_bits: width of weights.
        activation_bits: width of activations.
        sum_bits: width of partial sums.
        weight_signed: weights are in two's complement.
        activation_signed: activations are in two's complement.
        mode: how gates pass pulses on: 'inertial', 'transport' or 'zero'.
        grid_ps: step of time.
        seed: of the transitions.
        operands: where their statistics come from.
        energy_transitions: transitions for each energy.
        delay_transitions: transitions for each delay.
        weights: the values, increasing.
        energy_j: mean energy of one cycle, of the gates, by weight.
        delay_s: latest change of a sum bit that was seen, by weight; in zero mode the bound.
        bound_s: latest change that static timing allows with that weight held.
        static_delay_s: latest change that static timing allows with any weight.
        input_energy_j: energy of one cycle in nets that registers drive.
        register_energy_j: energy of one cycle in registers of activation and sum: changing bits.
        clock_energy_j: energy of one cycle in the clock of these registers.
        leakage_w: power of the gates when nothing switches.
        area_um2: of the gates; None where the library does not say.
        gates: how many there are.
        arrivals: share of transitions, over all weights, whose last change falls into each step of the grid.
        class_delays_s: latest change seen for each most significant bit of the partial sum
            that changes, -1 for none: (bit, delay).
        warnings: what to bear in mind.

    Raises:
        TableError: lists of different lengths, values out of order, numbers that cannot be.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    multiplier: str
    library: str
    supply_v: float
    weight_bits: int
    activation_bits: int
    sum_bits: int
    weight_signed: bool
    activation_signed: bool
    mode: str
    grid_ps: float
    seed: int
    operands: str
    energy_transitions: int
    delay_transitions: int
    weights: tuple[int, ...]
    energy_j: tuple[float, ...]
    delay_s: tuple[float, ...]
    bound_s: tuple[float, ...]
    static_delay_s: float
    input_energy_j: float
    register_energy_j: float
    clock_energy_j: float
    leakage_w: float
    area_um2: float | None
    gates: int
    arrivals: tuple[float, ...] = field(repr=False)
    class_delays_s: tuple[tuple[int, float], ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems: list[str] = []
        first = -(1 << self.weight_bits - 1) if self.weight_signed and self.weight_bits > 0 else 0
        if self.weights != tuple(range(first, first + (1 << max(0, self.weight_bits)))):
            problems.append(f"weights must be all values of {self.weight_bits} bits, increasing")
        for name in ("energy_j", "delay_s", "bound_s"):
            count = len(getattr(self, name))
            if count != len(self.weights):
                problems.append(f"{name} has {count} values for {len(self.weights)} weights")
        for known in fields(self):
            value = getattr(self, known.name)
            numbers = value if isinstance(value, tuple) else (value,)
            flat = [n for entry in numbers for n in (entry[1:] if isinstance(entry, tuple) else (entry,))]
            reals = [n for n in flat if isinstance(n, float)]
            if any(not math.isfinite(n) or n < 0 for n in reals):
                problems.append(f"{known.name} must be finite and at least 0")
        if problems:
            raise TableError("; ".join(problems))

    @property
    def method(self) -> str:
        """How the numbers come about, in a sentence."""
        delays = {"inertial": "inertial delays", "transport": "transport delays", "zero": "no delays"}
        grid = "" if self.mode == "zero" else f" on a grid of {self.grid_ps:g} ps"
        return (
            f"gate by gate with {delays.get(self.mode, self.mode)}{grid}, cells of {self.library} at "
            f"{self.supply_v:g} V; operands {self.operands}; {self.energy_transitions:,} transitions a "
            f"weight for energy, {self.delay_transitions:,} for delay"
        )

    @property
    def beside_j(self) -> float:
        """Energy of one cycle (J) that no weight value changes: inputs, registers, clock."""
        return self.input_energy_j + self.register_energy_j + self.clock_energy_j

    def energy_of(self, values: Values) -> Float64[np.ndarray, "*shape"]:
        """Energy of one cycle (J) with each of these weight values.

        Raises:
            TableError: a value that the unit does not have.
        """
        return np.array(self.energy_j)[self._places(values)]

    def delay_of(self, values: Values) -> Float64[np.ndarray, "*shape"]:
        """Latest change seen (s) with each of these weight values.

        Raises:
            TableError: a value that the unit does not have.
        """
        return np.array(self.delay_s)[self._places(values)]

    def _places(self, values: Values) -> np.ndarray:
        places = np.asarray(values, dtype=np.int64) - self.weights[0]
        wrong = (places < 0) | (places >= len(self.weights))
        if wrong.any():
            value = int(np.asarray(values)[wrong][0])
            raise TableError(f"weight {value} is not in the table: {self.weights[0]} to {self.weights[-1]}")
        return places

    def to_json(self) -> dict[str, Any]:
        """The document of `chipfit gates --json`, and of a table on disk."""
        found = asdict(self)
        lists = {name: list(value) for name, value in found.items() if isinstance(value, tuple)}
        told = {"format": FORMAT, "method": self.method, "error": KNOWN_ERROR}
        return {**told, **found, **lists, "class_delays_s": [list(pair) for pair in self.class_delays_s]}


def save_table(table: WeightTable, path: Path | str) -> Path:
    """Write a table to a JSON file, and say where it is.

    Raises:
        RecordError: the file cannot be written.
    """
    text = json.dumps(table.to_json(), indent=1, allow_nan=False) + "\n"
    write_atomically(Path(path), text.encode())
    return Path(path)


def load_table(path: Path | str) -> WeightTable:
    """Read a table that `save_table` wrote.

    Raises:
        TableError: no such file, not a table, or one that is not sound.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"there is no weight table {path}") from None
    except json.JSONDecodeError as error:
        raise TableError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise TableError(f"{path} is not a weight table: expected the format '{FORMAT}'")
    known = [f.name for f in fields(WeightTable)]
    text = json.dumps({name: value for name, value in document.items() if name not in _TOLD})
    try:
        return TypeAdapter(WeightTable).validate_json(text)
    except TableError as error:
        raise TableError(f"{path}: {error}") from None
    except ValidationError as error:
        problems = [_problem(entry, known) for entry in error.errors(include_url=False)]
        raise TableError(f"{path}: " + "; ".join(dict.fromkeys(problems))) from None


def _problem(entry: Any, known: Sequence[str]) -> str:
    """One mistake that pydantic found, in our words."""
    key = str(entry["loc"][0])
    where = key + "".join(f"[{part}]" for part in entry["loc"][1:])
    if entry["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key '{key}'{nearest(key, known)}"
    if entry["type"].startswith("missing"):
        return f"{where} is missing"
    message = entry["msg"][0].lower() + entry["msg"][1:]
    return f"{where}: {message}, got {entry['input']!r}"

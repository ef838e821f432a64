"""What was done and found, one JSON object a line, so that a page and a resumed run need no more.

A record has a `kind`, and fields by kind:

    run        task, target, budget {quantity: {limit, unit, relative}}, options {…}, versions {…},
               seed, started
    original   accuracy_validation, cost (a `chipfit cost --json` document of the 8-bit original)
    sensitivity  layer, choice ('weights' | 'activations' | 'channels'), value, loss
    asked      candidates [{…}]: what will be trained, in full
    candidate  name, stage ('screen' | 'train'), recipe (repr), origin ('uniform' | 'ilp' | …),
               choices [{layer, weight_bits, activation_bits, channels, channels_before, values}],
               candidate {…}, cost {quantity: value}, ratios {quantity: ratio to the original},
               over {quantity: ratio over the limit}, accuracy_validation, loss_validation, epochs,
               students (how many trained side by side),
               chosen (bool; the chosen one is written once more with true)
    epoch      candidate, stage, epoch, loss, accuracy_validation, loss_validation
    final      budget_met, shortfall {quantity: ratio over the limit}, ratios {energy, latency, dram,
               memory}, accuracy_before, accuracy_after (test), test_images, agreement (ONNX Runtime
               against torch), model (file name), cost (full document), recipe, choices, seconds
    note       text

Those of `chipfit values` are `run` (without a target), `epoch`, and

    chosen     multiplier, delay, largest_activation, supply_v, sets {layer: [values, bounds]}, options [{…}],
               steps_j {step: energy}, budget_j, accuracy_before (test)
    result     the document of `chipfit values --json`
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chipfit.errors import RecordError

KINDS = ("run", "original", "sensitivity", "asked", "candidate", "epoch", "final", "note", "chosen", "result")


class Records:
    """An append-only JSON-lines file; a line is on disk before `append` returns.

    A run killed in the middle of a line leaves a broken last line: it is dropped on opening.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **fields: Any) -> None:
        """Add one record.

        Raises:
            RecordError: the file cannot be written.
        """
        assert kind in KINDS, kind
        line = json.dumps({"kind": kind, **fields}, allow_nan=False) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RecordError(f"cannot write records to {self.path}: {error.strerror}") from error

    def mend(self) -> None:
        """Cut off a broken last line, as a killed run leaves it."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            write_atomically(self.path, whole)

    def read(self) -> list[dict[str, Any]]:
        """All records in order.

        Raises:
            RecordError: the file is missing, or a line other than the last is not a record.
        """
        return list(self._lines())

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise RecordError(f"cannot read records from {self.path}: {error}") from error
        for number, line in enumerate(lines[:-1], start=1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise RecordError(f"{self.path}, line {number}: not JSON: {error.msg}") from error
            if not isinstance(record, dict) or record.get("kind") not in KINDS:
                raise RecordError(f"{self.path}, line {number}: not a record of a run")
            yield record

    def last(self, kind: str, **where: Any) -> Mapping[str, Any] | None:
        """The last record of a kind whose fields have the given values, or None."""
        found = None
        for record in self.read() if self.path.exists() else []:
            if record["kind"] == kind and all(record.get(k) == v for k, v in where.items()):
                found = record
        return found


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that it is never seen half-written.

    Raises:
        RecordError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RecordError(f"cannot write {path}: {error.strerror}") from error

"""The records of a run: new ones, or with `resume` those that are there."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chipfit.errors import RecordError
from chipfit.report.record import Records

_PACKAGES = ("chipfit", "torch", "onnx", "onnxruntime", "numpy", "scipy")


def opened(out: Path, asked: Mapping[str, Any], *, resume: bool) -> Records:
    """The records in a folder, which may be none yet.

    Args:
        out: the folder of the run; it is made.
        asked: what the run was asked.
        resume: go on with a run that is there.

    Raises:
        RecordError: the folder cannot be written, holds a run that is not to be resumed, or another one.
    """
    records = Records(out / "records.jsonl")
    try:
        (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot write to {out}: {error.strerror}") from error
    records.mend()
    if not records.path.exists() or not records.read():
        return records
    if not resume:
        raise RecordError(f"{out} holds a run already: --resume goes on with it, or choose another --out")
    known, now = _flat(records.read()[0]), _flat(asked)
    different = [key for key, value in now.items() if known.get(key) != value]
    if different:
        was = ", ".join(f"{key} {known.get(key)} (now {now[key]})" for key in different)
        raise RecordError(f"{out} holds another run, with {was}: choose another --out")
    return records


def _flat(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, each option by itself."""
    return {**{key: value for key, value in asked.items() if key != "options"}, **asked.get("options", {})}


def begin(records: Records, asked: Mapping[str, Any]) -> None:
    """Write down what a new run was asked, with which versions, and when it began."""
    records.append(
        "run",
        **asked,
        versions={"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )

"""Answers of searches, kept on disk.

One database in the user's cache folder holds the answer of every search, and what its mapping takes, under
a hash of all that matters to it: the nest, the widths, the numbers of the target, the objective, the map
space, the rules, and the text of the modules that search. Several processes may use it at once; it may be
deleted at any time; where it cannot be read or written, searches are done again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chipfit.cost.mapping import model
from chipfit.cost.mapping.model import Answer, Counts

_TABLE = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"

#: Longer than another process takes for one entry (s); who cannot wait works without the cache.
_PATIENCE_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Known:
    """The answer of a search and what its mapping takes; for energies, only words and cycles are kept."""

    answer: Answer
    counts: Counts = field(compare=False)


def place() -> Path:
    """Where the answers are: `$XDG_CACHE_HOME/chipfit`, or `~/.cache/chipfit`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "chipfit" / "mappings.sqlite"


def remembered(questions: Sequence[str], search: Callable[[list[int]], list[Known]]) -> list[Known]:
    """The answers to questions, from the disk or from a search, and then kept.

    Args:
        questions: each all that its answer depends on, but for the program.
        search: finds the answers to those of these places that are not known, all at once.
    """
    keys = [hashlib.sha256(f"{_program()}\n{question}".encode()).digest() for question in questions]
    known = [_read(key) for key in keys]
    missing = [place for place, found in enumerate(known) if found is None]
    answers = dict(zip(missing, search(missing), strict=True)) if missing else {}
    _write({keys[place]: found for place, found in answers.items()})
    return [found or answers[place] for place, found in enumerate(known)]


@functools.cache
def _program() -> str:
    """A hash of the modules of this folder: all, so that none that matters is ever left out."""
    text = hashlib.sha256()
    for module in sorted(Path(__file__).parent.glob("*.py")):
        text.update(module.read_bytes())
    return text.hexdigest()


_open = threading.local()


def _database() -> sqlite3.Connection | None:
    """The database; None if there can be none. A child process opens its own."""
    path = place()
    mine = os.getpid(), path
    if getattr(_open, "mine", None) != mine:
        _open.mine, _open.database = mine, None
        with contextlib.suppress(sqlite3.Error, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")  # what a power cut takes is searched again
            database.execute(_TABLE)
            _open.database = database
    return _open.database


def _read(key: bytes) -> Known | None:
    with contextlib.suppress(sqlite3.Error, OSError):
        database = _database()
        found = database and database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return _parsed(found[0]) if found else None
    return None


def _write(answers: Mapping[bytes, Known]) -> None:
    if not answers:
        return
    with contextlib.suppress(sqlite3.Error, OSError):
        if database := _database():
            rows = [(key, _text(found)) for key, found in answers.items()]
            with database:
                database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)


def _text(found: Known) -> str:
    answer = {**vars(found.answer), "mapping": vars(found.answer.mapping)}
    return json.dumps({"answer": answer, "counts": vars(found.counts)}, default=np.ndarray.tolist)


def _parsed(text: object) -> Known | None:
    """The answer of an entry; None if something has spoilt it."""
    try:
        values: dict[str, Any] = json.loads(str(text))
        answer, counts = values["answer"], values["counts"]
        mapping = {name: _tuples(value) for name, value in answer.pop("mapping").items()}
        arrays = {name: np.array(counts.pop(name)) for name in ("reads", "writes", "hops", "stage_cycles")}
        return Known(
            answer=Answer(mapping=model.Mapping(**mapping), **answer),
            counts=Counts(**arrays, **counts),
        )
    except (ValueError, TypeError, AttributeError, KeyError):
        return None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]

"""Answers kept on disk."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from chipfit.cost.mapping import answers, cache, mapper
from chipfit.cost.mapping.analytical import Analytical
from chipfit.cost.mapping.cache import Known
from chipfit.cost.mapping.model import Answer, Counts, Mapping
from chipfit.hardware.load import load_target
from chipfit.workload.library import load

ONES = (1, 1, 1, 1, 1, 1, 1, 1)
ANSWER = Known(
    answer=Answer(
        mapping=Mapping(
            tiles=(ONES,), rows=(ONES,), columns=(ONES,), stationary=("input",), holds=(("input",),)
        ),
        score=0.1,
        gap=0.0,
        cuts=1,
        priced=2,
        mappings=2**70,
    ),
    counts=Counts(
        reads=np.array([[1.0, 2.0, 0.1]]),
        writes=np.array([[0.0, 0.0, 3.0]]),
        hops=np.zeros((1, 3)),
        stage_cycles=np.array([7.0]),
        energy_j=0.3,
        cycles=9.0,
        compute_cycles=9.0,
        dram_words=6.1,
    ),
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "chipfit" / "mappings.sqlite"


def never():
    raise AssertionError("it was known")


def ask(question, search):
    return cache.remembered([question], lambda missing: [search() for _ in missing])[0]


def test_an_answer_is_found_once(home):
    assert ask("question", lambda: ANSWER) == ANSWER
    assert ask("question", never) == ANSWER
    assert home.is_file()
    counts = ask("question", never).counts
    assert counts.reads.tolist() == [[1.0, 2.0, 0.1]]
    assert counts.cycles == 9.0


def test_another_question_is_asked_again(home):
    ask("question", lambda: ANSWER)
    with pytest.raises(AssertionError, match="it was known"):
        ask("another", never)


def test_the_program_is_part_of_the_question(home, monkeypatch):
    ask("question", lambda: ANSWER)
    monkeypatch.setattr(cache, "_program", lambda: "changed")
    with pytest.raises(AssertionError, match="it was known"):
        ask("question", never)


def test_a_deleted_cache_is_made_again(home):
    ask("question", lambda: ANSWER)
    for file in home.parent.iterdir():
        file.unlink()
    assert ask("other", lambda: ANSWER) == ANSWER


@pytest.mark.parametrize("text", ["", "{", "[]", '{"answer": 3}', '{"answer": {}}', "null"])
def test_a_spoilt_entry_is_searched_again(home, text):
    ask("question", lambda: ANSWER)
    with sqlite3.connect(home) as database:
        database.execute("UPDATE answers SET answer = ?", (text,))
    assert ask("question", lambda: ANSWER) == ANSWER


def test_a_file_that_is_no_database_does_no_harm(home):
    home.parent.mkdir()
    home.write_text("not a database, but long enough to be looked at as if it were one")
    assert ask("question", lambda: ANSWER) == ANSWER
    assert ask("question", lambda: ANSWER) == ANSWER


def test_a_folder_that_cannot_be_made_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert ask("question", lambda: ANSWER) == ANSWER


def write_many(first):
    for number in range(first, first + 40):
        ask(f"question {number}", lambda: ANSWER)


def test_several_processes_write_at_once(home):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(first,)) for first in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with sqlite3.connect(home) as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (60,)
    for number in range(60):
        assert ask(f"question {number}", never) == ANSWER


def test_a_layer_from_the_disk_costs_what_it_cost(home, monkeypatch):
    layer = load("lenet5").with_bits(8, 8).layers[0]
    target = load_target("eyeriss")
    answers.forget()
    first = Analytical().layer(layer, target)
    answers.forget()
    monkeypatch.setattr(mapper, "find_all", never)
    assert Analytical().layer(layer, target) == first
    answers.forget()


WARM = """
import sys
from chipfit.cost.mapping.analytical import Analytical
from chipfit.hardware.load import load_target
from chipfit.workload.library import load
Analytical().estimate(load("lenet5").with_bits(8, 8), load_target("eyeriss"))
print(*("numba" in sys.modules, "chipfit.cost.mapping.mapper" in sys.modules))
"""


def test_known_answers_need_no_compiled_code(home):
    answers.forget()
    Analytical().estimate(load("lenet5").with_bits(8, 8), load_target("eyeriss"))
    command, where = [sys.executable, "-c", WARM], {**os.environ, "XDG_CACHE_HOME": str(home.parent.parent)}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=where)
    assert run.stdout.split() == ["False", "False"]

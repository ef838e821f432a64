"""Every code block of README.md, CONTRIBUTING.md and docs/*.md is run, page by page, top to bottom.

    ```python                run, all of a page in one namespace
    ```console               '$ chipfit ...' is run and compared with the lines below it, if there are any
                             ('...' stands for anything, white space does not count);
                             '$ make ...' must be a target of the Makefile
    ```yaml title=FILE       written to FILE, for the blocks that follow; so with any other language.
                             A file of examples/ of that name must be the same
    ```text                  left alone

Pages are run beside a copy of examples/. Fits are run with one epoch instead of many, so no number that
retraining decides is compared.
"""

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

BLOCK = re.compile(
    r"^```(?P<language>\w*)(?: title=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
SHORT = ("--epochs", "1", "--screening-epochs", "1")


def blocks(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(BLOCK.findall(text)), "a block is not read"
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        yield f"{page.name}, line {line}", match["language"], match["file"], match["text"]


def commands(text):
    """Commands of a console block with the output that stands below each."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield command, output


def run_command(where, command, expected, folder):
    program, *arguments = shlex.split(command, comments=True)
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {a for a in arguments if "=" not in a} <= set(targets), f"{where}: {command}"
        return
    assert program == "chipfit", f"{where}: this test does not know how to run '{program}'"
    short = SHORT if arguments[0] == "fit" else ()
    line = [sys.executable, "-m", "chipfit.cli", *arguments, *short]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=600)
    said = done.stdout + done.stderr
    if not expected.strip():
        assert done.returncode in (0, 3) if short else done.returncode == 0, f"{where}: {command}\n{said}"
        return
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(expected, said, flags)
    assert same, f"{where}: {command}\n--- expected\n{expected}\n--- printed\n{said}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", "examples")
    namespace = {"__name__": "page"}
    for where, language, file, text in blocks(page):
        if file:
            Path(file).write_text(text)
            example = ROOT / "examples" / file
            assert not example.exists() or example.read_text() == text, f"{where} is not examples/{file}"
        elif language == "python":
            exec(compile(text, where, "exec"), namespace)
        elif language == "console":
            for command, expected in commands(text):
                run_command(where, command, expected, tmp_path)
        else:
            assert language in ("text", "yaml", "bibtex"), f"{where}: what is '{language}'?"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs(example):
    subprocess.run([sys.executable, str(example)], cwd=example.parent, check=True, timeout=300)


def test_every_example_is_in_the_docs():
    texts = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [example.name for example in EXAMPLES if example.name not in texts] == []

"""Liberty's syntax, as files in the field stretch it."""

import pytest

from chipfit.cost.gates.liberty_syntax import parse_groups
from chipfit.errors import LibraryError


def test_groups_attributes_and_lines_are_kept():
    head = 'library (a) { // remark\n  /* more\n  */ x : 1 ;\n  y (2, "p q");\n'
    text = head + "  cell (c, d) {\n    z : n m;\n  }\n}\n"
    library = parse_groups(text, "a.lib")
    assert (library.name, library.arguments, library.line) == ("library", ["a"], 1)
    assert library.attributes == {"x": ["1"], "y": ["2", "p q"]}
    cell = library.named("cell")[0]
    assert (cell.arguments, cell.line, cell.text("z"), cell.text("none", "?")) == (["c", "d"], 5, "n m", "?")


@pytest.mark.parametrize(
    "body",
    [
        "area : 1\n  x : 2;",  # no semicolon
        "area : 1;\n\n;; x : 2",
        "area :\n 1; x\n:\n2;",
        "area : 1; x : 2; }",
        'area : "1"; \\\n x : 2;',
    ],
)
def test_sloppy_files_are_read(body):
    text = "library (a) {" + body + ("" if body.endswith("}") else "}")
    assert parse_groups(text, "a.lib").attributes == {"area": ["1"], "x": ["2"]}


def test_long_blanks_before_a_broken_end_take_no_time():
    with pytest.raises(LibraryError):
        parse_groups("library (a) {" + " " * 100_000 + '"', "a.lib")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nlibrary (a) {\n x ; }", "a.lib, line 4: expected ':' or '(' after 'x'"),
        ("library (a) {\n ( }", "a.lib, line 2: '(' is not expected here"),
        ("library (a) {\n x (1 { }", "a.lib, line 2: '{' before the bracket is closed"),
        ("library (a) {" + "x () {" * 64, "a.lib, line 1: more than 64 groups in each other"),
        ("library (a);", "a.lib, line 1: expected 'library (name) {', got ';'"),
        ("library (a", "a.lib, line 1: the file ends too early"),
        (
            "library (a) { /* x",
            "a.lib, line 1: the file ends within library (a), which begins in line 1; is it cut off?",
        ),
    ],
)
def test_what_is_no_liberty_is_shown_with_its_line(text, message):
    with pytest.raises(LibraryError) as caught:
        parse_groups(text, "a.lib")
    assert str(caught.value) == message

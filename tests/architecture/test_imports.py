"""Data flows down the list of packages, and never back up."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import chipfit

ROOT = Path(chipfit.__file__).parent

#: Each may import itself and those before it. `report` stands low: it needs records and nothing else,
#: and those who make a run write them. `testing` is for tests and for users' own estimators: no other
#: package may need it.
BASE = ("errors", "units", "jit", "milp")
ORDER = (*BASE, "report", "workload", "hardware", "cost", "compress", "train", "export", "search")
LAST = ("cli", "testing")

#: Packages that run without torch.
LIGHT = (*BASE, "workload", "hardware", "cost", "report")
#: Modules of these that are for torch users.
TORCH = {"chipfit.workload.from_torch"}


@functools.cache
def modules():
    """Every module of the package by name, with its syntax tree."""
    paths = {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(ROOT.rglob("*.py"))
    }
    return [(name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in paths.items()]


def imported(tree):
    """Names of modules of chipfit that a tree imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "chipfit")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module"
            if node.module and node.module.split(".")[0] == "chipfit":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def wrong_arrows(name, tree):
    """Imports of a module that point up the order."""
    own = package(name)
    allowed = {own, *ORDER[: ORDER.index(own)]} if own in ORDER else {own, *ORDER, "__version__"}
    return [f"{name} imports {other}" for other in imported(tree) if package(other) not in allowed]


def test_no_import_points_up_the_order():
    wrong = [arrow for name, tree in modules() if name != "chipfit" for arrow in wrong_arrows(name, tree)]
    assert wrong == []


def test_an_import_that_points_up_is_seen():
    tree = ast.parse("def late():\n    from chipfit.search import run\n    import chipfit.cost.base")
    assert wrong_arrows("chipfit.train.task", tree) == ["chipfit.train.task imports chipfit.search.run"]


def test_every_package_has_its_place():
    assert {package(name) for name, _ in modules()} - {""} == {*ORDER, *LAST}


def test_modules_do_not_import_each_other_in_circles():
    graph = {name: set(imported(tree)) for name, tree in modules() if name != "chipfit"}
    # 'from chipfit.cost.base import Cost' names a module and something in it: keep what is a module.
    known = {
        name: {m for other in others for m in (other, other.rpartition(".")[0]) if m in graph and m != name}
        for name, others in graph.items()
    }
    while leaves := {name for name, others in known.items() if not others}:
        known = {name: others - leaves for name, others in known.items() if name not in leaves}
    assert known == {}


def test_only_the_command_line_prints():
    printing = [
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def unpickling(tree):
    """Calls that would run code from a file: those of pickle, and torch.load of more than weights."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call = ast.unparse(node.func)
            weights_only = any(ast.unparse(k) == "weights_only=True" for k in node.keywords)
            pickled = any(ast.unparse(k) == "allow_pickle=True" for k in node.keywords)
            if call in ("pickle.load", "pickle.loads", "joblib.load") or pickled:
                yield call
            if call == "torch.load" and not weights_only:
                yield call


def test_nothing_is_unpickled_from_files():
    assert [(name, call) for name, tree in modules() for call in unpickling(tree)] == []


def loaded(program):
    """The packages and modules in memory after a program, in a process of its own."""
    program += "\nimport sys; print(*{n for name in sys.modules for n in (name, name.split('.')[0])})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_chipfit_loads_nothing_heavy():
    assert loaded("import chipfit") & {"torch", "numba", "numpy", "onnx", "onnxruntime", "pydantic"} == set()


def test_the_cost_side_runs_without_torch():
    names = [name for name, _ in modules() if package(name) in LIGHT and name not in TORCH]
    assert "torch" not in loaded("\n".join(f"import {name}" for name in names))


SEARCH = """
from chipfit.cost.mapping.mapper import find
from chipfit.cost.mapping.model import Widths
from chipfit.hardware.load import load_target
from chipfit.workload.network import Loops
find(Loops(K=4, C=4, P=4, Q=4), load_target("eye3"), Widths(input=16, weight=16, output=16, partial_sum=16))
"""


def test_a_search_loads_nothing_that_it_does_not_use():
    heavy = {"torch", "pandas", "onnx", "onnxruntime", "rich", "typer", "joblib", "jaxtyping"}
    assert loaded(SEARCH) & {*heavy, "scipy.linalg", "scipy.optimize", "scipy.sparse"} == set()


def test_an_answer_from_the_disk_loads_no_compiler():
    program = """
from chipfit.cost.mapping.analytical import Analytical
from chipfit.hardware.load import load_target
from chipfit.workload.library import load
Analytical().estimate(load("lenet5"), load_target("eye3"))
"""
    loaded(program)  # now it is there
    assert loaded(program) & {"numba", "llvmlite", "scipy", "jaxtyping", "torch"} == set()


@pytest.mark.parametrize("name", [name for name, _ in modules()])
def test_every_module_says_what_it_is_for(name):
    tree = dict(modules())[name]
    assert not tree.body or ast.get_docstring(tree)

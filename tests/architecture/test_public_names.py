import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import chipfit

PUBLIC = {
    "AbstractEstimator",
    "Analytical",
    "Arithmetic",
    "Array",
    "ChipfitError",
    "Cost",
    "CostReport",
    "FitConfig",
    "Layer",
    "LayerCost",
    "Loops",
    "MemoryLevel",
    "Network",
    "Roofline",
    "Target",
    "Tensor",
    "errors",
    "fit",
    "load_network",
    "load_onnx",
    "load_target",
    "target_names",
}


def test_these_names_are_public():
    assert set(chipfit.__all__) == PUBLIC


def test_each_is_found_on_first_use():
    program = "import chipfit\nfor name in chipfit.__all__: getattr(chipfit, name)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(chipfit.__file__).read_text(encoding="utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        a.asname for node in typed.body if isinstance(node, ast.ImportFrom) for a in node.names if a.asname
    }
    seen |= {n.id for node in typed.body if isinstance(node, ast.Assign) for n in node.targets}
    assert seen == PUBLIC


def test_all_are_listed():
    assert set(dir(chipfit)) >= PUBLIC


def test_another_name_is_an_error():
    with pytest.raises(AttributeError) as error:
        chipfit.nothing  # noqa: B018
    assert str(error.value) == "module 'chipfit' has no attribute 'nothing'"


def test_the_version_is_that_of_the_package():
    assert chipfit.__version__ == version("chipfit")

"""Integer programs say nothing of their own."""

import ctypes
import os
import subprocess
import sys

import numpy as np
from scipy.optimize import Bounds, LinearConstraint

from chipfit import milp as module
from chipfit.milp import milp


def knapsack():
    return milp(
        np.array([-3.0, -4.0, -5.0]),
        integrality=np.ones(3),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.array([[2.0, 3.0, 4.0]]), -np.inf, 5.0),
    )


def test_it_solves_them():
    assert knapsack().x.round().tolist() == [1, 1, 0]


def test_what_a_solver_prints_is_not_on_standard_output(capfd, monkeypatch):
    def noisy(*arguments, **options):
        ctypes.CDLL(None).puts(b"from C")
        os.write(1, b"straight\n")
        return "solved"

    monkeypatch.setattr(module.optimize, "milp", noisy)
    print("before")
    assert milp() == "solved"
    print("after")
    assert capfd.readouterr().out == "before\nafter\n"


def test_standard_output_is_back_after_an_error(capfd, monkeypatch):
    def broken(*arguments, **options):
        raise ValueError

    monkeypatch.setattr(module.optimize, "milp", broken)
    try:
        milp()
    except ValueError:
        print("still here")
    assert capfd.readouterr().out == "still here\n"


def test_without_standard_output_it_works_as_well():
    code = (
        "import os, sys, numpy as np; os.close(1)\n"
        "from scipy.optimize import Bounds\nfrom chipfit.milp import milp\n"
        "found = milp(np.array([1.0]), integrality=np.ones(1), bounds=Bounds(2, 3))\n"
        "sys.exit(int(found.x[0]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 2

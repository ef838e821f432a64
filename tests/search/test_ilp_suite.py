from typing import Any

import pytest

from chipfit.search.ilp import Solution, solve
from chipfit.testing import Chooser, ChooserSuite


class TestIntegerProgram(ChooserSuite):
    slack = 1e-3  # HiGHS may stop within this gap

    def choose(self) -> Chooser:
        return solve


def ignores_limits(tables: Any, groups: Any, losses: Any, fixed: Any, limits: Any) -> Solution:
    return solve(tables, groups, losses, fixed, {})


class CarelessSuite(ChooserSuite):
    def choose(self) -> Chooser:
        return ignores_limits


def test_the_suite_catches_an_optimiser_that_ignores_limits() -> None:
    with pytest.raises(AssertionError):
        CarelessSuite().test_what_is_called_feasible_keeps_every_limit()

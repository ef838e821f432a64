import pytest

from chipfit.errors import BudgetError
from chipfit.search.budget import Limit, parse_budget

ORIGINAL = {"energy": 2e-3, "latency": 1e-3, "dram": 8e6, "memory": 8e5}


def test_limits_are_relative_or_absolute() -> None:
    budget = parse_budget(["energy=50%", "latency=0.8ms", "memory = 64 KiB"])
    assert [limit.absolute(ORIGINAL) for limit in budget.limits] == [1e-3, pytest.approx(8e-4), 64 * 1024 * 8]


def test_what_is_over_is_said_as_a_ratio() -> None:
    budget = parse_budget(["energy=50%", "latency=2ms"])
    assert budget.over({"energy": 1.25e-3, "latency": 1e-3}, ORIGINAL) == {"energy": 1.25}


def test_exactly_the_limit_is_inside() -> None:
    assert parse_budget(["energy=50%"]).over({"energy": 1e-3}, ORIGINAL) == {}


def test_limits_are_shown_with_units() -> None:
    shown = [str(limit) for limit in parse_budget(["dram=200KiB", "energy=1.5mJ", "latency=35%"]).limits]
    assert shown == ["dram 200 KiB", "energy 1.50 mJ", "latency 35 % of the 8-bit original"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no budget: give at least one limit, such as --budget energy=50%"),
        (["energy"], "'energy' is not a limit: expected QUANTITY=VALUE, such as energy=50%"),
        (["enrgy=50%"], "'enrgy=50%': unknown quantity 'enrgy', did you mean 'energy'?"),
        (["energy=half%"], "'energy=half%': 'half%' is not a percentage"),
        (["energy=0%"], "'energy=0%': a relative limit lies above 0 % and at most at 100 %"),
        (["energy=150%"], "'energy=150%': a relative limit lies above 0 % and at most at 100 %"),
        (["latency=-1ms"], "'latency=-1ms': a limit must be positive"),
        (
            ["energy=50%", "energy=30%"],
            "energy is limited more than once: energy 30 % of the 8-bit original and "
            "energy 50 % of the 8-bit original",
        ),
    ],
)
def test_a_budget_that_cannot_be_read_is_explained(texts: list[str], message: str) -> None:
    with pytest.raises(BudgetError) as error:
        parse_budget(texts)
    assert str(error.value) == message


def test_an_unknown_unit_names_the_nearest() -> None:
    with pytest.raises(BudgetError, match="'energy=2 mj': '2 mj': unknown unit 'mj' of energy"):
        parse_budget(["energy=2 mj"])


def test_all_problems_come_in_one_message() -> None:
    with pytest.raises(BudgetError) as error:
        parse_budget(["enrgy=50%", "latency=0%"])
    assert str(error.value).count(";") == 1


def test_a_budget_is_recorded_by_quantity() -> None:
    assert parse_budget(["energy=50%", "latency=2ms"]).to_json() == {
        "energy": {"limit": 0.5, "unit": "ratio", "relative": True},
        "latency": {"limit": 0.002, "unit": "s", "relative": False},
    }
    assert Limit(quantity="energy", value=0.5, relative=True).absolute(ORIGINAL) == 1e-3

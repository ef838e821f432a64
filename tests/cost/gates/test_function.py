"""Truth tables: read from expressions, restricted, matched."""

import itertools

import pytest

from chipfit.cost.gates.function import depends_on, match, permute, read_function, restrict, variable
from chipfit.errors import LibraryError


def table_of(function, pins):
    """The table by trying all values, pin 0 first."""
    values = itertools.product((0, 1), repeat=pins)
    return sum(bool(function(*reversed(bits))) << i for i, bits in enumerate(values))


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("A * B + C", lambda a, b, c: (a and b) or c),
        ("A B | C", lambda a, b, c: (a and b) or c),
        ("A&(B|C)", lambda a, b, c: a and (b or c)),
        ("!A ^ B * C", lambda a, b, c: ((not a) != b) and c),  # ^ binds more than *
        ("A' B'' + ~C", lambda a, b, c: ((not a) and b) or not c),
        ("((A + B) C)'", lambda a, b, c: not ((a or b) and c)),
        ("!" * 5001 + "A", lambda a, b, c: not a),
        ("!(A)", lambda a, b, c: not a),
        ("1 A 0 + B", lambda a, b, c: b),
    ],
)
def test_an_expression_is_read_as_liberty_means_it(text, function):
    assert read_function(text, "ABC") == table_of(function, 3)


def test_pins_may_have_any_names():
    assert read_function("A1&!B[0]", ["A1", "B[0]"]) == 0b0010


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A + D", "function 'A + D': no input 'D'; valid: A, B, C"),
        ("(A + B", "function '(A + B': a bracket is not closed"),
        ("A +", "function 'A +': 'its end' is not expected there"),
        ("A )", "function 'A )': ')' is not expected there"),
        ("A ? B", "function 'A ? B': cannot read '? B'"),
        ("(" * 65 + "A", "function with more than 64 brackets in each other"),
        ("", "function '': 'its end' is not expected there"),
    ],
)
def test_what_is_no_expression_is_shown(text, message):
    with pytest.raises(LibraryError) as caught:
        read_function(text, "ABC")
    assert str(caught.value) == message


def test_a_held_pin_leaves_the_function_of_the_others():
    table = table_of(lambda a, b, c: b if c else a, 3)
    assert restrict(table, 2, 0, 3) == variable(0, 2)
    assert restrict(table, 2, 1, 3) == variable(1, 2)
    assert restrict(table, 0, 0, 3) == table_of(lambda b, c: b and c, 2)
    assert depends_on(table, 2, 3)
    assert not depends_on(variable(0, 3), 2, 3)


def test_a_match_says_which_pin_stands_where():
    have = table_of(lambda a, b, c: (a or b) and c, 3)
    wanted = table_of(lambda a, b, c: a and (b or c), 3)
    order = match(have, wanted, 3)
    assert permute(have, order) == wanted
    assert match(have, table_of(lambda a, b, c: a and b and c, 3), 3) is None

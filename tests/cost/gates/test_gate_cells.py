"""Tables are bilinear; cells and libraries say what they lack."""

import pytest

from chipfit.cost.gates.cells import Table
from chipfit.cost.gates.effort import embedded_library
from chipfit.errors import LibraryError

PLANE = Table(slews_s=(0.0, 2.0), loads_f=(0.0, 1.0, 4.0), values=((0.0, 1.0, 4.0), (6.0, 7.0, 10.0)))


@pytest.mark.parametrize(("slew_s", "load_f"), [(0, 0), (1, 2), (2, 4), (0.5, 0.5), (3, 5), (-1, -1)])
def test_a_plane_is_met_everywhere(slew_s, load_f):
    assert PLANE.at(slew_s=slew_s, load_f=load_f) == pytest.approx(3 * slew_s + load_f)


def test_a_saddle_is_bilinear():
    saddle = Table(slews_s=(0.0, 1.0), loads_f=(0.0, 1.0), values=((0.0, 0.0), (0.0, 1.0)))
    assert saddle.at(slew_s=0.5, load_f=0.5) == pytest.approx(0.25)


def test_an_axis_of_one_point_has_no_say():
    assert Table(values=((3.0,),)).at(slew_s=9.0, load_f=9.0) == 3.0
    assert Table(slews_s=(1.0, 2.0), values=((3.0,), (5.0,))).at(slew_s=1.5, load_f=9.0) == 4.0


def test_a_table_that_is_not_one_is_refused():
    with pytest.raises(LibraryError) as caught:
        Table(slews_s=(1.0, 1.0), values=((3.0,), (5.0,)))
    assert str(caught.value) == "the axis of a table must increase, got 1, 1"
    with pytest.raises(LibraryError) as caught:
        Table(slews_s=(1.0, 2.0), values=((3.0,),))
    assert str(caught.value) == "a table of 2 slopes and 1 loads has other values"


def test_a_library_names_the_nearest_cell_or_how_many_there_are():
    library = embedded_library()
    with pytest.raises(LibraryError) as caught:
        library.cell("NAND22")
    assert str(caught.value) == "library 'embedded:generic' has no cell 'NAND22', did you mean 'NAND2'?"
    with pytest.raises(LibraryError) as caught:
        library.cell("zzz")
    assert str(caught.value) == "library 'embedded:generic' has no cell 'zzz' among its 33"
    with pytest.raises(LibraryError) as caught:
        library.cell("INV").kind("Q")
    assert str(caught.value) == "cell 'INV' has no output 'Q'; valid: Y"

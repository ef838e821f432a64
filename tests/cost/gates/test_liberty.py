"""Liberty files are read in their units; the numbers here are interpolated by hand."""

import pytest
from osu018 import osu018_file
from tiny_liberty import DIALECT, HEAD, INV, TINY

from chipfit.cost.gates.annotate import annotate
from chipfit.cost.gates.function import read_function
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.liberty import load_liberty, parse_liberty
from chipfit.cost.gates.retarget import map_to
from chipfit.errors import LibraryError


@pytest.fixture(scope="module")
def osu018():
    return load_liberty(osu018_file())


def test_a_cell_has_its_numbers_in_base_units():
    library = parse_liberty(TINY, "tiny.lib")
    cell = library.cell("INVX1")
    arc = cell.outputs[0].arcs[0]
    assert (library.name, library.source, library.supply_v) == ("tiny", "tiny.lib", 2.0)
    assert (cell.pins, cell.outputs[0].table, cell.area_um2) == (("A",), 0b01, 2.5)
    assert cell.capacitance_f == pytest.approx((2e-15,))
    assert cell.leakage_w == pytest.approx(4e-9)
    # Half way between both slopes and both loads: (1 + 2 + 3 + 4) / 4 = 2.5 ns.
    assert arc.rise_s.at(slew_s=0.2e-9, load_f=2e-15) == pytest.approx(2.5e-9)
    # A corner, and one step beyond it: 5.0 + 1.0 ns.
    assert arc.fall_s.at(slew_s=0.3e-9, load_f=3e-15) == pytest.approx(5e-9)
    assert arc.fall_s.at(slew_s=0.3e-9, load_f=5e-15) == pytest.approx(6e-9)
    # Capacitance unit times voltage unit squared: 1 fF V² = 1 fJ; any load.
    assert arc.rise_energy_j.at(slew_s=0.2e-9, load_f=9e-15) == pytest.approx(7e-15)
    assert arc.fall_energy_j.at(slew_s=0.1e-9, load_f=0.0) == pytest.approx(2e-15)


def test_the_smallest_inverter_says_what_surrounds_a_circuit():
    library = parse_liberty(TINY, "tiny.lib")
    assert library.wire_f == pytest.approx(1.2e-15)  # 0.6 of 2 fF
    assert library.output_load_f == pytest.approx(2e-15)
    assert library.input_slew_s == pytest.approx(0.2e-9)


def test_cells_that_cannot_be_used_say_why():
    library = parse_liberty(TINY, "tiny.lib")
    assert dict(library.unusable) == {"DFF": "it holds state; give a circuit without its registers"}
    assert dict(library.ties) == {"TIE1": {"Z": 1}}
    with pytest.raises(LibraryError) as caught:
        library.cell("DFF")
    assert str(caught.value) == (
        "cell 'DFF' of library 'tiny' cannot be used: it holds state; give a circuit without its registers"
    )
    with pytest.raises(LibraryError) as caught:
        library.cell("INVX2")
    assert str(caught.value) == "library 'tiny' has no cell 'INVX2', did you mean 'INVX1'?"


def test_other_dialects_are_read():
    library = parse_liberty(DIALECT, "odd.lib")
    cell = library.cell("odd__nand2_1")
    output = cell.outputs[0]
    first, second = output.arcs
    assert (cell.area_um2, cell.avoid, output.table) == (0.08748, True, read_function("!(A B)", "AB"))
    assert cell.capacitance_f == pytest.approx((2e-15, 4e-15))
    assert cell.leakage_w == pytest.approx(25e-12)  # (10 + 30) / 2 from VDD and 5 from VSS, in pW
    # Loads are the rows: load 3 pF, slope 20 ps.
    assert first.rise_s.at(slew_s=20e-12, load_f=3e-12) == pytest.approx(5e-12)
    assert first.fall_s == first.rise_s  # only one edge is given
    assert second.rise_s == first.rise_s  # 'A B'
    assert first.rise_slew_s.at(slew_s=1.0, load_f=1.0) == pytest.approx(7e-12)
    assert first.rise_energy_j.at(slew_s=0.0, load_f=0.0) == pytest.approx(2e-12)  # 3 − 1 pJ
    assert second.rise_energy_j.at(slew_s=0.0, load_f=0.0) == 0.0  # nothing is said of B
    assert library.supply_v == 0.7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.lib, line 1: the file is empty"),
        ("hello world", "t.lib, line 1: expected 'library (name) {', got 'hello'"),
        (
            TINY[: TINY.index("fall_power")],
            "t.lib, line 36: the file ends within cell (INVX1), which begins in line 18; is it cut off?",
        ),
        (
            TINY[: TINY.index("6.0, 8.0")],
            "t.lib, line 35: the file ends within cell (INVX1), which begins in line 18; is it cut off?",
        ),
        (HEAD, "t.lib, line 18: the file ends within library (tiny), which begins in line 2; is it cut off?"),
        (HEAD + INV + "}}", "t.lib, line 40: '}' after the end of the library"),
        (
            TINY.replace('"1ns"', '"1 hour"'),
            "t.lib, line 2: time_unit '1 hour' is unknown: expected such as '1ns'",
        ),
        (
            TINY.replace("(1, ff)", "(1, farad)"),
            "t.lib, line 2: capacitive_load_unit (1, farad) is unknown: expected such as (1, pf)",
        ),
        (TINY.replace("nom_voltage : 2.0;", ""), "t.lib, line 2: the library has no 'nom_voltage'"),
        (
            TINY.replace('leakage_power_unit : "1nW";', ""),
            "t.lib, line 2: the library has leakage but no 'leakage_power_unit'",
        ),
        (TINY.replace("capacitance : 2.0", "capacitance : nan"), "t.lib, line 21: 'nan' is not a number"),
        (TINY.replace("2.5;", "large;"), "t.lib, line 18: 'large' is not a number"),
        (TINY.replace("\"A'\"", '"!B"'), "t.lib, line 22: function '!B': no input 'B'; valid: A"),
        (
            TINY.replace("(delay) { values (\"2.0", '(dalay) { values ("2.0'),
            "t.lib, line 29: unknown table template 'dalay', did you mean 'delay'?",
        ),
        (
            TINY.replace("4.0, 5.0", "4.0"),
            "t.lib, line 29: 'cell_fall' has 3 values for 2 slopes and 2 loads",
        ),
        (
            TINY.replace('index_2 ("1.0, 3.0")', 'index_2 ("3.0, 1.0")'),
            "t.lib, line 27: the axis of a table must increase, got 3e-15, 1e-15",
        ),
        (
            TINY.replace("timing ()", "timing_of ()"),
            "t.lib: no inverter among 0 usable cells; 'INVX1': no delay table from pin 'A' to 'Y'; "
            "'DFF': it holds state; give a circuit without its registers",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_sound_says_what_is_wrong_and_where(text, message):
    with pytest.raises(LibraryError) as caught:
        parse_liberty(text, "t.lib")
    assert str(caught.value) == message


def test_a_file_cut_anywhere_is_an_error_of_ours():
    for end in range(len(TINY) - 2):
        with pytest.raises(LibraryError, match=r"^t\.lib, line \d+: "):
            parse_liberty(TINY[:end], "t.lib")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LibraryError) as caught:
        load_liberty(tmp_path / "none.lib")
    assert str(caught.value) == f"cannot read cell library {tmp_path / 'none.lib'}: No such file or directory"


def test_osu018_has_the_functions_that_its_names_say(osu018):
    functions = {
        "AND2X1": "A B", "AOI21X1": "!(A B + C)", "AOI22X1": "!(A B + C D)", "BUFX2": "A", "INVX1": "!A",
        "NAND3X1": "!(A B C)", "NOR2X1": "!(A + B)", "OAI22X1": "!((A + B) (C + D))", "XOR2X1": "A ^ B",
    }  # fmt: skip
    for name, function in functions.items():
        cell = osu018.cell(name)
        assert cell.outputs[0].table == read_function(function, cell.pins)
    adder = osu018.cell("FAX1")
    tables = {output.name: output.table for output in adder.outputs}
    assert tables == {
        "YC": read_function("A B + A C + B C", adder.pins),
        "YS": read_function("A ^ B ^ C", adder.pins),
    }
    assert set(osu018.unusable) == {"DFFNEGX1", "DFFPOSX1", "DFFSR", "LATCH", "TBUFX1", "TBUFX2"}


def test_osu018_prices_a_generated_circuit(osu018):
    circuit = annotate(map_to(generate_mac(MacDesign()), osu018), osu018)
    assert circuit.supply_v == 1.8
    assert circuit.area_um2 > 10_000
    used = circuit.netlist.inputs >= 0
    assert (circuit.delay_ps[used] > 0).all()
    assert (circuit.energy_j[circuit.netlist.output] > 0).all()


def test_osu018_cut_in_half_names_the_cell(osu018):
    text = osu018_file().read_text(encoding="utf-8")
    with pytest.raises(LibraryError) as caught:
        parse_liberty(text[: len(text) // 2], "half.lib")
    assert str(caught.value) == (
        "half.lib, line 3078: the file ends within cell (INVX2), which begins in line 3033; is it cut off?"
    )

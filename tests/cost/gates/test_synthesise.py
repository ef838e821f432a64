"""Users' own Verilog through yosys, where pyosys is installed."""

import importlib.util

import numpy as np
import pytest
from osu018 import osu018_file

from chipfit.cost.gates import synthesise as module
from chipfit.cost.gates.logic import evaluate
from chipfit.cost.gates.synthesise import synthesise
from chipfit.errors import NetlistError

MAC = """module mac(input signed [7:0] weight, input signed [7:0] activation,
           input signed [21:0] partial, output signed [21:0] sum);
  assign sum = partial + activation * weight;
endmodule
"""


@pytest.fixture
def source(tmp_path):
    if importlib.util.find_spec("pyosys") is None:
        pytest.skip("NO PYOSYS: pip install 'chipfit[gates]'")
    path = tmp_path / "my mac.v"
    path.write_text(MAC, encoding="utf-8")
    return path


def assert_multiplies(netlist):
    rng = np.random.default_rng(0)
    weight, activation = rng.integers(-128, 128, (2, 20_000))
    partial = rng.integers(0, 1 << 22, 20_000)
    got = evaluate(netlist, {"weight": weight, "activation": activation, "partial": partial})["sum"]
    assert np.array_equal(got.astype(np.int64), (partial + weight * activation) % (1 << 22))


def test_a_circuit_is_synthesised_to_embedded_cells(source):
    plain, booth = synthesise([source], "mac"), synthesise([source], "mac", booth=True)
    assert_multiplies(plain)
    assert_multiplies(booth)
    assert booth.gates < plain.gates


def test_a_circuit_is_synthesised_to_cells_of_a_liberty_file(source):
    netlist = synthesise([source], "mac", liberty=osu018_file())
    assert_multiplies(netlist)
    assert "NAND2X1" in {kind.cell for kind in netlist.kinds}


def test_what_yosys_says_is_passed_on(source):
    with pytest.raises(NetlistError) as caught:
        synthesise([source], "other")
    assert str(caught.value) == "yosys: ERROR: Module `other' not found!"
    source.write_text(MAC.replace("assign", "assing"), encoding="utf-8")
    with pytest.raises(NetlistError, match=r"^yosys: .*my mac.v:3: ERROR: syntax error"):
        synthesise([source], "mac")


def test_yosys_may_take_too_long(source):
    with pytest.raises(NetlistError) as caught:
        synthesise([source], "mac", timeout_s=0.01)
    assert str(caught.value) == "yosys has not finished after 0.01 s"


def test_a_name_that_is_none_is_refused(source):
    with pytest.raises(NetlistError) as caught:
        synthesise([source], "mac; shell")
    assert str(caught.value) == "'mac; shell' is not the name of a module"


def test_without_pyosys_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NetlistError) as caught:
        synthesise(["mac.v"], "mac")
    assert str(caught.value) == "synthesis needs the package 'pyosys': pip install 'chipfit[gates]'"

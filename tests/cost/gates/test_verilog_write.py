"""Circuits come back from Verilog as they were, and other tools read them."""

import shutil
import subprocess

import numpy as np
import pytest

from chipfit.cost.gates.effort import embedded_library, kind
from chipfit.cost.gates.generate import STYLES, MacDesign, generate_mac
from chipfit.cost.gates.netlist import ONE, NetlistBuilder
from chipfit.cost.gates.verilog import load_verilog, parse_verilog
from chipfit.cost.gates.verilog_write import cell_models, to_verilog, write_verilog


def assert_same(left, right):
    for name in ("name", "nets", "kinds", "instances", "input_ports", "output_ports"):
        assert getattr(left, name) == getattr(right, name)
    for name in ("kind", "inputs", "output", "instance"):
        assert np.array_equal(getattr(left, name), getattr(right, name))


@pytest.mark.parametrize("style", STYLES)
def test_a_generated_circuit_comes_back_the_same(style, tmp_path):
    netlist = generate_mac(MacDesign(style=style))
    write_verilog(netlist, tmp_path / "mac.v")
    assert_same(load_verilog(tmp_path / "mac.v", embedded_library()), netlist)
    assert [path.name for path in tmp_path.iterdir()] == ["mac.v"]


def odd_circuit():
    """Names that Verilog must escape, an input and a constant that are outputs, a net of two outputs."""
    builder = NetlistBuilder("odd-name")
    a = builder.input_port("wire", 2)
    y = builder.gate(kind("INV"), [a[1]], output=builder.net("a-b"), instance="u[0]")
    z = builder.gate(kind("NAND2"), [y, ONE], output=builder.net("z"), instance="and")
    builder.output_port("z", [z])
    builder.output_port("$out", [y, z, a[0], ONE])
    return builder.build()


def test_odd_names_and_outputs_come_back_the_same():
    netlist = odd_circuit()
    text = to_verilog(netlist)
    assert_same(parse_verilog(text, embedded_library(), "odd.v"), netlist)
    assert text.splitlines()[0] == r"module \odd-name (\wire , z, \$out );"


def test_icarus_verilog_computes_the_same(tmp_path):
    if shutil.which("iverilog") is None:
        pytest.skip("NO ICARUS VERILOG: install iverilog")
    netlist = generate_mac(MacDesign(style="booth", weight_bits=5, activation_bits=4, sum_bits=12))
    write_verilog(netlist, tmp_path / "mac.v")
    (tmp_path / "cells.v").write_text(cell_models(netlist), encoding="utf-8")
    (tmp_path / "bench.v").write_text(
        f"""module bench;
  reg signed [4:0] w; reg signed [3:0] a; reg signed [11:0] p; wire [11:0] s;
  reg signed [11:0] e; integer i, wrong;
  {netlist.name} unit(.weight(w), .activation(a), .partial(p), .sum(s));
  initial begin
    wrong = 0; p = 0;
    for (i = 0; i < 512; i = i + 1) begin
      w = i; a = i >> 5; p = p + 37; #1;
      e = p + w * a;
      if (s !== e) wrong = wrong + 1;
    end
    $display("wrong %0d", wrong);
  end
endmodule
""",
        encoding="utf-8",
    )
    files = [str(tmp_path / name) for name in ("mac.v", "cells.v", "bench.v")]
    subprocess.run(["iverilog", "-o", str(tmp_path / "bench"), *files], check=True)
    done = subprocess.run(["vvp", str(tmp_path / "bench")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "wrong 0"

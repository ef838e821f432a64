"""Users' own multiply-accumulate units in Verilog, synthesised to a netlist with yosys.

Needs the package `pyosys` (`pip install 'chipfit[gates]'`). Each circuit is synthesised in a process
of its own: within one process yosys makes different circuits of the same source, one after another.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chipfit.cost.gates.effort import CELLS, TIES, embedded_library, kind
from chipfit.cost.gates.liberty import load_liberty
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.verilog import load_verilog
from chipfit.errors import NetlistError

_RUN = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in open(sys.argv[1], encoding="utf-8"):
    libyosys.run_pass(line.strip(), design)
"""


def synthesise(
    sources: Sequence[str | Path],
    top: str,
    *,
    liberty: str | Path | None = None,
    booth: bool = False,
    timeout_s: float = 600,
) -> Netlist:
    """The netlist of a circuit without registers that is written in Verilog.

    Args:
        sources: Verilog files.
        top: the module to synthesise.
        liberty: the cells to use; left out: the embedded ones.
        booth: multiply by radix-4 Booth digits.
        timeout_s: give up after this many seconds.

    Raises:
        NetlistError: `pyosys` is not installed, or yosys reports an error or takes too long.
        LibraryError: the Liberty file cannot be read.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise NetlistError("synthesis needs the package 'pyosys': pip install 'chipfit[gates]'")
    if not re.fullmatch(r"[A-Za-z_][\w$]*", top):
        raise NetlistError(f"'{top}' is not the name of a module")
    library = embedded_library() if liberty is None else load_liberty(liberty)
    with tempfile.TemporaryDirectory() as folder:
        cells = Path(folder, "cells.genlib")
        if liberty is None:
            cells.write_text(_genlib(), encoding="utf-8")
        mapping = f"-genlib {_quoted(cells)}" if liberty is None else f"-liberty {_quoted(Path(liberty))}"
        netlist = Path(folder, f"{top}.v")
        script = [
            *(f"read_verilog -sv {_quoted(Path(source))}" for source in sources),
            f"synth -flatten -top {top}" + (" -booth" if booth else ""),
            f"abc {mapping}",
            "opt_clean -purge",
            f"write_verilog -noattr {_quoted(netlist)}",
        ]
        _run(script, Path(folder, "script"), timeout_s)
        return load_verilog(netlist, library, top)


def _quoted(path: Path) -> str:
    """A path as one word of a yosys script."""
    text = str(path.resolve())
    if any(letter in text for letter in '"\n\\'):
        raise NetlistError(f"yosys cannot read a file of the name {text!r}")
    return f'"{text}"'


def _run(script: list[str], file: Path, timeout_s: float) -> None:
    file.write_text("\n".join(script), encoding="utf-8")
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, our own program
            [sys.executable, "-c", _RUN, str(file)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NetlistError(f"yosys has not finished after {timeout_s:g} s") from None
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line] or lines[-1:] or ["it says nothing"]
        raise NetlistError(f"yosys: {errors[0]}")


def _genlib() -> str:
    """The embedded cells as the mapper of yosys reads them: area by input widths, delay by p + load."""
    lines = [f"GATE {name} 0 Y=CONST{value['Y']};" for name, value in TIES.items()]  # it crashes without
    for name, (_, effort, parasitic) in CELLS.items():
        gate = kind(name)
        products = [
            "*".join(pin if i >> k & 1 else f"!{pin}" for k, pin in enumerate(gate.pins))
            for i in range(1 << len(gate.pins))
            if gate.value(i)
        ]
        area = effort * len(gate.pins)
        lines.append(f"GATE {name} {area:.3f} Y={'+'.join(products)};")
        lines.append(f"  PIN * UNKNOWN {effort:.3f} 999 {parasitic:.3f} 1 {parasitic:.3f} 1")
    return "\n".join([*lines, ""])

"""Energy and delay of every weight value of a multiply-accumulate unit.

The weight is held, as in a weight-stationary array, while activations and partial sums change. For
each value the gates run through transitions of their statistics:

* **energy**: mean over stratified transitions, every toggle of every net that a gate drives
  counted, glitches with them;
* **delay**: last change of a sum bit over every activation transition beside partial sums of all
  classes, and over the transitions for energy. It is what was seen; `bound_s` is what static
  timing allows with that weight held.

Stated apart, since no weight changes them: nets that registers drive, the registers, their clock,
leakage. A register bit is taken as so many toggles of the library's smallest inverter that drives
two of its kind (`REGISTER_TOGGLES`, `CLOCK_TOGGLES`: an assumption, ours); the weight's register holds
still and its clock is gated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from chipfit.cost.gates.annotate import Annotated, annotate
from chipfit.cost.gates.cells import CellLibrary
from chipfit.cost.gates.logic import evaluate
from chipfit.cost.gates.netlist import Netlist
from chipfit.cost.gates.simulate import Stimulus, TimedNetlist, on_grid, pack, simulate
from chipfit.cost.gates.statistics import (
    OperandStatistics,
    Transitions,
    classes,
    every_activation,
    mean_changes,
    stratified,
)
from chipfit.cost.gates.table import WeightTable
from chipfit.errors import LibraryError, NetlistError

REGISTER_TOGGLES = 6
CLOCK_TOGGLES = 4
#: Inputs and output of a multiply-accumulate unit.
INPUTS, OUTPUT = ("weight", "activation", "partial"), "sum"
OPERAND_BITS = 8
TRANSITIONS = 1024
#: Steps of the grid that half of the gates should take at least.
FEWEST_STEPS = 4
_CHECKED = 4096
_INVERTER = 0b01


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What a netlist computes: sum = partial + activation·weight, modulo 2^sum_bits."""

    weight_bits: int
    activation_bits: int
    sum_bits: int
    weight_signed: bool
    activation_signed: bool

    @property
    def weights(self) -> range:
        """All weight values."""
        first = -(1 << self.weight_bits - 1) if self.weight_signed else 0
        return range(first, first + (1 << self.weight_bits))


def read_unit(netlist: Netlist) -> Unit:
    """Widths and signs of a multiply-accumulate unit; the signs are found by trying.

    Raises:
        NetlistError: its ports are not weight, activation, partial and sum, their widths do not fit,
            or it computes something else.
    """
    name = f"netlist '{netlist.name}'"
    if set(netlist.input_ports) != set(INPUTS) or set(netlist.output_ports) != {OUTPUT}:
        given = f"{', '.join(netlist.input_ports) or 'none'} and {', '.join(netlist.output_ports) or 'none'}"
        raise NetlistError(
            f"{name}: a multiply-accumulate unit has the inputs {', '.join(INPUTS)} and the output {OUTPUT}, "
            f"got {given}"
        )
    widths = {port: len(netlist.port(port)) for port in (*INPUTS, OUTPUT)}
    for port in ("weight", "activation"):
        if not 2 <= widths[port] <= OPERAND_BITS:
            raise NetlistError(f"{name}: {port} must have 2 to {OPERAND_BITS} bits, got {widths[port]}")
    if widths["partial"] != widths[OUTPUT]:
        raise NetlistError(f"{name}: partial has {widths['partial']} bits, sum has {widths[OUTPUT]}")
    rng = np.random.default_rng(0)
    inputs = {port: rng.integers(0, 1 << widths[port], _CHECKED) for port in INPUTS}
    found = evaluate(netlist, inputs)[OUTPUT].astype(np.int64)
    mask = (1 << widths[OUTPUT]) - 1
    for weight_signed in (True, False):
        for activation_signed in (True, False):
            weight = _valued(inputs["weight"], widths["weight"], weight_signed)
            activation = _valued(inputs["activation"], widths["activation"], activation_signed)
            if np.array_equal(found, (inputs["partial"] + weight * activation) & mask):
                return Unit(
                    weight_bits=widths["weight"],
                    activation_bits=widths["activation"],
                    sum_bits=widths[OUTPUT],
                    weight_signed=weight_signed,
                    activation_signed=activation_signed,
                )
    raise NetlistError(f"{name} computes something else than sum = partial + activation * weight")


def _valued(codes: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Values of codes, in two's complement or unsigned."""
    return codes - ((codes >> bits - 1 & 1) << bits) if signed else codes


def characterise(
    netlist: Netlist,
    library: CellLibrary,
    operands: OperandStatistics,
    *,
    mode: str = "inertial",
    grid_ps: float = 10.0,
    transitions: int | None = TRANSITIONS,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> WeightTable:
    """Energy and delay of every weight value of a multiply-accumulate unit.

    Args:
        netlist: inputs weight, activation, partial; output sum.
        library: which its cells are of.
        operands: what activations and partial sums do.
        mode: 'inertial', 'transport' or 'zero'.
        grid_ps: step of time.
        transitions: for each energy; None for as many as there are activation transitions.
        seed: of the choice of transitions.
        advance: called after every weight value.

    Raises:
        NetlistError: the netlist is no such unit, or the statistics are of another width.
        LibraryError: the library lacks a cell.
    """
    unit = read_unit(netlist)
    if operands.activation_bits != unit.activation_bits:
        raise NetlistError(
            f"netlist '{netlist.name}' has activations of {unit.activation_bits} bits, the statistics are of "
            f"{operands.activation_bits}"
        )
    count = 1 << 2 * unit.activation_bits if transitions is None else transitions
    if count < 1:
        raise NetlistError(f"at least one transition is needed, got {count}")
    annotated = annotate(netlist, library)
    timed = on_grid(annotated, grid_ps=grid_ps, mode=mode)
    rng = np.random.default_rng(seed)
    for_energy = stratified(operands, count, unit.sum_bits, rng=rng)
    for_delay = every_activation(operands, unit.sum_bits, rng=rng)
    stimuli = [pack(netlist, *for_energy)]
    if mode != "zero":
        stimuli.append(pack(netlist, *for_delay))
    seen = [_run(timed, stimuli, weight, advance) for weight in unit.weights]
    gate_energy_j = annotated.energy_j[netlist.output] / count
    step_s = 1e-12 * grid_ps
    fixed = _fixed(annotated, library, operands, unit)
    bound_s = [step_s * one.bound for one in seen]
    delay_s = bound_s if mode == "zero" else [step_s * one.latest for one in seen]
    lanes = len(for_delay[0]["partial"])
    share = sum(np.bincount(one.steps[one.steps >= 0], minlength=_longest(seen)) for one in seen)
    return WeightTable(
        multiplier=netlist.name,
        library=library.name,
        supply_v=library.supply_v,
        weight_bits=unit.weight_bits,
        activation_bits=unit.activation_bits,
        sum_bits=unit.sum_bits,
        weight_signed=unit.weight_signed,
        activation_signed=unit.activation_signed,
        mode=mode,
        grid_ps=float(grid_ps),
        seed=seed,
        operands=operands.source,
        energy_transitions=count,
        delay_transitions=0 if mode == "zero" else lanes,
        weights=tuple(unit.weights),
        energy_j=tuple(float(one.toggles @ gate_energy_j) for one in seen),
        delay_s=tuple(delay_s),
        bound_s=tuple(bound_s),
        static_delay_s=step_s * _static_bound(timed),
        input_energy_j=fixed[0],
        register_energy_j=fixed[1],
        clock_energy_j=fixed[2],
        leakage_w=float(annotated.leakage_w),
        area_um2=annotated.area_um2,
        gates=netlist.gates,
        arrivals=tuple((np.asarray(share) / (lanes * len(seen))).tolist()),
        class_delays_s=() if mode == "zero" else _class_delays(seen, for_delay, unit.sum_bits, step_s),
        warnings=_warnings(timed),
    )


def _warnings(timed: TimedNetlist) -> tuple[str, ...]:
    """Whether the grid is too coarse for the gates."""
    if timed.mode == "zero":
        return ()
    steps = np.where(timed.delay_steps > 0, timed.delay_steps, np.iinfo(np.int64).max).min(axis=1)
    median = float(np.median(steps))
    if median >= FEWEST_STEPS:
        return ()
    return (
        f"half of the gates take at most {median:g} × {timed.grid_ps:g} ps: a finer grid tells weights "
        "apart better",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """One weight value: toggles for energy; latest change over all transitions; last changes for delay."""

    toggles: np.ndarray
    latest: int
    bound: int
    steps: np.ndarray


def _run(timed: TimedNetlist, stimuli: Sequence[Stimulus], weight: int, advance: Callable[[], None]) -> _Seen:
    runs = [simulate(timed, stimulus, {"weight": weight}) for stimulus in stimuli]
    advance()
    return _Seen(
        toggles=runs[0].toggles,
        latest=max(0, *(int(run.arrival_steps.max()) for run in runs)),
        bound=max(0, runs[0].bound_steps),
        steps=runs[-1].arrival_steps,
    )


def _longest(seen: Sequence[_Seen]) -> int:
    return 1 + max(one.bound for one in seen)


def _static_bound(timed: TimedNetlist) -> int:
    """Latest step in which an output can change when every input may."""
    still = {name: [0] for name in timed.netlist.input_ports}
    return max(0, simulate(timed, pack(timed.netlist, still, still)).bound_steps)


def _class_delays(
    seen: Sequence[_Seen], transitions: Transitions, sum_bits: int, step_s: float
) -> tuple[tuple[int, float], ...]:
    """Latest change over all weights, by the most significant bit of the partial sum that changes."""
    latest = np.maximum.reduce([one.steps for one in seen])
    most, _ = classes(np.stack([side["partial"] for side in transitions], axis=1), sum_bits)
    return tuple((own, step_s * max(0, int(latest[most == own].max()))) for own in np.unique(most).tolist())


def _fixed(
    annotated: Annotated, library: CellLibrary, operands: OperandStatistics, unit: Unit
) -> tuple[float, float, float]:
    """Energy of a cycle (J) in nets that registers drive, in these registers, and in their clock."""
    netlist = annotated.netlist
    activation, partial = mean_changes(operands, unit.sum_bits)
    nets_j = {port: float(annotated.energy_j[list(netlist.port(port))].mean()) for port in INPUTS}
    inverter_j = inverter_toggle(library)
    return (
        activation * nets_j["activation"] + partial * nets_j["partial"],
        (activation + partial) * REGISTER_TOGGLES * inverter_j,
        (unit.activation_bits + unit.sum_bits) * CLOCK_TOGGLES * inverter_j,
    )


def inverter_toggle(library: CellLibrary) -> float:
    """Energy of one toggle (J) of the smallest inverter that drives two of its kind.

    Raises:
        LibraryError: the library has no inverter.
    """
    inverters = [
        cell
        for cell in library.cells.values()
        if len(cell.pins) == 1 and [output.table for output in cell.outputs] == [_INVERTER]
    ]
    if not inverters:
        raise LibraryError(f"library '{library.name}' has no inverter")
    smallest = min(inverters, key=lambda cell: cell.capacitance_f[0])
    arc = smallest.outputs[0].arcs[0]
    assert arc is not None, "an inverter depends on its pin"
    load_f = 2 * (smallest.capacitance_f[0] + library.wire_f)
    at = {"slew_s": library.input_slew_s, "load_f": load_f}
    inside_j = (arc.rise_energy_j.at(**at) + arc.fall_energy_j.at(**at)) / 2
    return inside_j + 0.5 * load_f * library.supply_v**2


def transition_delays(
    netlist: Netlist,
    library: CellLibrary,
    operands: OperandStatistics,
    weights: Sequence[int],
    *,
    grid_ps: float = 10.0,
    seed: int = 0,
) -> Float64[np.ndarray, "weight code code"]:
    """Latest change of a sum bit (s) for weights and activation transitions, [weight, from, to].

    Each activation transition meets one partial-sum transition, the same for all weights; 0 where
    no sum bit changes. For choosing activation values.

    Raises:
        NetlistError: the netlist is no multiply-accumulate unit, or a weight is none of its values.
        LibraryError: the library lacks a cell.
    """
    unit = read_unit(netlist)
    wrong = [weight for weight in weights if weight not in unit.weights]
    if wrong:
        raise NetlistError(
            f"netlist '{netlist.name}' has weights {unit.weights[0]} to {unit.weights[-1]}, got {wrong[0]}"
        )
    timed = on_grid(annotate(netlist, library), grid_ps=grid_ps)
    rng = np.random.default_rng(seed)
    stimulus = pack(netlist, *every_activation(operands, unit.sum_bits, rng=rng))
    found = [simulate(timed, stimulus, {"weight": weight}).arrival_steps for weight in weights]
    codes = 1 << unit.activation_bits
    return 1e-12 * grid_ps * np.maximum(np.stack(found), 0).reshape(len(found), codes, codes)


def latest_changes(
    netlist: Netlist,
    library: CellLibrary,
    operands: OperandStatistics,
    kept: Sequence[int],
    *,
    grid_ps: float = 10.0,
    seed: int = 0,
) -> Float64[np.ndarray, " weight"]:
    """Latest change of a sum bit (s) by weight value, when activations keep to some codes.

    As many transitions are tried as there are with all codes, each beside another partial-sum transition.

    Raises:
        NetlistError: the netlist is no multiply-accumulate unit, or there are no codes or wrong ones.
        LibraryError: the library lacks a cell.
    """
    unit = read_unit(netlist)
    most = (1 << unit.activation_bits) - 1
    if not kept or min(kept) < 0 or max(kept) > most:
        given = ", ".join(map(str, kept)) or "none"
        raise NetlistError(f"netlist '{netlist.name}' has activation codes 0 to {most}, got {given}")
    timed = on_grid(annotate(netlist, library), grid_ps=grid_ps)
    rng = np.random.default_rng(seed)
    stimulus = pack(netlist, *every_activation(operands, unit.sum_bits, rng=rng, kept=kept))
    found = [simulate(timed, stimulus, {"weight": weight}).arrival_steps.max() for weight in unit.weights]
    return 1e-12 * grid_ps * np.maximum(found, 0)

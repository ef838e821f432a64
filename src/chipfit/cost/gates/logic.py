"""What a circuit computes, gate after gate, for many inputs at once: the plain twin of simulators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer, UInt64

from chipfit.cost.gates.netlist import ONE, Kind, Netlist
from chipfit.errors import NetlistError


def evaluate(
    netlist: Netlist, inputs: Mapping[str, Integer[np.ndarray, " case"]]
) -> dict[str, UInt64[np.ndarray, " case"]]:
    """The value of each output bus when every gate has settled.

    Args:
        netlist: the circuit; buses of at most 64 bits.
        inputs: one integer a case for every input bus; of negative ones the low bits count.

    Returns:
        For every output bus its bits as unsigned integers.

    Raises:
        NetlistError: a bus is missing, unknown or of another length.
    """
    if set(inputs) != set(netlist.input_ports):
        expected, given = ", ".join(netlist.input_ports), ", ".join(inputs)
        raise NetlistError(f"netlist '{netlist.name}' has the inputs {expected}; got {given}")
    lengths = {name: len(values) for name, values in inputs.items()}
    if len(set(lengths.values())) > 1:
        raise NetlistError(f"netlist '{netlist.name}': inputs of different lengths: {lengths}")
    cases = max(lengths.values(), default=1)
    words = np.zeros((len(netlist.nets), -(-cases // 64)), dtype=np.uint64)
    words[ONE] = ~np.uint64(0)
    for name, values in inputs.items():
        for bit, net in enumerate(netlist.input_ports[name]):
            words[net] = _pack(values.astype(np.int64) >> np.int64(bit) & 1)
    for which, pins, output in zip(
        netlist.kind.tolist(), netlist.inputs.tolist(), netlist.output.tolist(), strict=True
    ):
        kind = netlist.kinds[which]
        words[output] = _gate(kind, [words[net] for net in pins[: len(kind.pins)]])
    return {name: _unpack(words, nets, cases) for name, nets in netlist.output_ports.items()}


def _gate(kind: Kind, pins: list[UInt64[np.ndarray, " word"]]) -> UInt64[np.ndarray, " word"]:
    """Sum of the products of the truth table."""
    result = np.zeros_like(pins[0])
    for i in range(1 << len(pins)):
        if kind.value(i):
            term = np.full_like(result, ~np.uint64(0))
            for k, pin in enumerate(pins):
                term &= pin if i >> k & 1 else ~pin
            result |= term
    return result


def _pack(bits: Integer[np.ndarray, " case"]) -> UInt64[np.ndarray, " word"]:
    padded = np.zeros(-(-len(bits) // 64) * 64, dtype=np.uint8)
    padded[: len(bits)] = bits
    return np.packbits(padded, bitorder="little").view(np.uint64)


def _unpack(
    words: UInt64[np.ndarray, "net word"], nets: tuple[int, ...], cases: int
) -> UInt64[np.ndarray, " case"]:
    values = np.zeros(cases, dtype=np.uint64)
    for bit, net in enumerate(nets):
        bits = np.unpackbits(words[net].view(np.uint8), bitorder="little", count=cases)
        values |= bits.astype(np.uint64) << np.uint64(bit)
    return values

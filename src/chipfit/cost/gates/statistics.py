"""What the operands of a multiply-accumulate unit do from one cycle to the next.

The weight is held; the activation and the partial sum change. An activation transition is a pair of
codes (from, to), each modulo 2^bits. Partial-sum transitions fall into **classes** by the most
significant bit that changes (-1 if none does) and, within it, by how many bits change.

Declared distributions are ours: activations either uniform, or as after a ReLU (zero half the time,
else half a normal distribution, three standard deviations to the largest code), successive ones independent;
partial sums uniform, or normal with a standard deviation of 3/16 of the largest product, independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from chipfit.errors import NetlistError, nearest

DECLARED = ("relu", "uniform")
#: Standard deviation of partial sums over the largest product: 3,000 with operands of 8 bits.
PARTIAL_SUM_SPREAD = 3 / 16
_ZERO_SHARE = 0.5
#: Partial-sum transitions of a declared distribution from which others are drawn.
_SAMPLES = 1 << 16

#: Values of each input bus, one a transition, before and after.
Transitions = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True, eq=False)
class OperandStatistics:
    """Distribution of the transitions of both operands.

    Attributes:
        source: where it comes from.
        activation_bits: width of activations.
        activations: probability of each transition of codes, [from, to].
        partial_sums: transitions, [sample, (from, to)], as integers with a sign.

    Raises:
        NetlistError: shapes that do not fit, or probabilities that do not add up to 1.
    """

    source: str
    activation_bits: int
    activations: Float64[np.ndarray, "code code"]
    partial_sums: Int64[np.ndarray, "sample 2"]

    def __post_init__(self) -> None:
        codes = 1 << self.activation_bits
        if self.activations.shape != (codes, codes):
            raise NetlistError(
                f"activation transitions of {self.activation_bits} bits are {codes} x {codes}, got "
                f"{' x '.join(map(str, self.activations.shape))}"
            )
        if not (self.activations >= 0).all() or not math.isclose(
            float(self.activations.sum()), 1, rel_tol=1e-6
        ):
            raise NetlistError("probabilities of activation transitions must be at least 0 and add up to 1")
        if self.partial_sums.ndim != 2 or self.partial_sums.shape[1] != 2 or not len(self.partial_sums):
            raise NetlistError("partial-sum transitions must be pairs, and at least one")


def declared(
    name: str, *, weight_bits: int, activation_bits: int, sum_bits: int, activation_signed: bool,
    rng: np.random.Generator,
) -> OperandStatistics:  # fmt: skip
    """A declared distribution: 'relu' or 'uniform'.

    Args:
        name: of the distribution.
        weight_bits: width of weights.
        activation_bits: width of activations.
        sum_bits: width of partial sums.
        activation_signed: whether activations are in two's complement; after a ReLU half the codes
            are idle then.
        rng: for the partial sums.

    Raises:
        NetlistError: there is no such distribution.
    """
    if name not in DECLARED:
        raise NetlistError(f"unknown distribution '{name}'{nearest(name, DECLARED)}")
    codes = 1 << activation_bits
    if name == "uniform":
        activations = np.full((codes, codes), 1 / codes**2)
        sums = rng.integers(0, 1 << sum_bits, (_SAMPLES, 2))
    else:
        one = _after_relu(codes // 2 if activation_signed else codes)
        one = np.pad(one, (0, codes - len(one)))
        activations = np.outer(one, one)
        largest = (1 << activation_bits - activation_signed) * (1 << weight_bits - 1)
        sums = np.rint(rng.normal(0, PARTIAL_SUM_SPREAD * largest, (_SAMPLES, 2))).astype(np.int64)
    return OperandStatistics(
        source=f"declared: {name}",
        activation_bits=activation_bits,
        activations=activations,
        partial_sums=sums,
    )


def _after_relu(codes: int) -> Float64[np.ndarray, " code"]:
    """Probability of each code, rounded to the nearest, what lies beyond the last one with it."""
    edges = (np.arange(codes + 1) - 0.5) / (codes - 1) * 3 / math.sqrt(2)
    below = np.array([math.erf(max(0.0, edge)) for edge in edges])
    below[-1] = 1
    found = (1 - _ZERO_SHARE) * np.diff(below)
    found[0] += _ZERO_SHARE
    return found


def merged(
    parts: Mapping[str, tuple[float, OperandStatistics]], *, rng: np.random.Generator
) -> OperandStatistics:
    """One distribution of several layers, each with its share (such as its multiplications).

    Raises:
        NetlistError: there are none, or their widths differ.
    """
    if len({part.activation_bits for _, part in parts.values()}) != 1:
        raise NetlistError("distributions of the same width are needed, and at least one")
    total = sum(share for share, _ in parts.values())
    activations = sum(share / total * part.activations for share, part in parts.values())
    picks: list[np.ndarray] = []
    for share, part in parts.values():
        count = max(1, round(_SAMPLES * share / total))
        picks.append(part.partial_sums[rng.integers(0, len(part.partial_sums), count)])
    first = next(iter(parts.values()))[1]
    return OperandStatistics(
        source=f"{first.source.partition(',')[0]}, {len(parts)} layers by their multiplications",
        activation_bits=first.activation_bits,
        activations=np.asarray(activations),
        partial_sums=np.concatenate(picks),
    )


def classes(
    transitions: Int64[np.ndarray, "sample 2"], sum_bits: int
) -> tuple[Int64[np.ndarray, " sample"], Int64[np.ndarray, " sample"]]:
    """Most significant bit that changes (-1 for none), and how many change, of each transition.

    >>> [found.tolist() for found in classes(np.array([[0, 5], [1, 1], [-1, 0]]), 4)]
    [[2, -1, 3], [2, 0, 4]]
    """
    changed = (transitions[:, 0] ^ transitions[:, 1]) & ((1 << sum_bits) - 1)
    most = np.frexp(changed.astype(np.float64))[1].astype(np.int64) - 1
    return most, np.bitwise_count(changed).astype(np.int64)


def stratified(
    statistics: OperandStatistics, count: int, sum_bits: int, *, rng: np.random.Generator
) -> Transitions:
    """Transitions that stand for the distribution, each for as much as the others.

    Activation transitions are taken at even steps of their cumulative probability; partial-sum
    transitions at even steps through the samples in the order of their classes. Which meet is random.
    """
    steps = (np.arange(count) + rng.random(count)) / count
    cumulative = np.cumsum(statistics.activations.ravel())
    codes = np.searchsorted(cumulative / cumulative[-1], steps, side="right")
    codes = np.minimum(codes, cumulative.size - 1)
    most, changing = classes(statistics.partial_sums, sum_bits)
    order = np.lexsort((changing, most))
    sums = statistics.partial_sums[order[(steps * len(order)).astype(np.int64)]]
    return _transitions(statistics, codes, rng.permutation(sums))


def every_activation(
    statistics: OperandStatistics,
    sum_bits: int,
    *,
    rng: np.random.Generator,
    kept: Sequence[int] | None = None,
) -> Transitions:
    """Every activation transition once, in the order [from, to], beside partial sums of all classes.

    Classes are those of the most significant bit that changes, as far as the distribution has
    them, and no change: each meets equally many activation transitions. With `kept`, only those codes
    follow one another: time and again, until there are as many transitions as with all.
    """
    bits = statistics.activation_bits
    codes = np.arange(1 << 2 * bits)
    if kept is not None:
        own = np.array(kept, dtype=np.int64)
        codes = np.resize(((own[:, None] << bits) | own).ravel(), codes.size)
    most, _ = classes(statistics.partial_sums, sum_bits)
    present = np.unique(np.append(most, -1))
    share = rng.permutation(len(codes)) % len(present)
    sums = np.empty((len(codes), 2), dtype=np.int64)
    for place, own in enumerate(present.tolist()):
        samples = statistics.partial_sums[most == own] if own >= 0 else statistics.partial_sums[:, [0, 0]]
        wanted = share == place
        sums[wanted] = samples[rng.integers(0, len(samples), int(wanted.sum()))]
    return _transitions(statistics, codes, sums)


def _transitions(statistics: OperandStatistics, codes: np.ndarray, sums: np.ndarray) -> Transitions:
    bits = statistics.activation_bits
    before = {"activation": codes >> bits, "partial": sums[:, 0]}
    return before, {"activation": codes & ((1 << bits) - 1), "partial": sums[:, 1]}


def mean_changes(statistics: OperandStatistics, sum_bits: int) -> tuple[float, float]:
    """Bits of the activation, and of the partial sum, that change in a cycle on average."""
    codes = np.arange(1 << statistics.activation_bits)
    changing = np.bitwise_count(codes[:, None] ^ codes)
    return float((changing * statistics.activations).sum()), float(
        classes(statistics.partial_sums, sum_bits)[1].mean()
    )

"""Which networks to measure: those that say most about the others, before anything is measured."""

from __future__ import annotations

import numpy as np

from chipfit.cost.latency.prior import Prior

#: Noise that is expected, over the mean variance of a network.
NOISE = 0.1
#: One sample of so many is drawn by chance: the most telling networks are extreme, and how far off
#: a device is on extreme networks does not say how far off it is on the usual ones.
BY_CHANCE = 5


def select(
    known: Prior,
    samples: int,
    *,
    candidates: np.ndarray | None = None,
    measured: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Networks to measure next, the most telling first.

    Each is the one whose latency is least certain given those before it, which greedily makes the
    determinant of their covariance the largest (D-optimality); but every `BY_CHANCE`-th is drawn.

    Args:
        known: of the space.
        samples: how many to choose.
        candidates: rows that may be chosen; all if left out.
        measured: rows that are known already.
        rng: draws; the same ones each time if left out.
    """
    draws = rng or np.random.default_rng(0)
    pool = np.arange(len(known)) if candidates is None else np.asarray(candidates)
    before = np.zeros(0, dtype=int) if measured is None else np.asarray(measured)
    rows = np.concatenate([before, pool])
    features = known.features[rows]
    variance = (features**2).sum(1)
    noise = NOISE * float(variance.mean())
    factor = np.zeros((len(rows), len(before) + samples))
    taken = np.isin(rows, before)
    chosen: list[int] = []
    for step in range(len(before) + samples):
        if step < len(before):
            place = step
        elif (step + 1) % BY_CHANCE == 0:
            place = int(draws.choice(np.flatnonzero(~taken)))
        else:
            place = int(np.argmax(np.where(taken, -np.inf, variance)))
        column = features @ features[place] - factor[:, :step] @ factor[place, :step]
        factor[:, step] = column / np.sqrt(max(float(variance[place]), 0.0) + noise)
        variance = variance - factor[:, step] ** 2
        taken[place] = True
        if step >= len(before):
            chosen.append(int(rows[place]))
    return np.array(chosen)

"""Which networks to measure: those that say most about the others, before anything is measured."""

from __future__ import annotations

import numpy as np

from chipfit.cost.latency.prior import Prior

#: Scale of each part where samples are chosen: source devices have no say, so that the choice needs none;
#: the small parts have more than a fit gives them, so that nothing goes unseen.
SCALES = (1.0, 0.0, 0.4, 0.15)
#: Noise that is expected, over the mean variance of a network.
NOISE = 0.1
#: One sample of so many is any network, by chance: the most telling ones are extreme, and how far off
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
    features = np.concatenate([np.sqrt(s) * p for s, p in zip(SCALES, known.parts, strict=True)], axis=1)
    before = np.zeros(0, dtype=int) if measured is None else np.asarray(measured)
    rows = np.concatenate([before, pool])
    features = features[rows]
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

"""The words in which mappings are spoken of: what a mapping is, how it is counted, what is searched for.

Axes and terms: see `nest`. Nothing here needs a compiled function, so that answers that are known cost no
time to load any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

INPUT, WEIGHT, OUTPUT = 0, 1, 2

#: Tensor x dimension (N G K C P Q R S): 1 where the tensor depends on the dimension.
RELEVANT = np.array(
    [
        [1, 1, 0, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 0, 0, 1, 1],
        [1, 1, 1, 0, 1, 1, 0, 0],
    ],
    dtype=np.int64,
)

#: Loop order, outermost first, by the stationary tensor.
ORDER = np.array(
    [
        [1, 0, 4, 5, 3, 6, 7, 2],  # input: K innermost
        [1, 2, 3, 6, 7, 0, 4, 5],  # weight: N P Q innermost
        [1, 2, 0, 4, 5, 3, 6, 7],  # output: C R S innermost
    ],
    dtype=np.int64,
)
POSITION = np.argsort(ORDER, axis=1).astype(np.int64)

#: Tensors that a memory keeps, by level.
Holds = tuple[tuple[str, ...], ...]

#: A memory, or a part of it: its name, the tensors that may be there, and its words (None: no limit).
Part = tuple[str, tuple[str, ...], int | None]
Parts = tuple[Part, ...]

ENERGY, LATENCY, EDP = 0, 1, 2

OBJECTIVES = {
    "energy": ENERGY,
    "latency": LATENCY,
    "edp": EDP,
    "dram": ENERGY,
}


@dataclass(frozen=True, kw_only=True)
class MapSpace:
    """Which mappings are looked at.

    Tiles divide the tiles that they are cut from. `ragged` also lets the processing elements of an
    array not divide the whole bound (the last round is not full); `imperfect` also allows tiles
    that cut the bound into any number of equal parts but for the last; `uneven` tiles of different sizes
    for the tensors of one memory.
    """

    ragged: bool = True
    imperfect: bool = False
    uneven: bool = False

    def __str__(self) -> str:
        tiles = "tiles of any number of equal parts" if self.imperfect else "tiles that divide"
        arrays = ", ragged arrays" if self.ragged and not self.imperfect else ""
        return tiles + arrays + (", uneven in one memory" if self.uneven else "")


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Bits of one element of each tensor of a nest."""

    input: int
    weight: int
    output: int
    partial_sum: int


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """How a nest runs on the stages of a target.

    `tiles[stage][d]` is the extent along dimension d that one instance holds, the datapath's ones
    last; `rows[stage][d]` and `columns[stage][d]` are the processing elements along d below it;
    `stationary[stage]` is the tensor whose tile stays longest there; `holds[stage]` are the tensors
    that it keeps (empty: as the target says). With `parts`, a stage is a part of a memory (see `parts`),
    else each is a memory. See `nest` for the rules.
    """

    tiles: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...]
    stationary: tuple[str, ...]
    holds: Holds = ()
    parts: Parts = ()

    @property
    def factors(self) -> Ints:
        """Processing elements by stage and dimension."""
        return np.array(self.rows, np.int64) * np.array(self.columns, np.int64)

    def iterations(self, stage: int, dimension: int) -> int:
        """Iterations of a loop of a stage in a full tile."""
        side = self.rows[stage][dimension] * self.columns[stage][dimension]
        return -(-self.tiles[stage][dimension] // (self.tiles[stage + 1][dimension] * side))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is counted, where tools differ.

    `union`: rows of the input that tiles of several processing elements have in common leave the
    memory above once; else only identical tiles are shared. `drains`: a partial sum that leaves a
    memory is read there. `padding`: zeros around the input are fetched as if they were input. `skips`:
    rows and columns that a tile does not need are left out where they lie between others. `slides`: rows (or
    columns) that a tile has in common with the one before it stay. `fills`: the time counts in which the
    first tiles come in and the last outputs leave.
    """

    union: bool = True
    drains: bool = True
    padding: bool = False
    skips: bool = False
    slides: bool = False
    fills: bool = False


#: As this package counts, and as other tools do (facts found by comparing, not their words).
RULES = {
    "chipfit": Rules(),
    "accelforge": Rules(union=False, padding=True),
    "timeloop": Rules(union=False, drains=False, padding=True),
    "sliding": Rules(slides=True),
    "filling": Rules(fills=True),
    "sliding-filling": Rules(slides=True, fills=True),
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a mapping takes. Accesses are words by stage and tensor (input, weight, output)."""

    reads: np.ndarray
    writes: np.ndarray
    hops: np.ndarray
    stage_cycles: np.ndarray
    energy_j: float
    cycles: float
    compute_cycles: float
    dram_words: float


EVEN = MapSpace(ragged=False)

#: What is said where the bounds say nothing.
WORST_GAP = 1e6


#: Map spaces by name.
SPACES = {
    "even": EVEN,
    "ragged": MapSpace(),
    "imperfect": MapSpace(imperfect=True),
    "uneven": MapSpace(ragged=False, uneven=True),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is asked of a nest: widths, what every mapping takes besides, and what is known.

    `mac_energy_j` is that of all multiply-accumulates; `streamed_words` cross the main memory besides and
    take `streamed_energy_j`. No mapping may take more than `most_cycles`. `hint` may be good: it speeds up
    the search and never changes the score. `label` names the nest in an error message.
    """

    widths: Widths
    mac_energy_j: float = 0.0
    streamed_words: float = 0.0
    streamed_energy_j: float = 0.0
    most_cycles: float = math.inf
    hint: Mapping | None = None
    label: str = "layer"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search came to; no mapping, if there is none below the score that it was given.

    No mapping has a score below `low`. Other fields as in `Answer`.
    """

    mapping: Mapping | None
    score: float
    low: float
    cuts: int
    priced: int

    @property
    def gap(self) -> float:
        """How far the score may lie above the best, as a fraction."""
        if self.low >= self.score:
            return 0.0
        return min(self.score / self.low - 1, WORST_GAP) if self.low > 0 else WORST_GAP


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The best mapping and how sure that is.

    `score` is the objective; `gap` is how far it may lie above the best of the space, as a fraction:
    0 if proven. `cuts` and `priced` count the cuts of the innermost array and the whole mappings that were
    worked out, twice if a search began again, of all `mappings` there are (see `room.mappings`): bounds
    decided on the others.
    """

    mapping: Mapping
    score: float
    gap: float
    cuts: int
    priced: int
    mappings: int

"""What an array does about zeros: the options behind `sparse:` in the YAML of a target.

Every name that the YAML may state is in a tuple here, in the order in which messages list them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from chipfit.errors import TargetError, nearest

#: Operands whose zeros may be skipped or gated.
OPERANDS = ("input", "weight")
#: How a tensor lies in memory.
FORMATS = ("dense", "bitmap", "run_length", "coordinates", "compressed_rows", "structured")
#: Which tensor stays on the chip while the other passes again: `adaptive` takes the better, layer by layer.
DATAFLOWS = ("inputs_first", "weights_first", "adaptive")
#: Whether all elements wait for the slowest after each pass, or each goes on.
PASSES = ("synchronous", "independent")
#: How often filling and draining the array takes time.
FILLS = ("pass", "layer", "none")
#: Pairs that meet in an output, or all products of what is not zero.
PAIRS = ("matched", "cartesian")
#: Whether `keep` of `of` holds for a layer as a whole, or each output has its own count.
SCOPES = ("layer", "output")


@dataclass(frozen=True, kw_only=True)
class Structure:
    """At most `keep` of every `of` consecutive input channels are not zero, at each place of the kernel.

    `scope` 'layer': a layer that does not keep to it runs dense. 'output': every output channel takes
    the time of its own largest count (row-wise N:M); `keep` then means nothing and is `of`.
    """

    keep: int
    of: int
    scope: str = "layer"


@dataclass(frozen=True, kw_only=True)
class SparseArray:
    """How an array treats zeros.

    `skip` names operands whose zeros take no time, `gate` those whose zeros take time, but no
    multiplication. `storage` has the format of each tensor, `run_bits` the width of a run length.
    A row of the array holds one input channel; of 1 x 1 kernels up to `consecutive`, if rows are too few;
    where a layer has few, `strips` gives spare rows strips of the output. `clustering` says that
    channels with alike numbers of zeros are put side by side. The other fields are names from the tuples
    of this module.

    Raises:
        TargetError: a name is not known, or options contradict each other; all of it in one message.
    """

    skip: tuple[str, ...] = OPERANDS
    gate: tuple[str, ...] = ()
    structure: Structure | None = None
    storage: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    run_bits: int = 5
    dataflow: str = "adaptive"
    passes: str = "synchronous"
    fill: str = "pass"
    pairs: str = "matched"
    consecutive: int = 1
    strips: bool = False
    clustering: bool = False

    def __post_init__(self) -> None:
        problems = sparse_problems({f.name: getattr(self, f.name) for f in fields(self)})
        if problems:
            raise TargetError("; ".join(problems))

    def format_of(self, tensor: str) -> str:
        """The format of 'input', 'weight' or 'output' in memory."""
        return self.storage.get(tensor, "dense")

    def text(self) -> str:
        """What the array does about zeros, as people read it.

        >>> SparseArray(skip=("weight",), storage={"weight": "run_length"}).text()
        'skips zeros of weight; stores weight as run length; adaptive; synchronous passes'
        """
        parts = [f"skips zeros of {', '.join(self.skip)}" if self.skip else "skips no zeros"]
        if self.gate:
            parts.append(f"gates zeros of {', '.join(self.gate)}")
        if self.structure is not None:
            parts.append(f"keeps {self.structure.keep} of {self.structure.of} by {self.structure.scope}")
        stored = [f"{tensor} as {name}" for tensor, name in self.storage.items() if name != "dense"]
        if stored:
            parts.append(f"stores {', '.join(stored)}")
        parts += [self.dataflow, f"{self.passes} passes"]
        return "; ".join(parts).replace("_", " ")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SparseArray:
        """The options that `dataclasses.asdict` wrote."""
        structure = data.get("structure")
        parts: dict[str, Any] = {
            "skip": tuple(data["skip"]),
            "gate": tuple(data["gate"]),
            "structure": None if structure is None else Structure(**structure),
        }
        return cls(**{**data, **parts})


def sparse_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of a sparse array, given by the names of its fields."""
    problems: list[str] = []

    def known(key: str, given: object, what: str, valid: tuple[str, ...]) -> None:
        if given not in valid:
            problems.append(f"sparse.{key}: unknown {what} '{given}'{nearest(str(given), valid)}")

    for key in ("skip", "gate"):
        for operand in options[key]:
            known(key, operand, "operand", OPERANDS)
    for tensor, name in options["storage"].items():
        known("storage", tensor, "tensor", (*OPERANDS, "output"))
        known(f"storage.{tensor}", name, "format", FORMATS)
    known("dataflow", options["dataflow"], "dataflow", DATAFLOWS)
    known("passes", options["passes"], "kind of passes", PASSES)
    known("fill", options["fill"], "fill", FILLS)
    known("pairs", options["pairs"], "way to count pairs", PAIRS)
    for key, low, high in (("run_bits", 1, 16), ("consecutive", 1, 65536)):
        if not low <= options[key] <= high:
            problems.append(f"sparse.{key} must be in {low}..{high}, got {options[key]}")
    return problems + _structure_problems(options)


def _structure_problems(options: Mapping[str, Any]) -> list[str]:
    structure: Structure | None = options["structure"]
    places = [tensor for tensor, name in options["storage"].items() if name == "structured"]
    problems = [f"sparse.storage.{t}: only weights are structured" for t in places if t != "weight"]
    if structure is None:
        return [*problems, *(["sparse.storage.weight: 'structured' needs a structure"] if places else [])]
    if structure.scope not in SCOPES:
        hint = nearest(structure.scope, SCOPES)
        problems.append(f"sparse.structure.scope: unknown scope '{structure.scope}'{hint}")
    if not 1 <= structure.keep <= structure.of:
        problems.append(
            f"sparse.structure keeps {structure.keep} of {structure.of}: expected 1 to {structure.of}"
        )
    if "input" in options["skip"]:
        problems.append("sparse.skip: an array of structured weights does not skip zeros of the input")
    if options["pairs"] == "cartesian":
        problems.append("sparse.pairs: structured weights are always matched")
    if options["consecutive"] != 1:
        problems.append("sparse.consecutive means nothing with a structure")
    return problems

"""From single operators to layers: what is fused into what, and which versions are stored.

An importer or builder writes down `Step`s, one an operator, over `Value`s; `assemble` makes layers
of them. A `Value` is one reading of a tensor: `root` names the tensor as it was written, `name` the
version of it that is read (the same values at another width have another name), `shape` the view.

What is fused: an elementwise step joins the nest that writes its operand if nothing else reads that
operand, and if the number of elements stays. Of several such nests it joins the last; that nest then
runs as late as the other operands need, which changes nothing, since nobody else waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chipfit.errors import NetworkError
from chipfit.workload.network import Layer, Loops, Tensor

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """A tensor as one step reads it, with what is known of it before it runs.

    `dtype` is the ONNX element type. For constants: `array` holds the elements if they are known
    and worth keeping, `zeros` the fraction that is zero, `largest_sum` and `values` those of `Tensor`,
    `sources` the initializers they came from.
    """

    root: str
    name: str
    shape: tuple[int, ...]
    dtype: int = 1
    bits: int = 32
    floating: bool = True
    constant: bool = False
    array: Array | None = None
    zeros: float | None = None
    largest_sum: int | None = None
    values: tuple[tuple[int, int], ...] | None = None
    sources: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_vector(self) -> bool:
        """At most one dimension is larger than 1, as in biases and normalisation constants."""
        return self.elements == max(self.shape, default=1)

    def tensor(self) -> Tensor:
        """The tensor of a layer that this value is."""
        zeros = self.zeros
        if zeros is None and self.constant and self.array is not None and self.array.size:
            # A filled array is a view of one element, however large.
            array = self.array if any(self.array.strides) else self.array.reshape(-1)[:1]
            zeros = 1 - float(np.count_nonzero(array)) / array.size
        return Tensor(
            name=self.name,
            shape=self.shape,
            bits=self.bits,
            floating=self.floating,
            constant=self.constant,
            zeros=zeros if self.constant else None,
            largest_sum=self.largest_sum,
            values=self.values,
        )


@dataclass(kw_only=True, eq=False)
class Step:
    """One operator. `elementwise` steps may be fused; a step with `loops` may take them in.

    `reads[0]` and `weight` are the operands of a nest. `tables` are constants that are stored whole
    and read in part.
    """

    name: str
    operator: str
    reads: list[Value]
    writes: list[Value]
    loops: Loops | None = None
    weight: Value | None = None
    parameters: int = 0
    elementwise: bool = False
    tables: list[Value] = field(default_factory=list[Value])
    fused: list[str] = field(default_factory=list[str])

    @property
    def operands(self) -> list[Value]:
        """Everything that is read."""
        return [*self.reads, *([self.weight] if self.weight else [])]

    @property
    def activations(self) -> list[Value]:
        """Everything that is read and is not constant."""
        return [value for value in self.operands if not value.constant]


def assemble(steps: Sequence[Step], outputs: Sequence[Value], *, fuse: bool = True) -> tuple[Layer, ...]:
    """The layers of a network.

    Args:
        steps: the operators in the order in which they run; taken apart by this call.
        outputs: what the network returns.
        fuse: put elementwise steps into the nests before them.
    """
    kept = _fused(steps, outputs) if fuse else list(steps)
    versions = _versions(kept, outputs)
    return tuple(_layer(step, versions) for step in kept)


def _fused(steps: Sequence[Step], outputs: Sequence[Value]) -> list[Step]:
    readers: dict[str, int] = {}
    for value in outputs:
        readers[value.root] = readers.get(value.root, 0) + 1
    for step in steps:
        for root in {value.root for value in step.activations}:
            readers[root] = readers.get(root, 0) + 1
    writer: dict[str, Step] = {}
    position: dict[Step, int] = {}
    for index, step in enumerate(steps):
        host = _host(step, writer, readers, position) if step.elementwise else None
        if host is None:
            position[step] = index
            host = step
        else:
            inner = {value.root for value in host.writes}
            others = [value for value in step.reads if value.root not in inner]
            if any(position[writer[v.root]] > position[host] for v in others if v.root in writer):
                position[host] = index
            host.fused.append(step.operator)
            host.reads += others
            host.parameters += step.parameters
            host.writes = step.writes
        for value in step.writes:
            writer[value.root] = host
    return sorted(position, key=lambda step: position[step])


def _host(
    step: Step, writer: Mapping[str, Step], readers: Mapping[str, int], position: Mapping[Step, int]
) -> Step | None:
    """The nest that an elementwise step joins, if there is one."""
    if len(step.writes) != 1:
        return None
    found: list[Step] = []
    for value in step.activations:
        host = writer.get(value.root)
        if host is None or host.loops is None or len(host.writes) != 1:
            continue
        if readers[value.root] == 1 and value.elements == step.writes[0].elements:
            found.append(host)
    return max(found, key=lambda host: position[host], default=None)


def _versions(steps: Sequence[Step], outputs: Sequence[Value]) -> dict[str, dict[str, Value]]:
    """For each tensor, the versions that somebody reads, in the order of the readers."""
    versions: dict[str, dict[str, Value]] = {}
    for value in [*(v for step in steps for v in step.activations), *outputs]:
        versions.setdefault(value.root, {}).setdefault(value.name, value)
    return versions


def _layer(step: Step, versions: Mapping[str, Mapping[str, Value]]) -> Layer:
    outputs: list[Tensor] = []
    for index, value in enumerate(step.writes):
        read = versions.get(value.root, {})
        stored = [replace(version, shape=value.shape) for version in read.values()]
        if not stored and index == 0:
            stored = [value]
        outputs += [version.tensor() for version in stored if version.elements]
    try:
        return Layer(
            name=step.name,
            operator=step.operator,
            loops=step.loops,
            inputs=tuple(value.tensor() for value in step.reads if value.elements),
            weight=step.weight.tensor() if step.weight else None,
            outputs=tuple(outputs),
            parameters=step.parameters,
            fused=tuple(step.fused),
            tables=tuple(value.tensor() for value in step.tables),
        )
    except NetworkError as error:
        raise NetworkError(f"layer '{step.name}' ({step.operator}): {error}") from error

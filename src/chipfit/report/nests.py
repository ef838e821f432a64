"""The cost of a network as people read it: where energy and time go, and each mapping as a loop nest.

From the document of `chipfit.cost.mapping.explain.document`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chipfit import units

#: Tol, "Colour Schemes", SRON/EPS/TN/09-002, 2021: the muted scheme.
COLOURS = (
    "#332288", "#88ccee", "#44aa99", "#ddcc77", "#cc6677", "#117733", "#999933", "#882255", "#aa4499"
)  # fmt: skip
_COMPUTE, _MAC, _STATIC, _OPEN = "compute", "MAC", "static", 3


@dataclass(frozen=True, kw_only=True)
class Share:
    """A part of a whole: `percent` is drawn as a bar, `text` says how much it is."""

    name: str
    colour: str
    percent: float
    text: str
    share: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A big number with a remark below it."""

    name: str
    value: str
    remark: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of pseudo-code, so many steps to the right."""

    depth: int
    code: str
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a memory holds of one tensor. `room`: percent of the memory, None where it is unbounded."""

    tensor: str
    bits: str
    tile: str
    words: str
    room: float | None
    stays: str
    read: str
    written: str
    energy: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """A memory, an array or the datapath: its loops, and what it holds and takes."""

    kind: str
    name: str
    colour: str
    about: str
    energy: str
    time: str
    slowest: bool
    lines: tuple[Line, ...] = ()
    rows: tuple[Row, ...] = ()
    passing: str = ""
    beside: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerText:
    """A layer in one line, and its bands."""

    name: str
    operator: str
    energy: str
    share: str
    latency: str
    bound: str
    about: str
    parts: tuple[Share, ...]
    bands: tuple[Band, ...]
    note: str
    open: bool


def colours(document: Mapping[str, Any]) -> dict[str, str]:
    """A colour for each component of the energy or the time; calculating has that of its energy."""
    names = dict.fromkeys(_energies(document))
    names.update(dict.fromkeys(n for row in document["layers"] for n in row["latency_by_component_s"]))
    names.pop(_COMPUTE, None)
    found = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    return {**found, _COMPUTE: found.get(_MAC, COLOURS[0])}


def _energies(document: Mapping[str, Any]) -> dict[str, float]:
    """Energy of each component, from the main memory inwards to the datapath."""
    known = document["totals"]["energy_by_component_j"]
    inwards = [document["main_memory"]]
    for memories in document["memories"]:
        for memory in memories:
            inwards += [memory["name"], *([memory["array"]["name"]] if memory["array"] else [])]
    last = [name for name in (_MAC, _STATIC) if name in known]
    order = dict.fromkeys([*inwards, *(name for name in known if name not in last), *last])
    return {name: known[name] for name in order if name in known}


def bound(layer: Mapping[str, Any]) -> str:
    """The component that a layer waits for.

    >>> bound({"latency_by_component_s": {"compute": 1.0, "dram": 2.0}})
    'dram'
    """
    time: Mapping[str, float] = layer["latency_by_component_s"]
    return max(time, key=lambda name: time[name]) if time else _COMPUTE


def amounts(document: Mapping[str, Any]) -> list[Amount]:
    """The headline totals."""
    totals = document["totals"]
    macs, energy_j, latency_s = totals["macs"], totals["energy_j"], totals["latency_s"]
    elements = document["processing_elements"]
    each = f"{units.si(energy_j / macs, 'J')} per MAC" if macs else ""
    return [
        Amount(name="Energy", value=units.si(energy_j, "J"), remark=each),
        Amount(
            name="Latency",
            value=units.si(latency_s, "s"),
            remark=f"{units.si(1 / latency_s)} a second" if latency_s else "",
        ),
        Amount(name="Power", value=units.si(totals["power_w"], "W"), remark="while it runs"),
        Amount(
            name=f"Traffic of {document['main_memory']}",
            value=units.binary(totals["dram_bits"]),
            remark=f"{units.si(totals['dram_bits'] / latency_s / 8, 'B')}/s on average" if latency_s else "",
        ),
        Amount(
            name="Utilisation",
            value=units.percent(totals["utilization"]),
            remark=f"{units.si(macs)} MACs on {elements:,} multipliers",
        ),
        Amount(
            name="Memory",
            value=units.binary(totals["memory_bits"]),
            remark=f"{units.binary(totals['weight_memory_bits'])} weights, "
            f"{units.binary(totals['peak_activation_bits'])} activations at most",
        ),
    ]


def summary(document: Mapping[str, Any]) -> str:
    """Where most of the energy and of the time goes, in a sentence or two."""
    energy: Mapping[str, float] = document["totals"]["energy_by_component_j"]
    whole, sentences = document["totals"]["energy_j"], list[str]()
    if whole > 0:
        most = max(energy, key=lambda name: energy[name])
        sentences.append(f"{units.percent(energy[most] / whole, 0)} of the energy goes to {most}.")
    time: Counter[str] = Counter()
    for row in document["layers"]:
        time[bound(row)] += row["latency_s"]
    if (total := time.total()) > 0:
        waits = [
            f"{_waiting(name)} ({units.percent(seconds / total, 0)})"
            for name, seconds in time.most_common(3)
            if seconds > 0.005 * total
        ]
        sentences.append(f"The time goes into {_listed(waits)}.")
    return " ".join(sentences)


def components(document: Mapping[str, Any]) -> list[Share]:
    """Energy of each component of all layers together."""
    return _shares(_energies(document), colours(document))


def layers(document: Mapping[str, Any]) -> list[LayerText]:
    """The layers in the order in which they run; those that take most are open."""
    tints, rows = colours(document), document["layers"]
    ranked = sorted(range(len(rows)), key=lambda i: -rows[i]["energy_j"])
    whole = document["totals"]["energy_j"]
    found: list[LayerText] = []
    for index, (row, memories) in enumerate(zip(rows, document["memories"], strict=True)):
        if memories:
            note = ""
        elif row["macs"]:
            note = row["mapping"] or "This estimator says nothing of how the layer runs."
        else:
            note = "No loop nest: its tensors are read and written once."
        about = f"{units.si(row['macs'])} MACs · " if row["macs"] else ""
        if row["macs"]:
            about += (
                f"weights of {row['weight_bits']}, inputs of {row['input_bits']}, partial sums of "
                f"{row['accumulator_bits']} bit · {units.percent(row['utilization'])} of all multipliers · "
            )
        about += f"{units.binary(row['dram_bits'])} over {document['main_memory']}"
        if row.get("mappings"):
            about += f" · {_chosen(row)}"
        found.append(
            LayerText(
                name=row["name"],
                operator=row["operator"],
                energy=units.si(row["energy_j"], "J"),
                share=units.percent(row["energy_j"] / whole) if whole else "",
                latency=units.si(row["latency_s"], "s"),
                bound=_waiting(bound(row)) if row["latency_s"] else "",
                about=about,
                parts=tuple(_shares(row["energy_by_component_j"], tints)),
                bands=_bands(row, memories, document["clock_hz"], tints) if memories else (),
                note=note,
                open=index in ranked[:_OPEN],
            )
        )
    return found


def _waiting(name: str) -> str:
    return "multiplying" if name == _COMPUTE else f"waiting for {name}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _shares(amounts_j: Mapping[str, float], tints: Mapping[str, str]) -> list[Share]:
    """Parts of a sum, in the order of the colours."""
    whole = sum(amounts_j.values())
    return [
        Share(
            name=name,
            colour=tints[name],
            percent=100 * energy_j / whole,
            text=units.si(energy_j, "J"),
            share=units.percent(energy_j / whole),
        )
        for name in tints
        if (energy_j := amounts_j.get(name, 0.0)) > 0
    ]


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """What the components of a layer take, and how that is said."""

    row: Mapping[str, Any]
    clock_hz: float

    def energy_j(self, name: str) -> float:
        return self.row["energy_by_component_j"].get(name, 0.0)

    def energy(self, name: str) -> str:
        if not (energy_j := self.energy_j(name)):
            return ""
        return f"{units.si(energy_j, 'J')} ({units.percent(energy_j / self.row['energy_j'])})"

    def time(self, name: str) -> str:
        seconds = self.row["latency_by_component_s"].get(name)
        if seconds is None or not self.row["latency_s"]:
            return ""
        cycles = f"{_count(seconds * self.clock_hz)} cycles"
        return f"{cycles} ({units.percent(seconds / self.row['latency_s'], 0)} of the time)"

    def slowest(self, name: str) -> bool:
        return name == bound(self.row)


def _bands(
    row: Mapping[str, Any],
    memories: Sequence[Mapping[str, Any]],
    clock_hz: float,
    tints: Mapping[str, str],
) -> tuple[Band, ...]:
    taken = _Taken(row=row, clock_hz=clock_hz)
    known = {_MAC, _STATIC}
    known |= {name for m in memories for name in (m["name"], *([m["array"]["name"]] if m["array"] else []))}

    def band(kind: str, name: str, about: str, time: str = "", **more: Any) -> Band:
        return Band(
            kind=kind,
            name=name,
            colour=tints.get(name, "#c5ccd3"),
            about=about,
            energy=taken.energy(name),
            time=taken.time(time or name),
            slowest=taken.slowest(time or name),
            **more,
        )

    found = [
        band("outside", name, "constants cross it once, beside the nest")
        for name in row["energy_by_component_j"]
        if name not in known
    ]
    depth = 0
    for i, memory in enumerate(memories):
        lines = [
            Line(
                depth=depth + j,
                code=f"for {_range(loop['dimension'], loop['iterations'])}",
                remark=_loop(loop),
            )
            for j, loop in enumerate(memory["loops"])
        ]
        depth += len(lines)
        if not lines:
            with_next = f"as {memories[i + 1]['name']}" if memory["tied"] else "one tile"
            lines = [Line(depth=depth, code="", remark=with_next)]
        beside_j = taken.energy_j(memory["name"]) - memory["energy_j"]
        beside = beside_j > 1e-9 * max(memory["energy_j"], beside_j)
        found.append(
            band(
                "memory",
                memory["name"],
                _about_memory(memory),
                lines=tuple(lines),
                rows=tuple(_row(held, memory["capacity_words"]) for held in memory["holds"]),
                passing=", ".join(memory["passing"]),
                beside=units.si(beside_j, "J") if beside else "",
            )
        )
        array = memory["array"]
        if array:
            lines = [
                Line(
                    depth=depth + j,
                    code=f"parallel {_range(side['dimension'], side['elements'])}",
                    remark=_side(side),
                )
                for j, side in enumerate(array["parallel"])
            ]
            depth += len(lines)
            lines = lines or [Line(depth=depth, code="", remark="one processing element")]
            found.append(band("array", array["name"], _about_array(array), lines=tuple(lines)))
    product = Line(depth=depth, code="output += input × weight")
    about = f"{row['macs']:,} multiply-accumulates"
    found.append(band("datapath", _MAC, about, _COMPUTE, lines=(product,)))
    if taken.energy_j(_STATIC):
        found.append(band("outside", _STATIC, "static power, all the time"))
    return tuple(found)


def _range(dimension: str, count: int) -> str:
    return f"{dimension} in 0..{count - 1}"


def _loop(loop: Mapping[str, Any]) -> str:
    parts = [f"steps of {loop['step']}"] if loop["step"] > 1 else []
    parts += ["the last is shorter"] if loop["ragged"] else []
    parts += [f"{loop['stays']} stays"] if loop["stays"] else []
    return ", ".join(parts)


def _side(side: Mapping[str, Any]) -> str:
    shared = {"": "", "output": ", sums added up"}.get(side["shares"], f", {side['shares']} to all")
    return f"{side['side']}{shared}"


def _chosen(row: Mapping[str, Any]) -> str:
    """Of how many mappings this one is, and how sure it is that none is better."""
    sure = "proven the best" if row["gap"] == 0 else f"at most {units.percent(row['gap'])} above the best"
    return f"{sure} of {units.many(row['mappings'])} mappings"


def _about_memory(memory: Mapping[str, Any]) -> str:
    capacity, bits = memory["capacity_words"], memory["word_bits"]
    size = f"words of {bits} bit"
    if capacity is not None:
        one = f"{capacity:,} word{'' if capacity == 1 else 's'} of {bits} bit"
        size = f"{units.binary(capacity * bits)}, {one}"
    if memory["available"] == 1:
        return size
    return f"{memory['instances']:,} of {memory['available']:,} at work, each {size}"


def _about_array(array: Mapping[str, Any]) -> str:
    used, whole = 1, array["rows"] * array["columns"]
    for side in array["parallel"]:
        used *= side["elements"]
    return (
        f"{array['rows']} rows × {array['columns']} columns: {used:,} of {whole:,} at work "
        f"({units.percent(used / whole, 0)})"
    )


def _row(held: Mapping[str, Any], capacity: int | None) -> Row:
    words = held["words"]
    return Row(
        tensor=held["tensor"],
        bits=f"{held['bits']}",
        tile=" × ".join(f"{dimension} {extent}" for dimension, extent in held["tile"]) or "1",
        words="all" if words is None else _count(words),
        room=None if words is None or capacity is None else 100 * words / capacity,
        stays=f"{held['stays']:,} steps" if held["stays"] > 1 else "",
        read=_count(held["read_words"]),
        written=_count(held["written_words"]),
        energy=units.si(held["energy_j"], "J"),
    )


def _count(number: float) -> str:
    """A count, exact as long as that is short.

    >>> _count(99_999), _count(1_234_567)
    ('99,999', '1.23 M')
    """
    return f"{number:,.0f}" if number < 100_000 else units.si(number)

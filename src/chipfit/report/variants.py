"""A sweep as people read it: headings, rows and the best, from a `chipfit cost --sweep --json` document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chipfit import units

#: What can be compared: its key in the document, the unit of that, and what people call it.
COMPARED: Mapping[str, tuple[str, str, str]] = {
    "energy": ("energy_j", "J", "energy"),
    "latency": ("latency_s", "s", "latency"),
    "dram": ("dram_bits", "bit", "DRAM traffic"),
    "capacity": ("capacity_bits", "bit", "memory on the chip"),
    "multipliers": ("processing_elements", "", "multipliers"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant: values of its parameters, amounts (none if it cannot run), and why it cannot."""

    parameters: tuple[str, ...]
    amounts: tuple[str, ...]
    pareto: bool
    error: str


#: Headings of `Row.amounts`.
AMOUNTS = ("energy", "latency", "EDP", "DRAM", "on-chip memory", "multipliers")


def heading(axis: Mapping[str, Any]) -> str:
    """The name of a parameter in short, with its unit unless the name says it.

    >>> heading({"name": "glb_kib", "unit": "KiB"}), heading({"name": "clock", "unit": "MHz"})
    ('glb_kib', 'clock (MHz)')
    """
    name, unit = str(axis["name"]).removeprefix("levels.").removeprefix("arrays."), str(axis["unit"])
    return name if not unit or name.lower().endswith(unit.lower()) else f"{name} ({unit})"


def rows(document: Mapping[str, Any]) -> list[Row]:
    """A row for every variant, in the order of the sweep."""
    return [row(variant) for variant in document["variants"]]


def row(variant: Mapping[str, Any]) -> Row:
    """One variant as text."""

    def shown(key: str, unit: str) -> str:
        value = variant[key]
        if value is None:
            return "–"
        return units.binary(value) if unit == "bit" else units.si(value, unit)

    elements = variant["processing_elements"]
    return Row(
        parameters=tuple(f"{value:.15g}" for value in variant["parameters"].values()),
        amounts=(
            shown("energy_j", "J"),
            shown("latency_s", "s"),
            shown("edp_js", "J·s"),
            shown("dram_bits", "bit"),
            shown("capacity_bits", "bit"),
            "–" if elements is None else f"{elements:,}",
        ),
        pareto=variant["pareto"],
        error=variant["error"] or "",
    )


def place(variant: Mapping[str, Any], axes: Sequence[Mapping[str, Any]]) -> str:
    """The parameters of a variant on one line.

    >>> axes = [{"name": "clock", "unit": "MHz"}, {"name": "glb_kib", "unit": "KiB"}]
    >>> place({"parameters": {"clock": 100, "glb_kib": 64}}, axes)
    'clock 100 MHz, glb_kib 64'
    """
    said = [heading(axis).removesuffix(")").partition(" (") for axis in axes]
    values = variant["parameters"].values()  # none, of the target as it is
    return ", ".join(f"{n} {v:.15g} {u}".strip() for (n, _, u), v in zip(said, values, strict=False))


def best(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The variants of least energy, latency and energy-delay product: what it is, and how much where."""
    able = [v for v in document["variants"] if v["error"] is None]
    found: list[tuple[str, str]] = []
    for name, key, unit in (
        ("least energy", "energy_j", "J"),
        ("least latency", "latency_s", "s"),
        ("least EDP", "edp_js", "J·s"),
    ):
        if able:
            first = min(able, key=lambda v: v[key])
            alike = sum(v[key] == first[key] for v in able) - 1
            where = place(first, document["axes"])
            more = f" (and {alike} more)" if alike else ""
            found.append((name, f"{units.si(first[key], unit)}: {where}{more}"))
    return found


def reasons(document: Mapping[str, Any]) -> list[str]:
    """Why variants cannot run the network: each reason once, with the variants that have it.

    >>> unable = {"parameters": {"rows": 8}, "error": "conv1 does not fit"}
    >>> reasons({"axes": [{"name": "rows", "unit": ""}], "variants": [unable]})
    ['rows 8: conv1 does not fit']
    """
    found: dict[str, list[str]] = {}
    for variant in document["variants"]:
        if variant["error"] is not None:
            found.setdefault(variant["error"], []).append(place(variant, document["axes"]))
    return [
        f"{places[0]}{f' (and {len(places) - 1:,} more)' if len(places) > 1 else ''}: {reason}"
        for reason, places in found.items()
    ]


def summary(document: Mapping[str, Any]) -> str:
    """What came out, in a sentence."""
    variants: Sequence[Mapping[str, Any]] = document["variants"]
    front = " and ".join(COMPARED[name][2] for name in document["front"])
    marked = sum(v["pareto"] for v in variants)
    unable = sum(v["error"] is not None for v in variants)
    count = "1 variant" if len(variants) == 1 else f"{len(variants):,} variants"
    if unable == len(variants):
        return f"None of {count} can run the network"
    text = f"{marked:,} of {count} {'is' if marked == 1 else 'are'} not beaten in {front}"
    return f"{text}; {unable:,} cannot run the network" if unable else text

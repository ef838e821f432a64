"""The records of a run as one self-contained page: no network, nothing read but `records.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from chipfit import units
from chipfit.errors import RecordError
from chipfit.report import cheap_values, gates, loads, nests, variants
from chipfit.report.charts import ORIGINS, Chart
from chipfit.report.cost_charts import cost_charts, variants_front
from chipfit.report.fit_charts import charts
from chipfit.report.history import QUANTITIES, Candidate, Final, History, read_history
from chipfit.report.record import Records, write_atomically

RECORDS, PAGE = "records.jsonl", "report.html"

_NAMES = {"energy": "Energy", "latency": "Latency", "dram": "DRAM traffic", "memory": "Memory"}


def build(directory: Path) -> Path:
    """Write `report.html` from the records of a run, and say where it is.

    A run that is not finished has a page too; the page says so.

    Raises:
        RecordError: there are no records in the directory, one cannot be read, or the page cannot
            be written.
    """
    write_atomically(directory / PAGE, render(load(directory)).encode())
    return directory / PAGE


def load(directory: Path) -> History:
    """The history that the records in a directory tell.

    Raises:
        RecordError: there are no records in the directory, or one cannot be read.
    """
    path = directory / RECORDS
    if not path.is_file():
        raise RecordError(f"no {RECORDS} in {directory}: expected the output directory of chipfit fit")
    records = Records(path).read()
    if not records:
        raise RecordError(f"{path} holds no records yet")
    try:
        return read_history(records)
    except RecordError as error:
        raise RecordError(f"{path}, {error}") from error


def render(history: History) -> str:
    """The page of a run."""
    drawn = {chart.name: chart for chart in charts(history)}
    layers = layer_table(history)
    return page(
        "page.html",
        drawn,
        history=history,
        headline=headline(history),
        tiles=tiles(history),
        tried=[name for name in drawn if name.startswith("pareto-")],
        layers=layers,
        valued=any(row["weight_values"] for row in layers),
        candidates=candidate_table(history),
        facts=facts(history),
        recipe=_recipe(history),
        remarks=remarks(history),
        estimate=history.original.cost if history.original else None,
    )


def check_place(path: Path) -> None:
    """Refuse a page that could not be written, before there is anything to write.

    Raises:
        RecordError: a folder of that name is there, or no folder to write it to.
    """
    if path.is_dir():
        raise RecordError(f"cannot write {path}: Is a directory")
    if not path.parent.is_dir():
        raise RecordError(f"cannot write {path}: there is no folder {path.parent}")


def write_variants(document: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a sweep, from its `chipfit cost --sweep --json` document, and say where it is.

    Raises:
        RecordError: the page cannot be written.
    """
    write_atomically(path, render_variants(document).encode())
    return path


def render_variants(document: Mapping[str, Any]) -> str:
    """The page of a sweep."""
    chart, rows = variants_front(document), variants.rows(document)
    return page(
        "variants.html",
        {chart.name: chart} if chart else {},
        document=document,
        estimate=document,
        summary=variants.summary(document),
        headings=[*map(variants.heading, document["axes"]), *variants.AMOUNTS],
        rows=rows,
        front=[row for row in rows if row.pareto],
        best=variants.best(document),
        reasons=variants.reasons(document),
        remarks=document["warnings"],
    )


def write_cost(document: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a cost, from the document of `mapping.explain.document`, and say where it is.

    Raises:
        RecordError: the page cannot be written.
    """
    write_atomically(path, render_cost(document).encode())
    return path


def render_cost(document: Mapping[str, Any]) -> str:
    """The page of a cost: where energy and time go, and every mapping as a loop nest."""
    return page(
        "nests.html",
        {chart.name: chart for chart in cost_charts(document)},
        document=document,
        estimate=document,
        summary=nests.summary(document),
        amounts=nests.amounts(document),
        components=nests.components(document),
        layers=nests.layers(document),
        nested=any(document["memories"]),
        loads=loads.pictures(document),
    )


def write_gates(document: Mapping[str, Any], path: Path) -> Path:
    """Write the page of a table of weight values, and say where it is.

    Args:
        document: of `chipfit gates --json`.
        path: the file.

    Raises:
        RecordError: the page cannot be written.
    """
    write_atomically(path, render_gates(document).encode())
    return path


def render_gates(document: Mapping[str, Any]) -> str:
    """The page of a table of weight values."""
    order, quickest = gates.by_energy(document), gates.by_delay(document)

    def values(places: Sequence[int]) -> list[gates.Value]:
        return [gates.value(document, place) for place in places]

    return page(
        "gates.html",
        {chart.name: chart for chart in gates.charts(document)},
        document=document,
        estimate=document,
        summary=gates.summary(document),
        amounts=gates.amounts(document),
        cheapest=values(order[: gates.named(document)]),
        dearest=values(order[::-1][: gates.named(document)]),
        fastest=values(quickest[: gates.named(document)]),
        everything=values(range(len(order))),
        facts=gates.facts(document),
    )


def write_values(document: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write the page of a network of cheap weight values, and say where it is.

    Args:
        document: of `chipfit values --json`.
        epochs: the records of its retraining.
        path: the file.

    Raises:
        RecordError: the page cannot be written.
    """
    write_atomically(path, render_values(document, epochs).encode())
    return path


def render_values(document: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page of a network of cheap weight values."""
    return page(
        "cheap_values.html",
        {chart.name: chart for chart in cheap_values.charts(document, epochs)},
        document=document,
        summary=cheap_values.summary(document),
        amounts=cheap_values.amounts(document),
        rows=cheap_values.rows(document),
        tried=cheap_values.tried(document),
    )


def page(template: str, drawn: Mapping[str, Chart], **more: Any) -> str:
    """A self-contained page: a template of this package with charts, plotly.js, and what else it names."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (files("chipfit.report") / name).read_text("utf-8")),
    )
    return environment.get_template(template).render(
        charts=drawn,
        figures={name: {"data": chart.data, "layout": chart.layout} for name, chart in drawn.items()},
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - our dependency's own code, not text from a file
        **more,
    )


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first thing to read: `state` is 'met', 'missed' or 'running'."""

    state: str
    badge: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One big number; `share` and `limit` are drawn as a bar and a mark on it (fractions)."""

    name: str
    value: str
    before: str
    after: str
    remark: str = ""
    share: float | None = None
    limit: float | None = None
    budgeted: bool = False


def headline(history: History) -> Headline:
    """What came out, in a sentence.

    >>> headline(read_history([{"kind": "run", "task": "digits"}])).badge
    'Not finished'
    """
    final = history.final
    if final is None:
        tried = len(history.candidates)
        sentence = (
            f"This run goes on, or was stopped: {tried} candidate{'' if tried == 1 else 's'} tried so far. "
            "Nothing here is a result yet. chipfit fit with --resume goes on where it stopped."
        )
        return Headline(state="running", badge="Not finished", sentence=sentence)
    parts = [
        _fall(history, quantity, final.ratios[quantity])
        for quantity in QUANTITIES
        if quantity in _asked(history)
    ]
    if final.accuracy_after is not None and final.accuracy_before is not None:
        before, after = units.percent(final.accuracy_before), units.percent(final.accuracy_after)
        parts.append(f"Test accuracy is {after}; it was {before}")
    if final.budget_met:
        return Headline(state="met", badge="Budget met", sentence=". ".join(parts) + ".")
    over = [
        f"{_NAMES.get(q, q).lower()} by {units.percent(ratio - 1)}"
        for q, ratio in final.shortfall.items()
        if ratio > 1
    ]
    missed = f"The budget is missed{': ' + ', '.join(over) if over else ''}. This is the best that was found"
    return Headline(state="missed", badge="Budget missed", sentence=". ".join([missed, *parts]) + ".")


def _asked(history: History) -> list[str]:
    """The quantities of the budget whose ratio is known, or energy without a budget."""
    known = history.final.ratios if history.final else {}
    return [quantity for quantity in (history.run.budget or ("energy",)) if quantity in known]


def _fall(history: History, quantity: str, ratio: float) -> str:
    limit = history.limit(quantity)
    allowed = f" (budget {100 * limit:.3g} %)" if limit is not None else ""
    verb = "falls" if ratio < 1 else "rises"
    return f"{_NAMES[quantity]} {verb} to {units.percent(ratio)} of the 8-bit original{allowed}"


def tiles(history: History) -> list[Tile]:
    """Accuracy and the four costs, before and after."""
    found = [_accuracy_tile(history)]
    for quantity, name in _NAMES.items():
        if quantity not in history.before or quantity not in history.after:
            continue
        before, after = history.before[quantity], history.after[quantity]
        ratio = after / before
        less = f"{1 / ratio:.2g}× less" if 0 < ratio < 0.995 else ""
        limit = history.limit(quantity)
        found.append(
            Tile(
                name=name,
                value=units.percent(ratio),
                before=_amount(quantity, before),
                after=_amount(quantity, after),
                remark=f"budget {100 * limit:.3g} %" if limit is not None else less,
                share=min(1.0, ratio),
                limit=limit if limit is not None and limit <= 1 else None,
                budgeted=limit is not None,
            )
        )
    return [tile for tile in found if tile is not None]


def _accuracy_tile(history: History) -> Tile | None:
    final = history.final
    if final is None or final.accuracy_before is None or final.accuracy_after is None:
        return None
    drop = final.accuracy_after - final.accuracy_before
    remark = f"{100 * drop:+.1f} points".replace("-", "\N{MINUS SIGN}")
    if final.test_images:
        # Standard error of one proportion, sqrt(p (1 - p) / n).
        p = final.accuracy_after
        spread = math.sqrt(p * (1 - p) / final.test_images)
        remark += f"; {final.test_images:,} images, standard error {100 * spread:.1f}"
    return Tile(
        name="Test accuracy",
        value=units.percent(final.accuracy_after),
        before=units.percent(final.accuracy_before),
        after=units.percent(final.accuracy_after),
        remark=remark,
    )


def _amount(quantity: str, amount: float) -> str:
    return (
        units.binary(amount)
        if QUANTITIES[quantity][1] == "bit"
        else units.si(amount, QUANTITIES[quantity][1])
    )


def layer_table(history: History) -> list[dict[str, str]]:
    """One row a layer: energy before and after, bits, channels, and weight values where they are few."""
    documents = [history.original.cost] if history.original else []
    documents += [history.final.cost] if history.final else []
    rows = [{row.name: row for row in document.layers} for document in documents]
    choices = {choice.layer: choice for choice in history.choices}
    table: list[dict[str, str]] = []
    for name in dict.fromkeys(name for document in rows for name in document):
        energies = [document[name].energy_j if name in document else None for document in rows]
        latest = next(document[name] for document in reversed(rows) if name in document)
        choice = choices.get(name)
        kept = choice and choice.channels is not None and f"{choice.channels} of {choice.channels_before}"
        values = choice.values if choice and choice.values else ()
        table.append(
            {
                "name": name,
                "operator": latest.operator,
                "macs": units.si(latest.macs),
                "before": units.si(energies[0], "J") if energies[0] is not None else "–",
                "after": units.si(energies[1], "J") if energies[1:] and energies[1] is not None else "–",
                "bits": f"{latest.weight_bits} / {latest.input_bits}" if latest.weight_bits else "–",
                "channels": kept or "–",
                "weight_values": ", ".join(map(str, values)).replace("-", "\N{MINUS SIGN}"),
            }
        )
    return table


def candidate_table(history: History) -> list[dict[str, Any]]:
    """One row a candidate, cheapest first."""

    def row(candidate: Candidate) -> dict[str, Any]:
        accuracy = candidate.accuracy_validation
        return {
            "name": candidate.name,
            "origin": ORIGINS.get(candidate.origin, candidate.origin),
            "epochs": candidate.training,
            "accuracy": "–" if accuracy is None else units.percent(accuracy, 2),
            "ratios": [
                units.percent(candidate.ratios[q]) if q in candidate.ratios else "–" for q in QUANTITIES
            ],
            "chosen": candidate.chosen,
        }

    return [row(c) for c in sorted(history.candidates, key=lambda c: c.ratios.get("energy", 0.0))]


def facts(history: History) -> list[tuple[str, str]]:
    """What is needed to do it again: budget, seed, options, versions."""
    run, final = history.run, history.final
    limits = [_limit_text(q, limit.limit, limit.unit, limit.relative) for q, limit in run.budget.items()]
    found = [("Task", run.task), ("Target", run.target), ("Budget", ", ".join(limits) or "none")]
    if run.seed is not None:
        found.append(("Seed", str(run.seed)))
    found += [("Started", run.started)] if run.started else []
    found += _result_facts(final) if final else []
    found += [(f"--{name.replace('_', '-')}", _shown(value)) for name, value in run.options.items()]
    found += list(run.versions.items())
    return found


def _result_facts(final: Final) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if final.seconds is not None:
        found.append(
            ("Took", f"{final.seconds / 60:.1f} min" if final.seconds >= 120 else f"{final.seconds:.0f} s")
        )
    if final.model:
        found.append(("Model", final.model))
    if final.agreement is not None:
        text = f"{units.percent(final.agreement, 2)} of the test images get the class that torch gives them"
        found.append(("ONNX Runtime", text))
    return found


def _limit_text(quantity: str, limit: float, unit: str, relative: bool) -> str:
    if relative:
        return f"{quantity} at most {units.percent(limit)} of the 8-bit original"
    amount = _amount(quantity, limit) if quantity in QUANTITIES else f"{limit:g} {unit}"
    return f"{quantity} at most {amount}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping | list):
        return str(value)
    return "–" if value is None else f"{value}"


def _recipe(history: History) -> str:
    if history.final and history.final.recipe:
        return history.final.recipe
    return history.chosen.recipe if history.chosen else ""


def remarks(history: History) -> list[str]:
    """Warnings of the importer and the estimator, and the notes of the run, each once."""
    found: list[str] = []
    if history.original:
        found += history.original.cost.warnings
    if history.final:
        found += history.final.cost.warnings
        if multiplier := history.final.cost.multiplier:
            found.append(f"Multiplications of the result: {multiplier.text}")
    found += [note.text for note in history.notes]
    return list(dict.fromkeys(found))

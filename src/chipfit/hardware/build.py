"""From a target's file, sound in each of its keys, to the target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chipfit.errors import TargetError, nearest
from chipfit.hardware import technology
from chipfit.hardware.schema import ActivationsEntry, ArithmeticEntry, LevelEntry, TargetEntry
from chipfit.hardware.sparse import (
    SparseArray,
    sparse_problems,
)
from chipfit.hardware.target import (
    Arithmetic,
    Array,
    MemoryLevel,
    Residence,
    Target,
)


def build(model: TargetEntry, file: str, *, sound: bool) -> tuple[Target | None, list[str]]:
    """The target, or what (else, if it is not sound) keeps it from being one."""
    whole = model.source or f"stated in {file}"
    problems = list(_source_problems(model))
    sources = dict(model.sources)
    levels: list[MemoryLevel] = []
    for index, level in enumerate(model.levels):
        if index > 0 and level.size is None and level.words is None:
            continue  # reported with the structure
        try:
            levels.append(_level(level, model.clock, whole))
        except TargetError as error:
            problems.append(f"levels[{index}].energy: {error}")
        except _SizeError as error:
            problems.append(f"levels[{index}].{error}")
        sources |= _level_sources(level, whole)
    arrays: list[Array] = []
    order = [level.name for level in model.levels]
    for array in model.arrays:
        own = array.source or whole
        sources |= {f"arrays.{array.name}.{key}": text for key, text in array.sources.items()}
        arrays.append(
            Array(
                name=array.name,
                below=array.below,
                rows=array.rows,
                columns=array.columns,
                row_dimensions=array.row_dimensions,
                column_dimensions=array.column_dimensions,
                hop_energy_j=array.hop_energy,
                source=own,
            )
        )
    try:
        arithmetic = _arithmetic(model.arithmetic, whole)
    except TargetError as error:
        arithmetic = None
        problems.append(f"arithmetic: {error}")
    partial = model.partial_sum_bits
    if partial is not None and partial < model.native_bits:
        problems.append(f"partial_sum_bits ({partial}) is below native_bits ({model.native_bits})")
    if model.sparse is not None:
        problems += sparse_problems(model.sparse.options())
    supply = None
    try:
        supply = None if model.mac_supply is None else model.mac_supply.read()
    except TargetError as error:
        problems.append(f"mac_supply: {error}")
    complete = len(levels) == len(order) and all(array.below in order for array in arrays)
    if problems or arithmetic is None or not complete or not sound:
        return None, problems
    try:
        target = Target(
            name=model.name,
            description=" ".join(model.description.split()),
            source=whole,
            clock_hz=model.clock,
            native_bits=model.native_bits,
            partial_sum_bits=partial or 0,
            arithmetic=arithmetic,
            levels=tuple(levels),
            arrays=tuple(sorted(arrays, key=lambda array: order.index(array.below))),
            operand_bits=model.operand_bits,
            static_power_w=model.static_power,
            area_um2=model.area,
            activations=_residence(model.activations),
            coded_weights=model.coded_weights,
            vector_cycles=model.vector_cycles,
            sparse=None if model.sparse is None else SparseArray(**model.sparse.options()),
            mac_tables=model.mac_table,
            mac_supply=supply,
            sources=sources,
        )
    except TargetError as error:
        return None, [str(error).removeprefix(f"target '{model.name}': ")]
    return target, []


def _residence(given: ActivationsEntry | None) -> Residence | None:
    return None if given is None else Residence(level=given.level, channels=given.channels)


class _SizeError(Exception):
    """The size of a level contradicts its words."""


def _level(level: LevelEntry, clock_hz: float, whole: str) -> MemoryLevel:
    size_bits = level.words * level.word_bits if level.words else level.size
    if size_bits is not None and size_bits < level.word_bits:
        raise _SizeError(f"size: {size_bits} bit is less than one word of {level.word_bits} bit")
    read_j, write_j, source = _access(level, size_bits, whole)
    per_cycle = None
    if level.bandwidth:
        bits, per = level.bandwidth
        per_cycle = bits if per == "cycle" else bits / clock_hz
    return MemoryLevel(
        name=level.name,
        word_bits=level.word_bits,
        read_energy_j=read_j,
        write_energy_j=write_j,
        source=source,
        size_bits=size_bits,
        bandwidth_bits_per_cycle=per_cycle,
        holds=level.holds,
        may_bypass=level.may_bypass,
        loops=level.loops,
        stationary=level.stationary,
        double_buffered=level.double_buffered,
    )


def _access(level: LevelEntry, size_bits: int | None, whole: str) -> tuple[float, float, str]:
    """Energies of a read and a write, and their source."""
    energy = level.energy
    if energy.table is not None:
        found = technology.memory_energy(
            energy.table,
            row=energy.row,
            size_bits=size_bits,
            word_bits=level.word_bits,
            node_nm=energy.node_nm,
        )
        return found.read_j, found.write_j, found.source
    source = energy.source or level.source or whole
    read = energy.access if energy.access is not None else energy.read
    write = energy.access if energy.access is not None else energy.write
    return read or 0.0, write or 0.0, source


def _level_sources(level: LevelEntry, whole: str) -> dict[str, str]:
    """Sources of the numbers of a level whose energies have another source than its sizes."""
    own = level.source or whole
    keys = ("size", "word_bits", "bandwidth")
    found = {f"levels.{level.name}.{key}": level.sources.get(key, own) for key in keys}
    found |= {
        f"levels.{level.name}.{key}": level.sources["energy"]
        for key in ("read_energy", "write_energy")
        if "energy" in level.sources
    }
    return found


def _arithmetic(mac: ArithmeticEntry, whole: str) -> Arithmetic:
    if mac.table is not None:
        return technology.arithmetic(mac.table, node_nm=mac.node_nm)
    return Arithmetic(
        multiply_j=mac.multiply or 0.0,
        multiply_bits=mac.multiply_bits or 1,
        add_j=mac.add or 0.0,
        add_bits=mac.add_bits or 1,
        source=mac.source or whole,
    )


def _source_problems(model: TargetEntry) -> Iterator[str]:
    """Keys under `sources` that name no number of their part."""
    numbers = ("clock", "native_bits", "partial_sum_bits", "static_power", "area")
    numbers += ("activations", "vector_cycles", "sparse", "mac_supply")
    of_level, of_array = ("size", "word_bits", "bandwidth", "energy"), ("rows", "columns", "hop_energy")
    parts: list[tuple[str, Mapping[str, str], Sequence[str]]] = [("sources", model.sources, numbers)]
    parts += [(f"levels[{i}].sources", level.sources, of_level) for i, level in enumerate(model.levels)]
    parts += [(f"arrays[{i}].sources", array.sources, of_array) for i, array in enumerate(model.arrays)]
    for path, sources, valid in parts:
        yield from (f"unknown key '{k}' in {path}{nearest(k, valid)}" for k in sources if k not in valid)

"""How many bits a tensor with zeros takes in memory, its metadata included.

    format           what is written
    dense            every element
    bitmap           one bit an element, and the elements that are not zero
    run_length       entries of (zeros before it, element); a run of 2^run_bits - 1 zeros or more is
                     broken by entries of a zero; entries of zeros also end the stream if zeros do
    coordinates      (row, place in its row, element) of each element that is not zero
    compressed_rows  where each row begins and the last ends, and (place in its row, element)
    structured       of every `of` in a row, places and elements of the `keep` that may not be zero

Rows are the first axis: of weights, an output channel; of activations, a channel. Padding of words is
left to whoever stores the stream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chipfit.errors import MappingError, nearest
from chipfit.hardware.sparse import FORMATS
from chipfit.jit import njit

Flags = NDArray[np.bool_]


def stored_bits(name: str, mask: Flags, bits: int, *, run_bits: int = 5) -> int:
    """Size of a tensor in a format (bits); exact.

    Args:
        name: 'dense', 'bitmap', 'run_length', 'coordinates' or 'compressed_rows'.
        mask: where it is not zero, shape (rows, elements of a row).
        bits: width of an element.
        run_bits: width of a run length.

    Raises:
        MappingError: there is no such format.

    >>> mask = np.array([[True, False, False, True]])
    >>> [stored_bits(name, mask, 8) for name in ("dense", "bitmap", "run_length", "coordinates")]
    [32, 20, 26, 20]
    """
    # dense 4*8; bitmap 4 + 2*8; runs 2 * (5 + 8); coordinates 2 * (0 + 2 + 8)
    rows, row_elements = mask.shape
    nonzeros = int(np.count_nonzero(mask))
    if name == "run_length":
        return int(_run_entries(mask.reshape(-1), 2**run_bits)) * (run_bits + bits)
    return int(_counted(name, rows, row_elements, nonzeros, bits))


def expected_bits(
    name: str, rows: int, row_elements: int, density: float, bits: int, *, run_bits: int = 5
) -> float:
    """Size of a tensor of which only the density is known (bits): zeros fall anywhere alike.

    Exact but for 'run_length', where it is the mean over a long stream.

    Raises:
        MappingError: there is no such format.

    >>> expected_bits("bitmap", 1, 1000, 0.25, 8)
    3000.0
    """
    elements = rows * row_elements
    nonzeros = density * elements
    if name != "run_length":
        return float(_counted(name, rows, row_elements, nonzeros, bits))
    longest = 2**run_bits
    if density <= 0:
        return float(-(-elements // longest) * (run_bits + bits))
    # A geometric run Z breaks floor(Z / longest) times: sum over j of P(Z >= j * longest).
    broken = (1 - density) ** longest
    return nonzeros * (1 + broken / (1 - broken)) * (run_bits + bits)


def structured_bits(kept: NDArray[np.int64], groups: int, of: int, bits: int) -> int:
    """Size of structured weights (bits): of each output channel `kept` of each of `groups` groups of `of`.

    >>> structured_bits(np.array([2, 2]), groups=3, of=4, bits=8)  # 12 elements of 8 bits, 2 bits each place
    120
    """
    return int(kept.sum()) * groups * (bits + _width(of))


def _counted(name: str, rows: int, row_elements: int, nonzeros: float, bits: int) -> float:
    elements = rows * row_elements
    place = _width(row_elements)
    match name:
        case "dense":
            return elements * bits
        case "bitmap":
            return elements + nonzeros * bits
        case "coordinates":
            return nonzeros * (_width(rows) + place + bits)
        case "compressed_rows":
            # A beginning may be any of 0..elements.
            return (rows + 1) * _width(elements + 1) + nonzeros * (place + bits)
        case _:
            raise MappingError(f"unknown format '{name}'{nearest(name, FORMATS)}")


def _width(values: int) -> int:
    """Bits that tell so many values apart."""
    return max(0, (values - 1).bit_length())


@njit
def _run_entries(stream: Flags, longest: int) -> int:
    """Entries of a run-length stream. A run of `longest` zeros is `longest - 1` zeros and one written out."""
    entries, run = 0, 0
    for nonzero in stream:
        if nonzero:
            entries += 1
            run = 0
        else:
            run += 1
            if run == longest:
                entries += 1
                run = 0
    return entries + (1 if run else 0)

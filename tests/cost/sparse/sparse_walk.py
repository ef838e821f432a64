"""A step-by-step twin of an array that skips zeros: every activation, every weight, every element.

Nothing here is counted in closed form: an element looks at each pair of a non-zero activation and a
non-zero weight of its channel, and takes a cycle for those that land in the output.
"""

import numpy as np


def element_cycles(activations, kernel, loops, begin, output_rows):
    """Cycles of an element: activations (height, width), kernel (R, S), output rows that are its own."""
    cycles = 0
    for h, w in np.argwhere(activations):
        for r, s in np.argwhere(kernel):
            row, column = h + begin[0] - r * loops.dilation[0], w + begin[1] - s * loops.dilation[1]
            lands = row % loops.stride[0] == 0 and column % loops.stride[1] == 0
            p, q = row // loops.stride[0], column // loops.stride[1]
            cycles += lands and p in output_rows and 0 <= q < loops.Q
    return int(cycles)


def all_products(activations, kernel):
    """Cycles of an element that multiplies every non-zero activation with every non-zero weight."""
    return int(np.count_nonzero(activations)) * int(np.count_nonzero(kernel))


def walk(mask, weights, loops, begin, rows, columns, fill, cycles_of=None):
    """Cycles and work of each element, image by image.

    A row has one input channel; groups that fit the rows side by side share a pass. `mask` is
    (image, channel, height, width), `weights` (G, K, C, R, S).
    """
    everywhere = range(loops.P)
    found = []
    for image in mask:
        jobs = [(g, c) for g in range(loops.G) for c in range(loops.C)]
        if rows >= loops.C:
            together = rows // loops.C * loops.C
            passes = [jobs[i : i + together] for i in range(0, len(jobs), together)]
        else:
            passes = [
                jobs[g * loops.C + i : min(g * loops.C + i + rows, (g + 1) * loops.C)]
                for g in range(loops.G)
                for i in range(0, loops.C, rows)
            ]
        cycles, work = 0, np.zeros((rows, columns), int)
        for part in passes:
            for start in range(0, loops.K, columns):
                slowest = 0
                for row, (g, c) in enumerate(part):
                    for column, k in enumerate(range(start, min(loops.K, start + columns))):
                        plane, kernel = image[g * loops.C + c], weights[g, k, c]
                        if cycles_of is None:
                            done = element_cycles(plane, kernel, loops, begin, everywhere)
                        else:
                            done = cycles_of(plane, kernel)
                        work[row, column] += done
                        slowest = max(slowest, done)
                cycles += slowest + fill
        found.append((cycles, work))
    return found


def encoded(name, mask, run_bits):
    """Symbols of a tensor written out in a format, as (bits of metadata, elements)."""
    rows, row_elements = mask.shape
    place = len(bin(row_elements - 1)) - 2 if row_elements > 1 else 0
    row_place = len(bin(rows - 1)) - 2 if rows > 1 else 0
    if name == "dense":
        return 0, mask.size
    if name == "bitmap":
        return mask.size, int(mask.sum())
    if name == "coordinates":
        entries = [(row_place + place, True) for row in mask for nonzero in row if nonzero]
        return sum(bits for bits, _ in entries), len(entries)
    if name == "compressed_rows":
        pointers, metadata, elements = [0], 0, 0
        for row in mask:
            for nonzero in row:
                if nonzero:
                    metadata += place
                    elements += 1
            pointers.append(elements)
        return metadata + len(pointers) * (len(bin(mask.size)) - 2), elements
    entries, run = 0, 0
    stream = mask.reshape(-1).tolist()
    while stream:
        run = 0
        while stream and not stream[0] and run < 2**run_bits - 1:
            stream.pop(0)
            run += 1
        # The element after the run, a zero or not; at the end of the stream, the last zero of the run.
        if stream:
            stream.pop(0)
        entries += 1
    return entries * run_bits, entries

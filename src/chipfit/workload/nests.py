"""Operators that multiply, as loop nests over `N G K C P Q R S`.

Shapes in, `Loops` out; nothing here knows of files or tensors. A one-dimensional convolution runs
along `P`. Padding is the number of padded rows and columns that the nest touches, so that
`Loops.input_rows` is never more than the height of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from chipfit.errors import NetworkError
from chipfit.workload.network import Loops

Shape = Sequence[int]


def convolution(
    x: Shape,
    weight: Shape,
    y: Shape,
    *,
    groups: int = 1,
    strides: Shape = (),
    dilations: Shape = (),
    pads: Shape = (),
    auto_pad: str = "NOTSET",
) -> Loops:
    """The nest of a convolution of one, two or three dimensions, as ONNX `Conv` states it.

    Of three dimensions, output depth is taken into `N` and kernel depth into `C`: the counts of
    multiplies, weights and outputs are exact, and the input is counted once for each kernel slice.

    Args:
        x: input shape (batch, channels, height, width), or with one or three sizes after channels.
        weight: (output channels, channels of one group, kernel height, kernel width).
        y: output shape.
        groups: groups.
        strides: one a dimension; 1 where absent.
        dilations: one a dimension; 1 where absent.
        pads: begins, then ends; 0 where absent.
        auto_pad: 'NOTSET', 'VALID', 'SAME_UPPER' or 'SAME_LOWER'.

    Raises:
        NetworkError: the channels do not fit the groups.

    >>> convolution((1, 3, 224, 224), (64, 3, 7, 7), (1, 64, 112, 112), strides=(2, 2), pads=(3,) * 4).macs
    118013952
    """
    rank = len(x) - 2
    if x[1] != weight[1] * groups or weight[0] % groups:
        raise NetworkError(
            f"{x[1]} input channels and {weight[0]} output channels do not fit weights of "
            f"{weight[1]} channels in {groups} groups"
        )
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    touched: list[int] = []
    for height, outputs, kernel, stride, dilation, pad in zip(
        x[2:], y[2:], weight[2:], strides, dilations, pads[:rank], strict=True
    ):
        hull = (outputs - 1) * stride + (kernel - 1) * dilation + 1
        begin = _begin(auto_pad, pad, max(0, hull - height))
        touched.append(min(begin, hull) + max(0, hull - begin - height))
    depths = rank - 2 if rank > 2 else 0
    rows = depths
    columns = rows + 1 if rank > 1 else None
    return Loops(
        N=x[0] * math.prod(y[2 : 2 + depths]),
        G=groups,
        K=weight[0] // groups,
        C=weight[1] * math.prod(weight[2 : 2 + depths]),
        P=y[2 + rows],
        Q=1 if columns is None else y[2 + columns],
        R=weight[2 + rows],
        S=1 if columns is None else weight[2 + columns],
        stride=(strides[rows], 1 if columns is None else strides[columns]),
        dilation=(dilations[rows], 1 if columns is None else dilations[columns]),
        padding=(touched[rows], 0 if columns is None else touched[columns]),
    )


def _begin(auto_pad: str, stated: int, needed: int) -> int:
    """Padding before the first row, of what is stated or needed in all."""
    match auto_pad:
        case "SAME_UPPER":
            return needed // 2
        case "SAME_LOWER":
            return needed - needed // 2
        case "VALID":
            return 0
        case _:
            return stated


def transposed_convolution(
    x: Shape, weight: Shape, *, groups: int = 1, strides: Shape = (), dilations: Shape = ()
) -> Loops:
    """The nest of a transposed convolution, as ONNX `ConvTranspose` states it.

    Where each stride divides its kernel and nothing is dilated, output pixel `s*p + i` sees only
    the kernel elements of phase `i`, so the layer is a plain convolution of the input with
    `stride**2` times the output channels and a kernel `stride` times smaller (sub-pixel form).
    Otherwise it is a matrix product that spreads each input pixel over its whole window. Both take
    `H * W * C_in * C_out / groups * R * S` multiplies, those at the border that are cut off included.

    Args:
        x: input shape (batch, channels, height, width).
        weight: (channels, output channels of one group, kernel height, kernel width).
        groups: groups.
        strides: one a dimension; 1 where absent.
        dilations: one a dimension; 1 where absent.

    Raises:
        NetworkError: the channels do not fit the weights.

    >>> transposed_convolution((1, 8, 16, 16), (8, 4, 4, 4), strides=(2, 2)).bounds
    (1, 1, 16, 8, 16, 16, 2, 2)
    """
    if x[1] != weight[0] or x[1] % groups:
        raise NetworkError(f"{x[1]} input channels do not fit weights of {weight[0]} in {groups} groups")
    rank = len(x) - 2
    sizes, kernels = list(x[2:]), list(weight[2:])
    strides, dilations = list(strides or [1] * rank), list(dilations or [1] * rank)
    if rank == 1:
        sizes, kernels, strides, dilations = [*sizes, 1], [*kernels, 1], [*strides, 1], [*dilations, 1]
    phases = math.prod(kernels)
    if rank <= 2 and all(k % s == 0 and d == 1 for k, s, d in zip(kernels, strides, dilations, strict=True)):
        phases = math.prod(strides)
        kernels = [k // s for k, s in zip(kernels, strides, strict=True)]
    else:
        kernels = [1, 1]
    *depth, rows, columns = sizes
    return Loops(
        N=x[0] * math.prod(depth),
        G=groups,
        K=weight[1] * phases,
        C=weight[0] // groups,
        P=rows,
        Q=columns,
        R=kernels[0],
        S=kernels[1],
        padding=(kernels[0] - 1, kernels[1] - 1),
    )


def contraction(equation: str, a: Shape, b: Shape) -> Loops:
    """The nest of a sum of products of two operands; `a` is the input, `b` the weight.

    Letters in both operands and the output are batches (`G`), in the operands only are summed
    (`C`), in `a` only are rows (`P`), and in `b` only are columns (`K`). A size of 1 in one operand
    is broadcast, and so belongs to the other.

    Args:
        equation: such as 'bmc,bck->bmk'; each letter once in each term.
        a: shape of the first operand.
        b: shape of the second operand.

    Raises:
        NetworkError: a letter stands for two sizes, repeats, or is summed over in one operand only.

    >>> contraction("bmc,ck->bmk", (4, 128, 768), (768, 3072)).bounds  # batch becomes rows
    (1, 1, 3072, 768, 512, 1, 1, 1)
    """
    terms, _, result = equation.replace(" ", "").partition("->")
    first, _, second = terms.partition(",")
    plain = all(term.isalpha() and len(set(term)) == len(term) for term in (first, second) if term)
    if not plain or (len(first), len(second)) != (len(a), len(b)):
        raise NetworkError(f"'{equation}' does not fit operands of shapes {tuple(a)} and {tuple(b)}")
    sizes_a, sizes_b = dict(zip(first, a, strict=True)), dict(zip(second, b, strict=True))
    loops = {"G": 1, "K": 1, "C": 1, "P": 1}
    for letter in dict.fromkeys(first + second):
        one, other = sizes_a.get(letter, 1), sizes_b.get(letter, 1)
        if one != other and 1 not in (one, other):
            raise NetworkError(f"'{letter}' of '{equation}' is {one} in one operand and {other} in the other")
        if letter not in result:
            kind = "C"
        elif one > 1 and other > 1:
            kind = "G"
        else:
            kind = "P" if one > 1 else "K"
        if kind == "C" and one != other:
            raise NetworkError(f"'{letter}' of '{equation}' is summed over in one operand only")
        loops[kind] *= max(one, other)
    return Loops(G=loops["G"], K=loops["K"], C=loops["C"], P=loops["P"])


def matmul_equation(a: Shape, b: Shape) -> str:
    """The equation of `MatMul` for two shapes, batches aligned from the right.

    >>> matmul_equation((8, 197, 64), (64, 197))
    'amc,ck->amk'
    """
    letters = "abdefghijlnopqrstuvwxyz"
    batches = letters[: max(len(a), len(b), 2) - 2]
    left = batches[len(batches) - max(0, len(a) - 2) :] + ("mc" if len(a) > 1 else "c")
    right = batches[len(batches) - max(0, len(b) - 2) :] + ("ck" if len(b) > 1 else "c")
    return f"{left},{right}->{batches}{'m' if len(a) > 1 else ''}{'k' if len(b) > 1 else ''}"


def recurrence(
    *, steps: int, batch: int, directions: int, inputs: int, hidden: int, gates: int
) -> tuple[Loops, Loops]:
    """The two products of a recurrent layer: of the input, for all steps at once, and of the state.

    The product of the state runs once a step (`N = steps`): a step needs the one before it.

    >>> recurrence(steps=10, batch=1, directions=1, inputs=40, hidden=64, gates=4)[1].bounds
    (10, 1, 256, 64, 1, 1, 1, 1)
    """
    of_input = Loops(P=steps * batch, C=inputs, K=directions * gates * hidden)
    of_state = Loops(N=steps, G=directions, P=batch, C=hidden, K=gates * hidden)
    return of_input, of_state

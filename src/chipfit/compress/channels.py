"""Which channels of a traced model must keep the same order: blocks of channels that move together.

Every tensor has channels on its second axis, as a list of blocks. A layer that multiplies writes a new block;
additions make blocks of both operands one; concatenation and padding put blocks side by side, and blocks are
split where their ends do not meet. What is not known here holds its channels still: they are frozen.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from chipfit.compress.quantize import ActivationQuantizer

Permutation = list[int]

_ELEMENTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid,
    nn.Hardtanh, nn.ELU, nn.Threshold, nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.ZeroPad2d, nn.MaxPool1d, nn.AvgPool1d,
    nn.AdaptiveAvgPool1d, ActivationQuantizer,
)  # fmt: skip
_ELEMENTWISE: tuple[object, ...] = (
    torch.relu, F.relu, F.relu6, F.hardtanh, F.leaky_relu, torch.sigmoid, torch.tanh, F.silu, F.gelu,
    F.hardswish, F.hardsigmoid, F.elu, F.threshold, F.dropout, F.max_pool2d, F.avg_pool2d,
    F.adaptive_avg_pool2d, F.interpolate, torch.clamp, torch.abs, torch.neg, operator.neg, torch.square,
    "relu", "relu_", "sigmoid", "tanh", "contiguous", "clone", "detach", "clamp", "abs", "float",
)  # fmt: skip
_JOINING: tuple[object, ...] = (
    operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, operator.gt, operator.truediv,
    torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum,
    "add", "add_", "sub", "mul", "mul_",
)  # fmt: skip
_FLATTENING: tuple[object, ...] = (torch.flatten, torch.reshape, "flatten", "view", "reshape")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclass(eq=False)
class Block:
    """Channels that move together. `into` is what a block became: another one, or its parts."""

    size: int
    frozen: bool = False
    into: list[Block] = field(default_factory=list["Block"])

    def leaves(self) -> list[Block]:
        """The blocks that it is made of now."""
        return [leaf for part in self.into for leaf in part.leaves()] if self.into else [self]


#: Blocks in their order along the channels, each with how many elements follow for one channel.
Layout = list[tuple[Block, int]]


def leaves(layout: Layout) -> Layout:
    """The layout in blocks as they are now."""
    return [(leaf, repeat) for block, repeat in layout for leaf in block.leaves()]


def permutation(layout: Layout, orders: dict[Block, Permutation]) -> Permutation:
    """Where each element of the second axis comes from, with blocks in the given orders."""
    found: Permutation = []
    for block, repeat in leaves(layout):
        start = len(found)
        order = orders.get(block) or list(range(block.size))
        found += [start + channel * repeat + i for channel in order for i in range(repeat)]
    return found


@dataclass(kw_only=True, eq=False)
class Channels:
    """Layouts around the layers of a model, by module path: `reads` their inputs, `writes` their outputs.

    `alike` are layers that work channel by channel: normalisation, depthwise convolutions.
    """

    reads: dict[str, Layout] = field(default_factory=dict[str, Layout])
    writes: dict[str, Layout] = field(default_factory=dict[str, Layout])
    alike: dict[str, Layout] = field(default_factory=dict[str, Layout])


def trace_channels(graph: fx.GraphModule, sample: torch.Tensor) -> Channels:
    """The blocks of every tensor of a traced model."""
    with torch.no_grad():
        ShapeProp(graph).propagate(sample)
    walk = _Walk(graph)
    for node in graph.graph.nodes:
        walk.visit(node)
    return walk.found


def freeze(layout: Layout) -> None:
    """Hold all blocks of a layout still."""
    for leaf, _ in leaves(layout):
        leaf.frozen = True


def unify(first: Layout, second: Layout) -> None:
    """Make two layouts one: split blocks where their ends do not meet, join what lies at the same place."""
    left, right = leaves(first), leaves(second)
    if sum(b.size * r for b, r in left) != sum(b.size * r for b, r in right):
        freeze(first)
        freeze(second)
        return
    while left and right:
        (a, repeat_a), (b, repeat_b) = left[0], right[0]
        if a.into or b.into:
            left, right = leaves(left), leaves(right)
        elif repeat_a != repeat_b:
            freeze(left)
            freeze(right)
            return
        elif a.size == b.size:
            if a is not b:
                a.frozen |= b.frozen
                b.into = [a]
            left, right = left[1:], right[1:]
        else:
            large, size = (a, b.size) if a.size > b.size else (b, a.size)
            large.into = [Block(size, large.frozen), Block(large.size - size, large.frozen)]


class _Walk:
    """One walk over the nodes of a model, in their order."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.layouts: dict[fx.Node, Layout] = {}
        self.found = Channels()

    def visit(self, node: fx.Node) -> None:
        """Write down the layout of what a node returns."""
        shape = _shape(node)
        if node.op == "output":
            self._freeze_inputs(node)
        elif node.op in ("placeholder", "get_attr"):
            self._give(node, _still(shape))
        elif node.op == "call_module":
            self._module(node, self.graph.get_submodule(str(node.target)), str(node.target))
        else:
            self._function(node)

    def _give(self, node: fx.Node, layout: Layout | None) -> None:
        if layout is not None:
            self.layouts[node] = layout

    def _input(self, node: fx.Node) -> Layout | None:
        first = node.args[0] if node.args else None
        return self.layouts.get(first) if isinstance(first, fx.Node) else None

    def _freeze_inputs(self, node: fx.Node) -> None:
        for operand in node.all_input_nodes:
            if operand in self.layouts:
                freeze(self.layouts[operand])

    def _unknown(self, node: fx.Node) -> None:
        # The sizes of a tensor do not depend on the order of its channels.
        if node.target in (getattr, "size", "dim"):
            return
        self._freeze_inputs(node)
        self._give(node, _still(_shape(node)))

    def _module(self, node: fx.Node, module: nn.Module, path: str) -> None:
        x = self._input(node)
        if x is None:
            self._unknown(node)
        elif isinstance(module, _NORMS) or _is_depthwise(module) or _has_slopes(module):
            self._again(self.found.alike, path, x)
            self._give(node, x)
        elif isinstance(module, _ELEMENTWISE_MODULES):
            self._give(node, x)
        elif isinstance(module, nn.Flatten) and module.start_dim == 1:
            self._flattened(node, x)
        elif _multiplies(module) and _channels_second(node, module):
            self._again(self.found.reads, path, x)
            size = module.out_features if isinstance(module, nn.Linear) else _out_channels(module)
            self._give(node, self.found.writes.setdefault(path, [(Block(size), 1)]))
        else:
            self._unknown(node)

    def _again(self, known: dict[str, Layout], path: str, layout: Layout) -> None:
        """A layer that runs twice has the same weights for both inputs."""
        if path in known:
            unify(known[path], layout)
        else:
            known[path] = layout

    def _flattened(self, node: fx.Node, x: Layout) -> None:
        before, after = _shape(node.all_input_nodes[0]), _shape(node)
        if before is None or after is None or len(after) != 2 or after[1] != math.prod(before[1:]):
            self._unknown(node)
            return
        each = math.prod(before[2:])
        self._give(node, [(block, repeat * each) for block, repeat in x])

    def _function(self, node: fx.Node) -> None:
        x, target = self._input(node), node.target
        if target in (torch.cat, torch.concat):
            self._concatenated(node)
        elif x is None and target not in _JOINING:
            self._unknown(node)
        elif target in _JOINING:
            self._joined(node)
        elif x is not None and (target in _ELEMENTWISE or _keeps_channels(node)):
            self._give(node, x)
        elif x is not None and target in _FLATTENING:
            self._flattened(node, x)
        elif x is not None and target is F.pad:
            self._padded(node, x)
        else:
            self._unknown(node)

    def _joined(self, node: fx.Node) -> None:
        operands = [a for a in node.args if isinstance(a, fx.Node) and _shape(a) is not None]
        shape = _shape(node)
        if shape is None or any(a not in self.layouts or not _alike(_shape(a), shape) for a in operands):
            self._unknown(node)
            return
        for operand in operands[1:]:
            unify(self.layouts[operands[0]], self.layouts[operand])
        self._give(node, self.layouts[operands[0]])

    def _concatenated(self, node: fx.Node) -> None:
        operands: Any = node.args[0]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis != 1 or any(operand not in self.layouts for operand in operands):
            self._unknown(node)
            return
        self._give(node, [entry for operand in operands for entry in self.layouts[operand]])

    def _padded(self, node: fx.Node, x: Layout) -> None:
        pads: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("pad")
        before, rank = _shape(node.all_input_nodes[0]), len(_shape(node) or ())
        place = 2 * (rank - 2)
        sides: Sequence[int] = tuple(pads[place : place + 2]) if len(pads) > place else (0, 0)
        if before is None or len(pads) > place + 2 or any(side < 0 for side in sides):
            self._unknown(node)
            return
        zeros = [[(Block(side, frozen=True), 1)] if side else [] for side in sides]
        self._give(node, [*zeros[0], *x, *zeros[1]])


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if meta is not None and hasattr(meta, "shape") else None


def _still(shape: tuple[int, ...] | None) -> Layout | None:
    return None if shape is None or len(shape) < 2 else [(Block(shape[1], frozen=True), 1)]


def _alike(shape: tuple[int, ...] | None, result: tuple[int, ...]) -> bool:
    return shape is not None and len(shape) == len(result) and shape[1:2] == result[1:2]


def _multiplies(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, _CONVOLUTIONS) and module.groups == 1)


def _out_channels(module: Any) -> int:
    return int(module.out_channels)


def _is_depthwise(module: nn.Module) -> bool:
    return (
        isinstance(module, _CONVOLUTIONS[:2])
        and 1 < module.groups == module.in_channels == module.out_channels
    )


def _has_slopes(module: nn.Module) -> bool:
    return isinstance(module, nn.PReLU) and module.num_parameters > 1


def _channels_second(node: fx.Node, module: nn.Module) -> bool:
    """The second axis is what the layer sums over."""
    return not isinstance(module, nn.Linear) or len(_shape(node) or ()) == 2


def _keeps_channels(node: fx.Node) -> bool:
    """A mean over rows and columns, or a slice of them."""
    if node.target is operator.getitem:
        index: Any = node.args[1]
        if not isinstance(index, tuple) or len(index) < 2:
            return False
        parts = cast("tuple[object, ...]", index)
        return parts[:2] == (slice(None),) * 2 and all(isinstance(part, slice) for part in parts)
    if node.target in (torch.mean, "mean", torch.sum, "sum"):
        axes: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        rank = len(_shape(node.all_input_nodes[0]) or ())
        given = [axes] if isinstance(axes, int) else list(axes or ())
        return bool(given) and all(axis % rank >= 2 for axis in given)
    return False

"""Networks of the known spaces as torch modules, for scores that need weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from chipfit.cost.latency import fbnet, nb201
from chipfit.errors import MeasurementError


def build(space: str, label: str, seed: int = 0) -> nn.Module:
    """An untrained network of a known space.

    Args:
        space: 'nb201' or 'fbnet'.
        label: of the network.
        seed: of its weights.

    Raises:
        MeasurementError: the space is another, or has no such network.
    """
    makers = {"nb201": (nb201.read_label, Nb201), "fbnet": (fbnet.read_label, FbNet)}
    if space not in makers:
        raise MeasurementError(
            f"networks of '{space}' cannot be built in torch: only those of nb201 and fbnet"
        )
    read, make = makers[space]
    codes = read(label)
    if codes is None:
        raise MeasurementError(f"'{label}' is no network of the space '{space}'")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(codes)


def _convolution(
    channels: int, filters: int, window: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, filters, window, stride, window // 2, groups=groups, bias=False),
        nn.BatchNorm2d(filters),
    )


class _Zero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.0


def _operation(operation: int, channels: int) -> nn.Module:
    if operation == 0:
        return _Zero()
    if operation == 1:
        return nn.Identity()
    if operation == 4:
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Sequential(nn.ReLU(), *_convolution(channels, channels, 1 if operation == 2 else 3))


class _Cell(nn.Module):
    def __init__(self, cell: Sequence[int], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_operation(operation, channels) for operation in cell)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes = [x]
        for end in (1, 2, 3):
            into = [(edge, start) for edge, (start, to) in enumerate(nb201.EDGES) if to == end]
            nodes.append(torch.stack([self.edges[edge](nodes[start]) for edge, start in into]).sum(0))
        return nodes[3]


class _Reduction(nn.Module):
    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ReLU(), *_convolution(channels, filters, 3, 2), nn.ReLU(), *_convolution(filters, filters, 3)
        )
        self.beside = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, filters, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x) + self.beside(x)


class Nb201(nn.Sequential):
    """A NAS-Bench-201 network."""

    def __init__(self, cell: Sequence[int]) -> None:
        before = nb201.STAGES[0][0]
        parts: list[nn.Module] = [_convolution(3, before, 3)]
        for channels, _ in nb201.STAGES:
            if channels != before:
                parts.append(_Reduction(before, channels))
            parts += [_Cell(cell, channels) for _ in range(nb201.CELLS)]
            before = channels
        parts += [nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*parts, nn.Linear(before, 10))


class _Block(nn.Module):
    def __init__(self, operation: int, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and channels == filters
        self.body: nn.Module
        if fbnet.OPERATIONS[operation] == "skip":
            self.same = False
            self.body = (
                nn.Identity()
                if same
                else nn.Sequential(*_convolution(channels, filters, 1, stride), nn.ReLU())
            )
            return
        self.same = same
        window, expansion, groups = fbnet.BLOCKS[operation]
        middle = channels * expansion
        self.body = nn.Sequential(
            *_convolution(channels, middle, groups=groups),
            nn.ReLU(),
            *((nn.ChannelShuffle(groups),) if groups > 1 else ()),
            *_convolution(middle, middle, window, stride, middle),
            nn.ReLU(),
            *_convolution(middle, filters, groups=groups),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + x if self.same else self.body(x)


class FbNet(nn.Sequential):
    """A network of FBNet blocks."""

    def __init__(self, blocks: Sequence[int]) -> None:
        parts: list[nn.Module] = [_convolution(3, fbnet.STEM, 3), nn.ReLU()]
        places = fbnet.places()
        parts += [_Block(op, *place[:3]) for op, place in zip(blocks, places, strict=True)]
        last = _convolution(places[-1][1], fbnet.HEAD)
        super().__init__(
            *parts, last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fbnet.HEAD, 100)
        )

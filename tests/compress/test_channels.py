import pytest
import torch
from torch import nn

from chipfit.compress.channels import Block, leaves, permutation, trace_channels, unify
from chipfit.compress.graph import traced


def sizes(layout):
    return [(block.size, repeat, block.frozen) for block, repeat in leaves(layout)]


def test_blocks_are_split_where_their_ends_do_not_meet():
    first, second = [(Block(6), 1)], [(Block(2, frozen=True), 1), (Block(4), 1)]
    unify(first, second)
    assert sizes(first) == sizes(second) == [(2, 1, True), (4, 1, False)]


def test_joined_blocks_are_the_same_block():
    first, second, third = ([(Block(4), 1)] for _ in range(3))
    unify(first, second)
    unify(second, third)
    assert leaves(first)[0][0] is leaves(third)[0][0]


def test_a_block_beside_itself_may_be_joined_with_itself_crosswise():
    x, y = Block(3), Block(3)
    unify([(x, 1), (y, 1)], [(y, 1), (x, 1)])
    assert x.leaves() == y.leaves()


def test_layouts_of_different_length_are_held_still():
    first, second = [(Block(3), 1)], [(Block(4), 1)]
    unify(first, second)
    assert sizes(first) + sizes(second) == [(3, 1, True), (4, 1, True)]


def test_a_permutation_moves_all_elements_of_a_channel():
    a, b = Block(2), Block(2)
    assert permutation([(a, 2), (b, 1)], {a: [1, 0]}) == [2, 3, 0, 1, 4, 5]


class Mixed(nn.Module):
    """Concatenation, a padded shortcut of other channels, a depthwise layer, and a classifier on pixels."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.c = nn.Conv2d(10, 8, 1)
        self.d = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.fc = nn.Linear(12 * 16, 5)

    def forward(self, x):
        a = torch.relu(self.a(x))
        b = torch.relu(self.norm(self.depthwise(self.b(a))))
        c = torch.relu(self.c(torch.cat([a, b], 1)))
        shortcut = nn.functional.pad(c[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        d = torch.relu(self.d(c) + shortcut)
        return self.fc(torch.flatten(d, 1))


def test_blocks_of_a_network_follow_its_graph():
    found = trace_channels(traced(Mixed()), torch.zeros(1, 3, 8, 8))
    assert sizes(found.reads["a"]) == [(3, 1, True)]  # inputs of the network
    assert sizes(found.reads["c"]) == [(4, 1, False), (6, 1, False)]  # a and b side by side
    assert leaves(found.alike["depthwise"])[0][0] is leaves(found.writes["b"])[0][0]
    # The shortcut is padded with two zero channels on each side.
    assert sizes(found.writes["d"]) == [(2, 1, True), (8, 1, False), (2, 1, True)]
    assert leaves(found.writes["c"])[0][0] is leaves(found.writes["d"])[1][0]
    assert sizes(found.reads["fc"]) == [(2, 16, True), (8, 16, False), (2, 16, True)]
    assert sizes(found.writes["fc"]) == [(5, 1, True)]  # outputs of the network


class Odd(nn.Module):
    """What is not followed: a softmax over channels, a grouped convolution, one channel taken out."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(4, 4, 1)
        self.grouped = nn.Conv2d(4, 4, 1, groups=2)
        self.c = nn.Conv2d(4, 4, 1)
        self.d = nn.Conv2d(2, 4, 1)

    def forward(self, x):
        y = self.b(torch.softmax(self.a(x), 1))
        y = self.c(self.grouped(y))
        return self.d(y[:, 1:3])


@pytest.mark.parametrize("layer", ["a", "b", "c"])
def test_what_is_not_known_holds_its_channels_still(layer):
    found = trace_channels(traced(Odd()), torch.zeros(1, 3, 4, 4))
    assert all(frozen for _, _, frozen in sizes(found.writes[layer]))

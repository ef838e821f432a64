"""A model as a graph whose layers can be rewritten: traced, with normalisation folded.

Nest layers are the modules that multiply (convolutions and linear layers); their names are module
paths, which the importer uses for the same layers of the exported network.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  # as everywhere in the field
from torch import fx, nn
from torch.fx.proxy import TraceError
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from chipfit.errors import PassError

Nest = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear
NESTS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

#: Functions and methods that move values without changing them: a quantised input stays quantised.
_MOVES: tuple[object, ...] = (
    operator.getitem, torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze,
    torch.unsqueeze, F.pad, F.max_pool2d, F.dropout,
    "view", "reshape", "flatten", "permute", "transpose", "contiguous", "squeeze", "unsqueeze",
)  # fmt: skip
_MOVING_MODULES = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.MaxPool2d, nn.ZeroPad2d)

#: Functions of one stored activation or several that are computed outside the array.
_OUTSIDE: tuple[object, ...] = (
    operator.add, operator.iadd, operator.mul, operator.sub, torch.add, torch.mul, torch.sub,
    torch.cat, torch.mean, F.avg_pool2d, F.adaptive_avg_pool2d, "mean", "add", "mul", "add_", "mul_",
)  # fmt: skip
_OUTSIDE_MODULES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)


def traced(model: nn.Module) -> fx.GraphModule:
    """A copy of the model as a graph, in evaluation mode, with batch normalisation folded.

    Raises:
        PassError: the model's control flow depends on its data.
    """
    try:
        graph = fx.symbolic_trace(copy.deepcopy(model).eval())
    except (TraceError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise PassError(f"cannot trace {type(model).__name__} as a graph (torch.fx): {reason}") from error
    _fold_normalization(graph)
    return graph


def nest_layers(graph: nn.Module) -> dict[str, Nest]:
    """The layers that multiply, by module path, in the order of the model."""
    return {name: m for name, m in graph.named_modules() if isinstance(m, NESTS)}


def _fold_normalization(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        norm = _module(graph, node)
        if not isinstance(norm, _NORMS) or not isinstance(node.args[0], fx.Node):
            continue
        producer = node.args[0]
        layer = _module(graph, producer)
        if len(producer.users) > 1 or not isinstance(layer, NESTS):
            continue
        if isinstance(layer, nn.Linear):
            folded: nn.Module = fuse_linear_bn_eval(layer, norm)
        else:
            transpose = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d))
            folded = fuse_conv_bn_eval(layer, norm, transpose=transpose)
        for parameter in folded.parameters():
            parameter.requires_grad_(True)
        _replace_module(graph, str(producer.target), folded)
        node.replace_all_uses_with(producer)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()


def insert_input(graph: fx.GraphModule, layer: str, make: Callable[[], nn.Module]) -> None:
    """Put a module before the first argument of a nest layer; its path is `LAYER_input`."""
    for node in graph.graph.find_nodes(op="call_module", target=layer):
        source = node.args[0]
        _insert_after(graph, source, f"{layer}_input", make, users=[node])


def insert_stored(graph: fx.GraphModule, make: Callable[[], nn.Module]) -> list[str]:
    """Put a module at every stored activation that something other than a nest layer reads.

    What a nest layer passes on to its only reader is not stored: it is added or activated on its
    way out of the array. Returns the paths of the new modules.
    """
    readers: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.graph.nodes:
        if not _runs_outside(graph, node):
            continue
        operands = [a for a in node.all_input_nodes if a.op != "get_attr"]
        for source, user in (_origin(graph, operand, node) for operand in operands):
            if source.op != "placeholder" and not _on_the_way_out(graph, source, node):
                users = readers.setdefault(source, [])
                users += [user] if user not in users else []
    names: list[str] = []
    for source, users in readers.items():
        name = f"{source.name}_stored"
        _insert_after(graph, source, name, make, users=users)
        names.append(name)
    return names


def _origin(graph: fx.GraphModule, node: fx.Node, user: fx.Node) -> tuple[fx.Node, fx.Node]:
    """The node that computed a value, up through the moves; and the first mover after it."""
    while _moves(graph, node) and node.all_input_nodes:
        node, user = node.all_input_nodes[0], node
    return node, user


def _on_the_way_out(graph: fx.GraphModule, source: fx.Node, reader: fx.Node) -> bool:
    if not isinstance(_module(graph, source), NESTS):
        return False
    elementwise = not isinstance(_module(graph, reader), _OUTSIDE_MODULES) and reader.target not in (
        torch.cat, torch.mean, "mean", F.avg_pool2d, F.adaptive_avg_pool2d,
    )  # fmt: skip
    return elementwise and len(source.users) == 1


def _runs_outside(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.target in _OUTSIDE or isinstance(_module(graph, node), _OUTSIDE_MODULES)


def _moves(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.target in _MOVES or isinstance(_module(graph, node), _MOVING_MODULES)


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _replace_module(graph: fx.GraphModule, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(graph.get_submodule(parent), name, module)


def _insert_after(
    graph: fx.GraphModule, source: fx.Node, path: str, make: Callable[[], nn.Module], users: list[fx.Node]
) -> None:
    graph.add_submodule(path, make())
    with graph.graph.inserting_after(source):
        inserted = graph.graph.call_module(path, (source,))
    for user in users:
        user.replace_input_with(source, inserted)
    graph.graph.lint()
    graph.recompile()

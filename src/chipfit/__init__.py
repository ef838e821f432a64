"""What a neural network costs on a chip, and a network that costs less there.

Every public name is imported when it is first used, so that `import chipfit` takes no time and the
cost side never loads torch.

>>> import chipfit
>>> chipfit.Loops(K=16, C=16, P=32, Q=32, R=3, S=3).macs
2359296
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chipfit import errors as errors
    from chipfit.cost.base import AbstractEstimator as AbstractEstimator
    from chipfit.cost.base import Cost as Cost
    from chipfit.cost.base import CostReport as CostReport
    from chipfit.cost.base import LayerCost as LayerCost
    from chipfit.cost.mapping.analytical import Analytical as Analytical
    from chipfit.cost.roofline import Roofline as Roofline
    from chipfit.errors import ChipfitError as ChipfitError
    from chipfit.hardware.load import load_target as load_target
    from chipfit.hardware.load import target_names as target_names
    from chipfit.hardware.target import Arithmetic as Arithmetic
    from chipfit.hardware.target import Array as Array
    from chipfit.hardware.target import MemoryLevel as MemoryLevel
    from chipfit.hardware.target import Target as Target
    from chipfit.search.config import FitConfig as FitConfig
    from chipfit.search.run import fit as fit
    from chipfit.workload.from_onnx import load_onnx as load_onnx
    from chipfit.workload.library import resolve
    from chipfit.workload.network import Layer as Layer
    from chipfit.workload.network import Loops as Loops
    from chipfit.workload.network import Network as Network
    from chipfit.workload.network import Tensor as Tensor

    load_network = resolve

__version__ = "0.1.0"

#: Where each public name comes from: 'module', or 'module:name'.
_ORIGIN = {
    "AbstractEstimator": "chipfit.cost.base:AbstractEstimator",
    "Analytical": "chipfit.cost.mapping.analytical:Analytical",
    "Arithmetic": "chipfit.hardware.target:Arithmetic",
    "Array": "chipfit.hardware.target:Array",
    "ChipfitError": "chipfit.errors:ChipfitError",
    "Cost": "chipfit.cost.base:Cost",
    "CostReport": "chipfit.cost.base:CostReport",
    "FitConfig": "chipfit.search.config:FitConfig",
    "Layer": "chipfit.workload.network:Layer",
    "LayerCost": "chipfit.cost.base:LayerCost",
    "Loops": "chipfit.workload.network:Loops",
    "MemoryLevel": "chipfit.hardware.target:MemoryLevel",
    "Network": "chipfit.workload.network:Network",
    "Roofline": "chipfit.cost.roofline:Roofline",
    "Target": "chipfit.hardware.target:Target",
    "Tensor": "chipfit.workload.network:Tensor",
    "errors": "chipfit.errors",
    "fit": "chipfit.search.run:fit",
    "load_network": "chipfit.workload.library:resolve",
    "load_onnx": "chipfit.workload.from_onnx:load_onnx",
    "load_target": "chipfit.hardware.load:load_target",
    "target_names": "chipfit.hardware.load:target_names",
}

__all__ = [*_ORIGIN]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _ORIGIN:
        raise AttributeError(f"module 'chipfit' has no attribute '{name}'")
    module, _, attribute = _ORIGIN[name].partition(":")
    found = import_module(module)
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ORIGIN})

"""A pass turns a model into a cheaper model.

A pass is a frozen dataclass whose fields are its options; `eval(repr(a_pass)) == a_pass`, so the
repr of a list of passes is a recipe. `apply` never changes the model that it is given. What a pass
does to weights is a `torch.nn.utils.parametrize` parametrisation, so that several passes compose,
train together, and are baked in on export.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class PassContext:
    """What a pass may look at: inputs of the model for calibration, shape (images, ...)."""

    calibration: torch.Tensor


class AbstractPass(ABC):
    """One transformation. Concrete passes are frozen dataclasses."""

    @abstractmethod
    def apply(self, model: nn.Module, context: PassContext) -> nn.Module:
        """A new, cheaper model.

        Raises:
            PassError: the pass does not fit the model; the message names the layer.
        """


def apply_recipe(recipe: Sequence[AbstractPass], model: nn.Module, context: PassContext) -> nn.Module:
    """The model after all passes in order."""
    for step in recipe:
        model = step.apply(model, context)
    return model

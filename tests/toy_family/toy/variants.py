"""The names of the toys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tubelet.models.toy.config import ToyConfig

from tubelet.models.family import Models

if TYPE_CHECKING:
    from torch import nn


def toy() -> type[nn.Module]:
    from tubelet.models.toy.model import Toy

    return Toy


MODELS: Models = {"toy_small": (toy, ToyConfig, {}), "toy_deep": (toy, ToyConfig, {"depth": 4})}

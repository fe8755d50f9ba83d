"""The names of the toys."""

from __future__ import annotations

from tubelet.models.toy.config import ToyConfig
from tubelet.models.toy.model import Toy

from tubelet.models.family import Models

MODELS: Models = {"toy_small": (Toy, ToyConfig, {}), "toy_deep": (Toy, ToyConfig, {"depth": 4})}

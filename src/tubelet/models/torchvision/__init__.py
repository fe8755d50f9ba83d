"""torchvision's video networks, with the interface of the other models."""

from __future__ import annotations

from tubelet.models.family import Family
from tubelet.models.torchvision import weights
from tubelet.models.torchvision.variants import MODELS
from tubelet.weights.mapping.converter import Source

FAMILY = Family(
    name="torchvision",
    title="torchvision's networks",
    models=MODELS,
    sources={
        "torchvision": Source(
            about="torchvision's weights of its video networks (.pth)",
            convert=weights.convert,
        ),
    },
    cost_convention="torchvision states its networks' cost for 16 frames, whatever number it trained them on",
)

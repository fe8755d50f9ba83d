"""What a V-JEPA 2 takes from another one's checkpoint, above all a probe from an encoder that has none."""

from __future__ import annotations

from typing import Any

from torch import nn


def fresh_of_video(old: nn.Module, new: nn.Module) -> dict[str, str]:
    """The probe of a model that starts from an encoder alone: pattern of its names and reason."""
    before: Any = old.config
    after: Any = new.config
    if before.num_classes or not after.num_classes:
        return {}
    return {r"pooler\..*": "probe: the checkpoint is an encoder without one"}

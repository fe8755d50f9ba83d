"""Fields of a recipe under ``pretrain_on``: the pre-training on footage without labels that a run begins with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tubelet.errors import ConfigError

LAYER_DECAY = 0.75  # of fine-tuning: VideoMAE's (arXiv 2203.12602, appendix), but for SSv2 with ViT-S and UCF101: 0.7


@dataclass(frozen=True, kw_only=True)
class PretrainOnConfig:
    """Pre-train the run's own model in its folder, then train it from there.

    Model, clips and seed are those of the run. What its data hold out for validation and test is left out.
    """

    source: str  # folder of footage, .csv with a column path, or any data set, whose labels are not learned from
    recipe: str = "pretraining/small"  # shipped recipe or YAML file: its mask, optimizer, augmentation and length
    fields: dict[str, Any] = field(default_factory=dict)  # further fields of that recipe: {training: {num_epochs: 50}}

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("pretrain_on.source is empty; give a folder of footage")

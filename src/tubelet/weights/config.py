"""What a recipe says of first weights and of adapters."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.types import WhichWeights, added


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Where the first weights come from, and how those of an image model become those of a video model."""

    source: str  # timm model, lite0, file or folder of weights, checkpoint folder, or owner/name on huggingface.co
    tokenizer: Literal["central_frame", "inflation", "arp", "random"] = "central_frame"  # image kernel -> tubelets
    positions: Literal["resize_tile", "tile", "resize"] = "resize_tile"  # image table -> every time index
    temporal_attention: Literal["zero_projection", "zero", "copied", "random"] = "zero_projection"  # of Model 3
    spatial_class_token: Literal["image", "fresh"] = "image"  # of Model 2 and average pool
    image_grid: tuple[int, int] | None = None  # patches (h, w) of the image model, where the file does not say it
    keep_head: bool = False  # the classifier comes too, a checkpoint's by class name: all of the data's must be there
    which: WhichWeights | None = added(None)  # averaged or raw weights of a file with both; none means averaged ones

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("init.source is empty; give a timm model, a file, a folder or owner/name")

    def changed(self) -> list[str]:
        """The options that differ from their defaults and say what is made of the weights."""
        which_weights = ("source", "which")
        return [f.name for f in fields(self) if f.name not in which_weights and getattr(self, f.name) != f.default]


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters on the linear layers of an initialized model."""

    rank: int = 16  # width of the two matrices beside each layer
    alpha: float | None = None  # the adapter's output is scaled by alpha / rank; None means twice the rank
    dropout: float = 0.0  # on the adapter's input, in training
    targets: tuple[str, ...] = ("qkv", "proj", "fc1", "fc2")  # names of the linear layers that get one

    def __post_init__(self) -> None:
        if self.rank < 1 or (self.alpha is not None and self.alpha <= 0) or not 0 <= self.dropout < 1:
            raise ConfigError(
                "lora.rank must be at least 1, lora.alpha positive and lora.dropout in [0, 1), got "
                f"{self.rank}, {self.alpha} and {self.dropout:g}"
            )
        if not self.targets:
            raise ConfigError("lora.targets is empty; name linear layers, such as qkv,proj,fc1,fc2")

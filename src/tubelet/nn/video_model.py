"""What every model offers to other training loops, in timm's conventions, and the tokens that probes read.

B  videos   C  channels   T, H, W  clip   N  tokens   D  embedding width   K  classes   n_t, n_h, n_w  tokens' grid
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import prod
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.nn.head import head_name, head_prefixes, layer_of_parameters
from tubelet.nn.masked.autoencoder import MaskedAutoencoder
from tubelet.types import Grid

# Rows of these are learned embeddings, not maps: weight decay would pull them to zero.
EMBEDDINGS = ("pos_embed.table", "time_embed.table", "cls_token")


# Layers that are trained on stored features, between a frozen encoder and its classifier: an attentive pooling, or an
# encoder over time.
ReadingKind = Literal["attentive", "temporal"]


class VideoModel(nn.Module):
    """A model of video: ``forward(clip)`` is ``forward_head(forward_features(clip))``.

    ``num_features`` is the width D that the head takes. With ``num_classes=0`` the head is an identity, and the model
    is an encoder whose output is that vector.
    """

    config: Any  # the frozen dataclass that it was made from
    num_features: int
    reading_parts: tuple[str, ...] = ()  # modules before the classifier that ``reading_fields`` makes
    reading_layer: str | None = None  # of them a linear layer that the features enter first, alone

    @property
    def design(self) -> str:
        """What tells it from models that look otherwise: its class, and whether it samples frames."""
        sampled = getattr(self.config, "num_sampled_frames", None) is not None
        return f"{type(self).__name__}, sampled frames" if sampled else type(self).__name__

    def reading_fields(self, kind: ReadingKind, depth: int) -> dict[str, Any]:
        """Config fields of the model that has this encoder, and ``depth`` layers of this kind to read its features.

        Raises:
            ConfigError: models of this kind, or with such fields, have none.
        """
        raise ConfigError(f"{type(self).__name__} has no {kind} head: take linear or knn, or another encoder")

    def forward_features(self, clip: Any) -> Float[Tensor, "B *N D"]:
        """What the head pools: tokens after the last block and its norm, or one vector where a model pools before.

        Args:
            clip: as ``forward`` takes it.
        """
        raise NotImplementedError

    def forward_head(self, x: Float[Tensor, "B *N D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        """Logits of what ``forward_features`` gave; with ``pre_logits`` the vector ``[B, D]`` that the head takes."""
        raise NotImplementedError

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        """Tokens of the last stage on their grid, without class tokens. A stage over time alone has ``n_h = n_w = 1``.

        Dropout of patches must be off: call it in eval mode.
        """
        raise NotImplementedError

    def masked_autoencoder(self, dim: int, depth: int, num_heads: int) -> MaskedAutoencoder:
        """The model that pre-trains this one's encoder: both share its weights, which are drawn anew.

        Args:
            dim: width of the decoder.
            depth: its blocks.
            num_heads: their attention heads.

        Raises:
            ConfigError: models of this kind, or with such fields, cannot be pre-trained.
        """
        raise ConfigError(
            f"{type(self).__name__} has no masked pre-training; `tubelet pretrain --help` says which models have"
        )

    def make_head(self, num_classes: int) -> nn.Module:
        """A fresh classifier for ``num_features``; an identity for 0 classes."""
        return make_linear_head(self.num_features, num_classes)

    def get_classifier(self) -> nn.Module:
        """The module that gives the logits."""
        return self.get_submodule(head_name(self))

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh classifier in place of this one, on the same device. 0 classes make the model an encoder."""
        self.config = dataclasses.replace(self.config, num_classes=num_classes)
        parameter = next(self.parameters())
        head = self.make_head(num_classes).to(device=parameter.device, dtype=parameter.dtype)
        self.set_submodule(head_name(self), head)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters with two axes and more that are embeddings: position tables and class tokens."""
        return {name for name, _ in self.named_parameters() if name.endswith(EMBEDDINGS)}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """The layer of a parameter by its name, for timm's ``group_parameters`` and layer decay.

        0 is all before the first block; the head is one more than the last block. ``coarse`` is timm's: stem, all
        blocks, head.
        """
        layers = layer_of_parameters(self)
        last = 1 + max(layers.values(), default=0)
        head = head_prefixes(self)
        numbers = {name: last if name.startswith(head) else layer for name, layer in layers.items()}
        if coarse:
            numbers = {name: 2 if layer == last else min(layer, 1) for name, layer in numbers.items()}
        return numbers.__getitem__


def make_linear_head(num_features: int, num_classes: int) -> nn.Module:
    """A linear classifier with PyTorch's initial values; an identity for 0 classes."""
    return nn.Linear(num_features, num_classes) if num_classes else nn.Identity()


def on_grid(x: Float[Tensor, "B N D"], grid: Grid) -> Float[Tensor, "B n_t n_h n_w D"]:
    """Tokens in the order time, height, width on their grid; what stands before them (a class token) is left out."""
    return x[:, x.shape[1] - prod(grid) :].unflatten(1, grid)

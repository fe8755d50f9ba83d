"""V-JEPA 2.1: V-JEPA 2 with a true rotation, positions stretched to a fixed grid, norms of four levels and images.

Source: facebookresearch/vjepa2, commit be434e46, ``app/vjepa_2_1/models/vision_transformer.py``, and commit 16de6c80,
``app/vjepa_2_1/utils/modules.py`` and ``src/hub/backbones.py``.

Unproven: this is built from a reading of that code. No output of the original was there to compare with.

    B  videos   C  channels   T, H, W  clip in frames and pixels   D  embedding width   N  tokens
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.models.vjepa2.config import VJEPA21Config
from tubelet.models.vjepa2.model import VJEPA2, VJEPA2Encoder
from tubelet.nn.rotary import Rotation, rotation_of
from tubelet.nn.tokenizer import TubeletTokenizer
from tubelet.types import Grid

_PIXELS = 256  # rows and columns are stretched to those of a picture of so many pixels


class VJEPA21Encoder(VJEPA2Encoder):
    """The encoder of V-JEPA 2.1. A clip of one frame is an image, with patches and a modality vector of its own."""

    def __init__(self, config: VJEPA21Config) -> None:
        super().__init__(config)
        _, h, w = config.tubelet_size
        self.stretched = (_PIXELS // h, _PIXELS // w)  # rows and columns
        self.levels_with_norm = config.levels
        self.norm = nn.Identity()
        self.norms = nn.ModuleList(nn.LayerNorm(config.embed_dim, eps=config.norm_eps) for _ in config.levels)
        self.image_tokenizer = TubeletTokenizer(
            (1, h, w), config.in_channels, config.embed_dim, (1, *config.grid[1:]), config.remainder
        )
        self.image_embed = nn.Parameter(torch.zeros(config.embed_dim))
        self.video_embed = nn.Parameter(torch.zeros(config.embed_dim))

    def embed(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B N D"], Grid]:
        if clip.shape[2] == 1:
            x, grid = self.image_tokenizer(clip)  # B N D
            return x + self.image_embed, grid
        x, grid = self.tokenizer(clip)  # B N D
        return x + self.video_embed, grid

    def rotation(self, index: Int[Tensor, "L N"], grid: Grid) -> Rotation:
        rows, columns = ((to - 1) / max(of - 1, 1) for to, of in zip(self.stretched, grid[1:], strict=True))
        return rotation_of(index, grid, self.head_dim, "paired", (1.0, rows, columns))

    def norm_behind(self, block: int) -> nn.Module:
        return self.norms[self.levels_with_norm.index(block)]


class VJEPA21(VJEPA2):
    """V-JEPA 2.1 with the probe of V-JEPA 2, or without. Unproven: see above."""

    encoder_class = VJEPA21Encoder

    def __init__(self, config: VJEPA21Config) -> None:
        super().__init__(config)

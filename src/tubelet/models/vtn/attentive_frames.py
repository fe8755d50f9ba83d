"""V-JEPA 2's attentive probe over the vectors of the frames, in the place of VTN's encoder over time.

It has no positions: like a mean it is blind to the order of frames, but it learns which frames count.

    B  videos   T  frames   D  width of a frame's vector
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tubelet.models.vtn.config import VTNConfig
from tubelet.nn.attention_steps import AttentionStep, clip_tokens, vector_positions
from tubelet.nn.pooling.attentive import AttentivePooler


class AttentiveFrames(nn.Module):
    """``depth - 1`` blocks over the frames, then one learned query that pools them."""

    def __init__(self, config: VTNConfig, width: int) -> None:
        super().__init__()
        self.pooler = AttentivePooler(width, config.heads_for(width), config.depth, config.norm_eps)

    def forward(
        self, x: Float[Tensor, "B T D"], position: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """The pooled vector, then the frames as the last block has them."""
        frames = self.pooler.tokens(x, valid)  # B T D
        return torch.cat([self.pooler.pool(self.pooler.query_token, frames, valid)[:, None], frames], dim=1)

    def class_token(
        self, x: Float[Tensor, "B T D"], position: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B D"]:
        """The pooled vector."""
        pooled: Tensor = self.pooler(x, valid)
        return pooled

    def attention_step(self, module: str, num_frames: int) -> AttentionStep:
        """What an attention of the pooler looks at."""
        frames = vector_positions(range(num_frames))  # 1 T 3
        if module.startswith("pooler.pool"):
            return AttentionStep(kind="pool", queries=clip_tokens(1, 1), keys=frames)
        return AttentionStep(kind="time", queries=frames, keys=frames)

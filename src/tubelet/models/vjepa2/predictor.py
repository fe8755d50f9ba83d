"""V-JEPA 2's pre-training model: an encoder of some tokens, and a predictor of what it would make of others.

Source: V-JEPA 2 (arXiv 2506.09985) section 2, facebookresearch/vjepa2, commit c2963a47, ``src/models/predictor.py``,
``app/vjepa/train.py``.

    B  videos   n  context tokens   m  target tokens   D  the encoder's width   P  the predictor's width

In training the encoder sees the context tokens only. HuggingFace's copy encodes all tokens and picks the context
behind the encoder, which gives other predictions.

Deviation: the grid of the positions is that of the clip; the original's predictor has the one it was made for.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.models.vjepa2.config import VJEPA2Config, VJEPA2PredictorConfig
from tubelet.models.vjepa2.model import VJEPA2Encoder, take
from tubelet.nn.linear import Linear, initialize_linear_layers
from tubelet.nn.rotary import RotaryBlock, rotation_of
from tubelet.types import Grid


class VJEPA2Predictor(nn.Module):
    """From the encoder's context tokens to its tokens at the targets.

    Context and mask tokens stand together in the order of their numbers, so that blocks see them as one clip.
    """

    def __init__(self, encoder_dim: int, config: VJEPA2PredictorConfig) -> None:
        super().__init__()
        self.head_dim = config.embed_dim // config.num_heads
        self.embed = Linear(encoder_dim, config.embed_dim)
        self.mask_tokens = nn.Parameter(torch.zeros(config.num_mask_tokens, config.embed_dim))
        self.blocks = nn.ModuleList(
            RotaryBlock(
                config.embed_dim, config.num_heads, config.mlp_ratio, activation="gelu", norm_eps=config.norm_eps
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.proj = Linear(config.embed_dim, encoder_dim)
        initialize_linear_layers(self)

    def forward(
        self,
        context: Float[Tensor, "B n D"],
        context_index: Int[Tensor, "B n"],
        target_index: Int[Tensor, "B m"],
        grid: Grid,
        mask_token: int = 1,
    ) -> Float[Tensor, "B m D"]:
        """Predicted tokens, in the order of ``target_index``.

        Args:
            grid: tokens (n_t, n_h, n_w) of the clip, on which the numbers count.
            mask_token: which one stands for the targets, modulo how many there are. 1 is the original's default;
                its training takes that of the clip's number of frames among those of its data, which a file does not
                say. One that is still zero was not trained.
        """
        hidden = self.mask_tokens[mask_token % len(self.mask_tokens)]  # P
        x = torch.cat([self.embed(context), hidden.expand(*target_index.shape, -1)], dim=1)  # B n+m P
        index, order = torch.cat([context_index, target_index], dim=1).sort(dim=1)  # B n+m
        x = take(x, order)  # B n+m P, by their numbers
        rotation = rotation_of(index, grid, self.head_dim, "tiled")
        for block in self.blocks:
            x = block(x, rotation)  # B n+m P
        x = take(self.norm(x), order.argsort(dim=1))  # B n+m P, context and then targets
        return self.proj(x[:, context.shape[1] :])  # B m D


class VJEPA2Pretraining(nn.Module):
    """The encoder of :class:`VJEPA2` and its predictor."""

    def __init__(self, config: VJEPA2Config, predictor: VJEPA2PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VJEPA2Encoder(config)
        self.predictor = VJEPA2Predictor(config.embed_dim, predictor)

    def forward(
        self,
        clip: Float[Tensor, "B C T H W"],
        context_index: Int[Tensor, "B n"],
        target_index: Int[Tensor, "B m"],
        mask_token: int = 1,
    ) -> Float[Tensor, "B m D"]:
        """The predicted tokens of the targets, from an encoding of the context alone, as in training."""
        context, grid = self.encoder(clip, context_index)  # B n D
        return self.predictor(context, context_index, target_index, grid, mask_token)


def prediction_targets(tokens: Float[Tensor, "B N D"], target_index: Int[Tensor, "B m"]) -> Float[Tensor, "B m D"]:
    """What the predictor should give: the averaged encoder's tokens of the full clip, normalized without weights."""
    return take(nn.functional.layer_norm(tokens, tokens.shape[-1:]), target_index)


def prediction_loss(predicted: Float[Tensor, "B m D"], targets: Float[Tensor, "B m D"]) -> Float[Tensor, ""]:
    """The mean absolute difference."""
    return nn.functional.l1_loss(predicted, targets)

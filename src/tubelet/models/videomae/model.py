"""VideoMAE: the encoder and its classifier.

Sources: "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training" (arXiv
2203.12602), MCG-NJU/VideoMAE, commit 14ef8d85, ``modeling_finetune.py``; VideoMAE V2 (arXiv 2303.16727) has the same
layers with patches of 14 pixels and another MLP width at ViT-g. It is a ViT over all tubelets, as ViViT's Model 1,
with a fixed table of positions, biases of queries and values alone, and no class token.

    B  videos   C  channels   T, H, W  clip in frames and pixels   K  classes   D  embedding width
    N = n_t n_h n_w  tokens   V  visible tokens

Deviation: an odd frame at the end is refused, where HuggingFace's copy leaves it out, and a clip of another size gets
a table of its own length, where both codes stop (``other_grid``).
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tubelet.models.videomae.config import VideoMAEConfig, VideoMAEDecoderConfig
from tubelet.nn.attention_steps import AttentionStep, joint_step
from tubelet.nn.block import drop_path_schedule
from tubelet.nn.encoder import pool_tokens
from tubelet.nn.linear import initialize_linear_layers
from tubelet.nn.masked.autoencoder import MaskedAutoencoder
from tubelet.nn.masked.masking import take_tokens
from tubelet.nn.query_value_bias import QueryValueBiasBlock
from tubelet.nn.sine_cosine import SineCosineTable
from tubelet.nn.tokenizer import TubeletTokenizer
from tubelet.nn.video_model import VideoModel, make_linear_head, on_grid
from tubelet.types import Grid

_HEAD_SCALE = 0.001  # of the classifier's first values, the scripts' init_scale


class VideoMAEEncoder(nn.Module):
    """Tubelets + fixed positions + blocks, and with ``final_norm="tokens"`` a LayerNorm of every token."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.tokenizer = TubeletTokenizer(
            config.tubelet_size, config.in_channels, config.embed_dim, config.grid, config.remainder
        )
        self.tokenizer.proj.reset_parameters()  # torch's own, as the original leaves it
        self.pos_embed = SineCosineTable(config.grid, config.embed_dim, config.other_grid)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.blocks = make_blocks(config, drop_path_schedule(config.drop_path_rate, config.depth))
        normalizes = config.final_norm == "tokens"
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps) if normalizes else nn.Identity()

    def forward(
        self, clip: Float[Tensor, "B C T H W"], visible: Bool[Tensor, "B N"] | Int[Tensor, "B V"] | None = None
    ) -> tuple[Float[Tensor, "B V D"], Grid]:
        """Tokens, and the grid (n_t, n_h, n_w) of all of them.

        Args:
            visible: the tokens that enter the blocks, as a mask or by index, as many in each video; each keeps the
                position of its place. None means all.
        """
        x, grid = self.tokenizer(clip)  # B N D
        x = self.pos_drop(x + self.pos_embed(grid))  # B N D
        if visible is not None:
            x = take_tokens(x, visible)  # B V D
        for block in self.blocks:
            x = block(x)  # B V D
        return self.norm(x), grid


class VideoMAE(VideoModel):
    """The encoder, its tokens pooled to one vector, and a linear classifier where ``num_classes`` is not 0."""

    def __init__(self, config: VideoMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VideoMAEEncoder(config)
        width, pools = config.embed_dim, config.final_norm == "pooled"
        self.fc_norm = nn.LayerNorm(width, eps=config.head_norm_eps) if pools else nn.Identity()
        self.head_drop = nn.Dropout(config.head_drop_rate)
        self.num_features = width
        self.head = self.make_head(config.num_classes)

    def make_head(self, num_classes: int) -> nn.Module:
        head = make_linear_head(self.num_features, num_classes)
        initialize_linear_layers(head)
        for parameter in head.parameters():
            parameter.data.mul_(_HEAD_SCALE)
        return head

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        """Logits; without a classifier the pooled vectors ``[B, D]``."""
        return self.forward_head(self.forward_features(clip))

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        return self.encoder(clip)[0]

    def forward_head(self, x: Float[Tensor, "B N D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        x = self.head_drop(self.fc_norm(pool_tokens(x, self.config.global_pool)))  # B D
        return x if pre_logits else self.head(x)  # B K

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        return on_grid(*self.encoder(clip))

    def token_grid(self, clip_size: Grid) -> Grid:
        t, h, w = (size // part for size, part in zip(clip_size, self.config.tubelet_size, strict=True))
        return t, h, w

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        return joint_step(grid, 0)

    def masked_autoencoder(self, dim: int, depth: int, num_heads: int) -> MaskedAutoencoder:
        from tubelet.models.videomae.pretraining import VideoMAEPretraining  # which imports this file

        decoder = VideoMAEDecoderConfig(embed_dim=dim, depth=depth, num_heads=num_heads)
        made = VideoMAEPretraining(self.config, decoder)
        assert isinstance(made.encoder, VideoMAEEncoder)
        self.encoder, self.config = made.encoder, made.config
        self.fc_norm = nn.Identity()  # the norm stands behind the tokens
        return made


def make_blocks(config: VideoMAEConfig, drop_path_rates: list[float]) -> nn.ModuleList:
    """A block for each rate, with the fields of ``config``."""
    shared = "embed_dim num_heads mlp_ratio qkv_bias activation norm_eps drop_rate attn_drop_rate"
    options = {name: getattr(config, name) for name in shared.split()}
    blocks = nn.ModuleList(QueryValueBiasBlock(drop_path=rate, **options) for rate in drop_path_rates)
    initialize_linear_layers(blocks)
    return blocks

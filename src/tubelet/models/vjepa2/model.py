"""V-JEPA 2: the encoder, and the classifier that probes it.

Source: V-JEPA 2 (arXiv 2506.09985), facebookresearch/vjepa2, commit c2963a47, ``src/models/vision_transformer.py`` and
``evals/video_classification_frozen/modelcustom``.

    B  videos   C  channels   T, H, W  clip in frames and pixels   K  classes   D  embedding width
    N = n_t n_h n_w  tokens   M  tokens that are kept   S  segments   L  levels

The grid of the rotary positions is that of the tensor, as in the original; HuggingFace's copy takes it from its config
and gives a clip of another size wrong positions.
"""

from __future__ import annotations

from typing import Any

from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.errors import TubeletError
from tubelet.models.vjepa2.config import VJEPA2Config
from tubelet.nn.attention_steps import AttentionStep, clip_positions, clip_tokens, joint_step
from tubelet.nn.block import drop_path_schedule
from tubelet.nn.linear import initialize_linear_layers
from tubelet.nn.pooling.attentive import AttentivePooler
from tubelet.nn.rotary import RotaryBlock, Rotation, all_tokens, rotation_of
from tubelet.nn.tokenizer import TubeletTokenizer
from tubelet.nn.video_model import ReadingKind, VideoModel, make_linear_head, on_grid
from tubelet.types import Grid


class VJEPA2Encoder(nn.Module):
    """Tubelets + blocks with rotary positions + LayerNorm. There is no class token and no table of positions."""

    def __init__(self, config: VJEPA2Config) -> None:
        super().__init__()
        self.head_dim = config.embed_dim // config.num_heads
        self.repeats_image = config.repeat_image
        self.tokenizer = TubeletTokenizer(
            config.tubelet_size, config.in_channels, config.embed_dim, config.grid, config.remainder
        )
        shared = "embed_dim num_heads mlp_ratio qkv_bias activation norm_eps drop_rate attn_drop_rate"
        options = {name: getattr(config, name) for name in shared.split()}
        rates = drop_path_schedule(config.drop_path_rate, config.depth)
        self.blocks = nn.ModuleList(RotaryBlock(drop_path=rate, **options) for rate in rates)
        self.norm: nn.Module = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        initialize_linear_layers(self.blocks)

    def forward(
        self, clip: Float[Tensor, "B C T H W"], kept: Int[Tensor, "B M"] | None = None
    ) -> tuple[Float[Tensor, "B M D"], Grid]:
        """Tokens behind the norm, and the grid (n_t, n_h, n_w) of all of them.

        Args:
            kept: numbers of the tokens that enter the blocks, each with the position of its place. None means all.
        """
        levels, grid = self.levels(clip, (len(self.blocks) - 1,), kept)
        return levels[0], grid

    def levels(
        self, clip: Float[Tensor, "B C T H W"], layers: tuple[int, ...], kept: Int[Tensor, "B M"] | None = None
    ) -> tuple[list[Float[Tensor, "B M D"]], Grid]:
        """The tokens behind each of these blocks, all through the final norm."""
        x, grid = self.embed(clip)  # B N D
        index = all_tokens(grid, x.device) if kept is None else kept  # 1 N, or B M
        if kept is not None:
            x = take(x, kept)  # B M D
        rotation = self.rotation(index, grid)
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x, rotation)  # B M D
            if i in layers:
                found.append(self.norm_behind(i)(x))
        return found, grid

    def embed(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Float[Tensor, "B N D"], Grid]:
        """Tokens as they enter the first block, and their grid."""
        if self.repeats_image and clip.shape[2] == 1:
            clip = repeat(clip, "b c 1 h w -> b c t h w", t=self.tokenizer.tubelet_size[0])
        tokens: tuple[Tensor, Grid] = self.tokenizer(clip)
        return tokens

    def rotation(self, index: Int[Tensor, "L N"], grid: Grid) -> Rotation:
        """The positions of the tokens with these numbers."""
        return rotation_of(index, grid, self.head_dim, "tiled")

    def norm_behind(self, block: int) -> nn.Module:
        """The norm of the tokens behind a block."""
        return self.norm


class VJEPA2(VideoModel):
    """The encoder with an attentive probe and a linear classifier, where ``num_classes`` is not 0."""

    encoder_class: type[VJEPA2Encoder] = VJEPA2Encoder
    reading_parts = ("pooler",)

    def __init__(self, config: VJEPA2Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = self.encoder_class(config)
        self.num_features = config.embed_dim
        self.pooler = make_pooler(config) if config.num_classes else nn.Identity()
        self.head = self.make_head(config.num_classes)

    def make_head(self, num_classes: int) -> nn.Module:
        head = make_linear_head(self.num_features, num_classes)
        initialize_linear_layers(head)
        return head

    def reset_classifier(self, num_classes: int) -> None:
        """As of every model; an encoder without a probe gets a fresh one with its classifier."""
        super().reset_classifier(num_classes)
        if num_classes and isinstance(self.pooler, nn.Identity):
            self.pooler = make_pooler(self.config).to(next(self.encoder.parameters()))

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B K"]:
        """Logits; without a probe the mean of the tokens ``[B, D]``."""
        return self.forward_head(self.forward_features(clip))

    def forward_head(self, x: Float[Tensor, "B N D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        x = x.mean(1) if isinstance(self.pooler, nn.Identity) else self.pooler(x)  # B D
        return x if pre_logits else self.head(x)  # B K

    def forward_features(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B N D"]:
        """What the probe reads: the tokens of all levels of the first segment, then those of the next.

        Raises:
            TubeletError: the frames do not part into ``num_segments`` equal segments.
        """
        s, layers = self.config.num_segments, self.config.out_layers or (self.config.depth - 1,)
        if clip.shape[2] % s:
            raise TubeletError(f"a clip of {clip.shape[2]} frames does not part into num_segments={s} equal segments")
        clip = rearrange(clip, "b c (s t) h w -> (b s) c t h w", s=s)  # BS C T H W
        levels, _ = self.encoder.levels(clip, layers)  # L x BS N D
        return rearrange(levels, "l (b s) n d -> b (s l n) d", s=s)

    def tokens(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B n_t n_h n_w D"]:
        """The encoder's tokens of the whole clip, which is one segment here."""
        return on_grid(*self.encoder(clip))

    def reading_fields(self, kind: ReadingKind, depth: int) -> dict[str, Any]:
        if kind != "attentive":
            return super().reading_fields(kind, depth)
        return {"pooler_depth": depth}

    def token_grid(self, clip_size: Grid) -> Grid:
        t, h, w = (size // part for size, part in zip(clip_size, self.config.tubelet_size, strict=True))
        return max(t, 1), h, w  # an image is one time index

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        if self.config.num_segments > 1:  # each is a clip of its own, and positions would be those of one
            return AttentionStep(kind="pool" if module.startswith("pooler.pool") else "joint")
        if module.startswith("encoder."):
            return joint_step(grid, 0)
        tokens = clip_positions(grid).flatten(0, 1).repeat(max(1, len(self.config.out_layers)), 1)[None]  # 1 LN 3
        if module.startswith("pooler.pool"):
            return AttentionStep(kind="pool", queries=clip_tokens(1, 1), keys=tokens)
        return AttentionStep(kind="joint", queries=tokens, keys=tokens)


def make_pooler(config: VJEPA2Config) -> nn.Module:
    """The attentive probe."""
    heads, depth, eps = config.pooler_num_heads, config.pooler_depth, config.pooler_norm_eps
    return AttentivePooler(config.embed_dim, heads, depth, eps)


def take(x: Float[Tensor, "B N D"], index: Int[Tensor, "B M"]) -> Float[Tensor, "B M D"]:
    """The tokens with these numbers."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))

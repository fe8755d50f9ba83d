"""VTN: an image network on every frame, then a Longformer over the frames of the whole video.

Source: "Video Transformer Network" (arXiv 2102.00719) and its official code, bomri/SlowFast, commit 00a68201,
``slowfast/models/video_model_builder.py`` (class ``VTN``) and ``slowfast/models/vtn_helper.py``.

    B  videos   C  channels   T, H, W  clip in frames and pixels   L = 1 + T  tokens   D  encoder width   K  classes

Maps a clip ``[B, C, T, H, W]`` to logits ``[B, K]``; T, H and W come from the clip. The paper's point is that each part
may be another one: backbone, positions, encoder and head are modules of their own.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.models.vtn.attentive_frames import AttentiveFrames
from tubelet.models.vtn.config import VTNConfig
from tubelet.models.vtn.frame_pool import FramePool
from tubelet.models.vtn.image_backbone import backbone_step, make_backbone, patch_grid
from tubelet.models.vtn.longformer import FullAttention, LongformerAttention, PostNormLayer, UniformAttention
from tubelet.nn.attention_steps import AttentionStep
from tubelet.nn.position import FixedFramePositions, FramePositionTable, NoFramePositions
from tubelet.nn.video_model import ReadingKind, VideoModel
from tubelet.types import FrameFeatures, Grid

log = logging.getLogger(__name__)
# Deviation: the layers that a probe trains on stored vectors of frames are 128 wide, with heads of 32 channels and,
# over time, feed-forward layers of twice the width. VTN's are 768 wide, with heads of 64 channels and feed-forward
# layers of four times the width; V-JEPA 2's probe is as wide as its encoder. Both have far more clips to train on.
_READING_WIDTH = 128


class VTN(VideoModel):
    """Backbone, encoder over time, head; see :class:`VTNConfig` for what each may be."""

    frames_per_feature = 1  # the backbone sees one frame at a time
    frame_stage = ("backbone",)  # modules of the per-frame stage
    takes_frame_numbers = True  # ``position``, beside the clip
    reading_parts = ("proj", "temporal_encoder")
    reading_layer = "proj"

    def __init__(self, config: VTNConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone: Any
        self.backbone, given = make_backbone(
            config.backbone, config.in_channels, config.image_size, config.backbone_fields
        )
        width = config.embed_dim or given
        self.proj: nn.Module = nn.Identity() if width == given else nn.Linear(given, width)
        self.num_features = width
        self.temporal_encoder: FramePool | AttentiveFrames | TemporalEncoder
        if config.encoder in ("mean", "mean_std"):
            self.temporal_encoder = FramePool(deviation=config.encoder == "mean_std")
            self.num_features = 2 * width if self.temporal_encoder.deviation else width
        else:
            attentive = config.encoder == "attentive"
            self.temporal_encoder = AttentiveFrames(config, width) if attentive else TemporalEncoder(config, width)
            self.config = dataclasses.replace(config, num_heads=config.heads_for(width))  # a record keeps the number
        self.head = make_head(config, self.num_features)
        if config.freeze_backbone:
            self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> VTN:
        """A frozen backbone stays in eval mode: its statistics and dropout belong to training."""
        super().train(mode)
        if self.config.freeze_backbone:
            self.backbone.eval()
        return self

    def fit_(self, clip: Float[Tensor, "B C T H W"], *rest: Tensor) -> None:
        """Make the backbone's positions those of the clip's height and width, where timm can."""
        if hasattr(self.backbone, "set_input_size"):
            self.backbone.set_input_size(img_size=tuple(clip.shape[3:]))

    def forward(
        self,
        clip: Float[Tensor, "B C T H W"] | FrameFeatures,
        position: Int[Tensor, "B T"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B K"]:
        """``position`` holds the number of each frame in its source, counted from the first frame of the clip; left
        out, frames are ``frame_step`` apart. ``valid`` is False where a shorter video of the batch has no frame: the
        pixels there are not looked at. Features that the per-frame stage has given before bring both themselves."""
        if not isinstance(clip, FrameFeatures):
            return self.encode_time(dataclasses.replace(self.encode_frames(clip, position), valid=valid))
        if position is not None or valid is not None:
            raise ConfigError("position and valid belong to the features here: give them as fields of FrameFeatures")
        return self.encode_time(clip)

    def encode_frames(
        self, clip: Float[Tensor, "B C T H W"], position: Int[Tensor, "B T"] | None = None
    ) -> FrameFeatures:
        """The per-frame stage: the backbone's vector of every frame, independent of every other frame."""
        images = rearrange(clip, "b c t h w -> (b t) c h w")
        has_gradient = clip.requires_grad or not self.config.freeze_backbone  # of pixels, where a model is explained
        with torch.set_grad_enabled(torch.is_grad_enabled() and has_gradient):
            vectors = self.backbone(images)  # B*T D
        vectors = rearrange(vectors, "(b t) d -> b t d", b=clip.shape[0])
        return FrameFeatures(vectors=vectors, position=position)

    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage: logits from the vectors of the frames; those that are not valid are not looked at."""
        return self.forward_head(self.forward_features(features))

    def forward_features(
        self, clip: Float[Tensor, "B C T H W"] | FrameFeatures, position: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B D"]:
        """The class token, which is all that is computed of the last layer."""
        features = clip if isinstance(clip, FrameFeatures) else self.encode_frames(clip, position)
        x = self.proj(features.vectors)  # B T D
        return self.temporal_encoder.class_token(x, self._position(features), features.valid)  # B D

    def forward_head(self, x: Float[Tensor, "B D"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        return x if pre_logits else self.head(x)  # B K

    def tokens(
        self, clip: Float[Tensor, "B C T H W"], position: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T 1 1 D"]:
        """The states of the temporal encoder, one per frame."""
        features = self.encode_frames(clip, position)
        x = self.temporal_encoder(self.proj(features.vectors), self._position(features))  # B 1+T D
        return x[:, 1:, None, None]

    def make_head(self, num_classes: int) -> nn.Module:
        return make_head(dataclasses.replace(self.config, num_classes=num_classes), self.num_features)

    def token_grid(self, clip_size: Grid) -> Grid:
        """Tokens of the backbone, of which each frame has 1 where they lie on no grid."""
        return clip_size[0], *(patch_grid(self.backbone, clip_size[1:]) or (1, 1))

    def reading_fields(self, kind: ReadingKind, depth: int) -> dict[str, Any]:
        width = self.config.embed_dim or _READING_WIDTH
        fields = {"encoder": "attentive", "depth": depth, "embed_dim": width, "num_heads": max(1, width // 32)}
        usual = VTNConfig()  # in place of what another encoder had
        fields |= {"hidden_dim": usual.hidden_dim, "attention_window": list(usual.attention_window)}
        fields |= {"positions": usual.positions, "num_positions": usual.num_positions, "head_dim": None}
        if kind == "temporal":
            fields |= {"encoder": "longformer", "hidden_dim": 2 * width}
        return fields

    @property
    def design(self) -> str:
        has_tokens = isinstance(getattr(self.backbone, "global_pool", None), str)
        return type(self).__name__ if has_tokens else f"{type(self).__name__}, convolutional backbone"

    @property
    def frame_pool(self) -> str:
        """How the backbone makes the vector of a frame of its tokens, in timm's words; "token" also without tokens."""
        pool = getattr(self.backbone, "global_pool", None)  # of a convolutional network it is a module
        return pool if isinstance(pool, str) and pool else "token"

    def attention_step(self, module: str, call: int, grid: Grid) -> AttentionStep:
        of_backbone = module.removeprefix("backbone.")
        if of_backbone != module:
            return backbone_step(self.backbone, of_backbone, grid)
        if isinstance(self.temporal_encoder, AttentiveFrames):
            return self.temporal_encoder.attention_step(module.removeprefix("temporal_encoder."), grid[0])
        attention: Any = self.get_submodule(module)
        step: AttentionStep = attention.attention_step(call, grid[0])
        assert isinstance(self.temporal_encoder, TemporalEncoder)  # a frame pool has no attention
        if attention is not self.temporal_encoder.layers[-1].attn or step.queries is None:
            return step
        return dataclasses.replace(step, queries=step.queries[:, :1])  # of the last layer the class token's row alone

    def _position(self, features: FrameFeatures) -> Int[Tensor, "B T"]:
        if features.position is not None:
            return features.position
        batch, num_frames = features.vectors.shape[:2]
        return (torch.arange(num_frames, device=features.vectors.device) * self.config.frame_step).expand(batch, -1)


class TemporalEncoder(nn.Module):
    """Class token, positions and token types, then post-norm layers (Longformer's embedding of a sequence)."""

    def __init__(self, config: VTNConfig, width: int) -> None:
        super().__init__()
        num_heads = config.heads_for(width)
        if num_heads != config.num_heads:
            log.info("encoder: %s heads, since %s do not divide its width %s", num_heads, config.num_heads, width)
        windows = config.attention_window * (config.depth // len(config.attention_window))
        self.cls_token = nn.Parameter(torch.empty(width))
        self.type_embed = nn.Parameter(torch.empty(2, width))  # of frames, of the class token
        self.pos_embed = make_positions(config, width)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.drop = nn.Dropout(config.drop_rate)
        self.layers = nn.ModuleList(
            PostNormLayer(
                make_attention(config, width, num_heads, window),
                width,
                config.hidden_dim,
                config.drop_rate,
                config.norm_eps,
            )
            for window in windows
        )
        self.apply(_init_as_bert)
        nn.init.normal_(self.cls_token)  # of variance 1, as in the official code
        nn.init.normal_(self.type_embed, std=0.02)

    def embed(self, x: Float[Tensor, "B T D"], position: Int[Tensor, "B T"]) -> Float[Tensor, "B L D"]:
        frames = x + self.pos_embed.of_frames(position) + self.type_embed[0]  # B T D
        token = self.cls_token + self.pos_embed.of_class_token() + self.type_embed[1]  # D
        x = torch.cat([token.expand(x.shape[0], 1, -1).to(frames.dtype), frames], dim=1)  # B L D
        return self.drop(self.norm(x))  # B L D

    def forward(
        self, x: Float[Tensor, "B T D"], position: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """All tokens after the last layer, the class token first."""
        x, valid = self.embed(x, position), with_class_token(valid)  # B L D
        for layer in self.layers:
            x = layer(x, valid)  # B L D
        return x

    def class_token(
        self, x: Float[Tensor, "B T D"], position: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B D"]:
        """The first row of ``forward`` at less cost: of the last layer, that row is all that is computed."""
        x, valid = self.embed(x, position), with_class_token(valid)  # B L D
        for layer in self.layers[:-1]:
            x = layer(x, valid)  # B L D
        last: Any = self.layers[-1]
        return last.class_token(x, valid)  # B D


def with_class_token(valid: Bool[Tensor, "B T"] | None) -> Bool[Tensor, "B L"] | None:
    return None if valid is None else nn.functional.pad(valid, (1, 0), value=True)


def make_positions(config: VTNConfig, width: int) -> FramePositionTable | FixedFramePositions | NoFramePositions:
    match config.positions:
        case "learned":
            return FramePositionTable(config.num_positions, width)
        case "fixed":
            return FixedFramePositions(width)
        case "none":
            return NoFramePositions()


def make_attention(
    config: VTNConfig, width: int, num_heads: int, window: int
) -> LongformerAttention | FullAttention | UniformAttention:
    match config.encoder:
        case "longformer":
            return LongformerAttention(width, num_heads, window, config.attn_drop_rate)
        case "full":
            return FullAttention(width, num_heads, config.attn_drop_rate)
        case "uniform":
            return UniformAttention(width)
        case "attentive" | "mean" | "mean_std":
            raise AssertionError("these are no encoder of VTN's own")


def make_head(config: VTNConfig, width: int) -> nn.Module:
    if not config.num_classes:
        return nn.Identity()
    if config.head_dim is None:
        return nn.Linear(width, config.num_classes)
    return nn.Sequential(
        nn.LayerNorm(width, eps=1e-5),  # PyTorch's default, unlike the 1e-12 of the encoder
        nn.Linear(width, config.head_dim),
        nn.GELU(),
        nn.Dropout(config.head_drop_rate),
        nn.Linear(config.head_dim, config.num_classes),
    )


def _init_as_bert(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)

"""UniFormerV2 computed the way its original computes it, with the weights of one of ours: the peer for its speed.

Written from the description of the released model (OpenGVLab/UniFormerV2, commit 722a4344): tokens of all frames stand
as ``N (B T) D``, image attention is ``nn.MultiheadAttention``, QuickGELU is its formula, temporal branches are 3-D
convolutions behind a BatchNorm3d, positions a depthwise 3-D convolution. Parameters have the official names, so that a
state dict loads strictly. It serves the benchmark and one test: fixed sizes, no checks.

    B  videos   T  time indices   N = 1 + S  class token and patches of a frame   D  width
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.uniformerv2.weights import to_official


def plain_twin(model: nn.Module) -> PlainUniFormerV2:
    """The same function as a UniFormerV2 with CLIP's trunk and sequential fusion, for clips of its size."""
    assert isinstance(model, UniFormerV2 | UniFormerV2Local)
    twin = PlainUniFormerV2(model.config)
    twin.load_state_dict(to_official(model))
    return twin.train(model.training)


class PlainUniFormerV2(nn.Module):
    """``[B, C, T, H, W]`` -> logits ``[B, K]``."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, p = config.embed_dim, config.patch_size
        down = getattr(config, "temporal_downsample", False)
        kernel, stride = (config.stem_kernel, 2) if down else (1, 1)
        self.conv1 = nn.Conv3d(
            config.in_channels, width, (kernel, p, p), (stride, p, p), ((kernel - 1) // 2, 0, 0), bias=False
        )
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + config.grid[0] * config.grid[1], width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = _Transformer(config)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.conv1(clip)  # B D T h w
        batch, grid = len(x), x.shape[3:]
        x = rearrange(x, "b d t h w -> (b t) (h w) d")
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        x = self.ln_pre(x + self.positional_embedding)
        return self.transformer(rearrange(x, "l n d -> n l d"), batch, grid)


class _Transformer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        width, heads = config.embed_dim, config.num_heads
        local = config.layers_with_local_branch() if hasattr(config, "local_layers") else ()
        self.layers = config.layers_with_global_block()
        self.resblocks = nn.ModuleList(_Block(config, i in local) for i in range(config.depth))
        self.dpe = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1, groups=width) for _ in self.layers)
        self.dec = nn.ModuleList(_Extractor(width, config.global_num_heads or heads, config) for _ in self.layers)
        self.temporal_cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.balance = nn.Parameter(torch.empty(width))
        self.proj = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(config.drop_rate), nn.Linear(width, config.num_classes)
        )

    def forward(self, x: Tensor, batch: int, grid: torch.Size) -> Tensor:
        video = self.temporal_cls_token.repeat(1, batch, 1)  # 1 B D
        for i, block in enumerate(self.resblocks):
            x = block(x, batch, grid)  # N B*T D
            if i in self.layers:
                j = self.layers.index(i)
                tokens = x.clone()
                tokens[1:] = tokens[1:] + _to_tokens(self.dpe[j](_to_volume(x[1:], batch, grid)))
                video = self.dec[j](video, rearrange(tokens, "n (b t) d -> (t n) b d", b=batch))  # 1 B D
        class_tokens = rearrange(x[0], "(b t) d -> b t d", b=batch).mean(1)
        weight = self.balance.sigmoid()
        return self.proj((1 - weight) * video[0] + weight * class_tokens)


class _Block(nn.Module):
    def __init__(self, config: Any, is_local: bool) -> None:
        super().__init__()
        width = config.embed_dim
        self.attn = nn.MultiheadAttention(width, config.num_heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        branches = config.num_local if is_local else 0
        self.lmhra1 = _Local(width, config.dw_reduction) if branches >= 1 else None
        self.lmhra2 = _Local(width, config.dw_reduction) if branches == 2 else None

    def forward(self, x: Tensor, batch: int, grid: torch.Size) -> Tensor:
        x = _over_time(x, self.lmhra1, batch, grid)
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        x = _over_time(x, self.lmhra2, batch, grid)
        return x + self.mlp["c_proj"](_quick_gelu(self.mlp["c_fc"](self.ln_2(x))))


class _Local(nn.Module):
    def __init__(self, width: int, reduction: float) -> None:
        super().__init__()
        reduced = int(width // reduction)
        self.pos_embed = nn.Sequential(
            nn.BatchNorm3d(width),
            nn.Conv3d(width, reduced, 1),
            nn.Conv3d(reduced, reduced, (3, 1, 1), padding=(1, 0, 0), groups=reduced),
            nn.Conv3d(reduced, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.pos_embed(x)
        return result


class _Extractor(nn.Module):
    def __init__(self, width: int, heads: int, config: Any) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2, self.ln_3 = (nn.LayerNorm(width) for _ in range(3))
        hidden = round(config.global_mlp_ratio * width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)})
        self.drop = nn.Dropout(config.global_drop_rate)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        keys = self.ln_3(tokens)
        query = query + self.attn(self.ln_1(query), keys, keys, need_weights=False)[0]
        return query + self.mlp["c_proj"](self.drop(_quick_gelu(self.mlp["c_fc"](self.ln_2(query)))))


def _over_time(x: Tensor, branch: nn.Module | None, batch: int, grid: torch.Size) -> Tensor:
    if branch is None:
        return x
    patches = x[1:] + _to_tokens(branch(_to_volume(x[1:], batch, grid)))
    return torch.cat([x[:1], patches])


def _to_volume(patches: Tensor, batch: int, grid: torch.Size) -> Tensor:
    return rearrange(patches, "(h w) (b t) d -> b d t h w", b=batch, h=grid[0])


def _to_tokens(volume: Tensor) -> Tensor:
    return rearrange(volume, "b d t h w -> (h w) (b t) d")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)

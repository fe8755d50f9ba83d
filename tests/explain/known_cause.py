"""Clips whose cause is known, and models that can have no other: what explanations are held against.

A bright object moves through a tube of the clip, and a dimmer one moves as far elsewhere. The label is that of the
bright one.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from tubelet.data.clips.resize_crop import Geometry
from tubelet.explain.clip_view import ClipView
from tubelet.nn.video_model import VideoModel
from tubelet.protocol import Protocol

T, SIDE, OBJECT = 8, 32, 6
BRIGHT, DIM = 250, 120
PROTOCOL = Protocol(
    num_frames=T,
    frame_stride=1,
    resize_short_side=SIDE,
    crop_size=(SIDE, SIDE),
    num_temporal_views=1,
    num_spatial_crops=1,
    labels={"label": ("dull", "bright")},
)


class Bright(VideoModel):
    """Logits of brightness above a threshold, anywhere: the cause is every bright pixel and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(40.0))

    def forward(self, clip: Tensor) -> Tensor:
        found = self.weight * (clip - 0.5).relu().square().mean((1, 2, 3, 4))  # B
        return torch.stack([torch.zeros_like(found), found], dim=1)


class InTube(VideoModel):
    """A linear model of one tubelet: what is outside cannot matter."""

    def __init__(self, box: tuple[slice, slice, slice]) -> None:
        super().__init__()
        weight = torch.zeros(3, T, SIDE, SIDE)
        weight[(slice(None), *box)] = 0.01
        self.weight = nn.Parameter(weight)

    def forward(self, clip: Tensor) -> Tensor:
        score = (clip * self.weight).sum((1, 2, 3, 4))  # B
        return torch.stack([torch.zeros_like(score), score], dim=1)


def moving_clip(seed: int, first: int = 0, frames: int = T) -> tuple[Tensor, Bool[np.ndarray, "T H W"]]:
    """A clip [C, T, H, W] uint8, and where its bright object is. The dim one moves through the other half."""
    rng = np.random.default_rng(seed)
    pixels = np.full((T, SIDE, SIDE), 20.0) + rng.normal(0, 4, (T, SIDE, SIDE))
    tube = np.zeros((T, SIDE, SIDE), dtype=bool)
    step = 2
    left = int(rng.integers(0, SIDE - OBJECT - step * (T - 1)))
    top = int(rng.integers(0, SIDE // 2 - OBJECT))
    for t in range(T):
        x = left + step * t
        pixels[t, top + SIDE // 2 : top + SIDE // 2 + OBJECT, x : x + OBJECT] = DIM
        if first <= t < first + frames:
            pixels[t, top : top + OBJECT, x : x + OBJECT] = BRIGHT
            tube[t, top : top + OBJECT, x : x + OBJECT] = True
    clip = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    return clip.expand(3, -1, -1, -1).contiguous(), tube


def view_of(clip: Tensor) -> ClipView:
    _, t, h, w = clip.shape
    return ClipView(
        pixels=clip,
        indices=tuple(range(t)),
        seconds=tuple(i / 10 for i in range(t)),
        until=tuple((i + 1) / 10 for i in range(t)),
        frame_numbers=torch.arange(t),
        geometry=Geometry(box=(0, 0, h, w), resized=(h, w), crops=((0, 0),), crop_size=(h, w)),
        crop=0,
        notes=(),
    )


def concentration(relevance: np.ndarray, tube: np.ndarray) -> float:
    """Share of the positive relevance inside the tube over the tube's share of the volume: 1 means it knows nothing."""
    positive = relevance.clip(min=0)
    return float(positive[tube].sum() / positive.sum() / tube.mean())

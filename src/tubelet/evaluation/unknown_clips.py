"""Clips that show none of any model's classes: black, color bars and noise, in the shape that a model gets.

n  clips of a kind   C, T, H, W  channels, frames and pixels of a clip
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tubelet.protocol import Protocol

# White, yellow, cyan, green, magenta, red, blue: the bars of ITU-R BT.471, as (red, green, blue) switched on.
BARS = np.array([(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1)])


def unknown_clips(protocol: Protocol, num_clips: int = 16, seed: int = 0) -> dict[str, UInt8[Tensor, "n 1 C T H W"]]:
    """So many clips of each kind, no two alike, each of one view.

    black: a level from 0 to 16, with the noise of a covered camera. color bars: still, at 50 to 100 % level, moved
    sideways. noise: fresh in every frame, in grains of 1 to 8 pixels.
    """
    rng = np.random.default_rng(seed)
    frames, (height, width) = protocol.num_frames, protocol.crop_size
    found: dict[str, list[np.ndarray]] = {"black": [], "color bars": [], "noise": []}
    for number in range(num_clips):
        dark = rng.normal(rng.uniform(0, 16), rng.uniform(0, 2), (frames, height, width, 3))
        found["black"].append(dark)
        column = (np.arange(width) + rng.integers(width)) * len(BARS) // width % len(BARS)
        bars = BARS[column] * rng.uniform(127, 255)
        found["color bars"].append(np.broadcast_to(bars, (frames, height, width, 3)))
        grain = 2 ** (number % 4)
        coarse = rng.integers(0, 256, (frames, -(-height // grain), -(-width // grain), 3))
        found["noise"].append(coarse.repeat(grain, 1).repeat(grain, 2)[:, :height, :width])
    return {
        kind: torch.stack([_clip(pixels, protocol.num_channels) for pixels in clips]) for kind, clips in found.items()
    }


def _clip(pixels: np.ndarray, num_channels: int) -> UInt8[Tensor, "1 C T H W"]:
    if num_channels == 1:
        pixels = pixels.mean(axis=-1, keepdims=True)
    whole = torch.from_numpy(np.clip(pixels.round(), 0, 255).astype(np.uint8))
    return whole.permute(3, 0, 1, 2)[None].contiguous()

"""Pictures of what a masked autoencoder was shown, and of what it made of it.

T, H, W  clip in frames and pixels   B  clips   N  tokens   M  masked ones
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tubelet.nn.masked.autoencoder import PaintingError
from tubelet.nn.masked.masking import cut_tubelets, tubelet_statistics

_GRAY = 0.5  # of hidden tubelets


@torch.no_grad()
def painted_clips(
    error: PaintingError, clips: Float[Tensor, "B C T H W"], masks: Int[Tensor, "B MQ"]
) -> UInt8[np.ndarray, "B T H3 W 3"]:
    """Of each frame the input, what the encoder saw (hidden tubelets gray), and the painted one, one above the other.

    Normalized targets say nothing of a tubelet's color and contrast: the painted ones have those of the input, as in
    VideoMAE's own figures.

    Args:
        error: holds the autoencoder, in eval mode.
        clips: as they enter it.
        masks: indices of hidden tokens, and of those that the decoder keeps where it has a mask; hidden ones that it
            leaves out stay gray.
    """
    size = error.autoencoder.tubelet_size
    tubelets = cut_tubelets(clips, size, error.mean, error.std)  # B N thw C
    painted = error.painted(clips, masks).unflatten(2, (-1, clips.shape[1]))  # B Q thw C
    indices = (error.places(masks), masks[:, : error.num_masked])
    places, masked = (index[..., None, None].expand(-1, -1, *tubelets.shape[2:]) for index in indices)
    if error.normalize:
        mean, deviation = tubelet_statistics(tubelets.gather(1, places))
        painted = painted * deviation + mean
    hidden = tubelets.scatter(1, masked, _GRAY)
    shown = torch.where(error.counted(clips, masks)[..., None, None], painted, tubelets.gather(1, places))
    rows = [_frames(x, clips, size) for x in (tubelets, hidden, hidden.scatter(1, places, shown))]
    return np.concatenate(rows, axis=2)


def _frames(
    tubelets: Float[Tensor, "B N P C"], clips: Float[Tensor, "B C T H W"], size: tuple[int, int, int]
) -> UInt8[np.ndarray, "B T H W 3"]:
    n_t, n_h, n_w = (axis // part for axis, part in zip(clips.shape[2:], size, strict=True))
    pixels = rearrange(
        tubelets, "b (nt nh nw) (t h w) c -> b (nt t) (nh h) (nw w) c",
        nt=n_t, nh=n_h, nw=n_w, t=size[0], h=size[1], w=size[2],
    )  # fmt: skip
    frames: np.ndarray = (pixels.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames[..., :3]


def side_by_side(frames: UInt8[np.ndarray, "T H W 3"], most: int = 8) -> UInt8[np.ndarray, "H W2 3"]:
    """Evenly spread frames in one picture."""
    chosen = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)

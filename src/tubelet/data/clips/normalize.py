"""From uint8 pixels to what enters a model: the one normalization for training, validation and deployment."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tubelet.protocol import Protocol


def normalize(clips: UInt8[Tensor, "*batch C T H W"], protocol: Protocol) -> Float[Tensor, "*batch C T H W"]:
    """What enters a model: ``(x / 255 - mean) / std`` as float32, on the device the clips are on.

    Where the protocol says bgr the channels are reversed first; ``mean`` and ``std`` are in the order that enters
    the model. The one function for training, validation and deployment.
    """
    mean = torch.tensor(protocol.mean, device=clips.device)[:, None, None, None]
    std = torch.tensor(protocol.std, device=clips.device)[:, None, None, None]
    if protocol.channel_order == "bgr":
        clips = clips.flip(-4)
    return clips.float().mul_(1 / (255 * std)).sub_(mean / std)


def to_input(
    clips: UInt8[Tensor, "*batch C T H W"] | Float[Tensor, "*batch T D"], protocol: Protocol
) -> Float[Tensor, "*batch C T H W"] | Float[Tensor, "*batch T D"]:
    """Normalize pixels. The vectors of a feature store stay as they are."""
    return normalize(clips, protocol) if clips.dtype == torch.uint8 else clips

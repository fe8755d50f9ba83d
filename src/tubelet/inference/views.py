"""Scores of several views of a video, averaged as the protocol says, in bounded memory.

B  videos   V  views of one video   K  classes
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tubelet.data.transforms import normalize
from tubelet.inference.heads import class_probs
from tubelet.protocol import Protocol

# Views go through the model in chunks of about so many input values: 8 clips of 3 x 32 x 224 x 224.
CHUNK_VALUES = 40_000_000


@torch.inference_mode()
def predict_views(
    model: nn.Module,
    clips: UInt8[Tensor, "B V C T H W"],
    protocol: Protocol,
    *,
    device: torch.device,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Float[Tensor, "B K"]:
    """Probabilities of each video, on the CPU in fp32: its views' logits (or probabilities) averaged, head by head.

    The model must be in eval mode on ``device``; clips stay where they are and travel chunk by chunk.
    """
    num_videos, num_views = clips.shape[:2]
    flat = clips.flatten(0, 1)  # (B V) C T H W
    chunk = max(1, CHUNK_VALUES // flat[0].numel())
    logits = []
    for part in flat.split(chunk):
        pixels = normalize(part.to(device, non_blocking=True), protocol)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits.append(model(pixels).float().cpu())
    by_video = torch.cat(logits).unflatten(0, (num_videos, num_views))
    return average_views(by_video, protocol.averaging, partial(class_probs, protocol=protocol))


def average_views(
    logits: Float[Tensor, "B V K"],
    averaging: Literal["logits", "probs"],
    to_probs: Callable[[Tensor], Tensor] = lambda logits: logits.softmax(-1),
) -> Float[Tensor, "B K"]:
    """Probabilities: those of the mean logits, or the mean of those of each view; a softmax over all classes unless
    ``to_probs`` is given."""
    if averaging == "logits":
        return to_probs(logits.mean(1))
    return to_probs(logits).mean(1)

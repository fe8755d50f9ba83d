"""Scores of several views of a video, averaged as the protocol says, in bounded memory.

B  videos   V  views of one video   K  classes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from tubelet.data.clips.normalize import to_input
from tubelet.inference.feature_slices import features_in_chunks
from tubelet.models.stages import encode_time, model_inputs
from tubelet.protocol import Protocol
from tubelet.session.device import autocast
from tubelet.tasks.choose import task_of
from tubelet.types import Precision

# Views go through the model in chunks of about so many input values: 8 clips of 3 x 32 x 224 x 224.
CHUNK_VALUES = 40_000_000
# End to end: a clip as a whole. Chunked: its frames part by part, then the temporal stage once over all of them.
Mode = Literal["end_to_end", "chunked"]


@torch.inference_mode()
def predict_views(
    model: nn.Module,
    clips: UInt8[Tensor, "B V C T H W"] | Float[Tensor, "B V T D"],
    protocol: Protocol,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    frame_numbers: Int[Tensor, "B V T"] | None = None,
    mode: Mode = "end_to_end",
) -> Float[Tensor, "B K"]:
    """Probabilities of each video, on the CPU in fp32: its views' logits (or probabilities) averaged, head by head.

    The model must be in eval mode on ``device``; clips stay where they are and travel chunk by chunk. Without
    ``frame_numbers``, a model that takes them assumes its own. Clips may be the vectors of a feature store.

    Raises:
        ConfigError: chunked mode, and the model has no per-frame stage.
    """
    num_videos, num_views = clips.shape[:2]
    flat = clips.flatten(0, 1)  # (B V) C T H W
    chunk = max(1, CHUNK_VALUES // flat[0].numel())
    parts = flat.split(chunk)
    numbers = [None] * len(parts) if frame_numbers is None else frame_numbers.flatten(0, 1).split(chunk)
    logits = []
    for part, of_part in zip(parts, numbers, strict=True):
        with autocast(device, precision):
            if mode == "chunked" and part.dtype == torch.uint8:
                features = features_in_chunks(model, part, of_part, protocol, device)
                logits.append(encode_time(model, features).float().cpu())
            else:
                clip = to_input(part.to(device, non_blocking=True), protocol)
                logits.append(model(*model_inputs(model, clip, of_part)).float().cpu())
    by_video = torch.cat(logits).unflatten(0, (num_videos, num_views))
    return average_views(by_video, protocol.averaging, task_of(protocol).probs)


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

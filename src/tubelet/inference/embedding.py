"""What a model computes of a video before its classes: one vector, or tokens on their grid.

V  views of one video   D  width   n_t, n_h, n_w  grid of tokens
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from tubelet.data.clips.normalize import to_input
from tubelet.models.stages import model_inputs
from tubelet.protocol import Protocol
from tubelet.session.device import autocast
from tubelet.types import Precision

EmbeddingKind = Literal["embedding", "tokens", "features", "frames"]


@torch.inference_mode()
def embed_views(
    model: nn.Module,
    clips: UInt8[Tensor, "V C T H W"],
    frame_numbers: Int[Tensor, "V T"] | None,
    protocol: Protocol,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    what: EmbeddingKind = "embedding",
) -> Float[Tensor, "V *n D"]:
    """What ``model`` computes of each view.

    Args:
        what: "embedding": the vector ``[D]`` that the head takes; "tokens": ``[n_t, n_h, n_w, D]``; "features": what
            the head pools ``[N, D]``; "frames": the vectors ``[T, D]`` of a per-frame stage.

    The model must be in eval mode on ``device``. Views go through it one by one, and the result is on the CPU in fp32.
    """
    video_model: Any = model
    found = []
    for i, clip in enumerate(clips):
        numbers = None if frame_numbers is None else frame_numbers[i : i + 1]
        inputs = model_inputs(model, to_input(clip[None].to(device), protocol), numbers)
        with autocast(device, precision):
            if what == "tokens":
                values = video_model.tokens(*inputs)
            elif what == "features":
                values = video_model.forward_features(*inputs)
            elif what == "frames":
                values = video_model.encode_frames(*inputs).vectors
            else:
                values = video_model.forward_head(video_model.forward_features(*inputs), pre_logits=True)
        found.append(values.float().cpu())
    return torch.cat(found)

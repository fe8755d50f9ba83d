"""Scores of several views of a video, averaged as the protocol says, in bounded memory.

B  videos   V  views of one video   K  classes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from tubelet.data.clips.normalize import to_input
from tubelet.inference.feature_slices import features_in_chunks
from tubelet.models.stages import check_segments, encode_time, model_inputs
from tubelet.protocol import UNCALIBRATED, Calibration, Protocol
from tubelet.session.device import autocast
from tubelet.tasks.choose import task_of
from tubelet.tasks.video_task import VideoTask
from tubelet.types import Mode, Precision

# Views go through the model in chunks of about so many input values: 8 clips of 3 x 32 x 224 x 224.
CHUNK_VALUES = 40_000_000


@dataclass(frozen=True, kw_only=True)
class VideoScores:
    """What a model says of videos, all their views together; on the CPU in fp32."""

    probs: Float[Tensor, "B K"]  # views averaged as the protocol says, then calibrated
    uncalibrated: Float[Tensor, "B K"]  # the same before the temperature
    logits: Float[Tensor, "B K"]  # mean over the views

    def take(self, rows: Sequence[int]) -> VideoScores:
        """Those of some of the videos."""
        index = list(rows)
        return VideoScores(probs=self.probs[index], uncalibrated=self.uncalibrated[index], logits=self.logits[index])


def joined(parts: Sequence[VideoScores]) -> VideoScores:
    """One behind the other."""
    return VideoScores(
        probs=torch.cat([part.probs for part in parts]),
        uncalibrated=torch.cat([part.uncalibrated for part in parts]),
        logits=torch.cat([part.logits for part in parts]),
    )


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
    calibration: Calibration = UNCALIBRATED,
) -> VideoScores:
    """The scores of each video: its views' logits (or probabilities) averaged, head by head.

    The model must be in eval mode on ``device``; clips stay where they are and travel chunk by chunk. Without
    ``frame_numbers``, a model that takes them assumes its own. Clips may be the vectors of a feature store.

    Raises:
        ConfigError: chunked mode, and the model has no per-frame stage; or it pools another number of segments than
            the protocol takes.
    """
    check_segments(model, protocol)
    logits = _logits_of_views(
        model, clips, protocol, device=device, precision=precision, frame_numbers=frame_numbers, mode=mode
    )
    task = task_of(protocol)
    averaged = average_views(logits, protocol.averaging, task)
    probs = averaged
    if calibration.is_tempered:
        of_averaged = logits.mean(1) if protocol.averaging == "logits" else task.logits_of(averaged)
        probs = task.probs(task.tempered(of_averaged, calibration.temperatures))
    return VideoScores(probs=probs, uncalibrated=averaged, logits=logits.mean(1))


def _logits_of_views(
    model: nn.Module,
    clips: Tensor,
    protocol: Protocol,
    *,
    device: torch.device,
    precision: Precision,
    frame_numbers: Tensor | None,
    mode: Mode,
) -> Float[Tensor, "B V K"]:
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
    return torch.cat(logits).unflatten(0, (num_videos, num_views))


def average_views(
    logits: Float[Tensor, "B V K"], averaging: Literal["logits", "probs"], task: VideoTask
) -> Float[Tensor, "B K"]:
    """Probabilities: those of the mean logits, or the mean of those of each view."""
    return task.probs(logits.mean(1)) if averaging == "logits" else task.probs(logits).mean(1)

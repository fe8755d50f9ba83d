"""The inputs of a graph for the user's clips, on which int8 is calibrated.

V  views of one video   C  channels   T, H, W  clip in frames and pixels
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tubelet.data.clips.normalize import to_input
from tubelet.data.loading.read_views import read_views
from tubelet.models.stages import model_inputs
from tubelet.protocol import Protocol

MAX_SAMPLES = 300  # nncf's own number; more change its ranges little

CalibrationInputs = Callable[[], Sequence[tuple[Any, ...]]]


def calibration_inputs(model: nn.Module, protocol: Protocol, clips: Sequence[Path]) -> CalibrationInputs:
    """What gives the inputs of each view of each clip, one view of every clip before a second of any."""

    def inputs() -> Sequence[tuple[Any, ...]]:
        videos = [read_views(clip, protocol) for clip in clips[:MAX_SAMPLES]]
        found: list[tuple[Any, ...]] = []
        for view in range(protocol.num_views):
            for video in videos[: MAX_SAMPLES - len(found)]:
                numbers = video.frame_numbers[view : view + 1]
                given = model_inputs(model, to_input(video.pixels[view : view + 1], protocol), numbers)
                found.append(tuple(_array(each) for each in given))
        return found

    return inputs


def _array(value: torch.Tensor) -> Any:
    return (value if value.is_floating_point() else value.long()).contiguous().numpy()

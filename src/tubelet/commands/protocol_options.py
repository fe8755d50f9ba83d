"""What the command line may change of a checkpoint's protocol: views, and which frames make a clip.

Never the pixels: size, range and channels are those that the model was made for.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Options that change which frames make a clip."""

    num_frames: int | None = None  # frames of a clip; by default those of the checkpoint
    frame_stride: int | None = None  # source frames between samples; in place of the checkpoint's stride or rate
    target_fps: float | None = None  # samples per second of video; in place of the checkpoint's stride or rate

    def applied_to(self, protocol: Protocol) -> Protocol:
        """Return the protocol with the given options.

        Raises:
            ConfigError: both a stride and a rate, or one of them where frames are spread over the whole video.
        """
        if self.frame_stride is None and self.target_fps is None:
            num_frames = protocol.num_frames if self.num_frames is None else self.num_frames
            return dataclasses.replace(protocol, num_frames=num_frames)
        if protocol.sampling != "dense":
            raise ConfigError(f"protocol.sampling is {protocol.sampling}: frame_stride and target_fps have no meaning")
        return dataclasses.replace(
            protocol,
            num_frames=protocol.num_frames if self.num_frames is None else self.num_frames,
            frame_stride=self.frame_stride,
            target_fps=self.target_fps,
        )


def with_views(protocol: Protocol, views: str | None, averaging: Literal["logits", "probs"] | None) -> Protocol:
    """Return the protocol with another number of views, given as ``TEMPORALxSPATIAL``.

    Raises:
        ConfigError: another form, or a number of spatial crops other than 1 and 3.
    """
    if averaging is not None:
        protocol = dataclasses.replace(protocol, averaging=averaging)
    if views is None:
        return protocol
    match = re.fullmatch(r"([1-9]\d*)x([13])", views)
    if match is None:
        raise ConfigError(f"--views '{views}' is not TEMPORALxSPATIAL with 1 or 3 spatial crops, for example 4x3")
    crops: Literal[1, 3] = 3 if match[2] == "3" else 1
    return dataclasses.replace(protocol, num_temporal_views=int(match[1]), num_spatial_crops=crops)

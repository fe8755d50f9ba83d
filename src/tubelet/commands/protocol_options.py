"""What the command line may change of a checkpoint's protocol: views, and which frames make a clip.

Never the pixels: size, range and channels are those that the model was made for.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

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
            ConfigError: both a stride and a rate, or one of them where frames are spread over the whole video, or a
                rate of windows.
        """
        if self.frame_stride is None and self.target_fps is None:
            num_frames = protocol.num_frames if self.num_frames is None else self.num_frames
            return dataclasses.replace(protocol, num_frames=num_frames)
        if protocol.sampling not in ("dense", "windows"):
            raise ConfigError(f"protocol.sampling is {protocol.sampling}: frame_stride and target_fps have no meaning")
        return dataclasses.replace(
            protocol,
            num_frames=protocol.num_frames if self.num_frames is None else self.num_frames,
            frame_stride=self.frame_stride,
            target_fps=self.target_fps,
        )

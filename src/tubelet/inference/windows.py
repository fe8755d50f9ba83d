"""Windows over a long video or a stream: how they lie on one grid of sampled frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tubelet.data.clips.fixed_rate import fixed_rate_indices
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """Window i holds the samples ``i * hop`` to ``i * hop + num_frames`` of a grid of times.

    Window and hop are whole numbers of the model's tubelets, so that windows share what is computed of a tubelet.
    """

    num_frames: int  # samples of one window: the T of the clip that enters the model
    hop: int  # samples from one window to the next
    seconds_per_sample: float  # distance of the samples

    @property
    def window_seconds(self) -> float:
        return self.num_frames * self.seconds_per_sample

    @property
    def hop_seconds(self) -> float:
        return self.hop * self.seconds_per_sample

    def __str__(self) -> str:
        return (
            f"windows of {self.window_seconds:.4g} s ({self.num_frames} frames, one every "
            f"{self.seconds_per_sample:.4g} s), one every {self.hop_seconds:.4g} s"
        )


def plan_windows(
    model: nn.Module,
    protocol: Protocol,
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    sample_fps: float | None = None,
    source_fps: float | None = None,
) -> WindowPlan:
    """The plan nearest to what is asked.

    Args:
        window_seconds: length of a window. None means what one clip of the protocol spans.
        hop_seconds: from one window to the next, rounded to whole tubelets. None means a window, so that they lie
            side by side.
        sample_fps: frames per second that enter the model, so that a longer window has more of them. None
            means that every window has the protocol's number of frames, spread over it.
        source_fps: rate of the source, which a protocol with ``frame_stride`` needs where no window is given.

    Raises:
        ConfigError: a length that is not positive, a window shorter than a tubelet, or one that cannot be known.
    """
    for name, value in (("window", window_seconds), ("hop", hop_seconds), ("fps", sample_fps)):
        _check_positive(name, value)
    tubelet = frames_per_tubelet(model)
    if window_seconds is None:
        window_seconds = _clip_seconds(protocol, source_fps)
    if sample_fps is None:
        num_frames, step = protocol.num_frames, window_seconds / protocol.num_frames
    else:
        whole = tubelet * protocol.num_segments  # which the model pools at once
        num_frames, step = round(window_seconds * sample_fps / whole) * whole, 1 / sample_fps
        if num_frames < whole:
            raise ConfigError(
                f"a window of {window_seconds:g} s at {sample_fps:g} frames per second holds less than one tubelet of "
                f"{whole} frames; give a longer window or a higher rate"
            )
    asked = window_seconds if hop_seconds is None else hop_seconds
    hop = max(1, round(asked / step / tubelet)) * tubelet
    return WindowPlan(num_frames=num_frames, hop=hop, seconds_per_sample=step)


def plan_whole(
    model: nn.Module,
    protocol: Protocol,
    timestamps: NDArray[np.float64],
    *,
    sample_fps: float | None = None,
    source_fps: float | None = None,
) -> WindowPlan:
    """One window over all of a film, whose last tubelet is left out where the film ends inside it.

    Args:
        timestamps: of the film's frames, in seconds.
        sample_fps: frames per second that enter the model. None means the protocol's rate.
        source_fps: rate of the film, which a protocol with ``frame_stride`` needs where no ``sample_fps`` is given.

    Raises:
        ConfigError: the model has no per-frame stage, so that memory would grow with the film's pixels; a rate that is
            not positive, or cannot be known.
    """
    if getattr(model, "frames_per_feature", None) is None:
        raise ConfigError(
            f"a whole film as one window needs a per-frame stage, {type(model).__name__} has none; give a length"
        )
    _check_positive("fps", sample_fps)
    step = _clip_seconds(protocol, source_fps) / protocol.num_frames if sample_fps is None else 1 / sample_fps
    tubelet = frames_per_tubelet(model)
    num_frames = max(1, len(fixed_rate_indices(timestamps, step, protocol.frame_at_time)) // tubelet) * tubelet
    return WindowPlan(num_frames=num_frames, hop=num_frames, seconds_per_sample=step)


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} must be positive, got {value:g}")


def frames_per_tubelet(model: nn.Module) -> int:
    """Frames along the time axis that the model cuts into one token: windows begin at a multiple of it."""
    shared = getattr(model, "frames_per_feature", None)
    if shared is not None:
        return int(shared)
    size = getattr(getattr(model, "config", None), "tubelet_size", (1,))
    return int(size[0])


def _clip_seconds(protocol: Protocol, source_fps: float | None) -> float:
    if protocol.sampling != "dense":
        raise ConfigError(
            "the model's protocol spreads its frames over a whole video; say how long a window is (--window 4)"
        )
    if protocol.target_fps is not None:
        return protocol.num_frames / protocol.target_fps
    if source_fps is None:
        raise ConfigError("the rate of the source is not known; say how long a window is (--window 4)")
    return protocol.num_frames * (protocol.frame_stride or 1) / source_fps

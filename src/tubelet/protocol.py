"""Protocol: how a video file becomes the input of a model, and how its logits become scores.

Training, test, command line and deployment use the same protocol, so every checkpoint stores it.

Sizes are (height, width) in pixels. A *clip* is the T frames that enter a model once; a *view* is one temporal
clip x one spatial crop.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.types import added


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a video becomes views, and how the scores of its views become one.

    ``sampling="dense"`` takes ``num_frames`` frames one ``frame_stride`` (source frames) or 1/``target_fps``
    seconds apart; ``sampling="uniform"`` cuts the video into ``num_frames`` equal segments and takes one frame
    of each, ``sampling="sparse"`` does so by UniFormerV2's rule, and ``sampling="segment_start"`` takes the first
    frame of each segment, as VideoPrism does. ``sampling="windows"`` cuts the video into ``num_segments`` equal
    segments, each of which gives a window of ``num_frames / num_segments`` frames: they enter the model as one clip,
    one after the other, and it pools them at once, as V-JEPA 2's probes do. A time in seconds stands for the frame
    that is on screen then (``frame_at_time``). Checkpoints of version 0.1.0 go on with the rule they were made with:
    the frame nearest in time. The pixel range is ``(x / 255 - mean) / std``; 0.5 and 0.5 give [-1, 1].

    HDR video (PQ, HLG) is mapped to SDR by BT.2390 (``hdr``), interlaced frames become pictures of one field
    (``interlaced``), and values of pictures with 16 bits are scaled from ``picture_window`` to 0 to 255. In version
    0.1.0 HDR and interlaced frames were read as they are stored, and gray pictures with 16 bits clipped at 255
    (``picture_window`` None).
    """

    num_frames: int = 32  # frames of one clip
    sampling: Literal["dense", "uniform", "sparse", "segment_start", "windows"] = "dense"  # which frames; see above
    num_segments: int = added(1)  # windows only: equal parts of the video, and windows of a clip
    frame_stride: int | None = 2  # source frames between samples; exclusive with target_fps
    target_fps: float | None = None  # samples per second of video, whatever its own rate
    frame_at_time: Literal["on_screen", "nearest"] = added("on_screen", earlier="nearest")  # nearest: up to 0.1.0
    short_video: Literal["loop", "hold", "error"] = "loop"  # when a video is shorter than the clip
    resize_short_side: int = 256  # pixels, before cropping; bilinear with antialiasing
    crop_size: tuple[int, int] = (224, 224)  # pixels (height, width) that enter the model
    slicing_axis: Literal[0, 1, 2] = 0  # volumes only: the axis of the array that plays time
    slicing_backward: bool = False  # volumes only: from the last slice to the first
    volume_window: tuple[float, float] | None = None  # volumes only: values that become 0 and 255; None reads uint8
    picture_window: tuple[float, float] | None = added((0.0, 65535.0), earlier=None)  # 16 bits: what becomes 0 and 255
    hdr: Literal["tone_map", "as_stored"] = added("tone_map", earlier="as_stored")  # PQ and HLG video
    interlaced: Literal["deinterlace", "as_stored"] = added("deinterlace", earlier="as_stored")  # flagged frames
    num_channels: int = 3  # a one-channel volume is repeated to this many
    channel_order: Literal["rgb", "bgr"] = "rgb"  # order of the channels that enter the model
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)  # per channel, after division by 255
    std: tuple[float, ...] = (0.5, 0.5, 0.5)  # per channel, after division by 255
    num_temporal_views: int = 4  # clips per video, evenly spread
    num_spatial_crops: Literal[1, 3] = 3  # crops along the longer side: center, or start, center and end
    averaging: Literal["logits", "probs"] = "logits"  # what is averaged over views
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)  # class names of each head, in logit order
    multi_label: bool = False  # a video may have several of the labels, or none: sigmoids in place of a softmax
    number_scales: tuple[tuple[float, float], ...] = added(())  # mean and deviation of each number; none for classes

    def __post_init__(self) -> None:
        if self.sampling == "dense" and (self.frame_stride is None) == (self.target_fps is None):
            raise ConfigError(
                "dense sampling takes either frame_stride (source frames) or target_fps (frames per second), "
                f"got frame_stride={self.frame_stride} and target_fps={self.target_fps}"
            )
        self._check_segments()
        for name in ("num_frames", "frame_stride", "target_fps", "resize_short_side", "num_temporal_views"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be positive, got {value}")
        if min(self.crop_size) <= 0 or min(self.crop_size) > self.resize_short_side:
            raise ConfigError(
                f"crop_size {self.crop_size} must be positive and its shorter side at most "
                f"resize_short_side={self.resize_short_side}"
            )
        for name in ("volume_window", "picture_window"):
            window = getattr(self, name)
            if window is not None and window[0] >= window[1]:
                raise ConfigError(f"{name} must rise from the value of 0 to that of 255, got {window}")
        if not len(self.mean) == len(self.std) == self.num_channels:
            raise ConfigError(
                f"mean and std need one value for each of {self.num_channels} channels, "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ConfigError(f"std must be positive, got {self.std}")
        if self.multi_label and len(self.labels) > 1:
            raise ConfigError(f"multi_label is for one head, got {', '.join(self.labels)}")
        if any(deviation <= 0 for _, deviation in self.number_scales):
            raise ConfigError(f"standard deviations of number_scales must be positive, got {self.number_scales}")

    def _check_segments(self) -> None:
        if self.sampling == "windows":
            if self.frame_stride is None or self.target_fps is not None:
                raise ConfigError("sampling=windows takes a frame_stride (source frames), and no target_fps")
            if self.num_segments < 1 or self.num_frames % self.num_segments:
                raise ConfigError(
                    f"num_frames {self.num_frames} does not part into num_segments {self.num_segments} windows of as "
                    "many frames"
                )
        elif self.num_segments != 1:
            raise ConfigError(f"num_segments has no effect on {self.sampling} sampling; set sampling=windows")

    @property
    def num_views(self) -> int:
        """Views of one video: temporal clips x spatial crops."""
        return self.num_temporal_views * self.num_spatial_crops

    @property
    def views_text(self) -> str:
        """The views as papers write them, for example ``4x3``."""
        return f"{self.num_temporal_views}x{self.num_spatial_crops}"


RejectionScore = Literal["max_logit", "energy"]
LEVELS = 20  # steps of the stored quantiles: 5 % each


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """When a video is none of the classes: it scores below nearly all validation videos.

    ``score`` is the function of its logits that says how familiar the video is (``tubelet.inference.rejection``).
    """

    score: RejectionScore
    quantiles: tuple[float, ...]  # scores of the validation videos at 0, 5, ..., 100 %, ascending

    def __post_init__(self) -> None:
        if len(self.quantiles) != LEVELS + 1 or list(self.quantiles) != sorted(self.quantiles):
            raise ConfigError(f"quantiles must be {LEVELS + 1} ascending values, got {self.quantiles}")

    @property
    def threshold(self) -> float:
        """The score that 95 % of the validation videos reach."""
        return self.quantiles[1]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the validation split taught about the scores of a model, for the views of its protocol.

    Averaged logits are divided by the temperature before they become probabilities (Guo et al. 2017,
    arXiv:1706.04599). The default changes nothing.
    """

    temperatures: tuple[float, ...] = ()  # of each head; empty means 1
    rejection: Rejection | None = None  # None means that no video is rejected
    num_videos: int = 0  # validation videos that it was learned from; 0: it was not learned

    def __post_init__(self) -> None:
        if any(not t > 0 for t in self.temperatures):
            raise ConfigError(f"temperatures must be positive, got {self.temperatures}")

    @property
    def is_tempered(self) -> bool:
        """Whether a temperature is not 1."""
        return any(t != 1 for t in self.temperatures)


UNCALIBRATED = Calibration()


def with_views(protocol: Protocol, views: str | None, averaging: Literal["logits", "probs"] | None = None) -> Protocol:
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
        raise ConfigError(f"views '{views}' is not TEMPORALxSPATIAL with 1 or 3 spatial crops, for example 4x3")
    crops: Literal[1, 3] = 3 if match[2] == "3" else 1
    return dataclasses.replace(protocol, num_temporal_views=int(match[1]), num_spatial_crops=crops)

"""The settings of augmentation: what a recipe varies at random between epochs, and which fields fit which data.

Draws are made once per clip and are the same for all its frames (modules of ``tubelet.data.clips``):

    frame_sampling      ``jittered_sampling``, then ``random_clip``: which frames
    resize_crop         ``random_geometry``: which part of the frame, and its size
    pixel_augmentation  ``draw_pixel_augmentation``: flip, turn, shift, colors, erasing
    mixing              ``draw_mixture``: mixup and cutmix of a batch, after normalization

Each draw takes its generator as an argument; the generator is keyed by (seed, epoch, row) or (seed, step).

Facts: torchvision's v2 transforms; SlowFast for short-side jitter, random erasing and repeated augmentation; TSN for
multi-scale crops; scenic's ViViT input for scale jitter and additive brightness.

Deviation: reference pipelines start a training clip at any frame. With ``snap_start`` one of an even stride starts at
an even frame, at most one frame away: every pair of neighboring starts has one representative, and prepared files
(``tubelet.data.prepare.prepare_dataset``) then need half their frames.

Deviation: SlowFast and UniFormerV2 repeat a clip with the same frames; here a repeated video is drawn anew in time too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.protocol import Protocol

TIMM_MAX_LEVEL = 10.0  # of RandAugment's operations as timm draws them; a higher level is cut to it


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Mixup and cutmix of the clips of a batch. With both on, each batch gets one of them."""

    mixup: float = 0.0  # alpha of the Beta distribution of the shares; ViViT: 0.1 and 0.3; 0: off
    cutmix: float = 0.0  # alpha of the Beta distribution of the area; often 1; 0: off
    probability: float = 1.0  # of a batch to be mixed
    cutmix_probability: float = 0.5  # with both on: share of the mixed batches that get cutmix
    partner: Literal["previous", "reversed"] = "previous"  # as torchvision, or as scenic: the batch from its other end

    def __post_init__(self) -> None:
        if self.mixup < 0 or self.cutmix < 0:
            raise ConfigError(f"mix.mixup and mix.cutmix must not be negative, got {self.mixup} and {self.cutmix}")
        for name in ("probability", "cutmix_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"mix.{name} must be from 0 to 1, got {getattr(self, name)}")
        if not self.is_on and (self.probability, self.partner) != (1.0, "previous"):
            raise ConfigError("mix has no effect while mixup and cutmix are 0; set one, for example mixup to 0.2")
        if self.cutmix_probability != 0.5 and not (self.mixup and self.cutmix):
            raise ConfigError("mix.cutmix_probability has no effect unless mixup and cutmix are both on")

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True, kw_only=True)
class RandAugmentConfig:
    """Several operations per clip, drawn with replacement, the same for all its frames."""

    ops: Literal["vivit", "timm"] = "vivit"  # without geometry and always applied, or with it and each half of the time
    num_ops: int = 2  # drawn per clip; UniFormerV2: 4
    magnitude: float = 9.0  # strength; ViViT: 15 on EPIC-Kitchens, 20 on Something-Something; UniFormerV2: 7 of 10
    magnitude_std: float = 0.0  # timm only: standard deviation of the strength; UniFormerV2: 0.5
    probability: float = 0.5  # timm only: of each drawn operation

    def __post_init__(self) -> None:
        if self.num_ops < 1:
            raise ConfigError(f"rand_augment.num_ops must be at least 1, got {self.num_ops}")
        upper = TIMM_MAX_LEVEL if self.ops == "timm" else 30.0
        if not 0 <= self.magnitude <= upper:
            raise ConfigError(f"rand_augment.magnitude of {self.ops} must be from 0 to {upper:g}, got {self.magnitude}")
        if self.magnitude_std < 0 or not 0 <= self.probability <= 1:
            raise ConfigError("rand_augment.magnitude_std must not be negative, probability must be from 0 to 1")
        if self.ops == "vivit" and (self.magnitude_std, self.probability) != (0.0, 0.5):
            raise ConfigError(
                "rand_augment.magnitude_std and probability have no effect with ops=vivit; leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class ErasingConfig:
    """Random erasing: one box of the frame, the same in all frames, loses its content."""

    probability: float = 0.25  # of a clip
    area: tuple[float, float] = (0.02, 0.33)  # (min, max) share of the frame
    aspect_ratio: tuple[float, float] = (0.3, 3.3)  # (min, max) height / width of the box
    fill: Literal["mean", "noise"] = "mean"  # 0 after normalization, or normal noise of unit variance in each frame

    def __post_init__(self) -> None:
        _check_share("erasing.probability", self.probability)
        _check_span("erasing.area", self.area, upper=1.0)
        _check_span("erasing.aspect_ratio", self.aspect_ratio)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What varies at random between epochs, in addition to the positions of the clip and of the crop.

    A field that cannot act (on a video, under another field, in one channel) is an error and never ignored.
    """

    snap_start: bool = True  # videos, even frame_stride: clips start at even frames, which prepared files decode faster
    crop: Literal["random", "center"] = "random"  # where in the resized frame; center: as in validation
    stride_jitter: tuple[float, float] | None = None  # (min, max) factors on the time between frames; dense sampling
    short_side_jitter: tuple[int, int] | None = None  # (min, max) pixels the short side is resized to before the crop
    scale_jitter: tuple[float, float] | None = None  # (min, max) factors, drawn apart for height and width
    random_resized_crop: tuple[float, float] | None = None  # (min, max) share of the frame's area that is kept
    crop_aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # (min, max) width / height of random_resized_crop
    multi_scale_crop: tuple[float, ...] | None = None  # crop sides as shares of the short side, as TSN: 1,0.875,0.75
    flip_probability: float = 0.0  # left-right mirror images; 0 (off) where left and right matter
    flip_label_map: dict[str, str] = field(default_factory=dict)  # class name: class name of the mirrored clip
    color_probability: float = 1.0  # of the color changes of the next five fields: all, in random order, or none
    brightness: float = 0.0  # largest relative change, 0.4 means factors from 0.6 to 1.4
    brightness_shift: float = 0.0  # largest change added, as a share of full white; ViViT's 32/255 is 0.125
    contrast: float = 0.0  # largest relative change, around the mean of each frame
    saturation: float = 0.0  # largest relative change of the distance from gray
    hue: float = 0.0  # largest turn of the color circle, 0.5 is the opposite color
    grayscale_probability: float = 0.0  # of a clip without color
    rand_augment: RandAugmentConfig | None = None  # several operations per clip, around one strength
    trivial_augment: bool = False  # one operation per clip, of any strength (TrivialAugment, wide)
    erasing: ErasingConfig | None = None  # random erasing of one box of the frame
    repeats: int = 1  # times each video stands in its batch, each time drawn anew (repeated augmentation)
    mix: MixConfig = field(default_factory=MixConfig)  # mixup and cutmix of the clips of a batch
    volume_flips: bool = False  # volumes only: each of the three axes reversed with probability 1/2
    volume_turns: bool = False  # volumes only: 0, 90, 180 or 270 degrees in the plane of the slices
    volume_axis: Literal["fixed", "random"] = "fixed"  # volumes only: which axis plays time; random: any of the three
    volume_shift_pixels: int = 0  # volumes only: largest shift along each of the three axes; black enters

    def __post_init__(self) -> None:
        self._check_geometry()
        self._check_flips()
        for name in ("color_probability", "brightness", "contrast", "saturation", "grayscale_probability"):
            _check_share(name, getattr(self, name))
        _check_share("brightness_shift", self.brightness_shift)
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f"hue must be from 0 to 0.5 (half the color circle), got {self.hue}")
        if self.color_probability != 1 and not self.color_amounts:
            raise ConfigError("color_probability has no effect without brightness, contrast, saturation or hue")
        if self.rand_augment and self.trivial_augment:
            raise ConfigError("rand_augment and trivial_augment exclude each other; keep one")
        if self.repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {self.repeats}")
        if self.volume_shift_pixels < 0:
            raise ConfigError(f"volume_shift_pixels must not be negative, got {self.volume_shift_pixels}")

    def _check_geometry(self) -> None:
        names = ("short_side_jitter", "scale_jitter", "random_resized_crop", "multi_scale_crop")
        chosen = [name for name in names if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ConfigError(f"{' and '.join(chosen)} exclude each other; keep one")
        if chosen and self.crop == "center":
            raise ConfigError(f"crop=center takes the frame as validation does, without {chosen[0]}; keep one of them")
        _check_span("stride_jitter", self.stride_jitter)
        _check_span("short_side_jitter", self.short_side_jitter)
        _check_span("scale_jitter", self.scale_jitter)
        _check_span("random_resized_crop", self.random_resized_crop, upper=1.0)
        _check_span("crop_aspect_ratio", self.crop_aspect_ratio)
        default = type(self).__dataclass_fields__["crop_aspect_ratio"].default
        if self.crop_aspect_ratio != default and not self.random_resized_crop:
            raise ConfigError("crop_aspect_ratio has no effect without random_resized_crop")
        if self.multi_scale_crop is not None and not (
            self.multi_scale_crop and all(0 < scale <= 1 for scale in self.multi_scale_crop)
        ):
            raise ConfigError(f"multi_scale_crop must hold shares above 0 and up to 1, got {self.multi_scale_crop}")

    def _check_flips(self) -> None:
        _check_share("flip_probability", self.flip_probability)
        if self.flip_label_map and not self.flip_probability:
            raise ConfigError("flip_label_map has no effect while flip_probability is 0; set it, for example to 0.5")
        for name, other in self.flip_label_map.items():
            if self.flip_label_map.get(other) != name:
                raise ConfigError(f"flip_label_map sends '{name}' to '{other}' but not '{other}' to '{name}'")
        if self.volume_flips and self.flip_probability:
            raise ConfigError("volume_flips already mirrors the width; leave flip_probability at 0")

    @property
    def color_amounts(self) -> dict[str, float]:
        """The color changes that are on: name of the step and its largest amount."""
        amounts = {
            "brightness": self.brightness,
            "shift": self.brightness_shift,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }
        return {name: amount for name, amount in amounts.items() if amount}

    @property
    def changes_pixels(self) -> bool:
        """Whether ``tubelet.data.clips.pixel_augmentation`` may change the pixels of a cropped clip."""
        geometry = self.flip_probability, self.volume_flips, self.volume_turns, self.volume_shift_pixels
        colors = self.color_amounts, self.grayscale_probability, self.rand_augment, self.trivial_augment
        return any((*geometry, *colors, self.erasing))

    @property
    def for_volumes_only(self) -> tuple[str, ...]:
        """The fields that are set and have no meaning for a video."""
        names = ("volume_flips", "volume_turns", "volume_axis", "volume_shift_pixels")
        return tuple(name for name in names if getattr(self, name) not in (False, 0, "fixed"))

    @property
    def not_for_windows(self) -> tuple[str, ...]:
        """The fields that are set and have no meaning for windows of films whose every step is labeled."""
        idle = {
            "stride_jitter": self.stride_jitter,
            "flip_label_map": self.flip_label_map,
            "repeats": self.repeats > 1,
            "mix": self.mix.is_on,
        }
        return (*(name for name, is_set in idle.items() if is_set), *self.for_volumes_only)

    def check_protocol(self, protocol: Protocol) -> None:
        """Check that every field can act on the clips of a protocol.

        Raises:
            ConfigError: a field cannot act.
        """
        if self.stride_jitter and protocol.sampling != "dense":
            raise ConfigError(f"stride_jitter has no effect on {protocol.sampling} sampling; sample dense, or drop it")
        if self.stride_jitter and protocol.short_video == "error":
            raise ConfigError("stride_jitter would refuse videos by chance; set protocol.short_video to loop or hold")
        colors = [name for name in ("saturation", "hue", "grayscale_probability") if getattr(self, name)]
        operations = [name for name in ("rand_augment", "trivial_augment") if getattr(self, name)]
        channels = protocol.num_channels
        if channels != 3 and (colors or operations):
            raise ConfigError(f"{', '.join(colors + operations)}: need 3 channels, the protocol has {channels}")
        if channels not in (1, 3) and self.color_amounts:
            raise ConfigError(f"{', '.join(self.color_amounts)}: need 1 or 3 channels, the protocol has {channels}")
        height, width = protocol.crop_size
        if self.volume_turns and height != width:
            raise ConfigError(f"volume_turns need a square crop, the protocol has {height}x{width}")
        if self.short_side_jitter and self.short_side_jitter[0] < min(height, width):
            raise ConfigError(
                f"short_side_jitter starts at {self.short_side_jitter[0]} pixels, less than the crop {height}x{width}"
            )


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be from 0 to 1, got {value}")


def _check_span(name: str, span: tuple[float, float] | tuple[int, int] | None, upper: float = math.inf) -> None:
    if span and not 0 < span[0] <= span[1] <= upper:
        raise ConfigError(f"{name} must be (min, max) with 0 < min <= max <= {upper}, got {span}")

"""Pixels of decoded frames -> pixels of a clip: resize, crop, flip, and normalization.

Every random choice of a clip is drawn once, before any frame is touched, into a ``Geometry`` and a ``Look``; both
are then applied to all frames alike. The facts are those of reference pipelines: sizes and the three crops of
scenic's ViViT (dmvr), random resized crops of torchvision. Pixels stay uint8 until ``normalize`` on the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from tubelet.errors import ConfigError, DataError
from tubelet.protocol import Protocol

ASPECT_RATIOS = (3 / 4, 4 / 3)  # width / height of a random resized crop, as in torchvision


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What varies at random between epochs, beside the temporal position and the spatial position of the crop."""

    flip_probability: float = 0.0  # left-right mirror images; 0 (off) where left and right matter
    flip_label_map: dict[str, str] = field(default_factory=dict)  # class name: class name of the mirrored clip
    scale_jitter: tuple[float, float] | None = None  # (min, max) factors, drawn apart for height and width
    random_resized_crop: tuple[float, float] | None = None  # (min, max) share of the frame's area that is kept
    brightness: float = 0.0  # largest relative change, 0.4 means factors from 0.6 to 1.4
    contrast: float = 0.0  # largest relative change, around the mean of the clip
    volume_flips: bool = False  # volumes only: each of the three axes reversed with probability 1/2
    volume_shift_pixels: int = 0  # volumes only: largest shift along each of the three axes; black enters

    def __post_init__(self) -> None:
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"flip_probability must be from 0 to 1, got {self.flip_probability}")
        if self.flip_label_map and not self.flip_probability:
            raise ConfigError("flip_label_map has no effect while flip_probability is 0; set it, for example to 0.5")
        for name, other in self.flip_label_map.items():
            if self.flip_label_map.get(other) != name:
                raise ConfigError(f"flip_label_map sends '{name}' to '{other}' but not '{other}' to '{name}'")
        if self.scale_jitter and self.random_resized_crop:
            raise ConfigError("scale_jitter and random_resized_crop exclude each other; keep one")
        for field_name, upper in (("scale_jitter", math.inf), ("random_resized_crop", 1.0)):
            span = getattr(self, field_name)
            if span and not 0 < span[0] <= span[1] <= upper:
                raise ConfigError(f"{field_name} must be (min, max) with 0 < min <= max <= {upper}, got {span}")
        if not (0 <= self.brightness <= 1 and 0 <= self.contrast <= 1):
            raise ConfigError(f"brightness and contrast must be from 0 to 1, got {self.brightness}, {self.contrast}")
        if self.volume_flips and self.flip_probability:
            raise ConfigError("volume_flips already mirrors the width; leave flip_probability at 0")
        if self.volume_shift_pixels < 0:
            raise ConfigError(f"volume_shift_pixels must not be negative, got {self.volume_shift_pixels}")

    @property
    def for_volumes_only(self) -> bool:
        """Whether a field is set that has no meaning for a video."""
        return self.volume_flips or self.volume_shift_pixels > 0


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where the pixels of a clip come from: cut a box of the frame, resize it, crop. The same for all its frames.

    Boxes are (top, left, height, width) and sizes (height, width), in pixels.
    """

    box: tuple[int, int, int, int]  # of the decoded frame
    resized: tuple[int, int]  # what the box is resized to
    crops: tuple[tuple[int, int], ...]  # top left corners in the resized box, one per spatial crop
    crop_size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What happens to the cropped clip, drawn once per clip. ``flip`` says which of T, H, W are reversed."""

    flip: tuple[bool, bool, bool] = (False, False, False)
    shift: tuple[int, int, int] = (0, 0, 0)  # frames and pixels
    brightness: float = 1.0  # factor
    contrast: float = 1.0  # factor


def short_side_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The size whose shorter side is ``short_side``; the longer one is cut to an integer, as in dmvr."""
    if height <= width:
        return short_side, width * short_side // height
    return height * short_side // width, short_side


def view_geometry(height: int, width: int, protocol: Protocol) -> Geometry:
    """The resize and the spatial crops of evaluation: center, or start, center and end along the longer side.

    The center is rounded up, as in the reference pipelines.

    Raises:
        DataError: the resized frame is smaller than the crop.
    """
    resized = short_side_size(height, width, protocol.resize_short_side)
    room = _room(resized, protocol, (height, width))
    center = (math.ceil(room[0] / 2), math.ceil(room[1] / 2))
    crops: tuple[tuple[int, int], ...] = (center,)
    if protocol.num_spatial_crops == 3:
        along_height = resized[0] > resized[1]
        crops = tuple(
            (offset, center[1]) if along_height else (center[0], offset)
            for offset in ((0, center[0], room[0]) if along_height else (0, center[1], room[1]))
        )
    return Geometry(box=(0, 0, height, width), resized=resized, crops=crops, crop_size=protocol.crop_size)


def random_geometry(
    height: int, width: int, protocol: Protocol, augment: AugmentConfig, rng: np.random.Generator
) -> Geometry:
    """The resize and the one random crop of a training clip.

    Deviation: dmvr resizes the frame and then again for the scale jitter; here one resize goes to the final size.

    Raises:
        DataError: the resized frame is smaller than the crop (never for jittered sizes, which are raised to it).
    """
    box, crop = (0, 0, height, width), (0, 0)
    if augment.random_resized_crop:
        box = _random_box(height, width, augment.random_resized_crop, rng)
        return Geometry(box=box, resized=protocol.crop_size, crops=(crop,), crop_size=protocol.crop_size)
    resized = short_side_size(height, width, protocol.resize_short_side)
    if augment.scale_jitter:
        factors = rng.uniform(*augment.scale_jitter, size=2)
        resized = (
            max(int(resized[0] * factors[0]), protocol.crop_size[0]),
            max(int(resized[1] * factors[1]), protocol.crop_size[1]),
        )
    room = _room(resized, protocol, (height, width))
    crop = (int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1)))
    return Geometry(box=box, resized=resized, crops=(crop,), crop_size=protocol.crop_size)


def random_look(augment: AugmentConfig, rng: np.random.Generator) -> Look:
    """Flip, shift and exposure of a training clip."""
    flip = (False, False, bool(rng.random() < augment.flip_probability))
    shift = (0, 0, 0)
    if augment.volume_flips:
        t, h, w = rng.random(3) < 0.5
        flip = (bool(t), bool(h), bool(w))
    if augment.volume_shift_pixels:
        t, h, w = rng.integers(-augment.volume_shift_pixels, augment.volume_shift_pixels, size=3, endpoint=True)
        shift = (int(t), int(h), int(w))
    brightness, contrast = 1 + np.array((augment.brightness, augment.contrast)) * rng.uniform(-1, 1, size=2)
    return Look(flip=flip, shift=shift, brightness=float(brightness), contrast=float(contrast))


def resize_frames(frames: UInt8[Tensor, "T C H W"], geometry: Geometry) -> UInt8[Tensor, "T C h w"]:
    """The box of every frame at the resized size, bilinear with antialiasing."""
    top, left, height, width = geometry.box
    frames = frames[..., top : top + height, left : left + width]
    if (height, width) == geometry.resized:
        return frames
    resized: Tensor = F.resize(frames, list(geometry.resized), interpolation=InterpolationMode.BILINEAR, antialias=True)
    return resized


def crop_frames(frames: UInt8[Tensor, "T C H W"], geometry: Geometry) -> tuple[UInt8[Tensor, "T C h w"], ...]:
    """The spatial crops of resized frames, as views of them."""
    height, width = geometry.crop_size
    return tuple(frames[..., top : top + height, left : left + width] for top, left in geometry.crops)


def apply_look(clip: UInt8[Tensor, "T C H W"], look: Look) -> UInt8[Tensor, "T C H W"]:
    """The clip mirrored, shifted and exposed as drawn."""
    reversed_axes = [axis for axis, yes in zip((0, 2, 3), look.flip, strict=True) if yes]
    if reversed_axes:
        clip = clip.flip(reversed_axes)
    if any(look.shift):
        clip = _shift(clip, look.shift)
    if (look.brightness, look.contrast) != (1.0, 1.0):
        clip = _expose(clip, look)
    return clip


def normalize(clips: UInt8[Tensor, "*batch C T H W"], protocol: Protocol) -> Float[Tensor, "*batch C T H W"]:
    """What enters a model: ``(x / 255 - mean) / std`` as float32, on the device the clips are on.

    Where the protocol says bgr the channels are reversed first; ``mean`` and ``std`` are in the order that enters
    the model. The one function for training, validation and deployment.
    """
    mean = torch.tensor(protocol.mean, device=clips.device)[:, None, None, None]
    std = torch.tensor(protocol.std, device=clips.device)[:, None, None, None]
    if protocol.channel_order == "bgr":
        clips = clips.flip(-4)
    return clips.float().mul_(1 / (255 * std)).sub_(mean / std)


def _room(resized: tuple[int, int], protocol: Protocol, source: tuple[int, int]) -> tuple[int, int]:
    """How far a crop can move, (height, width)."""
    room = (resized[0] - protocol.crop_size[0], resized[1] - protocol.crop_size[1])
    if min(room) < 0:
        raise DataError(
            f"a frame of {source[0]}x{source[1]} pixels resized to {resized[0]}x{resized[1]} is smaller than the "
            f"crop {protocol.crop_size[0]}x{protocol.crop_size[1]}; raise resize_short_side or change crop_size"
        )
    return room


def _random_box(
    height: int, width: int, area: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """torchvision's random resized crop: ten tries, else the largest central box of an allowed shape."""
    for _ in range(10):
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(ASPECT_RATIOS[0]), math.log(ASPECT_RATIOS[1])))
        h, w = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    ratio = min(max(width / height, ASPECT_RATIOS[0]), ASPECT_RATIOS[1])
    h, w = min(height, round(width / ratio)), min(width, round(height * ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def _shift(clip: Tensor, shift: tuple[int, int, int]) -> Tensor:
    """The clip moved along T, H and W; black enters at the borders."""
    for axis, by in zip((0, 2, 3), shift, strict=True):
        by = max(-clip.shape[axis], min(by, clip.shape[axis]))
        kept = clip.narrow(axis, max(0, -by), clip.shape[axis] - abs(by))
        black = torch.zeros_like(clip.narrow(axis, 0, abs(by)))
        clip = torch.cat((black, kept) if by > 0 else (kept, black), dim=axis)
    return clip


def _expose(clip: Tensor, look: Look) -> Tensor:
    """Contrast around the mean of the clip, then brightness: one table of 256 values for all frames."""
    mean = float(clip.float().mean())
    values = ((np.arange(256) - mean) * look.contrast + mean) * look.brightness
    table = values.round().clip(0, 255).astype(np.uint8)
    return torch.from_numpy(table[clip.numpy()])

"""From the pixels of decoded frames to those of a clip: resize and crop.

A ``Geometry`` holds for all frames of a clip and is chosen before any frame is read. Sizes and the three crops follow
scenic's ViViT (dmvr), random resized crops torchvision, short-side jitter SlowFast, and multi-scale crops TSN. Then
follow ``tubelet.data.clips.pixel_augmentation`` and, on the device, ``tubelet.data.clips.normalize``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.video.scaling import CropWindow
from tubelet.errors import DataError
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where the pixels of a clip come from: cut a box out of the frame, resize it, crop. The same for all frames.

    Boxes are (top, left, height, width) and sizes (height, width), in pixels.
    """

    box: tuple[int, int, int, int]  # of the decoded frame
    resized: tuple[int, int]  # what the box is resized to
    crops: tuple[tuple[int, int], ...]  # top left corners in the resized box, one per spatial crop
    crop_size: tuple[int, int]


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
    if augment.crop == "center":
        return view_geometry(height, width, replace(protocol, num_spatial_crops=1))
    box = (0, 0, height, width)
    if augment.random_resized_crop:
        box = _random_box(height, width, augment.random_resized_crop, augment.crop_aspect_ratio, rng)
    elif augment.multi_scale_crop:
        box = _multi_scale_box(height, width, augment.multi_scale_crop, rng)
    if augment.random_resized_crop or augment.multi_scale_crop:
        return Geometry(box=box, resized=protocol.crop_size, crops=((0, 0),), crop_size=protocol.crop_size)
    short_side = protocol.resize_short_side
    if augment.short_side_jitter:
        short_side = int(rng.integers(*augment.short_side_jitter, endpoint=True))
    resized = short_side_size(height, width, short_side)
    if augment.scale_jitter:
        factors = rng.uniform(*augment.scale_jitter, size=2)
        resized = (
            max(int(resized[0] * factors[0]), protocol.crop_size[0]),
            max(int(resized[1] * factors[1]), protocol.crop_size[1]),
        )
    room = _room(resized, protocol, (height, width))
    crop = (int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1)))
    return Geometry(box=box, resized=resized, crops=(crop,), crop_size=protocol.crop_size)


def reading_window(geometry: Geometry, *, may_round: bool) -> tuple[CropWindow, Geometry]:
    """The window that a video reader cuts out of every frame and scales, and the geometry that is left to apply.

    The window holds only what the crops show if that changes no pixel, that is, if nothing is scaled.

    Deviation: swscale resizes video, not torchvision, for training and evaluation alike; on eight 720p clips it is
    54.7 dB (PSNR) from ``resize_frames`` on accurate colors and 45.2 dB on the reader's unscaled ones, and a crop cut
    first 42.0 dB from one cut afterwards (``benchmarks/decode.py``). Arrays go through ``resize_frames``.

    Args:
        geometry: where the pixels of the clip come from.
        may_round: whether a crop of a reduced frame may be cut before it is scaled. Its corners are then rounded to
            pixels of the source, less than half a pixel of the clip away. For training, where corners are random.
    """
    top, left, height, width = geometry.box
    (resized_height, resized_width), (crop_height, crop_width) = geometry.resized, geometry.crop_size
    y, x = (min(crop[axis] for crop in geometry.crops) for axis in (0, 1))
    h = max(crop[0] for crop in geometry.crops) - y + crop_height
    w = max(crop[1] for crop in geometry.crops) - x + crop_width
    is_scaled = (height, width) != geometry.resized
    if is_scaled and not (may_round and resized_height <= height and resized_width <= width):
        return CropWindow(box=geometry.box, size=geometry.resized), geometry
    y0, y1 = round(y * height / resized_height), round((y + h) * height / resized_height)
    x0, x1 = round(x * width / resized_width), round((x + w) * width / resized_width)
    window = CropWindow(box=(top + y0, left + x0, y1 - y0, x1 - x0), size=(h, w))
    crops = tuple((crop[0] - y, crop[1] - x) for crop in geometry.crops)
    return window, replace(geometry, box=(0, 0, h, w), resized=(h, w), crops=crops)


def resize_frames(frames: UInt8[Tensor, "T C H W"], geometry: Geometry) -> UInt8[Tensor, "T C h w"]:
    """The box of every frame at the resized size, bilinear with antialiasing, bit for bit as torchvision resizes."""
    top, left, height, width = geometry.box
    frames = frames[..., top : top + height, left : left + width]
    if (height, width) == geometry.resized:
        return frames
    return interpolate(frames, geometry.resized, mode="bilinear", antialias=True)


def crop_frames(frames: UInt8[Tensor, "T C H W"], geometry: Geometry) -> tuple[UInt8[Tensor, "T C h w"], ...]:
    """The spatial crops of resized frames, as views of them."""
    height, width = geometry.crop_size
    return tuple(frames[..., top : top + height, left : left + width] for top, left in geometry.crops)


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
    height: int, width: int, area: tuple[float, float], aspect_ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """torchvision's random resized crop: ten tries, else the largest central box of an allowed shape."""
    for _ in range(10):
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect_ratio[0]), math.log(aspect_ratio[1])))
        h, w = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    ratio = min(max(width / height, aspect_ratio[0]), aspect_ratio[1])
    h, w = min(height, round(width / ratio)), min(width, round(height * ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def _multi_scale_box(
    height: int, width: int, scales: tuple[float, ...], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """TSN's multi-scale crop: both sides are shares of the short side, at most one step of the list apart.

    Deviation: TSN chooses among thirteen fixed positions; here every position is equally likely.
    """
    steps = range(len(scales))
    pairs = [(i, j) for i in steps for j in steps if abs(i - j) <= 1]
    h, w = (max(1, int(min(height, width) * scales[step])) for step in pairs[rng.integers(len(pairs))])
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w

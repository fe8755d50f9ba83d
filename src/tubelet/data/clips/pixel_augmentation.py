"""Pixel augmentation of a cropped training clip: flip, turn, shift, colors, RandAugment and erasing, all in uint8.

Everything is drawn once per clip and applied to all its frames. Cropping comes first, then colors, then normalization
on the device, because this order touches the fewest pixels. The reading processes augment, or the device that trains
does (``augment_batch``).

Deviation: SlowFast and UniFormerV2 apply RandAugment to the whole frame and crop after; here it sees the crop.

    T  frames        C  channels        H, W  pixels
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig, ErasingConfig
from tubelet.data.clips.color import ColorStep, change_colors
from tubelet.data.clips.flip import Flip, draw_flip, flip_clip
from tubelet.data.clips.randaugment import AugmentOp, draw_randaugment, draw_trivial
from tubelet.protocol import Protocol
from tubelet.types import Batch


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """One box, the same in all frames, and the noise that fills it."""

    box: tuple[int, int, int, int]  # top, left, height, width in pixels
    mean: tuple[float, ...]  # of each channel, 0 to 255
    std: tuple[float, ...]  # of the noise of each channel; 0 means no noise
    noise_seed: int = 0  # of the noise


@dataclass(frozen=True, kw_only=True)
class PixelAugmentation:
    """The augmentation drawn for one clip. It is applied in the order of the fields."""

    flip: Flip = (False, False, False)
    quarter_turns: int = 0  # in the plane of H and W, from H toward W
    shift: tuple[int, int, int] = (0, 0, 0)  # frames and pixels; black enters
    colors: tuple[ColorStep, ...] = ()
    operations: tuple[AugmentOp, ...] = ()  # of RandAugment or TrivialAugment
    erasure: Erasure | None = None


@dataclass(frozen=True, kw_only=True)
class UnaugmentedBatch(Batch):
    """A training batch whose clips are cropped and not augmented yet."""

    augmentations: tuple[PixelAugmentation | None, ...]  # to apply to each clip; None means that it could not be read


def draw_pixel_augmentation(augment: AugmentConfig, protocol: Protocol, rng: np.random.Generator) -> PixelAugmentation:
    """Draw the pixel augmentation of one training clip. A field that is off draws nothing, except for the flip."""
    flip = draw_flip(augment, rng)
    turns, shift = 0, (0, 0, 0)
    if augment.volume_turns:
        turns = int(rng.integers(4))
    if augment.volume_shift_pixels:
        t, h, w = rng.integers(-augment.volume_shift_pixels, augment.volume_shift_pixels, size=3, endpoint=True)
        shift = (int(t), int(h), int(w))
    operations: tuple[AugmentOp, ...] = ()
    colors = _draw_colors(augment, rng)
    if augment.rand_augment:
        operations = draw_randaugment(augment.rand_augment, rng)
    elif augment.trivial_augment:
        operations = draw_trivial(rng)
    erasure = _draw_erasure(augment.erasing, protocol, rng) if augment.erasing else None
    return PixelAugmentation(
        flip=flip, quarter_turns=turns, shift=shift, colors=colors, operations=operations, erasure=erasure
    )


def augment_pixels(clip: UInt8[Tensor, "T C H W"], augmentation: PixelAugmentation) -> UInt8[Tensor, "T C H W"]:
    """Apply a drawn augmentation to a clip, on the device of the clip."""
    clip = flip_clip(clip, augmentation.flip)
    if augmentation.quarter_turns:
        clip = clip.rot90(augmentation.quarter_turns, (2, 3))
    if any(augmentation.shift):
        clip = _shift(clip, augmentation.shift)
    clip = change_colors(clip, augmentation.colors)
    if augmentation.operations:
        # torchvision takes as long to import as torch, and most workers do without it.
        from tubelet.data.clips.image_operations import apply_operations

        clip = apply_operations(clip, augmentation.operations)
    return _erase(clip, augmentation.erasure) if augmentation.erasure else clip


def augment_batch(batch: Batch, device: torch.device) -> Batch:
    """Move the clips of a training batch to the device and augment them there.

    A CPU gives the same bits as the reading processes; a GPU may round a value to the other side. A batch that is
    augmented already is returned as it is.
    """
    if not isinstance(batch, UnaugmentedBatch):
        return batch
    clips = batch.clips.to(device, non_blocking=True)  # B C T H W
    for clip, augmentation in zip(clips, batch.augmentations, strict=True):
        if augmentation is not None:
            clip.copy_(augment_pixels(clip.transpose(0, 1), augmentation).transpose(0, 1))
    return Batch(**{field.name: getattr(batch, field.name) for field in dataclasses.fields(Batch)} | {"clips": clips})


def _draw_colors(augment: AugmentConfig, rng: np.random.Generator) -> tuple[ColorStep, ...]:
    """Draw color changes in random order, as torchvision's ColorJitter does, then grayscale."""
    steps: list[ColorStep] = []
    amounts = augment.color_amounts
    if amounts and rng.random() < augment.color_probability:
        for name, largest in amounts.items():
            neutral = 0.0 if name in ("shift", "hue") else 1.0
            steps.append(ColorStep(name=name, amount=neutral + float(rng.uniform(-largest, largest))))
        steps = [steps[number] for number in rng.permutation(len(steps))]
    if augment.grayscale_probability and rng.random() < augment.grayscale_probability:
        steps.append(ColorStep(name="grayscale"))
    return tuple(steps)


def _draw_erasure(erasing: ErasingConfig, protocol: Protocol, rng: np.random.Generator) -> Erasure | None:
    """Draw the box of torchvision's RandomErasing: ten tries for one that fits, else None."""
    if rng.random() >= erasing.probability:
        return None
    height, width = protocol.crop_size
    for _ in range(10):
        pixels = height * width * rng.uniform(*erasing.area)
        ratio = math.exp(rng.uniform(*np.log(erasing.aspect_ratio)))
        h, w = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < h < height and 0 < w < width:
            box = (int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
            to_rgb = slice(None, None, -1 if protocol.channel_order == "bgr" else 1)
            scale = 255.0 if erasing.fill == "noise" else 0.0
            return Erasure(
                box=box,
                mean=tuple(255 * value for value in protocol.mean[to_rgb]),
                std=tuple(scale * value for value in protocol.std[to_rgb]),
                noise_seed=int(rng.integers(2**63)) if erasing.fill == "noise" else 0,
            )
    return None


def _shift(clip: Tensor, shift: tuple[int, int, int]) -> Tensor:
    """Move the clip along T, H and W. Black enters at the borders."""
    for axis, by in zip((0, 2, 3), shift, strict=True):
        by = max(-clip.shape[axis], min(by, clip.shape[axis]))
        kept = clip.narrow(axis, max(0, -by), clip.shape[axis] - abs(by))
        black = torch.zeros_like(clip.narrow(axis, 0, abs(by)))
        clip = torch.cat((black, kept) if by > 0 else (kept, black), dim=axis)
    return clip


def _erase(clip: Tensor, erasure: Erasure) -> Tensor:
    top, left, height, width = erasure.box
    shape = (clip.shape[0], clip.shape[1], height, width)
    content = torch.tensor(erasure.mean)[:, None, None].expand(shape)
    if any(erasure.std):
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(erasure.noise_seed))
        content = content + torch.tensor(erasure.std)[:, None, None] * noise
    clip = clip.clone()
    clip[..., top : top + height, left : left + width] = content.round().clamp(0, 255).to(clip)
    return clip

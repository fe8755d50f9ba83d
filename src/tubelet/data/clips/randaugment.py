"""RandAugment in the two forms that video recipes use, and TrivialAugment: which operations a clip gets, how strong.

* ``vivit``: the eleven operations without geometry of scenic's ViViT, and identity as a twelfth, each equally likely;
  a chosen one is always applied. Frames are stacked along the height and treated as one tall image, so that its
  statistics are the clip's (and sharpness sees a little of the next frame). Levels are those of the TensorFlow model
  garden's RandAugment; above 10 they leave its usual range, as ViViT's 15 and 20 do.
* ``timm``: the fifteen operations of timm's ``rand-m7-n4-mstd0.5-inc1`` (``timm/data/auto_augment.py``), which SlowFast
  and UniFormerV2 use: five of them geometric, each applied with probability 1/2 at a level drawn around ``magnitude``,
  with statistics per frame and gray (128) entering from outside.
* TrivialAugment: torchvision's ``TrivialAugmentWide``, one of fourteen operations at one of 31 strengths.

The operations are torchvision's functional kernels, or those of ``tubelet.data.clips.color`` where these equal them.

Deviation: the model garden's contrast takes for the mean of an image the number of its pixels divided by 256 (which for
a clip is always above 255: it blends with white); here it is the mean. timm draws with Pillow and bicubic or bilinear
sampling; here sampling is bilinear.

    T  frames        C  3 channels        H, W  pixels
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from tubelet.data.clips.color import ColorStep, change_colors
from tubelet.errors import ConfigError

TIMM_MAX_LEVEL = 10.0  # a higher level is cut to it
TRIVIAL_NUM_STRENGTHS = 31


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
class AugmentOp:
    """One operation as drawn. What ``amounts`` mean is said at the function of that name."""

    name: str
    amounts: tuple[float, ...] = ()
    per_clip: bool = False  # statistics of the whole clip and not of each frame
    bilinear: bool = False  # sampling of geometric operations; else the nearest pixel
    fill: int = 0  # level that enters from outside in geometric operations


def draw_randaugment(config: RandAugmentConfig, rng: np.random.Generator) -> tuple[AugmentOp, ...]:
    """The operations of one clip."""
    draw = _draw_vivit if config.ops == "vivit" else _draw_timm
    drawn = (draw(config, rng) for _ in range(config.num_ops))
    return tuple(operation for operation in drawn if operation is not None)


def draw_trivial(rng: np.random.Generator) -> tuple[AugmentOp, ...]:
    """The one operation of a clip, or none (identity)."""
    name = TRIVIAL_NAMES[rng.integers(len(TRIVIAL_NAMES))]
    strength = int(rng.integers(TRIVIAL_NUM_STRENGTHS)) / (TRIVIAL_NUM_STRENGTHS - 1)
    signed = strength * (1 if rng.random() < 0.5 else -1)
    if name == "identity":
        return ()
    amount = {
        "shear_x": 0.99 * signed,
        "shear_y": 0.99 * signed,
        "translate_x": float(int(32 * signed)),
        "translate_y": float(int(32 * signed)),
        "rotate": 135 * signed,
        "posterize": float(round(8 - 6 * strength)),
        "solarize": 255 * (1 - strength),
    }.get(name, 1 + 0.99 * signed)
    return (AugmentOp(name=name, amounts=() if name in _WITHOUT_AMOUNT else (amount,)),)


def apply_operations(clip: UInt8[Tensor, "T C H W"], operations: tuple[AugmentOp, ...]) -> UInt8[Tensor, "T C H W"]:
    """The clip after all operations, in their order."""
    num_frames, channels, height, width = clip.shape
    for operation in operations:
        if operation.per_clip and operation.name != "cutout":
            tall = clip.transpose(0, 1).reshape(1, channels, num_frames * height, width)
            tall = _OPERATIONS[operation.name](tall, operation)
            clip = tall.reshape(channels, num_frames, height, width).transpose(0, 1)
        else:
            clip = _OPERATIONS[operation.name](clip, operation)
    return clip


def _draw_vivit(config: RandAugmentConfig, rng: np.random.Generator) -> AugmentOp | None:
    name = VIVIT_NAMES[rng.integers(len(VIVIT_NAMES))]
    if name == "identity":
        return None
    level = config.magnitude / 10
    amounts: tuple[float, ...] = {
        "posterize": (float(min(8, int(4 * level))),),
        "solarize": (float(int(256 * level)),),
        "solarize_add": (float(min(255, int(110 * level))),),
        "cutout": (float(int(40 * level)), *rng.random(2).tolist()),
    }.get(name, (1.8 * level + 0.1,))
    return AugmentOp(name=name, amounts=() if name in _WITHOUT_AMOUNT else amounts, per_clip=True)


def _draw_timm(config: RandAugmentConfig, rng: np.random.Generator) -> AugmentOp | None:
    name = TIMM_NAMES[rng.integers(len(TIMM_NAMES))]
    applied = rng.random() < config.probability
    level = rng.normal(config.magnitude, config.magnitude_std) if config.magnitude_std else config.magnitude
    level = min(max(float(level), 0.0), TIMM_MAX_LEVEL) / TIMM_MAX_LEVEL
    sign = 1 if rng.random() < 0.5 else -1
    if not applied:
        return None
    amount = {
        "rotate": 30 * sign * level,
        "shear_x": 0.3 * sign * level,
        "shear_y": 0.3 * sign * level,
        "translate_x_share": 0.45 * sign * level,
        "translate_y_share": 0.45 * sign * level,
        "posterize": 4.0 - int(4 * level),
        "solarize": 256.0 - min(256, int(256 * level)),
        "solarize_add": float(min(128, int(110 * level))),
    }.get(name, max(0.1, 1 + 0.9 * sign * level))
    return AugmentOp(name=name, amounts=() if name in _WITHOUT_AMOUNT else (amount,), bilinear=True, fill=128)


def _affine(
    clip: Tensor, operation: AugmentOp, shear: tuple[float, float] = (0.0, 0.0), translate: tuple[int, int] = (0, 0)
) -> Tensor:
    """``shear`` (x, y) as a share of the other axis, from the top left corner; ``translate`` (x, y) in pixels."""
    degrees = [math.degrees(math.atan(share)) for share in shear]
    moved: Tensor = F.affine(
        clip,
        angle=0.0,
        translate=list(translate),
        scale=1.0,
        shear=degrees,
        interpolation=_sampling(operation),
        fill=operation.fill,
        center=[0, 0] if any(shear) else None,
    )
    return moved


def _shear_x(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: pixels along the width for each pixel along the height."""
    return _affine(clip, operation, shear=(operation.amounts[0], 0.0))


def _shear_y(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: pixels along the height for each pixel along the width."""
    return _affine(clip, operation, shear=(0.0, operation.amounts[0]))


def _translate_x(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: pixels."""
    return _affine(clip, operation, translate=(int(operation.amounts[0]), 0))


def _translate_y(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: pixels."""
    return _affine(clip, operation, translate=(0, int(operation.amounts[0])))


def _translate_x_share(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: share of the width."""
    return _affine(clip, operation, translate=(round(operation.amounts[0] * clip.shape[-1]), 0))


def _translate_y_share(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: share of the height."""
    return _affine(clip, operation, translate=(0, round(operation.amounts[0] * clip.shape[-2])))


def _rotate(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: degrees, counterclockwise."""
    (degrees,) = operation.amounts
    turned: Tensor = F.rotate(clip, angle=degrees, interpolation=_sampling(operation), fill=operation.fill)
    return turned


def _sampling(operation: AugmentOp) -> InterpolationMode:
    return InterpolationMode.BILINEAR if operation.bilinear else InterpolationMode.NEAREST


def _posterize(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: bits that are kept."""
    kept: Tensor = F.posterize(clip, bits=int(operation.amounts[0]))
    return kept


def _solarize(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: level from which on levels are inverted; none above 255."""
    (threshold,) = operation.amounts
    return clip if threshold > 255 else F.solarize(clip, threshold=threshold)


def _solarize_add(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amount: levels added to those below 128."""
    add = int(operation.amounts[0])
    return (clip.clamp(max=255 - add) + add).where(clip < 128, clip)


def _color_step(name: str) -> Callable[[Tensor, AugmentOp], Tensor]:
    """Amount: a factor, 1 changes nothing."""
    return lambda clip, operation: change_colors(clip, (ColorStep(name=name, amount=operation.amounts[0]),))


def _cutout(clip: Tensor, operation: AugmentOp) -> Tensor:
    """Amounts: half the side of a gray square in pixels, and its center as shares of height and width."""
    half, *center = operation.amounts
    spans = []
    for share, size in zip(center, clip.shape[-2:], strict=True):
        at = int(share * size)
        spans.append(slice(max(0, at - int(half)), min(size, at + int(half))))
    clip = clip.clone()
    clip[:, :, spans[0], spans[1]] = 128
    return clip


_OPERATIONS: dict[str, Callable[[Tensor, AugmentOp], Tensor]] = {
    "autocontrast": lambda clip, operation: F.autocontrast(clip),
    "equalize": lambda clip, operation: F.equalize(clip),
    "invert": lambda clip, operation: F.invert(clip),
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _color_step("saturation"),
    "contrast": _color_step("contrast"),
    "brightness": _color_step("brightness"),
    "sharpness": lambda clip, operation: F.adjust_sharpness(clip, sharpness_factor=operation.amounts[0]),
    "cutout": _cutout,
    "rotate": _rotate,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "translate_x_share": _translate_x_share,
    "translate_y_share": _translate_y_share,
}
_WITHOUT_AMOUNT = ("autocontrast", "equalize", "invert")
_POINTWISE = (*_WITHOUT_AMOUNT, "posterize", "solarize", "solarize_add")
_ENHANCING = ("color", "contrast", "brightness", "sharpness")
VIVIT_NAMES = (*_POINTWISE, *_ENHANCING, "cutout", "identity")
TIMM_NAMES = (*_POINTWISE, *_ENHANCING, "rotate", "shear_x", "shear_y", "translate_x_share", "translate_y_share")
TRIVIAL_NAMES = (
    *("identity", "autocontrast", "equalize", "posterize", "solarize"),
    *_ENHANCING,
    *("rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
)

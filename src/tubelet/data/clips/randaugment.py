"""RandAugment in the two forms that video recipes use, and TrivialAugment: which operations a clip gets, how strong.

* ``vivit``: the eleven operations without geometry of scenic's ViViT, and identity as a twelfth, each equally likely;
  a chosen one is always applied. Frames are stacked along the height and treated as one tall image, so that its
  statistics are the clip's (and sharpness sees a little of the next frame). Levels are those of the TensorFlow model
  garden's RandAugment; above 10 they leave its usual range, as ViViT's 15 and 20 do.
* ``timm``: the fifteen operations of timm's ``rand-m7-n4-mstd0.5-inc1`` (``timm/data/auto_augment.py``), which SlowFast
  and UniFormerV2 use: five of them geometric, each applied with probability 1/2 at a level drawn around ``magnitude``,
  with statistics per frame and gray (128) entering from outside.
* TrivialAugment: torchvision's ``TrivialAugmentWide``, one of fourteen operations at one of 31 strengths.

``tubelet.data.clips.image_operations`` applies what was drawn.

Deviation: the model garden's contrast takes for the mean of an image the number of its pixels divided by 256 (which for
a clip is always above 255: it blends with white); here it is the mean. timm draws with Pillow and bicubic or bilinear
sampling; here sampling is bilinear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tubelet.data.clips.augment_config import TIMM_MAX_LEVEL, RandAugmentConfig

TRIVIAL_NUM_STRENGTHS = 31


@dataclass(frozen=True, kw_only=True)
class AugmentOp:
    """One operation as drawn. What ``amounts`` mean is said in ``image_operations``."""

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

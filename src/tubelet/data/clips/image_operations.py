"""The operations of RandAugment and TrivialAugment on clips, as ``tubelet.data.clips.randaugment`` drew them.

They are torchvision's functional kernels, or those of ``tubelet.data.clips.color`` where these equal them.

    T  frames        C  3 channels        H, W  pixels
"""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from tubelet.data.clips.color import ColorStep, change_colors
from tubelet.data.clips.randaugment import AugmentOp


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

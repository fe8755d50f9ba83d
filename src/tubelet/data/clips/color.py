"""Brightness, contrast, saturation, hue and grayscale of a clip: torchvision's results, several times as fast.

The semantics are those of torchvision's v2 functional kernels on uint8 images, with the same cut to whole levels
after every step: ``adjust_brightness``, ``adjust_contrast`` (around the mean of each frame's gray image),
``adjust_saturation``, ``rgb_to_grayscale`` and ``adjust_hue``. A whole chain of steps runs on a few frames at a time,
in buffers that stay in the processor's cache; that is where the speed comes from. Only torch operations are used, so
that the same code runs on a GPU, where all frames are taken at once.

Difference from torchvision, largest over all pixels, for one step: none for brightness and grayscale; at most 1 level
for contrast and saturation (a result that is nearly whole may be cut to either side) and for hue, which is computed
here in whole levels. The next steps scale what one step leaves: for factors up to 1.4 a chain of brightness, contrast
and saturation differs by at most 3 levels, with hue among them by at most 8 and by less than 1 on average
(``tests/data/clips/test_color.py``).

    T  frames        C  channels (1 or 3, red, green, blue)        H, W  pixels        n  frames at once
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

GRAY = (0.2989, 0.587, 0.114)  # weights of red, green and blue, as in torchvision
_PIXELS_AT_ONCE = 224 * 224  # of each channel on a CPU; their buffers take 1 MB


@dataclass(frozen=True, kw_only=True)
class ColorStep:
    """One step of a chain and how strong it is.

    ``brightness``, ``contrast`` and ``saturation`` are factors, 1 changes nothing; ``shift`` is added, as a share of
    full white; ``hue`` turns the color circle, from -0.5 to 0.5, 0 changes nothing; ``grayscale`` has no amount.
    """

    name: str
    amount: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether the step leaves every clip as it is."""
        return self.amount == _IDENTITY[self.name]


def change_colors(clip: UInt8[Tensor, "T C H W"], steps: Sequence[ColorStep]) -> UInt8[Tensor, "T C H W"]:
    """The clip after all steps, in their order; the same steps for every frame.

    Raises:
        ValueError: neither 1 nor 3 channels, or 1 where a step needs colors. (``AugmentConfig`` refuses these before
            any file is read.)
    """
    steps = [step for step in steps if not step.is_identity]
    num_frames, channels, height, width = clip.shape
    if channels not in (1, 3) or (channels == 1 and any(step.name in NEED_COLORS for step in steps)):
        raise ValueError(f"{channels} channels; expected 3, or 1 without {', '.join(NEED_COLORS)}")
    if not steps or clip.numel() == 0:
        return clip
    at_once = num_frames if clip.is_cuda else min(num_frames, max(1, _PIXELS_AT_ONCE // (height * width)))
    buffers = _Buffers(at_once, channels, height, width, clip.device)
    # Memory in the order of channels, then frames, as the model takes it: no copy is needed later.
    out = torch.empty(channels, num_frames, height, width, dtype=torch.uint8, device=clip.device).transpose(0, 1)
    for start in range(0, num_frames, at_once):
        frames = clip[start : start + at_once]
        part = buffers.first(len(frames))
        part.values.copy_(frames)
        for number, step in enumerate(steps):
            if number:
                part.values.floor_()
            _STEPS[step.name](part, step.amount)
        part.whole.copy_(part.values)  # cuts to whole levels; by way of int16 twice as fast as straight to uint8
        out[start : start + at_once].copy_(part.whole)
    return out


class _Buffers:
    """Working memory of a chain. ``values`` lie from 0 to 255. A step gets whole levels and may leave fractions."""

    def __init__(self, n: int, channels: int, height: int, width: int, device: torch.device) -> None:
        self.values = torch.empty(n, channels, height, width, device=device)
        self.whole = torch.empty(n, channels, height, width, dtype=torch.int16, device=device)
        self.gray = torch.empty(n, 1, height, width, device=device)
        self.planes = torch.empty(6, n, 1, height, width, dtype=torch.int16, device=device)

    def first(self, n: int) -> _Buffers:
        """The same memory for the first ``n`` frames."""
        if n == len(self.values):
            return self
        part = object.__new__(_Buffers)
        part.values, part.whole, part.gray, part.planes = (
            self.values[:n],
            self.whole[:n],
            self.gray[:n],
            self.planes[:, :n],
        )
        return part


def _brightness(buffers: _Buffers, factor: float) -> None:
    values = buffers.values.mul_(factor)
    if factor > 1:
        values.clamp_(max=255)


def _shift(buffers: _Buffers, share: float) -> None:
    buffers.values.add_(255 * share).clamp_(0, 255)


def _contrast(buffers: _Buffers, factor: float) -> None:
    values = buffers.values
    gray = _gray_levels(buffers) if values.shape[1] == 3 else values
    mean = gray.mean(dim=(1, 2, 3), keepdim=True)
    _blend(values, mean.mul_(1 - factor), factor)


def _saturation(buffers: _Buffers, factor: float) -> None:
    _blend(buffers.values, _gray_levels(buffers).mul_(1 - factor), factor)


def _grayscale(buffers: _Buffers, amount: float) -> None:
    buffers.values.copy_(_gray_levels(buffers).expand_as(buffers.values))


def _gray_levels(buffers: _Buffers) -> Tensor:
    """Gray in whole levels, n 1 H W; in a buffer that the next step overwrites."""
    red, green, blue = buffers.values.split(1, dim=1)
    gray = torch.mul(red, GRAY[0], out=buffers.gray)
    return gray.add_(green, alpha=GRAY[1]).add_(blue, alpha=GRAY[2]).floor_()


def _blend(values: Tensor, other: Tensor, factor: float) -> None:
    """``values * factor + other`` in place; ``other`` is already scaled by ``1 - factor``."""
    torch.add(other, values, alpha=factor, out=values)
    if factor > 1:  # a factor up to 1 mixes two levels that are within range
        values.clamp_(0, 255)


def _hue(buffers: _Buffers, turn: float) -> None:
    """The color circle turned by ``turn`` of its length, without dividing and without branching on the largest channel.

    With c = max - min, hue is measured in units where the circle is 6 c long: red lies at 0, green at 2 c, blue at
    -2 c. A color at the distance d <= 3 c from red (along the circle) has red = min + clamp(2 c - d, 0, c), and the
    same with its distances from green and blue. For the distance from red itself,

        d = (max - red) + |green - blue| + 2 (min(green, blue) - min),

    toward green where green >= blue, else toward blue. Turning adds 6 c * turn to the signed distance. For
    |x| <= 6 c the way around the circle is 3 c - | |x| - 3 c |, hence 2 c - d = | |x| - 3 c | - c.
    """
    whole = buffers.whole.copy_(buffers.values)
    red, green, blue = whole.split(1, dim=1)
    top, low, chroma, difference, at, sign = buffers.planes
    torch.minimum(green, blue, out=at)
    torch.minimum(at, red, out=low)
    torch.maximum(torch.maximum(green, blue, out=top), red, out=top)
    torch.sub(top, low, out=chroma)
    torch.sub(green, blue, out=difference)
    torch.bitwise_right_shift(difference, 15, out=sign)  # 0 toward green, -1 toward blue
    at.sub_(low).mul_(2).add_(difference.abs_()).add_(top).sub_(red)
    at.bitwise_xor_(sign).sub_(sign)
    turned = torch.mul(chroma, 6 * turn, out=buffers.gray).round_()
    at.add_(sign.copy_(turned))
    for channel, position in enumerate((0, 2, -2)):
        offset = -position
        if abs(6 * turn + offset) > 3:  # the other way around the circle
            offset -= 6 if 6 * turn + offset > 0 else -6
        torch.add(at, chroma, alpha=offset, out=whole[:, channel : channel + 1])
    whole.abs_().sub_(chroma, alpha=3).abs_().sub_(chroma).clamp_(min=0)
    torch.minimum(whole, chroma, out=whole).add_(low)
    buffers.values.copy_(whole)


_STEPS: dict[str, Callable[[_Buffers, float], None]] = {
    "brightness": _brightness,
    "shift": _shift,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
    "grayscale": _grayscale,
}
NEED_COLORS = ("saturation", "hue", "grayscale")  # steps that a single channel has no use for
_IDENTITY = {"brightness": 1.0, "shift": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "grayscale": None}

"""Which of torchvision's video networks a model is, for which clip, and which clips that network takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tubelet.errors import ConfigError, TubeletError

Name = Literal["r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"]


@dataclass(frozen=True, kw_only=True)
class _Clips:
    """Which clips a network takes."""

    smallest: tuple[int, int, int] = (1, 1, 1)  # frames, height, width that leave something to its last pooling
    only: tuple[int, int, int] | None = None  # frames, height, width, where it takes no other
    windows: bool = False  # attention in windows of 7 x 7, with a position table for that size


CLIPS: dict[str, _Clips] = {
    # Halved to the 2 x 7 x 7 of its last pooling: four times over space, three over time, rounding up.
    "s3d": _Clips(smallest=(13, 209, 209)),
    **{name: _Clips(only=(16, 224, 224)) for name in ("mvit_v1_b", "mvit_v2_s")},
    **{name: _Clips(windows=True) for name in ("swin3d_t", "swin3d_s", "swin3d_b")},
}


@dataclass(frozen=True, kw_only=True)
class TorchvisionConfig:
    """The defaults are r3d_18 as torchvision trained it; every name of a model brings its own clip."""

    network: Name = "r3d_18"  # which of torchvision's video networks
    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 16  # frames of the clip it is made for
    image_size: tuple[int, int] = (112, 112)  # height and width in pixels of the clip it is made for

    def __post_init__(self) -> None:
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be positive, or 0 for an encoder; got {self.num_classes}")
        for name in ("in_channels", "num_frames"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        try:
            check_clip(self, (self.num_frames, *self.image_size))
        except TubeletError as error:
            raise ConfigError(f"num_frames and image_size: {error}") from None


def check_clip(config: TorchvisionConfig, size: tuple[int, int, int]) -> None:
    """Refuse a clip of ``size`` (frames, height, width) that the network cannot take or would compute wrongly.

    Raises:
        TubeletError: with what it takes.
    """
    known, given = CLIPS.get(config.network, _Clips()), "x".join(map(str, size))
    if known.only is not None and size != known.only:
        raise TubeletError(
            f"torchvision's {config.network} takes clips of {'x'.join(map(str, known.only))} (frames x height x width) "
            f"alone, its position tables have that size; got {given}"
        )
    if any(a < b for a, b in zip(size, known.smallest, strict=True)):
        raise TubeletError(
            f"torchvision's {config.network} takes clips of {'x'.join(map(str, known.smallest))} (frames x height x "
            f"width) or more, a smaller one is used up before its last pooling; got {given}"
        )
    if known.windows and window_sizes(size[1:]) != window_sizes(config.image_size):
        made_for = "x".join(map(str, config.image_size))
        raise TubeletError(
            f"torchvision's {config.network} made for {made_for} pixels would read its position tables at wrong places "
            f"for {size[1]}x{size[2]}, where its attention windows have other sizes; make the model for this size"
        )


def window_sizes(image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Height and width of Swin's attention windows in each of its four stages.

    Windows are 7 x 7 and no larger than the grid, which is a quarter of the image and halves from stage to stage,
    rounding up. torchvision takes the first rows of a table made for 7 x 7 when a window is smaller: as good as any
    where the model is trained so, and scrambled where weights come from another size. Fewer frames do no harm, since
    frames come first in the table's order.
    """
    sizes = []
    for stage in range(4):
        side = 4 * 2**stage
        sizes.append((min(7, -(-image_size[0] // side)), min(7, -(-image_size[1] // side))))
    return sizes

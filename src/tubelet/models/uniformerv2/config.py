"""What a UniFormerV2 is made from, checked.

Source: "UniFormerV2" (ICCV 2023, arXiv 2211.09552) and its official code, OpenGVLab/UniFormerV2, commit 722a4344,
``exp/`` and ``slowfast/config/defaults.py``; what differs between pretrainings of the image ViT from timm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tubelet.errors import ConfigError
from tubelet.types import Activation, Remainder, added

TrunkActivation = Literal["quick_gelu"] | Activation


@dataclass(frozen=True, kw_only=True)
class TrunkStyle:
    """What differs between image ViTs of one size; the defaults are CLIP's."""

    pre_norm: bool = True  # LayerNorm between positions and the first block
    patch_bias: bool = False  # bias in the patch convolution
    activation: TrunkActivation = "quick_gelu"  # of the MLPs
    norm_eps: float = 1e-5  # epsilon of the LayerNorms
    layer_scale: float | None = None  # first value of a factor per channel behind attention and MLP; None means no such
    position: Literal["class_and_patches", "patches", "relative"] = "class_and_patches"  # rows of the position table,
    # or a bias in each block's attention in place of a table


@dataclass(frozen=True, kw_only=True)
class UniFormerV2Config:
    """The defaults are UniFormerV2-B/16 on Kinetics-400: an image ViT and four global blocks."""

    num_classes: int = 400  # width of the logits
    in_channels: int = 3  # channels of the clip
    num_frames: int = 8  # frames of the clip it is made for; any number may enter
    image_size: tuple[int, int] = (224, 224)  # height and width in pixels that the position table is made for
    patch_size: int = 16  # height and width of a patch in pixels
    embed_dim: int = 768  # width of a token
    depth: int = 12  # blocks of the image ViT
    num_heads: int = 12  # attention heads per block
    trunk: TrunkStyle = field(default_factory=TrunkStyle)  # which kind of image ViT; CLIP's unless told otherwise
    global_layers: int | tuple[int, ...] = 4  # the last so many blocks, or the numbers (from 0) of those that feed one
    global_num_heads: int | None = None  # heads of the global blocks; None means num_heads
    global_mlp_ratio: float = 4.0  # hidden width of the global blocks' MLP over embed_dim
    dpe: bool = True  # convolutional positions of the tokens that a global block looks at
    fusion: Literal["sequential", "parallel", "hierarchical_kv", "hierarchical_q"] = "sequential"  # of global blocks
    num_queries: int = 1  # learned queries of a global block
    frozen: bool = False  # the image ViT takes no gradient and its class tokens do not enter the head
    drop_rate: float = 0.5  # dropout before the head
    global_drop_rate: float = 0.5  # dropout in the global blocks' MLP
    drop_path_rate: float = 0.0  # stochastic depth of the last block of the image ViT; grows linearly from 0
    global_drop_path_rate: float = 0.0  # the same for the global blocks
    remainder: Remainder = added("refuse")  # pixels at the end that fill no patch: an error, or left out

    def __post_init__(self) -> None:
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be positive, or 0 for an encoder; got {self.num_classes}")
        for name in ("in_channels", "num_frames", "patch_size", "embed_dim", "depth", "num_queries"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for size, name in zip(self.image_size, ("height", "width"), strict=True):
            if size < self.patch_size or (size % self.patch_size and self.remainder == "refuse"):
                raise ConfigError(
                    f"patch_size {self.patch_size} does not divide image_size's {name} {size}; choose a divisor, or "
                    "remainder drop"
                )
        for name in ("num_heads", "global_num_heads"):
            heads = getattr(self, name)
            if heads is not None and (heads <= 0 or self.embed_dim % heads):
                raise ConfigError(f"embed_dim {self.embed_dim} is not divisible by {name} {heads}")
        self.layers_with_global_block()
        if self.frozen and self.drop_path_rate:
            raise ConfigError("a frozen image ViT has nothing to regularize: set drop_path_rate to 0")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches (h, w) of a frame of ``image_size``."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    def layers_with_global_block(self) -> tuple[int, ...]:
        """Numbers of the blocks that feed a global block, in the order in which they are visited."""
        asked = self.global_layers
        layers = tuple(range(self.depth - asked, self.depth)) if isinstance(asked, int) else tuple(sorted(asked))
        _check_layers("global_layers", asked, layers, self.depth)
        if not layers:
            raise ConfigError("global_layers must name at least one block, the head has no other input")
        return layers


@dataclass(frozen=True, kw_only=True)
class UniFormerV2LocalConfig(UniFormerV2Config):
    """With what mixes frames inside the image ViT; the defaults are UniFormerV2-B/16 on Something-Something."""

    num_classes: int = 174  # width of the logits
    num_frames: int = 16  # frames of the clip it is made for; any number may enter
    global_layers: int | tuple[int, ...] = 8  # the last so many blocks, or the numbers (from 0) of those that feed one
    temporal_downsample: bool = True  # the stem takes every second frame, with its neighbors
    stem_kernel: int = 3  # frames that the stem sees at once when it downsamples; odd
    local_layers: int | tuple[int, ...] | None = None  # the first so many blocks, or their numbers; None means all
    num_local: Literal[1, 2] = 2  # temporal branches of such a block: before attention, and before the MLP
    dw_reduction: float = 1.5  # embed_dim over the width inside a temporal branch, rounded down
    drop_path_rate: float = 0.2  # stochastic depth of the last block of the image ViT; grows linearly from 0
    global_drop_path_rate: float = 0.4  # the same for the global blocks

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layers_with_local_branch()
        if self.stem_kernel < 1 or self.stem_kernel % 2 == 0:
            raise ConfigError(f"stem_kernel must be odd, got {self.stem_kernel}")
        if not 0 < self.dw_reduction <= self.embed_dim:
            raise ConfigError(f"dw_reduction must lie between 0 and embed_dim, got {self.dw_reduction}")

    def layers_with_local_branch(self) -> tuple[int, ...]:
        """Numbers of the blocks that have temporal branches."""
        asked = self.depth if self.local_layers is None else self.local_layers
        layers = tuple(range(asked)) if isinstance(asked, int) else tuple(sorted(asked))
        _check_layers("local_layers", asked, layers, self.depth)
        return layers


def _check_layers(name: str, asked: object, layers: Sequence[int], depth: int) -> None:
    if len(set(layers)) != len(layers) or any(not 0 <= layer < depth for layer in layers):
        raise ConfigError(f"{name}={asked} does not name blocks of {depth} (numbered from 0 to {depth - 1})")

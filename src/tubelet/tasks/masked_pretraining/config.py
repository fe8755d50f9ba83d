"""Fields of a recipe under ``masked_pretraining``: what is hidden of a clip, what paints it, and what is looked at.

The defaults are VideoMAE's (arXiv 2203.12602, section 4.1 and appendix); the decoder's mask is VideoMAE V2's (arXiv
2303.16727, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import ConfigError
from tubelet.types import MaskKind, added

HEAD_DIM = 64  # channels of an attention head of the decoder, where their number is not given


@dataclass(frozen=True, kw_only=True)
class MaskedPretrainingConfig:
    """Hide most tokens of a clip, and paint them from the others."""

    mask: MaskKind = "tube"  # tube: places, at all times; block: the same in rectangles; random: single tokens
    mask_ratio: float = 0.9  # share of places (tube, block) or tokens (random) that is hidden, rounded down
    # Share of tokens that the decoder does not paint, in cells of 2 x 2 patches that move on with time, as in VideoMAE
    # V2's "dual masking" (0.5): 0.25, 0.5 or 0.75; 0 means that it paints all that is hidden.
    decoder_mask_ratio: float = added(0.0)  # share of tokens that the decoder leaves out; 0 for none
    normalize_targets: bool = True  # pixels of each tubelet and channel are painted less their mean, over their spread
    decoder_dim: int | None = None  # width of the decoder; None means half of the encoder's
    decoder_depth: int = 4  # its blocks
    decoder_heads: int | None = None  # its attention heads; None means one for every 64 channels
    measure_every_epochs: int = 5  # validations between nearest-neighbor accuracies of training clips with labels
    num_pictures: int = 4  # validation clips that log and report show beside their mask and what was painted

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ConfigError(f"masked_pretraining.mask_ratio must lie between 0 and 1, got {self.mask_ratio:g}")
        if self.decoder_mask_ratio not in (0, 0.25, 0.5, 0.75):
            raise ConfigError(
                "masked_pretraining.decoder_mask_ratio leaves out patches of cells of 2 x 2: 0, 0.25, 0.5 or 0.75, got "
                f"{self.decoder_mask_ratio:g}"
            )
        for name in ("decoder_depth", "measure_every_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"masked_pretraining.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("decoder_dim", "decoder_heads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"masked_pretraining.{name} must be at least 1, got {value}")
        if self.num_pictures < 0:
            raise ConfigError(f"masked_pretraining.num_pictures must not be negative, got {self.num_pictures}")

    def decoder_of(self, encoder_dim: int) -> tuple[int, int, int]:
        """Width, blocks and heads of the decoder for an encoder of this width.

        Raises:
            ConfigError: the width is not divisible by the number of heads.
        """
        dim = self.decoder_dim or max(2, encoder_dim // 4 * 2)
        heads = self.decoder_heads or next(n for n in range(max(1, dim // HEAD_DIM), 0, -1) if dim % n == 0)
        if dim % heads or dim % 2:
            raise ConfigError(
                f"masked_pretraining.decoder_dim {dim} must be even and divisible by decoder_heads {heads}"
            )
        return dim, self.decoder_depth, heads

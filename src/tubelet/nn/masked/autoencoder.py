"""A masked autoencoder: an encoder that sees the visible tokens, and a light decoder that paints the masked ones.

Sources: "VideoMAE" (arXiv 2203.12602) section 3 and MCG-NJU/VideoMAE, commit 14ef8d85, ``modeling_pretrain.py``;
"VideoMAE V2" (arXiv 2303.16727) section 3.2, OpenGVLab/VideoMAEv2, commit 29eab1e8 (a mask of the decoder).

    B  videos   C  channels   T, H, W  clip   N  tokens   V  visible   M = N - V  masked   Q  painted   D  width
    P = t h w C  values of a tubelet

The decoder's sequence holds the visible tokens first and then those to paint, each with the position of its place;
they are not put back in order. Without a mask of the decoder those are the masked ones. With one they are those that it
keeps, visible ones among them, and the error is that of the masked ones that are painted.

Deviation: the error is the mean of each video's own mean, where VideoMAE V2's is over all painted tokens of a batch.
The two are the same where the time indices are a multiple of 4, as in all of its models, since then each place is
painted as often as any other.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tubelet.nn.linear import Linear
from tubelet.nn.masked.masking import mask_indices, pixel_targets, take_tokens, visible_indices
from tubelet.nn.sine_cosine import OtherGrid, SineCosineTable
from tubelet.types import Grid


class MaskedDecoder(nn.Module):
    """Blocks over all tokens, then a LayerNorm and a linear layer over the last ``num_masked`` of them."""

    def __init__(self, blocks: nn.ModuleList, embed_dim: int, num_values: int, norm_eps: float = 1e-6) -> None:
        super().__init__()
        self.blocks = blocks
        self.norm = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.head = Linear(embed_dim, num_values)

    def forward(self, x: Float[Tensor, "B N D"], num_masked: int) -> Float[Tensor, "B M P"]:
        for block in self.blocks:
            x = block(x)  # B N D
        return self.head(self.norm(x[:, -num_masked:]))  # B M P


class MaskedAutoencoder(nn.Module):
    """Paints the masked tubelets of clips.

    Args:
        encoder: maps a clip and the tokens that it may see to those tokens, behind its last LayerNorm, and their grid
            (of all tokens).
        config: of the encoder's model: ``embed_dim``, ``tubelet_size``, ``in_channels`` and ``grid`` are read.
        blocks: of the decoder.
        decoder_dim: their width.
        norm_eps: of the decoder's last LayerNorm.
        other_grid: the decoder's positions for another grid than that of ``config``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        config: Any,
        blocks: nn.ModuleList,
        decoder_dim: int,
        norm_eps: float = 1e-6,
        other_grid: OtherGrid = "computed",
    ) -> None:
        super().__init__()
        self.config = config
        self.tubelet_size: Grid = config.tubelet_size
        self.encoder = encoder
        self.encoder_to_decoder = Linear(config.embed_dim, decoder_dim, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(decoder_dim))
        self.pos_embed = SineCosineTable(config.grid, decoder_dim, other_grid)
        self.decoder = MaskedDecoder(blocks, decoder_dim, prod(self.tubelet_size) * config.in_channels, norm_eps)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def forward(
        self,
        clip: Float[Tensor, "B C T H W"],
        masked: Bool[Tensor, "B N"] | Int[Tensor, "B M"],
        decoded: Int[Tensor, "B Q"] | None = None,
    ) -> Float[Tensor, "B Q P"]:
        """The pixels of the tokens to paint, in the order of ``pixel_targets``.

        Args:
            masked: true where a token is masked, as many in each video; or the indices of the masked ones, ascending.
            decoded: the indices of the tokens to paint. None means the masked ones.

        Raises:
            TubeletError: videos with different numbers of masked tokens, or none masked or none visible.
        """
        index = mask_indices(masked) if masked.dtype == torch.bool else masked  # B M
        visible = visible_indices(index, self.num_tokens(clip))  # B V
        x, grid = self.encoder(clip, visible)  # B V D
        x = self.encoder_to_decoder(x)  # B V D2
        positions = self.pos_embed(grid).expand(len(x), -1, -1)  # B N D2
        seen = x + take_tokens(positions, visible)  # B V D2
        to_paint = self.mask_token + take_tokens(positions, index if decoded is None else decoded)  # B Q D2
        return self.decoder(torch.cat([seen, to_paint], dim=1), to_paint.shape[1])  # B Q P

    def num_tokens(self, clip: Float[Tensor, "B C T H W"]) -> int:
        """Tokens of a clip, those of whole tubelets."""
        return prod(size // part for size, part in zip(clip.shape[2:], self.tubelet_size, strict=True))


class PaintingError(nn.Module):
    """What pre-training minimizes: of each video the mean squared error over its masked pixels that are painted.

    Args:
        autoencoder: paints.
        num_masked: masked tokens of a video.
        normalize: targets are normalized by tubelet and channel.
        mean, std: of the clip's normalization, which targets undo.
        num_decoded: tokens of a video that the decoder's own mask keeps; 0 means that it has none.
    """

    takes_targets = True  # ``forward`` reads the targets of the batch (``tubelet.models.stages``)

    def __init__(
        self,
        autoencoder: MaskedAutoencoder,
        num_masked: int,
        normalize: bool,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        num_decoded: int = 0,
    ) -> None:
        super().__init__()
        self.autoencoder, self.num_masked, self.normalize = autoencoder, num_masked, normalize
        self.mean, self.std, self.num_decoded = mean, std, num_decoded
        self.config = autoencoder.config

    def forward(
        self, clip: Float[Tensor, "B C T H W"], masks: Int[Tensor, "B MQ"] | None = None
    ) -> Float[Tensor, "B 1"]:
        """The error of each video.

        Args:
            masks: indices of the masked tokens, and of those that the decoder keeps where it has a mask. None means
                the first ones, where shapes alone are looked at.
        """
        if masks is None:
            first = [torch.arange(number, device=clip.device) for number in (self.num_masked, self.num_decoded)]
            masks = torch.cat(first).expand(len(clip), -1)
        painted = self.painted(clip, masks)  # B Q P
        return self.of_videos(painted - self.targets(clip, masks), clip, masks)[:, None]  # B 1

    def painted(self, clip: Float[Tensor, "B C T H W"], masks: Int[Tensor, "B MQ"]) -> Float[Tensor, "B Q P"]:
        """What the autoencoder makes of ``places(masks)``."""
        decoded = masks[:, self.num_masked :] if self.num_decoded else None
        return self.autoencoder(clip, masks[:, : self.num_masked], decoded).float()

    def targets(self, clip: Float[Tensor, "B C T H W"], masks: Int[Tensor, "B MQ"]) -> Float[Tensor, "B Q P"]:
        """What it should make of them."""
        size = self.autoencoder.tubelet_size
        return pixel_targets(clip.float(), self.places(masks), size, self.normalize, self.mean, self.std)

    def places(self, masks: Int[Tensor, "B MQ"]) -> Int[Tensor, "B Q"]:
        """The tokens that are painted."""
        return masks[:, self.num_masked :] if self.num_decoded else masks

    def counted(self, clip: Float[Tensor, "B C T H W"], masks: Int[Tensor, "B MQ"]) -> Bool[Tensor, "B Q"]:
        """Which of them the encoder did not see."""
        is_masked = masks.new_zeros(len(masks), self.autoencoder.num_tokens(clip), dtype=torch.bool)
        return is_masked.scatter(1, masks[:, : self.num_masked], True).gather(1, self.places(masks))

    def of_videos(
        self, difference: Float[Tensor, "B Q P"], clip: Float[Tensor, "B C T H W"], masks: Int[Tensor, "B MQ"]
    ) -> Float[Tensor, " B"]:
        """The mean square of each video over the painted tokens that the encoder did not see."""
        if not self.num_decoded:
            return difference.square().mean(dim=(1, 2))
        counted = self.counted(clip, masks)  # B Q
        errors = difference.square().mean(dim=2) * counted  # B Q
        return errors.sum(1) / counted.sum(1).clamp(min=1)

"""Masks of tokens: which of them an encoder does not see, and what a decoder should paint in their place.

Sources: "VideoMAE" (arXiv 2203.12602) section 3.3 and MCG-NJU/VideoMAE, commit 14ef8d85, ``masking_generator.py`` and
``engine_for_pretraining.py`` (tubes, targets); "VideoMAE V2" (arXiv 2303.16727) section 3.2 (running cells of the
decoder); "MAE" (arXiv 2111.06377, random); "V-JEPA" (arXiv 2404.08471) section 3.2 for blocks that reach through the
whole clip.

    B  videos   C  channels   T, H, W  clip   N = n_t n_h n_w  tokens   M  masked   V = N - M  visible   D  width
    P = t h w C  values of a tubelet
"""

from __future__ import annotations

import math

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tubelet.errors import TubeletError
from tubelet.types import Grid, MaskKind

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BLOCK_SHARE = (0.15, 0.7)  # of a frame that one block covers
_BLOCK_ASPECT = (0.75, 1.5)  # width over height of a block


def draw_mask(kind: MaskKind, grid: Grid, ratio: float, rng: np.random.Generator) -> Bool[np.ndarray, " N"]:
    """One clip's mask, true where a token is hidden; as many are hidden in every clip.

    Args:
        kind: "tube" hides places of a frame at all time indices, "block" hides places that lie together in
            rectangles at all time indices, "random" hides tokens each for itself.
        ratio: share of places, or of tokens, that is hidden, rounded down.

    Raises:
        TubeletError: the ratio hides none, or all.
    """
    times, places = grid[0], grid[1] * grid[2]
    number = num_hidden(kind, grid, ratio)
    if kind == "random":
        return rng.permutation(times * places) < number
    order = _block_order(grid[1], grid[2], rng) if kind == "block" else rng.permutation(places)
    hidden = np.zeros(places, dtype=bool)
    hidden[order[:number]] = True
    return np.tile(hidden, times)


def num_hidden(kind: MaskKind, grid: Grid, ratio: float) -> int:
    """How many places of a frame, or with "random" how many tokens, a mask hides.

    Raises:
        TubeletError: none, or all.
    """
    total, what = (math.prod(grid), "tokens") if kind == "random" else (grid[1] * grid[2], "places of a frame")
    number = int(ratio * total)
    if not 0 < number < total:
        raise TubeletError(
            f"a mask ratio of {ratio:g} hides {number} of {total} {what}; choose one that leaves some of them visible "
            "and some hidden"
        )
    return number


def _block_order(height: int, width: int, rng: np.random.Generator) -> Int[np.ndarray, " S"]:
    """All places of a frame in the order in which rectangles, drawn one after the other, come to cover them."""
    covered: dict[int, None] = {}
    places = np.arange(height * width).reshape(height, width)
    while len(covered) < places.size:
        area, aspect = rng.uniform(*_BLOCK_SHARE) * places.size, math.exp(rng.uniform(*np.log(_BLOCK_ASPECT)))
        rows = min(height, max(1, round(math.sqrt(area / aspect))))
        columns = min(width, max(1, round(math.sqrt(area * aspect))))
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        block = places[top : top + rows, left : left + columns].reshape(-1)
        covered |= dict.fromkeys(rng.permutation(block).tolist())
    return np.fromiter(covered, dtype=np.int64)


def draw_decoded(grid: Grid, ratio: float, rng: np.random.Generator) -> Bool[np.ndarray, " N"]:
    """Which tokens a decoder with running cells paints, true where it does; as many in every clip.

    Of each cell of 2 x 2 patches it leaves out ``4 ratio`` neighbors in the cell's order of reading, which move on by
    one with every time index. All cells are alike; where they begin is drawn.

    Args:
        ratio: share of tokens that is left out: 0.25, 0.5 or 0.75.

    Raises:
        TubeletError: another ratio, or a frame of an odd number of patches.
    """
    num_decoded(grid, ratio)
    times, rows, columns = np.ogrid[: grid[0], : grid[1], : grid[2]]
    place = (2 * (rows % 2) + columns % 2 + times + rng.integers(4)) % 4
    decoded: Bool[np.ndarray, " N"] = (place >= round(4 * ratio)).reshape(-1)
    return decoded


def num_decoded(grid: Grid, ratio: float) -> int:
    """How many tokens a decoder with running cells paints. Raises TubeletError as ``draw_decoded`` does."""
    if ratio not in (0.25, 0.5, 0.75):
        raise TubeletError(f"running cells of 2 x 2 patches leave out 0.25, 0.5 or 0.75 of the tokens, got {ratio:g}")
    if grid[1] % 2 or grid[2] % 2:
        raise TubeletError(
            f"running cells of 2 x 2 patches do not fill a frame of {grid[1]} x {grid[2]} patches; choose another "
            "crop_size, or decoder_mask_ratio 0"
        )
    return round((1 - ratio) * math.prod(grid))


def mask_indices(masked: Bool[Tensor, "B N"]) -> Int[Tensor, "B M"]:
    """The masked tokens of each video, ascending.

    Raises:
        TubeletError: their number differs between videos, or none are masked or none visible.
    """
    check_mask(masked)
    return masked.nonzero()[:, 1].unflatten(0, (len(masked), -1))


def visible_indices(masked: Int[Tensor, "B M"], num_tokens: int) -> Int[Tensor, "B V"]:
    """The other tokens of each video, ascending. Their number depends on shapes alone, so that graphs are static."""
    is_masked = torch.zeros(len(masked), num_tokens, dtype=torch.int8, device=masked.device)
    order = is_masked.scatter(1, masked, 1).argsort(dim=1, stable=True)  # B N, visible ones first
    return order[:, : num_tokens - masked.shape[1]]


def take_tokens(x: Float[Tensor, "B N D"], where: Bool[Tensor, "B N"] | Int[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
    """Tokens by a mask that is true where they are taken (as many in each video, in order), or by index."""
    if where.dtype == torch.bool:
        return x[where].unflatten(0, (len(x), -1))
    return x.gather(1, where[..., None].expand(-1, -1, x.shape[-1]))


def check_mask(masked: Bool[Tensor, "B N"]) -> int:
    """The number of masked tokens of a video.

    Raises:
        TubeletError: it differs between videos, or none are masked or none visible.
    """
    numbers = masked.sum(-1).tolist()
    if len(set(numbers)) != 1:
        raise TubeletError(f"masks of {numbers} tokens in one batch; expected as many in each video")
    if not 0 < numbers[0] < masked.shape[1]:
        raise TubeletError(f"a mask of {numbers[0]} of {masked.shape[1]} tokens; some must be masked and some visible")
    return int(numbers[0])


def pixel_targets(
    clip: Float[Tensor, "B C T H W"],
    masked: Bool[Tensor, "B N"] | Int[Tensor, "B M"],
    tubelet_size: Grid,
    normalize: bool = True,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Float[Tensor, "B M P"]:
    """What the decoder should paint: the pixels from 0 to 1 of every masked tubelet, in the order (t, h, w, channel).

    Args:
        clip: normalized by ``mean`` and ``std``, which is undone first.
        masked: true where a token is masked, or the indices of the masked ones.
        normalize: of each tubelet and channel, subtract the mean and divide by the deviation (of a sample, n - 1) plus
            1e-6, as all released models are trained.

    Raises:
        TubeletError: the clip has another number of channels.
    """
    if clip.shape[1] != len(mean):
        raise TubeletError(f"pixel targets undo a normalization of {len(mean)} channels, the clip has {clip.shape[1]}")
    tubelets = cut_tubelets(clip, tubelet_size, mean, std)  # B N thw C
    if normalize:
        average, deviation = tubelet_statistics(tubelets)
        tubelets = (tubelets - average) / deviation
    return take_tokens(tubelets.flatten(2), masked)  # B M P


def cut_tubelets(
    clip: Float[Tensor, "B C T H W"], tubelet_size: Grid, mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "B N P C"]:
    """The pixels from 0 to 1 of every tubelet. What fills no tubelet at the end of an axis is left out."""
    t, h, w = tubelet_size
    whole = [size // part * part for size, part in zip(clip.shape[2:], tubelet_size, strict=True)]
    center, spread = (clip.new_tensor(value)[:, None, None, None] for value in (mean, std))
    pixels = clip[:, :, : whole[0], : whole[1], : whole[2]] * spread + center
    return rearrange(pixels, "b c (nt t) (nh h) (nw w) -> b (nt nh nw) (t h w) c", t=t, h=h, w=w)


def tubelet_statistics(tubelets: Float[Tensor, "B N P C"]) -> tuple[Float[Tensor, "B N 1 C"], Float[Tensor, "B N 1 C"]]:
    """Mean and deviation of each tubelet and channel, by which targets are normalized."""
    deviation = tubelets.var(dim=2, unbiased=True, keepdim=True).sqrt() + 1e-6
    return tubelets.mean(dim=2, keepdim=True), deviation

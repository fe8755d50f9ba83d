"""Masks: what each kind hides, as many in every clip; indices and masks take the same tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tubelet.errors import TubeletError
from tubelet.nn.masked.masking import draw_mask, mask_indices, pixel_targets, take_tokens, visible_indices
from tubelet.types import MaskKind

GRID = (4, 7, 7)


def drawn(kind: MaskKind, seed: int = 0) -> np.ndarray:
    return draw_mask(kind, GRID, 0.9, np.random.default_rng(seed)).reshape(4, 49)


@pytest.mark.parametrize("kind", ["tube", "block"])
def test_tubes_and_blocks_hide_the_same_places_at_all_times_and_others_in_each_clip(kind: MaskKind) -> None:
    masks = [drawn(kind, seed) for seed in range(8)]
    assert all((mask == mask[:1]).all() and mask[0].sum() == 44 for mask in masks)
    assert len({mask.tobytes() for mask in masks}) == 8


def test_random_masks_hide_single_tokens() -> None:
    mask = drawn("random")
    assert mask.sum() == int(0.9 * 196)
    assert not (mask == mask[:1]).all()


def test_blocks_hide_places_that_lie_together() -> None:
    def borders(kind: MaskKind) -> int:
        masks = [draw_mask(kind, (1, 14, 14), 0.5, np.random.default_rng(seed)).reshape(14, 14) for seed in range(20)]
        return sum(int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()) for mask in masks)

    assert borders("block") < 0.6 * borders("tube")


@pytest.mark.parametrize("kind", ["tube", "block", "random"])
def test_a_ratio_that_hides_nothing_is_refused(kind: MaskKind) -> None:
    with pytest.raises(TubeletError, match="hides 0 of"):
        draw_mask(kind, (2, 2, 2), 0.1, np.random.default_rng(0))


def test_indices_take_the_tokens_that_masks_take() -> None:
    masked = torch.from_numpy(np.stack([drawn("tube", seed).reshape(-1) for seed in range(3)]))
    index, x = mask_indices(masked), torch.randn(3, 196, 5)
    assert take_tokens(x, index).equal(take_tokens(x, masked))
    assert take_tokens(x, visible_indices(index, 196)).equal(take_tokens(x, ~masked))


def test_targets_of_volumes_undo_their_own_normalization() -> None:
    volume = torch.rand(2, 1, 4, 8, 8)
    masked = torch.ones(2, 4, dtype=torch.bool)
    raw = pixel_targets((volume - 0.3) / 0.2, masked, (4, 4, 4), normalize=False, mean=(0.3,), std=(0.2,))
    torch.testing.assert_close(raw[1, 0], volume[1, 0, :, :4, :4].reshape(-1))

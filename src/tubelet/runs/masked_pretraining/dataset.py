"""Clips with masks in place of labels: what the loader of a pre-training reads."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.dataset import DatasetMode, Item
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.nn.masked.masking import draw_decoded, draw_mask
from tubelet.tasks.masked_pretraining.config import MaskedPretrainingConfig
from tubelet.types import Grid

_MASK_STREAM = 1 << 20  # tells the draws of masks from those of crops, whose keys are shorter or smaller


class MaskedClips:
    """A map-style dataset (``tubelet.data.loading.dataset.Dataset``) whose labels are the indices of masked tokens,
    and behind them those of the tokens that the decoder keeps, where it has a mask.

    A mask is keyed by (seed, epoch, index): it does not depend on workers, on the order of reading, or on where a run
    was resumed. Rows have no labels of their own here, so that nothing can learn from them.

    Args:
        clips: the clips.
        config: what is hidden.
        grid: tokens (n_t, n_h, n_w) of a clip.
        seed: keys the masks.
    """

    item_dtype = ClipDataset.item_dtype

    def __init__(self, clips: ClipDataset, config: MaskedPretrainingConfig, grid: Grid, seed: int) -> None:
        self.clips, self.config, self.grid, self.seed = clips, config, grid, seed
        self.protocol, self.augment, self.mode = clips.protocol, clips.augment, clips.mode
        self.item_shape, self.numbers_shape = clips.item_shape, clips.numbers_shape

    mode: DatasetMode

    @property
    def manifest(self) -> Manifest:
        """The rows."""
        return self.clips.manifest

    def __len__(self) -> int:
        return len(self.clips)

    def with_samples(self, samples: Sequence[Sample]) -> MaskedClips:
        """As ``Dataset.with_samples``."""
        other = copy.copy(self)
        other.clips = self.clips.with_samples(samples)
        return other

    def name(self, index: int) -> str:
        """The file of a row as messages name it."""
        return self.clips.name(index)

    def mask(self, index: int, epoch: int = 0) -> tuple[int, ...]:
        """The masked tokens of a row in an epoch, ascending, then those that the decoder keeps, ascending."""
        rng = keyed_generator(self.seed, epoch, index, 0, _MASK_STREAM)
        hidden = draw_mask(self.config.mask, self.grid, self.config.mask_ratio, rng)
        masks = [hidden]
        if self.config.decoder_mask_ratio:
            masks.append(draw_decoded(self.grid, self.config.decoder_mask_ratio, rng))
        return tuple(index for mask in masks for index in mask.nonzero()[0].tolist())

    def read(self, index: int, epoch: int = 0) -> Item:
        """One row with its mask. Raises DataError."""
        return dataclasses.replace(self.clips.read(index, epoch), labels=self.mask(index, epoch))

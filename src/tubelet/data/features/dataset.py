"""A dataset over a feature store. Its clips are those that ``ClipDataset`` draws of the videos, as vectors of frames.

T  frames of a clip   V  views   D  width of a vector
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.frame_sampling import jittered_sampling, row_clip, row_views, seconds_covered
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.features.store import FeatureFile, check_augment, check_pixels, read_store
from tubelet.data.loading.dataset import DatasetMode, Item, check_mode
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.errors import DataError
from tubelet.protocol import Protocol


class FeatureDataset:
    """A map-style dataset over the rows of a feature store. Arguments are those of ``ClipDataset``.

    For the same seed, epoch and row it gives the frames that ``ClipDataset`` gives for the videos.

    Raises:
        ConfigError: ``augment`` changes pixels.
        DataError: the features are of other pixels than the protocol's.
    """

    item_dtype = torch.float32  # of ``Item.pixels``

    def __init__(
        self,
        manifest: Manifest,
        protocol: Protocol,
        mode: DatasetMode = "train",
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> None:
        check_mode(mode, augment)
        self.manifest, self.protocol, self.mode, self.seed = manifest, protocol, mode, seed
        self.augment = augment or AugmentConfig(crop="center")
        check_augment(self.augment, manifest.root)
        self.augment.check_protocol(protocol)
        record = read_store(manifest.root)
        check_pixels(record, protocol, manifest.root)
        self.width = record.feature_dim

    def __len__(self) -> int:
        return len(self.manifest)

    def with_samples(self, samples: Sequence[Sample]) -> FeatureDataset:
        """As ``Dataset.with_samples``."""
        other = copy.copy(self)
        other.manifest = self.manifest.with_samples(samples)
        return other

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.pixels``: (T, D), in mode "views" (V, T, D)."""
        return (*self.numbers_shape, self.width)

    @property
    def numbers_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.frame_numbers``: (T,), in mode "views" (V, T)."""
        frames = self.protocol.num_frames
        return (frames,) if self.mode == "train" else (self.protocol.num_views, frames)

    def name(self, index: int) -> str:
        """The name of a row in messages."""
        return str(self.manifest.path_of(self.manifest.samples[index % len(self)]))

    def read(self, index: int, epoch: int = 0) -> Item:
        """The vectors and labels of one row. ``index`` is that of ``ClipDataset.read``.

        Raises:
            DataError: the file cannot be read, or its video could not be read when the store was written.
        """
        repeat, row = divmod(index, len(self))
        sample = self.manifest.samples[row]
        with FeatureFile(self.manifest.path_of(sample)) as file:
            if file.failure is not None:
                raise DataError(file.failure)
            return self._views(file, sample) if self.mode == "views" else self._clip(file, sample, epoch, row, repeat)

    def _clip(self, file: FeatureFile, sample: Sample, epoch: int, row: int, repeat: int) -> Item:
        rng = keyed_generator(self.seed, epoch, row, *((repeat,) if repeat else ()))
        sampled, snap = jittered_sampling(self.protocol, self.augment, rng), self.augment.snap_start and file.is_video
        plan = row_clip(file.timestamps, *sample.bounds(file.timestamps), sampled, rng, snap=snap)
        return Item(
            pixels=file.vectors_of(np.array(plan.indices)),
            labels=sample.labels,
            seconds_covered=plan.seconds_covered,
            frame_numbers=torch.tensor(plan.frame_numbers),
            notes=plan.notes,
        )

    def _views(self, file: FeatureFile, sample: Sample) -> Item:
        plans = row_views(file.timestamps, *sample.bounds(file.timestamps), self.protocol)
        return Item(
            pixels=torch.stack([file.vectors_of(np.array(plan.indices)) for plan in plans]),
            labels=sample.labels,
            seconds_covered=seconds_covered(file.timestamps, plans, sample.start_seconds),
            frame_numbers=torch.tensor([plan.frame_numbers for plan in plans]),
            notes=tuple(dict.fromkeys(note for plan in plans for note in plan.notes)),
        )

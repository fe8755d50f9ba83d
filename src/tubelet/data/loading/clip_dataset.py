"""From a row of a manifest to the uint8 pixels that enter a model.

Training reads one random clip per row. Evaluation reads all views of a row, with the functions of
``tubelet.data.loading.read_views``. Every random choice is keyed by (seed, epoch, index), so it does not depend on the
workers, on the order of reading, or on where a run was resumed.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.flip import flip_label_maps, flipped_labels
from tubelet.data.clips.frame_sampling import ClipPlan, jittered_sampling, row_clip
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.pixel_augmentation import PixelAugmentation, augment_pixels, draw_pixel_augmentation
from tubelet.data.clips.resize_crop import (
    Geometry,
    random_geometry,
)
from tubelet.data.loading.dataset import DatasetMode, Item, check_mode
from tubelet.data.loading.read_views import read_crops, views_of
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.segments import segment_text
from tubelet.data.sources.open_source import Reader, naming_file, open_source
from tubelet.data.sources.shards import is_volume_row
from tubelet.data.sources.volume import ArrayReader
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class DrawnClip:
    """A training clip before its frames are read: every random choice has been made."""

    reader: Reader  # of a volume, along the axis that was drawn
    plan: ClipPlan
    geometry: Geometry
    augmentation: PixelAugmentation


class ClipDataset:
    """Map-style dataset over the rows of a manifest.

    Args:
        manifest: the rows, usually those of one split.
        protocol: sampling, size and views.
        mode: "train" reads one random clip per row, "views" reads all views of the protocol.
        augment: what else is random in training. None means that only the position of the clip and the crop are random.
        seed: keys every random choice, together with epoch and row.
        augment_later: the dataset crops training clips and puts the pixel augmentation it has drawn beside them
            (``Item.augmentation``); ``tubelet.data.clips.pixel_augmentation.augment_batch`` applies it on the device.

    Raises:
        ConfigError: ``augment`` does not fit the mode, the protocol or the data.
    """

    def __init__(
        self,
        manifest: Manifest,
        protocol: Protocol,
        mode: DatasetMode = "train",
        augment: AugmentConfig | None = None,
        seed: int = 0,
        augment_later: bool = False,
    ) -> None:
        check_mode(mode, augment)
        self.manifest, self.protocol, self.mode, self.seed = manifest, protocol, mode, seed
        self._augment_later = augment_later
        self.augment = augment or AugmentConfig()
        self._indices = IndexStore.beside(manifest.root, manifest.folder)
        self._flip_maps = flip_label_maps(manifest, self.augment)
        self.augment.check_protocol(protocol)
        if self.augment.for_volumes_only:
            video = next((row.path for row in manifest.samples if not is_volume_row(row.path, row.entry)), None)
            if video is not None:
                raise ConfigError(
                    f"{', '.join(self.augment.for_volumes_only)}: for volumes only, but {video} is a video"
                )
        if self.augment.volume_axis == "random" and any(sample.is_segment for sample in manifest.samples):
            raise ConfigError("volume_axis=random cannot cut segments, which lie along one axis; leave out one of them")

    def __len__(self) -> int:
        return len(self.manifest)

    def with_samples(self, samples: Sequence[Sample]) -> ClipDataset:
        """As ``Dataset.with_samples``."""
        other = copy.copy(self)
        other.manifest = self.manifest.with_samples(samples)
        return other

    item_dtype = torch.uint8  # of ``Item.pixels``

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.pixels``: (C, T, H, W), in mode "views" (V, C, T, H, W)."""
        clip = (self.protocol.num_channels, self.protocol.num_frames, *self.protocol.crop_size)
        return clip if self.mode == "train" else (self.protocol.num_views, *clip)

    @property
    def numbers_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.frame_numbers``: (T,), in mode "views" (V, T)."""
        frames = self.protocol.num_frames
        return (frames,) if self.mode == "train" else (self.protocol.num_views, frames)

    def name(self, index: int) -> str:
        """The name of a row in messages: its file, with address or segment."""
        sample = self.manifest.samples[index % len(self)]
        name = str(self.manifest.path_of(sample))
        if sample.entry:
            name += f":{sample.entry}"
        return name + segment_text(sample)

    def read(self, index: int, epoch: int = 0) -> Item:
        """The pixels and labels of one row.

        In training, ``index + k * len(self)`` is the k-th repeat of the same row, with draws of its own
        (``augment.repeats``).

        Raises:
            DataError: the file cannot be read as the protocol asks.
        """
        sample = self.manifest.samples[index % len(self)]
        with naming_file(self.manifest.path_of(sample), self.name(index)), self.open(index) as reader:
            if self.mode == "views":
                item = views_of(reader, self.protocol, *sample.bounds(reader.timestamps))
                return dataclasses.replace(item, labels=sample.labels)
            drawn = self.draw(reader, index, epoch)
            (frames,), (rows,) = read_crops(drawn.reader, [drawn.plan], drawn.geometry, may_round=self.may_round)
        plan, clip, left = drawn.plan, frames[rows], drawn.augmentation if self._augment_later else None
        if left is None:
            clip = augment_pixels(clip, drawn.augmentation)
        is_flipped = drawn.augmentation.flip[2]
        labels = (
            flipped_labels(sample.labels, self._flip_maps, self.manifest.multi_label) if is_flipped else sample.labels
        )
        pixels = clip.transpose(0, 1).contiguous()
        return Item(
            pixels=pixels,
            labels=labels,
            seconds_covered=plan.seconds_covered,
            frame_numbers=torch.tensor(plan.frame_numbers),
            notes=(*drawn.reader.notes, *plan.notes),
            augmentation=left,
        )

    def open(self, index: int) -> Reader:
        """Open the reader of a row. Raises DataError."""
        sample = self.manifest.samples[index % len(self)]
        path = self.manifest.path_of(sample)
        return open_source(path, sample.entry, self.protocol, sample.fps, self._indices)

    def draw(self, reader: Reader, index: int, epoch: int = 0) -> DrawnClip:
        """Draw everything that is random in one training clip. Raises DataError.

        The order of the draws is part of the result: another order gives other clips for the same seed.
        """
        repeat, index = divmod(index, len(self))
        sample = self.manifest.samples[index]
        rng = keyed_generator(self.seed, epoch, index, *((repeat,) if repeat else ()))
        sampled = jittered_sampling(self.protocol, self.augment, rng)
        if self.augment.volume_axis == "random" and isinstance(reader, ArrayReader):
            reader = reader.along_axis(int(rng.integers(3)))
        snap, times = self.augment.snap_start and isinstance(reader, VideoReader), reader.timestamps
        plan = row_clip(times, *sample.bounds(times), sampled, rng, snap=snap)
        geometry = random_geometry(reader.height, reader.width, self.protocol, self.augment, rng)
        augmentation = draw_pixel_augmentation(self.augment, self.protocol, rng)
        return DrawnClip(reader=reader, plan=plan, geometry=geometry, augmentation=augmentation)

    @property
    def may_round(self) -> bool:
        """Whether a crop may be cut before it is scaled (see ``reading_window``)."""
        return self.augment.crop == "random"

"""The items of a dataset of clips, and the protocol that the loader expects of a dataset.

``tubelet.data.loading.clip_dataset`` reads videos and volumes, ``tubelet.data.features.dataset`` reads feature stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.pixel_augmentation import PixelAugmentation
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol as ClipProtocol

DatasetMode = Literal["train", "views"]  # one random clip per row, or all views of the protocol


@dataclass(frozen=True, kw_only=True)
class Item:
    """The pixels of one row, or its vectors from a feature store. In training the V axis is absent."""

    pixels: UInt8[Tensor, "C T H W"] | UInt8[Tensor, "V C T H W"] | Float[Tensor, "T D"] | Float[Tensor, "V T D"]
    labels: tuple[int, ...]  # as ``Sample.labels``; empty where they are unknown
    seconds_covered: float  # of the source, all clips together
    frame_numbers: Int[Tensor, " T"] | Int[Tensor, "V T"]  # as ``ClipPlan.frame_numbers``
    notes: tuple[str, ...] = ()  # what the user should know, for example that a short video was looped
    content: str | None = None  # hash of the file's bytes, with the first item that a process reads of it, if asked
    augmentation: PixelAugmentation | None = None  # still to be applied (``ClipDataset.augment_later``)


@runtime_checkable  # the type checks that run under pytest call isinstance
class Dataset(Protocol):
    """A map-style dataset over the rows of a manifest. ``ClipDataset`` and ``FeatureDataset`` follow this protocol."""

    @property
    def manifest(self) -> Manifest:
        """The rows."""
        ...

    @property
    def protocol(self) -> ClipProtocol:
        """Sampling, size and views."""
        ...

    @property
    def mode(self) -> DatasetMode:
        """Whether a row gives one random clip or all its views."""
        ...

    @property
    def augment(self) -> AugmentConfig:
        """What is random in training."""
        ...

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.pixels``."""
        ...

    @property
    def item_dtype(self) -> torch.dtype:
        """Type of ``Item.pixels``."""
        ...

    @property
    def numbers_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.frame_numbers``."""
        ...

    def __len__(self) -> int: ...

    def with_samples(self, samples: Sequence[Sample]) -> Dataset:
        """The same dataset over other rows of the same classes, which the checks of its constructor have seen."""
        ...

    def name(self, index: int) -> str:
        """The file of a row as messages name it."""
        ...

    def read(self, index: int, epoch: int = 0) -> Item:
        """One row. Raises DataError if it cannot be read."""
        ...


def check_mode(mode: DatasetMode, augment: AugmentConfig | None) -> None:
    """Raises ConfigError if views would be augmented."""
    if mode == "views" and augment is not None:
        raise ConfigError("augmentation is for training; leave it out where views are read")

"""``tubelet.ClipDataset``: the clips of our own loader as an ordinary dataset of torch, for other training loops.

B  videos   V  views   C  channels   T, H, W  frames and pixels
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils.data import Dataset

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.normalize import to_input
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset as Clips
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol
from tubelet.tasks.choose import task_of
from tubelet.tasks.regression import Regression
from tubelet.types import Part


class ClipDataset(Dataset[dict[str, Tensor]]):
    """A map-style dataset of torch: ``dataset[i]`` is a dict of tensors, equal for the same (seed, epoch, i).

    Training gives one random clip per video, ``pixel_values`` float ``[C, T, H, W]``; other parts give the views of the
    protocol, ``[V, C, T, H, W]``. Pixels are normalized as the protocol says. ``labels`` is a class index, with several
    heads one for each, a row of 0 and 1 where a video may have several labels, or float ``[K]``, NaN where one is not
    known, where labels are numbers (``manifest.numbers``). ``frame_numbers`` ``[T]`` or ``[V, T]`` are what VTN takes
    beside the clip.

    Args:
        data: a folder, a .csv or .npz file, or a manifest that ``read_manifest`` gave.
        protocol: sampling, size and views.
        split: which rows; "all" gives views of all.
        augment: what is random in training beside position and crop.
        seed: keys every random choice, together with the epoch.
        manifest: how the data are read.

    Raises:
        DataError: the data cannot be read, or have no such split.
        ConfigError: ``augment`` without training.
    """

    def __init__(
        self,
        data: str | Path | Manifest,
        protocol: Protocol,
        *,
        split: Part = "train",
        augment: AugmentConfig | None = None,
        seed: int = 0,
        manifest: ManifestConfig | None = None,
    ) -> None:
        if augment is not None and split != "train":
            raise ConfigError(f"augment is for training, and split is {split}; leave it out")
        whole = data if isinstance(data, Manifest) else read_manifest(data, manifest)
        rows = whole if split == "all" else whole.split(split)
        labeled = dataclasses.replace(protocol, labels=dict(rows.class_names), multi_label=rows.multi_label)
        self._targets: Callable[[Sequence[tuple[int, ...]]], Tensor]
        if rows.is_numeric:
            task = Regression.of_data(whole, ((0.0, 1.0),) * len(whole.class_names))  # scales are of a model
            labeled = dataclasses.replace(protocol, labels=dict(task.labels))
            self._targets = task.numbers
        else:
            self._targets = task_of(labeled).targets
        self.protocol = labeled
        self._clips = Clips(rows, labeled, "train" if split == "train" else "views", augment, seed)
        # In shared memory, so that workers which are running see what this process sets.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """The class names of each head in the order of their indices."""
        return dict(self._clips.manifest.class_names)

    @property
    def clips(self) -> Clips:
        """The same clips before normalization, as ``tubelet.Loader`` takes them."""
        return self._clips

    @property
    def manifest(self) -> Manifest:
        """The rows."""
        return self._clips.manifest

    def set_epoch(self, epoch: int) -> None:
        """Draw the clips of another epoch from now on, also in workers that are running."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One video.

        Raises:
            DataError: its file cannot be read.
            IndexError: there is no such row.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        item = self._clips.read(index % len(self), int(self._epoch))
        labels = self._targets([item.labels])[0]
        return {
            "pixel_values": to_input(item.pixels, self.protocol),
            "labels": labels,
            "frame_numbers": item.frame_numbers,
        }


def collate(items: Sequence[dict[str, Tensor]]) -> dict[str, Shaped[Tensor, "B *item"]]:
    """A batch of items: every tensor with an axis B in front. ``collate_fn`` of a ``DataLoader``."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}

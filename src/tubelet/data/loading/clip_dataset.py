"""From a row of a manifest, a file or an array to the uint8 pixels that enter a model.

Training reads one random clip per row; evaluation and deployment read all views of a source, through the same
``read_views``. Each frame is decoded once, however many views show it. Every random choice is keyed by
(seed, epoch, index), so that it does not depend on workers, order, or where a run was resumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubelet.data.clips.augment import AugmentConfig, jittered_sampling
from tubelet.data.clips.pixel_augmentation import Look, apply_look, random_look
from tubelet.data.clips.random import keyed_generator
from tubelet.data.clips.sampling import ClipPlan, row_clip, row_views, seconds_covered
from tubelet.data.clips.transforms import (
    Geometry,
    crop_frames,
    random_geometry,
    reading_window,
    resize_frames,
    view_geometry,
)
from tubelet.data.loading.dataset import Item, Mode, check_mode
from tubelet.data.manifest.labels import mirrored
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.sources.open import Reader, open_source
from tubelet.data.sources.shards import is_volume_row
from tubelet.data.sources.volume import ArrayReader, frames_from_array, frames_from_tensor
from tubelet.data.video.index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError, DataError, nearest
from tubelet.protocol import Protocol

_SOURCE_BYTES = 256 * 2**20  # decoded frames held at once before they are resized; 97 frames of 720p


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A training clip before it is read: everything random in it."""

    reader: Reader  # volumes may be read along another axis
    plan: ClipPlan
    geometry: Geometry
    look: Look


class ClipDataset:
    """Map-style dataset over the rows of a manifest.

    Args:
        manifest: usually one split of a manifest.
        protocol: sampling, size and views.
        mode: "train" reads one random clip per row, "views" reads all views of the protocol.
        augment: what else is random in training; none: only the position of the clip and of the crop.
        seed: with epoch and row it keys every random choice.
        look_later: training clips come as they were cropped, with what else is drawn beside them (``Item.look``);
            ``tubelet.data.clips.pixel_augmentation.finish_batch`` then does it, on whatever device the clips are.

    Raises:
        ConfigError: ``augment`` does not fit the mode or the data.
    """

    def __init__(
        self,
        manifest: Manifest,
        protocol: Protocol,
        mode: Mode = "train",
        augment: AugmentConfig | None = None,
        seed: int = 0,
        look_later: bool = False,
    ) -> None:
        check_mode(mode, augment)
        self.manifest, self.protocol, self.mode, self.seed = manifest, protocol, mode, seed
        self._look_later = look_later
        self.augment = augment or AugmentConfig()
        self._indices = IndexStore.beside(manifest.root, manifest.folder)
        self._mirrored = _mirrored_labels(manifest, self.augment)
        self.augment.check_protocol(protocol)
        if self.augment.for_volumes_only:
            video = next((row.path for row in manifest.samples if not is_volume_row(row.path, row.entry)), None)
            if video is not None:
                raise ConfigError(
                    f"{', '.join(self.augment.for_volumes_only)}: for volumes only, but {video} is a video"
                )
        if self.augment.volume_axis == "random" and any(
            sample.start_seconds is not None or sample.end_seconds is not None for sample in manifest.samples
        ):
            raise ConfigError("volume_axis=random cannot cut segments, which lie along one axis; leave out one of them")

    def __len__(self) -> int:
        return len(self.manifest)

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
        """The file of a row as messages name it, with its address or segment."""
        sample = self.manifest.samples[index % len(self)]
        name = str(self.manifest.path_of(sample))
        if sample.entry:
            name += f":{sample.entry}"
        if sample.start_seconds is not None or sample.end_seconds is not None:
            end = "" if sample.end_seconds is None else f"{sample.end_seconds:g}"
            name += f" [{sample.start_seconds or 0:g}-{end} s]"
        return name

    def read(self, index: int, epoch: int = 0) -> Item:
        """The pixels and labels of one row.

        In training, ``index + k * len(self)`` is the same row once more, drawn for the k-th time (``augment.repeats``).

        Raises:
            DataError: the file cannot be read as the protocol asks.
        """
        sample = self.manifest.samples[index % len(self)]
        with naming_file(self.manifest.path_of(sample), self.name(index)), self.open(index) as reader:
            if self.mode == "views":
                item = _views(reader, self.protocol, sample.start_seconds, sample.end_seconds)
                return dataclasses.replace(item, labels=sample.labels)
            drawn = self.draw(reader, index, epoch)
            (frames,), (rows,) = read_crops(drawn.reader, [drawn.plan], drawn.geometry, may_round=self.may_round)
        plan, clip, left = drawn.plan, frames[rows], drawn.look if self._look_later else None
        if left is None:
            clip = apply_look(clip, drawn.look)
        is_mirrored = drawn.look.flip[2]
        labels = mirrored(sample.labels, self._mirrored, self.manifest.multi_label) if is_mirrored else sample.labels
        pixels = clip.transpose(0, 1).contiguous()
        return Item(
            pixels=pixels,
            labels=labels,
            seconds_covered=plan.seconds_covered,
            frame_numbers=torch.tensor(plan.frame_numbers),
            notes=plan.notes,
            look=left,
        )

    def open(self, index: int) -> Reader:
        """The frames of a row. Raises DataError."""
        sample = self.manifest.samples[index % len(self)]
        path = self.manifest.path_of(sample)
        return open_source(path, sample.entry, self.protocol, sample.fps, self._indices)

    def draw(self, reader: Reader, index: int, epoch: int = 0) -> Drawn:
        """What is random in one training clip, from the opened frames of its row. Raises DataError."""
        repeat, index = divmod(index, len(self))
        sample = self.manifest.samples[index]
        rng = keyed_generator(self.seed, epoch, index, *((repeat,) if repeat else ()))
        sampled = jittered_sampling(self.protocol, self.augment, rng)
        if self.augment.volume_axis == "random" and isinstance(reader, ArrayReader):
            reader = reader.along_axis(int(rng.integers(3)))
        snap, times = self.augment.snap_start and isinstance(reader, VideoReader), reader.timestamps
        plan = row_clip(times, sample.start_seconds, sample.end_seconds, sampled, rng, snap=snap)
        geometry = random_geometry(reader.height, reader.width, self.protocol, self.augment, rng)
        look = random_look(self.augment, self.protocol, rng)
        return Drawn(reader=reader, plan=plan, geometry=geometry, look=look)

    @property
    def may_round(self) -> bool:
        """Whether a crop may be cut before it is scaled, as in ``reading_window``."""
        return self.augment.crop == "random"


def read_views(
    source: str | Path | NDArray[np.uint8] | Tensor,
    protocol: Protocol,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    fps: float | None = None,
) -> Item:
    """All views of one source: spatial crop is the outer index, temporal clip the inner.

    Args:
        source: a video file, an ``.npy`` volume, a uint8 array [T, H, W, C] or [T, H, W] with values 0 to 255,
            or a uint8 tensor [C, T, H, W], both RGB.
        protocol: sampling, size and views.
        start_seconds: start of the segment to look at; none: from the start.
        end_seconds: its end; none: to the end.
        fps: frames per second of an array or tensor; none: frame numbers stand for seconds.

    Raises:
        DataError: the source cannot be read as the protocol asks.
    """
    if isinstance(source, str | Path):
        if fps is not None:
            raise DataError(f"{source}: fps={fps:g} is for arrays; a file carries its own times, leave it out")
        path = Path(source)
        with naming_file(path, str(path)), open_source(path, None, protocol) as reader:
            return _views(reader, protocol, start_seconds, end_seconds)
    if fps is None and protocol.sampling == "dense" and protocol.target_fps is not None:
        raise DataError(f"array: the protocol samples {protocol.target_fps:g} frames per second; give the array's fps")
    if isinstance(source, Tensor):
        pixels = frames_from_tensor(source, protocol.num_channels, "tensor")
    else:
        pixels = frames_from_array(source, protocol.num_channels, "array", protocol.volume_window)
    reader = ArrayReader(pixels, fps or 1.0).along_axis(protocol.slicing_axis, protocol.slicing_backward)
    return _views(reader, protocol, start_seconds, end_seconds)


@contextmanager
def naming_file(path: Path, name: str) -> Iterator[None]:
    """Whatever makes a source unreadable becomes a DataError of one line that names its file."""
    try:
        yield
    except (DataError, OSError, MemoryError) as error:
        line = " ".join(str(error).splitlines()) or type(error).__name__
        if isinstance(error, DataError) and str(path) in line:
            raise
        raise DataError(f"{name}: {line}") from error


def _views(reader: Reader, protocol: Protocol, start_seconds: float | None, end_seconds: float | None) -> Item:
    plans = row_views(reader.timestamps, start_seconds, end_seconds, protocol)
    geometry = view_geometry(reader.height, reader.width, protocol)
    crops, rows = read_crops(reader, plans, geometry, may_round=False)
    clips = (crop[row].transpose(0, 1) for crop in crops for row in rows)
    numbers = torch.tensor([plan.frame_numbers for plan in plans])
    notes = dict.fromkeys(note for plan in plans for note in plan.notes)
    return Item(
        pixels=torch.stack(list(clips)),
        labels=(),
        seconds_covered=seconds_covered(reader.timestamps, plans),
        frame_numbers=numbers.repeat(len(crops), 1),
        notes=tuple(notes),
    )


def read_crops(
    reader: Reader, plans: Sequence[ClipPlan], geometry: Geometry, *, may_round: bool
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """The spatial crops of the distinct frames of all plans, each decoded once, and each plan's rows among them."""
    wanted = sorted({index for plan in plans for index in plan.indices})
    row_of = {index: row for row, index in enumerate(wanted)}
    rows = [torch.tensor([row_of[index] for index in plan.indices]) for plan in plans]
    if isinstance(reader, VideoReader):
        window, geometry = reading_window(geometry, may_round=may_round)
        return crop_frames(reader.frames_at(wanted, window).pixels, geometry), rows
    at_once = max(1, _SOURCE_BYTES // (3 * reader.height * reader.width))
    resized = [
        resize_frames(reader.frames_at(wanted[start : start + at_once]).pixels, geometry)
        for start in range(0, len(wanted), at_once)
    ]
    return crop_frames(resized[0] if len(resized) == 1 else torch.cat(resized), geometry), rows


def _mirrored_labels(manifest: Manifest, augment: AugmentConfig) -> tuple[dict[int, int], ...]:
    """For each head, the class index of a mirrored clip where it differs."""
    known = [name for names in manifest.class_names.values() for name in names]
    for name in augment.flip_label_map:
        if name not in known:
            raise ConfigError(f"flip_label_map names '{name}', which is no class{nearest(name, known)}")
    return tuple(
        {names.index(a): names.index(b) for a, b in augment.flip_label_map.items() if a in names and b in names}
        for names in manifest.class_names.values()
    )

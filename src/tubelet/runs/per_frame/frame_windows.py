"""Training windows of frames, for a backbone that is trained with its head; the films are read anew for each of them.

C  channels   T  frames of a window: its steps, and the frames of each   H W  pixels of the crop
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.frame_sampling import ClipPlan
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.pixel_augmentation import augment_pixels, draw_pixel_augmentation
from tubelet.data.clips.resize_crop import random_geometry
from tubelet.data.loading.dataset import Item
from tubelet.data.loading.read_views import read_crops
from tubelet.data.manifest.failure_budget import UNREADABLE, FailureBudget
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.sources.open_source import naming_file, open_source
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.errors import DataError
from tubelet.inference.moments.end_to_end import BEHIND_THE_END
from tubelet.inference.moments.features import StepFeatures, StepGrid
from tubelet.runs.per_frame.evaluate import Vectors
from tubelet.runs.per_frame.films import TrainingFilm, all_vectors
from tubelet.runs.per_frame.windows import WindowDataset
from tubelet.session.session import Session
from tubelet.tasks.per_frame.config import PerFrameConfig

_PIXELS = 1  # keys the draws of a window that are not its start


class FrameWindows(WindowDataset):
    """A map-style dataset of windows of frames, as ``WindowDataset`` has windows of features.

    A window of a film that is shorter repeats the last frame, whose steps are not labeled and have the number
    ``BEHIND_THE_END``.
    """

    item_dtype = torch.uint8

    def __init__(
        self,
        films: Sequence[TrainingFilm],
        config: PerFrameConfig,
        extractor: StepFeatures,
        augment: AugmentConfig,
        indices: IndexStore,
        seed: int,
    ) -> None:
        super().__init__(films, config, replace(extractor.protocol, num_spatial_crops=1), extractor.width, seed)
        self.augment, self.indices = augment, indices
        self.num_frames = config.window_steps * extractor.frames_per_step

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.pixels``: (C, T, H, W)."""
        return self.protocol.num_channels, self.num_frames, *self.protocol.crop_size

    @property
    def numbers_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.frame_numbers``: (T,)."""
        return (self.num_frames,)

    def read(self, index: int, epoch: int = 0) -> Item:
        """The frames and targets of one window. Raises DataError."""
        film, start = self.drawn(index, epoch)
        assert film.samples is not None  # the films of such a dataset are read anew
        wanted = np.arange(start, start + self.config.window_steps)
        steps = np.minimum(wanted, film.clock.num_steps - 1)
        frames = film.samples[steps]  # S t
        numbers = np.where((wanted > steps)[:, None], BEHIND_THE_END, frames - frames.min()).reshape(-1)
        rng = keyed_generator(self.seed, epoch, index % len(self), _PIXELS)
        with (
            naming_file(film.file, str(film.file)),
            open_source(film.file, film.sample.entry, self.protocol, film.sample.fps, self.indices) as reader,
        ):
            geometry = random_geometry(reader.height, reader.width, self.protocol, self.augment, rng)
            plan = ClipPlan(indices=tuple(frames.reshape(-1).tolist()), seconds_covered=0.0)
            (pixels,), (rows,) = read_crops(reader, [plan], geometry, may_round=self.augment.crop == "random")
        clip = augment_pixels(pixels[rows], draw_pixel_augmentation(self.augment, self.protocol, rng))
        return Item(
            pixels=clip.transpose(0, 1).contiguous(),
            labels=self.targets(film, start),
            seconds_covered=self.seconds(film, start),
            frame_numbers=torch.from_numpy(numbers),
        )


def read_grids(
    manifest: Manifest, extractor: StepFeatures, run: Path, budget: float, session: Session
) -> dict[str, StepGrid]:
    """The steps of every film that can be opened, by its path.

    Raises:
        DataError: more films cannot be opened than the budget allows.
    """
    indices = IndexStore.beside(manifest.root, manifest.folder)
    failures = FailureBudget(manifest, budget, "films", file=run / UNREADABLE)
    grids: dict[str, StepGrid] = {}
    for row, sample in enumerate(manifest.samples):
        session.advance(row, len(manifest), f"opening {sample.path}")
        session.signals.check()
        path = manifest.path_of(sample)
        try:
            with (
                naming_file(path, str(path)),
                open_source(path, sample.entry, extractor.protocol, sample.fps, indices) as reader,
            ):
                grids[sample.path] = extractor.grid(np.array(reader.timestamps, dtype=np.float64))
        except DataError as error:
            for line in failures.add({row: str(error)}).values():
                session.progress.note(f"not used: {line}")
            failures.check()
    session.advance(len(manifest), len(manifest), "opening films")
    return grids


def vectors_read_anew(extractor: StepFeatures, indices: IndexStore, session: Session) -> Vectors:
    """What gives the features of all steps of a film by the weights as they are now."""
    return partial(_vectors, extractor=extractor, indices=indices, session=session)


def _vectors(
    film: TrainingFilm, extractor: StepFeatures, indices: IndexStore, session: Session
) -> Float[Tensor, "S D"]:
    assert film.samples is not None  # it is read anew
    with (
        naming_file(film.file, str(film.file)),
        open_source(film.file, film.sample.entry, extractor.protocol, film.sample.fps, indices) as reader,
    ):
        return all_vectors(extractor, reader, StepGrid(samples=film.samples, clock=film.clock), session)

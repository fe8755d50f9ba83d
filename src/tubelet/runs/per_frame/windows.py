"""Training windows of stored features: each row is a window of a film's steps, begun anew for each epoch.

T  steps of a window   D  width of a feature
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.loading.dataset import DatasetMode, Item
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.inference.moments.blend import window_starts
from tubelet.protocol import Protocol
from tubelet.runs.per_frame.films import TrainingFilm
from tubelet.tasks.per_frame.config import PerFrameConfig
from tubelet.tasks.per_frame.targets import UNLABELED


class WindowDataset:
    """A map-style dataset of windows; it follows ``tubelet.data.loading.dataset.Dataset``.

    A window of a film that is shorter has zeros behind the film's end, where no step is labeled. With ``jitter`` the
    start of a window is drawn within half a hop of its place, keyed by (seed, epoch, row).
    """

    item_dtype = torch.float32
    mode: DatasetMode = "train"

    def __init__(
        self, films: Sequence[TrainingFilm], config: PerFrameConfig, protocol: Protocol, width: int, seed: int
    ) -> None:
        self.films = {film.sample.path: film for film in films}  # copies of a film share the file of its features
        self.config, self.protocol, self.width, self.seed = config, protocol, width, seed
        self.augment = AugmentConfig(crop="center")
        rows = [
            Sample(path=film.sample.path, labels=(), split="train", start_frame=start, group=film.sample.path)
            for film in films
            for start in window_starts(film.clock.num_steps, config.window_steps, config.hop_steps)
        ]
        self.manifest = Manifest(root=Path(), samples=rows, class_names={"label": ()}, layout="windows of steps")

    def __len__(self) -> int:
        return len(self.manifest)

    def with_samples(self, samples: Sequence[Sample]) -> WindowDataset:
        """As ``Dataset.with_samples``."""
        other = copy.copy(self)
        other.manifest = self.manifest.with_samples(samples)
        return other

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.pixels``: (T, D)."""
        return self.config.window_steps, self.width

    @property
    def numbers_shape(self) -> tuple[int, ...]:
        """Shape of ``Item.frame_numbers``: (T,)."""
        return (self.config.window_steps,)

    def name(self, index: int) -> str:
        """The film of a window, as messages name it."""
        return self.films[self.manifest.samples[index % len(self)].path].sample.path

    def read(self, index: int, epoch: int = 0) -> Item:
        """The features and targets of one window. Raises DataError."""
        film, start = self.drawn(index, epoch)
        length = self.config.window_steps
        vectors = film.vectors(start, start + length)
        return Item(
            pixels=F.pad(vectors, (0, 0, 0, length - len(vectors))),
            labels=self.targets(film, start),
            seconds_covered=self.seconds(film, start),
            frame_numbers=torch.arange(length),
        )

    def drawn(self, index: int, epoch: int) -> tuple[TrainingFilm, int]:
        """The film of a window, and its first step in this epoch."""
        row = index % len(self)
        sample = self.manifest.samples[row]
        film, start = self.films[sample.path], sample.start_frame or 0
        if self.config.jitter:
            half = self.config.hop_steps // 2
            start += int(keyed_generator(self.seed, epoch, row).integers(-half, half + 1))
            start = min(max(0, start), max(0, film.clock.num_steps - self.config.window_steps))
        return film, start

    def targets(self, film: TrainingFilm, start: int) -> tuple[int, ...]:
        """The targets of a window from this step on."""
        codes = film.codes[start : start + self.config.window_steps].tolist()
        return (*codes, *([UNLABELED] * (self.config.window_steps - len(codes))))

    def seconds(self, film: TrainingFilm, start: int) -> float:
        """How much of the film a window covers."""
        stop = min(film.clock.num_steps, start + self.config.window_steps)
        return float(film.clock.edges[stop] - film.clock.edges[start])

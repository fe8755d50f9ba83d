"""Films with the same content share the file of their features, and have labels of their own all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tubelet.data.features.store import VideoFeatures, write_features
from tubelet.data.manifest.sample import Sample
from tubelet.protocol import Protocol
from tubelet.runs.per_frame.films import TrainingFilm
from tubelet.runs.per_frame.windows import WindowDataset
from tubelet.tasks.per_frame.config import PerFrameConfig
from tubelet.tasks.per_frame.targets import FilmClock


def test_copies_of_a_film_keep_their_own_labels(tmp_path: Path) -> None:
    file, times = tmp_path / "film.safetensors", np.arange(4) / 25
    numbers = np.arange(4)
    write_features(
        file, VideoFeatures(vectors=torch.ones(4, 2), frame_numbers=numbers, timestamps=times, is_video=True)
    )
    clock = FilmClock(timestamps=times, duration_seconds=4 / 25, first_frames=numbers)
    films = [
        TrainingFilm(
            sample=Sample(path=path, labels=(), split="train"),
            file=file,
            clock=clock,
            codes=np.full(4, code),
            truth={},
            others=(),
        )
        for path, code in (("day1/film.mp4", 1), ("day2/film.mp4", 2))
    ]
    dataset = WindowDataset(films, PerFrameConfig(window_steps=4, overlap=0.5), Protocol(), 2, seed=0)
    assert [dataset.read(row).labels for row in range(len(dataset))] == [(1, 1, 1, 1), (2, 2, 2, 2)]
    assert [dataset.name(row) for row in range(len(dataset))] == ["day1/film.mp4", "day2/film.mp4"]

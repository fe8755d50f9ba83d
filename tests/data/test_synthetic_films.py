"""Generated films: the same draws give the same films, and their labels are exact at the times of their frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.synthetic_films import BEHAVIORS, _active, make_film, write_films
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.tasks.per_frame.targets import FilmClock, step_targets


def test_labels_that_are_read_back_are_the_frames_that_were_drawn(tmp_path: Path) -> None:
    labels = read_bouts(write_films(tmp_path, {"train": 1}, seconds=(8.0, 8.0), size_pixels=32, seed=14))
    film = make_film(_rng("train", 14), 8.0, 32)
    with VideoReader(tmp_path / "train-00.mp4") as reader:
        times = np.array(reader.timestamps)
        assert np.allclose(1000 * times, film.milliseconds, atol=0.01)
        shown = reader.frames_at([len(times) // 2]).pixels[0].permute(1, 2, 0).numpy()
    assert np.abs(shown.astype(int) - film.frames[len(times) // 2]).mean() < 6
    assert np.diff(times).std() > 0.01
    clock = FilmClock(timestamps=times, duration_seconds=times[-1] + 0.04, first_frames=np.arange(len(times)))
    spans: dict[str, list[tuple[float, float]]] = {}
    for bout in labels.films[0].bouts:
        spans.setdefault(bout.label, []).append(clock.span(bout))
    names = tuple(BEHAVIORS)
    codes = step_targets(spans, names, clock.edges, one=False)
    for place, name in enumerate(names):
        assert np.array_equal((codes >> place) & 1, film.active[name])


def _rng(split: str, seed: int) -> np.random.Generator:
    """As ``write_films`` draws, behind the length of the film."""
    rng = np.random.default_rng([seed, sum(split.encode()), 0])
    rng.uniform(8.0, 8.0)
    return rng


def test_lengths_of_bouts_are_those_that_were_published() -> None:

    times = np.arange(0, 4000, 0.04)
    for behavior in BEHAVIORS.values():
        shown = _active(np.random.default_rng(0), behavior, times, 1.0)
        edges = np.flatnonzero(np.diff(np.r_[False, shown, False])).reshape(-1, 2)
        lengths = (edges[:, 1] - edges[:, 0]) * 0.04
        assert np.median(lengths) == pytest.approx(behavior.median_seconds, rel=0.25)
        assert np.quantile(lengths, 0.05) == pytest.approx(behavior.short_seconds, abs=0.15)


def test_a_film_of_no_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least a second"):
        write_films(tmp_path, {"train": 1}, seconds=(0.5, 2.0))
    assert not list(tmp_path.iterdir())

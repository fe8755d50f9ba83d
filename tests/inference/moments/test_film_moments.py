"""Scores of films: a stretch has what the whole film has, whichever windows, features and parts they come from."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tubelet
from support import rows_of, tiny_model
from tubelet.data.video.reader import VideoReader
from tubelet.errors import CheckpointError, DataError
from tubelet.inference.moments.blend import blend, starts_within, window_starts
from tubelet.inference.moments.features import StepFeatures
from tubelet.inference.moments.film import FilmMoments, MomentsModel, load_moments
from tubelet.inference.moments.film_scores import step_probs, steps_needed
from tubelet.inference.moments.frame_tables import CSV, PARQUET, write_frames
from tubelet.inference.moments.head_file import HeadRecord
from tubelet.protocol import Protocol
from tubelet.tasks.per_frame.targets import FilmClock
from tubelet.types import FrameFeatures
from tubelet.weights.checkpoint.checkpoint import Record

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def film(film_labels: Path) -> Path:
    return film_labels.parent / "test-00.mp4"


def test_windows_lie_on_multiples_of_the_hop_and_one_ends_with_the_film() -> None:
    assert window_starts(10, 4, 2) == [0, 2, 4, 6]
    assert window_starts(11, 4, 2) == [0, 2, 4, 6, 7]
    assert window_starts(3, 4, 2) == [0]
    assert window_starts(10, 4, 2, shift=1) == [0, 1, 3, 5, 6]
    assert starts_within([0, 2, 4, 6], 4, 5, 6) == [2, 4]


@pytest.mark.parametrize(("first", "stop"), [(0, 23), (3, 4), (7, 20), (0, 1), (22, 23)])
def test_a_blended_stretch_is_a_part_of_the_whole(first: int, stop: int) -> None:
    starts = window_starts(23, 6, 3)
    values = {start: torch.randn(6, 3, generator=torch.Generator().manual_seed(start)) for start in starts}
    whole = torch.cat(list(blend(values.items(), 0, 23)))
    part = torch.cat(list(blend([(s, values[s]) for s in starts_within(values, 6, first, stop)], first, stop)))
    assert torch.equal(part, whole[first:stop])


def test_what_every_window_says_alike_stays_as_it_is() -> None:
    steps = torch.arange(20.0)[:, None]
    windows = [(start, steps[start : start + 6]) for start in window_starts(20, 6, 2)]
    assert torch.allclose(torch.cat(list(blend(windows, 0, 20))), steps, atol=1e-5)


def protocol(**fields: object) -> Protocol:
    sampling: dict[str, object] = {"num_frames": 8, "frame_stride": None, "target_fps": 10.0, **fields}
    return Protocol(resize_short_side=20, crop_size=(16, 16), num_temporal_views=1, num_spatial_crops=1, **sampling)  # type: ignore[arg-type]


def moments_model(kind: str, **fields: object) -> MomentsModel:
    model, config = tiny_model(num_frames=8)
    record = Record(model_name="vivit_ti16x2_fe", model_config=config, protocol=protocol(**fields))
    width = StepFeatures(model, record.protocol, CPU, kind=kind).width  # type: ignore[arg-type]
    head_record = HeadRecord(
        labels=("a", "b"), one=False, head="conv", in_dim=width, hidden_dim=8, num_layers=3,
        features=kind, window_steps=12, hop_steps=5,  # type: ignore[arg-type]
    )  # fmt: skip
    torch.manual_seed(0)
    return MomentsModel(model, record, head_record.make(), head_record, CPU)


@pytest.mark.parametrize("kind", ["frames", "tokens"])
@pytest.mark.parametrize("fields", [{}, {"frame_stride": 3, "target_fps": None}])
def test_a_stretch_of_a_film_has_the_scores_of_the_whole_film(kind: str, fields: dict[str, object], film: Path) -> None:
    model = moments_model(kind, **fields)
    whole = model.moments(film)
    assert whole.probs.std(axis=0).min() > 1e-4
    for start, end in ((None, 1.0), (1.3, 2.1), (2.0, None), (0.5, 0.55)):
        part = model.moments(film, start_seconds=start, end_seconds=end)
        same = whole.probs[part.first_step : part.first_step + len(part.probs)]
        assert np.abs(part.probs - same).max() < 1e-5
        assert part.edges[0] <= (start or 0) + 1e-6
        assert part.edges[-1] >= (end or 0)


def test_features_do_not_depend_on_where_reading_began(film: Path) -> None:
    model, _ = tiny_model(num_frames=8)
    for kind in ("frames", "tokens"):
        features = StepFeatures(model, protocol(), CPU, kind=kind)
        with VideoReader(film) as reader:
            grid = features.grid(np.array(reader.timestamps))
            whole = torch.cat(list(features.vectors(reader, grid, 0, grid.clock.num_steps)))
            part = torch.cat(list(features.vectors(reader, grid, 7, 15)))
        assert torch.allclose(part, whole[7:15], atol=1e-5)
        assert whole.std(0).max() > 1e-4


def test_steps_begin_at_presentation_times_of_variable_rate(film: Path) -> None:
    model, _ = tiny_model(num_frames=8)
    with VideoReader(film) as reader:
        times = np.array(reader.timestamps)
    assert np.diff(times).std() > 0.01
    clock = StepFeatures(model, protocol(frame_stride=1, target_fps=None), CPU, kind="frames").grid(times).clock
    assert np.array_equal(clock.edges[:-1], times[::2])  # tubelets of two frames
    even = StepFeatures(model, protocol(), CPU, kind="frames").grid(times).clock
    assert set(even.edges[:-1]) <= set(times)
    wanted = np.arange(even.num_steps) * 0.2  # two samples at 10 per second
    assert np.all((even.edges[:-1] <= wanted + 1e-6) & (wanted - even.edges[:-1] < np.diff(times).max() + 1e-6))


def test_long_films_hold_no_more_features_than_a_window_needs() -> None:
    record = HeadRecord(
        labels=("a",), one=False, head="linear", in_dim=4, hidden_dim=1, num_layers=0,
        features="frames", window_steps=16, hop_steps=8,
    )  # fmt: skip
    head, seen, read = record.make().eval(), [], [0]

    def features() -> object:
        for _ in range(100):
            read[0] += 10
            yield torch.randn(10, 4)

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: FrameFeatures) -> torch.Tensor:
            seen.append(read[0])
            result: torch.Tensor = head(x)
            return result

    probs = step_probs(Watched(), record, features(), 1000)  # type: ignore[arg-type]
    assert len(probs) == 1000
    assert all(done - 8 * place <= 16 + 10 for place, done in enumerate(seen))  # each window as soon as it can be


def test_the_steps_that_a_stretch_needs_are_few() -> None:
    record = HeadRecord(
        labels=("a",), one=False, head="linear", in_dim=4, hidden_dim=1, num_layers=0,
        features="frames", window_steps=16, hop_steps=8,
    )  # fmt: skip
    assert steps_needed(1000, record, 100, 101) == (88, 112)


def test_a_classifier_from_a_folder_finds_moments_and_others_say_why_not(
    film_run: Path, film: Path, checkpoint: Path
) -> None:
    found = tubelet.load(film_run / "best", "cpu").moments(film)
    again = load_moments(film_run, "cpu").moments(film)
    assert np.array_equal(found.probs, again.probs)
    numbers, probs = found.frames
    assert len(numbers) == len(probs) == len(found.clock.timestamps)
    assert found.table.columns[0] == "start_seconds"
    assert {row["label"] for row in found.summary} == {"grow", "pulse", "run", "spin"}
    with pytest.raises(CheckpointError, match="no per-frame head here"):
        tubelet.load(checkpoint, "cpu").moments(film)


def test_an_empty_stretch_is_refused(film_run: Path, film: Path) -> None:
    with pytest.raises(DataError, match=r"the stretch from 90 to .* s is empty"):
        load_moments(film_run, "cpu").moments(film, start_seconds=90.0)


def test_a_behavior_that_is_called_as_a_column_of_the_tables_has_a_column_of_its_own(tmp_path: Path) -> None:
    clock = FilmClock(timestamps=np.arange(2.0), duration_seconds=2.0, first_frames=np.arange(2))
    labels = ("frame", "run", "seconds", "behavior seconds")
    probs = np.arange(8, dtype=np.float32).reshape(2, 4) / 8
    write_frames(
        tmp_path,
        FilmMoments(source="a.mp4", labels=labels, clock=clock, first_step=0, probs=probs, bouts=(), scores=()),
    )
    first, _ = rows_of(tmp_path / CSV)
    names = ["frame", "seconds", "behavior frame", "run", "behavior behavior seconds", "behavior seconds"]
    assert list(first) == names
    assert [float(first[name]) for name in names[2:]] == probs[0].tolist()
    if find_spec("pyarrow") is not None:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        assert parquet.read_table(tmp_path / PARQUET).column_names == names

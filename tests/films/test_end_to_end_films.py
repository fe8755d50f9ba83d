"""Backbone and head trained together on windows of frames: the same checkpoint, scores and resume as on features."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from film_runs import COUNTS, film_recipe
from support import Notes, rows_of, tiny_model
from tubelet.data.clips.normalize import normalize
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError, Stopped
from tubelet.inference.moments.end_to_end import PerFrameModel
from tubelet.inference.moments.features import StepFeatures
from tubelet.inference.moments.film import load_moments
from tubelet.inference.moments.head_file import HeadRecord, read_head
from tubelet.protocol import Protocol
from tubelet.runs.data import read_run_data
from tubelet.runs.per_frame.frame_windows import FrameWindows, read_grids
from tubelet.runs.per_frame.run import _Data, _extractor
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.types import FrameFeatures
from tubelet.weights.open_checkpoint import open_checkpoint

CPU = torch.device("cpu")
FIELDS: dict[str, Any] = {"per_frame.train_backbone": True, "training.num_epochs": 1, "training.batch_size": 4}
JOINT: dict[str, Any] = {
    "model": {"name": "vivit_ti16x2_joint", "tubelet_size": [2, 16, 16], "embed_dim": 16, "depth": 1, "num_heads": 2}
}


@pytest.fixture(scope="module")
def run(film_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("end_to_end") / "run"
    recipe = film_recipe(film_labels, **FIELDS, **{"augment": {"crop": "center", "flip_probability": 0.5}})
    run_recipe(recipe, folder, Session())
    return folder


def test_backbone_and_head_train_and_leave_the_checkpoint_that_films_are_scored_with(run: Path) -> None:
    first, _ = open_checkpoint(run / "backbone")
    best, record = open_checkpoint(run / "best")
    changed = {n for n, p in best.state_dict().items() if not torch.equal(p, first.state_dict()[n])}
    assert {name for name in changed if name.startswith("spatial")}
    assert record.provenance["recipe"]["per_frame"]["train_backbone"]
    assert not (run / "features").exists()
    metrics = json.loads((run / "evaluation/test/metrics.json").read_text())
    assert metrics["num_videos"] == COUNTS["test"]
    assert metrics["shift_change"] > 0
    assert rows_of(run / "log.csv")


def test_figures_of_the_run_are_those_of_the_films_by_its_checkpoint(run: Path, film_labels: Path) -> None:
    model = load_moments(run, "cpu")
    found = [row for row in rows_of(run / "evaluation/test/bouts.csv") if row["observer"] == "model"]
    for name in ("test-00.mp4", "test-01.mp4"):
        moments = model.moments(film_labels.parent / name)
        wanted = [(row["start"], row["stop"], row["label"]) for row in found if row["path"] == name]
        assert sorted(wanted) == sorted((f"{b.start:.6f}", f"{b.stop:.6f}", b.label) for b in moments.bouts)


class Told(Notes):
    """Remembers how far work was."""

    def __init__(self) -> None:
        super().__init__()
        self.advanced: list[tuple[int, int]] = []

    def advance(self, done: int, total: int, text: str = "") -> None:
        self.advanced.append((done, total))


class Stops(Notes):
    """Asks the run to stop after its first step."""

    session: Session

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        object.__setattr__(self.session.signals, "requested", 15)


def test_a_stopped_run_of_a_joint_model_goes_on_to_the_same_bits_and_stretches_have_its_scores(
    film_labels: Path, tmp_path: Path
) -> None:
    recipe = film_recipe(film_labels, **FIELDS, **JOINT, **{"training.checkpoint_every_steps": 1})
    run_recipe(recipe, tmp_path / "whole", Session())
    notes = Stops()
    notes.session = dataclasses.replace(Session(), progress=notes)
    with pytest.raises(Stopped):
        run_recipe(recipe, tmp_path / "run", notes.session)
    run_recipe(recipe, tmp_path / "run", Session())
    for read in (lambda path: open_checkpoint(path)[0], lambda path: read_head(path)[0]):
        whole, again = (read(tmp_path / name / "best").state_dict() for name in ("whole", "run"))
        assert all(torch.equal(a, b) for a, b in zip(whole.values(), again.values(), strict=True))
    model = load_moments(tmp_path / "run", "cpu")
    assert model.head_record.features == "tokens"
    film = film_labels.parent / "test-00.mp4"
    all_of_it = model.moments(film)
    part = model.moments(film, start_seconds=1.3, end_seconds=2.9)
    same = all_of_it.probs[part.first_step : part.first_step + len(part.probs)]
    assert np.abs(part.probs - same).max() < 1e-5


@pytest.mark.parametrize("kind", ["frames", "tokens"])
def test_a_whole_film_in_one_window_has_the_logits_of_its_features(kind: Any, film_labels: Path) -> None:
    backbone, _ = tiny_model(num_frames=8)
    protocol = Protocol(
        num_frames=8, frame_stride=None, target_fps=10.0, resize_short_side=20, crop_size=(16, 16),
        num_temporal_views=1, num_spatial_crops=1,
    )  # fmt: skip
    features = StepFeatures(backbone.eval(), protocol, CPU, kind=kind)
    film = film_labels.parent / "test-00.mp4"
    with VideoReader(film) as reader:
        grid = features.grid(np.array(reader.timestamps))
        count = grid.clock.num_steps
        vectors = torch.cat(list(features.vectors(reader, grid, 0, count)))
        pixels = features._read(reader, grid.samples.reshape(-1))
    record = HeadRecord(
        labels=("a", "b"), one=False, head="conv", in_dim=features.width, hidden_dim=8, num_layers=2,
        features=kind, window_steps=count, hop_steps=count,
    )  # fmt: skip
    torch.manual_seed(0)
    head = record.make().eval()
    model = PerFrameModel(backbone, head, features, count).eval()
    with torch.inference_mode():
        wanted = head(FrameFeatures(vectors=vectors[None]))
        clip = normalize(pixels, protocol)[None]
        assert torch.allclose(model(clip), wanted, atol=1e-4)
        short = torch.cat([clip, clip[:, :, -2 * features.frames_per_step :]], dim=2)  # two steps behind the end
        numbers = torch.arange(short.shape[2])[None].clone()
        numbers[:, clip.shape[2] :] = -1
        both = torch.cat([short, short]), torch.cat([numbers, torch.arange(short.shape[2])[None]])
        assert torch.allclose(model(*both)[:1, :count], wanted, atol=1e-4)  # beside a window that its film fills


def test_windows_read_the_frames_of_their_steps_the_same_in_every_reading(film_labels: Path, run: Path) -> None:
    recipe = film_recipe(film_labels, **FIELDS)
    extractor = _extractor(recipe, run / "best", Session())
    manifest = read_run_data(recipe, None)
    told = Told()
    grids = read_grids(manifest, extractor, run, 0.0, dataclasses.replace(Session(), progress=told))
    assert set(grids) == {s.path for s in manifest.samples}
    assert told.advanced[-1] == (len(grids), len(grids))  # its progress ends
    data = _Data.read(recipe, manifest, read_bouts(film_labels), extractor, run, Session())
    config = recipe.per_frame
    assert config is not None
    windows = FrameWindows(data.films["train"], config, extractor, recipe.augment, IndexStore.beside(manifest.root), 0)
    item, again, later = windows.read(1, 0), windows.read(1, 0), windows.read(1, 1)
    assert torch.equal(item.pixels, again.pixels)
    assert item.labels == again.labels
    assert not torch.equal(item.pixels, later.pixels)  # another start
    film, start = windows.drawn(1, 0)
    assert film.samples is not None
    with VideoReader(film.file) as reader:
        frame = extractor._read(reader, film.samples[start])
    assert torch.equal(item.pixels[:, :1], frame)
    assert item.labels[:5] == tuple(film.codes[start : start + 5])


def test_an_unreadable_film_is_counted_and_a_window_shorter_than_a_clip_is_refused(
    film_labels: Path, tmp_path: Path
) -> None:
    films = tmp_path / "films"
    shutil.copytree(film_labels.parent, films)
    (films / "test-01.mp4").write_bytes(b"no video")
    result = run_recipe(film_recipe(films / "labels.csv", **FIELDS), tmp_path / "run", Session())
    assert len(result.evaluation.failed) == 1
    short = film_recipe(film_labels, **FIELDS, **JOINT, **{"per_frame.window_steps": 2})
    with pytest.raises(ConfigError, match="window_steps=2 is less than the 4 steps of a clip"):
        run_recipe(short, tmp_path / "short", Session())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"augment": {"mix": {"mixup": 0.2}}}, r"augment.mix: has no effect with per_frame, which trains windows"),
        ({"augment": {"repeats": 2}}, "augment.repeats"),
        ({"per_frame.feature_folder": "store"}, "feature_folder: has no effect with train_backbone"),
    ],
)
def test_what_end_to_end_training_would_ignore_is_refused(fields: dict[str, Any], says: str, film_labels: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        film_recipe(film_labels, **FIELDS, **fields)

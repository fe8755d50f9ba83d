"""A run of the task per_frame: from labels of films to a checkpoint, resumed to the bit, with figures over films."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from film_runs import film_recipe
from support import Notes, rows_of
from tubelet.data.features.store import FeatureFile
from tubelet.data.video.reader import VideoReader
from tubelet.errors import ConfigError, DataError, Stopped
from tubelet.inference.moments.head_file import read_head
from tubelet.report.run_report import write_run_report
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.weights.open_checkpoint import open_checkpoint


def test_a_run_leaves_figures_with_intervals_bouts_and_rules_of_validation_films(film_run: Path) -> None:
    metrics = json.loads((film_run / "evaluation/test/metrics.json").read_text())
    assert metrics["num_videos"] == 2
    assert metrics["labels"] == ["grow", "pulse", "run", "spin"]
    assert 0 <= metrics["frame_mean_average_precision"] <= 1
    assert metrics["shift_change"] is not None
    bouts = rows_of(film_run / "evaluation/test/bouts.csv")
    assert {row["observer"] for row in bouts} >= {"labels"}
    _, record = read_head(film_run / "best")
    assert record.num_rule_films == 1
    assert len(record.rules) == 4
    log = rows_of(film_run / "log.csv")
    assert all(float(row["grad_norm"]) > 0 for row in log)
    assert "frame_mean_average_precision" in rows_of(film_run / "validation.csv")[0]


def test_the_checkpoint_stays_one_of_the_backbone_without_classes(film_run: Path) -> None:
    _, record = open_checkpoint(film_run / "best")
    assert record.labels == ()
    assert record.model_name == "vivit_ti16x2_fe"


def test_the_report_of_runs_shows_it(film_run: Path, tmp_path: Path) -> None:
    page = write_run_report(tmp_path / "report.html", [film_run], title="films", command="x").read_text()
    for word in ("frame mAP", "bout F1@0.5", "boundary error (s)", "spin", "2 films"):
        assert word in page


class Stops(Notes):
    """Asks the run to stop after so many steps."""

    def __init__(self, session: Session, after: int) -> None:
        super().__init__()
        self.session, self.after = session, after

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        if step >= self.after:
            object.__setattr__(self.session.signals, "requested", 15)


def test_a_stopped_run_goes_on_to_the_same_bits(film_labels: Path, film_run: Path, tmp_path: Path) -> None:
    recipe, run = film_recipe(film_labels), tmp_path / "run"
    session = Session()
    session = dataclasses.replace(session, progress=Stops(session, 1))
    object.__setattr__(session.progress, "session", session)
    with pytest.raises(Stopped):
        run_recipe(recipe, run, session)
    assert not (run / "evaluation").exists()
    run_recipe(recipe, run, Session())
    whole, _ = read_head(film_run / "best")
    again, _ = read_head(run / "best")
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_features_are_computed_once_and_shared(film_labels: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"per_frame.feature_folder": str(tmp_path / "store"), "training.num_epochs": 1}
    run_recipe(film_recipe(film_labels, **fields), tmp_path / "a", Session())
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.safetensors")}
    assert len(files) == 5
    run_recipe(film_recipe(film_labels, **fields, **{"optim.lr": 0.01}), tmp_path / "b", Session())
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.safetensors")} == files


@pytest.mark.parametrize(
    "fields", [{"per_frame.labels": "one"}, {"per_frame.features": "tokens"}, {"per_frame.head": "linear"}]
)
def test_exclusive_behaviors_pooled_tokens_and_a_linear_head_train_too(
    fields: dict[str, Any], film_labels: Path, tmp_path: Path
) -> None:
    result = run_recipe(film_recipe(film_labels, **fields, **{"training.num_epochs": 1}), tmp_path / "run", Session())
    assert result.evaluation.metrics["num_videos"] == 2


def test_an_unreadable_film_is_counted_and_named(film_labels: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    shutil.copytree(film_labels.parent, films)
    (films / "test-01.mp4").write_bytes(b"no video")
    notes = Notes()
    result = run_recipe(
        film_recipe(films / "labels.csv", **{"training.num_epochs": 1}),
        tmp_path / "run",
        dataclasses.replace(Session(), progress=notes),
    )
    assert result.evaluation.num_videos == 1
    assert any("not used" in line and "test-01.mp4" in line for line in notes.notes)
    assert len(result.evaluation.failed) == 1


def test_changed_bouts_end_a_run_that_would_go_on(film_labels: Path, film_run: Path, tmp_path: Path) -> None:
    films, run = tmp_path / "films", tmp_path / "run"
    shutil.copytree(film_labels.parent, films)
    recipe = film_recipe(films / "labels.csv", **{"training.num_epochs": 1})
    run_recipe(recipe, run, Session())
    header, row, *rows = (films / "labels.csv").read_text().splitlines()
    path, start, stop, *rest = row.split(",")
    moved = ",".join([path, start, f"{float(stop) + 0.1:.3f}", *rest])
    (films / "labels.csv").write_text("\n".join([header, moved, *rows]) + "\n")
    with pytest.raises(DataError, match=r"the bouts changed since the run began"):
        run_recipe(recipe, run, Session())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"data.manifest.layout": "csv"}, "set data.manifest.layout=bouts"),
        ({"augment.flip_probability": 0.5}, "augment: has no effect with per_frame"),
        ({"freeze": ["tokenizer"]}, "freeze: has no effect with per_frame"),
        ({"per_frame.overlap": 1.0}, r"overlap must lie in \[0, 1\)"),
        ({"per_frame.window_stepz": 3}, "did you mean 'window_steps'"),
    ],
)
def test_what_would_have_no_effect_is_refused(fields: dict[str, Any], says: str, film_labels: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        film_recipe(film_labels, **fields)


def test_an_observer_whom_nobody_knows_is_refused(film_labels: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nobody is called 'Ada'"):
        run_recipe(film_recipe(film_labels, **{"per_frame.observer": "Ada"}), tmp_path / "run", Session())


def test_a_group_in_several_splits_is_refused(film_labels: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    shutil.copytree(film_labels.parent, films)
    header, *rows = (films / "labels.csv").read_text().splitlines()
    (films / "labels.csv").write_text("\n".join([f"{header},group", *(f"{row},one mouse" for row in rows)]) + "\n")
    with pytest.raises(DataError, match=r"1 of 1 groups lie in several of the splits .* one mouse; give the films"):
        run_recipe(film_recipe(films / "labels.csv"), tmp_path / "run", Session())
    assert not (tmp_path / "run").exists()


def test_a_shared_feature_folder_tells_films_apart_by_their_content(film_labels: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"per_frame.feature_folder": str(tmp_path / "store"), "training.num_epochs": 1}
    recipe, run = film_recipe(tmp_path / "films/labels.csv", **fields), tmp_path / "run"
    shutil.copytree(film_labels.parent, tmp_path / "films")
    run_recipe(recipe, run, Session())
    films = tmp_path / "films"
    shutil.copytree(films, tmp_path / "again", copy_function=shutil.copyfile)  # other times, the same content
    run_recipe(film_recipe(tmp_path / "again/labels.csv", **fields), tmp_path / "copy", Session())
    before = set((tmp_path / "store").rglob("*.safetensors"))
    assert len(before) == 5
    (films / "test-00.mp4").replace(films / "test-01.mp4")  # another film under the same name
    kept = [line for line in (films / "labels.csv").read_text().splitlines() if not line.startswith("test-0")]
    (films / "labels.csv").write_text("\n".join([*kept, "test-01.mp4,0.5,1.5,spin,test", ""]))
    run_recipe(recipe, tmp_path / "other", Session())
    (new,) = set((tmp_path / "store").rglob("*.safetensors")) - before
    with VideoReader(films / "test-01.mp4") as reader, FeatureFile(new) as features:
        assert features.timestamps.tolist() == list(reader.timestamps)


def test_a_matrix_of_another_number_of_frames_is_refused_with_both_counts(film_labels: Path, tmp_path: Path) -> None:
    for name in ("test-00", "train-00"):
        shutil.copy(film_labels.parent / f"{name}.mp4", tmp_path)
        with VideoReader(tmp_path / f"{name}.mp4") as reader:
            count = len(reader.timestamps)
        rows = "1,0\n0,1\n" * (count // 2) + "0,0\n" * (count % 2 + (name == "test-00"))
        (tmp_path / f"{name}_labels.csv").write_text("run,spin\n" + rows)
    with VideoReader(tmp_path / "test-00.mp4") as reader:
        count = len(reader.timestamps)
    with pytest.raises(DataError, match=rf"test-00.mp4: has labels for {count + 1} frames, and the film has {count}"):
        run_recipe(film_recipe(tmp_path, **{"training.num_epochs": 1}), tmp_path / "run", Session())

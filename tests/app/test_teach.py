"""Teaching: what people said is kept as plain files, features of a look serve a training, and a training goes on."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tubelet.app.config import AppConfig
from tubelet.app.library import Library
from tubelet.app.scoring import FilmScorer, ScoreRequest
from tubelet.app.teaching.job import DATA, STOP, How, Job, is_alive, read_progress, write_job, write_progress
from tubelet.app.teaching.lessons import Lessons
from tubelet.app.teaching.teacher import Teacher
from tubelet.app.teaching.work import EVERY_WEIGHT, stretches_recipe, work
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.write import WrittenFilm, bouts_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError
from tubelet.inference.films import Windows
from tubelet.inference.moments.features import StepFeatures
from tubelet.recipe import Recipe
from tubelet.session.fast_fp32 import FastFp32, fast_fp32_in_use


def job_of(folder: Path, labels: Path, encoder: Path, how: How = "probe") -> Job:
    """A training on the stretches of a table, written down."""
    films = [
        WrittenFilm(path=str((labels.parent / film.path).resolve()), duration_seconds=0, fps=0, bouts=film.bouts)
        for film in read_bouts(labels).films
    ]
    out, features = str(folder / "run"), str(folder.parent / "features")
    name = folder.name
    job = Job(name=name, kind="stretches", how=how, encoder=str(encoder), out=out, features=features, device="cpu")
    write_job(folder, job)
    (folder / DATA).write_text(bouts_csv(films))
    return job


def test_a_head_is_trained_anew_on_what_the_first_look_stored(
    film_labels: Path, film_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, features = FilmScorer(Windows(), "cpu", 1), tmp_path / "features"
    films = sorted(film_labels.parent.glob("*.mp4"))
    for film in films:
        scorer.run(ScoreRequest(film, str(film_run), tmp_path / film.stem, features), lambda seconds: None)
    scorer.run(ScoreRequest(films[0], str(film_run), tmp_path / "plain"), lambda seconds: None)
    with monkeypatch.context() as patch:
        patch.setattr(StepFeatures, "vectors", lambda *words: pytest.fail("a film was decoded again"))
        scorer.run(ScoreRequest(films[0], str(film_run), tmp_path / "again", features), lambda seconds: None)
        folder = tmp_path / "1-stretches-probe"
        job = job_of(folder, film_labels, film_run / "best")
        work(folder)
        progress = read_progress(folder)
        assert progress.state == "done", progress
        assert progress.losses
        assert progress.validations
        scorer.run(ScoreRequest(films[0], job.out, tmp_path / "taught", features), lambda seconds: None)
    scores = [(tmp_path / name / "probs.f32").read_bytes() for name in (films[0].stem, "plain", "again", "taught")]
    assert scores[0] == scores[1] == scores[2] != scores[3]


@pytest.mark.parametrize("how", ["probe", "full"])
def test_a_training_that_is_stopped_goes_on_to_its_end(
    how: How, film_labels: Path, film_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVERY_WEIGHT, "training.num_epochs", 2)
    folder = tmp_path / f"1-stretches-{how}"
    job = job_of(folder, film_labels, film_run / "best", how)
    (folder / STOP).touch()
    work(folder)
    progress = read_progress(folder)
    assert progress.state == "stopped", progress
    assert not (folder / STOP).exists()
    assert not (Path(job.out) / "evaluation").exists()
    monkeypatch.setattr("tubelet.app.teaching.work.stretches_recipe", as_another_version)
    work(folder)
    progress = read_progress(folder)
    assert progress.state == "done", progress
    assert len(progress.losses) > 1
    assert progress.validations
    assert (Path(job.out) / "best/per_frame.json").is_file()
    before, after = (load_file(path / "best/model.safetensors") for path in (film_run, Path(job.out)))
    learned = {name for name, values in after.items() if not torch.equal(values, before[name])}
    assert bool(learned) == (how == "full")  # also what the encoder sees is learned, or the head alone


def as_another_version(job: Job, data: Path) -> Recipe:
    recipe = stretches_recipe(job, data)
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, validate_every_epochs=7))


def test_a_training_that_was_killed_is_one_that_stopped(tmp_path: Path) -> None:
    config = AppConfig(labels=tmp_path)
    folder = config.cache / "teaching/1-clips-probe"
    name, out = folder.name, str(tmp_path / "runs/1-clips-probe")
    write_job(folder, Job(name=name, kind="clips", how="probe", encoder="x", out=out, features=str(tmp_path)))
    progress = read_progress(folder)
    progress.state, progress.losses = "working", [[1, 0.5]]
    write_progress(folder, progress)
    assert not is_alive(folder)
    found = Teacher(config).state()
    assert found is not None
    assert (found[0].name, found[1].state, found[1].losses) == (name, "stopped", [[1, 0.5]])
    assert Teacher(config).taught() == []


def test_nothing_goes_on_where_nothing_began(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training"):
        Teacher(AppConfig(labels=tmp_path)).go_on()


def test_classes_and_sorted_clips_are_plain_files(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    for name in ("=a.mp4", "b.mp4"):
        (tmp_path / "films" / name).write_bytes(b"film")
    library = Library(tmp_path / "films", tmp_path / "uploads")
    lessons = Lessons(tmp_path / "labels", tmp_path / "labels/.tubelet", library)
    assert lessons.set_classes([" walk ", "=rest"]) == ["walk", "=rest"]
    for names in (["a", "a "], [" "], ["a\nb"]):
        with pytest.raises(DataError):
            lessons.set_classes(names)
    for name in ("to label", " ignore", "background"):
        with pytest.raises(DataError, match="is no class: it says that a stretch shows none, or is not labeled"):
            lessons.set_classes(["walk", name])
        with pytest.raises(DataError, match="is no class"):
            lessons.sort(library.all()[0], name)
    assert lessons.classes() == ["walk", "=rest"]
    one, two = library.all()
    lessons.sort(one, "walk")
    lessons.sort(two, "=rest")
    config = ManifestConfig(val_fraction=0)
    names = read_manifest(lessons.table, config).class_names
    assert names == {"label": ("=rest", "walk")}  # as ``tubelet train --data`` sees them: the names, not their cells
    lessons.sort(one, "=rest")
    assert lessons.sorted_clips() == {one.id: "=rest", two.id: "=rest"}
    assert lessons.table.read_text() == "path,label\n../../films/b.mp4,'=rest\n../../films/=a.mp4,'=rest\n"
    lessons.sort(one, None)
    lessons.sort(two, None)
    assert not lessons.table.exists()
    assert json.loads((tmp_path / "labels/.tubelet/classes.json").read_text()) == ["walk", "=rest"]


def test_a_training_takes_the_folder_of_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AppConfig(labels=tmp_path)
    (tmp_path / "runs/3-stretches-probe").mkdir(parents=True)  # what is known of it was removed by hand
    (config.cache / "teaching/4-stretches-probe").mkdir(parents=True)  # and of this one a kill left no more
    monkeypatch.setattr(Teacher, "_start", lambda self, folder: None)
    assert Teacher(config).begin("stretches", "probe", "lite0", b"") == "5-stretches-probe"


def test_a_second_server_begins_no_training_while_the_process_of_the_first_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, slow = AppConfig(labels=tmp_path), tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")  # as a process that still reads its packages
    slow.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(slow))
    first, second = Teacher(config), Teacher(config)
    name = first.begin("clips", "probe", "lite0", b"")
    process = first._process
    assert process is not None
    try:
        with pytest.raises(DataError, match="a training goes on; wait for it, or stop it"):
            second.begin("clips", "probe", "lite0", b"")
        state = second.state()
        assert state is not None
        assert (state[0].name, state[1].state) == (name, "working")
    finally:
        process.kill()
        process.wait()
    for _ in range(50):
        if not is_alive(config.cache / "teaching" / name / "starting"):
            break
        time.sleep(0.1)
    state = second.state()
    assert state is not None
    assert state[1].state == "stopped"


def test_a_training_computes_as_the_looks_whose_features_it_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = FastFp32(convolution_from=10**9)
    monkeypatch.setattr("tubelet.session.fast_fp32.of_processor", lambda processor: own)
    monkeypatch.setattr("tubelet.app.teaching.work._train", lambda job, folder, session: str(fast_fp32_in_use()))
    folder = tmp_path / "1-clips-probe"
    write_job(folder, Job(name=folder.name, kind="clips", how="probe", encoder="x", out="", features="", device="cpu"))
    work(folder)
    assert read_progress(folder).result == str(own)

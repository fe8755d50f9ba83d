"""``tubelet suggest``: stretches that the model is unsure of and nothing labeled is like, as files to label in."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import tubelet
from film_runs import film_recipe
from support import error_of, rows_of
from tubelet import cli
from tubelet.data.layouts.bouts.bout import IGNORED, TO_LABEL
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.synthetic_films import write_films
from tubelet.errors import ConfigError, DataError
from tubelet.inference.moments.stretches import Blocks, blocks_of, choose_stretches, uncertainty
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session


def film_of(vectors: list[float], unsure: list[float], labeled: list[int] | None = None) -> Blocks:
    """A film with a step, which is a block, every second."""
    known = np.array(labeled or [0] * len(vectors), dtype=bool)
    edges = np.arange(len(vectors) + 1.0)
    return blocks_of(torch.tensor(vectors)[:, None], np.array(unsure), edges, known, 1.0)


def chosen(films: list[Blocks], labeled: list[float], seconds: float, stretch: float = 2.0) -> list[tuple[int, float]]:
    known = torch.tensor(labeled)[:, None]
    found = choose_stretches(films, known, seconds=seconds, stretch_seconds=stretch)
    return [(one.film, one.start) for one in found]


def test_the_model_is_least_sure_at_one_half_and_of_classes_that_are_alike() -> None:
    probs = np.array([[0.5, 0.5], [0.01, 0.99], [0.5, 0.01]], dtype=np.float32)
    assert uncertainty(probs, one=False) == pytest.approx([2 * np.log(2), 0.112, 0.749], abs=1e-3)
    assert uncertainty(np.array([[0.5, 0.5], [1.0, 0.0]], np.float32), one=True) == pytest.approx(
        [np.log(2), 0], abs=1e-5
    )


def test_of_stretches_that_are_as_new_the_less_sure_comes_first() -> None:
    film = film_of([1.0, 1.0, 2.0, 2.0, 1.0, 1.0], [0.1, 0.1, 0.0, 0.0, 0.9, 0.9])
    assert chosen([film], [0.0], 2.0) == [(0, 4.0)]


def test_of_stretches_of_which_the_model_is_as_unsure_the_newer_comes_first_and_the_next_is_unlike_it() -> None:
    films = [film_of([0.0, 0.0, 5.0, 5.0], [0.5] * 4), film_of([5.0, 5.0, 3.0, 3.0], [0.5] * 4)]
    assert chosen(films, [0.0], 4.0) == [(0, 2.0), (1, 2.0)]


def test_what_is_labeled_is_never_chosen_and_no_second_twice_and_the_time_is_kept() -> None:
    rng = np.random.default_rng(0)
    labeled = rng.uniform(size=60) < 0.2
    film = film_of(rng.normal(size=60).tolist(), rng.uniform(size=60).tolist(), labeled.tolist())
    found = choose_stretches([film], film.vectors[:2], seconds=20.0, stretch_seconds=3.0)
    seconds = [second for one in found for second in range(round(one.start), round(one.stop))]
    assert len(seconds) == len(set(seconds)) == 20
    assert not labeled[seconds].any()
    everything = choose_stretches([film], film.vectors[:2], seconds=1e6, stretch_seconds=3.0)
    assert sum(one.stop - one.start for one in everything) == (~labeled).sum()


def test_a_short_event_counts_in_its_block() -> None:
    vectors, unsure = torch.tensor([[0.0], [0.0], [0.0], [8.0]]), np.array([0.0, 0.0, 0.0, 0.6])
    block = blocks_of(vectors, unsure, np.arange(5) / 8, np.zeros(4, dtype=bool), 0.5)
    assert block.vectors.item() > 7.5
    assert block.stops.tolist() == [0.5]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films that no run knows."""
    labels = write_films(tmp_path_factory.mktemp("new"), {"pool": 3}, seconds=(5.0, 6.0), size_pixels=32, seed=3)
    labels.unlink()
    return labels.parent


@pytest.fixture
def run(film_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(film_run, tmp_path / "run")
    return tmp_path / "run"


def suggest(run: Path, *words: str) -> int:
    return cli.main(["suggest", str(run), *words, "--device", "cpu"])


def test_a_project_has_the_stretches_to_label_and_the_rest_ignored_until_somebody_labels(
    run: Path, films: Path, film_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    stored = len(list(run.glob("features/*/*")))
    (films / "bad.mp4").write_bytes(b"no film")
    words = [str(films), str(film_labels.parent), "--minutes", "0.1", "--stretch", "2", "--out", str(out)]
    assert suggest(run, *words, "--json") == 1
    (films / "bad.mp4").unlink()
    printed, err = capsys.readouterr()
    assert len([line for line in err.splitlines() if "bad.mp4" in line]) == 1
    assert "5 films labeled from beginning to end: left out" in err
    content = json.loads(printed)
    assert content == json.loads((out / "suggestions.json").read_text())
    assert sum(s["stop_seconds"] - s["start_seconds"] for s in content["stretches"]) == pytest.approx(6, abs=0.5)
    rows = rows_of(out / "suggestions.csv")
    assert [row["path"] for row in rows] == [s["path"] for s in content["stretches"]]
    assert len(list(run.glob("features/*/*"))) == stored + 3

    project = json.loads((out / "suggestions.boris").read_text())
    assert {b["code"] for b in project["behaviors_conf"].values()} == {
        "grow",
        "pulse",
        "run",
        "spin",
        TO_LABEL,
        IGNORED,
    }
    events = {key: o["events"] for key, o in project["observations"].items()}
    marks = {(p, e[0]) for p, found in events.items() for e in found if e[2] == TO_LABEL}
    assert len(marks) == 2 * len(rows)
    labels = read_bouts(out / "suggestions.boris")
    assert labels.names == ()  # trained on as it is, nothing of it is background
    assert f"{len(rows)} stretches are marked 'to label' and count nowhere" in labels.notes[0]
    for film in labels.films:
        covered = sorted((b.start, b.stop) for b in film.bouts)
        assert covered[0][0] == 0
        assert all(stop == pytest.approx(start, abs=1e-5) for (_, stop), (start, _) in itertools.pairwise(covered))

    assert "is there, and may hold labels by now" in error_of(["suggest", str(run), *words], capsys)


def test_the_run_on_new_labels_computes_no_features_anew(
    run: Path, films: Path, film_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tubelet.suggest(run, films, minutes=0.05, stretch_seconds=2, device="cpu", progress=False)
    stored = sorted(run.glob("features/*/*"))
    labels = tmp_path / "labels.csv"
    shutil.copy(film_labels, labels)
    with labels.open("a", newline="") as stream:
        for film in found.films:
            csv.writer(stream).writerows([film.path, b.start, b.stop, {TO_LABEL: "run"}.get(b.label, b.label), "train"]
                                         for b in film.bouts)  # fmt: skip
    text = labels.read_text().replace("\ntrain", f"\n{film_labels.parent}/train")
    labels.write_text(
        text.replace("\nval", f"\n{film_labels.parent}/val").replace("\ntest", f"\n{film_labels.parent}/test")
    )
    recipe = film_recipe(labels, **{"per_frame.feature_folder": str(run / "features"), "training.num_epochs": 1})
    run_recipe(recipe, tmp_path / "next", Session())
    assert sorted(run.glob("features/*/*")) == stored
    again = tubelet.suggest(tmp_path / "next", films, minutes=10, stretch_seconds=2, device="cpu", progress=False)
    old = {(s.path, s.start_seconds) for s in found.stretches}
    assert not old & {(s.path, s.start_seconds) for s in again.stretches}
    partly = next(film for film in again.films if film.path == found.films[0].path)
    assert "run" in {bout.label for bout in partly.bouts}  # labels so far stay in the project

    lines = labels.read_text().splitlines()
    lines = [f"{lines[0]},observer", *(f"{line}," for line in lines[1:]), f"{partly.path},0,0.5,spin,train,bea"]
    labels.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    tubelet.suggest(tmp_path / "next", films, minutes=10, stretch_seconds=2, device="cpu")
    assert (
        "its labels so far by an unnamed observer (a project of BORIS has one observer: not bea)"
        in capsys.readouterr().err
    )


def test_what_cannot_be_is_refused_in_a_line(run: Path, films: Path, film_labels: Path) -> None:
    quiet = {"device": "cpu", "progress": False}
    with pytest.raises(ConfigError, match="minutes must be above 0"):
        tubelet.suggest(run, films, minutes=0, **quiet)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected a folder with recipe"):
        tubelet.suggest(run / "best", films, **quiet)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="5 films are labeled from beginning to end; give others"):
        tubelet.suggest(run, film_labels.parent, **quiet)  # type: ignore[arg-type]

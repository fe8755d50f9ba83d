"""The example goes from a project of BORIS to ethograms, and what it finds opens in BORIS again."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pytest

from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.write import WrittenFilm, boris_project

SCRIPT = Path(__file__).parents[2] / "examples/boris_to_ethogram.py"


def test_a_project_and_its_films_become_ethograms_of_other_films(
    film_labels: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = read_bouts(film_labels)
    films = {
        film.path.removesuffix(".mp4"): WrittenFilm(path=film.path, duration_seconds=4.0, fps=25.0, bouts=film.bouts)
        for film in labels.films
        if film.path != "test-01.mp4"
    }
    for film in labels.films:
        shutil.copy(film_labels.parent / film.path, tmp_path)
    project = tmp_path / "mice.boris"
    project.write_text(boris_project(films, labels.names, "mice"))
    words = [str(project), str(tmp_path / "test-01.mp4"), "--init", str(checkpoint), "--out", str(tmp_path / "out")]
    more = ["--", "--device", "cpu", "--epochs", "1", "--per_frame.window_steps", "16"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words, *more])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    said = capsys.readouterr().out
    assert f"{labels.names[0]}: " in said
    assert "$ tubelet train --task per_frame --data " in said
    found = tmp_path / "out/moments"
    assert (found / "test-01/ethogram.png").read_bytes().startswith(b"\x89PNG")
    assert [film.path for film in read_bouts(found / "bouts.boris").films] == [str(tmp_path / "test-01.mp4")]

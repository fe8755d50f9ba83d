"""Films that nobody looks at make room for the one that somebody looks at, and lose nothing by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tubelet.app import scoring
from tubelet.app.scoring import ASIDE, FilmScorer, ScoreRequest
from tubelet.errors import DataError
from tubelet.inference.films import Windows


def test_a_film_that_is_set_aside_stops_and_is_scored_anew_later(
    film_labels: Path, film_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = FilmScorer(Windows(), "cpu", 1)
    film = film_labels.parent / "test-00.mp4"
    folder = tmp_path / "scores"
    monkeypatch.setattr(scoring, "_write_clock", lambda path, clock: (folder / ASIDE).touch())
    with pytest.raises(DataError, match="set aside"):
        scorer.run(ScoreRequest(film, str(film_run), folder), lambda seconds: None)
    assert not (folder / "done.json").exists()
    monkeypatch.undo()
    scorer.run(ScoreRequest(film, str(film_run), folder), lambda seconds: None)
    assert (folder / "done.json").exists()
    assert not (folder / ASIDE).exists()

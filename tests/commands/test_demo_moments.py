"""The demo of moments, small: films, a model trained end to end, a head on its features, and a film to look at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tubelet.cli import main
from tubelet.inference.moments.film import load_moments


def test_the_demo_trains_end_to_end_and_on_features_and_goes_on_where_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--films", "2,1,1", "--film-seconds", "8", "9", "--epochs", "1", "--device", "cpu"]
    assert main(["demo", "moments", "--out", str(tmp_path / "demo"), *small, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["end to end", "stored features"]
    assert all(values["num_videos"] == 1 and "bout_f1_50" in values for values in found.values())
    first, second = (load_moments(tmp_path / "demo" / name, "cpu") for name in ("end_to_end", "stored_features"))
    states = [model.features.model.state_dict() for model in (first, second)]  # type: ignore[attr-defined]
    assert all((states[0][name] == value).all() for name, value in states[1].items())
    assert (second.head_record.window_steps, first.head_record.window_steps) == (128, 32)
    assert (tmp_path / "demo/stored_features/report.html").is_file()
    log = (tmp_path / "demo/end_to_end/log.csv").read_bytes()
    assert main(["demo", "moments", "--out", str(tmp_path / "demo"), *small]) == 0
    assert "stored features" in capsys.readouterr().out
    assert (tmp_path / "demo/end_to_end/log.csv").read_bytes() == log


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["moments", "--films", "3,1"], "--films 3,1: expected the films to train on"),
        (["moments", "--train-clips", "8"], "--train-clips: is of clips, and `tubelet demo moments` makes films"),
        (["--films", "2,1,1"], "--films: belongs to `demo moments`"),
    ],
)
def test_options_of_another_demo_are_refused(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *words, "--out", str(tmp_path / "demo")]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()

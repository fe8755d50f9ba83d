"""Frame folders and volumes are films of the page too, with the numbers of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_server import Served
from tubelet import cli
from tubelet.app.library import Library


def moving(count: int) -> np.ndarray:
    """Gray pictures of a square that moves."""
    pictures = np.full((count, 24, 24), 40, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        picture[8:16, number % 16 : number % 16 + 8] = 220
    return pictures


def test_a_volume_is_predicted_whole_and_shown_by_slices(
    served: Served, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = served.films / "scan.npy", tmp_path / "table.csv"
    np.save(path, moving(12))
    film = served.film("scan.npy")
    about = served.get(f"/api/films/{film}")
    assert (about["times"], about["seconds"]) == ([float(slice_) for slice_ in range(12)], 12.0)
    assert served.get(f"/api/films/{film}/playable")["state"] == "pictures"
    assert served.ask("GET", f"/api/films/{film}/video").status == 409
    assert served.ask("GET", f"/api/films/{film}/frames/11").body.startswith(b"\xff\xd8")
    (found,) = served.scored(film, "r1")["suggestions"]
    words = ["predict", str(checkpoint), str(path), "--json", "--csv", str(table), "--device", "cpu"]
    assert cli.main(words) == 0
    (printed,) = json.loads(capsys.readouterr().out)["predictions"]
    assert served.get(f"/api/films/{film}/result/r1") == printed
    assert served.ask("GET", f"/api/films/{film}/result/r1/csv").body.decode() == table.read_text()
    assert (found["label"], found["start"], found["stop"]) == (printed["labels"][0], 0.0, 12.0)
    assert "scan.npy" in served.made(f"/api/films/{film}/make/r1/page").body.decode()
    path.unlink()


def test_a_frame_folder_has_the_rate_that_is_given(
    served: Served, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = served.films / "frames"
    folder.mkdir()
    for number, picture in enumerate(moving(25), 1):
        Image.fromarray(picture).save(folder / f"{number:05d}.png")
    film = served.film("frames")
    assert served.get(f"/api/films/{film}")["times"] == pytest.approx([number / 10 for number in range(25)])
    served.scored(film, "r1", "merge=false")
    words = ["predict", str(checkpoint), str(folder), "--frame-fps", "10", "--window", "clip", "--json"]
    assert cli.main([*words, "--device", "cpu"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)["films"]
    assert served.get(f"/api/films/{film}/result/r1") == printed
    assert len(printed["segments"]) > 1


def test_pictures_beside_films_are_no_film(tmp_path: Path) -> None:
    for name in ("one/1.png", "one/2.png", "two/1.png", "two/film.mp4", "three/1.png", "three/below/1.png", "1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "away").symlink_to(tmp_path.parent)
    names = [film.name for film in Library(tmp_path, tmp_path / "uploads").all()]
    assert names == ["one", "three/below", "two/film.mp4"]

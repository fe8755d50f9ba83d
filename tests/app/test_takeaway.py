"""What leaves the page: a film with scores, a page about a film, the model; and what two models say differently."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from app_server import Served
from tubelet.app.desk import Desk
from tubelet.app.exports.exporter import ModelExport, _export_model
from tubelet.app.exports.kept_files import make_room, touch
from tubelet.app.exports.score_film import Findings
from tubelet.app.library import FilmFile
from tubelet.app.runs import OfferedRun
from tubelet.app.scores import Curves, Suggestion
from tubelet.data.layouts.bouts.bout import Bout
from tubelet.data.layouts.bouts.write import WrittenFilm
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.inference.moments.film import moments_folder
from tubelet.protocol import Protocol


def test_the_film_with_scores_has_every_frame_at_its_time(served: Served, tmp_path: Path) -> None:
    film = served.film("test-00.mp4")
    served.scored(film, "r0")
    made = served.made(f"/api/films/{film}/make/r0/overlay")
    assert made.headers["content-disposition"] == 'attachment; filename="test-00.mp4"'
    (tmp_path / "overlay.mp4").write_bytes(made.body)
    with VideoReader(served.films / "test-00.mp4") as film_reader, VideoReader(tmp_path / "overlay.mp4") as reader:
        assert reader.timestamps.tolist() == pytest.approx(film_reader.timestamps.tolist(), abs=1e-4)
        assert (reader.width, reader.info.codec) == (320, "h264")
        (own,), (drawn,) = film_reader.frames_at([9]).pixels, reader.frames_at([9]).pixels
        left, size = (320 - own.shape[2]) // 2, own.shape[1]
        difference = drawn[:, :size, left : left + own.shape[2]].float() - own.float()
        assert difference.abs().mean() < 6  # the same picture, coded again
        assert drawn[:, size + 14 :].float().std() > 5  # and something below it


def test_labels_of_a_moment_are_ranked_and_hold_where_they_are_suggested() -> None:
    findings = Findings(
        labels=["a", "b"],
        curves=Curves(labels=["a", "b"], edges=[0.0, 1.0, 2.0], probs=[[0.2, None], [0.7, 0.9]]),
        suggestions=[Suggestion(label="a", start=0.0, stop=1.0, score=0.2)],
        seconds=2.0,
    )
    assert findings.at(0.5) == [("b", 0.7, False), ("a", 0.2, True)]
    assert findings.at(1.0) == [("b", 0.9, False)]
    assert findings.at(2.0) == findings.at(-1.0) == []


def test_the_report_is_one_page_of_the_film(served: Served) -> None:
    film = served.film("test-01.mp4")
    for run in ("r0", "r1"):
        found = served.scored(film, run)["suggestions"]
        page = served.made(f"/api/films/{film}/make/{run}/page").body.decode()
        assert "test-01.mp4" in page
        assert "data:image/png;base64," in page
        assert str(served.films) not in page
        assert page.count("<tr><td>") == len(found)
        assert "<script" not in page
        assert 'src="http' not in page


def test_the_model_leaves_as_it_is(served: Served, film_run: Path) -> None:
    folder = moments_folder(film_run)
    made = served.made("/api/models/r0/make/checkpoint")
    with zipfile.ZipFile(io.BytesIO(made.body)) as archive:
        files = {Path(name).name: archive.read(name) for name in archive.namelist()}
    assert files == {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    refused = served.post("/api/models/r0/make/onnx", {})
    assert (refused.status, "not exported yet" in refused.content["error"]) == (400, True)


def test_where_a_model_looked_is_a_film_too(served: Served, tmp_path: Path) -> None:
    film = served.film("test-00.mp4")
    answer = served.ask("GET", f"/api/films/{film}/explain/r1?start=0&stop=1&as_film=true")
    assert answer.headers["content-disposition"] == 'attachment; filename="test-00-looked-at.mp4"'
    (tmp_path / "looked.mp4").write_bytes(answer.body)
    with VideoReader(tmp_path / "looked.mp4") as reader:
        assert (len(reader.timestamps), reader.width, reader.height) == (7, 32, 32)  # the film's own frames


def test_a_model_that_labels_frames_shows_where_it_looked_in_the_middle_of_a_stretch(served: Served) -> None:
    film = served.film("test-00.mp4")
    answer = served.ask("GET", f"/api/films/{film}/explain/r0?start=0&stop=4&label=spin")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png"), answer.body
    with Image.open(io.BytesIO(answer.body)) as picture:
        assert picture.width > picture.height > 300
    assert answer.headers["x-tubelet-shown"] == "0.720000 3.280000"  # 32 samples, 12.5 in a second
    refused = served.ask("GET", f"/api/films/{film}/explain/r0?start=90&stop=91")
    assert (refused.status, "no step of the film" in refused.content["error"]) == (400, True)


def test_what_is_not_scored_is_not_taken_away(served: Served) -> None:
    film = served.film("train-00.mp4")
    for place in (f"/api/films/{film}/make/r2/overlay", f"/api/films/{film}/make/r2/page"):
        answer = served.post(place, {})
        assert (answer.status, "not scored to its end" in answer.content["error"]) == (400, True)
    assert served.ask("GET", f"/api/films/{film}/result/r2/csv").status == 400
    assert served.ask("GET", "/api/made/nothing/file").status == 404


def test_two_models_on_one_film(served: Served) -> None:
    film = served.film("test-00.mp4")
    first, second = served.scored(film, "r0")["suggestions"], served.scored(film, "r2")["suggestions"]
    found = served.get(f"/api/films/{film}/compare/r0/r2")
    assert (found["state"], found["shared"]) == ("done", ["grow", "pulse", "run", "spin"])
    seconds = {side: sum(row[side] for row in found["labels"]) for side in ("first", "second")}
    for side, suggestions in (("first", first), ("second", second)):
        assert seconds[side] == pytest.approx(sum(one["stop"] - one["start"] for one in suggestions))
    assert seconds["second"] > seconds["first"]
    differing = sum(one["stop"] - one["start"] for one in found["differences"])
    assert differing == pytest.approx((1 - found["agreement"]) * found["known_seconds"])
    itself = served.get(f"/api/films/{film}/compare/r0/r0")
    assert (itself["agreement"], itself["differences"]) == (1.0, [])


def test_labels_beside_a_model(served: Served) -> None:
    film = served.film("val-00.mp4")
    suggestions = served.scored(film, "r2")["suggestions"]
    version = served.get(f"/api/films/{film}/labels")["version"]
    mark = {"start": 0.0, "stop": 1.0, "label": "groom", "kind": "label"}
    assert served.post(
        f"/api/films/{film}/labels", {"version": version, "what": "x", "add": [mark], "remove": []}
    ).status == 200  # fmt: skip
    try:
        found = served.get("/api/confusion/r2")
        groom = sum(cell["seconds"] for cell in found["cells"] if cell["labeled"] == "groom")
        own = [one for cell in found["cells"] for one in cell["stretches"] if cell["labeled"] == "groom"]
        assert {one["film"] for one in own} == {film}
        assert all(0 <= one["start"] < one["stop"] <= 1.0 for one in own)
        inside = {one["label"] for one in suggestions if one["start"] < 1 and one["stop"] > 0}
        assert {cell["found"] for cell in found["cells"] if cell["labeled"] == "groom"} - {""} == inside
        assert groom >= 1.0 - 1e-3
    finally:
        version = served.get(f"/api/films/{film}/labels")["version"]
        served.post(f"/api/films/{film}/labels/undo", {"version": version})


def test_a_checkpoint_of_links_is_refused_and_not_written_without_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tubelet.json").write_text("{}")
    (tmp_path / "blob").write_bytes(b"weights")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    run = OfferedRun(
        id="r0", name="model", source=str(folder), labels=("a",), head=None, key="k", protocol=Protocol()
    )  # fmt: skip
    with pytest.raises(DataError, match=r"model\.safetensors of this model is a link"):
        _export_model(ModelExport(kind="checkpoint", run=run, target=tmp_path / "model.zip"))
    assert not (tmp_path / "model.zip").exists()


def test_labels_of_a_film_and_of_an_upload_of_the_same_name_are_both_written(tmp_path: Path) -> None:
    films = [
        FilmFile(id=f"id{is_uploaded}", name="a.mp4", path=tmp_path, size_bytes=0, is_uploaded=is_uploaded)
        for is_uploaded in (False, True)
    ]

    def written(film: FilmFile, about: Any) -> WrittenFilm:
        return WrittenFilm(path=film.id, duration_seconds=2, fps=1, bouts=[Bout(label="run", start=0, stop=1)])

    desk: Any = SimpleNamespace(labels=SimpleNamespace(written=written), room=SimpleNamespace(about=lambda film: None))
    found, left_out = Desk.written(desk, films)
    assert [film.path for film in found.values()] == ["idFalse", "idTrue"]
    assert left_out == []


def test_the_oldest_files_make_room_while_temporary_ones_vanish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, name in enumerate((".new.mp4.7.new", "new.mp4", "old.mp4")):
        (tmp_path / name).write_bytes(b"0123456789")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))

    def is_file(path: Path) -> bool:  # another thread ends its file between a look at its kind and one at its size
        if path.suffix == ".new":
            path.unlink()
        return True

    monkeypatch.setattr(Path, "is_file", is_file)
    make_room(tmp_path, 5, 20, "this file")
    assert [file.name for file in tmp_path.iterdir()] == ["new.mp4"]
    touch(tmp_path / "old.mp4")  # it is used no more, and that is no error

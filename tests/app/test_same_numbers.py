"""The page shows the numbers of the command line, and slices them without computing any anew."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest

from app_server import Served, make_served
from tubelet import cli
from tubelet.app.config import AppConfig
from tubelet.app.desk import Desk
from tubelet.app.history import History
from tubelet.app.scores import Slicing
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.video.reader import VideoReader

TABLES = ("path,start,stop,label\n", "path,start,stop,label\n../films/test-01.mp4,1,2,rest\n", "nonsense")


def test_windows_are_those_of_predict(
    served: Served, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = served.film("test-00.mp4")
    served.scored(film, "r1")
    path = str(served.films / "test-00.mp4")
    table = tmp_path / "table.csv"
    own = ["predict", str(checkpoint), path, "--window", "clip", "--json", "--csv", str(table), "--device", "cpu"]
    for query, words in (("merge=false&top_k=5", ()), ("merge=true&top_k=2", ("--merge", "--top-k", "2"))):
        assert cli.main([*own, *words]) == 0
        (printed,) = json.loads(capsys.readouterr().out)["films"]
        assert served.get(f"/api/films/{film}/result/r1?{query}") == printed
        assert len(printed["segments"]) > 0
        taken = served.ask("GET", f"/api/films/{film}/result/r1/csv?{query}")
        assert taken.body.decode() == table.read_text()
        assert taken.headers["content-disposition"] == 'attachment; filename="test-00.csv"'


def test_bouts_are_those_of_moments(
    served: Served, film_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = served.film("test-01.mp4")
    served.scored(film, "r0")
    path = str(served.films / "test-01.mp4")
    words = ["moments", path, "--model", str(film_run), "--out", str(tmp_path / "out"), "--json", "--device", "cpu"]
    assert cli.main(words) == 0
    (printed,) = json.loads(capsys.readouterr().out)["films"]
    assert served.get(f"/api/films/{film}/result/r0") == printed
    for table in ("csv", "vtt"):
        (written,) = (tmp_path / "out").rglob(f"bouts.{table}")
        assert served.ask("GET", f"/api/films/{film}/result/r0/{table}").body.decode() == written.read_text()


def test_slicing_computes_nothing_anew(served: Served) -> None:
    film = served.film("test-00.mp4")
    plain = served.scored(film, "r1", "merge=false")
    stored = sorted((served.labels / ".tubelet/scores").rglob("*.jsonl"))
    before = [file.stat().st_mtime_ns for file in stored]
    assert stored
    twos = served.scored(film, "r1", "merge=false&group=2")
    assert len(twos["suggestions"]) == -(-len(plain["suggestions"]) // 2)
    sure = served.scored(film, "r1", "merge=false&threshold=0.9")
    assert all(one["score"] >= 0.9 for one in sure["suggestions"])
    assert len(sure["suggestions"]) == sum(one["score"] >= 0.9 for one in plain["suggestions"])
    assert [file.stat().st_mtime_ns for file in stored] == before
    low = served.scored(served.film("test-01.mp4"), "r0", "threshold=0.01&least_seconds=0&gap_seconds=0")
    assert {one["label"] for one in low["suggestions"]} == {"grow", "pulse", "run", "spin"}


def test_frames_and_their_times_are_the_readers(served: Served) -> None:
    film = served.film("test-00.mp4")
    times = served.get(f"/api/films/{film}")["times"]
    with VideoReader(served.films / "test-00.mp4") as reader:
        assert times == pytest.approx(reader.timestamps.tolist(), abs=1e-6)
        assert np.ptp(np.diff(reader.timestamps)) > 0.01  # of variable rate: no number times a rate gives them
    still = served.ask("GET", f"/api/films/{film}/frames/3")
    assert still.body.startswith(b"\xff\xd8")
    assert still.headers["content-type"] == "image/jpeg"


def test_the_film_itself_comes_in_ranges(served: Served) -> None:
    film, content = served.film("test-00.mp4"), (served.films / "test-00.mp4").read_bytes()
    part = served.ask("GET", f"/api/films/{film}/video", headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(content)}"


def test_a_film_that_browsers_cannot_play_gets_a_copy_with_the_same_frames_at_the_same_times(
    served: Served, tmp_path: Path
) -> None:
    path = served.films / "old.avi"
    with VideoReader(served.films / "test-00.mp4") as reader:
        pictures = reader.frames_at(range(30)).pixels.permute(0, 2, 3, 1).numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    film = served.film("old.avi")
    about = served.get(f"/api/films/{film}")
    assert not about["plays"]
    until = time.monotonic() + 60
    while (state := served.get(f"/api/films/{film}/playable")["state"]) != "done" and time.monotonic() < until:
        assert state in ("waiting", "working")
        time.sleep(0.05)
    assert served.ask("GET", f"/api/films/{film}/growing").status == 404  # it is whole
    assert not list((served.labels / ".tubelet/proxies").glob("*.growing"))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(served.ask("GET", f"/api/films/{film}/video").body)
    path.unlink()
    with VideoReader(copy) as reader:
        assert reader.info.codec == "h264"
        assert reader.timestamps.tolist() == pytest.approx(about["times"], abs=1e-4)


def test_scores_on_the_disk_are_found_again_by_the_next_server(served: Served, film_run: Path) -> None:
    film = served.film("test-00.mp4")
    served.scored(film, "r0")
    result = served.get(f"/api/films/{film}/result/r0")
    desk = Desk.of(AppConfig(runs=(str(film_run),), films=served.films, labels=served.labels))
    try:
        job, scores = desk.room.look(desk.library.get(film), desk.runs[0])
    finally:
        desk.close()
    assert job is None
    assert scores is not None
    assert scores.result(Slicing()) == result


def test_a_killed_server_leaves_every_edit(tmp_path: Path, film_labels: Path) -> None:
    server = make_served(tmp_path, film_labels).start()
    film = server.film("test-00.mp4")
    for version in range(3):
        mark = {"start": version, "stop": version + 0.5, "label": "run", "kind": "label"}
        edit = {"version": version, "what": "add run", "add": [mark], "remove": []}
        labels = server.post(f"/api/films/{film}/labels", edit).content
    server.kill()
    (read,) = read_bouts(server.labels / "test-00.mp4.csv").films
    kept = [(bout.start, bout.stop) for bout in read.bouts]
    assert kept == [(mark["start"], mark["stop"]) for mark in labels["marks"]]
    history = History.read(server.labels / ".tubelet/history/test-00.mp4.jsonl")
    assert (history.version, len(history.done)) == (3, 3)


def test_labels_leave_and_come_back_in_layouts_of_other_programs(served: Served, film_labels: Path) -> None:
    content = film_labels.read_bytes()
    read = served.ask("POST", "/api/labels/import?name=labels.csv", content)
    assert read.status == 200, read.body
    own = served.ask("GET", "/api/labels/export?layout=csv").body  # where rows of before have the film's split
    assert served.ask("POST", "/api/labels/import?name=labels.csv", own).status == 200
    film = served.film("train-00.mp4")
    before = served.get(f"/api/films/{film}/labels")
    assert sum(mark["kind"] == "label" for mark in before["marks"]) > 0
    for layout in ("csv", "boris"):
        answer = served.ask("GET", f"/api/labels/export?layout={layout}")
        assert answer.headers["content-disposition"] == f'attachment; filename="labels.{layout}"'
        again = served.ask("POST", f"/api/labels/import?name=labels.{layout}", answer.body)
        assert again.status == 200, again.body
        assert served.get(f"/api/films/{film}/labels")["marks"] == before["marks"]
    assert served.ask("GET", f"/api/labels/export?layout=vtt&film_id={film}").body.startswith(b"WEBVTT")
    assert (
        served.ask("POST", "/api/labels/import?name=labels.csv", b"path,start,stop,label\nno.mp4,1,2,a\n").status == 400
    )


def test_a_table_that_cannot_be_read_is_named_and_the_others_are_exported(served: Served) -> None:
    tables = {f"{name}.mp4.csv": text for name, text in zip(("test-00", "test-01", "val-00"), TABLES, strict=True)}
    before = {name: (served.labels / name).read_bytes() for name in tables if (served.labels / name).exists()}
    try:
        for name, text in tables.items():
            (served.labels / name).write_text(text)
        answer = served.ask("GET", "/api/labels/export?layout=csv")
        assert answer.status == 200, answer.body
        assert b"test-01.mp4" in answer.body
        assert b"test-00.mp4" not in answer.body  # a header alone is no label
        left_out = unquote(answer.headers["x-tubelet-left-out"])
        assert left_out.startswith("val-00.mp4: the labels cannot be read: val-00.mp4.csv")
        assert str(served.labels) not in left_out
    finally:
        for name in tables:
            (served.labels / name).unlink()
            if name in before:
                (served.labels / name).write_bytes(before[name])

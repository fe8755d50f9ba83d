"""Films that come over the page: in chunks, known to be films before they are kept, no danger to the server."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from app_server import Answer, Served
from fuzzing import mutate
from tubelet.app.uploads import Uploads, clean_name
from tubelet.errors import DataError

NUM_DAMAGED = 100


def send(served: Served, name: str, content: bytes) -> Answer:
    """Upload a film in chunks; the last answer."""
    begun = served.post("/api/uploads", {"name": name, "size_bytes": len(content)})
    if begun.status != 200:
        return begun
    upload, size = begun.content["id"], begun.content["chunk_bytes"]
    for offset in range(0, len(content), size):
        part = served.ask("PUT", f"/api/uploads/{upload}?offset={offset}", content[offset : offset + size])
        assert part.status == 200, part.body
    return served.ask("POST", f"/api/uploads/{upload}/end", b"")


def test_an_uploaded_film_is_a_film_like_others(served: Served, film_labels: Path) -> None:
    content = (film_labels.parent / "val-00.mp4").read_bytes()
    sent = send(served, "C:\\films\\..\\my film.mp4", content)
    film = sent.content["film"]
    assert served.get(f"/api/films/{film}")["name"] == "my film.mp4"
    assert (served.labels / "uploads/my film.mp4").read_bytes() == content
    again = send(served, "my film.mp4", content)
    assert served.get(f"/api/films/{again.content['film']}")["name"] == "my film (2).mp4"


def test_chunks_follow_each_other_and_an_interrupted_upload_goes_on(served: Served, film_labels: Path) -> None:
    content = (film_labels.parent / "val-00.mp4").read_bytes()
    upload = served.post("/api/uploads", {"name": "cut.mp4", "size_bytes": len(content)}).content["id"]
    assert served.ask("PUT", f"/api/uploads/{upload}?offset=0", content[:1000]).content["received_bytes"] == 1000
    assert served.ask("PUT", f"/api/uploads/{upload}?offset=0", content[:1000]).status == 400
    assert served.ask("POST", f"/api/uploads/{upload}/end", b"").status == 400
    have = served.get(f"/api/uploads/{upload}")["received_bytes"]
    assert served.ask("PUT", f"/api/uploads/{upload}?offset={have}", content[have:] + b"x").status == 400
    assert served.ask("PUT", f"/api/uploads/{upload}?offset={have}", content[have:]).status == 200
    assert served.ask("POST", f"/api/uploads/{upload}/end", b"").status == 200


def disguised() -> dict[str, bytes]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.mp4", b"film")
    return {
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat.mkv": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "archive.mp4": packed.getvalue(),
        "script.mp4": b"#!/bin/sh\necho hello\n",
        "page.webm": b"<html><script>alert(1)</script></html>",
        "empty.mp4": b"\0" * 64,
    }


@pytest.mark.parametrize("name", disguised())
def test_what_is_no_film_is_refused_and_not_kept(served: Served, name: str) -> None:
    answer = send(served, name, disguised()[name])
    assert answer.status == 400
    assert name in answer.content["error"]
    assert str(served.labels) not in answer.content["error"]
    assert not (served.labels / "uploads" / name).exists()
    assert not list((served.labels / ".tubelet/uploading").rglob("*.mp4"))


def test_names_keep_to_one_folder() -> None:
    assert clean_name("../../etc/x.mp4") == "x.mp4"
    assert clean_name("C:\\a\\b.avi") == "b.avi"
    assert clean_name("a\nb:c.mp4") == "a_b_c.mp4"
    assert len(clean_name("x" * 400 + ".mp4")) <= 150
    for name in ("", "..", ".mp4", "a.sh", "a.mp4/", "x.npz", "a.zip"):
        with pytest.raises(DataError):
            clean_name(name)


def test_damaged_films_end_nothing(served: Served, film_labels: Path) -> None:
    clips = [film_labels.parent / f"test-0{number}.mp4" for number in range(2)]
    before = len(served.get("/api/home")["films"])
    for seed in range(NUM_DAMAGED):
        answer = send(served, f"damaged-{seed}.mp4", mutate(seed, clips)[2] or b"\0")
        assert answer.status in (200, 400), (seed, answer.body)
        assert str(served.labels.parent) not in answer.body.decode(), answer.body
    films = served.get("/api/home")["films"]
    for film in films[before : before + 3]:
        assert served.ask("GET", f"/api/films/{film['id']}/frames/0").status in (200, 400)
    assert not list((served.labels / ".tubelet/uploading").rglob("*.*4"))


def test_uploads_of_a_server_that_runs_stay_and_those_of_one_that_ended_go(tmp_path: Path) -> None:
    one = Uploads(tmp_path / "uploads", tmp_path / "uploading")
    first = one.begin("a.mp4", 4)
    one.write(first.id, 0, b"ab")
    left = tmp_path / "uploading/1-0"
    left.mkdir()
    (left / "half").write_bytes(b"x")
    other = Uploads(tmp_path / "uploads", tmp_path / "uploading")
    second = other.begin("a.mp4", 4)
    assert not left.exists()
    one.write(first.id, 2, b"cd")
    other.write(second.id, 0, b"wxyz")
    kept = [uploads.keep(upload.id).name for uploads, upload in ((one, first), (other, second))]
    assert kept == ["a.mp4", "a (2).mp4"]
    assert [(tmp_path / "uploads" / name).read_bytes() for name in kept] == [b"abcd", b"wxyz"]
    for uploads in (one, other):
        uploads.close()
    assert not list((tmp_path / "uploading").iterdir())

"""A download is there whole and right, or not at all; it goes on where it broke off, and offline it says what to do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support import assert_one_line
from tubelet.data.download import download
from tubelet.errors import DataError

CONTENT = bytes(range(256)) * 9000  # more than two chunks
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Source(ThreadingHTTPServer):
    """Serves CONTENT under any path; remembers the ranges it was asked for."""

    content = CONTENT
    breaks_after: int | None = None  # bytes of the first answer, then the connection ends
    knows_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.npz"


class Handler(BaseHTTPRequestHandler):
    server: Source

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.knows_ranges else 0
        if start >= len(self.server.content) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        stop = self.server.breaks_after
        self.server.breaks_after = None
        self.wfile.write(self.server.content[start:stop])

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def source() -> Iterator[Source]:
    with Source() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_file_comes_whole_with_progress_and_is_not_fetched_twice(source: Source, tmp_path: Path) -> None:
    target, seen = tmp_path / "new/file.npz", list[tuple[int, int]]()
    assert download(source.url, target, MD5, lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not download(source.url, target, MD5)
    assert source.ranges == [None]
    assert [file.name for file in target.parent.iterdir()] == ["file.npz"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_goes_on_where_it_was(source: Source, tmp_path: Path, knows_ranges: bool) -> None:
    source.breaks_after, source.knows_ranges = 1_500_000, knows_ranges
    target = tmp_path / "file.npz"
    with pytest.raises(DataError) as caught:
        download(source.url, target, MD5)
    assert_one_line(caught, "run the command again", str(target), f"md5sum {target}", MD5)
    assert not target.exists()
    assert download(source.url, target, MD5)
    assert source.ranges == [None, "bytes=1500000-"]
    assert target.read_bytes() == CONTENT


def test_a_complete_part_is_checked_and_not_fetched_again(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file.npz.part").write_bytes(CONTENT)
    assert download(source.url, tmp_path / "file.npz", MD5)
    assert (tmp_path / "file.npz").read_bytes() == CONTENT


def test_wrong_content_never_gets_the_name(source: Source, tmp_path: Path) -> None:
    source.content = CONTENT[:-1] + b"x"
    with pytest.raises(DataError) as caught:
        download(source.url, tmp_path / "file.npz", MD5)
    assert_one_line(caught, source.url, f"expected {MD5}", "removed")
    assert list(tmp_path.iterdir()) == []


def test_another_file_of_that_name_is_left_alone(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file.npz").write_bytes(b"mine")
    with pytest.raises(DataError) as caught:
        download(source.url, tmp_path / "file.npz", MD5)
    assert_one_line(caught, "another checksum", "move it away")
    assert (tmp_path / "file.npz").read_bytes() == b"mine"
    assert source.ranges == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file.npz", "http://no-such-host.invalid/file.npz"])
def test_offline_the_way_by_hand_is_said(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError) as caught:
        download(url, tmp_path / "file.npz", MD5)
    assert_one_line(caught, url, f"place it at {tmp_path / 'file.npz'}", f"md5sum {tmp_path / 'file.npz'}", MD5)
    assert list(tmp_path.iterdir()) == []

"""A file is there whole or not at all."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from tubelet.files import appended_lines, json_lines, write_atomically, written_atomically


def test_text_and_bytes_arrive_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "text", "Zeile\nünd\r\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff\n")
    assert (tmp_path / "text").read_bytes() == "Zeile\nünd\r\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff\n"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_atomically(file, "a long old content")
    write_atomically(file, "new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_atomically(file, "old")

    def half_write() -> None:
        with written_atomically(file) as new:
            new.write_text("half")
            assert file.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "x", "text")


def test_an_error_names_the_file_and_not_the_one_that_is_written_first(tmp_path: Path) -> None:
    file = tmp_path / "file"

    def fail() -> None:
        with written_atomically(file) as new:
            new.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        fail()
    assert caught.value.filename == str(file)
    (tmp_path / "folder" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="folder") as caught:
        write_atomically(tmp_path / "folder", b"content")
    assert caught.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_lines_behind_half_a_line_that_ends_within_a_letter_are_read(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    assert list(json_lines(file)) == []
    names = ["a\u2028b", "ü", "bad\udcff"]
    with appended_lines(file) as append:
        append({"name": names[0]})
        append({"name": names[1]})
    file.write_bytes(file.read_bytes()[:-4])  # within ü
    with appended_lines(file) as append:
        append({"name": names[2]})
    assert [line["name"] for line in json_lines(file)] == [names[0], names[2]]


def test_a_line_that_finds_the_disk_full_names_the_file_and_leaves_the_ones_before(tmp_path: Path) -> None:
    file = tmp_path / "lines"

    def fill() -> None:
        with appended_lines(file) as append:
            for _ in range(100):
                append("x" * 60)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(file)
    assert len(list(json_lines(file))) == 1000 // 63


def test_a_name_that_is_not_utf8_is_its_escape_in_json(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", json.dumps("bad\udcff", ensure_ascii=False))
    assert json.loads((tmp_path / "x").read_text(encoding="utf-8")) == "bad\udcff"

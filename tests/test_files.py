"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tubelet.files import write_atomically, written_atomically


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

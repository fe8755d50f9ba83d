"""Whom a written file is open to, the umask says: 0666 without its bits, whatever library wrote it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from support import error_of, write_checkpoint
from tubelet import cli
from tubelet.data.features.store import VideoFeatures, write_features
from tubelet.files import write_atomically, write_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_every_written_file_has_the_mode_that_the_umask_leaves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "plain", "text")
        write_tensors(tmp_path / "over.safetensors", {"a": torch.zeros(2)})
        (tmp_path / "over.safetensors").chmod(0o600)
        write_tensors(tmp_path / "over.safetensors", {"a": torch.ones(2)})
        checkpoint = write_checkpoint(tmp_path / "best")
        times = np.zeros(1)
        features = VideoFeatures(
            vectors=torch.zeros(1, 2), frame_numbers=np.zeros(1, np.int64), timestamps=times, is_video=True
        )
        write_features(tmp_path / "store" / "video.safetensors", features)
        assert cli.main(["push", str(checkpoint), "me/model", "--dry-run", str(tmp_path / "up")]) == 0
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 8
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {path.name: oct(mode) for path in files}
    capsys.readouterr()


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("x" * 255), "text")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["text"]


def test_an_output_that_cannot_be_a_folder_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    out = str(tmp_path / "file")
    checkpoint = str(write_checkpoint(tmp_path / "best"))
    for argv in (
        ["evaluate", checkpoint, "--data", "none", "--out", out],
        ["data", "scan", "none", "--out", out],
        ["data", "prepare", "none", out],
        ["features", checkpoint, "none", out],
        ["convert", "tubelet", checkpoint, f"{out}/below", "--to", "huggingface"],
    ):
        assert f"{out}: is a file, expected a folder; give another" in error_of(argv, capsys), argv
    assert Path(out).read_bytes() == b"kept"

"""Videos by torchcodec: the same frames as by PyAV, and one line where it is missing or cannot read a row.

torchcodec looks for FFmpeg on the system. So that nothing need be installed there, its cases run in a process of their
own whose loader finds the FFmpeg of PyAV's wheel under the names that torchcodec asks for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import pytest

from support import TRAIN_TINY
from tubelet import cli
from tubelet.data.loading.dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.sources.open import check_decoder
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol

WriteVideo = Callable[..., Path]
CASES = Path(__file__).with_name("torchcodec_cases.py")


def link_ffmpeg(folder: Path) -> None:
    """Links the wheel's libavcodec-5e6b81c2.so.62.28.102 and the others as libavcodec.so.62."""
    folder.mkdir()
    for library in (Path(av.__file__).parents[1] / "av.libs").iterdir():
        name = re.match(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+)", library.name)
        if name is not None:
            (folder / f"{name[1]}{name[2]}").symlink_to(library)


def test_the_cases_hold_where_there_is_an_ffmpeg(tmp_path: Path) -> None:
    link_ffmpeg(tmp_path / "ffmpeg")
    paths = [str(tmp_path / "ffmpeg"), str(Path(av.__file__).parents[1] / "av.libs")]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(paths)}
    words = [sys.executable, "-m", "pytest", str(CASES), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def rows(root: Path, *samples: Sample) -> Manifest:
    return Manifest(root=root, samples=samples, class_names={"label": ("a",)}, layout="files")


def test_rows_that_are_no_video_files_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    video = Sample(path="v.mp4", labels=(0,), split="train")
    for sample, what in (
        (Sample(path="v.npy", labels=(0,), split="train"), "a volume"),
        (Sample(path="s.tar", entry="v.mp4@512+100", labels=(0,), split="train"), "in a tar shard"),
        (Sample(path="frames", labels=(0,), split="train"), "a folder of frames"),
        (Sample(path="v.safetensors", labels=(0,), split="train"), "none by its name"),
    ):
        with pytest.raises(ConfigError) as caught:
            ClipDataset(rows(tmp_path, video, sample), Protocol(), decoder="torchcodec")
        expected = (
            f"decoder=torchcodec reads video files, but {tmp_path / sample.path} is {what}; leave decoder at pyav"
        )
        assert str(caught.value) == expected
        check_decoder("pyav", rows(tmp_path, video, sample))


def test_without_torchcodec_a_run_ends_before_it_begins(
    tmp_path: Path,
    write_video: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)  # importing it then fails
    for name in ("train/a/0.mp4", "train/b/0.mp4", "val/a/1.mp4", "val/b/1.mp4"):
        write_video(tmp_path / "videos" / name)
    out = tmp_path / "run"
    words = [
        "train",
        "--data",
        str(tmp_path / "videos"),
        "--out",
        str(out),
        *TRAIN_TINY,
        "--data.decoder",
        "torchcodec",
    ]
    assert cli.main([*words, "--data.decoder", "torchcodec"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pip install 'tubelet[torchcodec]'" in line
    assert not out.exists()


def test_a_torchcodec_without_ffmpeg_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = ModuleType("torchcodec")
    monkeypatch.setattr(without, "ffmpeg_major_version", None, raising=False)  # what it says of itself then
    monkeypatch.setitem(sys.modules, "torchcodec", without)
    with pytest.raises(ConfigError, match="finds no FFmpeg that it can use"):
        check_decoder("torchcodec", rows(tmp_path))

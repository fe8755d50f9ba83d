"""``tubelet features --shard``: calls share the videos, and together they write the store that one call writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import content_of, videos
from tubelet import cli
from vtn_recipe import write_recipe

__all__ = ["videos"]


@pytest.fixture
def data(videos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("left", "right"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(2):
            shutil.copy(videos / f"train/{name}/000{number}.mp4", folder / "train" / name)
    (folder / "train/left/bad.mp4").write_bytes(b"no video")
    return folder


def test_calls_together_write_the_store_that_one_call_writes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path / "vtn.yaml")

    def features(out: Path, *words: str) -> int:
        more = ["--num-workers", "0", "--device", "cpu", "--allow-random"]
        return cli.main(["features", str(recipe), str(data), str(out), *words, *more])

    one, out = tmp_path / "one", tmp_path / "out"
    assert features(one) == 0
    for shard in ("2/3", "3/3"):
        assert features(out, "--shard", shard) == 0
    err = capsys.readouterr().err
    assert "2 of 5 videos are left to other parts: train/left/0000.mp4, train/right/0000.mp4" in err
    assert "they are those of --shard 1/3" in err
    assert not (out / "manifest.csv").exists()
    assert not (out / "unreadable.csv").exists()
    assert features(out, "--shard", "1/3") == 0
    assert "left" not in capsys.readouterr().err.replace("train/left", "")
    files = content_of(one)
    assert set(content_of(out)) == set(files)
    assert {name for name, content in files.items() if content != content_of(out)[name]} == set()
    assert features(out, "--shard", "1/3", "--precision", "bf16") == 1
    assert "has another precision" in capsys.readouterr().err

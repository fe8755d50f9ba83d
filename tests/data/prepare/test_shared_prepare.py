"""``tubelet data prepare --shard``: calls share the videos, and the last one writes what one call would."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import content_of, error_of, motion_videos
from tubelet import cli
from tubelet.session.shards import PARTS

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four videos, and one that cannot be transcoded."""
    made, root = motion_videos(tmp_path / "motion") / "val", tmp_path / "data"
    for name in ("up", "down", "left", "right"):
        (root / "train" / name).mkdir(parents=True)
        shutil.copy(made / name / "0000.mp4", root / "train" / name)
    shutil.copy(CLIPS / "corrupted.mp4", root / "train/up/bad.mp4")
    return root


def prepare(data: Path, out: Path, *words: str) -> int:
    return cli.main(["data", "prepare", str(data), str(out), "--num-workers", "1", *words])


def files_of(out: Path) -> dict[str, bytes]:
    return {name: text for name, text in content_of(out).items() if PARTS not in name and "sqlite" not in name}


@pytest.mark.parametrize("packed", [(), ("--shards", "1")])
def test_joined_parts_are_what_one_call_prepares(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], packed: tuple[str, ...]
) -> None:
    one, out = tmp_path / "one", tmp_path / "out"
    assert prepare(data, one, *packed) == 1
    capsys.readouterr()
    assert prepare(data, out, *packed, "--shard", "2/3") == 1  # it has the bad file
    assert prepare(data, out, *packed, "--shard", "3/3") == 0
    err = capsys.readouterr().err
    assert "2 of 5 parts are left to other parts: 00000000, 00000003; they are those of --shard 1/3" in err
    assert not (out / "manifest.csv").exists()
    assert prepare(data, out, *packed, "--shard", "1/3") == 1
    assert "1 of 5 videos could not be transcoded" in capsys.readouterr().err
    assert files_of(out) == files_of(one)

    shutil.copy(data / "train/up/0000.mp4", data / "train/up/bad.mp4")
    for shard in ("1/3", "2/3", "3/3"):
        prepare(data, out, *packed, "--shard", shard)
    assert "1 files transcoded" in capsys.readouterr().out or packed
    assert prepare(data, one, *packed) == 0
    assert len((out / "manifest.csv").read_text().splitlines()) == len((one / "manifest.csv").read_text().splitlines())


def test_parts_of_other_files_or_settings_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def says(*words: str) -> str:
        return error_of(["data", "prepare", str(data), str(tmp_path / "out"), *words], capsys)

    assert prepare(data, tmp_path / "out", "--shard", "1/9") == 0
    capsys.readouterr()
    assert "holds prepared files of another encoding" in says("--shard", "2/9", "--quality", "high")
    assert "--shard is a part of the work, such as 2/8; tar files of 500 MB are --shards 500" in says("--shard", "500")
    (data / "train/up/bad.mp4").unlink()
    assert "of another list of files" in says("--shard", "2/9")

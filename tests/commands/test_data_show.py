"""``tubelet data show`` draws the very clips that training and prediction read, and flags what is wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from layout_examples import roboflow
from tubelet import cli
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.shown_clips import ShownClip, show_clips, spread_rows
from tubelet.data.synthetic import write_motion_set
from tubelet.data.video import scaling
from tubelet.protocol import Protocol

CLIPS = Path(__file__).parents[1] / "fixtures" / "clips"
TINY = (
    *("--protocol.num_frames", "4", "--protocol.frame_stride", "2", "--protocol.target_fps", "none"),
    *("--protocol.resize_short_side", "20", "--protocol.crop_size", "16,16"),
)
PROTOCOL = Protocol(num_frames=4, frame_stride=2, resize_short_side=20, crop_size=(16, 16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders with two videos of each of two classes, and one that is broken."""
    root = tmp_path_factory.mktemp("shown")
    write_motion_set(root / "all", {"train": 16}, size_pixels=32, num_frames=10, fps=10)
    for name in ("up", "down"):
        (root / "clips" / name).mkdir(parents=True)
        for file in sorted((root / "all/train" / name).iterdir()):
            file.rename(root / "clips" / name / file.name)
    (root / "clips/up/broken.mp4").write_bytes(b"no video" * 100)
    return root / "clips"


def show(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert cli.main(["data", "show", *options, "--json"]) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


@pytest.mark.parametrize("augmented", [False, True])
def test_the_clips_are_those_of_the_dataset_that_training_reads(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], augmented: bool
) -> None:
    fields = ("--augment.flip_probability", "1.0", "--augment.random_resized_crop", "0.3,1.0")
    options = ["--augmented", *fields] if augmented else []
    npz = tmp_path / "clips.npz"
    shown = show(capsys, str(folder), *TINY, *options, "--out", str(tmp_path / "sheet.png"), "--npz", str(npz))
    manifest = read_manifest(folder, is_checked=False, makes_splits=False)
    if augmented:
        augment = AugmentConfig(flip_probability=1.0, random_resized_crop=(0.3, 1.0))
        dataset = ClipDataset(manifest, PROTOCOL, "train", augment)
    else:
        dataset = ClipDataset(manifest, PROTOCOL, "views")
    rows = [clip["row"] for clip in shown["clips"] if clip["error"] is None]
    items = [dataset.read(row).pixels for row in rows]
    expected = items if augmented else [pixels[len(pixels) // 2] for pixels in items]
    with np.load(npz, allow_pickle=False) as content:
        assert content["pixels"].dtype == np.uint8
        np.testing.assert_array_equal(content["pixels"], torch.stack(expected).permute(0, 2, 3, 4, 1).numpy())
        assert [f"{label}/" in path for label, path in zip(content["labels"], content["paths"], strict=True)]
        assert content["seconds"].shape == (len(rows), 4)


def test_a_broken_row_shows_its_error_and_the_others_are_drawn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert cli.main(["data", "show", str(folder), *TINY, "--out", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "up/broken.mp4: expected a video" in out
    assert "5 clips, 1 cannot be read, 0 flagged" in out
    picture = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1:] < 60).all(axis=-1)  # the error's letters
    assert red.any(axis=1).sum() >= 8
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]


def test_a_name_with_a_line_break_is_drawn_in_one_line(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "two\nlines.mp4"
    shutil.copy(next(folder.glob("up/0*.mp4")), file)
    assert cli.main(["data", "show", str(file), *TINY, "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").exists()


def test_videos_without_classes_and_single_files_are_shown(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, count in ((folder / "down", 2), (folder / "down" / "0000.mp4", 1)):
        shown = show(capsys, str(source), *TINY, "--out", str(tmp_path / "sheet.png"), "--all-views")
        assert len(shown["clips"]) == 4 * count
        assert {clip["label"] for clip in shown["clips"]} == {""}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--num", "0"], ["--num", "from 1"]),
        (["--out", "sheet.jpg"], ["sheet.jpg", ".png"]),
        (["--out", "missing/sheet.png"], ["missing", "make it first"]),
        (["--augmented", "--all-views"], ["--all-views", "leave it out"]),
        (["--split", "val", "--recipe", "no/such"], ["no recipe"]),
    ],
)
def test_wrong_options_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], parts: list[str]
) -> None:
    assert cli.main(["data", "show", str(folder), *options]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert all(part in line for part in parts), line


def test_rows_come_from_every_class_in_turn() -> None:
    samples = tuple(Sample(path=f"{i}.mp4", labels=(0 if i < 90 else i % 3,), split="train") for i in range(99))
    manifest = Manifest(root=Path(), samples=samples, class_names={"label": ("a", "b", "c")}, layout="files")
    rows = spread_rows(manifest, 6, seed=0)
    assert [samples[row].labels for row in rows] == [(0,), (0,), (1,), (1,), (2,), (2,)]
    assert rows != spread_rows(manifest, 6, seed=1)
    assert sorted(spread_rows(manifest, 1000, seed=0)) == list(range(99))


def shown(files: list[Path], protocol: Protocol, augment: AugmentConfig | None, seed: int = 0) -> list[ShownClip]:
    samples = tuple(Sample(path=str(file), labels=(), split="train") for file in files)
    manifest = Manifest(root=Path("/"), samples=samples, class_names={}, layout="files")
    mode: Any = "views" if augment is None else "train"
    dataset = ClipDataset(manifest, protocol, mode, augment, seed, augment_later=augment is not None)
    return list(show_clips(dataset, list(range(len(files))), on_row=lambda done, total: None))


SMALL = Protocol(num_frames=4, frame_stride=2, resize_short_side=64, crop_size=(56, 56))
CROPS = AugmentConfig(random_resized_crop=(0.2, 1.0))


def test_sound_crops_are_not_flagged_although_their_colors_differ_from_those_of_the_frame() -> None:
    files = [CLIPS / name for name in ("h264_10bits.mp4", "av1_video.mkv", "nasa_13013_rotated.mp4")]
    clips = [clip for seed in range(3) for clip in shown(files, SMALL, CROPS, seed)]
    assert not any(clip.flags for clip in clips)
    assert max(abs(a - b) for c in clips for a, b in zip(c.crop_color or (), c.frame_color or (), strict=True)) > 30


def test_misread_chroma_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault of crops with an odd left edge in 10-bit video, which ``_cutting_steps`` mends."""
    monkeypatch.setattr(scaling, "_cutting_steps", lambda pixel_format: (1, 1))
    clips = [clip for seed in range(6) for clip in shown([CLIPS / "h264_10bits.mp4"], SMALL, CROPS, seed)]
    assert any("colors are" in flag for clip in clips for flag in clip.flags)


def test_frames_from_the_future_are_flagged(tmp_path: Path) -> None:
    """A picture that stays 5 s; the nearest frame in time is one that appears later."""
    for number in (*range(10), *range(60, 80)):
        Image.new("RGB", (64, 64), (3 * number, 0, 200 - number)).save(tmp_path / f"img_{number:05d}.png")
    flags = {}
    for rule in ("on_screen", "nearest"):
        protocol = Protocol(
            **{**vars(SMALL), "num_frames": 24, "frame_stride": None, "target_fps": 4.0, "frame_at_time": rule}
        )
        sample = Sample(path=str(tmp_path), labels=(), split="train", fps=10.0)
        manifest = Manifest(root=Path("/"), samples=(sample,), class_names={}, layout="files")
        (clip,) = show_clips(ClipDataset(manifest, protocol, "views"), [0], on_row=lambda done, total: None)
        flags[rule] = clip.flags
    assert flags == {"on_screen": (), "nearest": ("frames are not those on screen 4 times per second",)}


def test_pictures_that_were_clipped_to_white_are_flagged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(3000, 60000, size=(64, 64)).astype(np.uint16)
    for number in range(8):
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    (clip,) = shown([tmp_path], Protocol(**{**vars(SMALL), "picture_window": None}), None)
    assert clip.flags == ("nearly all pixels are (255, 255, 255)",)
    (clip,) = shown([tmp_path], SMALL, None)
    assert clip.flags == ()


def test_an_export_that_is_recognized_is_drawn_as_training_reads_it_also_with_its_films_beside_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = roboflow(tmp_path / "export")
    shutil.copy(next(folder.glob("up/0*.mp4")), root / "day1.mp4")
    shutil.copy(root / "day1.mp4", root / "night.mp4")
    shutil.rmtree(root / "films")
    options = [*TINY, "--data.manifest.frame_fps", "8", "--out", str(tmp_path / "sheet.png")]
    shown = show(capsys, str(root), *options)
    rows = read_manifest(root, ManifestConfig(frame_fps=8)).samples
    assert {clip["label"] for clip in shown["clips"]} == {"walk", "sit"}
    assert sorted(clip["row"] for clip in shown["clips"]) == [*range(len(rows))] == [*range(4)]

"""Frame folders and members of tar shards are prepared to what their pictures, or the loose files, are prepared to."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional

from support import assert_one_line
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.config import Encoding, PrepareConfig
from tubelet.data.prepare.prepare_dataset import prepare
from tubelet.data.prepare.transcode_folder import transcode_folder
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.shards import address, read_member
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError

SMALL = PrepareConfig(num_workers=1, short_side=32)


def manifest_of(root: Path, *samples: Sample) -> Manifest:
    return Manifest(root=root, samples=samples, class_names={"label": ("a", "b")}, layout="csv")


def pictures(folder: Path, numbers: list[int], suffix: str = "jpg") -> Path:
    """Pictures of 90 x 60 pixels, each of another color that changes from left to right."""
    folder.mkdir(parents=True)
    for number in numbers:
        picture = np.zeros((60, 90, 3), np.uint8)
        picture[..., 0] = np.linspace(0, 250, 90)
        picture[..., 1], picture[:30, :, 2] = 40 * (number % 6), 255 - 30 * (number % 7)
        Image.fromarray(picture).save(folder / f"img_{number:05d}.{suffix}", quality=95)
    return folder


@pytest.mark.parametrize("size", [(32, 48), (60, 90)])  # small; and as it is, where nothing but the encoding differs
def test_the_pictures_of_a_folder_are_there_in_their_colors_and_at_their_times(
    size: tuple[int, int], tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "film", [1, 2, 3, 4, 7, 8, 9])  # two that are missing: 4 stays longer on screen
    encoding = Encoding(short_side=size[0], crf=6)
    count = transcode_folder(folder, 29.97, tmp_path / "p.mp4", encoding)
    with VideoReader(tmp_path / "p.mp4") as copy, FrameFolderReader(folder, 29.97) as source:
        assert count == len(copy.timestamps) == len(source.timestamps) == 7
        assert (copy.height, copy.width) == size
        np.testing.assert_allclose(copy.timestamps, source.timestamps, atol=1e-5)
        every = list(range(count))
        expected = functional.resize(source.frames_at(every).pixels, list(size), antialias=True)
        errors = (copy.frames_at(every).pixels.float() - expected.float()).abs().mean(dim=(1, 2, 3))
    assert errors.max() < 3, errors  # of 255; that of the next picture, or of another color matrix, is larger


def test_rows_of_a_frame_folder_become_rows_of_its_film(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "film", [1, 2, 3, 4, 5, 6])
    pictures(tmp_path / "data" / "film.mp4", [1, 2], "png")  # a folder whose name the copy of the other one has
    rows = [
        Sample(path="film", labels=(0,), split="train", fps=10.0, start_frame=2, end_frame=5),
        Sample(path="film", labels=(1,), split="train", fps=10.0),
        Sample(path="film.mp4", labels=(1,), split="test", fps=10.0),
    ]
    done = prepare(manifest_of(tmp_path / "data", *rows), tmp_path / "out", SMALL)
    assert (done.num_files, done.failures) == (2, {})
    found = read_manifest(done.manifest).samples
    assert [(s.fps, s.start_frame, s.end_frame, s.labels) for s in found] == [
        (None, 2, 5, (0,)), (None, None, None, (1,)), (None, None, None, (1,))
    ]  # fmt: skip
    assert found[0].path == found[1].path != found[2].path
    again = prepare(manifest_of(tmp_path / "data", *rows), tmp_path / "out", SMALL)
    assert again.num_made == 0
    faster = [replace(row, fps=20.0) for row in rows]
    assert prepare(manifest_of(tmp_path / "data", *faster), tmp_path / "out", SMALL).num_made == 2
    with pytest.raises(DataError, match=r"film: has rows of 10.0 and of 20.0 frames per second; give it one"):
        prepare(manifest_of(tmp_path / "data", rows[0], faster[1]), tmp_path / "out", SMALL)


def test_pictures_that_no_film_keeps_are_named_and_their_rows_left_out(tmp_path: Path) -> None:
    pictures(tmp_path / "good", [1, 2])
    (tmp_path / "deep").mkdir()
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep" / "1.png")
    rows = [Sample(path=path, labels=(0,), split="train", fps=5.0) for path in ("good", "deep")]
    done = prepare(manifest_of(tmp_path, *rows), tmp_path / "out", SMALL)
    assert list(done.failures) == ["deep"]
    assert "deep/1.png: has 16 bits, which no H.264 file keeps; train on the pictures" in done.failures["deep"]
    assert [row.path for row in read_manifest(done.manifest, is_checked=False).samples] == ["good.mp4"]


@pytest.mark.parametrize("shards", [None, 1])
def test_members_of_shards_are_prepared_to_the_bytes_of_the_loose_files(
    shards: int | None, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    root, entries = tmp_path / "data", list[str]()
    files = [write_video(root / name, seed=seed) for seed, name in enumerate(("a/one.mp4", "two.mp4"))]
    with tarfile.open(root / "train.tar", "w") as archive:
        for file in files:
            archive.add(file, file.relative_to(root).as_posix())
    with tarfile.open(root / "train.tar") as archive:
        entries += [address(member) for member in archive if member.isfile()]
    loose = manifest_of(root, *(Sample(path=name, labels=(0,), split="train") for name in ("a/one.mp4", "two.mp4")))
    packed = manifest_of(
        root,
        *(Sample(path="train.tar", entry=entry, labels=(0,), split="train") for entry in entries),
        Sample(path="train.tar", entry=entries[0], labels=(1,), split="train", end_seconds=0.5),
    )
    prepare(loose, tmp_path / "loose", SMALL)
    done = prepare(packed, tmp_path / "out", replace(SMALL, shards=shards))
    assert (done.num_files, done.num_made, done.source_bytes) == (2, 2, sum(file.stat().st_size for file in files))
    rows = read_manifest(done.manifest).samples
    assert rows[0].path == ("train/a/one.mp4" if shards is None else "shards/train-000000.tar")
    for row, name in zip(rows, ("a/one.mp4", "two.mp4", "a/one.mp4"), strict=True):
        path = tmp_path / "out" / row.path
        content = path.read_bytes() if row.entry is None else read_member(path, row.entry)
        assert content == (tmp_path / "loose" / name).read_bytes()
    assert prepare(packed, tmp_path / "out", replace(SMALL, shards=shards)).num_made == 0


def test_a_damaged_member_is_named_with_its_shard(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        archive.add(tmp_path / "bad.mp4", "bad.mp4")
    with tarfile.open(tmp_path / "train.tar") as archive:
        (entry,) = (address(member) for member in archive)
    manifest = manifest_of(tmp_path, Sample(path="train.tar", entry=entry, labels=(0,), split="train"))
    with pytest.raises(DataError) as caught:
        prepare(manifest, tmp_path / "out", SMALL)
    assert_one_line(caught, "train.tar:bad.mp4")


def test_volumes_are_refused_for_what_they_would_lose(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((4, 8, 8), np.uint8))
    with pytest.raises(DataError) as caught:
        prepare(manifest_of(tmp_path, Sample(path="v.npy", labels=(0,), split="train")), tmp_path / "out", SMALL)
    assert_one_line(caught, "1 are volumes (first: v.npy)", "values of volumes and DICOM files would not stay as they")

"""What a model was trained on is known by content and segment, in whatever file it lies."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np

from support import PROTOCOL
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.content_hash import ContentHasher
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.sources.shards import address
from tubelet.evaluation.trained_on import TrainedOn


def manifest(root: Path, *rows: Sample) -> Manifest:
    return Manifest(root=root, samples=rows, class_names={"label": ("a", "b")}, layout="files")


def row(path: str, **segment: float | int | str | None) -> Sample:
    return Sample(path=path, labels=(0,), split="train", **segment)  # type: ignore[arg-type]


def write(path: Path, value: int) -> None:
    np.save(path, np.full((8, 24, 24), value, np.uint8))


def test_segments_are_seen_where_they_share_half_of_the_shorter(tmp_path: Path) -> None:
    rows = manifest(tmp_path, row("film", start_seconds=2.5, end_seconds=7.1), row("film", start_frame=3, end_frame=9))
    known = TrainedOn.of(manifest(tmp_path, rows.samples[0], row("clip")), {"film": "f" * 32, "clip": "c" * 32})
    again = TrainedOn.from_dict(known.to_dict())
    assert again.to_dict() == known.to_dict()
    others = {
        "x [2.5-7.1]": row("x", start_seconds=2.5, end_seconds=7.1),
        "x [6-7]": row("x", start_seconds=6.0, end_seconds=7.0),
        "x": row("x"),
        "y": row("y", start_seconds=1.0),
        "x [7-20]": row("x", start_seconds=7.0, end_seconds=20.0),
        "z": row("z"),
    }
    contents = {"x": "f" * 32, "y": "c" * 32, "z": "0" * 32}
    seen = again.seen(manifest(tmp_path, *others.values()), contents)
    assert seen == [others[name] for name in ("x [2.5-7.1]", "x [6-7]", "x", "y")]


def test_a_loader_hashes_each_file_once_in_whatever_process(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / f"{i}.npy", i // 2)
    rows = manifest(tmp_path, *(row(f"{i}.npy") for i in range(4)), row("0.npy", start_seconds=0.0, end_seconds=4.0))
    found = []
    for num_workers in (0, 2):
        with Loader(ClipDataset(rows, PROTOCOL, "views"), 2, num_workers=num_workers) as loader:
            loader.hash_files()
            assert len(list(loader.eval_batches())) == 3
            found.append(loader.take_contents())
            assert len(list(loader.eval_batches())) == 3
            assert loader.take_contents() == {}  # whichever process read it the first time
    assert found[0] == found[1]
    hashes = [found[0][f"{i}.npy"] for i in range(4)]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]


def test_a_member_of_a_shard_is_known_by_the_hash_of_its_file(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", 1)
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "a.npy", "renamed.npy")
    with tarfile.open(tmp_path / "s.tar") as archive:
        entry = address(archive.getmembers()[0])
    (tmp_path / "frames").mkdir()
    shutil.copy(tmp_path / "a.npy", tmp_path / "frames" / "0.png")
    rows = manifest(tmp_path, row("a.npy"), row("s.tar", entry=entry), row("frames"))
    hasher = ContentHasher(tmp_path)
    hashes = [hasher.content_of(sample, lambda seconds: None) for sample in rows.samples]
    assert hashes[0] == hashes[1] == hashes[2]

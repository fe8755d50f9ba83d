"""The scan finds in a tar shard what it finds in the same files when they are loose."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from layout_examples import tar
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.prepare_dataset import prepare
from tubelet.data.scan.config import ScanConfig
from tubelet.data.scan.scan_dataset import Scan, scan
from tubelet.data.scan.scan_file import FileFacts, ScanFile, scan_file
from tubelet.data.sources.shards import member_range
from tubelet.data.video.truncation import missing_bytes

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
SMALL = PrepareConfig(num_workers=1)
# A container whose index is at its end, one that tells no length, one with B-frames, one that is damaged.
NAMES = ("rotation_90.mov", "no_duration.webm", "h264_10bits.mp4", "av1_video.mkv", "corrupted.mp4")


def told(facts: FileFacts) -> dict[str, Any]:
    """All that does not depend on where the file lies."""
    return {name: value for name, value in asdict(facts).items() if name not in ("path", "fingerprint")}


def look_at_member(shard: Path, entry: str | None) -> FileFacts:
    return scan_file(ScanFile(path=f"{shard.name}:{entry}", file=shard, entry=entry))


def entries(shard: Path) -> list[str]:
    config = ManifestConfig(layout="webdataset", val_fraction=0.0, test_fraction=0.0)
    return [row.entry or "" for row in read_manifest(shard, config, is_checked=False).samples]


def test_members_whole_cut_and_damaged_are_called_what_their_files_are_called(tmp_path: Path) -> None:
    loose = [shutil.copy(CLIPS / name, tmp_path / f"{number}{Path(name).suffix}") for number, name in enumerate(NAMES)]
    for name in NAMES[:4]:  # cut short, as by an interrupted download
        content = (CLIPS / name).read_bytes()
        loose.append(tmp_path / f"{len(loose)}{Path(name).suffix}")
        loose[-1].write_bytes(content[: len(content) * 6 // 10])
    loose.append(tmp_path / "9.mp4")
    loose[-1].write_bytes(b"no video")
    members = {}
    for file in loose:
        members |= {file.name: Path(file).read_bytes(), f"{Path(file).stem}.cls": b"a"}
    shard = tar(tmp_path / "s.tar", members)
    kinds = []
    for file, entry in zip(loose, entries(shard), strict=True):
        expected = scan_file(ScanFile(path="", file=Path(file), entry=None))
        assert told(look_at_member(shard, entry)) == told(expected)
        assert missing_bytes(shard, member_range(shard, entry)) == missing_bytes(Path(file))
        kinds.append(expected.kind)
    assert kinds[:5] == ["ok"] * 4 + ["damaged"]
    assert kinds[5:].count("truncated") == 3  # the WebM does not say how long it is
    assert kinds[9] == "unreadable"


@pytest.fixture
def prepared(tmp_path: Path, write_video: Callable[..., Path]) -> tuple[Manifest, Manifest]:
    """The same videos prepared as loose files and as shards; one is in train and in test."""
    root = tmp_path / "data"
    rows = (("a/0.mp4", 0, "train", 0), ("b/1.mp4", 1, "train", 1), ("a/2.mp4", 0, "test", 0), ("b/3.mp4", 1, "val", 3))
    for path, _, _, seed in rows:
        write_video(root / path, seed=seed)
    samples = tuple(Sample(path=path, labels=(label,), split=split) for path, label, split, _ in rows)
    manifest = Manifest(root=root, samples=samples, class_names={"label": ("a", "b")}, layout="csv")
    loose = read_manifest(prepare(manifest, tmp_path / "loose", SMALL).manifest)
    return loose, read_manifest(prepare(manifest, tmp_path / "packed", replace(SMALL, shards=1)).manifest)


def scanned(manifest: Manifest, out: Path) -> Scan:
    return scan(manifest, ScanConfig(num_workers=1), out)


def test_prepared_shards_are_as_clean_as_the_prepared_files_and_leak_where_they_leak(
    prepared: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    files, packed = (scanned(manifest, tmp_path / f"scan-{place}") for place, manifest in enumerate(prepared))
    assert [told(facts) for facts in packed.facts.values()] == [told(facts) for facts in files.facts.values()]
    assert {facts.kind for facts in packed.facts.values()} == {"ok"}
    assert packed.findings.bad_files == ()
    for result in (files, packed):
        (group,) = result.findings.leakage
        assert [row.split for row in group.rows] == ["train", "test"]
    (left_out,) = packed.findings.quarantine()
    assert left_out.path.startswith("shards/train-000000.tar:a/0.mp4@")

"""Every kind of fault is found in a real file, and nothing is said of files that are right."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from support import write_csv
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.quarantine import write_quarantine
from tubelet.data.manifest.read import read_manifest
from tubelet.data.scan.config import ScanConfig
from tubelet.data.scan.report import as_dict, as_text
from tubelet.data.scan.scan_dataset import RESULTS, Scan, scan
from tubelet.data.scan.scan_file import FileFacts, ScanFile, scan_file
from tubelet.data.video.truncation import missing_bytes

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
WriteVideo = Callable[..., Path]


def look_at(file: Path) -> FileFacts:
    return scan_file(ScanFile(path=file.name, file=file, entry=None))


def remux(source: Path, target: Path, keep_packets: int | None = None) -> Path:
    """The same packets in another container, or the first of them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for number, packet in enumerate(old.demux(stream)):
            if packet.dts is None or (keep_packets is not None and number >= keep_packets):
                continue
            packet.stream = copy
            new.mux(packet)
    return target


def scanned(root: Path, out: Path, config: ScanConfig | None = None, **manifest: object) -> Scan:
    options = {"val_fraction": 0.0, "test_fraction": 0.0, **manifest}
    read = read_manifest(root, ManifestConfig(**options), is_checked=False)  # type: ignore[arg-type]
    return scan(read, config or ScanConfig(num_workers=1), out)


# One file


@pytest.mark.parametrize("name", sorted(f.name for f in CLIPS.iterdir() if f.suffix != ".md" and f.stem != "corrupted"))
def test_nothing_is_said_of_odd_files_that_are_right(name: str) -> None:
    facts = look_at(CLIPS / name)
    assert (facts.kind, facts.reason, facts.variable_rate) == ("ok", "", "")
    assert facts.num_frames > 0
    assert facts.content is not None


def test_a_file_with_damaged_packets_is_damaged() -> None:
    facts = look_at(CLIPS / "corrupted.mp4")
    assert facts.kind == "damaged"
    assert "28 of 50 frames decode" in facts.reason


@pytest.mark.parametrize("name", ["h264_10bits.mp4", "transparent.webm", "av1_video.mkv", "unordered.mov"])
def test_a_file_cut_short_is_truncated(tmp_path: Path, name: str) -> None:
    content = (CLIPS / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(content[: len(content) * 6 // 10])
    assert look_at(cut).kind == "truncated"
    assert missing_bytes(cut) > 0
    assert missing_bytes(CLIPS / name) == 0


def test_an_avi_cut_short_is_truncated(tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 5 * index, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert look_at(file).kind == "ok"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert missing_bytes(file) == len(content) - len(content) // 2
    assert look_at(file).kind == "truncated"


def test_fewer_frames_than_the_header_promises_are_found_without_an_error_of_the_decoder(tmp_path: Path) -> None:
    """A Matroska file whose writer stopped: its header says 5 s, its clusters end earlier, no byte is missing."""
    content = bytearray((CLIPS / "transparent.webm").read_bytes())
    cut = content[: len(content) * 6 // 10]
    segment = cut.index(b"\x18\x53\x80\x67") + 4
    cut[segment : segment + 8] = b"\x01" + b"\xff" * 7  # a Segment whose size is not known
    file = tmp_path / "short.webm"
    file.write_bytes(cut)
    assert missing_bytes(file) == 0
    facts = look_at(file)
    assert facts.kind == "silent_short"
    assert "of 5.00 promised seconds" in facts.reason
    assert 0 < facts.num_frames < 150


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x00" * 5000])
def test_what_is_no_video_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    facts = look_at(tmp_path / "a.mp4")
    assert facts.kind == "unreadable"
    assert facts.reason
    assert "\n" not in facts.reason
    assert str(tmp_path) not in facts.reason


def test_a_variable_rate_is_told_and_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "vfr.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 10 * index, np.uint8), format="rgb24")
            frame.pts = index if index < 10 else 4 * index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    facts = look_at(file)
    assert facts.kind == "ok"
    assert "ms between frames" in facts.variable_rate


def test_content_is_that_of_the_pictures_and_not_of_the_file(tmp_path: Path, write_video: WriteVideo) -> None:
    one = write_video(tmp_path / "one.mp4", seed=1)
    content = look_at(one).content
    assert content is not None
    assert look_at(remux(one, tmp_path / "renamed and wrapped.mkv")).content == content
    assert look_at(write_video(tmp_path / "other.mp4", seed=2)).content != content
    assert look_at(remux(one, tmp_path / "shorter.mkv", keep_packets=6)).content != content


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    assert look_at(tmp_path / "a.mp4").kind == "unreadable"


# A dataset


@pytest.fixture
def footage(tmp_path: Path, write_video: WriteVideo) -> Path:
    root = tmp_path / "footage"
    for number, place in enumerate(("train/a/0", "train/a/1", "train/b/2", "test/a/3", "test/b/4")):
        write_video(root / f"{place}.mp4", seed=number)
    return root


def test_a_clean_dataset_is_called_clean(footage: Path, tmp_path: Path) -> None:
    result = scanned(footage, tmp_path / "out")
    assert result.findings.is_clean
    assert list(result.findings.quarantine()) == []
    assert "No problems" in as_text(result)


def test_leaks_conflicts_and_bad_files_are_found_and_left_out_by_the_list(
    footage: Path, tmp_path: Path, write_video: WriteVideo
) -> None:
    remux(footage / "train/a/1.mp4", footage / "test/a/renamed.mkv")  # leakage
    shutil.copy(footage / "test/b/4.mp4", footage / "test/a/other_label.mp4")  # a conflict
    shutil.copy(footage / "train/b/2.mp4", footage / "train/b/again.mp4")  # a duplicate
    (footage / "train/a/bad.mp4").write_bytes(b"no video")
    write_video(footage / "test/c/5.mp4", seed=9)  # a class without training rows
    result = scanned(footage, tmp_path / "out", ScanConfig(num_workers=2))
    found = result.findings
    assert [group.text for group in found.leakage] == ["test/a/renamed.mkv (test) = train/a/1.mp4 (train)"]
    assert [{row.path for row in group.rows} for group in found.conflicts] == [
        {"test/a/other_label.mp4", "test/b/4.mp4"}
    ]
    assert [{row.path for row in group.rows} for group in found.duplicates] == [{"train/b/2.mp4", "train/b/again.mp4"}]
    assert [facts.path for facts in found.bad_files] == ["train/a/bad.mp4"]
    assert found.labels == ("class 'c' (label): 1 rows in test, none in train",)
    assert not found.is_clean
    text = as_text(result)
    assert text.index("leakage") < text.index("different labels") < text.index("train/a/bad.mp4") < text.index("'c'")
    data = json.loads(json.dumps(as_dict(result)))
    assert data["kinds"] == {"ok": 9, "unreadable": 1}

    # What is tested stays; what was trained on it goes.
    quarantine = tmp_path / "quarantine.csv"
    write_quarantine(quarantine, found.quarantine())
    (footage / "test/c/5.mp4").unlink()
    config = ManifestConfig(val_fraction=0.0, quarantine=quarantine)
    whole, kept = read_manifest(footage, ManifestConfig(val_fraction=0.0)), read_manifest(footage, config)
    gone = {sample.path for sample in whole.samples} - {sample.path for sample in kept.samples}
    assert gone == {"train/a/1.mp4", "train/a/bad.mp4"}
    (note,) = [note for note in kept.notes if "quarantine" in note]
    assert note.startswith("2 of 9 rows left out")
    assert "train/a/bad.mp4 (unreadable: " in note
    assert kept.fingerprint != whole.fingerprint


def test_missing_files_are_listed(footage: Path, tmp_path: Path) -> None:
    table = write_csv(
        footage / "rows.csv",
        [("path", "label", "split"), ("train/a/0.mp4", "a", "train"), ("train/b/gone.mp4", "b", "train")],
    )
    result = scanned(table, tmp_path / "out")
    (bad,) = result.findings.bad_files
    assert (bad.path, bad.kind) == ("train/b/gone.mp4", "missing")


def test_segments_that_are_not_within_their_videos_are_found(footage: Path, tmp_path: Path) -> None:
    """The videos last 1.2 s. What ends a little later was rounded."""
    rows = [
        ("train/a/0.mp4", "a", "train", 0, 1.5),
        ("train/a/1.mp4", "a", "train", 1, 3),
        ("train/b/2.mp4", "b", "train", 1.2, 1.6),
        ("test/b/4.mp4", "b", "test", 40, ""),
        ("test/a/3.mp4", "a", "test", "", 1.2),
    ]
    table = write_csv(footage / "rows.csv", [("path", "label", "split", "start_seconds", "end_seconds"), *rows])
    result = scanned(table, tmp_path / "out")
    found = [(segment.row.path, segment.is_empty) for segment in result.findings.segments]
    assert found == [("train/a/1.mp4", False), ("train/b/2.mp4", True), ("test/b/4.mp4", True)]
    assert not result.findings.is_clean
    text = as_text(result)
    assert "train/a/1.mp4 (train): the segment is 1 to 3 s, the video ends at 1.2 s: 0.2 of 2 s are there" in text
    assert [wrong["path"] for wrong in as_dict(result)["segments"]] == [path for path, _ in found]
    left_out = [(line.path, line.start_seconds) for line in result.findings.quarantine()]
    assert left_out == [("train/b/2.mp4", 1.2), ("test/b/4.mp4", 40.0)]


def test_segments_leak_only_where_they_overlap(footage: Path, tmp_path: Path) -> None:
    rows = [
        ("train/a/0.mp4", "a", "train", 0, 0.5),
        ("train/a/0.mp4", "a", "test", 0.5, 1.0),  # touches, does not overlap
        ("train/b/2.mp4", "b", "train", 0, 0.7),
        ("train/b/2.mp4", "b", "test", 0.6, 1.0),
    ]
    table = write_csv(footage / "rows.csv", [("path", "label", "split", "start_seconds", "end_seconds"), *rows])
    result = scanned(table, tmp_path / "out")
    (group,) = result.findings.leakage
    assert {row.path for row in group.rows} == {"train/b/2.mp4"}
    (line,) = result.findings.quarantine()
    assert (line.path, line.split, line.start_seconds, line.end_seconds) == ("train/b/2.mp4", "train", 0.0, 0.7)
    quarantine = tmp_path / "quarantine.csv"
    write_quarantine(quarantine, [line])
    kept = read_manifest(table, ManifestConfig(val_fraction=0.0, quarantine=quarantine), is_checked=False)
    assert [(row.path, row.split) for row in kept.samples] == [
        ("train/a/0.mp4", "train"),
        ("train/a/0.mp4", "test"),
        ("train/b/2.mp4", "test"),
    ]


def test_a_decoder_that_hangs_is_killed_and_the_scan_goes_on(footage: Path, tmp_path: Path) -> None:
    os.mkfifo(footage / "train/a/pipe.npy")  # opening it waits for a writer that never comes
    result = scanned(footage, tmp_path / "out", ScanConfig(num_workers=1, timeout_seconds=2.0))
    (bad,) = result.findings.bad_files
    assert (bad.path, bad.kind) == ("train/a/pipe.npy", "hung")
    assert bad.reason == "not read within 2 s, its process was killed"
    assert sum(facts.kind == "ok" for facts in result.facts.values()) == 5


def test_a_second_scan_decodes_only_what_changed(footage: Path, tmp_path: Path, write_video: WriteVideo) -> None:
    out = tmp_path / "out"
    first = scanned(footage, out)
    assert first.num_reused == 0
    write_video(footage / "train/a/1.mp4", seed=77)
    results = out / RESULTS
    lines = results.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "train/b/2.mp4" not in line]
    results.write_text("\n".join(kept) + '\n{"version": 2, "path": "train/b/2.m', encoding="utf-8")  # killed there
    second = scanned(footage, out)
    assert second.num_reused == 3
    assert list(second.facts) == list(first.facts)
    changed = {path for path in first.facts if first.facts[path] != second.facts[path]}
    assert changed == {"train/a/1.mp4"}
    assert scanned(footage, out).num_reused == 5


def test_volumes_of_one_archive_are_files_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 8, 8), dtype=np.uint8)
    test = images[:2].copy()
    test[1] += 1
    labels = np.arange(6, dtype=np.uint8)[:, None] % 2
    np.savez(tmp_path / "v.npz", train_images=images, train_labels=labels, test_images=test, test_labels=labels[:2])
    result = scanned(tmp_path / "v.npz", tmp_path / "out")
    (group,) = result.findings.leakage
    assert {row.entry for row in group.rows} == {"train_images[0]", "test_images[0]"}
    assert [line.path for line in result.findings.quarantine()] == ["v.npz:train_images[0]"]

"""Commands beside training, prediction and the scan say what footage that is not plain becomes."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tubelet import cli
from tubelet.data.scan.scan_file import ScanFile, scan_file
from vtn_recipe import write_recipe, write_store

HDR = "HDR (PQ), mapped to SDR (protocol.hdr=tone_map)"


def write_hdr(path: Path, level: int) -> Path:
    """Ten frames of one value, tagged as PQ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.color_primaries, stream.codec_context.color_trc = 9, 16
        for number in range(10):
            pixels = np.full((32, 32, 3), level + number, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.color_primaries, frame.color_trc = 9, 16
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two HDR videos in class folders."""
    root = tmp_path_factory.mktemp("hdr")
    for number, name in enumerate(("up", "down")):
        write_hdr(root / "test" / name / "clip.mp4", 60 + 40 * number)
    return root


def test_evaluate_names_the_first_hdr_video_and_counts_all(
    checkpoint: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "scores"))
    assert (
        cli.main(["evaluate", str(checkpoint), "--data", str(footage), "--num-workers", "0", "--device", "cpu", *out])
        == 0
    )
    told = capsys.readouterr().err
    assert told.count(f"clip.mp4: {HDR}") == 1
    assert f"2 of 2 videos of split 'all': {HDR}" in told


def test_features_name_the_first_hdr_video_and_count_all(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_store(write_recipe(tmp_path / "vtn.yaml"), footage, tmp_path / "store")
    told = capsys.readouterr().err
    assert told.count(f"clip.mp4: {HDR}") == 1
    assert f"2 of 2 videos: {HDR}" in told


def test_a_stream_says_once_that_its_pictures_are_hdr(
    checkpoint: Path, footage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(footage / "test" / "up" / "clip.mp4")
    assert cli.main(["stream", str(checkpoint), source, "--window", "400ms", "--device", "cpu"]) == 0
    assert capsys.readouterr().err.count(f"stream: {HDR}") == 1


def test_the_scan_notes_hdr(footage: Path) -> None:
    file = footage / "test" / "up" / "clip.mp4"
    facts = scan_file(ScanFile(path="clip.mp4", file=file, entry=None))
    assert (facts.kind, facts.notes) == ("ok", (HDR,))


def test_a_row_whose_frame_folder_is_missing_is_not_taken_for_a_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("gone 12 0\n")
    options = ("--data.manifest.layout", "list", "--data.manifest.frame_fps", "25")
    assert cli.main(["data", "show", str(tmp_path / "list.txt"), *options, "--out", str(tmp_path / "s.png")]) == 0
    assert "gone: there is no such file" in capsys.readouterr().out

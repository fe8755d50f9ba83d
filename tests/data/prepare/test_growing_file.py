"""A copy that is watched while it is made has the frames and times of the whole one, as far as it is there."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.transcode import transcode
from tubelet.data.video.reader import VideoReader


def old_film(path: Path, count: int) -> Path:
    """MPEG-4 part 2 in AVI, of noise that moves to the side."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(count):
            picture = np.ascontiguousarray(np.roll(noise, number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def times_of(path: Path) -> list[float]:
    """Presentation times of the frames that decode."""
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0) if frame.time is not None]


def test_the_growing_file_has_the_times_of_the_whole_one(tmp_path: Path) -> None:
    source = old_film(tmp_path / "old.avi", 90)
    encoding = Encoding(short_side=48, crf=23, preset="veryfast", keyframe_interval=16, b_frames=0)
    target, growing = tmp_path / "whole.mp4", tmp_path / "growing.mp4"
    assert transcode(source, target, encoding, growing=growing) == 90
    with VideoReader(target) as reader:
        times = reader.timestamps.tolist()
    assert len(times) == 90
    content = growing.read_bytes()
    for share in (0.4, 0.8):
        whole = content.rindex(b"moof", 0, int(len(content) * share)) - 4  # fragments that are there to their end
        (tmp_path / "part.mp4").write_bytes(content[:whole])
        seen = times_of(tmp_path / "part.mp4")
        assert 10 < len(seen) < 90
        assert np.allclose(seen, times[: len(seen)], atol=1e-4)

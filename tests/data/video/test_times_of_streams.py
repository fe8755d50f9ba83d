"""Frames have the times at which they were to be shown, also where a container tells decoding times or none."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tubelet.data.video.reader import VideoReader


def write(path: Path, codec: str, ticks: Sequence[int], ticks_per_second: int) -> Path:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=ticks_per_second, options={"bf": "2", "g": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, ticks_per_second)
        for tick in ticks:
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, ticks_per_second)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_frames_of_an_avi_with_pauses_and_b_frames_have_times_off_by_a_pause_at_most(tmp_path: Path) -> None:
    """The container tells when frames are decoded, which is not quite when they are shown."""
    ticks = np.cumsum(np.random.default_rng(1).choice([20, 40, 500], 30))
    with VideoReader(write(tmp_path / "pauses.avi", "libx264", ticks.tolist(), 1000)) as reader:
        assert np.all(np.diff(reader.timestamps) > 0)
        np.testing.assert_allclose(reader.timestamps, (ticks - ticks[0]) / 1000, atol=0.5)


@pytest.mark.parametrize(("name", "codec"), [("raw.m1v", "mpeg1video"), ("raw.m2v", "mpeg2video")])
def test_frames_of_a_raw_stream_are_evenly_spaced(name: str, codec: str, tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / name, codec, range(30), 25)) as reader:
        np.testing.assert_allclose(reader.timestamps, np.arange(30) / 25, atol=1e-9)

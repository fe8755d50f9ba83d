"""``tubelet stream rtsp://...`` against a real RTSP server on this machine: MPEG-TS in RTP packets over TCP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_film import FPS, write_film
from rtsp_server import TS_PACKET, serving

from tubelet import cli, load
from tubelet.data.video.reader import VideoReader
from tubelet.inference.long_video import predict_windows
from tubelet.inference.windows import WindowPlan
from tubelet.types import Segment

PLAN = WindowPlan(num_frames=4, hop=4, seconds_per_sample=0.1)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("rtsp") / "film.ts")


def stream(checkpoint: Path, address: str, *options: str) -> int:
    words = ["--window", "0.4s", "--json", "--top-k", "8", "--device", "cpu", "--drop", "never", "--retries", "1"]
    return cli.main(["stream", str(checkpoint), address, *words, *options])


def offline(checkpoint: Path, film: Path) -> list[Segment]:
    with VideoReader(film) as reader:
        return list(predict_windows(load(checkpoint, "cpu"), reader, PLAN))


def assert_same(found: list[dict[str, object]], expected: list[Segment], later: float = 0.0) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one["start_seconds"] == pytest.approx(other.start_seconds + later, abs=1e-6)
        probs = dict(zip(one["labels"], one["probs"], strict=True))  # type: ignore[call-overload]
        assert probs == pytest.approx(dict(zip(other.labels, other.probs, strict=True)), abs=1e-5)


def test_a_stream_over_rtsp_has_the_segments_of_the_file(
    checkpoint: Path, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server cuts the connection at the end and sends nothing to the second client: the command gives up."""
    content = film.read_bytes()

    def play(client: int) -> Iterator[bytes]:
        if client == 0:
            yield content

    with serving(play) as (address, requests):
        assert stream(checkpoint, address, "--timeout", "2s") == 1
    out, err = capsys.readouterr()
    assert_same([json.loads(line) for line in out.splitlines()], offline(checkpoint, film))
    assert requests[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert f"{6 * FPS - 1} frames in 1 connections; 0 left out" in err  # a last frame ends only when another begins
    assert f"{address}: " in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("gave up after 1 more attempts")


def test_an_rtsp_server_that_stalls_drops_and_comes_back_loses_no_whole_window(
    checkpoint: Path, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First half of the film, with a pause in it; then, after a break, all of it from its beginning."""
    content = film.read_bytes()
    half = len(content) // 2 // TS_PACKET * TS_PACKET
    quarter = half // 2 // TS_PACKET * TS_PACKET

    def play(client: int) -> Iterator[bytes]:
        if client == 0:
            yield content[:quarter]
            time.sleep(0.5)
            yield content[quarter:half]
        elif client == 1:
            yield content

    with serving(play) as (address, _):
        assert stream(checkpoint, address, "--timeout", "2s") == 1
    out, err = capsys.readouterr()
    found, expected = [json.loads(line) for line in out.splitlines()], offline(checkpoint, film)
    first = len(found) - len(expected)
    assert len(expected) // 3 <= first < len(expected)
    assert_same(found[: first - 1], expected[: first - 1])  # the last one ends where the connection broke
    again = found[first]["start_seconds"]
    assert again > 0.5
    assert_same(found[first:], expected, later=again)
    assert "trying again in 0.05 s" in err
    assert "frames in 2 connections; 0 left out" in err


def test_nobody_at_an_rtsp_address_is_an_error_and_nothing_hangs(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda client: iter(())) as (address, _):
        pass  # gone again
    assert stream(checkpoint, address) == 1
    err = capsys.readouterr().err
    assert f"tubelet: error: {address}: cannot be opened (Connection refused); gave up after 1 more attempts" in err

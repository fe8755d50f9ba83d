"""Real sources that stall, break off and come back: every complete window is given, and nothing hangs."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import pytest
from http_server import headers, serving, start_of
from live_film import FPS, write_film

from support import MODEL, PROTOCOL, tiny_model
from tubelet import cli, load
from tubelet.data.video.live import LiveFrame, LiveSource
from tubelet.data.video.reader import VideoReader
from tubelet.errors import VideoError
from tubelet.inference import live
from tubelet.inference.live import Watcher
from tubelet.inference.long_video import predict_windows
from tubelet.inference.predictor import Classifier
from tubelet.inference.windows import WindowPlan
from tubelet.types import Segment
from tubelet.weights.checkpoint.checkpoint import Record

PLAN = WindowPlan(num_frames=4, hop=4, seconds_per_sample=0.1)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return write_film(tmp_path_factory.mktemp("live") / "film.ts")


@pytest.fixture(scope="module")
def judge() -> Classifier:
    model, config = tiny_model()
    return Classifier(model, Record(model_name=MODEL, model_config=config, protocol=PROTOCOL), "cpu")


def offline(judge: Classifier, film: Path) -> list[Segment]:
    with VideoReader(film) as reader:
        return list(predict_windows(judge, reader, PLAN))


def watch(judge: Classifier, address: str, **options: object) -> tuple[list[Segment], Watcher, list[str]]:
    told: list[str] = []
    connect = partial(LiveSource, address, timeout_seconds=1.5)
    watcher = Watcher(judge, connect, lambda fps: PLAN, report=told.append, **options)  # type: ignore[arg-type]
    return list(watcher.segments()), watcher, told


def assert_same(found: list[Segment], expected: list[Segment]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.start_seconds == pytest.approx(other.start_seconds, abs=1e-6)
        assert one.labels[0] == other.labels[0]
        assert dict(zip(one.labels, one.probs, strict=True)) == pytest.approx(
            dict(zip(other.labels, other.probs, strict=True)), abs=1e-5
        )


def test_a_server_that_stalls_and_drops_loses_no_segment(judge: Classifier, film: Path) -> None:
    """Each answer gives a part, the second is silent for a while, and every one but the last breaks off."""
    content = film.read_bytes()

    def answer(request: http.server.BaseHTTPRequestHandler, before: int) -> None:
        start = start_of(request)
        headers(request, start, len(content), known=True)
        stop = len(content) if before >= 4 else min(len(content), start + len(content) // 4)
        request.wfile.write(content[start : (start + stop) // 2])
        if before == 1:
            request.wfile.flush()
            time.sleep(0.5)
        request.wfile.write(content[(start + stop) // 2 : stop])

    with serving(answer) as (address, requests):
        found, watcher, _ = watch(judge, address)
    assert len(requests) >= 4
    assert watcher.health.damaged == 0
    assert_same(found, offline(judge, film))


def test_a_live_server_that_restarts_gives_its_windows_again_from_the_new_start(judge: Classifier, film: Path) -> None:
    """Without a length nobody can go on where it broke: a new connection has a new beginning, at a later time."""
    content = film.read_bytes()

    def answer(request: http.server.BaseHTTPRequestHandler, before: int) -> None:
        if before < 2:
            headers(request, 0, len(content), known=False)
            request.wfile.write(content)
        else:
            request.send_error(503)

    with serving(answer) as (address, _):
        told: list[str] = []
        watcher = Watcher(
            judge,
            partial(LiveSource, address, timeout_seconds=1.5),
            lambda fps: PLAN,
            ends=False,
            retries=1,
            report=told.append,
        )
        found: list[Segment] = []
        with pytest.raises(VideoError, match="gave up after 1 more attempts"):
            found.extend(watcher.segments())
    expected = offline(judge, film)
    assert watcher.health.connections == 2
    assert_same(found[: len(expected)], expected)
    again = found[len(expected) :]
    assert [s.labels[0] for s in again] == [s.labels[0] for s in expected]
    assert again[0].start_seconds > 0
    assert any("trying again in 0.05 s" in line for line in told)


def test_a_silent_server_is_given_up_and_the_complete_windows_are_there(judge: Classifier, film: Path) -> None:
    content = film.read_bytes()
    hold = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler, before: int) -> None:
        headers(request, 0, len(content), known=False)
        if before == 0:
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
        hold.wait(20)

    expected = offline(judge, film)
    with serving(answer) as (address, _):
        told: list[str] = []
        watcher = Watcher(
            judge,
            partial(LiveSource, address, timeout_seconds=0.5),
            lambda fps: PLAN,
            retries=0,
            silent_seconds=0.2,
            report=told.append,
        )
        found: list[Segment] = []
        with pytest.raises(VideoError, match=r"film\.ts"):
            found.extend(watcher.segments())
        hold.set()
    assert len(expected) // 3 <= len(found) <= len(expected)
    assert_same(found[:-1], expected[: len(found) - 1])  # the last one ends where the film broke off
    assert any("no frame for" in line for line in told)


def test_nobody_at_the_address_is_an_error_after_the_retries(judge: Classifier) -> None:
    with serving(lambda request, _: request.send_error(404)) as (address, _):
        pass  # gone again
    with pytest.raises(VideoError, match=r"cannot be opened .*; gave up after 2 more attempts"):
        watch(judge, address, retries=2)


def test_a_source_faster_than_the_model_is_dropped_from_or_made_to_wait(
    judge: Classifier, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "QUEUED_FRAMES", 2)
    push = live.StreamingClassifier.push_one

    def slowly(self: object, *arguments: object) -> list[Segment]:
        time.sleep(0.01)
        return push(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(live.StreamingClassifier, "push_one", slowly)
    _, waiting, _ = watch(judge, str(film), drop="never")
    assert (waiting.health.dropped, waiting.health.frames) == (0, 6 * FPS)
    found, dropping, _ = watch(judge, str(film), drop="oldest")
    assert dropping.health.dropped > 0
    assert dropping.health.dropped + dropping.health.frames == 6 * FPS
    assert found
    assert [s.start_seconds for s in found] == sorted(s.start_seconds for s in found)


@pytest.mark.parametrize("drop", ["never", "oldest"])
def test_the_lag_behind_a_source_in_real_time_is_that_of_the_clock(
    judge: Classifier, film: Path, monkeypatch: pytest.MonkeyPatch, drop: live.Drop
) -> None:
    """Two seconds of film arrive in two seconds; the model takes a tenth of a second for every frame of a twentieth."""
    push = live.StreamingClassifier.push_one

    def slowly(self: object, *arguments: object) -> list[Segment]:
        time.sleep(0.1)
        return push(self, *arguments)  # type: ignore[arg-type]

    class RealTime(LiveSource):
        def frames(self) -> Iterator[LiveFrame]:
            begin = time.monotonic()
            for frame in super().frames():
                if frame.seconds >= 2:
                    return
                time.sleep(max(0.0, begin + frame.seconds - time.monotonic()))
                yield frame

    monkeypatch.setattr(live, "QUEUED_FRAMES", 2)
    monkeypatch.setattr(live.StreamingClassifier, "push_one", slowly)
    told: list[str] = []
    watcher = Watcher(judge, lambda: RealTime(str(film)), lambda fps: PLAN, drop=drop, report=told.append)
    begin, lags = time.monotonic(), []
    for segment in watcher.segments():
        true = time.monotonic() - begin - segment.end_seconds  # and what opening took
        assert true - 1.0 < watcher.health.lag_seconds <= true
        lags.append(watcher.health.lag_seconds)
    behind = [line for line in told if "s behind real time, more than a window of 0.4 s" in line]
    if drop == "never":
        assert lags[-1] > 1.5  # 40 frames of a tenth of a second for 2 s
        assert 1 <= len(behind) <= 3
    else:
        assert lags[-1] < 1.5


def test_a_picture_that_stands_still_in_a_file_fills_its_windows(judge: Classifier, film: Path, tmp_path: Path) -> None:
    """A screen recording has no frames while nothing moves."""
    still = tmp_path / "still.mkv"
    with av.open(str(film)) as source, av.open(str(still), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            moved = packet.time_base.denominator * (2 if number >= 3 * FPS else 0)
            packet.pts, packet.dts, packet.stream = packet.pts + moved, packet.dts + moved, stream
            target.mux(packet)
    found, _, told = watch(judge, str(still))
    assert not any("anew" in line for line in told)
    assert_same(found, offline(judge, still))


def test_a_long_gap_begins_the_windows_anew(judge: Classifier, film: Path) -> None:
    class Gap(LiveSource):
        def __init__(self, source: str) -> None:
            super().__init__(source)
            self.is_stored = False

        def frames(self) -> Iterator[LiveFrame]:
            for i, frame in enumerate(super().frames()):
                later = 100.0 if i >= 3 * FPS else 0.0
                yield dataclasses.replace(frame, seconds=frame.seconds + later)

    told: list[str] = []
    watcher = Watcher(judge, lambda: Gap(str(film)), lambda fps: PLAN, report=told.append)
    starts = [segment.start_seconds for segment in watcher.segments()]
    assert any("without frames: windows begin anew" in line for line in told)
    assert not [s for s in starts if 3.1 < s < 102.9]
    assert min(s for s in starts if s > 50) == pytest.approx(103.0)


def test_a_pipe_gives_the_segments_of_the_file_and_a_stalled_one_gives_them_when_they_are_whole(
    judge: Classifier, film: Path, checkpoint: Path
) -> None:
    content = film.read_bytes()
    command = [sys.executable, "-m", "tubelet", "stream", str(checkpoint), "-", "--window", "0.4s", "--json"]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--top-k", "8", "--timeout", "500ms"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        bufsize=0,  # what readline has read ahead communicate would not give
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(content[: len(content) // 2])
    process.stdin.flush()
    first = json.loads(process.stdout.readline())  # comes while the pipe is still open and silent
    time.sleep(1.2)
    out, err = process.communicate(content[len(content) // 2 :], timeout=120)
    assert process.returncode == 0, err.decode()
    found = [
        Segment(**{**s, "labels": tuple(s["labels"]), "probs": tuple(s["probs"])})
        for s in (first, *map(json.loads, out.splitlines()))
    ]
    assert_same(found, offline(load(checkpoint, "cpu"), film))
    assert f"{6 * FPS} frames in 1 connections; 0 left out" in err.decode()
    assert "no frame for" in err.decode()


def test_a_pipe_that_is_silent_from_the_start_is_told_and_can_be_stopped(checkpoint: Path) -> None:
    command = [sys.executable, "-m", "tubelet", "stream", str(checkpoint), "-", "--window", "0.4s", "--device", "cpu"]
    process = subprocess.Popen(
        [*command, "--timeout", "300ms"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A suite started in the background inherits SIGINT ignored, and would pass it on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert b"no frame for" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.communicate()


def test_a_file_that_is_not_there_is_an_error_at_once(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stream", str(checkpoint), "nowhere.mp4", "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == "tubelet: error: nowhere.mp4: cannot be opened (No such file or directory)"
    assert "trying again" not in err

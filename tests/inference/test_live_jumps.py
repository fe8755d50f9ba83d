"""A source whose clock jumps, whose times are out of order, or whose reading crashes: nothing is lost unsaid, and the
command neither goes deaf nor waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import pytest
from live_film import FPS, write_film

from support import MODEL, PROTOCOL, tiny_model
from tubelet import cli
from tubelet.data.video.live import LiveFrame, LiveSource
from tubelet.data.video.live_clock import Clock
from tubelet.errors import VideoError
from tubelet.inference.live import Watcher
from tubelet.inference.predictor import Classifier
from tubelet.inference.windows import WindowPlan
from tubelet.types import Segment
from tubelet.weights.checkpoint.checkpoint import Record

PLAN = WindowPlan(num_frames=4, hop=4, seconds_per_sample=0.1)
NUM_FRAMES = 6 * FPS


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds with B-frames. Not to be changed."""
    return write_film(tmp_path_factory.mktemp("jumps") / "film.ts", b_frames=2)


@pytest.fixture(scope="module")
def judge() -> Classifier:
    model, config = tiny_model()
    return Classifier(model, Record(model_name=MODEL, model_config=config, protocol=PROTOCOL), "cpu")


def watch(judge: Classifier, film: Path, **options: object) -> tuple[list[Segment], Watcher, list[str]]:
    told: list[str] = []
    options = {"connect": partial(LiveSource, str(film)), **options}
    watcher = Watcher(judge, make_plan=lambda fps: PLAN, report=told.append, **options)  # type: ignore[arg-type]
    return list(watcher.segments()), watcher, told


def retimed(source: Path, target: Path, shift_seconds: float = 0.0, pts_is_dts: bool = False) -> Path:
    """The packets of a film at later times, or with their decoding times as presentation times."""
    with av.open(str(source)) as old, av.open(str(target), "w", format="mpegts") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.dts is None:
                continue
            ticks = round(shift_seconds / packet.time_base)
            packet.pts = packet.dts + ticks if pts_is_dts else (packet.pts or 0) + ticks
            packet.dts += ticks
            packet.stream = copy
            new.mux(packet)
    return target


@pytest.mark.parametrize(
    ("shift", "said"),
    [(0.0, "the source's clock jumped back by "), (50000.0, "the source's clock jumped forward by ")],
)
def test_windows_begin_anew_where_the_clock_jumps_and_no_frame_is_lost(
    judge: Classifier, film: Path, tmp_path: Path, shift: float, said: str
) -> None:
    one = watch(judge, film)[0]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(film.read_bytes() + retimed(film, tmp_path / "later.ts", shift).read_bytes())
    found, watcher, told = watch(judge, joined)
    health = watcher.health
    assert (health.frames, health.connections) == (2 * NUM_FRAMES, 2)
    assert (health.dropped, health.damaged, health.disordered) == (0, 0, 0)
    assert any(line.startswith(said) and line.endswith("windows begin anew") for line in told)
    assert [s.labels[0] for s in found] == [s.labels[0] for s in one] * 2
    again = [segment.start_seconds for segment in found[len(one) :]]
    assert again == pytest.approx([6.0 + segment.start_seconds for segment in one], abs=1e-6)


def test_frames_before_a_change_of_size_are_not_lost(judge: Classifier, film: Path, tmp_path: Path) -> None:
    """A decoder drops what it has not given yet where a stream of another size begins."""
    larger = write_film(tmp_path / "larger.ts", b_frames=2, size=(48, 64))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(film.read_bytes() + larger.read_bytes())
    health = watch(judge, joined)[1].health
    assert (health.frames, health.damaged, health.disordered) == (2 * NUM_FRAMES, 0, 0)


def test_a_stream_whose_presentation_times_are_its_decoding_times_loses_none(film: Path, tmp_path: Path) -> None:
    wrong = LiveSource(str(retimed(film, tmp_path / "wrong.ts", pts_is_dts=True)))
    times = [frame.seconds for frame in wrong.frames()]
    assert (len(times), wrong.damaged, wrong.disordered) == (NUM_FRAMES, 0, 0)
    assert times == pytest.approx([number / FPS for number in range(NUM_FRAMES)], abs=1e-4)


def test_frames_that_stay_behind_the_clock_are_counted_and_begin_another_one_before_long() -> None:
    clock = Clock()
    assert [clock.seconds_at(at) for at in (10.0, 10.5, 999.0)] == [0.0, 0.5, 989.0]
    assert [clock.seconds_at(11.0 + step) for step in range(3)] == [None] * 3
    assert clock.num_behind == 3
    assert clock.seconds_at(1000.0) == 990.0
    assert clock.num_behind == 0


class Crashing(LiveSource):
    """Its reading has a defect."""

    def frames(self) -> Iterator[LiveFrame]:
        for number, frame in enumerate(super().frames()):
            if number == FPS:
                raise TypeError("a defect")
            yield frame


def test_a_crash_of_the_reading_thread_ends_the_source(judge: Classifier, film: Path) -> None:
    with pytest.raises(VideoError, match=r"film\.ts: reading failed \(TypeError: a defect\)"):
        watch(judge, film, connect=lambda: Crashing(str(film)), retries=0)


def test_a_crash_of_the_reading_thread_is_connected_to_again_where_that_is_allowed(
    judge: Classifier, film: Path
) -> None:
    sources = iter([Crashing(str(film)), LiveSource(str(film))])
    found, watcher, told = watch(judge, film, connect=lambda: next(sources), retries=1)
    assert (watcher.health.connections, watcher.health.frames) == (2, FPS + NUM_FRAMES)
    assert "reading failed (TypeError: a defect); trying again in 0.05 s" in told[0]
    assert len(found) == 3 + 15


def test_the_command_says_that_the_clock_jumped(
    checkpoint: Path, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "joined.ts").write_bytes(2 * film.read_bytes())
    assert (
        cli.main(["stream", str(checkpoint), str(tmp_path / "joined.ts"), "--window", "400ms", "--device", "cpu"]) == 0
    )
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 30
    assert f"{2 * NUM_FRAMES} frames in 2 connections; 0 left out" in err
    assert "which counts as a new connection: windows begin anew" in err

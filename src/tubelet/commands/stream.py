"""``tubelet stream``: classifies a running source window by window."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import parse
from tubelet.commands.predict_windows import check_frame_fps, clock, seconds_of
from tubelet.data.layouts.find_files import is_frame_folder
from tubelet.data.sources.frame_folder_source import FrameFolderSource
from tubelet.data.video.live import LiveSource, is_real_time
from tubelet.data.video.rendering import Rendering
from tubelet.errors import ConfigError
from tubelet.inference.live import Source, StreamHealth, Watcher
from tubelet.inference.predictor import load
from tubelet.inference.windows import WindowPlan, plan_windows
from tubelet.protocol import Protocol
from tubelet.types import Device, Precision

DESCRIPTION = """Classify a source while it runs: standard input, an http or rtsp address, a camera, a frame folder.

Each window is printed as soon as its last frame is there. A source that breaks or stays silent is tried again, with
longer and longer pauses; what was lost is said on stderr. Where the times of a source jump (its encoder started
again), its windows begin anew, as in a new connection. Ctrl-C ends it.

What happens at the end of the source depends on what it is: a file, a pipe or an answer over HTTP that says its length
is over; rtsp, udp, rtmp, srt and cameras are connected to again. An http address that does not say how long its answer
is may be either: it is connected to again, and over if it then begins with the same picture. --live or --no-live says
which it is.

examples:
  ffmpeg -i film.mkv -c copy -f mpegts - | tubelet stream runs/first/best -
  tubelet stream runs/first/best http://camera.local/video.ts --window 4s --hop 1s --json
  tubelet stream runs/first/best rtsp://camera.local/live --window 4s
  tubelet stream runs/first/best /dev/video0 --input-format v4l2 --window 2s
  tubelet stream runs/first/best frames/ --frame-fps 25"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, tyro.conf.Positional]  # folder, owner/name or hf://owner/name@revision
    source: Annotated[str, tyro.conf.Positional]  # "-" for standard input, an address, a device, file or frame folder
    window: str | None = None  # length of a window (4s, 500ms); by default what one clip of the model spans
    hop: str | None = None  # from one window to the next, rounded to whole tubelets; by default a window
    fps: float | None = None  # frames per second that enter the model; by default its number of frames per window
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the checkpoint's training
    frame_fps: float | None = None  # frames per second of a frame folder
    drop: Literal["auto", "never", "oldest"] = "auto"  # old frames when the model is slower; auto: of live sources
    live: bool = False  # the source is live: connect again whenever it ends
    no_live: bool = False  # stop when the source ends, also where it is live
    retries: int = 5  # failed attempts to connect in a row before giving up
    timeout: str = "10s"  # without data for so long, a connection is given up and made anew
    input_format: str | None = None  # FFmpeg's name of the format, where it cannot be told (v4l2, mpegts, mjpeg)
    top_k: int = 3  # labels per window
    reject: bool = False  # answer "none of these" for windows unlike all that the model was validated on
    json: bool = False  # one JSON object per line on stdout
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "stream", DESCRIPTION)
    if options.top_k < 1 or options.retries < 0:
        raise ConfigError("--top-k must be at least 1 and --retries not negative")
    if options.live and options.no_live:
        raise ConfigError("--live and --no-live contradict each other; leave one of them out")
    timeout = seconds_of(options.timeout, "--timeout")
    lengths = (options.window, "--window"), (options.hop, "--hop")
    window, hop = (None if text is None else seconds_of(text, name) for text, name in lengths)
    connect = connection(options, timeout)
    classifier = load(options.checkpoint, options.device, precision=options.precision, reject=options.reject)
    real_time = is_real_time(options.source)

    def make_plan(source_fps: float | None) -> WindowPlan:
        plan = plan_windows(
            classifier.model,
            classifier.protocol,
            window_seconds=window,
            hop_seconds=hop,
            sample_fps=options.fps,
            source_fps=source_fps,
        )
        note(f"{plan}")
        return plan

    watcher = Watcher(
        classifier,
        connect(classifier.protocol),
        make_plan,
        drop="oldest" if options.drop == "oldest" or (options.drop == "auto" and real_time) else "never",
        # A file or a pipe does not come back by itself.
        retries=options.retries if options.live or real_time or "://" in options.source else 0,
        ends=False if options.live else True if options.no_live else None,
        silent_seconds=timeout,
        top_k=min(options.top_k, len(classifier.labels)),
        report=note,
    )
    lost = 0
    try:
        for segment in watcher.segments():
            if options.json:
                print(json.dumps(dataclasses.asdict(segment), ensure_ascii=False), flush=True)
            else:
                best = ", ".join(f"{label} {p:.1%}" for label, p in zip(segment.labels, segment.probs, strict=True))
                print(f"{clock(segment.start_seconds)} to {clock(segment.end_seconds)}  {best}", flush=True)
            if watcher.health.dropped > lost:
                lost = watcher.health.dropped
                note(f"{lost} frames left out so far, {watcher.health.lag_seconds:.1f} s behind")
    finally:
        note(summary(watcher.health))
    return 0


def connection(options: Options, timeout_seconds: float) -> Callable[[Protocol], Callable[[], Source]]:
    """What opens the source, once it is known how the model's protocol has frames rendered."""
    folder = Path(options.source)
    check_frame_fps(options.frame_fps, [folder])
    if not is_frame_folder(folder):
        return lambda protocol: partial(
            LiveSource,
            options.source,
            input_format=options.input_format,
            timeout_seconds=timeout_seconds,
            rendering=Rendering.of(protocol),
        )
    frame_fps = options.frame_fps
    if frame_fps is None:
        raise ConfigError(f"{folder}: is a frame folder; give its frames per second with --frame-fps")
    return lambda protocol: partial(FrameFolderSource, folder, frame_fps, protocol.picture_window)


def summary(health: StreamHealth) -> str:
    return (
        f"{health.frames} frames in {health.connections} connections; {health.dropped} left out because the model was "
        f"slower, {health.damaged} damaged, {health.disordered} not in order of time; last segment "
        f"{health.lag_seconds:.1f} s behind real time"
    )


def note(text: str) -> None:
    print(f"stream: {text}", file=sys.stderr, flush=True)

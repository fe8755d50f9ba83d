"""``tubelet stream``: classifies a running source window by window."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tubelet.commands.stream import Options
from tubelet.commands.work.predict_windows import check_frame_fps, clock, seconds_of
from tubelet.data.layouts.find_files import is_frame_folder
from tubelet.data.sources.frame_folder_source import FrameFolderSource
from tubelet.data.video.live import LiveSource, is_real_time
from tubelet.data.video.rendering import Rendering
from tubelet.errors import ConfigError
from tubelet.inference.live import Source, StreamHealth, Watcher
from tubelet.inference.predictor import load
from tubelet.inference.windows import WindowPlan, plan_windows
from tubelet.protocol import Protocol


def run(options: Options) -> int:
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

"""``tubelet stream``: classifies a running source window by window."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from tubelet.commands.stream import Options
from tubelet.commands.work.predict_windows import check_frame_fps, clock, seconds_of
from tubelet.errors import ConfigError
from tubelet.inference.films import Connection, Windows, watch
from tubelet.inference.live import StreamHealth
from tubelet.inference.predictor import load


def run(options: Options) -> int:
    if options.top_k < 1 or options.retries < 0:
        raise ConfigError("--top-k must be at least 1 and --retries not negative")
    if options.live and options.no_live:
        raise ConfigError("--live and --no-live contradict each other; leave one of them out")
    timeout = seconds_of(options.timeout, "--timeout")
    lengths = (options.window, "--window"), (options.hop, "--hop")
    window, hop = (None if text is None else seconds_of(text, name) for text, name in lengths)
    check_frame_fps(options.frame_fps, [Path(options.source)])
    classifier = load(options.checkpoint, options.device, precision=options.precision, reject=options.reject)
    watcher = watch(
        classifier,
        options.source,
        Windows(
            window="clip" if window is None else window,
            hop_seconds=hop,
            sample_fps=options.fps,
            frame_fps=options.frame_fps,
            top_k=min(options.top_k, len(classifier.labels)),
        ),
        Connection(
            input_format=options.input_format,
            drop=options.drop,
            live=True if options.live else False if options.no_live else None,
            retries=options.retries,
            timeout_seconds=timeout,
            report=note,
        ),
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


def summary(health: StreamHealth) -> str:
    return (
        f"{health.frames} frames in {health.connections} connections; {health.dropped} left out because the model was "
        f"slower, {health.damaged} damaged, {health.disordered} not in order of time; last segment "
        f"{health.lag_seconds:.1f} s behind real time"
    )


def note(text: str) -> None:
    print(f"stream: {text}", file=sys.stderr, flush=True)

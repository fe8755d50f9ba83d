"""``tubelet predict --window``: classifies the windows of films."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from tubelet.commands.console import ConsoleProgress, output_console
from tubelet.commands.prediction_files import STDOUT, timeline_names, write_csv
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.volume import is_volume
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import Rendering
from tubelet.errors import ConfigError, DataError, OutOfMemory, explaining_memory, printable
from tubelet.files import written_atomically
from tubelet.inference.long_video import merge_neighbors, predict_windows
from tubelet.inference.predictor import Classifier
from tubelet.inference.windows import WindowPlan, plan_whole, plan_windows
from tubelet.protocol import Protocol
from tubelet.report.timeline import write_timeline
from tubelet.tasks.classification import rankings
from tubelet.types import HeadScores, Segment

_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0}
_TITLE_LETTERS = 80


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """The options about windows."""

    window: str | None  # length, "clip" for what one clip spans, "whole" for all of a film
    hop: str | None
    fps: float | None
    frame_fps: float | None  # of frame folders
    merge: bool
    top_k: int


@dataclass(frozen=True, kw_only=True)
class Film:
    """A file and its segments."""

    source: str
    duration_seconds: float
    plan: WindowPlan
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]


def seconds_of(text: str, name: str) -> float:
    """Parse a length of time: 4, 4s, 250ms, 1.5min, 1h.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|min|s|m|h|)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{name} must be a positive length of time such as 4s, 250ms or 1.5min, got '{text}'")
    return float(match[1]) * _UNITS[match[2]]


def check_frame_fps(frame_fps: float | None, sources: Sequence[Path]) -> None:
    """Raise ConfigError for a rate of frame folders that is none, or that belongs to no source."""
    if frame_fps is not None and not (frame_fps > 0 and math.isfinite(frame_fps)):
        raise ConfigError(f"--frame-fps must be positive, got {frame_fps:g}")
    if frame_fps is not None and not any(map(Path.is_dir, sources)):
        raise ConfigError("--frame-fps is the rate of frame folders, and none is given; leave it out")


def predict_films(
    classifier: Classifier, files: Sequence[Path], options: WindowOptions, progress: ConsoleProgress
) -> tuple[list[Film], list[str]]:
    """Return the films, and a line for each unreadable file. A bad file stops no other."""
    films: list[Film] = []
    failures: list[str] = []
    for file in files:
        try:
            with explaining_memory("give a shorter --window or a lower --fps"):
                films.append(_predict_film(classifier, file, options, progress))
        except (DataError, OutOfMemory) as error:
            failures.append(f"{file}: {error}" if isinstance(error, OutOfMemory) else str(error))
            progress.note(f"error: {failures[-1]}")
    return films, failures


def _predict_film(classifier: Classifier, file: Path, options: WindowOptions, progress: ConsoleProgress) -> Film:
    if is_volume(file):
        raise DataError(
            f"{file}: a volume or array has no times to lay windows on; leave out --window to predict it whole, or "
            "give a video file"
        )
    with _open(file, options.frame_fps, classifier.protocol) as reader:
        plan = _plan(classifier, reader, options)
        progress.note(f"{file.name}: {plan}")
        short_video = classifier.protocol.short_video
        # The last step of a whole film's grid may go beyond its end.
        beyond = plan.seconds_per_sample if options.window == "whole" else 0.0
        if reader.duration_seconds + beyond < plan.window_seconds and short_video != "error":
            done = "looped" if short_video == "loop" else "last frame held"
            progress.note(f"{file.name}: shorter than a window ({reader.duration_seconds:.2f} s): {done}")

        def on_progress(done: float, total: float) -> None:
            progress.advance(int(done), max(1, round(total)), f"s of {file.name}")

        found = predict_windows(classifier, reader, plan, top_k=options.top_k, on_progress=on_progress)
        segments = list(found)
        for line in reader.notes:
            progress.note(f"{file.name}: {line}")
        if options.window == "whole":  # the grid's last step may go beyond the end
            end = reader.duration_seconds
            segments = [dataclasses.replace(s, end_seconds=min(s.end_seconds, end)) for s in segments]
        merged = merge_neighbors(segments) if options.merge else segments
        best = tuple(_best(segment, options.top_k) for segment in merged)
        duration, notes = reader.duration_seconds, reader.notes
        return Film(source=str(file), duration_seconds=duration, plan=plan, segments=best, notes=notes)


def _open(file: Path, frame_fps: float | None, protocol: Protocol) -> VideoReader | FrameFolderReader:
    if not file.is_dir():
        return VideoReader(file, rendering=Rendering.of(protocol))
    if frame_fps is None:
        raise DataError(f"{file}: windows need the rate of a frame folder; give its frames per second with --frame-fps")
    return FrameFolderReader(file, frame_fps, protocol.picture_window)


def _plan(classifier: Classifier, reader: VideoReader | FrameFolderReader, options: WindowOptions) -> WindowPlan:
    if options.window == "whole":
        return plan_whole(
            classifier.model,
            classifier.protocol,
            reader.timestamps,
            sample_fps=options.fps,
            source_fps=reader.fps,
        )
    asked = None if options.window in (None, "clip") else seconds_of(str(options.window), "--window")
    return plan_windows(
        classifier.model,
        classifier.protocol,
        window_seconds=asked,
        hop_seconds=None if options.hop is None else seconds_of(options.hop, "--hop"),
        sample_fps=options.fps,
        source_fps=reader.fps,
    )


def _best(segment: Segment, top_k: int) -> Segment:
    heads = {
        head: HeadScores(labels=scores.labels[:top_k], probs=scores.probs[:top_k])
        for head, scores in segment.heads.items()
    }
    return dataclasses.replace(segment, labels=segment.labels[:top_k], probs=segment.probs[:top_k], heads=heads)


def write_films(films: Sequence[Film], failures: Sequence[str], as_json: bool, csv_file: Path | None) -> None:
    """Print the segments as a table or as JSON, and write a CSV file if asked."""
    if csv_file is not None:
        write_csv(csv_file, films_as_csv(films))
    if as_json:
        print(
            json.dumps({"films": [as_dict(film) for film in films], "errors": failures}, indent=2, ensure_ascii=False)
        )
        return
    for film in films if csv_file != STDOUT else ():
        table = Table(title=f"{escape(printable(film.source))} ({film.duration_seconds:.1f} s)")
        table.add_column("from", justify="right")
        table.add_column("to", justify="right")
        for heading in rankings(film.segments[0]) if film.segments else ["prediction"]:
            table.add_column(escape(heading))
        for s in film.segments:
            best = [escape(scores_text(scores)) for scores in rankings(s).values()]
            table.add_row(clock(s.start_seconds), clock(s.end_seconds), *best)
        output_console().print(table)


def scores_text(scores: HeadScores) -> str:
    """Format labels with their probabilities on one line."""
    return ", ".join(f"{label} {prob:.1%}" for label, prob in zip(scores.labels, scores.probs, strict=True))


def write_plots(films: Sequence[Film], plot: Path) -> None:
    """Draw a timeline of each film (``timeline_names``)."""
    for film, name in zip(films, timeline_names(plot, [film.source for film in films]), strict=True):
        with written_atomically(name) as unfinished:
            write_timeline(
                unfinished,
                film.segments,
                film.duration_seconds,
                title=_title(film),
                file_format=plot.suffix.removeprefix(".").lower(),
            )
        print(f"timeline: {printable(str(name))}", file=sys.stderr)


def _title(film: Film) -> str:
    """The name of a film, cut to what fits above its timeline."""
    name = printable(Path(film.source).name)
    return name if len(name) <= _TITLE_LETTERS else f"{name[: _TITLE_LETTERS - 3]}..."


def as_dict(film: Film) -> dict[str, Any]:
    return {
        "source": film.source,
        "duration_seconds": round(film.duration_seconds, 6),
        "window_seconds": film.plan.window_seconds,
        "hop_seconds": film.plan.hop_seconds,
        "frames_per_window": film.plan.num_frames,
        "notes": list(film.notes),
        "segments": [dataclasses.asdict(segment) for segment in film.segments],
    }


def films_as_csv(films: Sequence[Film]) -> str:
    """Write one row per segment and label: path, start, end, rank, label, probability, and the head of several."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = any(segment.heads for film in films for segment in film.segments)
    head_column = ["head"] if several else []
    writer.writerow(["path", "start_seconds", "end_seconds", *head_column, "rank", "label", "probability"])
    for film in films:
        for s in film.segments:
            place = [film.source, f"{s.start_seconds:.3f}", f"{s.end_seconds:.3f}"]
            for head, scores in rankings(s).items():
                for rank, (label, prob) in enumerate(zip(scores.labels, scores.probs, strict=True), 1):
                    writer.writerow([*place, *([head] if several else []), rank, label, f"{prob:.6g}"])
    return text.getvalue()


def clock(seconds: float) -> str:
    """Format as 1:02:03.25, or as 2:03.25 below an hour."""
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{hundredths / 100:05.2f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"

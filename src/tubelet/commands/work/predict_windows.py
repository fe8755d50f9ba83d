"""``tubelet predict --window``: classifies the windows of films."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.prediction_files import STDOUT, timeline_names, write_csv
from tubelet.errors import ConfigError, DataError, OutOfMemory, explaining_memory, printable
from tubelet.files import written_atomically
from tubelet.inference.films import Film, Span, Windows, predict_film
from tubelet.inference.predictor import Classifier
from tubelet.inference.tables_of_scores import films_as_csv
from tubelet.report.timeline import write_timeline
from tubelet.session.console_progress import ConsoleProgress
from tubelet.tasks.classification import rankings
from tubelet.types import AnswerKind, HeadScores

_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0}
_TITLE_LETTERS = 80


def seconds_of(text: str, name: str) -> float:
    """Parse a length of time: 4, 4s, 250ms, 1.5min, 1h.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|min|s|m|h|)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{name} must be a positive length of time such as 4s, 250ms or 1.5min, got '{text}'")
    return float(match[1]) * _UNITS[match[2]]


def span_of(window: str) -> Span:
    """Parse ``--window``: a length of time, "clip" or "whole"."""
    match window:
        case "clip":
            return "clip"
        case "whole":
            return "whole"
    return seconds_of(window, "--window")


def checked_rate(frame_fps: float | None) -> float | None:
    """The rate of frame folders. Raises ConfigError for one that is none."""
    if frame_fps is not None and not (frame_fps > 0 and math.isfinite(frame_fps)):
        raise ConfigError(f"--frame-fps must be positive, got {frame_fps:g}")
    return frame_fps


def check_frame_fps(frame_fps: float | None, sources: Sequence[Path]) -> None:
    """Raise ConfigError for a rate of frame folders that is none, or that belongs to no source."""
    if checked_rate(frame_fps) is not None and not any(map(Path.is_dir, sources)):
        raise ConfigError("--frame-fps is the rate of frame folders, and none is given; leave it out")


def predict_films(
    classifier: Classifier, files: Sequence[Path], windows: Windows, progress: ConsoleProgress
) -> Iterator[Film | str]:
    """Yield each film, or the line of an unreadable file. A bad file stops no other."""
    for file in files:
        try:
            with explaining_memory("give a shorter --window or a lower --fps"):
                yield predict_film(classifier, file, windows, progress)
        except (DataError, OutOfMemory) as error:
            yield f"{file}: {error}" if isinstance(error, OutOfMemory) else str(error)


def write_films(films: Sequence[Film], failures: Sequence[str], as_json: bool, csv_file: Path | None) -> None:
    """Print the segments as a table or as JSON, and write a CSV file if asked."""
    if csv_file is not None:
        write_csv(csv_file, films_as_csv(films))
    if as_json:
        print(
            json.dumps({"films": [film.to_dict() for film in films], "errors": failures}, indent=2, ensure_ascii=False)
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


def scores_text(scores: HeadScores, kind: AnswerKind = "probability") -> str:
    """Format labels with their probabilities, or numbers, on one line."""
    form = ".1%" if kind == "probability" else ".5g"
    return ", ".join(f"{label} {prob:{form}}" for label, prob in zip(scores.labels, scores.probs, strict=True))


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


def clock(seconds: float) -> str:
    """Format as 1:02:03.25, or as 2:03.25 below an hour."""
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{hundredths / 100:05.2f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"

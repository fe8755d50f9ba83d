"""A page about one film, in one file: what a model finds over time, how much of it, and where."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tubelet.app.history import Mark
from tubelet.app.scores import Scores, Slicing, Suggestion, VolumeScores, WindowScores
from tubelet.data.sources.open_source import Reader
from tubelet.errors import DataError, printable
from tubelet.report.ethogram import write_ethogram
from tubelet.report.film_strip import as_rgb
from tubelet.report.page import render_page
from tubelet.report.plots import jpeg
from tubelet.report.timeline import clock_text, write_timeline
from tubelet.types import Segment

_MOST_ROWS, _MOST_PICTURES = 500, 12


def film_page(scores: Scores, slicing: Slicing, marks: Sequence[Mark], reader: Reader, *, name: str, model: str) -> str:
    """The page.

    Args:
        marks: what people labeled; none where nobody did.
        reader: of the film, for its pictures.
    """
    seconds, found = reader.duration_seconds, scores.suggestions(slicing)
    labeled = [mark for mark in marks if mark.kind == "label"]
    labels = list(dict.fromkeys([one.label for one in found] + [mark.label for mark in labeled]))
    summary = []
    for label in labels:
        own = [one for one in found if one.label == label]
        length = sum(one.stop - one.start for one in own)
        people = sum(mark.stop - mark.start for mark in labeled if mark.label == label)
        share = length / seconds if seconds else 0.0
        summary.append({"label": label, "count": len(own), "seconds": length, "share": share, "labeled": people})
    stretches = [
        {"label": one.label, "start": clock_text(one.start), "stop": clock_text(one.stop), "score": one.score}
        for one in found[:_MOST_ROWS]
    ]
    return render_page(
        "film.html.j2",
        title=printable(name),
        length=clock_text(seconds),
        model=printable(model),
        warnings=list(scores.notes),
        picture=_picture(scores, slicing, labeled, printable(Path(name).name)),
        summary=sorted(summary, key=lambda row: -float(str(row["seconds"]))),
        is_labeled=bool(labeled),
        starts=_starts(found, reader),
        stretches=stretches,
        left_out=max(0, len(found) - _MOST_ROWS),
    )


def _picture(scores: Scores, slicing: Slicing, labeled: Sequence[Mark], title: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.png")
        if isinstance(scores, WindowScores):
            film = scores.film.sliced(merge=False, top_k=slicing.top_k, group=slicing.group)
            write_timeline(path, film.segments, film.duration_seconds, title=title)
        elif isinstance(scores, VolumeScores):
            whole = scores.shown(slicing)
            segment = Segment(start_seconds=0, end_seconds=scores.known_seconds, labels=whole.labels, probs=whole.probs)
            write_timeline(path, [segment], scores.known_seconds, title=title)
        else:
            moments = scores.moments(slicing)
            spans = {label: [(m.start, m.stop) for m in labeled if m.label == label] for label in moments.labels}
            write_ethogram(path, moments, spans if labeled else None, title=title)
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _starts(found: Sequence[Suggestion], reader: Reader) -> list[dict[str, str]]:
    """The first frames of the surest stretches, in the order of time; none where they cannot be read any more."""
    chosen = sorted(sorted(found, key=lambda one: -one.score)[:_MOST_PICTURES], key=lambda one: one.start)
    if not chosen:
        return []
    last = len(reader.timestamps) - 1
    frames = [min(int(np.searchsorted(reader.timestamps, one.start - 1e-6)), last) for one in chosen]
    try:
        pixels = reader.frames_at(frames).pixels
    except DataError:
        return []
    pictures = as_rgb(np.asarray(pixels.permute(0, 2, 3, 1)))
    return [
        {"label": one.label, "at": clock_text(one.start), "image": jpeg(np.ascontiguousarray(picture))}
        for one, picture in zip(chosen, pictures, strict=True)
    ]

"""Scores as tables for other programs: of films with their segments, of videos as a whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from tubelet.inference.films import Film
from tubelet.tasks.classification import rankings
from tubelet.types import Prediction


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


def predictions_as_csv(predictions: Sequence[Prediction]) -> str:
    """Write one row per video and label: path, rank, label, probability or value, seconds covered, views, notes.

    With several heads, a column names the head, or "action".
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = any(p.heads for p in predictions)
    head_column = ["head"] if several else []
    kind = predictions[0].kind if predictions else "probability"
    writer.writerow(["path", *head_column, "rank", "label", kind, "seconds_covered", "num_views", "notes"])
    for p in predictions:
        rest = [f"{p.seconds_covered:.3f}", p.num_views, "; ".join(p.notes)]
        for head, scores in rankings(p).items():
            for rank, (label, prob) in enumerate(zip(scores.labels, scores.probs, strict=True), 1):
                writer.writerow([p.source, *([head] if several else []), rank, label, f"{prob:.6g}", *rest])
    return text.getvalue()

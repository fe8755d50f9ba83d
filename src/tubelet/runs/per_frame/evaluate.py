"""Scores of the films of a split by a head, and their figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from tubelet.data.layouts.bouts.cells import written_cell
from tubelet.errors import DataError
from tubelet.evaluation.evaluate import METRICS
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.files import write_atomically
from tubelet.inference.moments.film_scores import step_probs
from tubelet.inference.moments.head_file import HeadRecord
from tubelet.runs.per_frame.films import TrainingFilm
from tubelet.session.session import Session
from tubelet.tasks.per_frame.scores import FilmScores, SplitScores

BOUTS = "bouts.csv"


Vectors = Callable[[TrainingFilm], Tensor]  # the features of all steps of a film, S D


def score_films(
    head: nn.Module,
    record: HeadRecord,
    films: Sequence[TrainingFilm],
    session: Session,
    *,
    vectors_of: Vectors = TrainingFilm.vectors,
    shifts: bool = False,
) -> list[FilmScores]:
    """The probabilities of films from their features, beside what is there. A film that cannot be read is left out.

    Args:
        head: in eval mode.
        vectors_of: by default the stored features.
        shifts: also say how much the probabilities change where windows lie half a hop later.
    """
    scored = []
    for done, film in enumerate(films):
        session.advance(done, len(films), "scoring films")
        try:
            vectors, number = vectors_of(film), film.clock.num_steps
        except DataError as error:
            session.progress.note(f"not used: {error}")
            continue
        probs = step_probs(head, record, [vectors], number)
        change = None
        if shifts:
            shifted = step_probs(head, record, [vectors], number, shift=max(1, record.hop_steps // 2))
            change = float(np.abs(shifted - probs).mean())
        scored.append(
            FilmScores(
                name=film.sample.path,
                probs=probs.astype(np.float64),
                codes=film.codes,
                edges=film.clock.edges,
                truth=film.truth,
                others=film.others,
                frame_times=film.clock.timestamps,
                shift_change=change,
            )
        )
    session.advance(len(films), len(films), "scoring films")
    return scored


def write_split(out: Path, measured: MeasuredSplit, scores: SplitScores) -> None:
    """``metrics.json``, and ``bouts.csv`` with the bouts of every film, those labeled and those found."""
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "start", "stop", "label", "observer"])
    for number, film in enumerate(scores.films):
        for who, spans in (("labels", scores.true[number]), ("model", scores.found[number])):
            for name, of_class in zip(scores.judged, spans, strict=True):
                label = written_cell(name)
                writer.writerows([film.name, f"{a:.6f}", f"{b:.6f}", label, who] for a, b in of_class)
    write_atomically(out / BOUTS, text.getvalue())
    content: dict[str, Any] = measured.to_dict()
    write_atomically(out / METRICS, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

"""Bouts of films for other programs: CSV, JSON, WebVTT and a project that BORIS opens.

The CSV and the project are read back by ``tubelet.data.layouts.bouts.read`` to the same bouts. Texts that spreadsheets
would run as formulas are written so that they do not (``cells`` beside this file).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tubelet.data.layouts.bouts.bout import Bout
from tubelet.data.layouts.bouts.cells import written_cell

HEADER = ("path", "start", "stop", "label", "subject", "observer", "score")


@dataclass(frozen=True, kw_only=True)
class WrittenFilm:
    """One film and its bouts in seconds."""

    path: str  # as the other program finds it
    duration_seconds: float
    fps: float
    bouts: Sequence[Bout]
    scores: Sequence[float] = ()  # of each bout; empty where it has none

    @property
    def scored(self) -> list[tuple[Bout, float | None]]:
        """Each bout with its score."""
        scores: Sequence[float | None] = self.scores or [None] * len(self.bouts)
        return list(zip(self.bouts, scores, strict=True))


def bouts_csv(films: Sequence[WrittenFilm]) -> str:
    """A row per bout; a film without any has one row without times. Further columns of the bouts come behind."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    further = dict.fromkeys(name for film in films for bout in film.bouts for name, _ in bout.others)
    columns = (*HEADER, *(name for name in further if name not in HEADER))
    writer.writerow(columns)
    for film in films:
        path = f"./{film.path}" if written_cell(film.path) != film.path else film.path
        for bout, score in film.scored:
            cells = {"subject": bout.subject, "observer": bout.observer, **dict(bout.others)}
            cells |= {"label": bout.label} | ({} if score is None else {"score": f"{score:.4f}"})
            times = [f"{bout.start:.6f}", f"{bout.stop:.6f}"]
            writer.writerow([path, *times, *(written_cell(cells.get(name, "")) for name in columns[3:])])
        if not film.bouts:
            writer.writerow([path, *[""] * (len(columns) - 1)])
    return text.getvalue()


def bouts_json(films: Sequence[WrittenFilm]) -> str:
    """Films with their bouts."""
    content = [
        {
            "path": film.path,
            "duration_seconds": round(film.duration_seconds, 6),
            "bouts": [
                {
                    "label": bout.label,
                    "start": round(bout.start, 6),
                    "stop": round(bout.stop, 6),
                    **({"score": round(score, 4)} if score is not None else {}),
                }
                for bout, score in film.scored
            ],
        }
        for film in films
    ]
    return json.dumps({"films": content}, indent=2, ensure_ascii=False) + "\n"


def bouts_vtt(film: WrittenFilm) -> str:
    """A subtitle per bout, for players (www.w3.org/TR/webvtt1)."""
    cues = [f"{_clock(b.start)} --> {_clock(max(b.stop, b.start + 0.001))}\n{_plain(b.label)}\n" for b in film.bouts]
    return "\n".join(["WEBVTT\n", *cues])


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("-->", "→")


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def boris_project(films: Mapping[str, WrittenFilm], labels: Sequence[str], name: str) -> str:
    """A project with an observation per film, each behavior a state event; points are point events.

    Args:
        films: by the name of their observation.
        labels: the behaviors of the ethogram.
    """
    points = {bout.label for film in films.values() for bout in film.bouts if bout.is_point}
    subjects = sorted({bout.subject for film in films.values() for bout in film.bouts} - {""})
    now = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    behaviors: dict[str, dict[str, Any]] = {
        str(place): {
            "type": "Point event" if label in points else "State event",
            "key": "",
            "code": label,
            "description": "",
            "color": "",
            "category": "",
            "modifiers": {},
            "excluded": "",
            "coding map": "",
        }
        for place, label in enumerate(labels)
    }
    project = {
        "time_format": "hh:mm:ss",
        "project_date": now,
        "project_name": name,
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {str(i): {"key": "", "name": s, "description": ""} for i, s in enumerate(subjects)},
        "behaviors_conf": behaviors,
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
        "observations": {key: _observation(film, now) for key, film in films.items()},
    }
    return json.dumps(project, indent=1, ensure_ascii=False) + "\n"


def _observation(film: WrittenFilm, now: str) -> dict[str, Any]:
    events = []
    for bout in film.bouts:
        for time in (bout.start,) if bout.is_point else (bout.start, bout.stop):
            events.append([round(time, 6), bout.subject, bout.label, "", ""])
    return {
        "file": {"1": [film.path], "2": []},
        "type": "MEDIA",
        "date": now,
        "description": "",
        "time offset": 0.0,
        "events": sorted(events, key=lambda event: (event[0], event[2])),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "close_behaviors_between_videos": False,
        "media_info": {
            "length": {film.path: round(film.duration_seconds, 3)},
            "fps": {film.path: round(film.fps, 3)},
            "hasVideo": {film.path: True},
            "hasAudio": {film.path: False},
            "offset": {"1": 0.0},
        },
    }

"""Projects of BORIS (``.boris``): JSON with the ethogram, the subjects and the events of every observation.

    {"behaviors_conf": {"0": {"code": "groom", "type": "State event"}}, "subjects_conf": {"0": {"name": "mouse 1"}},
     "observations": {"day 1": {"type": "MEDIA", "file": {"1": ["a.mp4"]}, "time offset": 0.0,
                                "media_info": {"length": {"a.mp4": 60.0}, "offset": {"1": 0.0}},
                                "events": [[1.5, "mouse 1", "groom", "modifier", "comment"]]}}}

Events of a state come in pairs, START and STOP; those of a point stand alone (``boris_events``). Media of the first
player follow each other on one clock; those of other players run beside them. An observation that is live, or of
pictures, has no film and is left out with a note. The time offset of an observation is in the times of its events, and
so is the date of a film where that was asked for; both are taken off.

Source: the user guide of BORIS (www.boris.unito.it), sections on observations and on exporting events; its
boris/write_event.py on what is added to times.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tubelet.data.layouts.bouts.boris_events import NO_SUBJECT, Event, bouts_of_events, subject_of, time_on_film
from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, media_path, merged_films
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import DataError, reason


def read_boris_project(source: Path, config: ManifestConfig) -> FilmLabels:
    """The films of all observations with media. What players beside the first show is left out.

    Raises:
        DataError: no project, or an observation that cannot be read as it is; the message names it.
    """
    try:
        project = json.loads(source.read_text(encoding="utf-8-sig"))
        observations = dict(project["observations"])
        kinds = {b["code"]: b["type"] for b in project.get("behaviors_conf", {}).values()}
        subjects = {s["name"] for s in project.get("subjects_conf", {}).values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{source}: cannot be read as a BORIS project ({reason(error)})") from None
    root, films, notes = config.root or source.parent, list[LabeledFilm](), list[str]()
    for name, observation in observations.items():
        if observation.get("type", "MEDIA") != "MEDIA" or not _media(observation):
            notes.append(f"observation '{name}' has no film ({observation.get('type', 'without media')}): left out")
            continue
        try:
            films += _films(name, observation, root, kinds, subjects)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise DataError(f"{source}: observation '{name}': {reason(error)}") from None
    return FilmLabels(root=root, films=merged_films(films), notes=tuple(notes))


def _media(observation: Any) -> list[str]:
    files = observation.get("file") or {}
    return list(files.get("1") or []) if isinstance(files, dict) else []


def _films(name: str, observation: Any, root: Path, kinds: dict[str, str], subjects: set[str]) -> list[LabeledFilm]:
    media = _media(observation)
    lengths = (observation.get("media_info") or {}).get("length") or {}
    if len(media) > 1 and (unknown := [file for file in media[:-1] if file not in lengths]):
        raise ValueError(f"media_info has no length of {unknown[0]}, behind which another medium follows")
    starts = [0.0]
    for file in media[:-1]:
        starts.append(starts[-1] + float(lengths[file]))
    paths = [media_path(root, file, f"observation '{name}'") for file in media]
    offset, found = _offset(observation, media), list[Event]()
    for number, event in enumerate(observation.get("events") or [], 1):
        subject, behavior, where = str(event[1]), str(event[2]), f"event {number}"
        if subjects and subject not in subjects and subject not in NO_SUBJECT:
            raise ValueError(f"{where}: unknown subject '{subject}'; known: {', '.join(sorted(subjects))}")
        if kinds and behavior not in kinds:
            raise ValueError(f"{where}: behavior '{behavior}' is not in the ethogram")
        found.append(
            Event(
                time=time_on_film(float(event[0]), offset, where),
                subject=subject_of(subject),
                behavior=behavior,
                modifiers=str(event[3]) if len(event) > 3 else "",
                where=where,
            )
        )
    bouts = bouts_of_events(sorted(found, key=lambda event: event.time), filter(lambda b: is_point(kinds[b]), kinds))
    return [
        LabeledFilm(path=path, bouts=tuple(part for bout in bouts if (part := _within(bout, starts, place))))
        for place, path in enumerate(paths)
    ]


def is_point(kind: str) -> bool:
    """Whether a type of the ethogram ("Point event", "State event with coding map", ...) is that of points."""
    return kind.lower().startswith("point")


def _offset(observation: Any, media: list[str]) -> float:
    """Seconds that are in the times of events beside those of the film."""
    offset = float(observation.get("time offset") or 0)
    if not observation.get("media_creation_date_as_offset"):
        return offset
    dates = (observation.get("media_info") or {}).get("media_creation_time") or {}
    if len(media) > 1 or media[0] not in dates:
        raise ValueError(
            "its times are dates (the film's creation date is the offset), which several films, or a film without that "
            "date, cannot be laid on; give times from the film's start"
        )
    return offset + float(dates[media[0]])


def _within(bout: Bout, starts: list[float], place: int) -> Bout | None:
    """The part of a bout on the clock of the observation that one of its media shows, on that medium's clock."""
    begin, end = starts[place], starts[place + 1] if place + 1 < len(starts) else float("inf")
    start, stop = max(bout.start, begin), min(bout.stop, end)
    if stop < start or start >= end or (start == stop and not bout.is_point):
        return None
    return Bout(label=bout.label, start=start - begin, stop=stop - begin, subject=bout.subject, where=bout.where)

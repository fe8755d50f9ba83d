"""Projects of BORIS (``.boris``): JSON with the ethogram, the subjects and the events of every observation.

    {"behaviors_conf": {"0": {"code": "groom", "type": "State event"}}, "subjects_conf": {"0": {"name": "mouse 1"}},
     "observations": {"day 1": {"type": "MEDIA", "file": {"1": ["a.mp4"]}, "time offset": 0.0,
                                "media_info": {"length": {"a.mp4": 60.0}, "offset": {"1": 0.0}},
                                "events": [[1.5, "mouse 1", "groom", "modifier", "comment"]]}}}

Events of a state come in pairs, START and STOP; those of a point stand alone. Media of the first player follow each
other on one clock; those of other players run beside them. An observation that is live, or of pictures, has no film
and is left out with a note. The time offset is one of display and does not move events on the film's clock.

Source: the user guide of BORIS (www.boris.unito.it), sections on observations and on exporting events.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, media_path, merged_films
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import DataError, reason

NO_SUBJECT = ("", "No focal subject")


def read_boris_project(source: Path, config: ManifestConfig) -> FilmLabels:
    """The films of all observations with media. Modifiers are left out, and so is what players beside the first show.

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
    tracks: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for number, event in enumerate(observation.get("events") or [], 1):
        subject, behavior = str(event[1]), str(event[2])
        if subjects and subject not in subjects and subject not in NO_SUBJECT:
            raise ValueError(f"event {number}: unknown subject '{subject}'; known: {', '.join(sorted(subjects))}")
        if kinds and behavior not in kinds:
            raise ValueError(f"event {number}: behavior '{behavior}' is not in the ethogram")
        tracks["" if subject in NO_SUBJECT else subject, behavior].append((float(event[0]), number))
    bouts = [
        bout
        for (subject, behavior), events in tracks.items()
        for bout in paired(behavior, subject, sorted(events), is_point=is_point(kinds.get(behavior, "")))
    ]
    return [
        LabeledFilm(path=path, bouts=tuple(part for bout in bouts if (part := _within(bout, starts, place))))
        for place, path in enumerate(paths)
    ]


def is_point(kind: str) -> bool:
    """Whether a type of the ethogram ("Point event", "State event with coding map", ...) is that of points."""
    return kind.lower().startswith("point")


def paired(behavior: str, subject: str, events: list[tuple[float, int]], *, is_point: bool) -> list[Bout]:
    """Bouts of the events (time, number) of one subject and behavior.

    Raises:
        ValueError: a START without its STOP.
    """
    if is_point:
        return [
            Bout(label=behavior, start=time, stop=time, subject=subject, where=f"event {number}")
            for time, number in events
        ]
    if len(events) % 2:
        time, number = events[-1]
        raise ValueError(f"event {number}: '{behavior}' starts at {time:g} s and never stops (an unpaired START)")
    return [
        Bout(label=behavior, start=start, stop=stop, subject=subject, where=f"event {number}")
        for (start, number), (stop, _) in zip(events[::2], events[1::2], strict=True)
    ]


def _within(bout: Bout, starts: list[float], place: int) -> Bout | None:
    """The part of a bout on the clock of the observation that one of its media shows, on that medium's clock."""
    begin, end = starts[place], starts[place + 1] if place + 1 < len(starts) else float("inf")
    start, stop = max(bout.start, begin), min(bout.stop, end)
    if stop < start or start >= end or (start == stop and not bout.is_point):
        return None
    return Bout(label=bout.label, start=start - begin, stop=stop - begin, subject=bout.subject, where=bout.where)

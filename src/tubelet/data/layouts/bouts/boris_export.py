"""Tables that BORIS exports: tabular events (a row per START, STOP or POINT) and aggregated events (a row per bout).

Tabular: lines about the observation ("Time offset (s)"), then a header with Time, Media file path, Subject, Behavior
and Status. Newer versions have one header, with "Observation id", "Behavior type" in place of Status and a column
"Media file name". Aggregated: Media file, Subject, Behavior, Behavior type, Start (s), Stop (s). Times of both have the
observation's time offset in them (``boris_events``), which is taken off where the file states it ("Time offset (s)").
Columns that begin with "Modifier" pair events. "Source" names all media of the observation, "player #1:" before them.

Several media in sequence share one clock in these tables, which does not say how long each is: such files are refused,
and the project (``.boris``) is read in their place.

Source: the user guide of BORIS (www.boris.unito.it), section on exporting events; boris/export_observation.py of
github.com/olivierfriard/BORIS, whose tables hold the times of the project as they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tubelet.data.layouts.bouts.boris_events import Event, bouts_of_events, subject_of, time_on_film, united
from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, media_path, merged_films
from tubelet.data.layouts.bouts.table import time_of
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import table_lines
from tubelet.data.layouts.tables import separator_of
from tubelet.errors import DataError

_MEDIA = ("Source", "Media file path", "Media file", "Media file name", "Media file(s)")
_PLAYER = re.compile(r"player #\d+:\s*")  # before a film in "Source"
_NO_FILM = ("NA", "Not found")
_STATUS = ("Status", "Behavior type")
_OFFSETS = ("Time offset (s)", "Time offset")
Table = list[tuple[int, dict[str, str]]]


def is_boris_export(source: Path) -> bool:
    """Whether the file has the columns of either table."""
    lines = list(table_lines(source, separator_of(source, None)))
    return _header(lines) is not None


def read_boris_export(source: Path, config: ManifestConfig) -> FilmLabels:
    """The films of an export.

    Raises:
        DataError: it is none, or its rows cannot be paired; the message names the row.
    """
    lines = list(table_lines(source, separator_of(source, config.separator)))
    place = _header(lines)
    if place is None:
        raise DataError(f"{source}: no header of BORIS, with Behavior and Time or Start (s)")
    header = lines[place][1]
    rows = [(n, dict(zip(header, cells, strict=False))) for n, cells in lines[place + 1 :] if any(cells)]
    offset = next((time_of(cells[1]) for _, cells in lines[:place] if cells[0] in _OFFSETS and cells[1]), 0.0)
    root = config.root or source.parent
    try:
        films = _aggregated(rows, root, offset) if "Start (s)" in header else _tabular(rows, root, offset)
    except (ValueError, KeyError) as error:
        raise DataError(f"{source}: {error}") from None
    return FilmLabels(root=root, films=merged_films(films))


def _header(lines: list[tuple[int, list[str]]]) -> int | None:
    for place, (_, cells) in enumerate(lines):
        if "Behavior" in cells and ("Time" in cells or {"Start (s)", "Stop (s)"} <= set(cells)):
            return place
    return None


def _aggregated(rows: Table, root: Path, offset: float) -> list[LabeledFilm]:
    found: dict[str, dict[tuple[str, str, str], list[tuple[str, Bout]]]] = defaultdict(lambda: defaultdict(list))
    _check_one_medium(rows)
    for number, row in rows:
        where = f"line {number}"
        bout = Bout(
            label=row["Behavior"],
            start=_time(row, "Start (s)", offset, where),
            stop=_time(row, "Stop (s)", offset, where),
            subject=subject_of(row.get("Subject", "")),
            where=where,
        )
        track = row.get("Observation id", ""), bout.subject, bout.label
        found[media_path(root, _film(row), where)][track].append((_modifiers(row), bout))
    return [
        LabeledFilm(path=path, bouts=tuple(bout for track in tracks.values() for bout in united(track)))
        for path, tracks in found.items()
    ]


def _tabular(rows: Table, root: Path, offset: float) -> list[LabeledFilm]:
    _check_one_medium(rows)
    found: dict[tuple[str, str], list[Event]] = defaultdict(list)
    status: dict[str, str] = {}  # of each event, by its line
    for number, row in rows:
        where = f"line {number}"
        path, status[where] = media_path(root, _film(row), where), _cell(row, _STATUS).upper()
        event = Event(
            time=_time(row, "Time", offset, where),
            subject=subject_of(row.get("Subject", "")),
            behavior=row["Behavior"],
            modifiers=_modifiers(row),
            where=where,
        )
        found[path, row.get("Observation id", "")].append(event)
    films = []
    for (path, _), events in found.items():
        _check_pairs(events, status)
        points = {event.behavior for event in events if status[event.where] == "POINT"}
        films.append(LabeledFilm(path=path, bouts=tuple(bouts_of_events(events, points))))
    return films


def _check_pairs(events: list[Event], status: dict[str, str]) -> None:
    """Raise ValueError where a START does not follow a STOP of the same subject, behavior and modifiers."""
    last: dict[tuple[str, str, str], str] = {}
    for event in events:
        track, found = (event.subject, event.behavior, event.modifiers), status[event.where]
        due = {"POINT": "POINT", "START": "STOP"}.get(last.get(track, ""), "START")
        if found != due and not (found == "POINT" and track not in last):
            modified = f" with modifiers '{event.modifiers}'" if event.modifiers else ""
            raise ValueError(
                f"{event.where}: {found} of '{event.behavior}'{modified} where {due} is due (unpaired events)"
            )
        last[track] = found


def _time(row: dict[str, str], name: str, offset: float, where: str) -> float:
    """A time on the film's clock; ``offset`` is that of the lines above the table."""
    own = next((row[name] for name in _OFFSETS if row.get(name)), None)
    try:
        return time_on_film(time_of(row[name]), offset if own is None else time_of(own), where)
    except ValueError as error:
        raise ValueError(f"{where}: {error}".replace(f"{where}: {where}", where)) from None


def _modifiers(row: dict[str, str]) -> str:
    return "|".join(text for name, text in row.items() if name.startswith("Modifier"))


def _film(row: dict[str, str]) -> str:
    """The medium of a row. Raises ValueError where it names several."""
    named = next((row[name] for name in _MEDIA if row.get(name, "NA") not in (*_NO_FILM, "")), None)
    if named is None:
        raise ValueError(f"no film in {' or '.join(_MEDIA)}")
    first = _PLAYER.sub("", named.split("|")[0]) if _PLAYER.match(named) else named
    if ";" in first and not Path(first).exists():
        raise ValueError(
            f"'{first}' names several media on one clock; give the project file (.boris), which says how long each is"
        )
    return first


def _check_one_medium(rows: Table) -> None:
    media: dict[str, set[str]] = defaultdict(set)
    for _, row in rows:
        media[row.get("Observation id", "")].add(_film(row))
    for observation, names in media.items():
        if len(names) > 1 and (observation or "Observation id" not in rows[0][1]):
            raise ValueError(
                f"observation '{observation}' has {len(names)} media on one clock; give the project file (.boris), "
                "which says how long each is"
            )


def _cell(row: dict[str, str], names: tuple[str, ...]) -> str:
    text = next((row[name] for name in names if row.get(name)), None)
    if text is None:
        raise ValueError(f"no column {' or '.join(names)}")
    return text

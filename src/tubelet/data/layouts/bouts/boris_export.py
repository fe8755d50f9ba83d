"""Tables that BORIS exports: tabular events (a row per START, STOP or POINT) and aggregated events (a row per bout).

Tabular: lines about the observation ("Time offset (s)"), then a header with Time, Media file path, Subject, Behavior
and Status. Newer versions have one header, with "Observation id", "Behavior type" in place of Status and a column
"Media file name". Aggregated: Media file, Subject, Behavior, Behavior type, Start (s), Stop (s). Times of exports have
the observation's time offset in them, which is taken off where the file states it.

Several media in sequence share one clock in these tables, which does not say how long each is: such files are refused,
and the project (``.boris``) is read in their place.

Source: the user guide of BORIS (www.boris.unito.it), section on exporting events.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tubelet.data.layouts.bouts.boris_project import NO_SUBJECT, paired
from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, media_path, merged_films
from tubelet.data.layouts.bouts.table import time_of
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import table_lines
from tubelet.data.layouts.tables import separator_of
from tubelet.errors import DataError

_MEDIA = ("Media file path", "Media file", "Media file name", "Media file(s)")
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
        films = _aggregated(rows, root) if "Start (s)" in header else _tabular(rows, root, offset)
    except (ValueError, KeyError) as error:
        raise DataError(f"{source}: {error}") from None
    return FilmLabels(root=root, films=merged_films(films))


def _header(lines: list[tuple[int, list[str]]]) -> int | None:
    for place, (_, cells) in enumerate(lines):
        if "Behavior" in cells and ("Time" in cells or {"Start (s)", "Stop (s)"} <= set(cells)):
            return place
    return None


def _aggregated(rows: Table, root: Path) -> list[LabeledFilm]:
    found: dict[str, list[Bout]] = defaultdict(list)
    _check_one_medium(rows)
    for number, row in rows:
        start, stop = time_of(row["Start (s)"]), time_of(row["Stop (s)"])
        path = media_path(root, _cell(row, _MEDIA), f"line {number}")
        found[path].append(
            Bout(label=row["Behavior"], start=start, stop=stop, subject=_subject(row), where=f"line {number}")
        )
    return [LabeledFilm(path=path, bouts=tuple(bouts)) for path, bouts in found.items()]


def _tabular(rows: Table, root: Path, offset: float) -> list[LabeledFilm]:
    _check_one_medium(rows)
    tracks: dict[tuple[str, str, str], list[tuple[float, int, str]]] = defaultdict(list)
    for number, row in rows:
        path = media_path(root, _cell(row, _MEDIA), f"line {number}")
        own = float(row["Time offset (s)"]) if row.get("Time offset (s)") else offset
        event = (time_of(row["Time"]) - own, number, _cell(row, _STATUS).upper())
        tracks[path, _subject(row), row["Behavior"]].append(event)
    found: dict[str, list[Bout]] = defaultdict(list)
    for (path, subject, behavior), events in tracks.items():
        is_point = events[0][2] == "POINT"
        for place, (_, number, status) in enumerate(events):
            expected = "POINT" if is_point else ("START", "STOP")[place % 2]
            if status != expected:
                raise ValueError(f"line {number}: {status} of '{behavior}' where {expected} is due (unpaired events)")
        try:
            bouts = paired(behavior, subject, [(time, number) for time, number, _ in events], is_point=is_point)
        except ValueError as error:
            raise ValueError(str(error).replace("event ", "line ", 1)) from None
        found[path] += bouts
    return [LabeledFilm(path=path, bouts=tuple(bouts)) for path, bouts in found.items()]


def _check_one_medium(rows: Table) -> None:
    media: dict[str, set[str]] = defaultdict(set)
    for _, row in rows:
        media[row.get("Observation id", "")].add(_cell(row, _MEDIA))
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


def _subject(row: dict[str, str]) -> str:
    subject = row.get("Subject", "")
    return "" if subject in NO_SUBJECT else subject

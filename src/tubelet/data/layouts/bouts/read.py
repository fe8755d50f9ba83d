"""Any file of bouts, or a folder of them, by its suffix and its first lines; and the rows of films that splits need.

.boris  project of BORIS         .csv .tsv  table of bouts, export of BORIS, or matrix of frames
.eaf    ELAN                     .csv       EPIC-KITCHENS-100 too
.TextGrid  Praat                 .json      CalMS21; ActivityNet and HACS
a folder   all such files directly in it, but hidden ones
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tubelet.data.layouts.activitynet import read_activitynet
from tubelet.data.layouts.bouts.boris_export import is_boris_export, read_boris_export
from tubelet.data.layouts.bouts.boris_project import read_boris_project
from tubelet.data.layouts.bouts.bout import (
    BACKGROUND,
    IGNORED,
    TO_LABEL,
    Bout,
    FilmLabels,
    LabeledFilm,
    alike_names,
    check_bouts,
    merged_films,
    with_rounding,
)
from tubelet.data.layouts.bouts.calms21 import read_calms21
from tubelet.data.layouts.bouts.elan import read_elan
from tubelet.data.layouts.bouts.epic import is_beside_epic, is_epic, read_epic_bouts
from tubelet.data.layouts.bouts.frame_matrix import is_frame_matrix, read_frame_matrix
from tubelet.data.layouts.bouts.ignored import ignored_labels
from tubelet.data.layouts.bouts.table import read_bout_table
from tubelet.data.layouts.bouts.textgrid import read_textgrid
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.json_lines import json_items
from tubelet.data.layouts.rows import LayoutRows, Row
from tubelet.errors import DataError

LAYOUT = "bouts"
SEPARATOR = "\x1f"  # between the labels of a film's row; no name of a behavior holds it

Reader = Callable[[Path, ManifestConfig], FilmLabels]
_BY_SUFFIX: dict[str, Reader] = {
    ".boris": read_boris_project,
    ".eaf": read_elan,
    ".textgrid": read_textgrid,
}


def read_bouts(source: Path, config: ManifestConfig | None = None) -> FilmLabels:
    """The films that a file or folder labels, checked.

    Raises:
        DataError: it cannot be read, or holds what no label may; the message names the row.
    """
    config = config or ManifestConfig()
    labels = _of_folder(source, config) if source.is_dir() else _of_file(source, config)
    lost = ignored_labels(labels.films)
    marked = _without_marks(labels)
    return dataclasses.replace(marked, notes=tuple(dict.fromkeys((*marked.notes, *lost, *alike_names(labels.names)))))


def _of_file(source: Path, config: ManifestConfig) -> FilmLabels:
    if not source.is_file():
        raise DataError(f"{source}: does not exist; expected a file of bouts (.csv, .boris, .eaf, .TextGrid, .json)")
    labels = _reader_of(source)(source, config)
    check_bouts(source, labels.films)
    return dataclasses.replace(labels, films=with_rounding(labels.films))


def _without_marks(labels: FilmLabels) -> FilmLabels:
    """The labels with what is still to be labeled as ignored, and a note of it: it would be background else."""
    number = sum(bout.label == TO_LABEL for film in labels.films for bout in film.bouts)
    if not number:
        return labels
    films = (
        dataclasses.replace(
            film, bouts=tuple(dataclasses.replace(b, label=IGNORED) if b.label == TO_LABEL else b for b in film.bouts)
        )
        for film in labels.films
    )
    note = f"{number} stretches are marked '{TO_LABEL}' and count nowhere; delete the marks of those that are labeled"
    return dataclasses.replace(labels, films=tuple(films), notes=(*labels.notes, note))


def _reader_of(source: Path) -> Reader:
    suffix = source.suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix == ".json":
        _, (first, _) = next(json_items(source), (0, ("", None)))
        return read_calms21 if first.startswith("annotator") else _read_activitynet
    if suffix not in (".csv", ".tsv"):
        raise DataError(f"{source}: no file of bouts; expected .csv, .tsv, .boris, .eaf, .TextGrid or .json")
    if is_boris_export(source):
        return read_boris_export
    if is_epic(source):
        return read_epic_bouts
    return read_frame_matrix if is_frame_matrix(source) else read_bout_table


def _of_folder(folder: Path, config: ManifestConfig) -> FilmLabels:
    suffixes = {*_BY_SUFFIX, ".csv", ".tsv", ".json"}
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes
        and not path.name.startswith(".")
        and path.is_file()
        and not is_beside_epic(path)
    )
    if not files:
        raise DataError(f"{folder}: no file of bouts in it (.csv, .tsv, .boris, .eaf, .TextGrid, .json)")
    rooted = dataclasses.replace(config, root=config.root or folder)
    found, root = [_of_file(file, rooted) for file in files], config.root or folder
    return FilmLabels(
        root=root,
        films=merged_films(_of_one_name(root, [film for labels in found for film in labels.films])),
        notes=tuple(note for labels in found for note in labels.notes),
    )


def _of_one_name(root: Path, films: list[LabeledFilm]) -> Iterator[LabeledFilm]:
    """The films of several files; what one of them calls by its place and another by its name has one path.

    A file that does not say the split or group of a film leaves that to the others.
    """
    known, places = dict[Path, LabeledFilm](), [(root / film.path).resolve() for film in films]
    for place, film in zip(places, films, strict=True):
        first = known.setdefault(place, film)
        known[place] = dataclasses.replace(first, split=first.split or film.split, group=first.group or film.group)
    for place, film in zip(places, films, strict=True):
        one = known[place]
        yield dataclasses.replace(film, path=one.path, split=film.split or one.split, group=film.group or one.group)


def _read_activitynet(source: Path, config: ManifestConfig) -> FilmLabels:
    """ActivityNet and HACS: the rows of their layout, a film for all of one path."""
    named = dataclasses.replace(config, layout="activitynet", annotations=(str(source),))
    reading = read_activitynet(config.root or source.parent, named)
    bouts: dict[tuple[str, str | None], list[Bout]] = defaultdict(list)
    for row in reading.rows:
        start, stop = row.start_seconds or 0.0, row.end_seconds or 0.0
        bouts[row.path, row.split].append(Bout(label=row.labels[0], start=start, stop=stop, where=f"video {row.path}"))
    films = (LabeledFilm(path=path, split=split, bouts=tuple(found)) for (path, split), found in bouts.items())
    return FilmLabels(root=reading.root, films=merged_films(films), notes=tuple(reading.notes))


def read_labeled_films(source: Path, config: ManifestConfig) -> LayoutRows:
    """One row per film with the behaviors that it shows, for the splits; the bouts are read by ``read_bouts``.

    Raises:
        DataError: as ``read_bouts``.
    """
    labels = read_bouts(source, config)
    names = labels.names
    rows = []
    for film in labels.films:
        seen = {bout.label for bout in film.bouts}
        shown = [BACKGROUND, *(name for name in names if name in seen)]
        rows.append(Row(path=film.path, labels=(SEPARATOR.join(shown),), split=film.split, group=film.group))
    has_groups = any(film.group for film in labels.films)
    return LayoutRows(
        root=labels.root,
        rows=rows,
        classes={"label": (BACKGROUND, *names)},
        label_separator=SEPARATOR,
        notes=list(labels.notes),
        grouped_by=f"column '{config.group_column or 'group'}'" if has_groups else None,
    )

"""EPIC-KITCHENS-100: a row per action with its video, its start and stop by the clock, and classes of verb and noun.

EPIC_100_train.csv and EPIC_100_validation.csv, whose names are their split; EPIC_100_verb_classes.csv and
EPIC_100_noun_classes.csv beside them name the classes, which are numbers without them. A behavior is the verb, or with
``--label-column noun`` the noun, or with ``--label-column action`` both. Actions of one label that overlap are one
bout, with a note: what two hands do at once is annotated as two.

Source: github.com/epic-kitchens/epic-kitchens-100-annotations, README, as ``tubelet.data.layouts.epic_kitchens``.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, merged_films
from tubelet.data.layouts.config import AnnotationFile, ManifestConfig
from tubelet.data.layouts.epic_kitchens import HEADS, class_names
from tubelet.data.layouts.find_files import FileIndex
from tubelet.data.layouts.rows import (
    Record,
    cell,
    check_segment,
    parse_each,
    records,
    seconds_of,
    split_of_file,
    table_lines,
    whole_number,
)
from tubelet.errors import ConfigError, DataError

_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")
_HEADS_OF = {"label": ("verb",), "verb": ("verb",), "noun": ("noun",), "action": ("verb", "noun")}  # by --label-column
_BESIDE = re.compile(r"EPIC_100_.*(?:classes|video_info|timestamps).*\.csv")


def is_epic(source: Path) -> bool:
    """Whether a table has the columns of a list of actions."""
    _, header = next(iter(table_lines(source, ",")), (0, []))
    return set(_COLUMNS) <= set(header)


def is_beside_epic(file: Path) -> bool:
    """Whether a file of the annotations is no list of labeled actions."""
    return _BESIDE.fullmatch(file.name) is not None


def read_epic_bouts(source: Path, config: ManifestConfig) -> FilmLabels:
    """The films of a list of actions.

    Raises:
        ConfigError: ``label_columns`` names none of verb, noun and action.
        DataError: malformed rows, or films that are missing.
    """
    (column,) = config.label_columns[:1]
    heads = _HEADS_OF.get(column.removesuffix("_class"))
    if heads is None:
        raise ConfigError(f"--label-column {column}: actions of EPIC-KITCHENS have verb, noun and action")
    root = config.root or source.parent
    files = [AnnotationFile(path=path, split=None) for path in sorted(source.parent.glob("EPIC_100_*_classes*.csv"))]
    names = {head: class_names(head, HEADS[head], files) for head in heads}
    index, split = FileIndex(root), split_of_file(source.name)

    def film(item: tuple[int, Record]) -> LabeledFilm | None:
        number, record = item
        start, stop = (seconds_of(cell(record, name)) for name in _COLUMNS[1:3])
        check_segment(start, stop)
        label = " ".join(_class(record, head, names[head]) for head in heads)
        path = index.find(cell(record, "video_id"))
        if path is None:
            return None
        return LabeledFilm(
            path=path,
            bouts=(Bout(label=label, start=start, stop=stop, where=f"line {number}"),),
            split=split,
            group=None if config.group_column is None else cell(record, config.group_column),
        )

    lines = ((number, (number, record)) for number, record in records(source, ",", _COLUMNS))
    found = parse_each(source, lines, film)
    if index.missing:
        raise DataError(
            f"{source}: {len(index.missing)} films are missing in {root}, the first is {next(iter(index.missing))}"
        )
    whole = merged_films(found)
    films = tuple(dataclasses.replace(film, bouts=_united(film.bouts)) for film in whole)
    number = sum(len(film.bouts) for film in whole) - sum(len(film.bouts) for film in films)
    notes = (f"{source.name}: {number} actions overlap others of the same label, and are one bout",) if number else ()
    return FilmLabels(root=root, films=films, notes=(*notes, *index.notes))


def _class(record: Record, head: str, names: tuple[str, ...]) -> str:
    number = whole_number(cell(record, f"{head}_class"), f"the {head} class")
    if number >= len(names):
        raise ValueError(f"{head} class {number} is not one of 0 to {len(names) - 1}")
    return names[number]


def _united(bouts: tuple[Bout, ...]) -> tuple[Bout, ...]:
    """The bouts ordered by start, those of one label that overlap as one."""
    found: list[Bout] = []
    last: dict[str, int] = {}  # place of the latest bout of each label
    for bout in sorted(bouts, key=lambda b: (b.start, b.stop)):
        place = last.get(bout.label)
        if place is not None and bout.start < found[place].stop:
            found[place] = dataclasses.replace(found[place], stop=max(found[place].stop, bout.stop))
        else:
            last[bout.label] = len(found)
            found.append(bout)
    return tuple(found)

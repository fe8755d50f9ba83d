"""Tables of bouts: a row per bout, with the columns path, start, stop and label.

Other names are taken too: ``start_seconds``, ``stop_seconds``, ``end``, ``end_seconds``; frames as ``start_frame`` and
``stop_frame`` (or ``end_frame``), counted from 0, where the second is the first frame behind the bout. Optional columns
are ``subject``, ``observer``, ``split`` and ``group``. Times are seconds, with a point or a comma, or by the clock. A
row without label and times names a film in which nothing is seen. ``cells`` beside this file says how formulas look.
"""

from __future__ import annotations

import re
from pathlib import Path

from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, Unit, media_path, merged_films
from tubelet.data.layouts.bouts.cells import read_cell
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import Record, parse_each, records, seconds_of, split_of, whole_number
from tubelet.data.layouts.tables import separator_of
from tubelet.errors import DataError

STARTS, STOPS = ("start", "start_seconds"), ("stop", "stop_seconds", "end", "end_seconds")
FIRST_FRAMES, LAST_FRAMES = ("start_frame",), ("stop_frame", "end_frame")
_DECIMAL_COMMA = re.compile(r"(\d+),(\d+)")


def read_bout_table(source: Path, config: ManifestConfig) -> FilmLabels:
    """The films of a table, in the order in which they are named.

    Raises:
        DataError: a column is missing, or rows are malformed; the message names them by line.
    """
    root, (label,) = config.root or source.parent, config.label_columns[:1]
    hint = "; name it with --path-column and --label-column"
    table = list(records(source, separator_of(source, config.separator), (config.path_column, label), hint))
    if not table:
        raise DataError(f"{source}: no rows below the header; expected one line per bout")
    present = next((record for _, record in table if "" not in record), {})
    if not any(name in present for name in (*STARTS, *FIRST_FRAMES)):
        raise DataError(f"{source}: no column 'start'; columns present: {', '.join(present)}")
    if config.group_column is not None and config.group_column not in present:
        raise DataError(f"{source}: no column '{config.group_column}' (group_column); present: {', '.join(present)}")
    parser = _Parser(root, config)
    lines = ((number, (number, record)) for number, record in table)
    films = parse_each(source, lines, parser.film)
    return FilmLabels(root=root, films=merged_films(films))


class _Parser:
    def __init__(self, root: Path, config: ManifestConfig) -> None:
        self.root, self.config = root, config
        self._paths: dict[str, str] = {}
        times = (*STARTS, *STOPS, *FIRST_FRAMES, *LAST_FRAMES)
        self._used = {config.path_column, config.label_columns[0], *times, "subject", "observer"}

    def film(self, item: tuple[int, Record]) -> LabeledFilm:
        """The film of one row, with its bout. Raises ValueError with the reason."""
        number, record = item
        if "" in record:
            raise ValueError(record[""])
        named = record[self.config.path_column]
        if named not in self._paths:
            self._paths[named] = media_path(self.root, named, "path")
        group = record.get(self.config.group_column or "group") or None
        split = split_of(record["split"]) if record.get("split") else None
        bout = self._bout(f"line {number}", record)
        return LabeledFilm(path=self._paths[named], bouts=() if bout is None else (bout,), split=split, group=group)

    def _bout(self, where: str, record: Record) -> Bout | None:
        label = read_cell(record[self.config.label_columns[0]])
        times, frames = (_cells(record, *names) for names in ((STARTS, STOPS), (FIRST_FRAMES, LAST_FRAMES)))
        if not label and not any((*times, *frames)):
            return None
        if not label:
            raise ValueError(f"'{self.config.label_columns[0]}' is empty")
        unit: Unit = "frames" if any(frames) and not any(times) else "seconds"
        if unit == "frames":
            start, stop = (float(whole_number(text.removesuffix(".0"), "frame")) for text in frames)
        else:
            start = time_of(times[0])
            stop = time_of(times[1]) if times[1] else start
        subject, observer = (read_cell(record.get(name, "")) for name in ("subject", "observer"))
        return Bout(
            label=label,
            start=start,
            stop=stop,
            unit=unit,
            subject=subject,
            observer=observer,
            where=where,
            others=tuple((name, read_cell(cell)) for name, cell in record.items() if cell and name not in self._used),
        )


def _cells(record: Record, starts: tuple[str, ...], stops: tuple[str, ...]) -> tuple[str, str]:
    first, last = (next((record[name] for name in names if record.get(name)), "") for names in (starts, stops))
    return first, last


def time_of(text: str) -> float:
    """Seconds, with a decimal point or comma, or by the clock. Raises ValueError."""
    decimal = _DECIMAL_COMMA.fullmatch(text)
    return seconds_of(f"{decimal[1]}.{decimal[2]}" if decimal else text)

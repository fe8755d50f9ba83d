"""Praat's TextGrid files, long and short: tiers of intervals and of points with labels.

An interval tier covers the whole time, and an empty label means that nothing is seen. A point tier gives points. Where
tiers share a label, each is a subject (a tier per animal). The film has the name of the file. Both forms of the text
hold the same values in the same order: the quoted strings, and the numbers that stand alone or behind a ``=``.

Source: Praat's manual, "TextGrid file formats" (www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm, with_tiers_as_subjects
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.video.formats import VIDEO_SUFFIXES
from tubelet.errors import DataError, reason

_VALUE = re.compile(
    r'"((?:[^"]|"")*)"|<(exists)>|(?:(?<=\s)|^)(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?=\s|$)', re.MULTILINE
)


def read_textgrid(source: Path, config: ManifestConfig) -> FilmLabels:
    """The film of a TextGrid.

    Raises:
        DataError: no TextGrid, or no film of that name.
    """
    root = config.root or source.parent
    film = next((root / f"{source.stem}{s}" for s in VIDEO_SUFFIXES if (root / f"{source.stem}{s}").is_file()), None)
    if film is None:
        raise DataError(f"{source}: no film {source.stem} (.mp4, .avi, ...) in {root}; both share their name")
    values = _values(_text(source))
    try:
        bouts = with_tiers_as_subjects(_tiers(values))
    except (StopIteration, ValueError, RuntimeError) as error:
        raise DataError(f"{source}: cannot be read as a TextGrid ({reason(error) or 'it ends early'})") from None
    return FilmLabels(root=root, films=(LabeledFilm(path=film.relative_to(root).as_posix(), bouts=bouts),))


def _text(source: Path) -> str:
    """The text; Praat writes UTF-8, or UTF-16 with a byte order mark."""
    try:
        content = source.read_bytes()
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return content.decode(encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: cannot be read as text ({reason(error)})") from None


def _values(text: str) -> Iterator[str]:
    """Strings (without quotes, doubled quotes single) and numbers, in order."""
    for found in _VALUE.finditer(text):
        if found[1] is not None:
            yield found[1].replace('""', '"')
        else:
            yield found[2] or found[3]


def _tiers(values: Iterator[str]) -> dict[str, list[Bout]]:
    """The bouts of each tier, by its name."""
    kind, what = next(values), next(values)
    if (kind, what) != ("ooTextFile", "TextGrid"):
        raise ValueError(f"expected the object class TextGrid, got {what}")
    next(values), next(values)  # the time that all tiers cover
    tiers: dict[str, list[Bout]] = {}
    if next(values) != "exists":
        return tiers
    for _ in range(int(next(values))):
        tier, name = next(values), next(values)
        bouts = tiers.setdefault(name, [])
        next(values), next(values)
        for number in range(1, int(next(values)) + 1):
            start = float(next(values))
            stop = float(next(values)) if tier == "IntervalTier" else start
            label = next(values).strip()
            if label:
                bouts.append(Bout(label=label, start=start, stop=stop, where=f"item {number} of tier '{name}'"))
    return tiers

"""Frame-by-frame matrices: one CSV file per film, a row per frame and a column of 0 and 1 per behavior.

DeepEthogram writes an index column without a name and a first behavior ``background``; -1 marks frames that are not
labeled. SimBA writes the behaviors as its last columns, behind others that are no labels. A row is the frame of its
number, from 0. The film has the name of the file, without ``_labels``, ``_predictions`` or ``_targets``.

Source: the documentation of DeepEthogram (github.com/jbohnslav/deepethogram, docs/file_structure.md) and of SimBA.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubelet.data.layouts.bouts.bout import BACKGROUND, IGNORED, Bout, FilmLabels, LabeledFilm
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.rows import table_lines
from tubelet.data.layouts.tables import separator_of
from tubelet.data.video.formats import VIDEO_SUFFIXES
from tubelet.errors import DataError

_ENDINGS = re.compile(r"(?:_labels|_predictions|_targets)$")
_VALUES = {"0": 0, "1": 1, "-1": -1, "0.0": 0, "1.0": 1, "-1.0": -1, "": 0}


def is_frame_matrix(source: Path) -> bool:
    """Whether a table has a column of 0 and 1 alone, and none of a path."""
    lines = list(table_lines(source, separator_of(source, None)))
    return len(lines) > 1 and "path" not in lines[0][1] and bool(_columns([cells for _, cells in lines]))


def read_frame_matrix(source: Path, config: ManifestConfig) -> FilmLabels:
    """The film of a matrix, its bouts in frames.

    Raises:
        DataError: no columns of 0 and 1, or no film of that name beside the file.
    """
    lines = [cells for _, cells in table_lines(source, separator_of(source, config.separator))]
    columns = _columns(lines)
    if not columns:
        raise DataError(f"{source}: no column of 0 and 1; expected one per behavior, and a row per frame")
    root = config.root or source.parent
    stem = _ENDINGS.sub("", source.stem)
    film = next((root / f"{stem}{suffix}" for suffix in VIDEO_SUFFIXES if (root / f"{stem}{suffix}").is_file()), None)
    if film is None:
        raise DataError(f"{source}: no film {stem} (.mp4, .avi, ...) in {root}; a matrix and its film share their name")
    values = {name: np.array([_VALUES[row[place]] for row in lines[1:]]) for place, name in columns.items()}
    bouts = [
        bout for name, column in values.items() if name != BACKGROUND for bout in bouts_of_frames(column == 1, name)
    ]
    unlabeled = np.any([column < 0 for column in values.values()], axis=0)
    bouts += bouts_of_frames(unlabeled, IGNORED)
    path, num_frames = film.relative_to(root).as_posix(), len(lines) - 1
    return FilmLabels(root=root, films=(LabeledFilm(path=path, bouts=tuple(bouts), num_frames=num_frames),))


def _columns(lines: Sequence[Sequence[str]]) -> dict[int, str]:
    """The columns that hold nothing but 0, 1 and -1, and are no count of the rows, by their place."""
    header, rows = lines[0], lines[1:]
    if not rows or any(len(row) != len(header) for row in rows):
        return {}
    found = {p: name for p, name in enumerate(header) if name and all(row[p] in _VALUES for row in rows)}
    counts = [str(n) for n in range(len(rows))]
    return {p: name for p, name in found.items() if len(rows) < 3 or [row[p] for row in rows] != counts}


def bouts_of_frames(present: NDArray[np.bool_], label: str, observer: str = "") -> list[Bout]:
    """A bout for each run of frames in which a behavior is present."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return [
        Bout(
            label=label, start=float(first), stop=float(stop), unit="frames", observer=observer, where=f"frame {first}"
        )
        for first, stop in edges.reshape(-1, 2).tolist()
    ]

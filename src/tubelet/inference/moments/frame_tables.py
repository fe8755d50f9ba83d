"""Probabilities of every frame as files: ``frames.csv``, and ``frames.parquet`` where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.layouts.bouts.cells import written_cell
from tubelet.files import write_atomically
from tubelet.inference.moments.film import FilmMoments

CSV, PARQUET = "frames.csv", "frames.parquet"


def write_frames(part: Path, found: FilmMoments) -> None:
    """Write a row per frame of the stretch: its number, its seconds, and the probability of each behavior.

    The CSV has five digits of a probability, Parquet all bits (float32).
    """
    numbers, probs = found.frames
    seconds = found.clock.timestamps[numbers]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = frame_columns(found.labels)
    writer.writerow(map(written_cell, columns))
    for number, time, row in zip(numbers.tolist(), seconds.tolist(), probs, strict=True):
        writer.writerow([number, f"{time:.6f}", *(f"{value:.5g}" for value in row)])
    write_atomically(part / CSV, text.getvalue())
    if find_spec("pyarrow") is not None:
        pyarrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
        values = [numbers.astype(np.int64), seconds, *(np.ascontiguousarray(column) for column in probs.T)]
        parquet.write_table(pyarrow.table(values, names=columns), part / PARQUET)


def frame_columns(labels: Sequence[str]) -> list[str]:
    """The columns of these tables: a behavior that is called as one of the first two has its name behind "behavior"."""
    own, columns = ("frame", "seconds"), list[str]()
    for label in labels:
        name = label
        while name in own or (name != label and name in labels):
            name = f"behavior {name}"
        columns.append(name)
    return [*own, *columns]

"""What a user should know of the videos that a run trains on, without a line for every video."""

from __future__ import annotations

import re

from tubelet.data.loading.dataset import Dataset
from tubelet.session.session import Session
from tubelet.types import Batch

_NUMBER = re.compile(r"\d+(\.\d+)?")


class VideoNotes:
    """Notes the first video of each kind of note, and after an epoch how many there were.

    Notes that differ in their numbers alone are of one kind.

    Args:
        dataset: the training data.
        session: notes them; videos of all processes are counted.
    """

    def __init__(self, dataset: Dataset, session: Session) -> None:
        self._dataset, self._session = dataset, session
        self._rows: dict[str, set[int]] = {}  # with each kind of note
        self._is_over = False

    def add(self, batch: Batch) -> None:
        """Take the notes of a batch."""
        if self._is_over:
            return
        for row, notes in zip(batch.index, batch.notes, strict=True):
            for note in notes:
                kind = _NUMBER.sub("N", note)
                if kind not in self._rows:
                    self._session.progress.note(f"{self._dataset.name(row)}: {note}")
                self._rows.setdefault(kind, set()).add(row)

    def end_epoch(self) -> None:
        """Note the number of videos of each kind, once. Every process calls it."""
        if self._is_over:
            return
        self._is_over = True
        total: dict[str, set[int]] = {}
        for rows in self._session.processes.gather(self._rows):
            for kind, of_process in rows.items():
                total.setdefault(kind, set()).update(of_process)
        for kind, found in total.items():
            if len(found) > 1:
                self._session.progress.note(f"{len(found)} of {len(self._dataset.manifest)} training videos: {kind}")

"""What a user should know of the videos that a command reads, without a line for every video."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tubelet.session.session import Session
from tubelet.types import Batch

_NUMBER = re.compile(r"\d+(\.\d+)?")


class VideoNotes:
    """Notes the first video of each kind of note, and in the end how many there were.

    Notes that differ in their numbers alone are of one kind.

    Args:
        name: the name of a video in messages, by its row.
        total: number of videos, and what they are.
        session: notes them; videos of all processes are counted.
    """

    def __init__(self, name: Callable[[int], str], total: tuple[int, str], session: Session) -> None:
        self._name, self._total, self._session = name, total, session
        self._rows: dict[str, set[int]] = {}  # with each kind of note
        self._is_over = False

    def add_batch(self, batch: Batch) -> None:
        """Take the notes of a batch."""
        for row, notes in zip(batch.index, batch.notes, strict=True):
            self.add(row, notes)

    def add(self, row: int, notes: Iterable[str]) -> None:
        """Take the notes of a video."""
        if self._is_over:
            return
        for note in notes:
            kind = _NUMBER.sub("N", note)
            if kind not in self._rows:
                self._session.progress.note(f"{self._name(row)}: {note}")
            self._rows.setdefault(kind, set()).add(row)

    def end(self) -> None:
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
                self._session.progress.note(f"{len(found)} of {self._total[0]} {self._total[1]}: {kind}")

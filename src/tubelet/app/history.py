"""The edits of one film's labels: what is marked now, and how it came to be, so that every edit can be undone.

A line of JSON per edit in a file that only grows, and one behind it once the table of labels holds the edit; a kill
leaves whole lines. The version of the labels is the number of edits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tubelet.files import appended_lines, json_lines

Kind = Literal["label", "rejected"]
Step = Literal["edit", "undo", "redo"]
SAVED = "saved"  # the step of a line that says that the table holds the edit before it
SCORE = "score"  # the cell that is of one stretch alone


@dataclass(frozen=True, kw_only=True, order=True)
class Mark:
    """A stretch with a label, or with one that it is said not to have."""

    start: float  # seconds, at the time of a frame
    stop: float
    label: str
    kind: Kind = "label"
    cells: tuple[tuple[str, str], ...] = ()  # of further columns: subject, observer, and what a table came with

    @property
    def track(self) -> tuple[str, ...]:
        """What must be alike of stretches that become one."""
        cells = dict(self.cells)
        return self.label, self.kind, cells.get("subject", ""), cells.get("observer", "")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        content: dict[str, Any] = {"start": self.start, "stop": self.stop, "label": self.label, "kind": self.kind}
        return content | ({"cells": [list(cell) for cell in self.cells]} if self.cells else {})

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Mark:
        """The mark of ``to_dict``."""
        return cls(**content | {"cells": tuple((name, text) for name, text in content.get("cells", ()))})


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What one action of a person changes."""

    what: str  # for the person, such as "accept run"
    added: tuple[Mark, ...] = ()
    removed: tuple[Mark, ...] = ()

    @property
    def inverse(self) -> Edit:
        """The edit that takes this one back."""
        return Edit(what=self.what, added=self.removed, removed=self.added)


@dataclass
class History:
    """All edits of a film, replayed."""

    file: Path
    marks: set[Mark] = field(default_factory=set)
    version: int = 0
    digest: str = ""  # of the table of labels after the last edit; "" means that there is none
    before: str = ""  # the same, before the last edit
    is_saved: bool = True  # whether the table is known to hold the last edit
    done: list[Edit] = field(default_factory=list)  # what can be undone, the last one first to go
    undone: list[Edit] = field(default_factory=list)  # what can be done again

    @classmethod
    def read(cls, file: Path) -> History:
        """The history in a file; an empty one of no file."""
        history = cls(file)
        for line in json_lines(file):
            if line["step"] == SAVED:
                history.is_saved = True
                continue
            edit = Edit(what=line["what"], added=_marks(line["added"]), removed=_marks(line["removed"]))
            history._apply(line["step"], edit, line["digest"])
        return history

    def after(self, edit: Edit) -> set[Mark]:
        """The marks that an edit leaves."""
        return (self.marks - set(edit.removed)) | set(edit.added)

    def append(self, step: Step, edit: Edit, digest: str) -> None:
        """Write an edit down and apply it."""
        line: dict[str, Any] = {
            "step": step,
            "what": edit.what,
            "time": datetime.now(UTC).isoformat(),
            "digest": digest,
        }
        line |= {"added": [mark.to_dict() for mark in edit.added], "removed": [mark.to_dict() for mark in edit.removed]}
        self._write(line)
        self._apply(step, edit, digest)

    def mark_saved(self) -> None:
        """Write down that the table holds the last edit: another table is then of another program."""
        if not self.is_saved:
            self._write({"step": SAVED})
            self.is_saved = True

    def _write(self, line: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with appended_lines(self.file) as write:
            write(line)

    def _apply(self, step: Step, edit: Edit, digest: str) -> None:
        self.marks = self.after(edit)
        self.version += 1
        self.before, self.digest, self.is_saved = self.digest, digest, False
        if step == "edit":
            self.done.append(edit)
            self.undone.clear()
        elif step == "undo":
            self.undone.append(self.done.pop())
        else:
            self.done.append(self.undone.pop())


def _marks(rows: Iterable[dict[str, Any]]) -> tuple[Mark, ...]:
    return tuple(map(Mark.from_dict, rows))


def without_overlaps(marks: Sequence[Mark], new: Mark) -> tuple[Mark, tuple[Mark, ...]]:
    """``new`` grown by the marks of its label, kind, subject and observer that it meets, and those, which it replaces.

    It keeps their further cells, but for the score, which is of another stretch.
    """
    same = (m for m in marks if m.track == new.track)
    met = tuple(m for m in same if m.start <= new.stop and m.stop >= new.start)
    start, stop = min([new.start, *(m.start for m in met)]), max([new.stop, *(m.stop for m in met)])
    cells = {name: text for m in met for name, text in m.cells} | dict(new.cells)
    if any((m.start, m.stop) != (start, stop) for m in (*met, new)):
        cells.pop(SCORE, None)
    return Mark(start=start, stop=stop, label=new.label, kind=new.kind, cells=tuple(sorted(cells.items()))), met

"""The edits of one film's labels: what is marked now, and how it came to be, so that every edit can be undone.

A line of JSON per edit in a file that only grows; a kill leaves whole lines. The version of the labels is the number of
lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tubelet.files import appended_lines, json_lines

Kind = Literal["label", "rejected"]
Step = Literal["edit", "undo", "redo"]


@dataclass(frozen=True, kw_only=True, order=True)
class Mark:
    """A stretch with a label, or with one that it is said not to have."""

    start: float  # seconds, at the time of a frame
    stop: float
    label: str
    kind: Kind = "label"


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
    digest: str = ""  # of the table of labels after the last edit
    done: list[Edit] = field(default_factory=list)  # what can be undone, the last one first to go
    undone: list[Edit] = field(default_factory=list)  # what can be done again

    @classmethod
    def read(cls, file: Path) -> History:
        """The history in a file; an empty one of no file."""
        history = cls(file)
        for line in json_lines(file):
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
        line |= {"added": [asdict(mark) for mark in edit.added], "removed": [asdict(mark) for mark in edit.removed]}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with appended_lines(self.file) as write:
            write(line)
        self._apply(step, edit, digest)

    def _apply(self, step: Step, edit: Edit, digest: str) -> None:
        self.marks = self.after(edit)
        self.version += 1
        self.digest = digest
        if step == "edit":
            self.done.append(edit)
            self.undone.clear()
        elif step == "undo":
            self.undone.append(self.done.pop())
        else:
            self.done.append(self.undone.pop())


def _marks(rows: Iterable[dict[str, Any]]) -> tuple[Mark, ...]:
    return tuple(Mark(**row) for row in rows)


def without_overlaps(marks: Sequence[Mark], new: Mark) -> tuple[Mark, tuple[Mark, ...]]:
    """``new`` grown by the marks of its label and kind that it meets, and those, which it replaces."""
    same = (m for m in marks if (m.label, m.kind) == (new.label, new.kind))
    met = tuple(m for m in same if m.start <= new.stop and m.stop >= new.start)
    start, stop = min([new.start, *(m.start for m in met)]), max([new.stop, *(m.stop for m in met)])
    return Mark(start=start, stop=stop, label=new.label, kind=new.kind), met

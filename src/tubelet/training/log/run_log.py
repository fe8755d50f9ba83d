"""What a run leaves to be read: ``log.csv`` (a row per step), ``validation.csv`` and TensorBoard events.

A resumed run first cuts both tables back to the step it resumes from, so that no row stands twice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tubelet.files import naming, write_atomically
from tubelet.tasks.task import Task
from tubelet.training.log.tensorboard_writer import TensorBoardWriter


def step_columns(task: type[Task]) -> tuple[str, ...]:
    """The columns of ``log.csv``."""
    values = (column.key for column in task.steps)
    return ("step", "epoch", "lr", *values, "grad_norm", "num_failed", "wait_share", "seconds")


def validation_columns(task: type[Task]) -> tuple[str, ...]:
    """The columns of ``validation.csv``."""
    return ("step", "epoch", *task.validation_header())


class RunLog:
    """Appends to the tables and to TensorBoard; a context manager.

    Args:
        folder: the run folder.
        task: names the columns.
        resume_step: rows after this optimizer step are dropped; 0 starts anew.
        closed_step: validations after this optimizer step are dropped: that of ``resume_step`` may still be due. None
            means that it is not.

    Raises:
        OSError: by any method, when a file cannot be written; the error names it.
    """

    def __init__(self, folder: Path, task: type[Task], resume_step: int, closed_step: int | None = None) -> None:
        closed_step = resume_step if closed_step is None else closed_step
        steps = _Table(folder / "log.csv", step_columns(task), resume_step)
        validations = _Table(folder / "validation.csv", validation_columns(task), closed_step)
        self._tables = {"log": steps, "validation": validations}
        # The board forgets all of a step or nothing: where its validation is due, its training is said again.
        is_due = closed_step < resume_step == int(steps.last.get("step", 0))
        self._board = TensorBoardWriter(folder / "tensorboard", resume_step if is_due else resume_step + 1)
        if is_due:
            again = {name: float(value) for name, value in steps.last.items() if value}
            self._add("train", again | {"step": resume_step})

    def step(self, row: Mapping[str, Any]) -> None:
        """One training step, with the values of ``step_columns``; those of the task are of the step's batch.

        Of a clip mixed with another (``augment.mix``), accuracy counts the share that the most likely class has in the
        mixed label: a model that is right about every clip reaches the mean of the larger shares, not 1.
        """
        self._write("log", "train", row)

    def validation(self, row: Mapping[str, Any]) -> None:
        """One validation, with the values of ``validation_columns``; a metric that is undefined is empty."""
        self._write("validation", "validation", row)

    def pictures(self, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]], step: int) -> None:
        """Pictures of a validation by name, for TensorBoard alone."""
        for name, picture in pictures.items():
            self._board.add_picture(f"validation/{name}", picture, step)

    def flush(self) -> None:
        for table in self._tables.values():
            table.flush()
        self._board.flush()

    def close(self) -> None:
        with ExitStack() as stack:  # all of them, also after one that cannot be written
            for table in self._tables.values():
                stack.callback(table.close)
            stack.callback(self._board.close)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with nullcontext() if error is None else suppress(OSError):  # the first error says it
            self.close()

    def _write(self, table: str, group: str, row: Mapping[str, Any]) -> None:
        self._tables[table].write(row)
        self._add(group, row)

    def _add(self, group: str, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if value is not None and name not in ("step", "epoch"):
                self._board.add(f"{group}/{name}", float(value), row["step"])


class NoLog(RunLog):
    """Writes nothing: of several processes, all but the first."""

    def __init__(self) -> None:
        self._tables = {}

    def pictures(self, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]], step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def _write(self, table: str, group: str, row: Mapping[str, Any]) -> None: ...


class _Table:
    def __init__(self, path: Path, columns: tuple[str, ...], resume_step: int) -> None:
        kept = _rows_up_to(path, resume_step) if resume_step and path.exists() else []
        self.last = kept[-1] if kept else {}
        self._path = path
        text = io.StringIO()
        # A run may go on under other columns than it began with.
        writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(path, text.getvalue())
        self._stream = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._stream, columns, lineterminator="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        with naming(self._path):
            self._writer.writerow({name: "" if value is None else value for name, value in row.items()})

    def flush(self) -> None:
        with naming(self._path):
            self._stream.flush()

    def close(self) -> None:
        with naming(self._path):
            self._stream.close()


def _rows_up_to(path: Path, step: int) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # The last line may be half written when the run was killed: it lacks columns and is past the checkpoint.
    return [row for row in rows if None not in row.values() and row["step"].isdigit() and int(row["step"]) <= step]

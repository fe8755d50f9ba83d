"""What a run leaves to be read: ``log.csv`` (a row per step), ``validation.csv`` and TensorBoard events.

A resumed run first cuts both tables back to the step it resumes from, so that no row stands twice.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from tubelet.files import write_atomically

STEP_COLUMNS = ("step", "epoch", "lr", "loss", "top1", "grad_norm", "num_failed", "wait_share", "seconds")
VALIDATION_COLUMNS = (
    *("step", "epoch", "loss", "top1", "top5", "mean_class", "auroc", "calibration_error", "mean_average_precision"),
)


class RunLog:
    """Appends to the tables and to TensorBoard; a context manager.

    Args:
        folder: the run folder.
        resume_step: rows after this optimizer step are dropped; 0 starts anew.
    """

    def __init__(self, folder: Path, resume_step: int) -> None:
        self._tables = {
            "log": _Table(folder / "log.csv", STEP_COLUMNS, resume_step),
            "validation": _Table(folder / "validation.csv", VALIDATION_COLUMNS, resume_step),
        }
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)

    def step(self, row: Mapping[str, Any]) -> None:
        """One training step: columns ``STEP_COLUMNS``; loss and top1 are those of the step's batch, top1 that of the
        actions where there are several heads, and where a video may have several labels the share of the videos whose
        most likely class is one of them.

        Of a clip mixed with another (``augment.mix``), top1 counts the share that the most likely class has in the
        mixed label: a model that is right about every clip reaches the mean of the larger shares, not 1.
        """
        self._write("log", "train", row)

    def validation(self, row: Mapping[str, Any]) -> None:
        """One validation: columns ``VALIDATION_COLUMNS``; a metric that is undefined is empty."""
        self._write("validation", "validation", row)

    def flush(self) -> None:
        for table in self._tables.values():
            table.flush()
        self._board.flush()

    def close(self) -> None:
        for table in self._tables.values():
            table.close()
        self._board.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, table: str, group: str, row: Mapping[str, Any]) -> None:
        self._tables[table].write(row)
        for name, value in row.items():
            if value is not None and name not in ("step", "epoch"):
                self._board.add_scalar(f"{group}/{name}", value, row["step"])


class _Table:
    def __init__(self, path: Path, columns: tuple[str, ...], resume_step: int) -> None:
        kept = _rows_up_to(path, resume_step) if resume_step and path.exists() else []
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(path, text.getvalue())
        self._stream = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._stream, columns, lineterminator="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow({name: "" if value is None else value for name, value in row.items()})

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def _rows_up_to(path: Path, step: int) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # The last line may be half written when the run was killed: it lacks columns and is past the checkpoint.
    return [row for row in rows if None not in row.values() and row["step"].isdigit() and int(row["step"]) <= step]

"""The failure budget: how many videos may be unreadable before a run stops.

A video that fails keeps its place in the batch with weight 0 and counts once, however often it is read. One failed
video is always allowed, unless the budget is 0. Otherwise a share of a small dataset would stop every run at its first
bad file.
"""

from __future__ import annotations

from pathlib import Path

from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.quarantine import quarantined, write_quarantine
from tubelet.errors import ConfigError, DataError
from tubelet.types import Batch

UNREADABLE = "unreadable.csv"  # the list beside the results of a run or an evaluation
_MAX_NAMED = 4  # files that the error names


class FailureBudget:
    """Counts the videos of one manifest that cannot be read.

    Args:
        manifest: the rows that batches index.
        share: share of its rows that may fail. 0 allows none; any other share allows at least one.
        what: the name of the rows in messages, for example "training videos".
        file: where the list of failed rows is written, as a quarantine list, whenever it grows. None means nowhere.
        failed: rows that have failed so far, with their reasons, in a run that resumes.
    """

    def __init__(
        self,
        manifest: Manifest,
        share: float,
        what: str,
        *,
        file: Path | None = None,
        failed: dict[int, str] | None = None,
    ) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"failure_budget must lie in [0, 1], got {share:g}")
        self.manifest, self.share, self.what, self.file = manifest, share, what, file
        self.failed = dict(failed or {})
        if file is not None and file.exists():  # of an earlier attempt, whose bad videos may be repaired
            self._write(file)

    @property
    def allowed(self) -> float:
        """How many rows may fail."""
        return max(1.0, self.share * len(self.manifest)) if self.share else 0.0

    @property
    def is_exceeded(self) -> bool:
        return len(self.failed) > self.allowed

    def count(self, batch: Batch) -> dict[int, str]:
        """Count the failures of a batch. Returns new rows with their lines. ``check`` raises if there are too many."""
        unread = [row for row, weight in zip(batch.index, batch.weight.tolist(), strict=True) if weight == 0]
        return self.add(dict(zip(unread, batch.failures, strict=True)))

    def add(self, lines: dict[int, str]) -> dict[int, str]:
        """Count rows and lines from elsewhere, for example from another process. Returns those that are new."""
        new = {row: lines[row] for row in sorted(lines.keys() - self.failed.keys())}
        self.failed |= new
        if new and self.file is not None:
            self._write(self.file)
        return new

    def check(self, with_file: bool = True) -> None:
        """Raise DataError if more rows failed than are allowed. The message names the first of them and the list.

        Args:
            with_file: whether the message names the file of the list, because it stays.
        """
        if not self.is_exceeded:
            return
        named = list(self.failed.values())
        rest = f"; and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
        where = f"; all of them, as a quarantine list: {self.file}" if self.file is not None and with_file else ""
        raise DataError(
            f"{len(self.failed)} of {len(self.manifest)} {self.what} cannot be read, more than failure_budget="
            f"{self.share:g} allows; replace them, or leave them out by a quarantine list (`tubelet data scan` finds "
            f"every bad file and writes one): {'; '.join(named[:_MAX_NAMED])}{rest}{where}"
        )

    def _write(self, file: Path) -> None:
        """Write the list, or remove the file if no row has failed."""
        if not self.failed:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [(self.manifest.samples[row], line) for row, line in sorted(self.failed.items())]
        write_quarantine(file, [quarantined(row, line) for row, line in rows])

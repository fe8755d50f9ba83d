"""Progress of long work on stderr: a bar on a terminal, a line now and then in a log file or a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tubelet.errors import printable
from tubelet.session.progress import duration

LINE_EVERY_SECONDS = 20.0  # where no bar can be drawn


class ConsoleProgress:
    """Shows progress on stderr; a ``tubelet.session.progress.Progress``. A context manager.

    Args:
        title: what stands before the bar, for example the name of the run.
        is_quiet: show nothing. Of several processes, all but the first are quiet.
    """

    def __init__(self, title: str, *, is_quiet: bool = False) -> None:
        self.title = title
        self.console = Console(stderr=True, quiet=is_quiet)
        self._line_due = time.monotonic() + LINE_EVERY_SECONDS
        self._works: dict[int, tuple[float, int, int]] = {}  # by total: when and where it began, and how far it is
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            disable=is_quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(title, total=None, text="")

    def __enter__(self) -> ConsoleProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        self.advance(step, num_steps, f"epoch {epoch + 1}, loss {loss:.3f}")

    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None:
        self.note(
            f"epoch {epoch + 1}: validation {text} "
            f"({metrics['num_videos']} videos, {metrics['views']} views, {metrics['num_failed']} failed)"
            + (", best so far" if is_best else "")
        )

    def note(self, text: str) -> None:
        """One line that stays, whatever the names in it hold."""
        self.console.print(printable(f"{self.title}: {text}"), highlight=False, markup=False, soft_wrap=True)

    def advance(self, done: int, total: int, text: str = "") -> None:
        """Move the bar, or print a line when one is due."""
        self._bar.update(self._task, completed=done, total=total, text=text)
        left = self._time_left(done, total)
        if self._bar.disable and time.monotonic() >= self._line_due:
            self._line_due = time.monotonic() + LINE_EVERY_SECONDS
            parts = [f"{done} of {total}", text, "" if text.endswith(" left") else left]
            self.note(", ".join(part for part in parts if part))

    def _time_left(self, done: int, total: int) -> str:
        """In words, as far as the work since its start in this session tells. Works of several totals take turns, as
        training and its validations do."""
        now = time.monotonic()
        began, first, latest = self._works.get(total, (now, done, done))
        if done < latest:  # the same work once more
            began, first = now, done
        self._works[total] = began, first, done
        if done <= first:
            return ""
        return f"about {duration((now - began) / (done - first) * (total - done))} left"

"""How a long job reports: notes that stay, and how far it is. ``console_progress`` beside it shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Receives what a job reports."""

    def note(self, text: str) -> None:
        """One line that stays."""

    def advance(self, done: int, total: int, text: str = "") -> None:
        """``done`` of ``total`` files, videos, clips or runs are done; ``text`` says of what."""

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        """Optimizer step ``step`` of ``num_steps`` is done, in epoch ``epoch``, counted from 0."""

    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None:
        """The model was validated after optimizer step ``step``; ``text`` holds the metrics that its task shows."""


class NoProgress:
    """Shows nothing. Base class of those that show something only."""

    def note(self, text: str) -> None: ...
    def advance(self, done: int, total: int, text: str = "") -> None: ...
    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None: ...
    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None: ...


def duration(seconds: float) -> str:
    """A length of time for a message: ``40 s``, ``12 min``, ``5 h``, ``3 d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

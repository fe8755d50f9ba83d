"""Who is told how a training run goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Reporter(Protocol):
    """Who is told how a run goes: the console, or nobody."""

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None: ...
    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool) -> None: ...
    def note(self, text: str) -> None: ...


class NoReporter:
    """Tells nobody: of several processes, all but the first."""

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None: ...
    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool) -> None: ...
    def note(self, text: str) -> None: ...

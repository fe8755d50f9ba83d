"""What a long job runs in: one value in place of a device, a process group, a progress bar and a signal handler.

``Session(device=torch.device("cuda"))`` computes on that device in this process alone, shows nothing and is not
interrupted. A function that only moves tensors takes a device; one that reports, waits for other processes or can be
stopped takes a session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from tubelet.session.processes import SINGLE, Processes
from tubelet.session.progress import NoProgress, Progress
from tubelet.session.signals import Signals


@dataclass(frozen=True, kw_only=True)
class Session:
    """Device, processes, progress and signals of a job.

    Of several processes only the first reports: the others have a silent ``progress``, whatever they are given.
    """

    device: torch.device = torch.device("cpu")  # noqa: RUF009  # immutable  # of this process
    processes: Processes = SINGLE
    progress: Progress = NoProgress()  # noqa: RUF009  # has no state
    signals: Signals = field(default_factory=Signals)

    def __post_init__(self) -> None:
        if not self.processes.is_main:
            object.__setattr__(self, "progress", NoProgress())

    def advance(self, done: int, total: int, text: str = "") -> None:
        """Report how far work is that can be done again, such as an evaluation.

        Raises:
            Stopped: a signal asked this process to stop.
        """
        if self.signals.requested:
            self.check_signals()
        self.progress.advance(done, total, text)

    def check_signals(self) -> None:
        """Raise Stopped when a signal asked this process to stop.

        Of several processes none may leave alone, because the others would wait for it: they go on to the next
        training step, before which they ask each other.
        """
        if self.processes.size == 1:
            self.signals.check()

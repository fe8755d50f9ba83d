"""SIGTERM and SIGINT become a request that a job grants where it loses nothing, such as between two steps.

Schedulers announce the end of a job with SIGTERM and kill it some time later (Slurm: ``KillWait``, 30 s by default;
Kubernetes: ``terminationGracePeriodSeconds``, 30 s; torchrun passes the signal on and waits 30 s); SIGINT is Ctrl-C.
The exit code is 128 + the signal, as if the signal itself had ended the process: 143 or 130.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from tubelet.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A launcher passes on what its process group got already, and `timeout` sends twice: that is still the first request.
_SAME_REQUEST_SECONDS = 1.0


class Signals:
    """Listens for the signals while it is entered. Not entered, or entered outside the main thread, it hears nothing.

    The first signal only sets ``requested``. Another one, more than a second later, ends the process at once, as if
    nobody had listened. A signal that was ignored before stays ignored (``nohup``, a shell's background job).
    """

    def __init__(self) -> None:
        self.requested = 0  # the signal that asked this process to stop; 0 means none has
        self._since = 0.0
        self._depth = 0
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raise Stopped when this process was asked to stop."""
        if self.requested:
            raise Stopped(f"stopped by {signal.Signals(self.requested).name}", self.requested)

    def __enter__(self) -> Signals:
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._since = number, now
        elif now - self._since > _SAME_REQUEST_SECONDS:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

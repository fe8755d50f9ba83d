"""How a run is asked to stop: SIGTERM and SIGINT become a wish that the loop grants between two steps.

Schedulers announce the end of a job with SIGTERM and kill it some time later (Slurm: ``KillWait``, 30 s by default;
Kubernetes: ``terminationGracePeriodSeconds``, 30 s; torchrun passes the signal on and waits 30 s); SIGINT is Ctrl-C.
The exit code is 128 + the signal, which is what they would see had the signal itself ended the process: 143 or 130.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from tubelet.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A launcher passes on what its process group got already, and `timeout` sends twice: that is still the first request.
_SAME_REQUEST_SECONDS = 1.0


class Stopping:
    """Listens for the signals while it is entered; entered outside the main thread, or not at all, nothing asks.

    The first signal only makes ``requested`` say so. Another one, more than a second later, ends the process at once,
    as if nobody had listened. A signal that was ignored before stays ignored (``nohup``, a shell's background job).

    Args:
        is_alone: of several processes none may leave before the others: they ask each other between two steps.
    """

    def __init__(self, *, is_alone: bool = True) -> None:
        self.is_alone = is_alone
        self._signal = 0
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> int:
        """The number of the signal that asked this process to stop; 0: none has."""
        return self._signal

    def check(self) -> None:
        """Raises Stopped when this process was asked to stop. For work that can be done again, such as a validation."""
        if self._signal and self.is_alone:
            raise Stopped(f"stopped by {signal.Signals(self._signal).name}", self._signal)

    def asked_by(self, on_batch: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """``on_batch`` that first checks."""

        def tell(done: int, total: int) -> None:
            self.check()
            on_batch(done, total)

        return tell

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._signal:
            self._signal, self._since = number, now
        elif now - self._since > _SAME_REQUEST_SECONDS:
            self.__exit__(None, None, None)
            os.kill(os.getpid(), number)

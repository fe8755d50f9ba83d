"""The decode timeout: a watchdog thread of the parent ends work that passes its time limit.

A decoder that hangs in C code never returns to Python, so no timeout inside its process could end it. The parent kills
the process instead. Each limit belongs to one guard: after the guard is left, its limit can no longer end anything, so
a late timeout never hits the work that follows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_IDLE_SECONDS = 3600.0  # between two checks while nothing is guarded; a new guard wakes the thread earlier


class Guard:
    """One piece of work with a time limit that counts from its beginning."""

    def __init__(self, seconds: float, end: Callable[[], object]) -> None:
        self.began = time.monotonic()
        self.limit_seconds = seconds
        self.expired = False  # True once the limit or ``end_now`` has ended the work
        self._end = end
        self._lock = threading.Lock()
        self._is_open = True

    @property
    def seconds(self) -> float:
        """How long the work has taken so far."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float:
        """Seconds until the limit; negative after it."""
        return self.limit_seconds - self.seconds

    def allow(self, seconds: float) -> None:
        """Move the limit to ``seconds`` after the beginning. An earlier limit than the present one changes nothing."""
        self.limit_seconds = max(self.limit_seconds, seconds)

    def end_now(self) -> bool:
        """End the work. Returns False if it is already over; then nothing is ended."""
        with self._lock:
            if self._is_open:
                self.expired = True
                self._end()
            return self._is_open

    def leave(self) -> None:
        """Mark the work as over. From now on the guard ends nothing."""
        with self._lock:
            self._is_open = False


class Watchdog:
    """Ends guarded work that passes its limit. Its thread starts with the first guard and is a daemon."""

    def __init__(self) -> None:
        self._guards: set[Guard] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._wakes_at = 0.0  # monotonic time at which the thread looks at its guards again

    @contextmanager
    def guard(self, seconds: float, end: Callable[[], object]) -> Iterator[Guard]:
        """A context that calls ``end()`` if its work takes longer than ``seconds``.

        The watchdog thread calls ``end`` at most once; ``end`` must not block.
        """
        guard = Guard(seconds, end)
        with self._changed:
            self._guards.add(guard)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="tubelet-watchdog", daemon=True)
                self._thread.start()
            if guard.began + seconds < self._wakes_at:
                self._changed.notify()
        try:
            yield guard
        finally:
            guard.leave()
            with self._changed:
                self._guards.discard(guard)

    def close(self) -> None:
        """End the thread. Guards that are still open lose their limit."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                for guard in [guard for guard in self._guards if guard.seconds_left <= 0]:
                    self._guards.discard(guard)
                    guard.end_now()
                left = min((guard.seconds_left for guard in self._guards), default=_IDLE_SECONDS)
                self._wakes_at = time.monotonic() + left
                self._changed.wait(max(0.0, left))

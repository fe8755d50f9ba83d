"""A pool of reader processes in which each process may crash or hang without ending the others.

A decoder can crash or hang on real footage, and torch's DataLoader ends with its first dead worker. Here each process
belongs to one thread of the parent. The thread sends one row at a time over a pipe and waits for the answer. If the
process crashes, or the watchdog kills it because the row took too long, only that row is lost: it becomes a
``Failure``, and the next row starts a new process. ``tubelet.data.loading.worker_process`` is the pipe's other end.
"""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar, cast

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS
from tubelet.data.loading.watchdog import Guard, Watchdog
from tubelet.data.loading.worker_process import (
    Failure,
    ItemHeader,
    MoreTime,
    RowProcessor,
    Unexpected,
    receive_item,
    serve,
)
from tubelet.data.sources.open_source import TOO_LITTLE_MEMORY
from tubelet.errors import ConfigError, TubeletError

R = TypeVar("R")
T = TypeVar("T")

_START_SECONDS = 300.0  # for a process to start and import, even from a slow disk
_BEGIN_SECONDS = 30.0  # for an idle process to take a row
_EXIT_WAIT_SECONDS = 5.0  # for a closed pipe to be followed by the exit of its process


@dataclass(frozen=True)
class RowInProgress:
    """A row that a worker reads now. ``WorkerPool.kill`` ends this row and never a later one."""

    worker: int
    name: str
    guard: Guard

    @property
    def seconds(self) -> float:
        """Seconds since the worker began the row."""
        return self.guard.seconds


class WorkerPool(Generic[R, T]):
    """``num_workers`` processes that run one processor on its rows.

    Processes start with the first rows. They end with ``close``, when the pool is garbage-collected, and when the
    parent dies in any way. A fork server starts them where the system has one; elsewhere, and after
    ``multiprocessing.set_start_method("spawn")``, they are spawned.

    Args:
        processor: what the processes do with a row.
        num_workers: number of processes.
        timeout_seconds: the process of a row that takes longer is killed, unless the processor allows the row more.
    """

    def __init__(
        self, processor: RowProcessor[R, T], num_workers: int, timeout_seconds: float = DECODE_TIMEOUT_SECONDS
    ) -> None:
        if not timeout_seconds > 0:
            raise ConfigError(f"decode_timeout_seconds must be positive, got {timeout_seconds:g}")
        context = _start_context()
        self._tasks: queue.SimpleQueue[_PendingRow[R, T] | None] = queue.SimpleQueue()
        self._watchdog = Watchdog()
        self._workers = [
            _Worker(context, number, processor, self._tasks, self._watchdog, timeout_seconds)
            for number in range(num_workers)
        ]

    def submit(self, row: R) -> Future[T | Failure]:
        """Queue one row. If its future is canceled before its turn, the row is not read."""
        future: Future[T | Failure] = Future()
        self._tasks.put(_PendingRow(row, future))
        return future

    def rows_in_progress(self) -> list[RowInProgress]:
        """The row of each busy worker."""
        return [row for worker in self._workers if (row := worker.in_progress) is not None]

    def kill(self, row: RowInProgress) -> bool:
        """Kill the process that reads this row; the row becomes a failure.

        Returns:
            False if the row was done in the meantime; then nothing is killed.
        """
        return row.guard.end_now()

    def close(self) -> None:
        """End all processes and threads. Rows that are not read yet are canceled."""
        for worker in self._workers:
            worker.closing.set()
            self._tasks.put(None)
        for worker in self._workers:
            worker.join()
        self._watchdog.close()


def in_order(
    processor: RowProcessor[R, T], rows: Sequence[R], num_workers: int, timeout_seconds: float
) -> Iterator[T | Failure]:
    """Run a processor on rows in a pool of its own. Yields results in order, a few rows ahead of the caller.

    Args:
        processor: what is done with a row.
        rows: the pool has no more processes than rows.
        num_workers: number of processes.
        timeout_seconds: as in ``WorkerPool``.
    """
    if not rows:
        return
    with closing(WorkerPool(processor, min(num_workers, len(rows)), timeout_seconds)) as pool:
        submitted = map(pool.submit, rows)
        ahead = deque(itertools.islice(submitted, 4 * num_workers))
        while ahead:
            result = ahead.popleft().result()
            ahead.extend(itertools.islice(submitted, 1))
            yield result


def _start_context() -> BaseContext:
    """The fork server or ``spawn``, never ``fork``: this process has threads, and a fork copies the locks they hold."""
    chosen, known = multiprocessing.get_start_method(allow_none=True), multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("spawn" if chosen == "spawn" or "forkserver" not in known else "forkserver")
    # With these imports done once in the fork server, replacing a worker takes milliseconds.
    context.set_forkserver_preload([ClipDataset.__module__])
    return context


@dataclass(frozen=True)
class _PendingRow(Generic[R, T]):
    row: R
    future: Future[T | Failure]


class _Worker(Generic[R, T]):
    """One process and the thread that owns it."""

    def __init__(
        self,
        context: BaseContext,
        number: int,
        processor: RowProcessor[R, T],
        tasks: queue.SimpleQueue[_PendingRow[R, T] | None],
        watchdog: Watchdog,
        timeout_seconds: float,
    ) -> None:
        self._context, self._number, self._processor, self._tasks = context, number, processor, tasks
        self._watchdog, self._timeout_seconds = watchdog, timeout_seconds
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self.in_progress: RowInProgress | None = None
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tubelet-reader", daemon=True)
        self._thread.start()

    def join(self) -> None:
        if self._thread is threading.current_thread():
            return  # garbage collection may close the pool in this very thread, which then ends by itself
        while self._thread.is_alive():
            if (process := self._process) is not None:
                _kill(process)  # in a loop, because the thread may have been starting a process
            self._thread.join(timeout=0.05)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.closing.is_set() or not task.future.set_running_or_notify_cancel():
                task.future.cancel()
                continue
            try:
                task.future.set_result(self._read(task))
            except BaseException as error:  # the caller that waits for the row gets it
                task.future.set_exception(error)
        self._stop()

    def _read(self, task: _PendingRow[R, T]) -> T | Failure:
        name = self._processor.name(task.row)
        connection, process = self._begin(task)
        with self._watchdog.guard(self._timeout_seconds, lambda: _kill(process)) as guard:
            self.in_progress = RowInProgress(self._number, name, guard)
            try:
                answer = connection.recv()
                while isinstance(answer, MoreTime):
                    guard.allow(answer.seconds)
                    answer = connection.recv()
                if isinstance(answer, ItemHeader):
                    return cast(T, receive_item(connection, answer))
            except (EOFError, OSError):
                return self._failure(name, guard)
            finally:
                self.in_progress = None
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, Unexpected):
            raise RuntimeError(f"reading {name} raised\n{answer.trace}")
        return cast("T | Failure", answer)

    def _failure(self, name: str, guard: Guard) -> Failure:
        """The failure of a row whose process has ended."""
        ended = self._stop()
        if guard.seconds_left <= 0:
            return Failure(
                f"{name}: not read within {guard.limit_seconds:g} s, its process was killed; check that the file "
                "plays, leave it out, or allow more time (decode_timeout_seconds)",
                "hung",
            )
        if ended == f"signal {int(signal.SIGKILL)}":
            died = f"was killed ({ended}), as the system does when memory runs out; {TOO_LITTLE_MEMORY}"
        else:
            died = f"died ({ended}); check that the file plays, or leave it out"
        return Failure(f"{name}: the process reading it {died}", "died")

    def _begin(self, task: _PendingRow[R, T]) -> tuple[Connection, BaseProcess]:
        """Send a row to the process. If the process does not take it, a new process gets the row."""
        while True:
            connection, process = self._running()
            try:
                limit = min(_BEGIN_SECONDS, self._timeout_seconds)
                with self._watchdog.guard(limit, lambda process=process: _kill(process)):  # type: ignore[misc]
                    connection.send(task.row)
                    connection.recv()
                return connection, process
            except (EOFError, OSError):
                self._stop()

    def _running(self) -> tuple[Connection, BaseProcess]:
        """The pipe and the process. Starts a process if there is none."""
        if self._connection is not None and self._process is not None:
            return self._connection, self._process
        ours, theirs = self._context.Pipe()
        process: BaseProcess = self._context.Process(  # type: ignore[attr-defined]
            target=serve, args=(theirs, self._processor), name="tubelet-reader", daemon=True
        )
        process.start()
        theirs.close()  # with this copy open, the pipe would not report the end of the process
        self._connection, self._process = ours, process
        try:
            with self._watchdog.guard(_START_SECONDS, lambda: _kill(process)):
                ours.recv()
        except (EOFError, OSError):
            raise TubeletError(
                f"a reader process could not start ({self._stop()}); a script that reads with workers needs its "
                "code under `if __name__ == '__main__':`, or num_workers 0"
            ) from None
        return ours, process

    def _stop(self) -> str:
        """End the process. Returns how it ended."""
        connection, process = self._connection, self._process
        self._connection = self._process = None
        if connection is None or process is None:
            return "not running"
        connection.close()
        process.join(_EXIT_WAIT_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join(_EXIT_WAIT_SECONDS)
        if process.exitcode is None:
            return "not even killing ended it"  # it waits in the kernel for a disk or network that is gone
        code = process.exitcode or 0
        process.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _kill(process: BaseProcess) -> None:
    with suppress(ValueError):  # its thread may have just closed it
        process.kill()

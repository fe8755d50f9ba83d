"""Reader processes that may die or hang one by one.

A decoder can crash or hang on real footage, and a torch DataLoader ends with its first dead worker. Here every
process belongs to one thread of the parent, which sends it one row at a time over a pipe and waits. A process that
crashes, or that a watchdog kills because a row took too long, costs the row it was reading, which becomes a
``Failure``; the next row starts a fresh process. ``tubelet.data.loading.worker_process`` is the other end of the pipe.
"""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar, cast

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.watchdog import DECODE_TIMEOUT_SECONDS, Guard, Watchdog
from tubelet.data.loading.worker_process import (
    Failure,
    ItemHeader,
    MoreTime,
    RowProcessor,
    Unexpected,
    receive_item,
    serve,
)
from tubelet.errors import ConfigError, TubeletError

T = TypeVar("T")

_START_SECONDS = 300.0  # for a process to import what it needs, on however slow a disk
_BEGIN_SECONDS = 30.0  # for an idle process to take a row
_EXIT_WAIT_SECONDS = 5.0  # for a closed pipe to be followed by the exit of its process


@dataclass(frozen=True)
class RowInProgress:
    """A row that a worker is busy with. Given to ``WorkerPool.kill`` it means this row and no later one."""

    worker: int
    name: str
    guard: Guard

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self.guard.seconds


class WorkerPool(Generic[T]):
    """``num_workers`` processes that work on the rows of one processor.

    Processes start with the first rows. They end with ``close``, when the pool's owner is garbage, and when the
    parent dies in any way. They are started by a fork server where there is one, and by ``spawn`` elsewhere or where
    ``multiprocessing.set_start_method("spawn")`` was called.

    Args:
        processor: what is done with a row.
        num_workers: processes.
        timeout_seconds: a row that takes longer has its process killed, unless the job allows it more.
    """

    def __init__(
        self, processor: RowProcessor[T], num_workers: int, timeout_seconds: float = DECODE_TIMEOUT_SECONDS
    ) -> None:
        if not timeout_seconds > 0:
            raise ConfigError(f"decode_timeout_seconds must be positive, got {timeout_seconds:g}")
        context = _start_context()
        self._tasks: queue.SimpleQueue[_Task[T] | None] = queue.SimpleQueue()
        self._watchdog = Watchdog()
        self._workers = [
            _Worker(context, number, processor, self._tasks, self._watchdog, timeout_seconds)
            for number in range(num_workers)
        ]

    def submit(self, index: int, epoch: int = 0) -> Future[T | Failure]:
        """Queues one row. A future that is canceled before its turn is never read."""
        future: Future[T | Failure] = Future()
        self._tasks.put(_Task(index, epoch, future))
        return future

    def rows_in_progress(self) -> list[RowInProgress]:
        """What each busy worker reads."""
        return [row for worker in self._workers if (row := worker.in_progress) is not None]

    def kill(self, row: RowInProgress) -> bool:
        """Kills the process that reads this row, which becomes a failure. False, and nothing is killed, where the row
        was done in the meantime."""
        return row.guard.end_now()

    def close(self) -> None:
        """Ends all processes and threads. Rows not read yet are canceled."""
        for worker in self._workers:
            worker.closing.set()
            self._tasks.put(None)
        for worker in self._workers:
            worker.join()
        self._watchdog.close()


def in_order(
    processor: RowProcessor[T], num_rows: int, num_workers: int, timeout_seconds: float
) -> Iterator[T | Failure]:
    """What a pool of its own makes of the rows of a processor, in their order, a few rows ahead of who takes them.

    Args:
        num_rows: of the job; there are no more processes than that.
        num_workers: processes.
        timeout_seconds: as for ``WorkerPool``.
    """
    if not num_rows:
        return
    with closing(WorkerPool(processor, min(num_workers, num_rows), timeout_seconds)) as pool:
        submitted = map(pool.submit, range(num_rows))
        ahead = deque(itertools.islice(submitted, 4 * num_workers))
        while ahead:
            result = ahead.popleft().result()
            ahead.extend(itertools.islice(submitted, 1))
            yield result


def _start_context() -> BaseContext:
    """Never ``fork``: this process has threads, and a fork copies the locks they hold."""
    chosen, known = multiprocessing.get_start_method(allow_none=True), multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("spawn" if chosen == "spawn" or "forkserver" not in known else "forkserver")
    # So that replacing a worker takes milliseconds.
    context.set_forkserver_preload([ClipDataset.__module__])
    return context


@dataclass(frozen=True)
class _Task(Generic[T]):
    index: int
    epoch: int
    future: Future[T | Failure]


class _Worker(Generic[T]):
    """One process and the thread that owns it."""

    def __init__(
        self,
        context: BaseContext,
        number: int,
        processor: RowProcessor[T],
        tasks: queue.SimpleQueue[_Task[T] | None],
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
            return  # garbage collection closes the pool wherever it happens to run; the thread ends by itself
        while self._thread.is_alive():
            if (process := self._process) is not None:
                _kill(process)  # again and again: the thread may have been starting a process
            self._thread.join(timeout=0.05)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.closing.is_set() or not task.future.set_running_or_notify_cancel():
                task.future.cancel()
                continue
            try:
                task.future.set_result(self._read(task))
            except BaseException as error:  # it belongs to whoever waits for the row
                task.future.set_exception(error)
        self._stop()

    def _read(self, task: _Task[T]) -> T | Failure:
        name = self._processor.name(task.index)
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
        if isinstance(answer, Unexpected):
            raise RuntimeError(f"reading {name} raised\n{answer.trace}")
        return cast("T | Failure", answer)

    def _failure(self, name: str, guard: Guard) -> Failure:
        """What to say of a row whose process has ended."""
        ended = self._stop()
        if guard.seconds_left <= 0:
            return Failure(
                f"{name}: not read within {guard.limit_seconds:g} s, its process was killed; check that the file "
                "plays, leave it out, or allow more time (decode_timeout_seconds)",
                "hung",
            )
        return Failure(
            f"{name}: the process reading it died ({ended}); check that the file plays, or leave it out", "died"
        )

    def _begin(self, task: _Task[T]) -> tuple[Connection, BaseProcess]:
        """Hands over a row. A process that does not take it is replaced: the row is not to blame."""
        while True:
            connection, process = self._running()
            try:
                limit = min(_BEGIN_SECONDS, self._timeout_seconds)
                with self._watchdog.guard(limit, lambda process=process: _kill(process)):  # type: ignore[misc]
                    connection.send((task.index, task.epoch))
                    connection.recv()
                return connection, process
            except (EOFError, OSError):
                self._stop()

    def _running(self) -> tuple[Connection, BaseProcess]:
        """The process and its pipe; a new one where there is none."""
        if self._connection is not None and self._process is not None:
            return self._connection, self._process
        ours, theirs = self._context.Pipe()
        process: BaseProcess = self._context.Process(  # type: ignore[attr-defined]
            target=serve, args=(theirs, self._processor), name="tubelet-reader", daemon=True
        )
        process.start()
        theirs.close()  # else the end of the process would not show
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
        """Ends the process and says how it ended."""
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
            return "not even killing ended it"  # it waits for a disk or network that is gone; nobody waits for it
        code = process.exitcode or 0
        process.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _kill(process: BaseProcess) -> None:
    with suppress(ValueError):  # its thread has just closed it
        process.kill()

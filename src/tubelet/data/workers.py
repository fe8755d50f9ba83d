"""Reader processes that may die one by one.

A decoder can crash or hang on real footage, and a torch DataLoader ends with its first dead worker. Here every
process belongs to one thread of the parent, which sends it one row at a time over a pipe and waits. A process that
crashes or is killed costs the row it was reading, which becomes a ``Failure``; the next row starts a fresh process.

On the pipe, for one row: the parent sends (index, epoch); the worker answers True (it has begun), then a ``Failure``,
the text of a traceback, or a ``_Read`` followed by the pixels as raw bytes. Pixels do not go through shared memory,
so that a killed process leaves nothing behind.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch

from tubelet.data.dataset import ClipDataset, Item
from tubelet.errors import DataError, TubeletError

_EXIT_WAIT_SECONDS = 5.0  # for a closed pipe to be followed by the exit of its process


@dataclass(frozen=True)
class Failure:
    """A row that could not be read, as one line that names its file."""

    line: str


Result = Item | Failure


def read_or_fail(dataset: ClipDataset, index: int, epoch: int) -> Result:
    """One row, or why it cannot be read."""
    try:
        return dataset.read(index, epoch)
    except DataError as error:
        return Failure(str(error))


class WorkerPool:
    """``num_workers`` processes that read rows of one dataset.

    Processes start with the first rows. They end with ``close``, when the pool's owner is garbage, and when the
    parent dies in any way.
    """

    def __init__(self, dataset: ClipDataset, num_workers: int) -> None:
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        context.set_forkserver_preload([ClipDataset.__module__])  # so that replacing a worker takes milliseconds
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._workers = [_Worker(context, dataset, self._tasks) for _ in range(num_workers)]

    def submit(self, index: int, epoch: int) -> Future[Result]:
        """Queues one row. A future that is canceled before its turn is never read."""
        future: Future[Result] = Future()
        self._tasks.put(_Task(index, epoch, future))
        return future

    def reading(self) -> dict[int, tuple[str, float]]:
        """What each busy worker reads, and for how many seconds: what a watchdog needs."""
        now = time.monotonic()
        busy = [(number, worker.reading) for number, worker in enumerate(self._workers)]
        return {number: (reading[0], now - reading[1]) for number, reading in busy if reading is not None}

    def kill(self, worker: int) -> None:
        """Kills the process of a worker; the row it was reading becomes a failure."""
        self._workers[worker].kill()

    def close(self) -> None:
        """Ends all processes and threads. Rows not read yet are canceled."""
        for worker in self._workers:
            worker.closing.set()
            self._tasks.put(None)
        for worker in self._workers:
            worker.join()


@dataclass(frozen=True)
class _Read:
    """The fields of an ``Item`` beside its pixels, which follow as bytes."""

    labels: tuple[int, ...]
    seconds_covered: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    index: int
    epoch: int
    future: Future[Result]


class _Worker:
    """One process and the thread that owns it."""

    def __init__(
        self,
        context: multiprocessing.context.BaseContext,
        dataset: ClipDataset,
        tasks: queue.SimpleQueue[_Task | None],
    ) -> None:
        self._context, self._dataset, self._tasks = context, dataset, tasks
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self.reading: tuple[str, float] | None = None  # name of the row, monotonic time of its begin
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tubelet-reader", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        process = self._process
        if process is not None:
            with suppress(ValueError):  # its thread has just closed it
                process.kill()

    def join(self) -> None:
        if self._thread is threading.current_thread():
            return  # garbage collection closes the pool wherever it happens to run; the thread ends by itself
        while self._thread.is_alive():
            self.kill()  # again and again: the thread may have been starting a process
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

    def _read(self, task: _Task) -> Result:
        name = self._dataset.name(task.index)
        connection = self._begin(task)
        self.reading = name, time.monotonic()
        try:
            answer = connection.recv()
            if isinstance(answer, _Read):
                pixels = torch.empty(self._dataset.item_shape, dtype=torch.uint8)
                connection.recv_bytes_into(pixels.numpy().reshape(-1))
                return Item(pixels=pixels, **vars(answer))
        except (EOFError, OSError):
            return Failure(
                f"{name}: the process reading it died ({self._stop()}); check that the file plays, or leave it out"
            )
        finally:
            self.reading = None
        if isinstance(answer, Failure):
            return answer
        raise RuntimeError(f"reading {name} raised\n{answer}")

    def _begin(self, task: _Task) -> Connection:
        """Hands over a row. A process that dies before it begins is replaced: the row is not to blame."""
        while True:
            connection = self._connection or self._start()
            try:
                connection.send((task.index, task.epoch))
                connection.recv()
                return connection
            except (EOFError, OSError):
                self._stop()

    def _start(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, self._dataset), name="tubelet-reader", daemon=True
        )
        process.start()
        theirs.close()  # else the end of the process would not show
        self._connection, self._process = ours, process
        try:
            ours.recv()
        except (EOFError, OSError):
            raise TubeletError(
                f"a reader process could not start ({self._stop()}); a script that reads with workers needs its "
                "code under `if __name__ == '__main__':`, or num_workers 0"
            ) from None
        return ours

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
            process.join()
        code = process.exitcode or 0
        process.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _serve(connection: Connection, dataset: ClipDataset) -> None:
    """The life of a reader process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        connection.send(True)
        while True:
            index, epoch = connection.recv()
            connection.send(True)
            _answer(connection, dataset, index, epoch)
    except (EOFError, ConnectionError):
        return  # the pool has closed


def _answer(connection: Connection, dataset: ClipDataset, index: int, epoch: int) -> None:
    try:
        result = read_or_fail(dataset, index, epoch)
    except Exception:  # a mistake in the code or the configuration: the parent raises it
        connection.send(traceback.format_exc())
        return
    if isinstance(result, Failure):
        connection.send(result)
        return
    connection.send(_Read(result.labels, result.seconds_covered, result.notes))
    connection.send_bytes(result.pixels.numpy().reshape(-1))


def _exit_with_parent() -> None:
    """Even a read that hangs ends when the parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""Processes that make runs side by side, each with its own threads or its own GPU.

A run's numbers do not depend on how many others run beside it: every process computes with the same number of threads.
A process ends by itself when the one that started it is gone, however that ended, so that no run has two writers when
the comparison goes on. Runs that were going on then continue from their last state.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import torch

from tubelet.errors import TubeletError, error_line
from tubelet.recipe import RECIPE, save_recipe
from tubelet.runs.folder import resume_recipe
from tubelet.runs.result import RunResult, carry_out
from tubelet.runs.run import evaluate_run, run_recipe
from tubelet.session.fast_fp32 import FastFp32, fast_fp32_in_use, use_fast_fp32
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session
from tubelet.studies.jobs import TEST, Job, views_file

_TELL_EVERY_SECONDS = 1.0
_LISTEN_SECONDS = 0.5  # between looks at whether to stop

Shares = dict[str, float]  # name of a job that is running: share of its steps that are done


class Workers:
    """``run`` makes runs on ``len(devices)`` processes. A context manager.

    Args:
        devices: of each process.
        num_threads: of each process, for computation on the CPU.
        session: asked now and then whether to stop.
    """

    def __init__(self, devices: Sequence[str], num_threads: int, session: Session) -> None:
        self.devices, self.num_threads, self.session = devices, num_threads, session
        self._processes: list[BaseProcess] = []
        self._idle: list[Connection] = []
        self._all: list[Connection] = []

    def run(
        self,
        jobs: Sequence[Job],
        on_done: Callable[[Job, RunResult], None],
        on_share: Callable[[Shares], None] = lambda shares: None,
    ) -> None:
        """Make the runs in this order, as many at once as there are processes.

        Raises:
            TubeletError: a run failed otherwise than by diverging, or its process was killed. What is done is kept.
        """
        waiting, busy, shares = deque(jobs), dict[Connection, Job](), Shares()
        while waiting or busy:
            while waiting and (connection := self._free(len(waiting))) is not None:
                busy[connection] = waiting.popleft()
                connection.send(busy[connection])
            for ready in wait(list(busy), _LISTEN_SECONDS):
                assert isinstance(ready, Connection)
                job = busy[ready]
                kind, content = _received(ready, job)
                if kind == "share":
                    shares[job.name] = content
                elif kind == "done":
                    self._idle.append(ready)
                    busy.pop(ready)
                    shares.pop(job.name, None)
                    on_done(job, content)
                else:
                    raise TubeletError(f"{job.name}: {content}")
            on_share(shares)
            self.session.check_signals()

    def _free(self, num_waiting: int) -> Connection | None:
        """A process without work, started if there may be another."""
        if not self._idle and len(self._all) < len(self.devices) and num_waiting:
            context = get_context("spawn")
            ours, theirs = context.Pipe()
            device = self.devices[len(self._all)]
            process = context.Process(
                target=_serve, args=(theirs, device, self.num_threads, fast_fp32_in_use()), daemon=False
            )
            process.start()
            theirs.close()  # or the end of the process would not be seen
            self._processes.append(process)
            self._all.append(ours)
            self._idle.append(ours)
        return self._idle.pop(0) if self._idle else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._all:
            connection.close()
        for process in self._processes:
            process.join()


def _received(connection: Connection, job: Job) -> tuple[str, Any]:
    try:
        message: tuple[str, Any] = connection.recv()
    except (EOFError, OSError):
        raise TubeletError(
            f"{job.name}: its process ended without a word (killed, perhaps for memory); the same command goes on, "
            "with fewer --jobs if memory is short"
        ) from None
    return message


def _serve(connection: Connection, device: str, num_threads: int, products: FastFp32) -> None:
    """What a process does: make runs until the other end of the pipe is closed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the process that started this one decides, and closes the pipe
    torch.set_num_threads(num_threads)
    use_fast_fp32(products)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    session = Session(device=torch.device(device), progress=_SentShare(connection))
    while True:
        job = jobs.get()
        try:
            connection.send(("done", make_run(job, session)))
        except (TubeletError, OSError) as error:
            connection.send(("failed", error_line(error)))


def _listen(connection: Connection, jobs: queue.SimpleQueue[Job]) -> None:
    try:
        while True:
            jobs.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)  # in the middle of a step: the state on disk is whole, and goes on


def make_run(job: Job, session: Session) -> RunResult:
    """Train, or go on, or read what became of it; then the test split, where that is still to be done."""
    _settle(job)
    result = carry_out(job.recipe, job.folder, job.key, session, job.like)
    _evaluate(job, session)
    return result


def _settle(job: Job) -> None:
    """A run that began elsewhere, or with other readers, goes on here: what its key holds is the same, and the key is
    in the name of its folder."""
    if (job.folder / RECIPE).is_file():
        begun = resume_recipe(job.folder)
        here = dataclasses.replace(begun, data=job.recipe.data, init=job.recipe.init)
        if here != begun:
            save_recipe(here, job.folder / RECIPE)


def _evaluate(job: Job, session: Session) -> None:
    if not job.is_tested or job.is_done:
        return
    if not (job.folder / TEST).is_file():
        run_recipe(job.recipe, job.folder, session)
    for number in job.test_views:
        if not (job.folder / views_file(number)).is_file():
            out = (job.folder / views_file(number)).parent
            evaluate_run(job.recipe, job.folder, out, session, num_temporal_views=number)


class _SentShare(NoProgress):
    """Sends now and then how far a run is."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._due = 0.0

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _TELL_EVERY_SECONDS
            self.connection.send(("share", step / num_steps))

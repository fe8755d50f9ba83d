"""The processes of a run: this one alone, or those that ``torchrun`` (or a launcher with the same variables) started.

One process runs the same code without a process group. Processes on CPUs talk over gloo. On GPUs gradients and sharded
weights travel over NCCL; what lies on the host (labels, scores, borrowed clips) still travels over gloo. The
environment variables are those that ``torchrun`` documents.

Some work takes long on one process alone (indexing videos, reading weights). The others wait for it at the launcher's
store, which has no time limit. Everything else is a collective of the group and fails after ``TIMEOUT``.
"""

from __future__ import annotations

import itertools
import logging
import os
import shlex
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tubelet.errors import ConfigError, Stopped, TubeletError, error_line

T = TypeVar("T")

TIMEOUT = timedelta(minutes=15)  # of a collective: longer than a checkpoint takes to write or a bad video to give up
_LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# How gloo and the store name a process at the other end that is gone; they raise a plain RuntimeError.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "gloo/transport")
_ERROR = "error"  # key of the store: the first error of any process


class Processes:
    """All processes of a run, as one of them sees them.

    Args:
        rank: the number of this process, from 0. Process 0 writes and reports.
        size: how many there are.
        local_rank: the number of this process on its machine, which is also that of its GPU.
        store: where the processes leave messages for each other. None means one process and no group.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, store: dist.Store | None = None) -> None:
        self.rank, self.size, self.local_rank, self.store = rank, size, local_rank, store
        self._waits = itertools.count()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    @property
    def has_group(self) -> bool:
        """Whether there is a process group; one of a single process counts."""
        return self.store is not None

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks, on every process."""
        if not self.has_group:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes, on every process; ``tensor`` keeps its values."""
        if not self.has_group:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` is true on any process, on every process, so that all stop at the same step."""
        return bool(self.sum(torch.tensor(int(flag)))) if self.has_group else flag

    def on_main(self, work: Callable[[], None]) -> None:
        """Do ``work`` on process 0 while the others wait without a time limit. If it fails, the launcher ends them."""
        if self.store is None:
            work()
            return
        done = f"done/{next(self._waits)}"
        if self.is_main:
            work()
            self.store.set(done, "")
        else:
            self.store.wait([done], timedelta(days=365))

    def main_first(self, work: Callable[[], T]) -> T:
        """Do ``work`` on every process, first on process 0, so that the others find what it left, such as a download.
        No process goes on before all have done it."""
        results: list[T] = []
        self.on_main(lambda: results.append(work()))
        if not results:
            results.append(work())
        self.gather(None)
        return results[0]

    def check_same(self, value: str, what: str) -> None:
        """Raise ConfigError when the processes do not see the same ``what``."""
        for rank, other in enumerate(values := self.gather((value, socket.gethostname()))):
            if other[0] != values[0][0]:
                raise ConfigError(
                    f"process {rank} on {other[1]} sees {what} {other[0]}, process 0 on {values[0][1]} {values[0][0]}; "
                    "give all machines the same"
                )


SINGLE = Processes()


def is_launched() -> bool:
    """Return whether a launcher started this process, alone or with others."""
    return all(name in os.environ for name in _LAUNCHED)


def num_launched() -> int:
    """Return the number of processes that a launcher started; 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1


def num_on_machine() -> int:
    """Return how many of them run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])) if is_launched() else 1


def is_main_process() -> bool:
    """Return whether this process reports: it is alone, or the first that a launcher started."""
    return not is_launched() or os.environ["RANK"] == "0"


def launched_command(words: Sequence[str]) -> str:
    """Return the shell command of this program with ``words`` as arguments, started as this process was.

    The command leaves out how several machines find each other (``--rdzv-endpoint`` and the like).
    """
    command = shlex.join(["tubelet", *words])
    if not is_launched():
        return command
    size, local = num_launched(), num_on_machine()
    machines = [] if size == local else ["--nnodes", str(size // local)]
    return shlex.join(["torchrun", *machines, "--nproc-per-node", str(local), "-m"]) + f" {command}"


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process. Of several GPUs it is the one with the local rank of the process.

    Raises:
        ConfigError: The machine has fewer GPUs than processes, or processes cannot train together on such a device.
    """
    if not is_launched() or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ConfigError(f"several processes train on CUDA or the CPU, not on {device.type}; give --device cpu")
    local_rank = int(os.environ["LOCAL_RANK"])
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local_rank} of this machine has no GPU of its own (there are {torch.cuda.device_count()}); "
            "start as many processes as GPUs (torchrun --nproc-per-node), or give --device cpu"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def open_processes(device: torch.device, timeout: timedelta = TIMEOUT) -> Iterator[Processes]:
    """Join the process group until the block ends.

    When several processes meet the same error, one reports it and the others exit silently with code 1. A process that
    is left alone because another died reports that.

    Args:
        device: The device of this process (``own_device``).
        timeout: Time limit of a collective.

    Raises:
        TubeletError: An error inside the block, with the number of the process; or another process is gone.
    """
    if not is_launched():
        yield SINGLE
        return
    rank, size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    store = _open_store(rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    processes = Processes(rank, size, local_rank, store)
    if rank:
        logging.getLogger("tubelet").setLevel(logging.WARNING)  # all of them would log the same lines
    before = signal.signal(signal.SIGTERM, _leave)  # the launcher sends it to those that are left
    try:
        with _reporting_once(processes):
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
            yield processes
            dist.destroy_process_group()
    finally:
        if signal.getsignal(signal.SIGTERM) is _leave:
            signal.signal(signal.SIGTERM, before)


def _open_store(rank: int) -> dist.Store:
    """Open the launcher's store, or one on process 0. Each restart uses keys of its own."""
    is_launchers = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = dist.TCPStore(host, port, is_master=rank == 0 and not is_launchers, timeout=TIMEOUT)
    except (dist.DistError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"process {rank} cannot reach {host}:{port}, where the processes meet ({reason})") from None
    return dist.PrefixStore(f"tubelet/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


class _Ended(BaseException):
    """The launcher asked this process to end. A BaseException, so that no ``except Exception`` stops it."""


def _leave(number: int, frame: object) -> None:
    raise _Ended


@contextmanager
def _reporting_once(processes: Processes) -> Iterator[None]:
    try:
        yield
    except (TubeletError, OSError) as error:
        _report(processes, error_line(error), error)
    except (_Ended, dist.DistError, RuntimeError) as error:
        if not is_lost(error):
            raise
        _report(
            processes,
            "another process of the run has ended or does not answer, and the run ends with it (its own line, or the "
            "report of torchrun, says why; killed by signal 9 is most often memory); go on with --resume",
            error,
            is_cause=False,
        )


def is_lost(error: BaseException) -> bool:
    """Return whether an error only says that another process is gone."""
    return isinstance(error, _Ended | dist.DistError) or any(words in str(error) for words in _LOST)


def _report(processes: Processes, line: str, error: BaseException, *, is_cause: bool = True) -> NoReturn:
    """Raise the line, unless a process reported it, or its cause, before."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher sends it now, and the line would be lost
    own = f"{processes.rank}\n{line}"
    first = _first_error(processes, own)
    if first != own and (not is_cause or first.partition("\n")[2] == line):
        raise SystemExit(128 + error.signal_number if isinstance(error, Stopped) else 1) from None
    if isinstance(error, TubeletError) and (processes.is_main or isinstance(error, Stopped)):
        raise error
    raise TubeletError(f"process {processes.rank}: {line}" if is_cause and processes.rank else line) from error


def _first_error(processes: Processes, own: str) -> str:
    """Return the first error of the run: this one, if no process left another, or if the store is gone."""
    try:
        assert processes.store is not None
        first: bytes = processes.store.compare_set(_ERROR, "", own)
        return first.decode()
    except (dist.DistError, RuntimeError):
        return own

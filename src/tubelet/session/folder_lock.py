"""One job at a time in a folder: ``run.lock`` says which process works there, since when, and that it is alive.

Nothing but the file tells processes of several machines about each other. It is created atomically, touched by a thread
while the job lives, and removed at its end. What a killed process left is taken over where the death can be seen: on
the same machine. A process is known by its number and its start, because numbers are used again.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tubelet.errors import ConfigError, TubeletError
from tubelet.session.progress import duration

FILE = "run.lock"
HEARTBEAT_SECONDS = 15.0
_SILENT_SECONDS = 4 * HEARTBEAT_SECONDS  # without a heartbeat: gone, where the process itself cannot be asked for
_WRITING_SECONDS = 2.0  # that a new lock may be empty, between its creation and its content


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that works in a folder."""

    host: str
    pid: int
    process_start: str  # of the process, as its system counts; "" where the system does not say
    space: str  # in which process numbers mean something: this boot of a machine, and the container
    started: str  # the job; date and time, UTC

    @property
    def is_here(self) -> bool:
        """Whether this process could see it."""
        return (self.host, self.space) == (socket.gethostname(), _process_space())

    @property
    def is_alive(self) -> bool:
        """Whether it runs; only meant where ``is_here``."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's
            pass
        return _process_start(self.pid) in (self.process_start, None)

    @property
    def name(self) -> str:
        if self.is_here:
            return f"process {self.pid} of this machine"
        return f"process {self.pid} on {self.host}"


class FolderLock:
    """Holds an existing folder for this process from ``acquire`` to ``release``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / FILE
        self.taken_from: Owner | None = None  # a killed process, whose lock was there
        self._content = b""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)  # no process lives for it

    def acquire(self) -> None:
        """Create the lock, or take over that of a process which is gone.

        Raises:
            ConfigError: Another process works in the folder, or may: the line says which, since when, and what to do.
            OSError: Nothing can be written there.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        start = _process_start(os.getpid()) or ""
        me = Owner(host=socket.gethostname(), pid=os.getpid(), process_start=start, space=_process_space(), started=now)
        content = (json.dumps(asdict(me), indent=2) + "\n").encode()
        while not _create(self.file, content):
            seen = _read(self.file)
            owner = _owner(seen)
            if seen is None:  # just released
                continue
            if owner is None or not is_gone(owner, self.file):
                raise ConfigError(refusal(self.folder))
            if _remove(self.file, seen):
                self.taken_from = owner
        self._content = content
        self._thread.start()

    @property
    def is_held(self) -> bool:
        """Whether no other process has taken the folder over."""
        return _read(self.file) == self._content

    def check(self) -> None:
        """Raise TubeletError when another process has taken the folder over: nothing more may be written to it."""
        if not self.is_held:
            owner = _owner(_read(self.file))
            by = "its lock is gone" if owner is None else f"{owner.name} took it over"
            raise TubeletError(f"{self.folder}: {by}; this process ends and writes nothing more there")

    def release(self) -> None:
        """Remove the lock, unless another process has taken the folder over."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            _remove(self.file, self._content)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # a file server that is away for a while; ``check`` notices what matters
                if self.is_held:
                    os.utime(self.file)


@contextmanager
def locked(folder: Path) -> Iterator[FolderLock]:
    """Hold an existing folder until the block ends, however it ends.

    Raises:
        ConfigError: Another process works there.
    """
    lock = FolderLock(folder)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def take_over(folder: Path) -> list[str]:
    """Remove the locks in and below ``folder`` that processes of other machines left, and return a line for each.

    Raises:
        ConfigError: One is of a process that runs on this machine.
    """
    lines = []
    for file in sorted(folder.rglob(FILE)):
        seen = _read(file)
        owner = _owner(seen)
        if owner is not None and owner.is_here and owner.is_alive:
            raise ConfigError(refusal(file.parent))
        if seen is not None and _remove(file, seen):
            lines.append(f"taken over: {file.parent} from {'a lock without content' if owner is None else owner.name}")
    return lines


def refusal(folder: Path) -> str | None:
    """Return why no process may begin in ``folder`` now. None means that one may."""
    file = folder / FILE
    seen = _read(file)
    owner = _owner(seen)
    if seen is None or (owner is not None and is_gone(owner, file)):
        return None
    age = duration(_silence(file))
    if owner is None:
        return f"{folder}: {file} is there and says nothing, for {age}; if no run goes on there, give --take-over"
    line = f"{folder}: {owner.name} works there since {owner.started}, last sign of life {age} ago"
    if owner.is_here:
        return f"{line}; wait for it or end it (kill {owner.pid}), or give another --out"
    return f"{line}; wait for it, give another --out, or, if it is gone for good, take the folder over with --take-over"


def is_gone(owner: Owner, file: Path) -> bool:
    """Whether the process that left a lock has certainly ended."""
    if owner.is_here:
        return not owner.is_alive
    # The same name with other process numbers: the machine or container began anew, or another has its name.
    return owner.host == socket.gethostname() and _silence(file) > _SILENT_SECONDS


def _create(file: Path, content: bytes) -> bool:
    """Create the file with this content; False if it is there."""
    try:
        number = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with open(number, "wb") as stream:
            stream.write(content)
    except OSError:
        file.unlink(missing_ok=True)
        raise
    return True


def _read(file: Path) -> bytes | None:
    """The content of a lock; None if there is none."""
    until = time.monotonic() + _WRITING_SECONDS
    try:
        while not (content := file.read_bytes()) and time.monotonic() < until:
            time.sleep(0.05)
    except FileNotFoundError:
        return None
    return content


def _owner(content: bytes | None) -> Owner | None:
    try:
        return Owner(**json.loads(content or b""))
    except (ValueError, TypeError):
        return None


def _remove(file: Path, content: bytes) -> bool:
    """Remove a lock with this content, and no other.

    Several processes may want to: a lock is moved away first, which only one of them can, and moved back if it is not
    the one that was meant, because another process was faster and has created its own.
    """
    aside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return False
    is_meant = aside.read_bytes() == content
    if is_meant or file.exists():
        aside.unlink()
    else:
        aside.rename(file)
    return is_meant


def _silence(file: Path) -> float:
    """Seconds since the last heartbeat, by the clock of the file system: machines' clocks differ."""
    probe = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        now = time.time()
    with suppress(OSError):
        return max(0.0, now - file.stat().st_mtime)
    return 0.0


def _process_space() -> str:
    """The boot of this machine and the container, between which process numbers cannot be compared."""
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _process_start(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; "" for one that has ended and waits for its parent. None
    means that the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # from the third of proc(5) on: the name before may hold anything
    return "" if fields[0] in "ZX" else fields[19]

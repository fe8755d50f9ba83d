"""What holds while a run works in its folder, whatever its task: fp32 products, explained errors, the lock, signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tubelet.runs.fast_fp32 import products_of
from tubelet.runs.folder import held_folder
from tubelet.session.folder_lock import Owner
from tubelet.session.session import Session
from tubelet.training.state.storage import explaining_storage, explaining_training_memory


@dataclass(frozen=True, kw_only=True)
class Hold:
    """The hold of a process on the folder. Process 0 holds it for all."""

    check: Callable[[], None]  # raises where another process took the folder over
    taken_from: Owner | None  # the process that ended here without a word


@contextmanager
def working_in(folder: Path, session: Session) -> Iterator[Hold]:
    """Work in a run folder, and listen for signals meanwhile.

    Raises:
        TubeletError: another process works in the folder, or this processor cannot compute as the run began.
    """
    held = held_folder(folder) if session.processes.is_main else nullcontext()
    with (
        products_of(folder, session),
        explaining_storage(folder),
        explaining_training_memory(folder),
        held as lock,
        session.signals,
    ):
        if lock is None:
            yield Hold(check=lambda: None, taken_from=None)
        else:
            yield Hold(check=lock.check, taken_from=lock.taken_from)

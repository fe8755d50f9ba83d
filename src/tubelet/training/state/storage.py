"""A disk that is full or takes no writes, and too little memory: the message to the user, and what to remove when the
run resumes.

Everything a run keeps is written beside its final name and moved there (``tubelet.files``, ``save_checkpoint``), so an
error or a kill leaves the last state and the checkpoints as they were.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tubelet.errors import TubeletError, explaining_memory
from tubelet.files import remove_leftovers
from tubelet.session.processes import launched_command
from tubelet.training.state.checkpoint_manager import FOLDER
from tubelet.training.state.resume import FILE
from tubelet.weights.checkpoint.checkpoint import recover_checkpoint

# What a write fails with that has nothing to do with what is written.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_BROKEN = {errno.EIO, errno.ESTALE, errno.ENOTDIR, errno.EISDIR}
_UNFINISHED = re.compile(r"\.(.+)\.(new|old)")  # of ``save_checkpoint``


@contextmanager
def explaining_storage(run: Path) -> Iterator[None]:
    """Turn a system error of a write into one line: which file, why, and how the run resumes.

    Raises:
        TubeletError: In place of the system error.
    """
    try:
        yield
    except OSError as error:
        remedy = _remedy(error.errno)
        if remedy is None or error.filename is None:
            raise
        reason = (error.strerror or "").lower()
        how = f"{remedy}, then {_again(run)}"
        raise TubeletError(f"{error.filename}: cannot be written ({reason}); {how}") from error


def explaining_training_memory(run: Path) -> AbstractContextManager[None]:
    """``explaining_memory`` with what takes less memory in training, and how the run resumes."""
    return explaining_memory(
        lambda: (
            "a new run takes less with a larger training.accumulation (the same batches in more portions), "
            "training.gradient_checkpointing or fewer data.num_workers; for this one make room, then "
            f"{_again(run)}"
        )
    )


def _again(run: Path) -> str:
    if not (run / FILE).exists():
        return "start the run again"
    command = launched_command(["train", "--resume", str(run)])
    return f"go on with `{command}` (the last state and the checkpoints are whole)"


def _remedy(number: int | None) -> str | None:
    if number in _NO_ROOM:
        return "make room on the disk, or raise its quota or the limit on file sizes"
    if number in _NOT_ALLOWED:
        return "allow writing there"
    return "look after the disk" if number in _BROKEN else None


def tidy(run: Path) -> None:
    """Remove what a killed writer left in a run folder, and put back a checkpoint that was just being replaced."""
    remove_leftovers(run)
    for folder in (run, run / FOLDER):
        for path in folder.glob(".*"):
            unfinished = _UNFINISHED.fullmatch(path.name)
            if unfinished and path.is_dir():
                recover_checkpoint(folder / unfinished[1])

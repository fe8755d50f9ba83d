"""The checkpoints that a run keeps: ``best/``, ``last/`` and, where asked for, those of the latest validations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tubelet.session.session import Session
from tubelet.weights.checkpoint.checkpoint import remove_checkpoint

FOLDER = "checkpoints"  # of those of the latest validations


class CheckpointManager:
    """Writes checkpoints to the run folder, and removes those that are not to be kept.

    Args:
        run: folder of the run.
        save: writes a checkpoint of the model as it stands to the folder it is given. Only the main process calls it.
        num_latest: how many of the latest validations to keep in ``checkpoints/step-N``, beside ``best`` and ``last``.
    """

    def __init__(self, run: Path, save: Callable[[Path], None], session: Session, num_latest: int) -> None:
        self.run, self.save, self.num_latest = run, save, num_latest
        self.is_main = session.processes.is_main

    def keep(self, step: int, *, is_best: bool) -> None:
        """Write the checkpoints of optimizer step ``step``.

        They come before the state that says they were written: a run killed in between writes them again.
        """
        if not self.is_main:
            return
        if is_best:
            self.save(self.run / "best")
        self.save(self.run / "last")
        if self.num_latest:
            self.save(self.run / FOLDER / f"step-{step:08d}")
            kept = sorted((self.run / FOLDER).glob("step-*"))
            for old in kept[: -self.num_latest]:
                remove_checkpoint(old)

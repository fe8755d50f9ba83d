"""TensorBoard events of a run, written by TensorBoard's own thread; what goes wrong there is raised here."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch.utils.tensorboard import SummaryWriter

from tubelet.files import naming


class TensorBoardWriter:
    """Writes scalars to a new events file.

    Args:
        folder: of the events.
        purge_step: readers forget what stands in earlier files from this step on.

    Raises:
        OSError: by any method, when the events cannot be written; the error names the folder.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._folder = folder
        # The thread would print its traceback beside the line that says the same.
        self._hook_before, threading.excepthook = threading.excepthook, self._hook
        with naming(folder):
            self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def add(self, name: str, value: float, step: int) -> None:
        """One scalar after an optimizer step."""
        with naming(self._folder):
            self._writer.add_scalar(name, value, step)

    def add_picture(self, name: str, picture: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """One picture after an optimizer step."""
        with naming(self._folder):
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def flush(self) -> None:
        with naming(self._folder):
            self._writer.flush()

    def close(self) -> None:
        try:
            with naming(self._folder):
                self._writer.close()
        finally:
            threading.excepthook = self._hook_before

    def _hook(self, what: threading.ExceptHookArgs, /) -> None:
        if not (isinstance(what.exc_value, OSError) and type(what.thread).__module__.startswith("tensorboard.")):
            self._hook_before(what)

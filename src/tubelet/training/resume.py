"""The state from which a killed run goes on to the same bits, in one file that is never half written.

No random state is stored: every step seeds the generators from (seed, step), and data are drawn by
(seed, epoch, index), so the step number is all that randomness needs.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tubelet.errors import CheckpointError
from tubelet.files import written_atomically

FILE = "resume.pt"


@dataclass
class Progress:
    """How far a run is: ``step`` optimizer steps are done; ``best`` is the best validation value so far."""

    step: int = 0
    best: float | None = None
    best_step: int = 0
    failed: dict[int, str] = field(default_factory=dict)  # training row: why it could not be read
    num_read: int = 0  # videos asked for so far
    seconds: float = 0.0  # training time so far, over all sessions


def save_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write ``resume.pt`` atomically: to a file beside it, synced, then moved over the old one."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    with written_atomically(folder / FILE) as new:
        torch.save(state, new)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Load ``resume.pt`` into the model and the optimizer, and say how far the run was.

    A run killed before its first checkpoint starts anew: the progress returned is that of step 0.

    Raises:
        CheckpointError: the file cannot be read, or belongs to another model.
    """
    file = folder / FILE
    if not file.exists():
        return Progress()
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return Progress(**state["progress"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file}: cannot resume from it ({reason}); start the run anew") from None

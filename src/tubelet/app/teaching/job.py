"""What a training from the page writes down, in a folder of its own.

    job.json        what was asked for
    progress.json   how far it is, with the losses and validations so far
    data.csv        the labels as they were when it began
    stop            asks it to stop; whoever starts it removes the file
    run.lock        while it works (``tubelet.session.folder_lock``)

The run itself, and the checkpoint, is a folder among the labels, ``runs/NAME``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tubelet import config as config_io
from tubelet.errors import ConfigError, DataError
from tubelet.files import write_atomically
from tubelet.session.folder_lock import refusal
from tubelet.types import Device

JOB, PROGRESS, DATA, STOP = "job.json", "progress.json", "data.csv", "stop"
Kind = Literal["stretches", "clips"]
How = Literal["probe", "full"]
State = Literal["working", "done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training."""

    name: str
    kind: Kind  # stretches of films, or clips that were sorted
    how: How  # probe: a head on what a frozen encoder sees; full: every weight
    encoder: str  # first weights, as ``--init`` takes them
    out: str  # folder of the run
    features: str  # folder of stored features, which all trainings share
    device: Device = "auto"


@dataclass(kw_only=True)
class JobProgress:
    """How far it is."""

    state: State = "working"
    text: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0  # of work, in all
    seconds_left: float | None = None
    losses: list[list[float]] = field(default_factory=list)  # step and loss, thinned
    validations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    result: str = ""
    error: str = ""


def write_job(folder: Path, job: Job) -> None:
    """Write down what is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / JOB, json.dumps(asdict(job), indent=2, ensure_ascii=False) + "\n")


def read_job(folder: Path) -> Job:
    """What was asked for. Raises DataError."""
    try:
        content: dict[str, Any] = json.loads((folder / JOB).read_text(encoding="utf-8"))
        return config_io.from_dict(Job, content, where=JOB)
    except (OSError, ValueError, ConfigError):
        raise DataError(f"{folder.name}: this training cannot be read; begin another one") from None


def write_progress(folder: Path, progress: JobProgress) -> None:
    """Write down how far it is."""
    write_atomically(folder / PROGRESS, json.dumps(asdict(progress), ensure_ascii=False) + "\n")


def read_progress(folder: Path) -> JobProgress:
    """How far it is. A training that ended without a word, such as by a kill, is one that stopped."""
    try:
        progress = JobProgress(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        progress = JobProgress(text="starting")
    if progress.state == "working" and not is_alive(folder):
        progress.state = "stopped"
    return progress


def is_alive(folder: Path) -> bool:
    """Whether a process works on it."""
    return refusal(folder) is not None

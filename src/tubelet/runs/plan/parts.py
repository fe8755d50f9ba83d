"""The parts of a plan: dataclasses, their sums, and their form as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tubelet import config as config_io
from tubelet.data.manifest.labels import LabelFinding
from tubelet.errors import TubeletError
from tubelet.recipe import Recipe
from tubelet.training.estimate import MemoryEstimate
from tubelet.training.optim.groups import ParameterGroup


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """What there is to train on."""

    layout: str
    rows: dict[str, int]  # of each split
    classes: dict[str, int]  # of each head
    without_training: dict[str, int]  # classes of each head that no training row shows
    missing: tuple[str, ...]  # files that are named and not there
    label_findings: tuple[LabelFinding, ...] = ()  # that are often mistakes
    clip_seconds: float | None = None  # that this process took to read the first training clip


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    epoch: float
    lr: float


@dataclass(frozen=True, kw_only=True)
class SchedulePlan:
    """Optimizer steps; None where the number of rows is not known."""

    steps_per_epoch: int | None
    num_steps: int | None
    clips_per_step: int  # repeated ones counted
    curve: tuple[CurvePoint, ...]  # learning rate of the schedule over the run


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    name: str
    num_classes: int
    parameters: int
    trained: int
    groups: tuple[ParameterGroup, ...]
    gmacs_per_clip: float  # forward
    training_gmacs_per_clip: float  # forward and backward


@dataclass(kw_only=True)
class Plan:
    """All of it; parts that could not be worked out are None, and a problem says why."""

    recipe: Recipe
    folder: Path
    device: torch.device
    num_processes: int = 1  # that a launcher has started
    data: DataPlan | None = None
    schedule: SchedulePlan | None = None
    model: ModelPlan | None = None
    memory: MemoryEstimate | None = None
    disk_bytes: int | None = None  # checkpoints and state, at most at once
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @property
    def training_gmacs_per_epoch(self) -> float | None:
        """Forward and backward of the training clips."""
        if self.model is None or self.schedule is None or self.schedule.steps_per_epoch is None:
            return None
        return self.model.training_gmacs_per_clip * self.schedule.steps_per_epoch * self.schedule.clips_per_step

    @property
    def validation_gmacs(self) -> float | None:
        """Forward passes over the validation split, one view each."""
        if self.model is None or self.data is None:
            return None
        return self.model.gmacs_per_clip * self.data.rows.get("val", 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for programs."""
        parts = {
            name: None if part is None else dataclasses.asdict(part)
            for name, part in (("data", self.data), ("schedule", self.schedule), ("model", self.model))
        }
        for group in (parts["model"] or {}).get("groups", ()):
            group["names"] = list(group["names"])
        memory = self.memory and {**dataclasses.asdict(self.memory), "total": self.memory.total}
        return {
            "recipe": config_io.to_dict(self.recipe),
            "out": str(self.folder),
            "device": str(self.device),
            "num_processes": self.num_processes,
            **parts,
            "training_gmacs_per_epoch": self.training_gmacs_per_epoch,
            "validation_gmacs": self.validation_gmacs,
            "memory_bytes": memory,
            "disk_bytes": self.disk_bytes,
            "notes": self.notes,
            "problems": self.problems,
        }

    @contextmanager
    def noting_problems(self) -> Iterator[None]:
        """What a part of the run would refuse becomes a problem, and the other parts are still looked at."""
        try:
            yield
        except TubeletError as error:
            self.problems.append(str(error))

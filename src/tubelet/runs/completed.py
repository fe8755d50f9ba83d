"""What a finished run found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tubelet.data.manifest.manifest import Manifest
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.protocol import Protocol
from tubelet.training.state.resume import TrainingState


@dataclass(frozen=True, kw_only=True)
class CompletedRun:
    """What a finished run found; ``evaluation`` is on the test split, or on val where there is no test."""

    folder: Path
    state: TrainingState
    evaluation: MeasuredSplit
    manifest: Manifest
    protocol: Protocol  # of the evaluation

    def to_dict(self) -> dict[str, Any]:
        """The content of ``metrics.json``, with the run folder and the seconds of training."""
        return self.evaluation.to_dict() | {"run": str(self.folder), "train_seconds": round(self.state.seconds, 1)}

"""What a run of the task ``per_frame`` trains: the head on stored features, or the backbone with it on frames.

Both leave the same checkpoint, a backbone with a head beside it, which every command reads alike.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from tubelet.data.clips.normalize import to_input
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.inference.moments.end_to_end import PerFrameModel
from tubelet.inference.moments.features import StepFeatures
from tubelet.inference.moments.head_file import HeadRecord, read_head, write_head
from tubelet.runs.per_frame.evaluate import score_films
from tubelet.runs.per_frame.films import TrainingFilm
from tubelet.runs.per_frame.frame_windows import vectors_read_anew
from tubelet.runs.per_frame.windows import WindowDataset
from tubelet.session.session import Session
from tubelet.tasks.per_frame.scores import FilmScores
from tubelet.weights.checkpoint.checkpoint import Record, write_files, written_checkpoint
from tubelet.weights.open_checkpoint import open_checkpoint

BACKBONE = "backbone"


@dataclass(frozen=True, kw_only=True)
class Training(ABC):
    """The model that the engine trains, its windows, and how it is kept and used."""

    folder: Path  # of the run
    session: Session
    record: HeadRecord  # of the head, without rules
    dataset: WindowDataset
    model: nn.Module  # on the session's device
    frozen: tuple[nn.Module, ...] = ()

    @abstractmethod
    def prepare(self, clips: Tensor) -> Tensor:
        """What the model takes of the windows of a batch."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write a checkpoint of the model as it stands."""

    @abstractmethod
    def read(self, checkpoint: Path) -> tuple[nn.Module, HeadRecord]:
        """The model of a checkpoint in eval mode on the session's device, and the record of its head."""

    @abstractmethod
    def score(
        self, model: nn.Module, films: Sequence[TrainingFilm], session: Session, *, shifts: bool = False
    ) -> list[FilmScores]:
        """As ``score_films``, by such a model."""


@dataclass(frozen=True, kw_only=True)
class OnFeatures(Training):
    """The head alone. The backbone of the run stands beside it as it is."""

    def prepare(self, clips: Tensor) -> Tensor:
        """The features of the windows."""
        return clips.to(self.session.device)

    def save(self, path: Path) -> None:
        """Write the head, and the backbone without copying it where the file system can."""
        with written_checkpoint(path) as new:
            _link(self.folder / BACKBONE, new)
            write_head(new, self.model, self.record)

    def read(self, checkpoint: Path) -> tuple[nn.Module, HeadRecord]:
        """The head."""
        head, record = read_head(checkpoint)
        return head.to(self.session.device), record

    def score(
        self, model: nn.Module, films: Sequence[TrainingFilm], session: Session, *, shifts: bool = False
    ) -> list[FilmScores]:
        """Scores of the stored features."""
        return score_films(model, self.record, films, session, shifts=shifts)


@dataclass(frozen=True, kw_only=True)
class EndToEnd(Training):
    """The backbone and the head; ``model`` is a ``PerFrameModel``."""

    backbone: Record  # of its checkpoint
    indices: IndexStore

    def prepare(self, clips: Tensor) -> Tensor:
        """The pixels of the windows."""
        return to_input(clips, self.backbone.protocol, self.session.device)

    def save(self, path: Path) -> None:
        """Write both."""
        model = _both(self.model)
        with written_checkpoint(path) as new:
            write_files(new, model.backbone, self.backbone)
            write_head(new, model.head, self.record)

    def read(self, checkpoint: Path) -> tuple[nn.Module, HeadRecord]:
        """Both."""
        head, record = read_head(checkpoint)
        backbone, _ = open_checkpoint(checkpoint)
        device = self.session.device
        features = self._features(backbone.to(device).eval())
        return PerFrameModel(backbone, head, features, record.window_steps).to(device).eval(), record

    def score(
        self, model: nn.Module, films: Sequence[TrainingFilm], session: Session, *, shifts: bool = False
    ) -> list[FilmScores]:
        """Scores of features that the backbone gives now, as ``tubelet moments`` gives them."""
        both = _both(model)
        vectors_of = vectors_read_anew(self._features(both.backbone), self.indices, session)
        return score_films(both.head, self.record, films, session, vectors_of=vectors_of, shifts=shifts)

    def _features(self, backbone: nn.Module) -> StepFeatures:
        protocol, precision = self.backbone.protocol, self.backbone.precision
        return StepFeatures(backbone, protocol, self.session.device, precision, self.record.features)


def _both(model: nn.Module) -> PerFrameModel:
    assert isinstance(model, PerFrameModel)
    return model


def _link(source: Path, folder: Path) -> None:
    """The files of a checkpoint in another folder, without copying where the file system can."""
    for file in source.iterdir():
        with suppress(OSError):
            os.link(file, folder / file.name)
            continue
        shutil.copy2(file, folder / file.name)

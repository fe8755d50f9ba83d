"""What is looked at while an encoder is pre-trained: validation clips, training clips with labels, pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from tubelet.data.clips.normalize import to_input
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.failure_budget import FailureBudget
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.sample import Sample
from tubelet.errors import DataError, Diverged
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.recipe import Recipe
from tubelet.runs.masked_pretraining.dataset import MaskedClips
from tubelet.runs.masked_pretraining.measure import (
    ClipFigures,
    look_at_clips,
)
from tubelet.runs.masked_pretraining.model import PretrainingModel, config_of
from tubelet.runs.masked_pretraining.pictures import painted_clips, side_by_side
from tubelet.session.session import Session

MAX_KNN_CLIPS = 512  # training clips whose neighbors are looked at, evenly spread over the split

Pictures = Mapping[str, UInt8[np.ndarray, "T H W 3"]]  # by the name of the clip


class Validation:
    """Measures a model on a split, and on training clips with labels; a context manager, whose readers stay alive.

    Args:
        recipe: how clips are read and hidden.
        model: what is measured, with the weights that it has at that time.
        manifest: of all splits. Rows of the test split are never read.
        session: shares the work over processes.
    """

    def __init__(self, recipe: Recipe, model: PretrainingModel, manifest: Manifest, session: Session) -> None:
        self.recipe, self.model, self.session, self.config = recipe, model, session, config_of(recipe)
        self.protocol = dataclasses.replace(model.first.protocol, num_temporal_views=1, num_spatial_crops=1)
        self.split = "val" if "val" in manifest.splits else "train"
        self.manifest = manifest.split(self.split)
        self.labeled = _labeled(manifest.split("train")) if "train" in manifest.splits else None
        self.figures = ClipFigures()  # of the last validation
        self._loaders: dict[str, Loader] = {}
        self._has_warned = False
        self._named = set[int]()  # rows that could not be read
        self._stack = ExitStack()

    def __enter__(self) -> Validation:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, model: nn.Module) -> dict[str, Any]:
        """The figures of the split. ``model`` holds the weights of the encoder that this was made with.

        Raises:
            DataError: more clips could not be read than the failure budget allows.
            Diverged: the loss is not finite.
        """
        model.eval()
        found = look_at_clips(self.model, self._loader("own", self.manifest), self.session, self._precision)
        budget = FailureBudget(self.manifest, self.recipe.data.failure_budget, f"{self.split} clips")
        for row, line in budget.add(found.failed).items():
            if row not in self._named:  # of the first validation that met it
                self._named.add(row)
                self.session.progress.note(f"not used: {line}")
        budget.check(with_file=False)
        self.figures = found
        if not np.isfinite(found.errors).all():
            raise Diverged("validation: the loss is not finite; lower optim.lr")
        values = self.model.task.measured(found.errors, found.constants, found.pooled)
        if not self._has_warned and (line := self.model.task.collapse(values)):
            self._has_warned = True
            self.session.progress.note(f"warning: {line}")
        return values | {"views": self.protocol.views_text, "num_failed": len(found.failed)}

    def look(self, model: nn.Module, epoch: int) -> tuple[dict[str, Any], Mapping[str, UInt8[np.ndarray, "H W 3"]]]:
        """Every few epochs the accuracy of nearest neighbors, and pictures to log."""
        is_last = epoch + 1 == self.recipe.training.num_epochs
        if (epoch + 1) % self.config.measure_every_epochs and not is_last:
            return {}, {}
        model.eval()
        return self.neighbors(), {name: side_by_side(frames) for name, frames in self.pictures().items()}

    def neighbors(self) -> dict[str, Any]:
        """The accuracy of nearest neighbors among labeled training clips; empty where there are none."""
        if self.labeled is None:
            return {}
        loader = self._loader("labeled", self.labeled)
        found = look_at_clips(self.model, loader, self.session, self._precision, paints=False)
        samples = [self.labeled.samples[row] for row in found.rows]
        labels, groups = [sample.labels[0] for sample in samples], [sample.group for sample in samples]
        return self.model.task.neighbor_figures(found.pooled, labels, groups)

    def pictures(self) -> Pictures:
        """The first clips of the split that can be read, as ``painted_clips`` shows them; on process 0 alone."""
        if not self.session.processes.is_main:
            return {}
        dataset, found = self._dataset(self.manifest), dict[str, UInt8[np.ndarray, "T H W 3"]]()
        for row in range(min(2 * self.config.num_pictures, len(dataset))):
            if len(found) == self.config.num_pictures:
                break
            try:
                item = dataset.read(row)
            except DataError:  # counted where it is measured
                continue
            clip = to_input(item.pixels[:1], self.protocol, self.session.device)
            masked = torch.tensor([item.labels], device=self.session.device)
            found[_name(self.manifest.samples[row])] = painted_clips(self.model.error, clip, masked)[0]
        return found

    def evaluate(self, out_split: str, metrics: dict[str, Any]) -> MeasuredSplit:
        """The last measurement as what a finished run found."""
        rows = self.figures.rows
        return MeasuredSplit(
            task=self.model.task,
            metrics=metrics,
            samples=tuple(self.manifest.samples[row] for row in rows),
            failed=tuple(self.figures.failed.values()),
            views=self.protocol.views_text,
            averaging=self.protocol.averaging,
            precision=self._precision,
            split=out_split,
            data_fingerprint=self.manifest.fingerprint,
        )

    @property
    def _precision(self) -> Any:
        return self.recipe.training.precision

    def _dataset(self, manifest: Manifest) -> MaskedClips:
        clips = ClipDataset(manifest, self.protocol, "views")
        return MaskedClips(clips, self.config, self.model.grid, self.recipe.seed)

    def _loader(self, name: str, manifest: Manifest) -> Loader:
        if name not in self._loaders:
            processes = self.session.processes
            self._loaders[name] = self._stack.enter_context(
                Loader(
                    self._dataset(manifest),
                    max(1, self.recipe.training.batch_size // processes.size),
                    num_workers=self.recipe.data.num_workers,
                    timeout_seconds=self.recipe.data.decode_timeout_seconds,
                    rank=processes.rank,
                    num_processes=processes.size,
                    targets=self.model.task.targets,
                )
            )
        return self._loaders[name]


def _labeled(train: Manifest) -> Manifest | None:
    """Training rows whose class is known, evenly spread; None where there are none, or several labels per clip."""
    if train.multi_label or not train.class_names:
        return None
    rows = [sample for sample in train.samples if sample.labels and sample.labels[0] >= 0]
    rows = rows[:: -(-len(rows) // MAX_KNN_CLIPS) or 1]
    return train.with_samples(rows) if len(rows) > 1 else None


def _name(sample: Sample) -> str:
    return f"{sample.path}:{sample.entry}" if sample.entry else sample.path

"""Features of the steps of a film, kept at the first look, so that a head that is trained anew decodes nothing.

The files are those of the task ``per_frame`` (``per_frame.feature_folder``): what a look stores a training finds, and
what a training stores the next look finds.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tubelet.data.features.store import FeatureFile, VideoFeatures, write_features
from tubelet.data.manifest.sample import Sample
from tubelet.errors import DataError
from tubelet.inference.moments.film import MomentsModel
from tubelet.runs.per_frame.films import feature_file
from tubelet.tasks.per_frame.targets import FilmClock

_MOST_BYTES = 2**30  # of one film, which are held until they are whole; a longer one is not kept


class FilmSteps:
    """The file of one film; a ``StepStore``."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._parts: list[Tensor] = []
        self._bytes = 0

    @classmethod
    def of(cls, folder: Path, model: MomentsModel, film: Path) -> FilmSteps:
        """The file where a training by the labels of the app would look for it."""
        path = film.resolve()
        sample = Sample(path=str(path), labels=(), split="train")
        return cls(feature_file(folder, model.features, model.record, path, sample))

    def read(self, clock: FilmClock) -> Float[Tensor, "S D"] | None:
        """The features of all steps. None means that they are not there, or of other steps."""
        if not self.file.is_file():
            return None
        try:
            with FeatureFile(self.file) as features:
                return features.vectors_of(clock.first_frames)
        except DataError:  # damaged: computed and written anew
            return None

    def add(self, vectors: Float[Tensor, "n D"], clock: FilmClock) -> None:
        """Take the features of the steps that come next, and write the file behind the last ones."""
        self._bytes += vectors.nbytes
        if self._bytes > _MOST_BYTES:
            self._parts.clear()
            return
        self._parts.append(vectors)
        if sum(map(len, self._parts)) == clock.num_steps:
            numbers, times = clock.first_frames, clock.timestamps
            whole = VideoFeatures(
                vectors=torch.cat(self._parts), frame_numbers=numbers, timestamps=times, is_video=True
            )
            write_features(self.file, whole)

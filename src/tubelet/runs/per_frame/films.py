"""The films of a run: features in files, targets of their steps, and what observers say of them.

S  steps   D  width of a feature
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet import config as config_io
from tubelet.data.features.store import FeatureFile, VideoFeatures, write_features
from tubelet.data.layouts.bouts.bout import Bout, FilmLabels, LabeledFilm
from tubelet.data.manifest.failure_budget import UNREADABLE, FailureBudget
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.same_file import content_of
from tubelet.data.sources.open_source import Reader, naming_file, open_source
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.data.video.reader import VideoReader
from tubelet.errors import DataError
from tubelet.inference.moments.features import StepFeatures, StepGrid
from tubelet.protocol import Protocol
from tubelet.session.fast_fp32 import PLAIN, fast_fp32_in_use
from tubelet.session.session import Session
from tubelet.tasks.per_frame.targets import FilmClock, Span, check_frames, spans_by_label, step_targets
from tubelet.weights.checkpoint.checkpoint import Record

FEATURES = "features"  # of a run, unless its recipe names another folder


@dataclass(frozen=True, kw_only=True)
class TrainingFilm:
    """One labeled film whose features are stored, or that is read anew for every window."""

    sample: Sample  # of the manifest
    file: Path  # of its features, or its own
    clock: FilmClock
    codes: Int[np.ndarray, " S"]  # targets
    truth: dict[str, list[Span]]  # labeled bouts of each class, in seconds
    others: tuple[Int[np.ndarray, " S"], ...]  # targets by further observers
    samples: Int[np.ndarray, "S t"] | None = None  # frames of each step, where ``file`` is the film itself

    def vectors(self, first: int = 0, stop: int | None = None) -> Float[Tensor, "S D"]:
        """The stored features of these steps."""
        with FeatureFile(self.file) as features:
            return features.vectors_of(self.clock.first_frames[first:stop])


def digest_of_bouts(labels: FilmLabels) -> str:
    """16 hex digits that change with any bout, split or group. The fields are those of the first version."""
    content = [
        (
            film.path,
            tuple((b.label, b.start, b.stop, b.unit, b.subject, b.observer, b.where) for b in film.bouts),
            film.split,
            film.group,
        )
        for film in labels.films
    ]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def feature_file(folder: Path, extractor: StepFeatures, record: Record, path: Path, sample: Sample) -> Path:
    """Where the features of a film lie: another file for another model, other pixels or steps, and another film.

    What a film is, its content says: data sets may share the folder, and a film that replaces another is new.

    Args:
        record: of the model.
        path: of the film.

    Raises:
        OSError: the film cannot be read.
    """
    protocol = config_io.to_identity(extractor.protocol)
    what: tuple[str, ...] = (extractor.kind, extractor.precision)
    for name in ("labels", "multi_label", "num_temporal_views", "num_spatial_crops", "averaging"):
        protocol.pop(name, None)
    if extractor.kind == "frames":
        protocol.pop("num_frames", None)
    if fast_fp32_in_use() != PLAIN:  # other bits
        what += (str(fast_fp32_in_use()),)
    model = (record.weights_sha256, record.model_name, sorted(record.model_config.items()))
    of_what = _digits((model, sorted(protocol.items()), what))
    film = (sample.entry, sample.fps, content_of(path))
    place, stem = folder / f"steps-{of_what}", Path(sample.path).stem
    earlier = place / f"{stem}-{_digits((sample.path, *film))}.safetensors"  # versions before told films by path too
    return earlier if earlier.is_file() else place / f"{stem}-{_digits(film)}.safetensors"


def _digits(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def store_features(
    manifest: Manifest,
    extractor: StepFeatures,
    record: Record,
    folder: Path,
    run: Path,
    budget: float,
    session: Session,
) -> dict[str, Path]:
    """Write the features that are missing, and return the file of each film that could be read, by its path.

    Raises:
        DataError: more films cannot be read than the budget allows.
        Stopped: a signal came; what was written stays.
    """
    indices = IndexStore.beside(manifest.root, manifest.folder)
    failures = FailureBudget(manifest, budget, "films", file=run / UNREADABLE)
    found: dict[str, Path] = {}
    for row, sample in enumerate(manifest.samples):
        session.advance(row, len(manifest), f"features of {sample.path}")
        path = manifest.path_of(sample)
        try:
            with naming_file(path, str(path)):
                file = feature_file(folder, extractor, record, path, sample)
            if not file.is_file():
                write_features(file, features_of(path, sample, extractor, indices, session))
        except DataError as error:
            for line in failures.add({row: str(error)}).values():
                session.progress.note(f"not used: {line}")
            failures.check()
            continue
        found[sample.path] = file
    session.advance(len(manifest), len(manifest), "features")
    return found


def features_of(
    path: Path, sample: Sample, extractor: StepFeatures, indices: IndexStore | None, session: Session
) -> VideoFeatures:
    """The features of all steps of a film. Raises DataError, or Stopped when a signal came."""
    with (
        naming_file(path, str(path)),
        open_source(path, sample.entry, extractor.protocol, sample.fps, indices) as reader,
    ):
        grid = extractor.grid(np.array(reader.timestamps, dtype=np.float64))
        return VideoFeatures(
            vectors=all_vectors(extractor, reader, grid, session),
            frame_numbers=grid.clock.first_frames,
            timestamps=grid.clock.timestamps,
            is_video=isinstance(reader, VideoReader),
        )


def all_vectors(extractor: StepFeatures, reader: Reader, grid: StepGrid, session: Session) -> Float[Tensor, "S D"]:
    """The features of all steps of a film. Raises Stopped where a signal came."""
    parts = []
    for part in extractor.vectors(reader, grid, 0, grid.clock.num_steps):
        session.signals.check()
        parts.append(part)
    return torch.cat(parts)


def labeled_films(
    manifest: Manifest,
    films: Sequence[LabeledFilm],
    files: dict[str, Path],
    protocol: Protocol,
    names: Sequence[str],
    *,
    one: bool,
    observer: str | None,
    grids: Mapping[str, StepGrid] | None = None,
) -> list[TrainingFilm]:
    """The films that can be read, in the order of the manifest.

    Args:
        files: of the features of each film, by its path, or its own.
        names: classes in logit order.
        observer: whose labels count, where several labeled a film. None means the first of each.
        grids: of films that are read anew, by their path. None means that features are stored, with their clocks.

    Raises:
        DataError: a bout lies behind the end of its film, a film has another number of frames than its labels, or the
            observer has labeled none.
    """
    by_path = {film.path: film for film in films}
    if observer is not None and not any(observer in film.observers for film in films):
        known = sorted({name for film in films for name in film.observers})
        raise DataError(f"per_frame.observer: nobody is called '{observer}'; observers: {', '.join(known)}")
    found = []
    for sample in manifest.samples:
        if sample.path in files:
            film, file = by_path[sample.path], files[sample.path]
            first = observer if observer in film.observers else next(iter(film.observers), "")
            grid = None if grids is None else grids[sample.path]
            try:
                clock = clock_of(file, protocol) if grid is None else grid.clock
                made = _labeled_film(sample, file, film, clock, first, names, one=one)
                found.append(made if grid is None else replace(made, samples=grid.samples))
            except DataError as error:
                raise DataError(f"{sample.path}: {error}") from None
    return found


def _labeled_film(
    sample: Sample, file: Path, film: LabeledFilm, clock: FilmClock, observer: str, names: Sequence[str], *, one: bool
) -> TrainingFilm:
    """The film with the labels of an observer. Raises DataError where they are not of it."""
    check_frames(film, clock)

    def codes(bouts: Sequence[Bout]) -> Int[np.ndarray, " S"]:
        return step_targets(spans_by_label(bouts, clock), names, clock.edges, one=one)

    own, rest = film.of_observer(observer).bouts, [name for name in film.observers if name != observer]
    return TrainingFilm(
        sample=sample,
        file=file,
        clock=clock,
        codes=codes(own),
        truth=spans_by_label(own, clock),
        others=tuple(codes(film.of_observer(name).bouts) for name in rest),
    )


def clock_of(file: Path, protocol: Protocol) -> FilmClock:
    """The clock of a film whose features are stored."""
    with FeatureFile(file) as features:
        times = features.timestamps
        spacing = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        return FilmClock(
            timestamps=times,
            duration_seconds=float(times[-1]) + spacing,
            first_frames=features.frame_numbers,
            rule=protocol.frame_at_time,
        )

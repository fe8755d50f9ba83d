"""The stretches of films that are most worth labeling for a run of the task ``per_frame``.

The films' features are those of the run: its store, or the folder that its recipe shares, gets what is missing, so that
a call that was interrupted goes on, and the run that learns from the new labels computes none anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tubelet.data.features.store import FeatureFile, write_features
from tubelet.data.layouts.bouts.bout import BACKGROUND, IGNORED, TO_LABEL, Bout, LabeledFilm
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.manifest.manifest import Sample
from tubelet.data.sources.open_source import naming_file
from tubelet.data.sources.volume import is_volume
from tubelet.errors import ConfigError, DataError, printable
from tubelet.inference.moments.film import MomentsModel, load_moments
from tubelet.inference.moments.film_scores import step_probs
from tubelet.inference.moments.stretches import Blocks, Stretch, blocks_of, choose_stretches, uncertainty
from tubelet.recipe import Recipe
from tubelet.runs.data import read_run_data
from tubelet.runs.folder import resume_recipe
from tubelet.runs.per_frame.films import FEATURES, clock_of, feature_file, features_of
from tubelet.runs.per_frame.suggestions import SuggestedFilm, Suggestion, Suggestions
from tubelet.session.session import Session
from tubelet.tasks.per_frame.targets import UNLABELED, FilmClock, check_frames, spans_by_label, step_targets
from tubelet.types import Device

BLOCK_SECONDS = 0.5  # of steps that are compared together: a short bout fills one


@dataclass(frozen=True, kw_only=True)
class _Film:
    """A film whose features are stored, as far as it is labeled."""

    path: Path
    clock: FilmClock
    labeled: Bool[np.ndarray, " S"]
    bouts: tuple[Bout, ...]  # labels of it so far
    probs: Float[np.ndarray, "S K"]
    blocks: Blocks


def suggest_stretches(
    run: Path,
    films: Sequence[Path],
    session: Session,
    *,
    minutes: float = 10.0,
    stretch_seconds: float = 10.0,
    frame_fps: float | None = None,
) -> Suggestions:
    """The stretches of these films that are most worth labeling.

    Films that are labeled are compared with; of one that is labeled in part, with ``ignore`` for the rest, the rest may
    be suggested. A film that cannot be read is named by a note and among ``Suggestions.failed``.

    Args:
        run: folder of the run.
        films: video files, or frame folders with ``frame_fps``.
        minutes: how much to suggest.
        stretch_seconds: length of a stretch.

    Raises:
        ConfigError: the folder holds no run of this task, or an argument is out of range.
        DataError: none of the films can be read, or the run's labels are gone.
        Stopped: a signal came; features that were stored stay.
    """
    if not 0 < minutes < float("inf") or not BLOCK_SECONDS <= stretch_seconds < float("inf"):
        raise ConfigError(
            f"minutes must be above 0 and a stretch at least {BLOCK_SECONDS:g} s, got {minutes} and {stretch_seconds}"
        )
    recipe = resume_recipe(run)
    if recipe.per_frame is None:
        raise ConfigError(f"{run}: is no run of the task per_frame; train one: `tubelet train --task per_frame`")
    with session.signals:
        reader = _Reader.open(run, recipe, session, frame_fps)
        examples = reader.training_blocks()
        found, failed = reader.candidates(films)
        if not found and failed:
            raise DataError(f"none of {len(films)} films can be read; the first: {failed[0]}")
        stretches = choose_stretches(
            [film.blocks for film in found],
            torch.cat([examples, *(film.blocks.vectors[torch.from_numpy(film.blocks.labeled)] for film in found)]),
            seconds=60 * minutes,
            stretch_seconds=stretch_seconds,
            on_stretch=lambda chosen: session.advance(round(chosen), round(60 * minutes), "seconds chosen"),
        )
    if not stretches:
        raise DataError(f"nothing to suggest: {len(films)} films are labeled from beginning to end; give others")
    return _suggestions(found, stretches, failed, reader.model)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Features and labels of a run."""

    model: MomentsModel
    recipe: Recipe
    store: Path
    run: Path
    labeled: dict[Path, LabeledFilm]  # by where a path leads
    session: Session
    frame_fps: float | None

    @classmethod
    def open(cls, run: Path, recipe: Recipe, session: Session, frame_fps: float | None) -> _Reader:
        assert recipe.per_frame is not None  # the caller looked
        labels = read_bouts(recipe.data.path, recipe.data.manifest)
        return cls(
            model=load_moments(run, cast(Device, session.device.type)),
            recipe=recipe,
            store=recipe.per_frame.feature_folder or run / FEATURES,
            run=run,
            labeled={(labels.root / film.path).resolve(): film for film in labels.films},
            session=session,
            frame_fps=frame_fps,
        )

    def training_blocks(self) -> Float[Tensor, "L D"]:
        """The labeled blocks of the training films that can be read."""
        manifest = read_run_data(self.recipe, self.run)
        rows = manifest.split("train").samples
        parts = [torch.zeros(0, self.model.features.width)]
        for number, sample in enumerate(rows):
            self.session.advance(number, len(rows), f"labeled film {sample.path}")
            try:
                film = self._read(manifest.path_of(sample), sample)
            except DataError as error:
                self.session.progress.note(f"not used: {error}")
                continue
            parts.append(film.blocks.vectors[torch.from_numpy(film.blocks.labeled)])
        self.session.advance(len(rows), len(rows), "labeled films")
        return torch.cat(parts)

    def candidates(self, films: Sequence[Path]) -> tuple[list[_Film], list[str]]:
        """The films that are not labeled, or in part, and a line for each that cannot be read."""
        found, failed, whole = list[_Film](), list[str](), 0
        for number, path in enumerate(films):
            self.session.advance(number, len(films), f"features of {path.name}")
            fps = self.frame_fps if path.is_dir() else None
            try:
                film = self._read(path, Sample(path=str(path), labels=(), split="train", fps=fps))
            except DataError as error:
                failed.append(str(error))
                self.session.progress.note(f"error: {error}")
                continue
            if film.labeled.all():
                whole += 1
                continue
            if film.labeled.any():
                self.session.progress.note(
                    f"{printable(path.name)}: labeled in part; the project holds its labels so far"
                    f"{self._whose(path)}, and takes the place of its rows among the labels"
                )
            found.append(film)
        self.session.advance(len(films), len(films), "features of films")
        if whole:
            self.session.progress.note(f"{whole} film{'s' * (whole > 1)} labeled from beginning to end: left out")
        return found, failed

    def _read(self, path: Path, sample: Sample) -> _Film:
        """A film with what the run's head says of it. Raises DataError."""
        if is_volume(path):
            raise DataError(f"{path}: a volume or array has no times to lay stretches on; give a video file")
        extractor, record = self.model.features, self.model.head_record
        with naming_file(path, str(path)):
            file = feature_file(self.store, extractor, self.model.record, path, sample)
        if not file.is_file():
            write_features(file, features_of(path, sample, extractor, None, self.session))
        clock = clock_of(file, extractor.protocol)
        with FeatureFile(file) as features:
            vectors = features.vectors_of(clock.first_frames)
        labeled, bouts = self._labels(path, clock)
        probs = step_probs(self.model.head, record, [vectors], clock.num_steps)
        unsure = uncertainty(probs, one=record.one)
        blocks = blocks_of(vectors, unsure, clock.edges, labeled, BLOCK_SECONDS)
        return _Film(path=path, clock=clock, labeled=labeled, bouts=bouts, probs=probs, blocks=blocks)

    def _labels(self, path: Path, clock: FilmClock) -> tuple[Bool[np.ndarray, " S"], tuple[Bout, ...]]:
        film = self.labeled.get(path.resolve())
        if film is None:
            return np.zeros(clock.num_steps, dtype=bool), ()
        film, record = film.of_observer(self._observer(film)), self.model.head_record
        try:
            check_frames(film, clock)
            spans = spans_by_label(film.bouts, clock)
            codes = step_targets(spans, record.labels, clock.edges, one=record.one)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        kept = [bout for bout in film.bouts if bout.label not in (IGNORED, BACKGROUND)]
        at_times = (Bout(label=b.label, start=clock.span(b)[0], stop=clock.span(b)[1], subject=b.subject) for b in kept)
        return codes != UNLABELED, tuple(dict.fromkeys(at_times))

    def _observer(self, film: LabeledFilm) -> str:
        """Whose labels of a film count, as in training."""
        assert self.recipe.per_frame is not None  # ``suggest_stretches`` looked
        asked = self.recipe.per_frame.observer
        return asked if asked in film.observers else next(iter(film.observers), "")

    def _whose(self, path: Path) -> str:
        """Whose labels the project holds, where several people labeled a film: it has no place for the others'."""
        film = self.labeled[path.resolve()]
        if len(film.observers) < 2:
            return ""
        own = self._observer(film)
        others = (printable(name) or "an unnamed observer" for name in film.observers if name != own)
        kept = printable(own) or "an unnamed observer"
        return f" by {kept} (a project of BORIS has one observer: not {', '.join(others)})"


def _suggestions(
    films: Sequence[_Film], stretches: Sequence[Stretch], failed: Sequence[str], model: MomentsModel
) -> Suggestions:
    record = model.head_record
    ranked, of_film = list[Suggestion](), list[list[tuple[float, float]]]([[] for _ in films])
    for stretch in stretches:
        film = films[stretch.film]
        inside = (film.clock.edges[:-1] >= stretch.start - 1e-9) & (film.clock.edges[:-1] < stretch.stop - 1e-9)
        highest = film.probs[inside].max(axis=0)
        likely = [
            name
            for name, rule, prob in zip(record.labels, record.bout_rules, highest, strict=True)
            if prob >= rule.on and name != BACKGROUND
        ]
        of_film[stretch.film].append((stretch.start, stretch.stop))
        ranked.append(
            Suggestion(
                path=str(film.path.resolve()),
                start_seconds=stretch.start,
                stop_seconds=stretch.stop,
                uncertainty=stretch.uncertainty,
                novelty=stretch.novelty,
                likely=tuple(likely),
            )
        )
    return Suggestions(
        stretches=tuple(ranked),
        films=tuple(
            SuggestedFilm(
                path=str(film.path.resolve()),
                duration_seconds=film.clock.duration_seconds,
                fps=film.clock.fps,
                bouts=(*film.bouts, *_marks(film, spans)),
            )
            for film, spans in zip(films, of_film, strict=True)
            if spans
        ),
        labels=tuple(name for name in record.labels if name != BACKGROUND),
        failed=tuple(failed),
    )


def _marks(film: _Film, spans: Sequence[tuple[float, float]]) -> list[Bout]:
    """What is to be labeled, and as ignored what is neither that nor labeled already."""
    edges, open_steps = film.clock.edges, ~film.labeled
    for start, stop in spans:
        open_steps &= (edges[:-1] < start - 1e-9) | (edges[:-1] >= stop - 1e-9)
    changes = np.flatnonzero(np.diff(np.r_[False, open_steps, False].astype(np.int8))).reshape(-1, 2)
    ignored = [Bout(label=IGNORED, start=float(edges[a]), stop=float(edges[b])) for a, b in changes]
    return [*ignored, *(Bout(label=TO_LABEL, start=start, stop=stop) for start, stop in sorted(spans))]

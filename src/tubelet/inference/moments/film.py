"""The moments of a film: the probability of every behavior at every time step, and the bouts that they make.

S  steps   N  frames of the film   K  classes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.data.layouts.bouts.bout import Bout
from tubelet.data.layouts.bouts.write import WrittenFilm
from tubelet.data.sources.open_source import Reader, naming_file, open_source
from tubelet.data.sources.volume import is_volume
from tubelet.errors import CheckpointError, DataError
from tubelet.inference.moments.features import StepFeatures
from tubelet.inference.moments.film_scores import step_parts, steps_needed
from tubelet.inference.moments.head_file import HeadRecord, has_head, read_head
from tubelet.session.device import choose_device
from tubelet.session.progress import NoProgress, Progress
from tubelet.tables import Table
from tubelet.tasks.per_frame.rules import BoutRule, active_steps, spans_of
from tubelet.tasks.per_frame.targets import FilmClock
from tubelet.types import Device
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.open_checkpoint import open_checkpoint


@dataclass(frozen=True, kw_only=True)
class FilmMoments:
    """What a model finds in a film, or in a stretch of it."""

    source: str
    labels: tuple[str, ...]  # K, in the order of ``probs``
    clock: FilmClock  # of the whole film
    first_step: int  # of the stretch
    probs: Float[np.ndarray, "S K"]  # of each step of the stretch
    bouts: tuple[Bout, ...]  # ordered by start, in seconds on the film's clock
    scores: tuple[float, ...]  # mean probability of each bout
    notes: tuple[str, ...] = ()

    @property
    def edges(self) -> Float[np.ndarray, " S_and_1"]:
        """When each step of the stretch begins, and when the last one ends."""
        return self.clock.edges[self.first_step : self.first_step + len(self.probs) + 1]

    @property
    def frames(self) -> tuple[np.ndarray, Float[np.ndarray, "N K"]]:
        """The numbers of the frames of the stretch, and the probabilities at each."""
        steps = self.clock.step_of_frame - self.first_step
        inside = np.flatnonzero((steps >= 0) & (steps < len(self.probs)))
        return inside, self.probs[steps[inside]]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """A row per behavior: number of bouts, their seconds, the share of the stretch and the median length."""
        length = float(self.edges[-1] - self.edges[0])
        rows = []
        for label in self.labels:
            lengths = [bout.stop - bout.start for bout in self.bouts if bout.label == label]
            rows.append(
                {
                    "label": label,
                    "num_bouts": len(lengths),
                    "seconds": sum(lengths),
                    "share": sum(lengths) / length if length else 0.0,
                    "median_seconds": float(np.median(lengths)) if lengths else None,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """What ``tubelet moments --json`` prints of a film."""
        return {
            "source": str(Path(self.source).resolve()),
            "duration_seconds": self.clock.duration_seconds,
            "fps": self.clock.fps,
            "labels": list(self.labels),
            "summary": self.summary,
            "bouts": [[bout.start, bout.stop, bout.label] for bout in self.bouts],
            "notes": list(self.notes),
        }

    def written(self, path: Path) -> WrittenFilm:
        """The bouts for other programs, which find the film at ``path``."""
        return WrittenFilm(
            path=str(path.resolve()),
            duration_seconds=self.clock.duration_seconds,
            fps=self.clock.fps,
            bouts=self.bouts,
            scores=self.scores,
        )

    @property
    def table(self) -> Table:
        """A row per bout."""
        rows = tuple((b.start, b.stop, b.label, score) for b, score in zip(self.bouts, self.scores, strict=True))
        return Table(title=self.source, columns=("start_seconds", "stop_seconds", "label", "score"), rows=rows)

    def to_dataframe(self) -> Any:
        """The bouts as a pandas ``DataFrame``. Raises TubeletError where pandas is not installed."""
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()


@runtime_checkable
class StepStore(Protocol):
    """Where the features of the steps of one film are kept."""

    def read(self, clock: FilmClock) -> Float[Tensor, "S D"] | None:
        """The features of all steps. None means that they are not there."""

    def add(self, vectors: Float[Tensor, "n D"], clock: FilmClock) -> None:
        """Take the features of the steps that come next; they are kept once those of the whole film are there."""


class MomentsModel:
    """A backbone with a per-frame head, ready for films.

    Args:
        model: the backbone; put in eval mode on ``device``.
        record: what its checkpoint says of it.
    """

    def __init__(
        self, model: nn.Module, record: Record, head: nn.Module, head_record: HeadRecord, device: torch.device
    ) -> None:
        self.record, self.head_record, self.task = record, head_record, head_record.task
        self.head = head.to(device).eval()
        self.features = StepFeatures(
            model.to(device).eval(), record.protocol, device, record.precision, head_record.features
        )
        if self.features.width != head_record.in_dim:
            raise CheckpointError(
                f"{record.model_name}: gives features of width {self.features.width}, its per-frame head takes "
                f"{head_record.in_dim}"
            )

    def moments(
        self,
        film: Path,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        frame_fps: float | None = None,
        progress: Progress = NoProgress(),  # noqa: B008
        on_part: Callable[[FilmClock, Float[np.ndarray, "m K"]], None] = lambda clock, probs: None,
        store: StepStore | None = None,
    ) -> FilmMoments:
        """The moments of a film in bounded memory. Of a stretch they are those that the whole film has there.

        Args:
            start_seconds: of the stretch. None means the film's start.
            end_seconds: of the stretch. None means the film's end.
            frame_fps: frames per second of a frame folder.
            on_part: called with the probabilities of the steps that come next as soon as they are known.
            store: has the features of the film's steps, so that nothing is decoded, or takes those of a whole film.

        Raises:
            DataError: the film cannot be read, or the stretch lies behind its end.
        """
        with self._opened(film, frame_fps) as reader:
            grid = self.features.grid(np.array(reader.timestamps, dtype=np.float64))
            count = grid.clock.num_steps
            first, stop = _stretch(grid.clock, start_seconds, end_seconds, film)
            low, high = steps_needed(count, self.head_record, first, stop)

            def features() -> Iterator[Float[Tensor, "n D"]]:
                if store is not None and (stored := store.read(grid.clock)) is not None:
                    yield stored[low:high]
                    return
                done = 0
                for part in self.features.vectors(reader, grid, low, high):
                    done += len(part)
                    progress.advance(done, high - low, f"steps of {film.name}")
                    if store is not None:
                        store.add(part, grid.clock)
                    yield part

            parts = []
            for part in step_parts(self.head, self.head_record, features(), count, first=first, stop=stop):
                parts.append(part)
                on_part(grid.clock, part)
            notes = tuple(reader.notes)
        return moments_of(np.concatenate(parts), grid.clock, self.head_record, str(film), first_step=first, notes=notes)

    def clock(self, film: Path, frame_fps: float | None = None) -> FilmClock:
        """When the frames and steps of a film are shown; nothing is decoded. Raises DataError."""
        with self._opened(film, frame_fps) as reader:
            return self.features.grid(np.array(reader.timestamps, dtype=np.float64)).clock

    @contextmanager
    def _opened(self, film: Path, frame_fps: float | None) -> Iterator[Reader]:
        if is_volume(film):
            raise DataError(f"{film}: a volume or array has no times to lay steps on; give a video file")
        with naming_file(film, str(film)), open_source(film, None, self.record.protocol, frame_fps) as reader:
            yield reader


def moments_of(
    probs: Float[np.ndarray, "S K"],
    clock: FilmClock,
    record: HeadRecord,
    source: str,
    *,
    first_step: int = 0,
    rules: Sequence[BoutRule] | None = None,
    notes: tuple[str, ...] = (),
) -> FilmMoments:
    """The moments that these probabilities make.

    Args:
        probs: of all classes of the head, background too.
        rules: of each class. None means those of the head.
    """
    one = record.one
    edges = clock.edges[first_step : first_step + len(probs) + 1]
    active = active_steps(probs.astype(np.float64), edges, rules or record.bout_rules, one=one)
    found = []
    for k in range(1 if one else 0, probs.shape[1]):
        for start, stop in spans_of(active[:, k], edges):
            inside = (edges[:-1] >= start) & (edges[:-1] < stop)
            score = float(probs[inside, k].mean())
            found.append((Bout(label=record.labels[k], start=start, stop=stop, observer="model"), score))
    found.sort(key=lambda pair: (pair[0].start, pair[0].label))
    return FilmMoments(
        source=source,
        labels=record.labels[1:] if one else record.labels,
        clock=clock,
        first_step=first_step,
        probs=probs[:, 1:] if one else probs,
        bouts=tuple(bout for bout, _ in found),
        scores=tuple(score for _, score in found),
        notes=notes,
    )


def _stretch(clock: FilmClock, start_seconds: float | None, end_seconds: float | None, film: Path) -> tuple[int, int]:
    edges, end = clock.edges, clock.duration_seconds
    start, stop = start_seconds or 0.0, end if end_seconds is None else min(end_seconds, end)
    if not 0 <= start < stop:
        raise DataError(f"{film}: the stretch from {start:g} to {stop:g} s is empty; the film lasts {end:.3f} s")
    first = max(0, int(np.searchsorted(edges, start + 1e-6, side="right")) - 1)
    return first, max(first + 1, int(np.searchsorted(edges[:-1], stop - 1e-6, side="left")))


def load_moments(source: str | Path, device: Device = "auto") -> MomentsModel:
    """The model of a run of the task ``per_frame``, or of a checkpoint of one.

    Raises:
        CheckpointError: there is none, or it has no per-frame head.
    """
    folder = moments_folder(Path(source))
    head, head_record = read_head(folder)
    model, record = open_checkpoint(folder)
    return MomentsModel(model, record, head, head_record, choose_device(device))


def moments_folder(source: Path) -> Path:
    """The checkpoint folder that a run or a checkpoint names."""
    return source / "best" if has_head(source / "best") else source

"""A film, a frame folder of one or a live source, classified window by window: what commands and Python call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tubelet.data.layouts.find_files import is_frame_folder
from tubelet.data.sources.dicom import DicomReader, is_dicom
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.sources.frame_folder_source import FrameFolderSource
from tubelet.data.sources.volume import is_volume
from tubelet.data.video.live import LiveSource, is_real_time
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import Rendering
from tubelet.errors import ConfigError, DataError
from tubelet.inference.live import Source, Watcher
from tubelet.inference.long_video import group_neighbors, merge_neighbors, predict_windows
from tubelet.inference.predictor import Classifier
from tubelet.inference.windows import WindowPlan, plan_whole, plan_windows
from tubelet.protocol import Protocol
from tubelet.session.progress import NoProgress, Progress
from tubelet.tables import Table
from tubelet.types import HeadScores, Segment

Span = float | Literal["clip", "whole"]  # of a window: seconds, what one clip of the protocol spans, all of the film


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How windows lie on a film."""

    window: Span = "clip"
    hop_seconds: float | None = None  # from one window to the next; None means side by side
    sample_fps: float | None = None  # frames per second that enter the model; None means as many as a clip has
    frame_fps: float | None = None  # rate of a frame folder, which does not say it
    merge: bool = False  # neighbors with the same best label become one segment
    top_k: int | None = None  # labels of each segment; None means all


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film and its segments."""

    source: str
    duration_seconds: float
    fps: float  # of the source, on average
    plan: WindowPlan
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]

    @property
    def table(self) -> Table:
        """A row per segment: when it begins and ends, its best label and that label's probability."""
        rows = tuple((s.start_seconds, s.end_seconds, s.top1, s.probs[0]) for s in self.segments)
        return Table(title=self.source, columns=("start_seconds", "end_seconds", "label", "probability"), rows=rows)

    def to_dataframe(self) -> Any:
        """The table as a pandas ``DataFrame``. Raises TubeletError where pandas is not installed."""
        return self.table.to_dataframe()

    def _repr_html_(self) -> str:
        return self.table.to_html()

    def sliced(self, *, merge: bool, top_k: int | None, group: int = 1) -> Film:
        """The same scores of its windows, shown otherwise; none is computed.

        Args:
            merge: neighbors with the same best label become one segment.
            top_k: labels of each segment. None means all.
            group: so many neighboring windows become one, with the mean of their scores.
        """
        segments = [_best(segment, top_k) for segment in group_neighbors(self.segments, group)]
        merged = merge_neighbors(segments) if merge else segments
        return dataclasses.replace(self, segments=tuple(_best(segment, top_k) for segment in merged))

    def to_dict(self) -> dict[str, Any]:
        """What ``tubelet predict --window --json`` prints of a film."""
        return {
            "source": self.source,
            "duration_seconds": round(self.duration_seconds, 6),
            "window_seconds": self.plan.window_seconds,
            "hop_seconds": self.plan.hop_seconds,
            "frames_per_window": self.plan.num_frames,
            "notes": list(self.notes),
            "segments": [dataclasses.asdict(segment) for segment in self.segments],
        }


def predict_film(
    classifier: Classifier,
    file: Path,
    windows: Windows,
    progress: Progress = NoProgress(),  # noqa: B008
    on_segment: Callable[[Film, Segment], None] = lambda film, segment: None,
) -> Film:
    """The windows of a film in bounded memory.

    Args:
        on_segment: called with each window as it becomes known, and with the film without its segments.

    Raises:
        DataError: the file cannot be read, is a volume, or is a frame folder without ``frame_fps``.
        ConfigError: the windows do not fit the model.
    """
    classifier.check_probabilities("windows are")
    with _open(file, windows.frame_fps, classifier.protocol) as reader:
        plan = _plan(classifier, reader, windows)
        progress.note(f"{file.name}: {plan}")
        duration, short_video = reader.duration_seconds, classifier.protocol.short_video
        # The last step of a whole film's grid may go beyond its end.
        beyond = plan.seconds_per_sample if windows.window == "whole" else 0.0
        if duration + beyond < plan.window_seconds and short_video != "error":
            done = "looped" if short_video == "loop" else "last frame held"
            progress.note(f"{file.name}: shorter than a window ({duration:.2f} s): {done}")

        def on_progress(done: float, total: float) -> None:
            progress.advance(int(done), max(1, round(total)), f"s of {file.name}")

        empty = Film(source=str(file), duration_seconds=duration, fps=reader.fps, plan=plan, segments=(), notes=())
        segments = list[Segment]()
        for segment in predict_windows(classifier, reader, plan, top_k=windows.top_k, on_progress=on_progress):
            segments.append(segment)
            on_segment(empty, segment)
        for line in reader.notes:
            progress.note(f"{file.name}: {line}")
        notes = reader.notes
    if windows.window == "whole":  # the grid's last step may go beyond the end
        segments = [dataclasses.replace(s, end_seconds=min(s.end_seconds, duration)) for s in segments]
    film = dataclasses.replace(empty, segments=tuple(segments), notes=notes)
    return film.sliced(merge=windows.merge, top_k=windows.top_k)


def _open(file: Path, frame_fps: float | None, protocol: Protocol) -> VideoReader | FrameFolderReader | DicomReader:
    if is_volume(file):
        raise DataError(
            f"{file}: a volume or array has no times to lay windows on; predict it whole, without a window, or give a "
            "video file"
        )
    if is_dicom(file):
        return DicomReader(file, protocol.volume_window, Rendering.of(protocol))
    if not file.is_dir():
        return VideoReader(file, rendering=Rendering.of(protocol))
    if frame_fps is None:
        raise DataError(f"{file}: windows need the rate of a frame folder; give its frames per second with --frame-fps")
    return FrameFolderReader(file, frame_fps, protocol.picture_window)


def _plan(
    classifier: Classifier, reader: VideoReader | FrameFolderReader | DicomReader, windows: Windows
) -> WindowPlan:
    if windows.window == "whole":
        return plan_whole(
            classifier.model,
            classifier.protocol,
            reader.timestamps,
            sample_fps=windows.sample_fps,
            source_fps=reader.fps,
        )
    return plan_windows(
        classifier.model,
        classifier.protocol,
        window_seconds=_seconds(windows.window),
        hop_seconds=windows.hop_seconds,
        sample_fps=windows.sample_fps,
        source_fps=reader.fps,
    )


def _seconds(window: Span) -> float | None:
    """The length of a window; None means that of a clip."""
    if window == "whole":
        raise ConfigError("a running source has no whole: give windows a length in seconds")
    return None if window == "clip" else window


def _best(segment: Segment, top_k: int | None) -> Segment:
    heads = {
        head: HeadScores(labels=scores.labels[:top_k], probs=scores.probs[:top_k])
        for head, scores in segment.heads.items()
    }
    return dataclasses.replace(segment, labels=segment.labels[:top_k], probs=segment.probs[:top_k], heads=heads)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a running source is read."""

    input_format: str | None = None  # of FFmpeg, where the source does not tell, such as v4l2 of a camera
    drop: Literal["auto", "oldest", "never"] = "auto"  # which frames are left out when the model is slower
    live: bool | None = None  # whether the source is connected to again after its end; None means as it says
    retries: int = 5  # attempts to connect in a row that may fail
    timeout_seconds: float = 10.0  # without a frame for so long, it is tried again
    report: Callable[[str], None] = field(default=lambda line: None)  # gets a line for what goes wrong


def watch(classifier: Classifier, source: str, windows: Windows, connection: Connection) -> Watcher:
    """What yields the segments of a pipe, a network address, a camera, a file or a frame folder while it runs.

    Raises:
        ConfigError: a frame folder without ``frame_fps``.
    """
    real_time = is_real_time(source)
    classifier.check_classes()
    classifier.check_probabilities("streams are")

    def make_plan(source_fps: float | None) -> WindowPlan:
        plan = plan_windows(
            classifier.model,
            classifier.protocol,
            window_seconds=_seconds(windows.window),
            hop_seconds=windows.hop_seconds,
            sample_fps=windows.sample_fps,
            source_fps=source_fps,
        )
        connection.report(f"{plan}")
        return plan

    return Watcher(
        classifier,
        _connect(source, windows.frame_fps, connection, classifier.protocol),
        make_plan,
        drop="oldest" if connection.drop == "oldest" or (connection.drop == "auto" and real_time) else "never",
        # A file or a pipe does not come back by itself.
        retries=connection.retries if connection.live or real_time or "://" in source else 0,
        ends=None if connection.live is None else not connection.live,
        silent_seconds=connection.timeout_seconds,
        top_k=windows.top_k,
        report=connection.report,
    )


def _connect(source: str, frame_fps: float | None, connection: Connection, protocol: Protocol) -> Callable[[], Source]:
    """What opens the source, with frames rendered as the model's protocol says."""
    folder = Path(source)
    if is_frame_folder(folder):
        if frame_fps is None:
            raise ConfigError(f"{folder}: is a frame folder; give its frames per second with --frame-fps")
        return partial(FrameFolderSource, folder, frame_fps, protocol.picture_window)
    return partial(
        LiveSource,
        source,
        input_format=connection.input_format,
        timeout_seconds=connection.timeout_seconds,
        rendering=Rendering.of(protocol),
    )

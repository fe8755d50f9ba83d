"""A live source watched for as long as it lasts: connection, lag, losses and restarts around the stream classifier."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor

from tubelet.data.sources.frame_folder_source import FrameFolderSource
from tubelet.data.video.live import LiveFrame, LiveSource
from tubelet.errors import DataError, VideoError
from tubelet.inference.predictor import Classifier
from tubelet.inference.stream import StreamingClassifier
from tubelet.inference.windows import WindowPlan
from tubelet.types import Segment

QUEUED_FRAMES = 16  # decoded frames that wait for the model
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0  # before connecting again; doubled each time

Source = LiveSource | FrameFolderSource
Drop = Literal["never", "oldest"]
Found = TypeVar("Found")


@dataclass(kw_only=True)
class StreamHealth:
    """How a source fares; changed while it is watched."""

    frames: int = 0  # that reached the model's sampler
    dropped: int = 0  # left out because the model was slower than the source
    damaged: int = 0  # left out because the decoder could not make them whole
    disordered: int = 0  # left out because their time was not later than that of the frame before
    connections: int = 0  # also those that a jump of the source's clock begins
    # From the end of the newest segment to now, counted as the source counts from the first frame of the connection:
    # a source in real time that waits for the model (in a pipe, in the network) is behind as well.
    lag_seconds: float = 0.0


class Watcher:
    """Yields the segments of a source as they become known; a broken or silent source is tried again.

    Args:
        connect: opens the source; called again after every break.
        make_plan: the windows, from the rate that the source says it has.
        drop: "oldest" leaves out the oldest waiting frame when the model is slower than the source; "never" lets the
            source wait, which a pipe and a file do.
        retries: attempts to connect in a row that may fail before giving up.
        ends: whether the end of the source is the end; else it is connected to again. None means as the source says:
            an answer over HTTP without a length is connected to again, and is over when it then begins with the same
            picture, as a recording does and a camera does not.
        silent_seconds: without a frame for so long, this is reported.
        report: called with one line for each thing that goes wrong.
    """

    def __init__(
        self,
        classifier: Classifier,
        connect: Callable[[], Source],
        make_plan: Callable[[float | None], WindowPlan],
        *,
        drop: Drop = "never",
        retries: int = 5,
        ends: bool | None = None,
        silent_seconds: float = 10.0,
        top_k: int | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.classifier, self.connect, self.make_plan = classifier, connect, make_plan
        self.drop, self.retries, self.ends = drop, retries, ends
        self.silent_seconds, self.top_k, self.report = silent_seconds, top_k, report
        self.health = StreamHealth()
        self._started = time.monotonic()
        self._reported_lag = 0.0  # the lag that was reported last
        self._noted = set[str]()  # of what sources note, what was reported
        # Of the connection before, where that decides whether this is the end:
        self._first_picture: Tensor | None = None

    def segments(self) -> Iterator[Segment]:
        """Until the source ends (where it may), or cannot be reached any more.

        Raises:
            VideoError: ``retries`` attempts in a row failed.
        """
        failures = 0
        while True:
            got_frames = self.health.frames
            begin = time.monotonic() - self._started if self.health.connections else 0.0
            ends = self.ends
            try:
                source = self._opened()
                ends = source.has_end if ends is None else ends
                self.health.connections += 1
                yield from self._connection(source, begin, is_known=ends is not None)
                broken: VideoError | None = None
            except VideoError as error:
                broken = error
            except _SamePicture:
                self.report("connected again, the source begins with the same picture: a recording, which has ended")
                return
            if broken is None and ends:
                self.report("the source ended")
                return
            failures = 1 if self.health.frames > got_frames else failures + 1
            if failures > self.retries:
                tried = f"; gave up after {self.retries} more attempts" if self.retries else ""
                raise VideoError(f"{broken or 'the source ends at once'}{tried}")
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
            self.report(f"{broken or 'the source ended'}; trying again in {pause:g} s")
            time.sleep(pause)

    def _opened(self) -> Source:
        """A new connection; made in a thread, for a pipe that nobody writes into can neither be told of nor stopped
        while it is being opened.

        Raises:
            VideoError: it cannot be made.
        """
        answer: queue.Queue[Source | DataError] = queue.Queue()

        def connect() -> None:
            try:
                answer.put(self.connect())
            except BaseException as error:  # raised where the connection is waited for
                answer.put(_as_broken("the source", error))

        threading.Thread(target=connect, daemon=True).start()
        found = self._patiently(lambda timeout: answer.get(timeout=timeout))
        if isinstance(found, DataError):
            raise found
        return found

    def _connection(self, source: Source, begin: float, is_known: bool) -> Iterator[Segment]:
        """One connection, its times counted from ``begin``; what is complete is given even where it breaks.

        ``is_known`` says whether it is known what the source's end means.
        """
        plan = self.make_plan(source.fps)
        reader = _Reader(source, self.drop, self.health)
        stream = StreamingClassifier(self.classifier, plan, top_k=self.top_k)
        latest: LiveFrame | None = None
        came = 0.0  # the first frame of the present clock, in seconds of the monotonic clock
        try:
            for frame in iter(lambda: self._patiently(reader.get), None):
                if not is_known:
                    self._refuse_same(frame.picture())
                    is_known = True
                came = came or frame.came
                if latest is not None and (why := self._break(latest, frame, plan, source)):
                    self.report(f"{why}: windows begin anew")
                    yield from self._shifted(stream.close(), begin, came)
                    stream = StreamingClassifier(self.classifier, plan, top_k=self.top_k)
                    if frame.clock is not latest.clock:
                        self.health.connections += 1
                        begin, came = self._begin_after(latest, frame, begin, source), frame.came
                latest = frame
                self.health.frames += 1
                found = stream.push_one(frame.picture, frame.seconds, frame.number)
                self._report_notes(source)
                yield from self._shifted(found, begin, came)
            yield from self._shifted(stream.close(), begin, came)
        except VideoError:
            yield from self._shifted(stream.close(), begin, came)
            raise
        finally:
            reader.stop()
            self.health.damaged += source.damaged
            self.health.disordered += source.disordered

    def _report_notes(self, source: Source) -> None:
        """Report what a source notes of its pictures, each line once, whatever the number of connections."""
        for line in source.notes:
            if line not in self._noted:
                self._noted.add(line)
                self.report(line)

    @staticmethod
    def _break(latest: LiveFrame, frame: LiveFrame, plan: WindowPlan, source: Source) -> str:
        """Why no window may hold both of two frames that follow each other. Empty if one may."""
        if frame.clock is not latest.clock:
            jump = frame.clock.jump_seconds
            way = f"back by {-jump:.1f} s" if jump < 0 else f"forward by {jump:.1f} s"
            return f"the source's clock jumped {way}, which counts as a new connection"
        gap = frame.seconds - latest.seconds
        return f"{gap:.1f} s without frames" if gap > plan.window_seconds and not source.is_stored else ""

    def _begin_after(self, latest: LiveFrame, frame: LiveFrame, begin: float, source: Source) -> float:
        """When the clock of ``frame`` begins: right after ``latest``, or when it came if the source is in real time."""
        after = begin + latest.clock.end_seconds  # the rate in the header may have been measured across the jump
        return after if source.has_end else max(after, frame.came - self._started)

    def _refuse_same(self, picture: Tensor) -> None:
        before, self._first_picture = self._first_picture, picture
        if before is not None and before.equal(picture):
            raise _SamePicture

    def _patiently(self, get: Callable[[float], Found]) -> Found:
        """What ``get(timeout)`` gives in the end; reports how long nothing has come."""
        step, silent = min(1.0, self.silent_seconds), 0.0

        while True:
            try:
                return get(step)
            except queue.Empty:
                silent += step
                if silent >= self.silent_seconds:
                    self.report(f"no frame for {silent:.0f} s; waiting")
                    silent = 0.0

    def _shifted(self, segments: list[Segment], begin: float, came: float) -> Iterator[Segment]:
        for segment in segments:
            self._measure_lag(segment, came)
            yield dataclasses.replace(
                segment, start_seconds=begin + segment.start_seconds, end_seconds=begin + segment.end_seconds
            )

    def _measure_lag(self, segment: Segment, came: float) -> None:
        """Told when it is more than a window, and again whenever it has doubled."""
        self.health.lag_seconds = lag = max(0.0, time.monotonic() - came - segment.end_seconds)
        window = segment.end_seconds - segment.start_seconds
        if lag <= window:
            self._reported_lag = 0.0
        elif lag >= 2 * self._reported_lag:
            self._reported_lag = lag
            self.report(f"{lag:.1f} s behind real time, more than a window of {window:.1f} s")


def _as_broken(name: str, error: BaseException) -> DataError:
    """What breaks a connection, as an error of one line; a defect of this program as well."""
    if isinstance(error, DataError):
        return error
    line = " ".join(str(error).split())
    return VideoError(f"{name}: reading failed ({type(error).__name__}{line and ': '}{line})")


class _SamePicture(Exception):
    """A new connection begins as the one before did."""


class _Reader:
    """Decodes in a thread into a short queue, so that a silent source can be told from a slow model."""

    def __init__(self, source: Source, drop: Drop, health: StreamHealth) -> None:
        self._source, self._drop, self._health = source, drop, health
        self._queue: queue.Queue[LiveFrame | DataError | None] = queue.Queue(QUEUED_FRAMES)
        self._stopped = threading.Event()
        # A daemon: a pipe that stays silent cannot be woken, and must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def get(self, timeout: float) -> LiveFrame | None:
        """The next frame, None at the end.

        Raises:
            queue.Empty: none came in time.
            VideoError: the connection broke; frames that came before have been given.
        """
        found = self._queue.get(timeout=timeout)
        if isinstance(found, DataError):
            raise found
        return found

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        end: DataError | None = None
        try:
            with closing(self._source):
                for frame in self._source.frames():
                    if self._stopped.is_set():
                        break
                    self._put(frame)
        except BaseException as error:  # of any kind: who waits for frames would wait for ever
            end = _as_broken(self._source.source, error)
        self._put(end, must=True)

    def _put(self, item: LiveFrame | DataError | None, must: bool = False) -> None:
        while not self._stopped.is_set():
            try:
                return self._queue.put(item, timeout=0.0 if self._drop == "oldest" and not must else 0.2)
            except queue.Full:
                if self._drop == "oldest" and not must:
                    try:
                        self._queue.get_nowait()
                        self._health.dropped += 1
                    except queue.Empty:
                        continue

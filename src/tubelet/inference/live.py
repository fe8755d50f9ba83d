"""A live source watched for as long as it lasts: connection, lag, losses and restarts around the stream classifier."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import Tensor

from tubelet.data.video.live import LiveFrame, LiveSource
from tubelet.errors import DataError, VideoError
from tubelet.inference.predictor import Classifier
from tubelet.inference.stream import StreamingClassifier
from tubelet.inference.windows import WindowPlan
from tubelet.types import Segment

QUEUED_FRAMES = 16  # decoded frames that wait for the model
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0  # before connecting again; doubled each time

Drop = Literal["never", "oldest"]
Found = TypeVar("Found")


@dataclass(kw_only=True)
class StreamHealth:
    """How a source fares; changed while it is watched."""

    frames: int = 0  # that reached the model's sampler
    dropped: int = 0  # left out because the model was slower than the source
    damaged: int = 0  # left out because the decoder could not make them whole
    connections: int = 0
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
        connect: Callable[[], LiveSource],
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

    def _opened(self) -> LiveSource:
        """A new connection; made in a thread, for a pipe that nobody writes into can neither be told of nor stopped
        while it is being opened.

        Raises:
            VideoError: it cannot be made.
        """
        answer: queue.Queue[LiveSource | Exception] = queue.Queue()

        def connect() -> None:
            try:
                answer.put(self.connect())
            except Exception as error:  # raised where the connection is waited for
                answer.put(error)

        threading.Thread(target=connect, daemon=True).start()
        found = self._patiently(lambda timeout: answer.get(timeout=timeout))
        if isinstance(found, Exception):
            raise found
        return found

    def _connection(self, source: LiveSource, begin: float, is_known: bool) -> Iterator[Segment]:
        """One connection, its times counted from ``begin``; what is complete is given even where it breaks.

        ``is_known`` says whether it is known what the source's end means.
        """
        plan = self.make_plan(source.fps)
        reader = _Reader(source, self.drop, self.health)
        stream = StreamingClassifier(self.classifier, plan, top_k=self.top_k)
        latest = 0.0
        try:
            for frame in iter(lambda: self._patiently(reader.get), None):
                if not is_known:
                    self._refuse_same(frame.picture())
                    is_known = True
                if frame.seconds - latest > plan.window_seconds and self.health.frames:
                    self.report(f"{frame.seconds - latest:.1f} s without frames: windows begin anew")
                    yield from self._shifted(stream.close(), begin, reader)
                    stream = StreamingClassifier(self.classifier, plan, top_k=self.top_k)
                latest = frame.seconds
                self.health.frames += 1
                yield from self._shifted(stream.push_one(frame.picture, frame.seconds, frame.number), begin, reader)
            yield from self._shifted(stream.close(), begin, reader)
        except VideoError:
            yield from self._shifted(stream.close(), begin, reader)
            raise
        finally:
            reader.stop()
            self.health.damaged += source.damaged

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

    def _shifted(self, segments: list[Segment], begin: float, reader: _Reader) -> Iterator[Segment]:
        for segment in segments:
            self._measure_lag(segment, reader)
            yield dataclasses.replace(
                segment, start_seconds=begin + segment.start_seconds, end_seconds=begin + segment.end_seconds
            )

    def _measure_lag(self, segment: Segment, reader: _Reader) -> None:
        """Told when it is more than a window, and again whenever it has doubled."""
        self.health.lag_seconds = lag = max(0.0, time.monotonic() - reader.first_came - segment.end_seconds)
        window = segment.end_seconds - segment.start_seconds
        if lag <= window:
            self._reported_lag = 0.0
        elif lag >= 2 * self._reported_lag:
            self._reported_lag = lag
            self.report(f"{lag:.1f} s behind real time, more than a window of {window:.1f} s")


class _SamePicture(Exception):
    """A new connection begins as the one before did."""


class _Reader:
    """Decodes in a thread into a short queue, so that a silent source can be told from a slow model."""

    def __init__(self, source: LiveSource, drop: Drop, health: StreamHealth) -> None:
        self._source, self._drop, self._health = source, drop, health
        self._queue: queue.Queue[LiveFrame | DataError | None] = queue.Queue(QUEUED_FRAMES)
        self._stopped = threading.Event()
        self.first_came = 0.0  # when the first frame was there, in seconds of the monotonic clock
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
            for frame in self._source.frames():
                if self._stopped.is_set():
                    break
                self.first_came = self.first_came or time.monotonic()
                self._put(frame)
        except DataError as error:
            end = error
        finally:
            self._source.close()
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

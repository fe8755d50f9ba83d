"""The times of a live source's frames: from its packets, in the order in which frames are shown, by one clock or more.

A source's clock jumps where its encoder restarts, where recordings are joined and where somebody sets it: then another
clock begins. Decoding times ascend by nature, so a decoding time that falls shows a jump at its first packet; a pause
shows as a step forward, which is a jump only where no pause can be so long.

Some containers give packets with presentation times that ascend in decoding order, although frames are shown in
another: the smallest time that is left then belongs to the frame that is shown next.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field

import av
from av.codec.context import Flags
from av.video.stream import VideoStream

_BACK_SECONDS = 0.5  # presentation order, and guesses of a demuxer, step back by less
_BACK_AT_KEY_SECONDS = 0.1  # an encoder begins with a key frame
_FAR_SECONDS = 3600.0  # a recording may pause for less
_PAUSE_SLACK_SECONDS = 10.0  # a source in real time steps as far as time passes, and by so much more
_MAX_BEHIND = 16  # frames in a row that do not ascend; no codec reorders more


@dataclass(eq=False)
class Clock:
    """One run of times without a jump."""

    jump_seconds: float = 0.0  # from the clock before to this one, as the source counts; 0 for the first
    first: float | None = None  # of the first frame that is given out, as the source counts
    previous: float = -1.0  # of the latest frame, from the first
    num_frames: int = 0  # that were given out
    num_behind: int = 0  # frames in a row whose time did not ascend
    decoded: float | None = None  # decoding time of the latest packet
    presented: float | None = None  # presentation time of the latest packet
    is_sorted: bool = True  # presentation times have never fallen from packet to packet
    waiting: list[float] = field(default_factory=list)  # heap of presentation times whose frames have not come

    def seconds_at(self, seconds: float) -> float | None:
        """From the first frame of this clock. None where the time does not ascend."""
        self.first = seconds if self.first is None else self.first
        if seconds - self.first <= self.previous:
            self.num_behind += 1
            return None
        self.previous, self.num_behind = seconds - self.first, 0
        self.num_frames += 1
        return self.previous

    @property
    def end_seconds(self) -> float:
        """When the latest frame leaves the screen: it stays as long as frames do on average."""
        return self.previous * self.num_frames / max(self.num_frames - 1, 1)


class LiveClock:
    """Times packets before they are decoded, and the frames that come of them.

    Args:
        stream: its decoder passes a mark of each packet on to its frame.
        is_real_time: the source sends at its own pace, so that its clock cannot step further than time passes.
    """

    def __init__(self, stream: VideoStream, is_real_time: bool) -> None:
        self._context, self._is_real_time = stream.codec_context, is_real_time
        self._context.flags |= Flags.copy_opaque
        self._interval = 1 / float(stream.average_rate or 25)
        self._clock, self._came = Clock(), time.monotonic()

    def starts_anew(self, packet: av.Packet[VideoStream]) -> bool:
        """Times a packet. True where another clock begins with it."""
        base = packet.time_base
        presented, decoded = (None if t is None else float(t * base) for t in (packet.pts, packet.dts))
        at = decoded if decoded is not None else presented
        jump = self._jump(at, packet.is_keyframe) if at is not None else 0.0
        if jump:
            self._clock = Clock(jump_seconds=jump)
        clock = self._clock
        clock.decoded = at if at is not None else clock.decoded
        shown = presented if presented is not None else at
        if shown is None:
            shown = 0.0 if clock.presented is None else clock.presented + self._interval
        clock.is_sorted &= clock.presented is None or shown >= clock.presented
        clock.presented = shown
        if clock.is_sorted:
            heapq.heappush(clock.waiting, shown)
        packet.opaque = clock, shown
        return bool(jump)

    def seconds_of(self, frame: av.VideoFrame) -> tuple[Clock, float | None]:
        """The clock of a frame, and its seconds from the first frame of that clock.

        None for a damaged frame, and for one whose time does not ascend.
        """
        clock, shown = frame.opaque if isinstance(frame.opaque, tuple) else (self._clock, frame.time or 0.0)
        if clock.is_sorted and clock.waiting and self._context.reorder_depth:
            shown = heapq.heappop(clock.waiting)
            while len(clock.waiting) > self._context.reorder_depth:  # of packets that gave no frame
                heapq.heappop(clock.waiting)
        else:
            clock.waiting.clear()
        seconds = None if frame.is_corrupt else clock.seconds_at(shown)
        if clock.num_behind <= _MAX_BEHIND or clock is not self._clock:
            return clock, seconds
        self._clock = Clock(jump_seconds=shown - (clock.first or 0.0) - clock.previous, decoded=clock.decoded)
        self._clock.presented, self._clock.is_sorted = clock.presented, False
        return self._clock, self._clock.seconds_at(shown)

    def _jump(self, decoded: float, is_key: bool) -> float:
        """By how many seconds the source's clock jumps to this packet. 0 where it goes on."""
        now, before = time.monotonic(), self._clock.decoded
        passed, self._came = now - self._came, now
        if before is None:
            return 0.0
        back = _BACK_AT_KEY_SECONDS if is_key else _BACK_SECONDS
        far = min(_FAR_SECONDS, passed + _PAUSE_SLACK_SECONDS) if self._is_real_time else _FAR_SECONDS
        return 0.0 if -back < decoded - before < far else decoded - before

"""Frame sampling: which frames make a clip, computed from presentation times and a ``Protocol``. Opens no file.

Dense clips follow scenic's ViViT input (dmvr's samplers): a training clip starts anywhere the clip fits; test clips
start at evenly spread offsets ``linspace(0, N - num_frames * stride)`` truncated to whole frames, one test clip is
the middle one. Uniform clips take one frame of each of ``num_frames`` equal segments, as TSN does. Sparse clips do so
by UniFormerV2's rule (OpenGVLab/UniFormerV2, commit 722a4344, ``slowfast/datasets``), whose segments span N - 1 frames
and have whole frames as bounds. Clips of segment starts take the first frame of each of T equal segments
(google-deepmind/videoprism, commit d481d91b, ``colabs``); in training a random one, as uniform clips do. Clips of
windows hold one of each segment (``tubelet.data.clips.spread_windows``): at its start for one view, at a random place
in training.

    N  frames of the video (or of its segment)        T  frames of the clip

``timestamps`` are seconds, ascending, one per shown frame; they need not begin at 0 (a segment of a video), and
indices count from the first of them. Which frame stands for a time is the rule of ``tubelet.data.video.frame_times``
that the protocol names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.segments import Indices, Part, Timestamps, part_of
from tubelet.data.clips.spread_windows import spread_windows
from tubelet.data.video.frame_times import frames_at_times
from tubelet.errors import DataError
from tubelet.protocol import Protocol

_ROUNDING = 1e-6  # of seconds, or of a frame; with it exact halves and thirds round the same way at every rate
_DONE = {"loop": "looped", "hold": "last frame held", "error": ""}


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """The frames of one clip, in the order in which they enter the model.

    ``seconds_covered`` is the time from the moment the earliest frame appears until the latest one leaves the screen.
    ``notes`` are lines for the user, for example that a short video was looped.
    """

    indices: tuple[int, ...]
    seconds_covered: float
    notes: tuple[str, ...] = ()

    @property
    def frame_numbers(self) -> tuple[int, ...]:
        """The indices, counted from the earliest frame of the clip. Repeated frames repeat their number.

        VTN's original counts in this way, because it decodes only the clip's part of the video: the same clip has the
        same numbers wherever in the video it lies (bomri/SlowFast, commit 00a68201,
        ``slowfast/datasets/decoder.py``).
        """
        first = min(self.indices)
        return tuple(index - first for index in self.indices)


def random_clip(
    timestamps: Timestamps, protocol: Protocol, rng: np.random.Generator, *, first: int = 0, snap: bool = False
) -> ClipPlan:
    """Draw a training clip: a random start (dense, windows), or a random frame of each segment (all others).

    A short video that loops starts at a random frame of the loop.

    Args:
        timestamps: of the video, or of its segment.
        protocol: how the clip is sampled.
        rng: where the draws come from.
        first: index of the segment's first frame in the file.
        snap: a clip of even ``frame_stride`` starts at an even frame of the file, at most one from the drawn frame, if
            it fits there. In files of ``tubelet data prepare`` no other frame depends on the odd ones, so the decoder
            can skip half of all frames. Nothing else changes.

    Raises:
        DataError: there is no frame, or the video is short and the protocol says ``short_video="error"``.
    """
    return _random_clip(Part(times=timestamps), protocol, rng, first=first, snap=snap)


def _random_clip(part: Part, protocol: Protocol, rng: np.random.Generator, *, first: int, snap: bool) -> ClipPlan:
    count, num_frames = _count(part.times), protocol.num_frames
    if protocol.sampling in ("uniform", "segment_start"):
        return _uniform(part, protocol, rng.random(num_frames))
    if protocol.sampling == "sparse":
        lowest, highest = _sparse_bounds(count, num_frames)
        return _plan(part, rng.integers(lowest, highest, endpoint=True), _short_note(part, protocol))
    if protocol.sampling == "windows":
        return _windows(part, protocol, lambda places: int(rng.integers(places)))
    note = _short_note(part, protocol)
    looped = bool(note) and protocol.short_video == "loop"
    if protocol.frame_stride is not None:
        room = count if looped else count - (num_frames - 1) * protocol.frame_stride
        start = int(rng.integers(max(room, 1)))
        if snap and protocol.frame_stride % 2 == 0 and (first + start) % 2 == 1 and not looped:
            start = start - 1 if start > 0 else min(1, max(room, 1) - 1)
        return _by_stride(part, protocol, start, note)
    span = (num_frames - 1) / _target_fps(protocol)
    last = part.seconds if looped or protocol.frame_at_time == "on_screen" else part.times[-1] - part.times[0]
    return _by_seconds(part, protocol, rng.uniform(0, max(last - (0.0 if looped else span), 0.0)), note)


def jittered_sampling(protocol: Protocol, augment: AugmentConfig, rng: np.random.Generator) -> Protocol:
    """Draw the time between the frames of one training clip and return the protocol with it.

    A ``target_fps`` is divided by the drawn factor; a ``frame_stride`` becomes the nearest whole stride, at least 1.
    """
    if not augment.stride_jitter:
        return protocol
    factor = float(rng.uniform(*augment.stride_jitter))
    if protocol.frame_stride is not None:
        return dataclasses.replace(protocol, frame_stride=max(1, round(protocol.frame_stride * factor)))
    assert protocol.target_fps is not None  # dense sampling has one of the two
    return dataclasses.replace(protocol, target_fps=protocol.target_fps / factor)


def view_clips(timestamps: Timestamps, protocol: Protocol, num_views: int | None = None) -> list[ClipPlan]:
    """The temporal views of one video. ``num_views`` replaces ``protocol.num_temporal_views`` unless it is None.

    Dense views are spread evenly from the first frame to the last; other views take shifted frames, or windows, of the
    same segments. One view is the middle clip, or the middle or first frames, or windows, of the segments. A video no
    longer than one clip gives the same dense clip for every view.

    Raises:
        DataError: there is no frame, or the video is short and the protocol says ``short_video="error"``.
    """
    return _view_clips(Part(times=timestamps), protocol, num_views)


def _view_clips(part: Part, protocol: Protocol, num_views: int | None = None) -> list[ClipPlan]:
    count, num_frames = _count(part.times), protocol.num_frames
    views = protocol.num_temporal_views if num_views is None else num_views
    if protocol.sampling == "uniform":
        shifts = [(2 * view + 1) / (2 * views) for view in range(views)]
        return [_uniform(part, protocol, np.full(num_frames, shift)) for shift in shifts]
    if protocol.sampling == "segment_start":
        shifts = [view / views for view in range(views)]
        return [_uniform(part, protocol, np.full(num_frames, shift)) for shift in shifts]
    if protocol.sampling == "sparse":
        first, length = _sparse_bounds(count, num_frames)[0], (count - 1) / num_frames
        shift = length / (views + 1)
        clips = [np.minimum(first + int(shift * (view + 1)), count - 1) for view in range(views)]
        return [_plan(part, indices, _short_note(part, protocol)) for indices in clips]
    if protocol.sampling == "windows":
        return [_windows(part, protocol, partial(_nth_place, view, views)) for view in range(views)]
    note = _short_note(part, protocol)
    # Each offset is share / whole of the way to the last one.
    shares, whole = ([1], 2) if views == 1 else (range(views), views - 1)
    if protocol.frame_stride is not None:
        room = max(count - num_frames * protocol.frame_stride, 0)
        return [_by_stride(part, protocol, room * share // whole, note) for share in shares]
    seconds = max(part.seconds - num_frames / _target_fps(protocol), 0.0)
    return [_by_seconds(part, protocol, seconds * share / whole, note) for share in shares]


def row_clip(
    timestamps: Timestamps,
    start_seconds: float | None,
    end_seconds: float | None,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    snap: bool,
) -> ClipPlan:
    """``random_clip`` of a segment of a source, with indices of the whole source. Raises DataError as both do."""
    part, first = part_of(timestamps, start_seconds, end_seconds, protocol)
    return _in_source(_random_clip(part, protocol, rng, first=first, snap=snap), first)


def row_views(
    timestamps: Timestamps, start_seconds: float | None, end_seconds: float | None, protocol: Protocol
) -> list[ClipPlan]:
    """``view_clips`` of a segment of a source, with indices of the whole source. Raises DataError as both do."""
    part, first = part_of(timestamps, start_seconds, end_seconds, protocol)
    return [_in_source(plan, first) for plan in _view_clips(part, protocol)]


def seconds_covered(timestamps: Timestamps, plans: Sequence[ClipPlan], start_seconds: float | None = None) -> float:
    """Length of the union in time of the clips of a source, or of its segment from ``start_seconds`` on."""
    total, covered_until = 0.0, -np.inf
    begins = np.maximum(timestamps, -np.inf if start_seconds is None else start_seconds)
    for start, seconds in sorted((float(begins[min(plan.indices)]), plan.seconds_covered) for plan in plans):
        total += max(0.0, start + seconds - max(start, covered_until))
        covered_until = max(covered_until, start + seconds)
    return total


def _in_source(plan: ClipPlan, first: int) -> ClipPlan:
    """A plan made for a segment, as frames of the whole source."""
    return dataclasses.replace(plan, indices=tuple(index + first for index in plan.indices))


def _by_stride(part: Part, protocol: Protocol, start: int, note: str) -> ClipPlan:
    indices = start + np.arange(protocol.num_frames) * (protocol.frame_stride or 1)
    if protocol.short_video == "loop":  # a clip that fits does not reach the end
        indices %= len(part.times)
    return _plan(part, np.minimum(indices, len(part.times) - 1), note)


def _by_seconds(part: Part, protocol: Protocol, start: float, note: str) -> ClipPlan:
    """The frame that stands for each of the times, which count from the first frame."""
    times = start + np.arange(protocol.num_frames) / _target_fps(protocol)
    if note and protocol.short_video == "loop":
        times %= max(part.seconds, _ROUNDING)
    return _plan(part, frames_at_times(part.times - part.times[0], times, protocol.frame_at_time), note)


def _uniform(part: Part, protocol: Protocol, within: NDArray[np.float64]) -> ClipPlan:
    """Frames at the fraction ``within`` (0 to below 1) of each of T equal segments of N / T frames."""
    count, num_frames = len(part.times), protocol.num_frames
    indices = (np.arange(num_frames) + within) * count / num_frames + _ROUNDING
    return _plan(part, np.minimum(indices.astype(np.int64), count - 1), _short_note(part, protocol))


def _windows(part: Part, protocol: Protocol, start_of: Callable[[int], int]) -> ClipPlan:
    """A window of each segment, one after the other."""
    segments, stride = protocol.num_segments, protocol.frame_stride or 1
    frames = protocol.num_frames // segments
    indices = spread_windows(len(part.times), segments, frames, stride, start_of)
    return _plan(part, indices, _short_note(part, protocol))


def _nth_place(view: int, views: int, places: int) -> int:
    """The place of a view, of evenly spread ones from the first on."""
    return (places - 1) * view // max(views - 1, 1)


def _sparse_bounds(count: int, num_frames: int) -> tuple[Indices, Indices]:
    """First and last frame of each of T segments of (N - 1) / T frames, halves rounded to even; neighbors share one."""
    bounds = np.round(np.arange(num_frames + 1) * ((count - 1) / num_frames)).astype(np.int64)
    return bounds[:-1], bounds[1:]


def _plan(part: Part, indices: Indices, note: str) -> ClipPlan:
    first, last = int(indices.min()), int(indices.max())
    leaves = part.times[last + 1] if last + 1 < len(part.times) else part.times[0] + part.seconds
    return ClipPlan(
        indices=tuple(indices.tolist()),
        seconds_covered=float(leaves - part.times[first]),
        notes=(note,) if note else (),
    )


def _short_note(part: Part, protocol: Protocol) -> str:
    """A note about a video that is shorter than the clip, else an empty text. Raises if the protocol refuses it."""
    count, num_frames = len(part.times), protocol.num_frames
    if protocol.sampling == "windows":
        span = num_frames // protocol.num_segments * (protocol.frame_stride or 1)
        short, have, need = count < span, f"{count} frames", f"takes windows of {span}"
        done = "last frame held"
    elif protocol.sampling != "dense":
        short, have, need = count < num_frames, f"{count} frames", f"takes {num_frames}"
        done = "frames repeated"
    elif protocol.frame_stride is not None:
        span = (num_frames - 1) * protocol.frame_stride + 1
        short, have, need = count < span, f"{count} frames", f"spans {span}"
        done = _DONE[protocol.short_video]
    else:
        duration, fps = part.seconds, _target_fps(protocol)
        short = (num_frames - 1) / fps > duration - _ROUNDING  # the last sample comes when the video is over
        have, need = f"{duration:.2f} s", f"spans {num_frames / fps:.2f} s"
        done = _DONE[protocol.short_video]
    if short and protocol.short_video == "error":
        raise DataError(
            f"video has {have}, the clip {need}; sample fewer or closer frames, or set short_video to loop or hold"
        )
    return f"video has {have}, the clip {need}: {done}" if short else ""


def _count(timestamps: Timestamps) -> int:
    if len(timestamps) == 0:
        raise DataError("expected a video with frames, it has none; leave it out")
    return len(timestamps)


def _target_fps(protocol: Protocol) -> float:
    assert protocol.target_fps is not None  # a dense Protocol has it where it has no frame_stride
    return protocol.target_fps

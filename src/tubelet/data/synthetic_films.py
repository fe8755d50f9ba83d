"""Generated films with known bouts: a shape that wanders, and now and then runs, spins, pulses or grows.

No behavior shows in a single frame for sure: a large shape may be in the middle of a pulse, a shape at any place and
angle may be at rest. Lengths of bouts are lognormal, with the medians (1.0 to 2.2 s) and the 5th percentiles (0.2 to
0.4 s) of published data of mice, and several may be at once. The camera shakes, and frames come at variable rate. Bouts
begin and end at the times of frames, so that labels are exact.

T frames, H = W = size_pixels. Lengths are in frame widths, angles in radians, times in seconds.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import Bool, Float, UInt8

from tubelet.data.synthetic import shape_coverage, still_texture
from tubelet.errors import DataError
from tubelet.files import write_atomically


@dataclass(frozen=True)
class Behavior:
    """How long the bouts of a behavior are, and the gaps between them."""

    median_seconds: float
    short_seconds: float  # 5th percentile
    gap_seconds: float  # median


BEHAVIORS: dict[str, Behavior] = {
    "grow": Behavior(1.6, 0.3, 6.0),
    "pulse": Behavior(1.9, 0.4, 7.0),
    "run": Behavior(1.0, 0.2, 4.0),
    "spin": Behavior(2.2, 0.35, 6.0),
}
LABELS = "labels.csv"
FPS = 25.0  # at most; some frames are missing, and the clock drifts
_DROPPED, _DRIFT = 0.15, 0.08  # share of frames that are missing; of the rate
_LONGEST_SECONDS, _SHORTEST_SECONDS, _Z = 12.0, 0.12, 1.6449  # of a bout; the normal quantile of 95 %
_WANDER, _RUN, _SPIN, _PULSE_HZ = 0.06, 0.8, math.radians(260), 2.2  # per second
_RADIUS, _GROWN, _PULSE = 0.13, 1.35, 0.3
_SHAKE_PIXELS = 1.5
_TIME_BASE = Fraction(1, 1000)
_FINE_TIME_BASE = Fraction(1, 90_000)  # seconds; of MPEG, which has the common rates exactly

TimedPicture = tuple[float, UInt8[np.ndarray, "H W 3"]]  # seconds, picture


@dataclass(frozen=True, kw_only=True)
class GeneratedFilm:
    """One film and what is in it."""

    frames: UInt8[np.ndarray, "T H W 3"]
    milliseconds: tuple[int, ...]  # when each frame appears
    active: dict[str, Bool[np.ndarray, " T"]]  # frames that show each behavior

    def bouts(self) -> list[tuple[float, float, str]]:
        """Start, stop and behavior, ordered by start."""
        end = self.milliseconds[-1] + (self.milliseconds[-1] - self.milliseconds[-2])
        times = np.append(self.milliseconds, end) / 1000
        found = []
        for name, shown in self.active.items():
            changes = np.flatnonzero(np.diff(np.r_[False, shown, False]))
            found += [(float(times[a]), float(times[b]), name) for a, b in changes.reshape(-1, 2)]
        return sorted(found)


def make_film(rng: np.random.Generator, seconds: float, size_pixels: int = 64, gaps: float = 1.0) -> GeneratedFilm:
    """One film of about this length. Gaps between bouts are ``gaps`` times those of ``BEHAVIORS``."""
    times = _frame_times(rng, seconds)
    active = {name: _active(rng, behavior, times, gaps) for name, behavior in BEHAVIORS.items()}
    poses = _poses(rng, times, active)
    shake = _shake(rng, len(times))
    poses[:, :2] += shake / size_pixels
    background = still_texture(rng, 2 * size_pixels)
    color = rng.uniform(150, 255, size=3).astype(np.float32)
    frames = np.empty((len(times), size_pixels, size_pixels, 3), dtype=np.uint8)
    for start in range(0, len(times), 256):
        part = slice(start, start + 256)
        coverage = shape_coverage("arrow", poses[part].astype(np.float32), size_pixels)  # t H W
        for t, covered in enumerate(coverage, start):
            left, top = (np.rint(-shake[t]) + size_pixels // 2).astype(int)
            behind = background[top : top + size_pixels, left : left + size_pixels]
            frames[t] = behind + covered[..., None] * (color - behind) + 0.5
    return GeneratedFilm(frames=frames, milliseconds=tuple(np.rint(1000 * times).astype(int).tolist()), active=active)


def write_films(
    root: Path,
    counts: Mapping[str, int],
    *,
    seconds: tuple[float, float] = (120.0, 300.0),
    size_pixels: int = 64,
    seed: int = 0,
    gaps: float = 1.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write ``root/<split>-NN.mp4`` and ``root/labels.csv`` (path, start, stop, label, split), and return the latter.

    Films that are there are kept; the labels are written last.

    Args:
        counts: films per split.
        seconds: shortest and longest film.
        gaps: how many times longer the gaps between bouts are than those of ``BEHAVIORS``.
        progress: called with (films done, films in all).

    Raises:
        DataError: a film shorter than a second.
    """
    if seconds[0] < 1 or seconds[1] < seconds[0]:
        raise DataError(f"generated films last at least a second, from shortest to longest, got {seconds}")
    root.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "start", "stop", "label", "split"])
    names = [(split, n) for split, count in counts.items() for n in range(count)]
    for done, (split, number) in enumerate(names):
        rng = np.random.default_rng([seed, sum(split.encode()), number])
        film = make_film(rng, float(rng.uniform(*seconds)), size_pixels, gaps)
        path = root / f"{split}-{number:02d}.mp4"
        if not path.exists():
            write_atomically(path, encode_at_times(film.frames, film.milliseconds))
        bouts = film.bouts()
        rows = [[path.name, f"{a:.3f}", f"{b:.3f}", name, split] for a, b, name in bouts]
        writer.writerows(rows or [[path.name, "", "", "", split]])
        progress(done + 1, len(names))
    write_atomically(root / LABELS, text.getvalue())
    return root / LABELS


def encode_at_times(frames: UInt8[np.ndarray, "T H W 3"], milliseconds: tuple[int, ...]) -> bytes:
    """An MP4 file of H.264 whose frames appear at these times."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "libx264", rate=round(FPS), options={"preset": "ultrafast", "crf": "23", "g": "50"}
        )
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        stream.codec_context.thread_count = 1
        for pixels, time in zip(frames, milliseconds, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, _TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def encode_timed(frames: Iterable[TimedPicture]) -> bytes:
    """An MP4 file of H.264 whose frames have the distances of these seconds; it begins at zero. One is held at a time.

    Times ascend, and a frame whose time does not is left out. Sides that are odd get a line more, which 4:2:0 needs.
    """
    file, first, last = io.BytesIO(), 0.0, -1
    stream: VideoStream | None = None
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        for seconds, picture in frames:
            even = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "20"})
                stream.height, stream.width, stream.pix_fmt = even.shape[0], even.shape[1], "yuv420p"
                stream.codec_context.time_base, first = _FINE_TIME_BASE, seconds
                stream.codec_context.thread_count = 1
            ticks = round((seconds - first) / _FINE_TIME_BASE)
            if ticks <= last:
                continue
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            frame.pts, frame.time_base, last = ticks, _FINE_TIME_BASE, ticks
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
    return file.getvalue()


def _frame_times(rng: np.random.Generator, seconds: float) -> Float[np.ndarray, " T"]:
    count = int(seconds * FPS * (1 + _DRIFT)) + 1
    drift = 1 + _DRIFT * np.sin(np.arange(count) / count * 4 * math.pi + rng.uniform(0, 6))
    times = np.concatenate([[0.0], np.cumsum(drift / FPS)])
    kept = rng.uniform(size=len(times)) >= _DROPPED
    kept[0] = True
    times = times[kept]
    return times[times < seconds]


def _active(
    rng: np.random.Generator, behavior: Behavior, times: Float[np.ndarray, " T"], gaps: float
) -> Bool[np.ndarray, " T"]:
    sigma = math.log(behavior.median_seconds / behavior.short_seconds) / _Z
    shown, now = np.zeros(len(times), dtype=bool), float(rng.exponential(gaps * behavior.gap_seconds))
    while now < times[-1]:
        length = float(behavior.median_seconds * math.exp(sigma * rng.standard_normal()))
        length = min(max(length, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        shown[(times >= now) & (times < now + length)] = True
        now += length + 0.3 + float(gaps * behavior.gap_seconds * math.exp(0.7 * rng.standard_normal()))
    return shown


def _poses(
    rng: np.random.Generator, times: Float[np.ndarray, " T"], active: Mapping[str, Bool[np.ndarray, " T"]]
) -> Float[np.ndarray, "T 5"]:
    """x, y, cosine and sine of the angle, and radius."""
    steps = np.diff(times, prepend=times[0])
    position, heading, angle, phase = rng.uniform(0.35, 0.65, size=2), rng.uniform(0, 6.28), rng.uniform(0, 6.28), 0.0
    size, poses = 1.0, np.empty((len(times), 5))
    for t, step in enumerate(steps):
        if t and active["run"][t] and not active["run"][t - 1]:
            heading = rng.uniform(0, 6.28)
        heading += rng.normal(0, 0.6) * math.sqrt(max(step, 0))
        speed = _RUN if active["run"][t] else _WANDER
        position = position + speed * step * np.array([math.cos(heading), math.sin(heading)])
        for axis in (0, 1):
            if not 0.25 < position[axis] < 0.75:
                position[axis] = min(max(position[axis], 0.25), 0.75)
                heading = math.pi - heading if axis == 0 else -heading
        angle += _SPIN * step if active["spin"][t] else 0.0
        phase = phase + 2 * math.pi * _PULSE_HZ * step if active["pulse"][t] else 0.0
        target = _GROWN if active["grow"][t] else 1.0
        size += (target - size) * min(1.0, step / 0.05)
        radius = _RADIUS * size * (1 + _PULSE * math.sin(phase))
        poses[t] = position[0], position[1], math.cos(angle), math.sin(angle), radius
    return poses


def _shake(rng: np.random.Generator, count: int) -> Float[np.ndarray, "T 2"]:
    """Offsets of the camera in pixels: smoothed noise."""
    noise = rng.standard_normal((count + 6, 2))
    smooth = sum(noise[i : i + count] for i in range(7)) / math.sqrt(7)
    return np.clip(np.asarray(smooth) * _SHAKE_PIXELS / 1.5, -3 * _SHAKE_PIXELS, 3 * _SHAKE_PIXELS)

"""The motion set: small H.264 clips in eight classes that differ only in motion, for the demo and for tests.

Classes come in four opposite pairs. A clip is drawn as its state at mid time (shape, color, background, position,
angle, size) and a speed, none of which depends on the class. The class decides only how the state changes from mid
time, forward and backward. Reversing a clip in time therefore gives, pixel by pixel, the clip that the
opposite class has for the same draws. So a model that sees frames without their order cannot tell a class from
its opposite: its accuracy cannot exceed 50 %. Files hold key frames only, at a constant quantizer: each frame is
coded alone, and the symmetry survives compression.

The shape set shows the same clips under other labels: which shape moves, in any direction. A single frame shows
that, so an image model can learn it, and video models of the motion set can start from its weights.

T frames, H = W = size_pixels. Lengths are in frame widths, angles in radians with y pointing down.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from jaxtyping import Float, UInt8

from tubelet.errors import DataError, nearest, reason
from tubelet.files import write_atomically

# Opposites are neighbors.
CLASSES = ("left", "right", "up", "down", "clockwise", "counter_clockwise", "growing", "shrinking")
SHAPES = ("bar", "triangle", "cross", "letter_l", "arrow")
PARAMETERS_FILE = "motion_set.json"
VERSION = 1  # goes up if the same parameters give other clips

# Change over a whole clip, slowest and fastest. With at least MIN_FRAMES frames a clip turns by at most 38 degrees
# per frame, below half of the smallest angle (180 degrees) that maps a shape onto itself: turning is never ambiguous.
SHIFT = (0.36, 0.5)  # frame widths
TURN = (math.radians(180), math.radians(300))
GROWTH = (math.log(2.5), math.log(3.6))  # logarithm of the ratio of sizes
RADIUS = (0.14, 0.18)  # at mid time, of the circle around the shape, in frame widths
DARK, BRIGHT = (30, 70), (150, 255)  # levels of each channel of the background and of the shape, 0 to 255
TEXTURE = 18  # levels by which the background drifts
MIN_FRAMES = 8
MIN_PIXELS = 32
QUANTIZER = 25  # H.264 QP: 0 is lossless, 51 the coarsest

# Unions of convex polygons inside the unit circle, vertices in the order that keeps the inside on one hand.
# None has more than a half-turn symmetry.
_Polygon = tuple[tuple[float, float], ...]
_SHAPES: tuple[tuple[_Polygon, ...], ...] = (
    (((-0.95, -0.3), (0.95, -0.3), (0.95, 0.3), (-0.95, 0.3)),),  # bar
    (((1.0, 0.0), (-0.7, 0.7), (-0.7, -0.7)),),  # pointed triangle
    (  # cross with one long arm
        ((-0.55, -0.2), (0.97, -0.2), (0.97, 0.2), (-0.55, 0.2)),
        ((-0.2, -0.7), (0.2, -0.7), (0.2, 0.7), (-0.2, 0.7)),
    ),
    (  # letter L
        ((-0.7, 0.25), (0.75, 0.25), (0.75, 0.65), (-0.7, 0.65)),
        ((-0.7, -0.7), (-0.25, -0.7), (-0.25, 0.65), (-0.7, 0.65)),
    ),
    (  # arrow
        ((0.0, -0.75), (1.0, 0.0), (0.0, 0.75)),
        ((-0.95, -0.22), (0.05, -0.22), (0.05, 0.22), (-0.95, 0.22)),
    ),
)


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """Everything random of one clip; no field depends on the class."""

    shape: int  # index in _SHAPES
    color: Float[np.ndarray, "3"]  # 0 to 255
    background: Float[np.ndarray, "H W 3"]  # 0 to 255
    x: float  # center at mid time, frame widths
    y: float
    angle: float  # at mid time
    radius: float  # at mid time, frame widths
    speed: float  # 0 slowest to 1 fastest


def opposite(class_name: str) -> str:
    """The class of a clip of ``class_name`` played backward.

    Raises:
        DataError: no such class.
    """
    return CLASSES[_class_index(class_name) ^ 1]


def motion_clip(
    class_name: str, rng: np.random.Generator, *, size_pixels: int = 64, num_frames: int = 24
) -> UInt8[np.ndarray, "T H W 3"]:
    """One clip in RGB. Equal generators give every class the same draws; the whole shape stays in the frame.

    Raises:
        DataError: no such class, or a size or length that cannot show its motion.
    """
    index = _class_index(class_name)
    _check_size(size_pixels, num_frames)
    return _rendered(_draw(rng, size_pixels), index, size_pixels, num_frames)


def shape_clip(
    shape: str, rng: np.random.Generator, *, size_pixels: int = 64, num_frames: int = 24
) -> UInt8[np.ndarray, "T H W 3"]:
    """One clip in RGB of a shape that moves in one of the eight ways, drawn too.

    Raises:
        DataError: no such shape, or a size or length that cannot show its motion.
    """
    if shape not in SHAPES:
        raise DataError(f"no shape '{shape}'{nearest(shape, SHAPES)}")
    _check_size(size_pixels, num_frames)
    draws = dataclasses.replace(_draw(rng, size_pixels), shape=SHAPES.index(shape))
    return _rendered(draws, int(rng.integers(len(CLASSES))), size_pixels, num_frames)


def _rendered(draws: _Draws, index: int, size_pixels: int, num_frames: int) -> UInt8[np.ndarray, "T H W 3"]:
    """A clip of the motion class with this number."""
    sign = 1 if index % 2 else -1
    # Symmetric around 0; rounding is too, so what is computed from a time and its mirror image is equal bit by bit.
    times = [sign * (frame - (num_frames - 1) / 2) / num_frames for frame in range(num_frames)]
    poses = np.array([_pose(draws, index // 2, time) for time in times], dtype=np.float32)
    coverage = _coverage(_SHAPES[draws.shape], poses, size_pixels)
    pixels = draws.background + coverage[..., None] * (draws.color - draws.background)
    return (pixels + np.float32(0.5)).astype(np.uint8)


def write_motion_set(
    root: Path,
    counts: Mapping[str, int],
    *,
    labels: Literal["motions", "shapes"] = "motions",
    size_pixels: int = 64,
    num_frames: int = 24,
    fps: int = 24,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``root/<split>/<class>/NNNN.mp4``, or finish a set that an interrupted call began.

    A file depends on (seed, split, class, number) and the sizes alone: the same call gives the same bytes on the
    same machine. Finished files are kept.

    Args:
        root: folder of the set; made if missing.
        counts: clips per split, each a positive multiple of the classes: eight motions, or five shapes.
        labels: the meaning of the labels. ``shapes`` makes the shape set.
        size_pixels: height and width, even, at least 32.
        num_frames: frames of every file, at least 8.
        fps: frames per second of every file.
        seed: 0 or more.
        progress: called with (clips done, clips in all) after each clip.

    Raises:
        DataError: a parameter out of range, or ``root`` holds a set with other parameters.
    """
    _check_size(size_pixels, num_frames)
    if fps <= 0 or seed < 0:
        raise DataError(f"motion set: fps must be positive and seed 0 or more, got fps={fps} and seed={seed}")
    classes, clip_of = (CLASSES, motion_clip) if labels == "motions" else (SHAPES, shape_clip)
    for split, count in counts.items():
        if count <= 0 or count % len(classes):
            raise DataError(
                f"motion set: split '{split}' must have a positive multiple of {len(classes)} clips, got {count}"
            )
    sizes = {"size_pixels": size_pixels, "num_frames": num_frames, "fps": fps, "seed": seed}
    _claim(root, {"version": VERSION, "counts": dict(counts), **sizes, "classes": list(classes)})
    total, done = sum(counts.values()), 0
    for split, count in counts.items():
        for class_index, class_name in enumerate(classes):
            folder = root / split / class_name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count // len(classes)):
                path = folder / f"{number:04d}.mp4"
                if not path.exists():
                    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), class_index, number])
                    clip = clip_of(class_name, rng, size_pixels=size_pixels, num_frames=num_frames)
                    write_atomically(path, encode_h264(clip, fps))
                done += 1
                if progress is not None:
                    progress(done, total)


def encode_h264(clip: UInt8[np.ndarray, "T H W 3"], fps: int) -> bytes:
    """An MP4 file that holds the RGB ``clip`` as H.264, 4:2:0, every frame a key frame at one quantizer.

    H and W must be even.
    """
    options = {"preset": "ultrafast", "qp": str(QUANTIZER), "g": "1"}
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for pixels in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _draw(rng: np.random.Generator, size_pixels: int) -> _Draws:
    radius, speed = float(rng.uniform(*RADIUS)), float(rng.uniform())
    # Room for the widest move of any class, so that the position does not reveal the class, and for soft edges.
    reach = max(radius + _between(SHIFT, speed) / 2, radius * math.exp(_between(GROWTH, speed) / 2)) + 2 / size_pixels
    x, y = rng.uniform(reach, 1 - reach, size=2).tolist()
    return _Draws(
        shape=int(rng.integers(len(_SHAPES))),
        color=rng.uniform(*BRIGHT, size=3).astype(np.float32),
        background=still_texture(rng, size_pixels),
        x=x,
        y=y,
        angle=float(rng.uniform(0, 2 * math.pi)),
        radius=radius,
        speed=speed,
    )


def still_texture(rng: np.random.Generator, size_pixels: int) -> Float[np.ndarray, "H W 3"]:
    """A still texture: a random dark color that drifts over a coarse grid, interpolated, and a fine grain."""
    cells = 5
    base = rng.uniform(*DARK, size=3)
    grid = base + rng.uniform(-TEXTURE, TEXTURE, size=(cells, cells, 3))
    position = np.linspace(0, cells - 1, size_pixels)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))  # bilinear, pixels by cells
    smooth = np.einsum("hi,wj,ijc->hwc", weights, weights, grid, optimize=True)
    grain = rng.uniform(-4, 4, size=(size_pixels, size_pixels, 1))
    return (smooth + grain).clip(0, 255).astype(np.float32)


def _pose(draws: _Draws, pair: int, time: float) -> tuple[float, float, float, float, float]:
    """x, y, cosine and sine of the angle, and radius, at -0.5 < time < 0.5 of a clip.

    Uses Python's scalar floats, because numpy's vector functions may round an element by its position in the array.
    """
    x, y, angle, radius = draws.x, draws.y, draws.angle, draws.radius
    if pair == 0:
        x += time * _between(SHIFT, draws.speed)
    elif pair == 1:
        y += time * _between(SHIFT, draws.speed)
    elif pair == 2:
        angle -= time * _between(TURN, draws.speed)
    else:
        radius *= math.exp(-time * _between(GROWTH, draws.speed))
    return x, y, math.cos(angle), math.sin(angle), radius


def _coverage(
    shape: tuple[_Polygon, ...], poses: Float[np.ndarray, "T 5"], size_pixels: int
) -> Float[np.ndarray, "T H W"]:
    """The share of each pixel that the shape covers, from the signed distance to its edges."""
    x, y, cos, sin, radius = poses.T
    center = (np.arange(size_pixels, dtype=np.float32) + np.float32(0.5)) / np.float32(size_pixels)
    distance: Any = np.inf
    for polygon in shape:
        inside: Any = -np.inf
        for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            length = math.hypot(x1 - x0, y1 - y0)
            nx, ny = (y1 - y0) / length, (x0 - x1) / length  # outward normal before turning
            nx_t, ny_t = nx * cos - ny * sin, nx * sin + ny * cos
            offset = (nx * x0 + ny * y0) * radius + nx_t * x + ny_t * y
            across = nx_t[:, None] * center - offset[:, None]  # T W
            down = ny_t[:, None] * center  # T H
            inside = np.maximum(inside, across[:, None, :] + down[:, :, None])
        distance = np.minimum(distance, inside)
    return np.clip(np.float32(0.5) - distance * np.float32(size_pixels), 0, 1)


def shape_coverage(shape: str, poses: Float[np.ndarray, "T 5"], size_pixels: int) -> Float[np.ndarray, "T H W"]:
    """The share of each pixel that a shape covers, for x, y, cosine and sine of its angle, and radius of each frame."""
    return _coverage(_SHAPES[SHAPES.index(shape)], poses, size_pixels)


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _class_index(class_name: str) -> int:
    if class_name not in CLASSES:
        raise DataError(f"no motion class '{class_name}'{nearest(class_name, CLASSES)}")
    return CLASSES.index(class_name)


def _check_size(size_pixels: int, num_frames: int) -> None:
    if size_pixels < MIN_PIXELS or size_pixels % 2 or num_frames < MIN_FRAMES:
        raise DataError(
            f"motion set: size_pixels must be even and at least {MIN_PIXELS} and "
            f"num_frames at least {MIN_FRAMES}, got size_pixels={size_pixels} and num_frames={num_frames}"
        )


def _claim(root: Path, parameters: Mapping[str, Any]) -> None:
    """Write the parameters to ``root``, or compare them with those of the set that it holds."""
    path = root / PARAMETERS_FILE
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            line = f"{path}: not the parameters of a motion set ({reason(error)}); use an empty folder"
            raise DataError(line) from None
        if found != parameters:
            raise DataError(
                f"{root}: holds a motion set made with {json.dumps(found)}, asked for {json.dumps(parameters)}; "
                "use another folder or remove this one"
            )
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root}: expected a new or empty folder or a motion set, got other files; use another folder")
    root.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(dict(parameters), indent=1).encode())

"""The files that ``benchmarks/decode.py`` reads, made once from real clips and kept: eight clips of ten seconds.

``raw720`` 1280x720, x264 fast, crf 23, a key frame every 250 frames; ``k340`` 340x256, medium, else the same, as
Kinetics is usually stored; ``prepared`` what ``tubelet data prepare`` makes of raw720.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from rich.progress import track

from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.transcode import transcode
from tubelet.files import written_atomically

SECONDS = 10
SOURCES = (
    *("sam2_01_dog.mp4", "sam2_02_cups.mp4", "sam2_03_blocks.mp4", "sam2_04_coffee.mp4", "sam2_05_default_juggle.mp4"),
    *("cockatoo.mp4", "bigbuckbunny.mp4", "bikes.mp4"),
)
SETS = {"raw720": (720, 1280, "fast"), "k340": (256, 340, "medium")}


def make_sets(clips: Path, folder: Path, num_clips: int) -> dict[str, list[Path]]:
    """The files of each set; those that are there are kept."""
    files: dict[str, list[Path]] = {}
    for name, (height, width, preset) in SETS.items():
        files[name] = [folder / name / Path(source).with_suffix(".mp4").name for source in SOURCES[:num_clips]]
        for source, target in track(list(zip(SOURCES, files[name], strict=False)), description=f"making {name}"):
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _encode(clips / source, target, height, width, preset)
    files["prepared"] = [folder / "prepared" / path.name for path in files["raw720"]]
    for source, target in track(list(zip(files["raw720"], files["prepared"], strict=True)), description="preparing"):
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            transcode(source, target, PrepareConfig().encoding)
    return files


def _encode(source: Path, target: Path, height: int, width: int, preset: str) -> None:
    """Ten seconds of the source at its own rate, played again from the start where it is shorter."""
    options = {"preset": preset, "crf": "23", "g": "250", "threads": "1"}
    with written_atomically(target) as new, av.open(str(new), "w", format="mp4") as container:
        stream = None
        for number, (frame, rate) in enumerate(_looped(source)):
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=options)
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            picture = frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC", threads=1)
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        assert stream is not None
        container.mux(stream.encode(None))


def _looped(source: Path) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    with av.open(str(source)) as container:
        rate = Fraction(container.streams.video[0].average_rate or 25).limit_denominator(1001)
    frames = itertools.chain.from_iterable(_frames(source) for _ in itertools.count())
    for frame in itertools.islice(frames, round(SECONDS * rate)):
        yield frame, rate


def _frames(source: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(source)) as container:
        yield from container.decode(video=0)

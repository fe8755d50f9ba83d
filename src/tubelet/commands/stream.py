"""``tubelet stream``: its options. ``tubelet.commands.work.stream`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from tubelet.commands import check_hub, compute, parse
from tubelet.types import Device, Precision

DESCRIPTION = """Classify a source while it runs: standard input, an http or rtsp address, a camera, a frame folder.

Each window is printed as soon as its last frame is there. A source that breaks or stays silent is tried again, with
longer and longer pauses; what was lost is said on stderr. Where the times of a source jump (its encoder started
again), its windows begin anew, as in a new connection. Ctrl-C ends it.

What happens at the end of the source depends on what it is: a file, a pipe or an answer over HTTP that says its length
is over; rtsp, udp, rtmp, srt and cameras are connected to again. An http address that does not say how long its answer
is may be either: it is connected to again, and over if it then begins with the same picture. --live or --no-live says
which it is.

examples:
  ffmpeg -i film.mkv -c copy -f mpegts - | tubelet stream runs/first/best -
  tubelet stream runs/first/best http://camera.local/video.ts --window 4s --hop 1s --json
  tubelet stream runs/first/best rtsp://camera.local/live --window 4s
  tubelet stream runs/first/best /dev/video0 --input-format v4l2 --window 2s
  tubelet stream runs/first/best frames/ --frame-fps 25"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, tyro.conf.Positional]  # folder, owner/name or hf://owner/name@revision
    source: Annotated[str, tyro.conf.Positional]  # "-" for standard input, an address, a device, file or frame folder
    window: str | None = None  # length of a window (4s, 500ms); by default what one clip of the model spans
    hop: str | None = None  # from one window to the next, rounded to whole tubelets; by default a window
    fps: float | None = None  # frames per second that enter the model; by default its number of frames per window
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the checkpoint's training
    frame_fps: float | None = None  # frames per second of a frame folder
    drop: Literal["auto", "never", "oldest"] = "auto"  # old frames when the model is slower; auto: of live sources
    live: bool = False  # the source is live: connect again whenever it ends
    no_live: bool = False  # stop when the source ends, also where it is live
    retries: int = 5  # failed attempts to connect in a row before giving up
    timeout: str = "10s"  # without data for so long, a connection is given up and made anew
    input_format: str | None = None  # FFmpeg's name of the format, where it cannot be told (v4l2, mpegts, mjpeg)
    top_k: int = 3  # labels per window
    reject: bool = False  # answer "none of these" for windows unlike all that the model was validated on
    json: bool = False  # one JSON object per line on stdout
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "stream", DESCRIPTION)
    check_hub(options.checkpoint)
    from tubelet.commands.work.stream import run

    return compute(run, options)

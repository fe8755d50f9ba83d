"""``tubelet explain``: its options. ``tubelet.commands.work.explain`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import check_hub, compute, parse
from tubelet.explain.config import Fill, Method
from tubelet.types import Device

DESCRIPTION = """Show where and when a model looked in a clip, for one class.

The middle view of the video is explained: its central crop, as the checkpoint's protocol cuts it. --out gets

  relevance.npz      raw values, on the clip and on the pixels of the source's frames, with their times
  explanation.json   the class, the method, the time curve, and the top tubes in seconds and pixels
  sheet.png          frames, the same with the map, and the time curve
  overlay.mp4        the map over the source's frames, in their size and at their times (of a volume: montage.png)
  relevance.nii.gz   of a NIfTI volume: the map with its axes and affine
  report.html        a page that shows these files, with what is known of the method

--window explains a film window by window for one class. Colors are scaled by training clips of the class
(--scale-clips), so that a clip in which the model finds little is pale. Of a model with a per-frame head a bout is
explained: give --start-seconds, --end-seconds and the behavior as --class.

Methods: occlusion hides one tubelet after the other (every model; many forward passes). integrated_gradients sums
gradients from an empty clip to the clip. attention_rollout and gradient_attention follow attention, where it composes.
No method says why. Hidden or faded clips are none that the model was trained on; attention is not all that mixes
tokens. docs/explain.md says what each one is.

examples:
  tubelet explain runs/first/best clip.mp4 --out why
  tubelet explain runs/first/best clip.mp4 --out why --class left --method integrated_gradients
  tubelet explain runs/first/best clip.mp4 --out why --tubelet 2 16 16 --fill blur
  tubelet explain runs/first/best film.mp4 --out why --class left --window clip
  tubelet explain runs/behaviors/best day1.mp4 --out why --class groom --start-seconds 12 --end-seconds 14
  tubelet explain runs/epic/best clip.mp4 --out why --head verb --class open
  tubelet explain runs/first/best frames/ --out why --frame-fps 25 --method gradient_attention"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, tyro.conf.Positional]  # folder, owner/name or hf://owner/name@revision
    source: Annotated[str, tyro.conf.Positional]  # one video file, frame folder or volume
    out: Path  # folder of its own; an earlier explanation in it is replaced
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None  # to explain; by default the best one
    head: str | None = None  # which head, where the model has several
    method: Method | None = None  # how relevance is computed; by default what does best for this kind of model
    fill: Fill | None = None  # what stands for nothing: the mean color (default) or a blur
    tubelet: tuple[int, int, int] | None = None  # occlusion: frames, rows and columns hidden; by default 1/8, 1/7, 1/7
    num_steps: int | None = None  # integrated gradients: clips between fill and clip; by default 32
    start_seconds: float | None = None  # start of the segment to explain; by default the start of the source
    end_seconds: float | None = None  # end of the segment; by default the end of the source
    window: str | None = None  # films: a length of time such as 4s, or clip for what one clip spans; needs --class
    hop: str | None = None  # films: from one window to the next; by default a window
    scale_clips: int = 4  # training clips of the class that colors are scaled by; 0: what is explained alone
    frame_fps: float | None = None  # frames per second of a frame folder, which does not say it
    json: bool = False  # print what explanation.json holds on stdout
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "explain", DESCRIPTION)
    check_hub(options.checkpoint)
    from tubelet.commands.work.explain import run

    return compute(run, options, argv)

"""``tubelet predict``: its options. ``tubelet.commands.work.predict`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import check_hub, compute, parse
from tubelet.commands.protocol_options import SamplingOptions
from tubelet.types import Device, Mode, Precision

DESCRIPTION = """Classify videos with a checkpoint. Files, folders (searched for videos) and quoted globs may be mixed.
A folder of pictures, one per frame (img_00001.jpg, ...), is one video; --frame-fps says how fast it ran.

A file that cannot be read gives one line on stderr and exit code 1; all others are still predicted.

--reject answers "none of these" for what is less familiar to the model than 95 % of its validation videos, such as a
black picture; behind it stands the share of the validation videos that are more familiar. Classes that look like known
ones are not found so.

--out keeps the result of every file in a folder: the same command goes on after an interruption. --shard 2/8 takes
every eighth file from the second on, so that several machines share the work in one --out; whichever part ends last
joins them all in predictions.csv, --csv, --plot and --json. Until then each prints its own.

examples:
  tubelet predict runs/first/best clip.mp4
  tubelet predict runs/first/best footage/ 'more/*.mkv' --top-k 3 --csv predictions.csv
  tubelet predict runs/first/best clip.mp4 --json
  tubelet predict runs/first/best footage/ --csv - | sort
  tubelet predict runs/first/best frames/ --frame-fps 25
  tubelet predict runs/first/best film.mp4 --window 4s --hop 1s --merge --plot film.png
  tubelet predict runs/first/best film.mp4 --window 4s --label-studio tasks.json --fiftyone labels.json
  tubelet predict runs/vtn/best film.mp4 --window whole --fps 5
  tubelet predict runs/vtn/best clip.mp4 --mode chunked --protocol.num_frames 250 --protocol.target_fps 25
  tubelet predict runs/first/best footage/ --reject
  tubelet predict runs/first/best footage/ --out predictions --shard 2/8
  tubelet predict runs/first/best footage/ --out predictions --ray 2
  tubelet predict google/vivit-b-16x2-kinetics400 clip.mp4
  tubelet predict runs/first/best -- -file-that-begins-with-a-dash.mp4"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, tyro.conf.Positional]  # folder, owner/name or hf://owner/name@revision
    sources: Annotated[tuple[str, ...], tyro.conf.Positional]  # video files, folders, globs; or one feature store
    top_k: int = 5  # labels per video
    views: str | None = None  # temporal x spatial, for example 4x3; by default those of the checkpoint
    protocol: SamplingOptions = field(default_factory=SamplingOptions)
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the checkpoint's training
    mode: Mode = "end_to_end"  # chunked: frames part by part, then the temporal stage once over all of a long clip
    window: str | None = None  # go through each file in windows of this length: 4s, 1min, "clip" (one clip's), "whole"
    hop: str | None = None  # from one window to the next, rounded to whole tubelets; by default a window
    fps: float | None = None  # frames per second that enter the model; by default its number of frames per window
    frame_fps: float | None = None  # frames per second of frame folders, which do not say it
    merge: bool = False  # windows: neighbors with the same best label become one segment
    plot: Path | None = None  # windows: also draw a timeline into this file (.png, .svg, .pdf); one each of several
    json: bool = False  # print JSON on stdout
    csv: Path | None = None  # also write one row per video (or window) and label to this file; - in place of the table
    label_studio: Path | None = None  # also write tasks with predictions for Label Studio's import (.json)
    fiftyone: Path | None = None  # windows: also write them as FiftyOne's temporal detections (labels.json)
    out: Path | None = None  # folder for predictions.csv and a part per file; an unfinished one is resumed
    shard: str | None = None  # PART/PARTS: the files of this part, such as 2/8; needs --out
    ray: int | None = None  # share them between so many Ray actors, here or at RAY_ADDRESS; needs --out
    num_workers: int | None = None  # processes that decode, by default 2; 0: this one, as --window always does
    reject: bool = False  # answer "none of these" for videos unlike all that the model was validated on
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "predict", DESCRIPTION)
    check_hub(options.checkpoint)
    from tubelet.commands.work.predict import run

    return compute(run, options)

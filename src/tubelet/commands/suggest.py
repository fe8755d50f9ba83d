"""``tubelet suggest``: its options. ``tubelet.commands.work.suggest`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import compute, parse
from tubelet.types import Device

DESCRIPTION = """Name the stretches of films that are most worth labeling next.

RUN is a run of `tubelet train --task per_frame`. A stretch is worth the more the less sure its model is there, and the
less it is like what the training films show, and like the other stretches. OUT gets three files:
  suggestions.boris   a project for BORIS: the films, with each stretch marked "to label" and the rest "ignore"
  suggestions.csv     a row per stretch, the best first: when, how unsure, how new, and what the model sees there
  suggestions.json    the same

Open the project in BORIS, add the behaviors to each stretch, and delete its two "to label" events when it is done. What
is still marked counts nowhere in training, and neither does what is ignored. Put the project beside the labels that
there are (--data takes a folder of them), or train on it alone.

Films that are labeled from beginning to end are left out. Features are stored with those of the run, so that an
interrupted call goes on when it is given again, and training on the new labels computes none anew. A film that cannot
be read gives one line and exit code 1; all others are still searched.

examples:
  tubelet suggest runs/behaviors films/ --minutes 10
  tubelet suggest runs/behaviors day1.mp4 'more/*.mkv' --minutes 5 --stretch 6 --out to_label
  tubelet suggest runs/behaviors films/ --json"""


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[str, tyro.conf.Positional]  # folder of a run with a per-frame head
    films: Annotated[tuple[str, ...], tyro.conf.Positional]  # video files, folders and globs
    minutes: float = 10.0  # how much to label
    stretch: float = 10.0  # seconds of one stretch
    out: Path = Path("suggestions")  # folder for the files; it must not hold a project yet
    frame_fps: float | None = None  # frames per second of frame folders, which do not say it
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print suggestions.json on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "suggest", DESCRIPTION)
    from tubelet.commands.work.suggest import run

    return compute(run, options)

"""``tubelet moments``: its options. ``tubelet.commands.work.moments`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import compute, parse
from tubelet.types import Device

DESCRIPTION = """Find what films show, and when: the probability of every behavior at every frame, and its bouts.

The model is a run of `tubelet train --task per_frame`. Each film gets a folder in OUT:
  bouts.csv, bouts.json, bouts.vtt   when each behavior begins and ends, at the times of frames
  scores.npz, frames.csv             probabilities of every step, and of every frame of the film
  frames.parquet                     the same as frames.csv, where pyarrow is installed
  ethogram.png                       behaviors over time; with --labels, labels above what was found

Beside them lie summary.csv (a row per film and behavior), bouts.boris (a project that BORIS opens) and report.html;
they hold all films of OUT, those of earlier calls too.

Run the same command again after an interruption, and it goes on with the films that are missing. A film that changed
since, or its labels, is computed anew. --shard 2/8 takes every eighth film from the second on; whichever part ends last
writes the files beside the folders. A film that cannot be read, or that labels do not fit, gives one line and exit code
1; all others are still done.

examples:
  tubelet moments day1.mp4 --model runs/behaviors --out moments
  tubelet moments films/ 'more/*.mkv' --model runs/behaviors --out moments --labels labels.csv
  tubelet moments films/ --model runs/behaviors --out moments --shard 2/8
  tubelet moments day1.mp4 --model runs/behaviors --out hour2 --start 3600 --end 7200"""


@dataclass(frozen=True, kw_only=True)
class Options:
    films: Annotated[tuple[str, ...], tyro.conf.Positional]  # video files, folders and globs
    model: str  # run folder or checkpoint with a per-frame head
    out: Path  # folder for the results; an unfinished one is resumed
    labels: Path | None = None  # file of bouts to show beside what is found (.csv, .boris, .eaf, .TextGrid, .json)
    start: float | None = None  # seconds at which to begin in each film
    end: float | None = None  # seconds at which to end in each film
    frame_fps: float | None = None  # frames per second of frame folders, which do not say it
    shard: str | None = None  # PART/PARTS: the films of this part, such as 2/8
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print the summary as JSON on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "moments", DESCRIPTION)
    from tubelet.commands.work.moments import run

    return compute(run, options, argv)
